"""A request body to a typed value, or to the problem that says what is wrong with it.

Two passes over the same bytes. The first, `check`, refuses what JSON leaves open and databases choke on:
repeated names, NUL, lone surrogates, NaN and Infinity, numbers beyond float64, endless nesting (msgspec takes
several of these). The second decodes into the slice's struct. 25 readings take about 25 µs in all. A large
body goes through `large_json` instead.

What is not JSON (RFC 8259) is a 400; JSON that is not acceptable a 422. Nothing that was sent is repeated.
"""

import functools
import json
import re
from collections.abc import Hashable
from typing import Any, Final, Never, TypeVar, cast

import msgspec

from chargewatch.server.platform.problems import FieldError, Location, Problem
from chargewatch.server.platform.schema_places import choices_at, field_names_at

T = TypeVar("T")

#: Digits before the point that every float64 has room for; longer integers are looked at twice.
_SURE_DIGITS: Final = 308
#: What may be NUL or half of a surrogate pair, if its backslash is not itself escaped. Its group: the other half.
_SUSPECT: Final = re.compile(
    rb"\\u(?:0000|[dD][89abAB][0-9a-fA-F]{2}(\\u[dD][c-fC-F][0-9a-fA-F]{2})?|[dD][c-fC-F][0-9a-fA-F]{2})"
)
_PLACE: Final = re.compile(r" - at `(?:key in )?\$(.*)`$", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_FIELD: Final = re.compile(r"^Object (missing required|contains unknown) field `(.*)`", re.DOTALL)
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def decode(body: bytes, type_: type[T]) -> T:
    """Decodes a body.

    Raises:
        Problem: 400 ``malformed_json``, or 422.
    """
    check(body)
    try:
        return cast("T", decoder(cast("Hashable", type_)).decode(body))
    except msgspec.ValidationError as error:
        raise validation_problem(error, type_) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise malformed("The body is not JSON.") from None
    except RecursionError:
        raise too_deep() from None


@functools.cache
def decoder(type_: Hashable) -> msgspec.json.Decoder[Any]:
    """Returns the decoder of a type."""
    return msgspec.json.Decoder(type_)


def check(body: bytes) -> None:
    """Refuses what is not JSON, and JSON that two readers could take for different things.

    Raises:
        Problem: 400 ``malformed_json``; 422 ``duplicate_key``, ``invalid_character``,
            ``number_out_of_range`` or ``too_deep``.
    """
    if body.startswith(_BYTE_ORDER_MARK):
        raise malformed("The body begins with a byte order mark; JSON has none.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(error.start) from None
    try:
        CHECKER.decode(text)
    except json.JSONDecodeError as error:
        raise malformed(f"The body is not JSON (line {error.lineno}, column {error.colno}).") from None
    except RecursionError:
        raise too_deep() from None
    check_escapes(body)


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise duplicate_key()


def check_range(digits: str) -> None:
    """Refuses a number that no 64-bit float can hold."""
    if float(digits) in (_INFINITY, -_INFINITY):
        raise out_of_range()


def _integer(digits: str) -> None:
    if len(digits) > _SURE_DIGITS:
        check_range(digits)


def _constant(_name: str) -> Never:
    raise no_number()


_INFINITY: Final = float("inf")
#: Parses JSON and refuses on the way what is wrong with it, but for escapes; what it returns means nothing.
CHECKER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=check_range, parse_int=_integer, parse_constant=_constant
)


def check_escapes(body: bytes) -> None:
    r"""Refuses ``\u0000`` and halves of surrogate pairs.

    Args:
        body: JSON, in which backslashes are nowhere but in texts.

    Raises:
        Problem: 422 ``invalid_character``.
    """
    at = 0
    while suspect := _SUSPECT.search(body, at):
        if _is_escaped(body, suspect.start()):
            at = suspect.start() + 2
        elif suspect[1] is None:
            raise refused("invalid_character", "A text of the body holds NUL or half of a surrogate pair.")
        else:
            at = suspect.end()


def _is_escaped(body: bytes, at: int) -> bool:
    """Whether an odd number of backslashes stands before a place."""
    first = at
    while first and body[first - 1] == _BACKSLASH:
        first -= 1
    return (at - first) % 2 == 1


_BACKSLASH: Final = ord("\\")


def malformed(detail: str) -> Problem:
    """Returns the 400."""
    return Problem(400, "malformed_json", detail)


def not_utf8(position: int) -> Problem:
    """Returns the 400 for a byte that is no UTF-8."""
    return malformed(f"The body is not UTF-8 (byte {position + 1}).")


def refused(code: str, detail: str) -> Problem:
    """Returns a 422 for the body as a whole."""
    return Problem(422, code, detail, errors=[FieldError((), detail, code)])


def duplicate_key() -> Problem:
    """Returns the 422 for a repeated name."""
    return refused("duplicate_key", "An object of the body has the same name twice.")


def no_number() -> Problem:
    """Returns the 422 for NaN and Infinity."""
    return refused("number_out_of_range", "NaN and Infinity are not numbers in JSON.")


def out_of_range() -> Problem:
    """Returns the 422 for a number beyond float64."""
    return refused("number_out_of_range", "A number of the body is beyond what a 64-bit float can hold.")


def too_deep() -> Problem:
    """Returns the 422 for endless nesting."""
    return refused("too_deep", "The body is nested too deeply.")


def validation_problem(error: msgspec.ValidationError, type_: object, what: str = "body") -> Problem:
    """Returns the 422 for a value that is not of its type.

    msgspec's texts name types and places, both ours, except where they repeat a wrong field name or value;
    there the names or values that would be right stand instead.

    Args:
        error: what msgspec says.
        type_: the type that was expected.
        what: what was decoded, for the sentence.
    """
    text = str(error)
    place = _PLACE.search(text)
    loc = _location(place[1]) if place else ()
    message = text[: place.start()] if place else text
    field = _FIELD.match(message)
    if field and field[1] == "missing required":
        loc, message, kind = (*loc, field[2]), "is required", "missing"
    elif field:
        known = ", ".join(field_names_at(type_, loc))
        message, kind = f"has an unknown field; it takes {known}", "unknown_field"
    elif message.startswith("Invalid enum value"):
        message, kind = _one_of(choices_at(type_, loc)), "unknown_value"
    else:
        kind = _kind(message)
        message = message[:1].lower() + message[1:].replace("`", "")
    where = ".".join(str(step) for step in loc) or f"The {what}"
    return Problem(422, "validation_error", f"{where}: {message}", errors=[FieldError(loc, message, kind)])


def _location(path: str) -> Location:
    """Returns the steps of msgspec's path; a step through a name of the client's own is ``*``."""
    return tuple(
        name or ("*" if position == "..." else int(position)) for name, position in _STEP.findall(path)
    )


def _one_of(choices: tuple[str, ...]) -> str:
    return f"must be one of {', '.join(choices)}" if choices else "is none of the possible values"


def _kind(message: str) -> str:
    if "out of range" in message:
        return "number_out_of_range"
    if message.startswith("Invalid"):
        return "value_error"
    return "type_error" if ", got `" in message else "constraint"
