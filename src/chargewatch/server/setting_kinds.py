"""What values a setting can take: in words for the operator, as code, and how they are shown."""

import math
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from chargewatch.server.tenants.keys import is_plausible

HIDDEN: Final = "***"


class Secret:
    """A text that does not show itself in a log, an error or a dump; `reveal` hands it out."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret({HIDDEN!r})"

    def __str__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class Kind(msgspec.Struct, frozen=True):
    """What values a setting takes: in words, as code, and how they are shown."""

    words: str
    parse: Callable[[str], object]
    """Raises ValueError when the text does not fit."""
    show: Callable[[Any], object] = str
    secret: bool = False


def integer(low: int, high: int) -> Kind:
    """A whole number within bounds."""

    def parse(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise ValueError
        return number

    return Kind(f"an integer from {low} to {high}", parse, show=int)


def seconds(low: float, high: float) -> Kind:
    """A duration within bounds."""

    def parse(text: str) -> float:
        number = float(text)
        if not (math.isfinite(number) and low <= number <= high):
            raise ValueError
        return number

    return Kind(f"seconds from {low:g} to {high:g}", parse, show=float)


def choice(*words: str) -> Kind:
    """One of some words, however capitalised."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError
        return text.lower()

    return Kind("one of " + ", ".join(words), parse)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "1", "yes", "false", "0", "no"):
        raise ValueError
    return text.lower() in ("true", "1", "yes")


def folder(text: str) -> Path:
    """An absolute path; a relative one starts where the program was started."""
    return Path(text).expanduser().absolute()


def _long_secret(text: str) -> Secret:
    if len(text) < 32:
        raise ValueError
    return Secret(text)


def _bootstrap_key(text: str) -> Secret:
    if not is_plausible(text):
        raise ValueError
    return Secret(text)


def _login(text: str) -> Secret:
    email, colon, password = text.partition(":")
    if "@" not in email or not colon or not password:
        raise ValueError
    return Secret(text)


def _postgres_url(text: str) -> Secret:
    parts = urlsplit(text)
    if parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/"):
        raise ValueError
    return Secret(text)


def _without_password(secret: Secret) -> str:
    """Where the database is, without the password and without the options (they may hold one)."""
    parts = urlsplit(secret.reveal())
    credentials, at, place = parts.netloc.rpartition("@")
    user = credentials.partition(":")[0]
    hidden = f"{user}:{HIDDEN}" if ":" in credentials else user
    return f"{parts.scheme}://{hidden}{at}{place}{parts.path}"


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise ValueError
    return text.rstrip("/")


def _artefact_url(text: str) -> str:
    parts = urlsplit(text)
    if not ((parts.scheme == "file" and parts.path) or (parts.scheme == "s3" and parts.netloc)):
        raise ValueError
    return text


def _networks(text: str) -> tuple[str, ...]:
    return tuple(str(ip_network(word.strip())) for word in text.split(",") if word.strip())


TEXT: Final = Kind("text", str)
FOLDER: Final = Kind("a folder", folder)
PORT: Final = integer(0, 65535)
LEVEL: Final = choice("debug", "info", "warning", "error")
SWITCH: Final = Kind("true or false", _boolean, show=bool)
SECRET: Final = Kind("text", Secret, secret=True)
LONG_SECRET: Final = Kind("at least 32 characters", _long_secret, secret=True)
API_KEY: Final = Kind(
    "32 to 128 characters of A-Z a-z 0-9 _ - (a key with the prefix cw_ also needs its checksum)",
    _bootstrap_key,
    secret=True,
)
LOGIN: Final = Kind("email:password", _login, secret=True)
POSTGRES: Final = Kind("postgresql://user:password@host/database", _postgres_url, _without_password, True)
WEB: Final = Kind("an http or https address without a user", _web_address)
ARTEFACTS: Final = Kind("file:///folder or s3://bucket/prefix", _artefact_url)
NETWORKS: Final = Kind("networks such as 10.0.0.0/8, separated by commas", _networks, show=list)
