"""The administrative commands as processes: alone, beside a running service, on a server, and when they fail."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from chargewatch.server.db.access import database_for_service, prepare_database
from chargewatch.server.db.address import DatabaseAddress, quoted, state_folder
from chargewatch.server.db.connection import Login, connected
from chargewatch.server.db.embedded import DataFolderInUse, running_dsn
from chargewatch.server.db.engine import Database
from chargewatch.server.db.migrations.runner import known_versions
from chargewatch.server.settings import Secret, Settings, load_settings
from chargewatch.server.tenants.service import Authenticator, Principal

SERVER_URL = "CHARGEWATCH_TEST_DATABASE_URL"
NEWEST = known_versions()[-1]
PROGRAM = (
    "import typer; from chargewatch.cli import administration, thresholds; app = typer.Typer(); "
    "administration.register(app); thresholds.register(app); app()"
)


def start(*arguments: str | Path, **environ: str) -> subprocess.Popen[str]:
    """A command in an environment without this machine's settings."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("CHARGEWATCH_")}
    environment |= {f"CHARGEWATCH_{name}": text for name, text in environ.items()}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def chargewatch(*arguments: str | Path, **environ: str) -> Any:
    """The one JSON object that a command prints; nothing else is said."""
    status, out, err = finish(start(*arguments, "--json", **environ))
    assert (status, err) == (0, "")
    return json.loads(out)


def failure(*arguments: str | Path, **environ: str) -> tuple[int, str]:
    """Exit status and message of a command that fails; a message of ours is one line."""
    status, out, err = finish(start(*arguments, **environ))
    assert out == ""
    assert "Traceback" not in err
    if err.startswith("chargewatch: "):
        assert err.count("\n") == 1
    return status, err


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def settings_of(data_dir: Path) -> Settings:
    return load_settings({"data_dir": data_dir}, environ={}, dotenv=None)


def test_a_tenant_and_its_keys_without_a_service(data_dir: Path) -> None:
    tenant = chargewatch("tenant", "create", "acme", "--data-dir", data_dir)
    assert set(tenant) == {"tenant_id", "api_key"}
    key = chargewatch(
        "key", "create", "acme", "--scope", "read", "--scope", "admin", "--expires", "90d", "--name", "audit",
        "--data-dir", data_dir,
    )  # fmt: skip
    assert set(key) == {"key_id", "api_key", "scopes"}
    assert key["scopes"] == ["read", "admin"]
    assert key["api_key"] != tenant["api_key"]
    revoked = chargewatch("key", "revoke", key["key_id"], "--data-dir", data_dir)
    assert revoked == {"key_id": key["key_id"], "revoked": True}
    first, second = chargewatch("key", "list", tenant["tenant_id"], "--data-dir", data_dir)["keys"]
    assert (first["name"], first["revoked_at"]) == ("first key", None)
    assert (second["name"], second["key_id"]) == ("audit", key["key_id"])
    assert second["revoked_at"]
    assert second["expires_at"]
    assert chargewatch("migrate", "--data-dir", data_dir) == {"before": NEWEST, "after": NEWEST}
    assert running_dsn(state_folder(settings_of(data_dir))) is None, "the database was stopped again"
    everything = b"".join(path.read_bytes() for path in data_dir.rglob("*") if path.is_file())
    assert tenant["api_key"].encode() not in everything


def test_text_for_people(data_dir: Path) -> None:
    status, out, err = finish(start("tenant", "create", "acme", "--data-dir", data_dir))
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["tenant_id", "api_key"]
    status, out, err = finish(start("key", "list", "acme", "--data-dir", data_dir))
    assert (status, err) == (0, "")
    assert "read,write,models  first key" in out.splitlines()[1]


def test_commands_at_once_on_an_empty_folder(data_dir: Path) -> None:
    processes = [
        start("tenant", "create", name, "--data-dir", data_dir, "--json") for name in ("a", "b", "c")
    ]
    results = [finish(process) for process in processes]
    assert [(status, err) for status, _, err in results] == [(0, "")] * 3
    assert len({json.loads(out)["tenant_id"] for _, out, _ in results}) == 3


def test_another_secret_key_on_the_embedded_database(data_dir: Path) -> None:
    chargewatch("tenant", "create", "acme", "--data-dir", data_dir)
    chargewatch(
        "tenant", "create", "other", "--data-dir", data_dir, SECRET_KEY="another key for the same folder!"
    )


@pytest.fixture
def service(data_dir: Path) -> Iterator[DatabaseAddress]:
    """A service's database, held by this process."""
    settings = settings_of(data_dir)
    with database_for_service(settings) as address:
        asyncio.run(prepare_database(settings, address, may_migrate=False))
        yield address


