"""Log lines: JSON, one shape, whoever writes; and no secret in any of them (S12, O2)."""

import io
import json
import logging
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from chargewatch.server.platform.logging import HIDDEN, configure_logging, secrets_of
from chargewatch.server.platform.request_context import begin_context
from chargewatch.server.settings import load_settings
from chargewatch.server.tenants.keys import checksum

OWN = ["correct-horse-battery", 'with"quote\\and\nnewline-ü', "short"]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.fixture
def stream() -> io.BytesIO:
    stream = io.BytesIO()
    configure_logging("info", OWN, stream)
    return stream


def lines(stream: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_our_lines_and_the_library_s_have_one_shape(stream: io.BytesIO) -> None:
    structlog.get_logger().info("ours", number=1)
    logging.getLogger("theirs").warning("theirs %d", 2)
    logging.getLogger("uvicorn.error").info("uvicorn's")
    ours, theirs, uvicorn = lines(stream)
    for line in (ours, theirs, uvicorn):
        assert {"event", "level", "timestamp"} <= line.keys()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["timestamp"])
    assert (ours["event"], ours["level"], ours["number"]) == ("ours", "info", 1)
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("theirs 2", "warning", "theirs")
    assert uvicorn["event"] == "uvicorn's"


@pytest.mark.parametrize(
    ("level", "seen"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_holds_for_all(level: str, seen: list[str]) -> None:
    stream = io.BytesIO()
    configure_logging(level, stream=stream)
    for name in ("debug", "info", "warning", "error"):
        getattr(structlog.get_logger(), name)("ours")
        getattr(logging.getLogger("theirs"), name)("theirs")
    assert [line["level"] for line in lines(stream)] == [name for name in seen for _ in range(2)]


def test_a_second_set_up_replaces_the_first(stream: io.BytesIO) -> None:
    again = io.BytesIO()
    configure_logging("info", stream=again)
    logging.getLogger("theirs").warning("x")
    assert stream.getvalue() == b""
    assert len(lines(again)) == 1


def test_a_line_of_a_call_carries_its_ids(stream: io.BytesIO) -> None:
    import contextvars

    def call() -> None:
        begin_context({"headers": [(b"x-request-id", b"id-9")]})
        structlog.get_logger().info("ours")
        logging.getLogger("theirs").info("theirs")

    contextvars.copy_context().run(call)
    structlog.get_logger().info("outside")
    ours, theirs, outside = lines(stream)
    assert ours["request_id"] == theirs["request_id"] == "id-9"
    assert ours["trace_id"] == theirs["trace_id"]
    assert "request_id" not in outside


SECRETS = [
    "cw_" + "a" * 30 + checksum("a" * 30),
    "cw_" + "B" * 36,
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "Bearer abcdef0123456789",
    "bearer abcdef0123456789",
    "postgresql://app:s3cr3t@db/cw",
    "https://user:pa55word@example.org/",
    OWN[0],
    OWN[1],
]
SHOWN = {"postgresql://app:s3cr3t@db/cw": "app:s3cr3t", "https://user:pa55word@example.org/": "user:pa55word"}


@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_gets_through(stream: io.BytesIO, secret: str) -> None:
    hidden = SHOWN.get(secret, secret)
    log = structlog.get_logger()
    log.info(f"in the text {secret}.")
    log.info("in a value", value=secret, nested={"list": [secret, {"deep": secret}]}, x=f"<{secret}>")
    logging.getLogger("uvicorn.error").error("in an argument %s", secret)
    try:
        raise ValueError(f"in an exception: {secret}")
    except ValueError:
        log.exception("failed")
        logging.getLogger("theirs").exception("failed")
    text = stream.getvalue().decode()
    assert hidden not in text
    assert json.dumps(hidden)[1:-1] not in text
    assert HIDDEN in text
    assert len(lines(stream)) == 5


def test_words_that_are_no_secrets_stay(stream: io.BytesIO) -> None:
    structlog.get_logger().info("the bearer of the key, short, cw_x, http://127.0.0.1:8000/v1?a=b@c")
    assert lines(stream)[0]["event"] == "the bearer of the key, short, cw_x, http://127.0.0.1:8000/v1?a=b@c"


def test_the_settings_know_their_secrets(tmp_path: Path) -> None:
    settings = load_settings(
        {"data_dir": tmp_path},
        environ={
            "CHARGEWATCH_DATABASE_URL": "postgresql://app:p%40ssword@db/cw",
            "CHARGEWATCH_BOOTSTRAP_ADMIN": "a@example.org:admin-password",
            "CHARGEWATCH_SECRET_KEY": "k" * 32,
        },
        dotenv=None,
    )
    found = secrets_of(settings)
    assert {"p@ssword", "admin-password", "k" * 32, "postgresql://app:p%40ssword@db/cw"} <= set(found)


class Odd:
    def __repr__(self) -> str:
        return "<odd>"


@pytest.mark.parametrize(
    "value", [Odd(), "\ud800", b"\xff", {1: 2}, {"\udfff": 1}, {1, 2}, float("nan"), 10**400, Path("x"), None]
)
def test_any_value_can_be_logged(stream: io.BytesIO, value: object) -> None:
    structlog.get_logger().info("odd", value=value)
    assert lines(stream)[0]["event"] == "odd"


def test_a_record_that_cannot_be_written_is_not_shown_raw(
    stream: io.BytesIO, capfd: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if "pytest" not in type(handler).__module__]
    logging.getLogger("theirs").warning("%d of %s", "hunter2")
    assert lines(stream) == [{"event": "a log record could not be written", "level": "error"}]
    assert "hunter2" not in capfd.readouterr().err


def test_warnings_go_the_same_way(stream: io.BytesIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("careful", UserWarning, stacklevel=1)
    assert "careful" in lines(stream)[0]["event"]


def test_lines_go_to_stderr_by_default() -> None:
    program = (
        "import structlog; from chargewatch.server.platform.logging import configure_logging;"
        "configure_logging(); structlog.get_logger().info('here')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert json.loads(done.stderr)["event"] == "here"
