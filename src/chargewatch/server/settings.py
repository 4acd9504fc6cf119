"""Every setting of the service: one table, read from flags, the environment and a ``.env`` file.

`Settings` is that table: a field is a setting, its annotation says what values it takes and what it is
for, and its name in the environment is ``CHARGEWATCH_`` and the field's name in capitals. The command
``chargewatch config`` and the reference page are made from it.

Flags win over the environment, the environment over ``.env``, and where two of them disagree a notice
says which one counts. A name nobody knows, a value that does not fit, a secret given twice: one line and
no start. Names beginning with ``CHARGEWATCH_TEST_`` belong to the test suite and are passed over.
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

import msgspec

from chargewatch.server.setting_kinds import (
    API_KEY,
    ARTEFACTS,
    FOLDER,
    HIDDEN,
    LEVEL,
    LOGIN,
    LONG_SECRET,
    NETWORKS,
    PORT,
    POSTGRES,
    SECRET,
    SWITCH,
    TEXT,
    WEB,
    Kind,
    Secret,
    folder,
    integer,
    seconds,
)

__all__ = [
    "HIDDEN",
    "TABLE",
    "EffectiveSetting",
    "Secret",
    "Setting",
    "Settings",
    "SettingsError",
    "effective_settings",
    "environment_name",
    "load_settings",
]

PREFIX: Final = "CHARGEWATCH_"
TEST_PREFIX: Final = "CHARGEWATCH_TEST_"
FILE_SUFFIX: Final = "_FILE"


class SettingsError(Exception):
    """The settings cannot be used; the text is one line for the operator and holds no secret."""


class Setting(msgspec.Struct, frozen=True):
    """One row of the table."""

    kind: Kind
    help: str


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The effective settings of one process."""

    data_dir: Annotated[
        Path, Setting(FOLDER, "where the embedded database, artefacts and secrets live; made when missing")
    ] = Path(".chargewatch")
    host: Annotated[str, Setting(TEXT, "the address that the service listens on")] = "127.0.0.1"
    port: Annotated[int, Setting(PORT, "the port that the service listens on; 0 picks a free one")] = 8000
    log_level: Annotated[str, Setting(LEVEL, "what is logged")] = "info"

    max_connections: Annotated[
        int, Setting(integer(1, 65536), "connections of one process, at most; others get 503")
    ] = 4096
    header_deadline_s: Annotated[
        float, Setting(seconds(0.001, 3600), "how long a client may take to send the head of a request")
    ] = 10.0
    body_deadline_s: Annotated[
        float, Setting(seconds(0.001, 3600), "how long a client may take to send a body, or pause in one")
    ] = 30.0
    body_min_rate: Annotated[
        int, Setting(integer(1, 2**30), "bytes a second with which a large body may take longer than that")
    ] = 32768
    keep_alive_s: Annotated[
        float, Setting(seconds(0.001, 3600), "how long an idle connection stays open between calls")
    ] = 15.0
    answer_deadline_s: Annotated[
        float, Setting(seconds(0.001, 3600), "how long a client may take to read what was sent to it")
    ] = 120.0
    body_memory_mb: Annotated[
        int, Setting(integer(1, 65536), "MiB that the bodies of all calls of one process may take together")
    ] = 128
    body_wait_s: Annotated[
        float, Setting(seconds(0.001, 60), "how long a call with a large body waits for room before its 503")
    ] = 5.0

    database_url: Annotated[
        Secret | None,
        Setting(POSTGRES, "a PostgreSQL server (15 or newer) instead of the embedded one; the user owns it"),
    ] = None
    database_app_url: Annotated[
        Secret | None,
        Setting(POSTGRES, "the login of the API and the workers, where it is not the derived one"),
    ] = None
    database_pooler: Annotated[
        bool, Setting(SWITCH, "DATABASE_APP_URL leads through a pooler in transaction mode (pgbouncer)")
    ] = False
    pool_size: Annotated[int, Setting(integer(1, 1000), "database connections of one process, at most")] = 10
    pool_timeout_s: Annotated[
        float, Setting(seconds(0.001, 60), "how long a call waits for a free database connection")
    ] = 1.5
    database_silence_s: Annotated[
        float, Setting(seconds(0.01, 60), "a database that answers nothing for this long is taken to hang")
    ] = 1.2
    statement_timeout_s: Annotated[
        float, Setting(seconds(0.001, 3600), "the longest that one statement may take")
    ] = 15.0
    idle_in_transaction_timeout_s: Annotated[
        float, Setting(seconds(0.001, 3600), "the longest that an open transaction may be idle")
    ] = 10.0

    disk_reserve_percent: Annotated[
        int,
        Setting(
            integer(1, 50),
            "of the embedded database's disk to keep free (48 MiB to 1 GiB); below it nothing more is stored",
        ),
    ] = 5
    disk_check_s: Annotated[
        float, Setting(seconds(0.01, 60), "how often a process looks how much of that disk is free")
    ] = 0.5

    secret_key: Annotated[
        Secret | None,
        Setting(
            LONG_SECRET,
            "encrypts stored secrets and makes the database passwords; the same on every machine of one"
            " database (default: the 0600 file secret_key in the data folder, made when missing)",
        ),
    ] = None
    bootstrap_api_key: Annotated[
        Secret | None, Setting(API_KEY, "on an empty database: creates tenant `default` with this key")
    ] = None
    bootstrap_admin: Annotated[
        Secret | None, Setting(LOGIN, "on an empty database: the first dashboard user")
    ] = None
    key_cache_s: Annotated[
        float, Setting(seconds(0, 1), "how long a process trusts an API key that it has looked up")
    ] = 1.0

    session_idle_s: Annotated[
        float, Setting(seconds(0.001, 604800), "a session without a new reading for this long is over")
    ] = 21600.0

    housekeeping_s: Annotated[
        float,
        Setting(
            seconds(0.01, 3600),
            "how often idle sessions are judged as over, old sessions erased and counts folded",
        ),
    ] = 30.0

    idempotency_kept_s: Annotated[
        float,
        Setting(seconds(0.001, 2592000), "how long the answer of a call with an Idempotency-Key is kept"),
    ] = 86400.0
    idempotency_lease_s: Annotated[
        float,
        Setting(seconds(0.001, 3600), "how long such a call may take before another one may do its work"),
    ] = 60.0

    job_lease_s: Annotated[
        float,
        Setting(seconds(0.1, 3600), "a background job whose worker is silent for this long is taken over"),
    ] = 15.0
    job_poll_s: Annotated[float, Setting(seconds(0.001, 60), "how often an idle worker looks for a job")] = (
        0.5
    )
    job_retry_s: Annotated[
        float,
        Setting(
            seconds(0.001, 3600),
            "before a job that failed is tried again; twice as long before each next time",
        ),
    ] = 1.0
    batches_kept_s: Annotated[
        float, Setting(seconds(1, 31536000), "how long the results of a finished batch are kept")
    ] = 2592000.0

    llm_base_url: Annotated[
        str | None,
        Setting(WEB, "an OpenAI-compatible endpoint for explain and ask (else the built-in writer)"),
    ] = None
    llm_model: Annotated[str | None, Setting(TEXT, "the language model to ask for")] = None
    llm_api_key: Annotated[Secret | None, Setting(SECRET, "the key of that endpoint")] = None
    webhook_allow_cidrs: Annotated[
        tuple[str, ...],
        Setting(NETWORKS, "private networks that webhooks may reach, also by plain http and on any port"),
    ] = ()
    artefact_url: Annotated[
        str | None, Setting(ARTEFACTS, "where models are kept (default: artefacts in the data folder)")
    ] = None
    eval_data: Annotated[
        Path | None, Setting(FOLDER, "real data for `evaluate` and the tests that use it")
    ] = None

    notices: tuple[str, ...] = ()
    """Lines for the operator: where two sources disagreed and which one counts."""
    origins: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Where the value of a field comes from; a field that is not in it has its default."""


class EffectiveSetting(msgspec.Struct, frozen=True):
    """A setting as ``chargewatch config`` shows it."""

    name: str
    value: object
    origin: str
    kind: str
    help: str


class _Given(msgspec.Struct, frozen=True):
    """A value as a source gave it, not yet understood."""

    text: str
    origin: str


def _read_table() -> dict[str, Setting]:
    hints = get_type_hints(Settings, include_extras=True)
    return {
        field: row
        for field, hint in hints.items()
        for row in getattr(hint, "__metadata__", ())
        if isinstance(row, Setting)
    }


#: field name -> its row.
TABLE: Final[Mapping[str, Setting]] = _read_table()


def environment_name(field: str) -> str:
    """The name of a setting in the environment: ``data_dir`` is ``CHARGEWATCH_DATA_DIR``."""
    return PREFIX + field.upper()


def load_settings(
    flags: Mapping[str, str | int | float | Path | None] | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv: Path | None = Path(".env"),
) -> Settings:
    """The effective settings.

    Args:
        flags: field name -> what the command line says; None means that the flag was not given.
        environ: the environment; this process's own when None.
        dotenv: a file of ``NAME=value`` lines, read when it exists.

    Raises:
        SettingsError: an unknown name, a value that does not fit, a secret given twice, an unreadable file.
    """
    environment = os.environ if environ is None else environ
    file_lines = dict(_read_dotenv(dotenv)) if dotenv is not None else {}
    _refuse_twice(environment, file_lines)
    sources = [
        _from_flags(flags or {}),
        dict(_from_names(environment, "the environment")),
        dict(_from_names(file_lines, str(dotenv))),
    ]
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    notices: list[str] = []
    for field, row in TABLE.items():
        given = [source[field] for source in sources if field in source]
        if given:
            values[field] = _understand(field, row.kind, given[0])
            origins[field] = given[0].origin
            notices.extend(_disagreements(field, row.kind, given))
    values.setdefault("data_dir", folder(".chargewatch"))
    settings = Settings(**values, notices=tuple(notices), origins=origins)
    _check_together(settings)
    return settings


def effective_settings(settings: Settings) -> tuple[EffectiveSetting, ...]:
    """Every setting with its value and origin, secrets hidden."""
    return tuple(
        EffectiveSetting(
            name=environment_name(field),
            value=_shown(row.kind, getattr(settings, field)),
            origin=settings.origins.get(field, "default"),
            kind=row.kind.words,
            help=row.help,
        )
        for field, row in TABLE.items()
    )


def _shown(kind: Kind, value: object) -> object:
    return None if value is None else kind.show(value)


def _from_flags(flags: Mapping[str, object]) -> dict[str, _Given]:
    return {
        field: _Given(str(value), f"--{field.replace('_', '-')}")
        for field, value in flags.items()
        if value is not None
    }


def _from_names(source: Mapping[str, str], origin: str) -> Iterator[tuple[str, _Given]]:
    """What the names of this product in ``source`` say; an empty text counts as not given."""
    for name in sorted(source):
        if not name.startswith(PREFIX) or name.startswith(TEST_PREFIX):
            continue
        field = name.removeprefix(PREFIX).lower()
        if field in TABLE and name == environment_name(field):
            if source[name]:
                yield field, _Given(source[name], origin)
            continue
        field = field.removesuffix(FILE_SUFFIX.lower())
        if name == environment_name(field) + FILE_SUFFIX and field in TABLE and TABLE[field].kind.secret:
            if source[name]:
                yield field, _Given(_read_secret_file(name, source[name]), f"{name} in {origin}")
            continue
        raise SettingsError(f"{name} in {origin} is no setting{_nearest(name)}")


def _nearest(name: str) -> str:
    known = [environment_name(field) for field in TABLE]
    known += [environment_name(field) + FILE_SUFFIX for field, row in TABLE.items() if row.kind.secret]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"; did you mean {close[0]}?" if close else ""


def _read_secret_file(name: str, path: str) -> str:
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is no UTF-8 text"
        raise SettingsError(f"{name}: cannot read {path}: {reason}") from None
    if not text:
        raise SettingsError(f"{name}: {path} is empty")
    return text


def _read_dotenv(path: Path) -> Iterator[tuple[str, str]]:
    """``NAME=value`` lines; quotes around a value are taken off, nothing in it is expanded."""
    if not path.is_file():
        return
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError):
        raise SettingsError(f"cannot read {path}") from None
    for number, line in enumerate(lines, 1):
        text = line.strip().removeprefix("export ").strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise SettingsError(f"{path}, line {number}: expected NAME=value")
        yield name.strip(), _unquote(value.strip())


def _unquote(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value.partition(" #")[0].rstrip()


def _refuse_twice(environment: Mapping[str, str], file_lines: Mapping[str, str]) -> None:
    """A secret and its ``_FILE`` twin: no order of precedence would be obvious, so there is none."""
    for field, row in TABLE.items():
        name = environment_name(field)
        plain = environment.get(name) or file_lines.get(name)
        in_file = environment.get(name + FILE_SUFFIX) or file_lines.get(name + FILE_SUFFIX)
        if row.kind.secret and plain and in_file:
            raise SettingsError(f"{name} and {name}{FILE_SUFFIX} are both set; keep one of them")


def _understand(field: str, kind: Kind, given: _Given) -> object:
    try:
        return kind.parse(given.text)
    except ValueError:
        instead = "" if kind.secret else f", not {given.text!r}"
        raise SettingsError(
            f"{environment_name(field)} ({given.origin}): expected {kind.words}{instead}"
        ) from None


def _disagreements(field: str, kind: Kind, given: list[_Given]) -> Iterator[str]:
    winner = given[0]
    for other in given[1:]:
        if other.text == winner.text:
            continue
        used, unused = ("the value", "the one") if kind.secret else (repr(winner.text), repr(other.text))
        name = environment_name(field)
        yield f"{name}: {used} from {winner.origin} counts, not {unused} from {other.origin}"


def _check_together(settings: Settings) -> None:
    if settings.database_app_url is not None and settings.database_url is None:
        raise SettingsError("CHARGEWATCH_DATABASE_APP_URL is set without CHARGEWATCH_DATABASE_URL")
    if settings.database_pooler and settings.database_app_url is None:
        raise SettingsError("CHARGEWATCH_DATABASE_POOLER is set without CHARGEWATCH_DATABASE_APP_URL")