def test_beside_a_running_service(data_dir: Path, service: DatabaseAddress) -> None:
    settings = settings_of(data_dir)

    async def principal_of(key: str) -> Principal | None:
        database = await Database.open(settings)
        try:
            return await Authenticator(database).authenticate(key)
        finally:
            await database.close()

    tenant = chargewatch("tenant", "create", "acme", "--data-dir", data_dir)
    key = chargewatch("key", "create", "acme", "--scope", "read", "--data-dir", data_dir)
    found = asyncio.run(principal_of(key["api_key"]))
    assert found is not None
    assert (str(found.tenant_id), str(found.key_id)) == (tenant["tenant_id"], key["key_id"])
    assert found.scopes == {"read"}
    chargewatch("key", "revoke", key["key_id"], "--data-dir", data_dir)
    assert asyncio.run(principal_of(key["api_key"])) is None
    assert asyncio.run(principal_of(tenant["api_key"])) is not None
    with (
        pytest.raises(DataFolderInUse, match="in use by another chargewatch"),
        database_for_service(settings),
    ):
        pass


def test_what_cannot_be_done_exits_with_1(data_dir: Path, service: DatabaseAddress) -> None:
    there = ("--data-dir", data_dir)
    chargewatch("tenant", "create", "acme", *there)
    assert failure("tenant", "create", "acme", *there) == (
        1,
        "chargewatch: the tenant name 'acme' is already in use\n",
    )
    assert failure("key", "list", "nobody", *there) == (1, "chargewatch: there is no tenant 'nobody'\n")
    unknown = "00000000-0000-0000-0000-000000000000"
    assert failure("key", "revoke", unknown, *there) == (1, f"chargewatch: there is no key {unknown}\n")
    status, err = failure("key", "create", "acme", "--expires", "2020-01-01", *there)
    assert (status, err) == (1, "chargewatch: the key would have expired already\n")


def test_thresholds_of_a_tenant(data_dir: Path, service: DatabaseAddress) -> None:
    there = ("--data-dir", data_dir)
    for name in ("acme", "other"):
        chargewatch("tenant", "create", name, *there)
    before = chargewatch("tenant", "thresholds", "acme", *there)
    assert (before["version"], before["changes"], before["changed_at"]) == (1, {}, None)
    assert before["thresholds"] == chargewatch("thresholds")["thresholds"]
    after = chargewatch(
        "tenant", "thresholds", "acme", "--set", "pit_depth=0.2", "--set", "zero_power_kw=0.2", *there
    )
    assert (after["version"], after["changes"]) == (2, {"pit_depth": 0.2, "zero_power_kw": 0.2})
    assert (after["changed_by"], after["changed_at"][:2]) == (None, "20")
    assert chargewatch("tenant", "thresholds", "acme", *there) == after
    assert chargewatch("tenant", "thresholds", "other", *there)["changes"] == {}
    status, text, err = finish(start("tenant", "thresholds", "acme", "--reset", "zero_power_kw", *there))
    assert (status, err) == (0, "")
    marked = [line.split() for line in text.splitlines() if line.startswith("* ")]
    assert marked == [["*", "pit_depth", "0.2", "0.25", "0.05", "to", "0.4", "share"]]
    assert text.splitlines()[-1].startswith("version 3, changed 20")
    assert text.splitlines()[-1].endswith("UTC on the command line")
    assert chargewatch("tenant", "thresholds", "acme", "--reset", "all", *there)["changes"] == {}
    assert failure("tenant", "thresholds", "nobody", *there) == (
        1,
        "chargewatch: there is no tenant 'nobody'\n",
    )


def test_a_newer_database_exits_with_1(data_dir: Path, service: DatabaseAddress) -> None:
    async def newer() -> None:
        async with connected(service.owner) as owner:
            await owner.execute("UPDATE alembic_version SET version_num = '9999'")

    asyncio.run(newer())
    status, err = failure("migrate", "--data-dir", data_dir)
    assert status == 1
    assert "use the newer chargewatch" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["key", "create", "acme", "--scope", "raed"], "unknown scope 'raed'"),
        (["key", "create", "acme", "--expires", "soon"], "'soon' is no date"),
        (["key", "revoke", "x"], "'x' is no key id"),
        (["tenant", "create"], "Missing argument"),
        (["tenant", "thresholds", "acme", "--set", "pit_depht=1"], "did you mean pit_depth"),
        (["tenant", "thresholds", "acme", "--set", "pit_depth=0.9"], "pit_depth must be 0.05 to 0.4 (share)"),
        (["tenant", "thresholds", "acme", "--set", "pit_depth"], "--set takes LIMIT=VALUE"),
        (["tenant", "thresholds", "acme", "--reset", "everything"], "there is no limit 'everything'"),
    ],
)
def test_a_wrong_command_line_exits_with_2(arguments: list[str], said: str) -> None:
    status, err = failure(*arguments, COLUMNS="200")
    assert status == 2
    assert said in err


