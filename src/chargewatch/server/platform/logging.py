"""Logs: one JSON object a line on stderr, UTC times, no secrets, whoever writes.

The standard library's loggers (uvicorn's among them) go the same way. Lines written while a call is answered
carry its ids. Texts that look like keys, webhook secrets or passwords in addresses are made unreadable in the
finished line, wherever they stand in it, as are the installation's own secrets.
"""

import logging
import re
import sys
from collections.abc import Iterable, MutableMapping
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final
from urllib.parse import unquote, urlsplit

import msgspec
import structlog

from chargewatch.server.platform.request_context import current_context
from chargewatch.server.settings import TABLE, Secret, Settings

HIDDEN: Final = "[hidden]"
_SHORTEST_SECRET: Final = 8
#: What secrets look like, each with a text that it cannot be without: most lines are passed by that alone.
_SECRETS: Final = {
    "cw_": r"\bcw_[A-Za-z0-9_-]{6,}",
    "whsec_": r"\bwhsec_[A-Za-z0-9+/=_-]{6,}",
    "earer ": r"\b[Bb]earer +[A-Za-z0-9._~+/=-]{6,}",
    "://": r"(?<=://)[^\s/:@\"]*:[^\s/@\"]+(?=@)",
}

EventDict = MutableMapping[str, Any]


def configure_logging(
    level: str = "info", secrets: Iterable[str] = (), stream: BinaryIO | None = None
) -> None:
    """Sets up logging for this process; a second call replaces the first.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        secrets: texts that must not appear, beside those that look like secrets.
        stream: where the lines go; stderr by default.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    output = stream if stream is not None else sys.stderr.buffer
    finish = _Finish(secrets)
    structlog.configure(
        processors=[_add_context, structlog.processors.add_log_level, *_AT_THE_END, finish],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(output),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    root.addHandler(_ToStructlog(finish, output))
    root.setLevel(number)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.captureWarnings(capture=True)


def secrets_of(settings: Settings) -> list[str]:
    """Returns the texts of the settings that must not appear in a log, passwords within them also alone."""
    found = [getattr(settings, field) for field in TABLE]
    texts = [secret.reveal() for secret in found if isinstance(secret, Secret)]
    passwords = [urlsplit(text).password if "://" in text else text.partition(":")[2] for text in texts]
    return [*texts, *(unquote(password) for password in passwords if password)]


def _add_context(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Adds the ids of the call that is being answered."""
    context = current_context()
    if context is not None:
        event["request_id"] = context.request_id
        event["trace_id"] = context.trace_id
        if context.principal is not None:
            event["tenant_id"] = str(context.principal.tenant_id)
    return event


def _add_time(_logger: object, _method: str, event: EventDict) -> EventDict:
    event["timestamp"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return event


_AT_THE_END: Final = (_add_time, structlog.processors.format_exc_info)


class _Finish:
    """The last step: a JSON line without secrets."""

    def __init__(self, secrets: Iterable[str]) -> None:
        encoded = (msgspec.json.encode(secret)[1:-1].decode() for secret in secrets)
        own = sorted((text for text in encoded if len(text) >= _SHORTEST_SECRET), key=len, reverse=True)
        self._marks = [mark.encode() for mark in (*_SECRETS, *own)]
        self._secrets = re.compile("|".join([*map(re.escape, own), *_SECRETS.values()]).encode())
        self._encode = msgspec.json.Encoder(enc_hook=repr).encode

    def __call__(self, _logger: object, _method: str, event: EventDict) -> bytes:
        try:
            line = self._encode(event)
        except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
            line = self._encode({name: _plain(value) for name, value in event.items()})
        if any(mark in line for mark in self._marks):
            return self._secrets.sub(HIDDEN.encode(), line)
        return line


def _plain(value: object) -> str:
    """Returns any value as a text that JSON can hold."""
    text = value if isinstance(value, str) else repr(value)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class _ToStructlog(logging.Handler):
    """Takes the standard library's records."""

    def __init__(self, finish: _Finish, stream: BinaryIO) -> None:
        super().__init__()
        self._finish = finish
        self._logger = structlog.BytesLogger(stream)

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        try:
            event: EventDict = {
                "event": record.getMessage(),
                "logger": record.name,
                "level": record.levelname.lower(),
            }
            if record.exc_info:
                event["exc_info"] = record.exc_info
            for processor in (_add_context, *_AT_THE_END):
                event = processor(None, "", event)
            self._logger.msg(self._finish(None, "", event))
        except Exception:  # noqa: BLE001 - a record that cannot be written stops nobody, and is not shown raw
            self._logger.msg(b'{"event":"a log record could not be written","level":"error"}')
