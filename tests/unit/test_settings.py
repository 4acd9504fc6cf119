"""Settings (O5, S12): every source, every disagreement, every wrong value, and no secret anywhere."""

import os
import pickle
import stat
import threading
from pathlib import Path

import pytest

from chargewatch.server.db.secret_key import SecretKey, load_secret_key
from chargewatch.server.settings import (
    TABLE,
    Secret,
    Settings,
    SettingsError,
    effective_settings,
    environment_name,
    load_settings,
)
from chargewatch.server.tenants.keys import new_key

SECRET_NAMES = [environment_name(field) for field, row in TABLE.items() if row.kind.secret]
VALUES = {
    "CHARGEWATCH_DATABASE_URL": "postgresql://me:hidden@db.example/chargewatch?sslmode=require",
    "CHARGEWATCH_DATABASE_APP_URL": "postgresql://app:hidden@db.example/chargewatch",
    "CHARGEWATCH_SECRET_KEY": "hidden" * 6,
    "CHARGEWATCH_BOOTSTRAP_API_KEY": "hidden" * 6,
    "CHARGEWATCH_BOOTSTRAP_ADMIN": "me@example.org:hidden",
    "CHARGEWATCH_LLM_API_KEY": "hidden",
}


def load(**environ: str) -> Settings:
    return load_settings(None, {f"CHARGEWATCH_{name}": text for name, text in environ.items()}, None)


def refusal(**environ: str) -> str:
    with pytest.raises(SettingsError) as refused:
        load(**environ)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_nothing_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(environ={})
    assert settings.data_dir == tmp_path / ".chargewatch"
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.session_idle_s == 6 * 3600
    assert settings.statement_timeout_s == 15
    assert settings.idle_in_transaction_timeout_s == 10
    assert settings.database_url is None
    assert settings.notices == ()
    assert {row.origin for row in effective_settings(settings)} == {"default"}


def test_the_environment_is_the_process_s_own_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARGEWATCH_PORT", "8123")
    assert load_settings(dotenv=None).port == 8123