def test_wrong_settings_exit_with_2(tmp_path: Path) -> None:
    assert failure("config", PROT="8000") == (
        2,
        "chargewatch: CHARGEWATCH_PROT in the environment is no setting; did you mean CHARGEWATCH_PORT?\n",
    )
    status, err = failure("migrate", DATABASE_URL="mysql://me:hidden@here/there")
    assert status == 2
    assert "hidden" not in err
    (tmp_path / "file").write_text("")
    status, err = failure("migrate", "--data-dir", tmp_path / "file")
    assert status == 2
    assert "cannot use the data folder" in err


def test_a_server_that_does_not_answer_exits_with_1(data_dir: Path) -> None:
    url = "postgresql://me:hidden@127.0.0.1:9/chargewatch"
    status, err = failure("migrate", "--data-dir", data_dir, DATABASE_URL=url)
    assert status == 1
    assert err.startswith("chargewatch: the database does not answer")
    assert "hidden" not in err


def test_config_shows_origins_and_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("CHARGEWATCH_PORT=9000\nCHARGEWATCH_LLM_MODEL=small\n")
    environ = {
        "PORT": "8000",
        "LLM_API_KEY": "hidden",
        "DATABASE_URL": "postgresql://me:hidden@db/chargewatch",
    }
    status, out, err = finish(start("config", "--data-dir", "here", "--json", **environ))
    assert status == 0
    assert "hidden" not in out + err
    answer = json.loads(out)
    assert answer["settings"]["CHARGEWATCH_PORT"] == {"value": 8000, "origin": "the environment"}
    assert answer["settings"]["CHARGEWATCH_LLM_MODEL"] == {"value": "small", "origin": ".env"}
    assert answer["settings"]["CHARGEWATCH_LLM_API_KEY"] == {"value": "***", "origin": "the environment"}
    assert answer["settings"]["CHARGEWATCH_DATA_DIR"] == {
        "value": str(tmp_path / "here"),
        "origin": "--data-dir",
    }
    assert answer["notices"] == ["CHARGEWATCH_PORT: '8000' from the environment counts, not '9000' from .env"]
    assert err == f"chargewatch: {answer['notices'][0]}\n"
    status, out, _ = finish(start("config", **environ))
    assert status == 0
    assert "hidden" not in out
    assert "postgresql://me:***@db/chargewatch" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == [".env"], "config makes nothing"


def test_help_is_fast() -> None:
    heavy = {"asyncpg", "alembic", "sqlalchemy", "msgspec", "structlog"}
    check = f"import sys, chargewatch.cli.administration; assert not {heavy!r} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


@pytest.fixture
def server_database() -> Iterator[str]:
    """The URL of an empty database on the server that the tests are given."""
    url = os.environ.get(SERVER_URL)
    if not url:
        pytest.skip(f"no PostgreSQL server: {SERVER_URL} is not set")
    name = f"cw_cli_{secrets.token_hex(4)}"

    async def execute(*statements: str) -> None:
        async with connected(Login(address=Secret(url))) as administrator:
            for statement in statements:
                await administrator.execute(statement)

    asyncio.run(execute(f"CREATE DATABASE {name}"))
    yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    roles = [f"DROP ROLE IF EXISTS {quoted(name + suffix)}" for suffix in ("_app", "_directory")]
    asyncio.run(execute(f"DROP DATABASE {name} WITH (FORCE)", *roles))


def test_on_a_server(data_dir: Path, server_database: str) -> None:
    there = {"DATABASE_URL": server_database, "DATA_DIR": str(data_dir)}
    status, err = failure("tenant", "create", "acme", **there)
    assert status == 1
    assert err.endswith("run chargewatch migrate\n")
    assert chargewatch("migrate", **there) == {"before": None, "after": NEWEST}
    tenant = chargewatch("tenant", "create", "acme", **there)
    (key,) = chargewatch("key", "list", "acme", **there)["keys"]
    assert key["tenant_id"] == tenant["tenant_id"]
    assert sorted(path.name for path in data_dir.iterdir()) == ["secret_key"], "no embedded database was made"
    status, err = failure("migrate", SECRET_KEY="another key for the same database", **there)
    assert status == 1
    assert "--reset-app-password" in err
