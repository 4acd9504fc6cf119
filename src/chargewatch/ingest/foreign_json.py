"""JSON of foreign systems into structs: strict about what is needed, indifferent to the rest, exact about digits.

What a system sends beyond its standard is passed over; what is needed and cannot be read is named with its place.
Reading a frame of eight values takes some 35 µs in all; only checking it against the standard's JSON schema takes ten
times as long, and would refuse data that an operator wants (`tests/unit/test_ocpp_schemas.py` compares the two).
"""

import re
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from chargewatch.domain.decimals import parse_decimal
from chargewatch.domain.ids import external_id
from chargewatch.domain.instants import parse_instant

T = TypeVar("T")
Place = tuple[str | int, ...]

ABSENT: Final = msgspec.Raw(b"null")
LONGEST_NAME: Final = 255
_PATH: Final = re.compile(r" - at `\$(.*)`$", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_MISSING: Final = re.compile(r"Object missing required field `([^`]+)`")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_INTEGRAL: Final = re.compile(r"(-?[0-9]+)(?:\.0+)?")


class Unreadable(Exception):
    """A message cannot be taken: the place in it (names and positions), why, and a stable word for it."""

    def __init__(self, place: Place, message: str, code: str = "value_error") -> None:
        super().__init__(message)
        self.place = place
        self.message = message
        self.code = code

    @property
    def pointer(self) -> str:
        """The place as a JSON pointer (RFC 6901)."""
        return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in self.place)

    @property
    def text(self) -> str:
        """The place and what is wrong there, in one line."""
        return f"{self.pointer}: {self.message}" if self.place else self.message

    def within(self, place: Place) -> "Unreadable":
        """Returns the same fault, seen from around ``place``."""
        return Unreadable((*place, *self.place), self.message, self.code)


def decode(raw: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T], place: Place = ()) -> T:
    """Decodes JSON that stands at ``place`` of a message.

    Raises:
        Unreadable: not JSON, or not of the decoder's type.
    """
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _unreadable(str(error), place) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unreadable(place, "is not JSON", "malformed_json") from None
    except RecursionError:
        raise Unreadable(place, "is nested too deeply", "too_deep") from None


def _unreadable(text: str, place: Place) -> Unreadable:
    path = _PATH.search(text)
    message = text[: path.start()] if path else text
    if path is not None:
        place = (*place, *(name or int(position) for name, position in _STEP.findall(path[1])))
    missing = _MISSING.match(message)
    if missing:
        return Unreadable((*place, missing[1]), "is required", "missing")
    return Unreadable(place, message[:1].lower() + message[1:].replace("`", ""), "type_error")


def checked(place: Place, parse: Callable[[str], T], text: str) -> T:
    """Returns what ``parse`` makes of a text.

    Raises:
        Unreadable: where ``parse`` raises a ValueError.
    """
    try:
        return parse(text)
    except ValueError as fault:
        raise Unreadable(place, str(fault)) from None


def instant(text: str, place: Place) -> int:
    """Returns a time in microseconds since 1970; without an offset it is UTC."""
    return checked(place, parse_instant, text)


def is_absent(raw: msgspec.Raw) -> bool:
    """Tells whether a field was left out or null."""
    return bytes(raw) == b"null"


def number_text(raw: msgspec.Raw, place: Place) -> str:
    """Returns the text of a number that came bare or as text, with its digits as sent.

    Raises:
        Unreadable: ``""``, ``"1,5"``, true, an object, or beyond float64.
    """
    sent = bytes(raw)
    if sent[:1] == b'"':
        text = decode(sent, _TEXT, place)
    elif sent[:1] in b"-0123456789":
        text = sent.decode()
    else:
        raise Unreadable(place, "must be a number or a number as text, such as 5.5", "type_error")
    checked(place, parse_decimal, text)
    return text


def id_text(raw: msgspec.Raw, place: Place) -> str | None:
    """Returns an id that came as a number or as text, with all its digits; None where there is none.

    Raises:
        Unreadable: it is neither.
    """
    sent = bytes(raw)
    if sent == b"null":
        return None
    text = decode(sent, _TEXT, place) if sent[:1] == b'"' else sent.decode()
    integral = _INTEGRAL.fullmatch(text)
    if integral is not None:
        return integral[1]
    if sent[:1] != b'"':
        raise Unreadable(place, "must be an integer or text", "type_error")
    text = text.strip()
    return name(text, place) if text else None


def place_id(raw: msgspec.Raw, place: Place) -> str | None:
    """Returns the id of an EVSE or connector; None where there is none, or an empty text.

    Raises:
        Unreadable: it cannot be an id.
    """
    text = id_text(raw, place)
    return None if text is None else checked(place, external_id, text)


def name(text: str, place: Place, longest: int = LONGEST_NAME) -> str:
    """Returns a text as sent, such as the name of a measurand.

    Raises:
        Unreadable: too long, or control characters in it.
    """
    if len(text) > longest:
        raise Unreadable(place, f"must not have more than {longest} characters", "constraint")
    if _UNPRINTABLE.search(text):
        raise Unreadable(place, "must not contain control characters")
    return text


def remark(value: object) -> str | None:
    """Returns a text that nothing depends on, such as the reason of a stop; None where it cannot be kept."""
    if not isinstance(value, str) or not value or len(value) > LONGEST_NAME or _UNPRINTABLE.search(value):
        return None
    return value


_TEXT: Final = msgspec.json.Decoder(str)