def test_flags_before_environment_before_dotenv(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("CHARGEWATCH_PORT=1\nCHARGEWATCH_HOST=file\nCHARGEWATCH_LOG_LEVEL=debug\n")
    environ = {"CHARGEWATCH_PORT": "2", "CHARGEWATCH_HOST": "env"}
    settings = load_settings({"port": 3, "host": None}, environ, dotenv)
    assert (settings.port, settings.host, settings.log_level) == (3, "env", "debug")
    assert settings.origins == {"port": "--port", "host": "the environment", "log_level": str(dotenv)}
    assert settings.notices == (
        f"CHARGEWATCH_HOST: 'env' from the environment counts, not 'file' from {dotenv}",
        "CHARGEWATCH_PORT: '3' from --port counts, not '2' from the environment",
        f"CHARGEWATCH_PORT: '3' from --port counts, not '1' from {dotenv}",
    )


def test_agreement_is_no_notice(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CHARGEWATCH_PORT=9000")
    settings = load_settings({"port": 9000}, {"CHARGEWATCH_PORT": "9000"}, tmp_path / ".env")
    assert settings.notices == ()


def test_a_disagreement_about_a_secret_shows_neither(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CHARGEWATCH_LLM_API_KEY=first")
    settings = load_settings(None, {"CHARGEWATCH_LLM_API_KEY": "second"}, tmp_path / ".env")
    (notice,) = settings.notices
    assert notice.startswith(
        "CHARGEWATCH_LLM_API_KEY: the value from the environment counts, not the one from "
    )
    assert "first" not in notice
    assert "second" not in notice


def test_dotenv_lines(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(
        "# comment\n\nOTHER_PROGRAM=x\nexport CHARGEWATCH_PORT = 81 # why\n"
        "CHARGEWATCH_HOST='a # b'\nCHARGEWATCH_LLM_MODEL=\"big\"\nCHARGEWATCH_EVAL_DATA=\n"
    )
    settings = load_settings(None, {}, dotenv)
    assert (settings.port, settings.host, settings.llm_model) == (81, "a # b", "big")
    assert settings.eval_data is None
    dotenv.write_text("CHARGEWATCH_PORT=81\nsecret without a name\n")
    with pytest.raises(SettingsError, match="line 2: expected NAME=value") as refused:
        load_settings(None, {}, dotenv)
    assert "secret" not in str(refused.value)
    dotenv.write_bytes(b"CHARGEWATCH_HOST=\xff\n")
    with pytest.raises(SettingsError, match="cannot read"):
        load_settings(None, {}, dotenv)
    dotenv.write_text("CHARGEWATCH_PROT=1")
    with pytest.raises(SettingsError, match=r"CHARGEWATCH_PROT in .*\.env is no setting"):
        load_settings(None, {}, dotenv)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("PROT", "CHARGEWATCH_PORT"),
        ("DATABSE_URL", "CHARGEWATCH_DATABASE_URL"),
        ("port", "CHARGEWATCH_PORT"),
        ("PORT_FILE", "CHARGEWATCH_PORT"),
        ("SECRET_KEYS_FILE", "CHARGEWATCH_SECRET_KEY_FILE"),
        ("NOTICES", "CHARGEWATCH_"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(name: str, nearest: str) -> None:
    text = refusal(**{name: "x"})
    assert text.startswith(f"CHARGEWATCH_{name} in the environment is no setting; did you mean {nearest}")


def test_names_of_the_test_suite_are_passed_over() -> None:
    assert load(TEST_DATABASE_URL="postgresql://somewhere/else").database_url is None


def test_an_empty_text_is_not_set() -> None:
    assert load(DATABASE_URL="", PORT="", SECRET_KEY_FILE="").port == 8000


WRONG = [
    ("PORT", ["-1", "65536", "http", "80.5"], "an integer from 0 to 65535"),
    ("POOL_SIZE", ["0", "x"], "an integer from 1 to 1000"),
    ("SESSION_IDLE_S", ["0", "nan", "inf", "6h"], "seconds from 0.001 to 604800"),
    ("KEY_CACHE_S", ["1.5", "-1"], "seconds from 0 to 1"),
    ("LOG_LEVEL", ["loud"], "one of debug, info, warning, error"),
    ("DATABASE_POOLER", ["maybe"], "true or false"),
    (
        "DATABASE_URL",
        ["mysql://h/d", "postgresql://h", "postgresql://h/", "postgresql://[::1/d"],
        "postgresql://",
    ),
    ("LLM_BASE_URL", ["ftp://x", "https://", "https://me:hidden@host/v1"], "an http or https address"),
    ("WEBHOOK_ALLOW_CIDRS", ["10.0.0.0/33", "10.0.0.1/8", "localhost"], "networks such as 10.0.0.0/8"),
    ("ARTEFACT_URL", ["/folder", "s3://", "file://"], "file:///folder or s3://bucket/prefix"),
    ("SECRET_KEY", ["hidden"], "at least 32 characters"),
    ("BOOTSTRAP_API_KEY", ["hidden", "cw_" + "hidden" * 6, "hidden = " * 5], "32 to 128 characters"),
    ("BOOTSTRAP_ADMIN", ["hidden", "me@example.org", "hidden:hidden", "me@example.org:"], "email:password"),
]


@pytest.mark.parametrize(
    ("name", "text", "expected"), [(name, text, words) for name, texts, words in WRONG for text in texts]
)
def test_a_wrong_value_is_one_clear_line(name: str, text: str, expected: str) -> None:
    message = refusal(**{name: text})
    assert message.startswith(f"CHARGEWATCH_{name} (the environment): expected {expected}")
    if TABLE[name.lower()].kind.secret:
        assert "hidden" not in message
    else:
        assert repr(text) in message


def test_right_values() -> None:
    settings = load(
        PORT="0",
        LOG_LEVEL="WARNING",
        DATABASE_URL="postgres:///chargewatch?host=/run/postgresql",
        DATABASE_APP_URL="postgresql://app@pooler:6432/chargewatch",
        DATABASE_POOLER="yes",
        WEBHOOK_ALLOW_CIDRS="10.0.0.0/8, fd00::/8",
        LLM_BASE_URL="http://127.0.0.1:11434/v1/",
        ARTEFACT_URL="s3://models/here",
        BOOTSTRAP_API_KEY=new_key(),
        DATA_DIR="~/cw",
        KEY_CACHE_S="0.25",
    )
    assert settings.port == 0
    assert settings.log_level == "warning"
    assert settings.database_pooler
    assert settings.webhook_allow_cidrs == ("10.0.0.0/8", "fd00::/8")
    assert settings.llm_base_url == "http://127.0.0.1:11434/v1"
    assert settings.data_dir == Path.home() / "cw"
    assert settings.key_cache_s == 0.25


def test_settings_that_need_each_other() -> None:
    assert "without CHARGEWATCH_DATABASE_URL" in refusal(DATABASE_APP_URL="postgresql://app@h/d")
    assert "without CHARGEWATCH_DATABASE_APP_URL" in refusal(
        DATABASE_URL="postgresql://h/d", DATABASE_POOLER="true"
    )


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_every_secret_also_comes_from_a_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(VALUES[name] + "\n")
    environ = {f"{name}_FILE": str(path)}
    if name == "CHARGEWATCH_DATABASE_APP_URL":
        environ["CHARGEWATCH_DATABASE_URL"] = VALUES["CHARGEWATCH_DATABASE_URL"]
    settings = load_settings(None, environ, None)
    field = name.removeprefix("CHARGEWATCH_").lower()
    assert getattr(settings, field) == Secret(VALUES[name])
    assert settings.origins[field] == f"{name}_FILE in the environment"


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_secret_and_its_file_are_one_too_many(name: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"{name}_FILE=/somewhere")
    with pytest.raises(SettingsError, match=f"{name} and {name}_FILE are both set; keep one of them"):
        load_settings(None, {name: VALUES[name], f"{name}_FILE": "/somewhere"}, None)
    with pytest.raises(SettingsError, match="are both set"):
        load_settings(None, {name: VALUES[name]}, tmp_path / ".env")


def test_a_secret_file_must_be_readable_and_hold_something(tmp_path: Path) -> None:
    missing, empty, binary = tmp_path / "missing", tmp_path / "empty", tmp_path / "binary"
    empty.write_text("\n")
    binary.write_bytes(b"\xff\xfe")
    assert "No such file" in refusal(LLM_API_KEY_FILE=str(missing))
    assert "is empty" in refusal(LLM_API_KEY_FILE=str(empty))
    assert "no UTF-8 text" in refusal(LLM_API_KEY_FILE=str(binary))


def test_secrets_show_nowhere() -> None:
    settings = load_settings(None, VALUES, None)
    shown = [repr(settings), str(settings), repr(effective_settings(settings)), f"{settings.database_url}"]
    assert not [text for text in shown if "hidden" in text]
    values = {row.name: row.value for row in effective_settings(settings)}
    assert values["CHARGEWATCH_DATABASE_URL"] == "postgresql://me:***@db.example/chargewatch"
    assert values["CHARGEWATCH_LLM_API_KEY"] == "***"
    assert values["CHARGEWATCH_BOOTSTRAP_ADMIN"] == "***"
    assert set(SECRET_NAMES) == set(VALUES)


def test_a_secret_is_a_value() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert len({Secret("a"), Secret("a")}) == 1
    assert Secret("a") != "a"
    assert pickle.loads(pickle.dumps(Secret("a"))).reveal() == "a"


def test_the_table_names_every_setting_once() -> None:
    settings = load()
    names = [row.name for row in effective_settings(settings)]
    assert len(names) == len(set(names)) == len(TABLE)
    assert set(TABLE) == set(Settings.__struct_fields__) - {"notices", "origins"}
    for row in effective_settings(settings):
        assert row.kind
        assert row.help
    assert [row.value for row in effective_settings(settings) if row.name == "CHARGEWATCH_PORT"] == [8000]


# --- the secret key --------------------------------------------------------------------------------------


def test_the_secret_key_is_made_once_and_closed(tmp_path: Path) -> None:
    settings = load(DATA_DIR=str(tmp_path / "data"))
    first = load_secret_key(settings)
    path = tmp_path / "data" / "secret_key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]
    assert load_secret_key(settings).derive("x") == first.derive("x") != first.derive("y")
    assert path.read_text() not in repr(first)


def test_two_starters_agree_on_the_secret_key(tmp_path: Path) -> None:
    settings = load(DATA_DIR=str(tmp_path))
    keys: list[bytes] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        keys.append(load_secret_key(settings).derive("x"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1


def test_the_secret_key_from_the_environment_needs_no_folder(tmp_path: Path) -> None:
    settings = load(DATA_DIR=str(tmp_path / "data"), SECRET_KEY="k" * 32)
    assert load_secret_key(settings).derive("x") == SecretKey(b"k" * 32).derive("x")
    assert not (tmp_path / "data").exists()


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_an_open_or_broken_secret_key_is_refused(tmp_path: Path) -> None:
    settings = load(DATA_DIR=str(tmp_path))
    path = tmp_path / "secret_key"
    path.write_text("k" * 43)
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="can be read by others; run: chmod 600"):
        load_secret_key(settings)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(SettingsError, match="holds no key"):
        load_secret_key(settings)
    path.unlink()
    path.mkdir(mode=0o700)
    with pytest.raises(SettingsError, match=r"cannot use .*: Is a directory"):
        load_secret_key(settings)


def test_a_data_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"cannot use .*: Not a directory"):
        load_secret_key(load(DATA_DIR=str(tmp_path / "file" / "data")))
