"""`strict_json` for a large body: piece by piece, so that memory stays small and other calls go on meanwhile.

`strict_json.check` parses a body as a whole, which builds what it parses: 16 MiB of ``[],[],`` become 400 MB,
and the interpreter is held until that is done. Here the parser only ever sees a window of the body. Values
that lie in a window are parsed by it and forgotten at once; only what is larger than half a window (a list of
readings, say) is walked through, name by name and element by element.

A body is decoded first, so that what is not of its type is refused cheaply; but one with very many objects only
after the walk, which bounds what decoding builds. What is refused, and as what, is the same as for a small
body, but for a body with several faults, where it may be another of them.
"""

import codecs
import json
import re
from collections.abc import Hashable
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Final, TypeVar, cast

import msgspec

from chargewatch.server.platform import strict_json
from chargewatch.server.platform.problems import Problem

T = TypeVar("T")

WINDOW: Final = 64 * 1024
#: Deeper nesting of what is larger than half a window: no call takes that (a batch has 4 levels).
DEEPEST: Final = 8
#: Names of one object that is larger than half a window.
MOST_NAMES: Final = 10_000
#: Elements of one list that is larger than half a window; a session has at most 200,000 readings.
MOST_ELEMENTS: Final = 250_000

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_MARK: Final = re.compile(r"[ \t\n\r]*([,\]}])[ \t\n\r]*")
_STRING: Final = re.compile(rb'(?:[^"\\]+|\\.){1,4096}', re.DOTALL)
_NUMBER: Final = re.compile(rb"[-+.eE0-9]+")
_CONSTANT: Final = re.compile(rb"NaN|-?Infinity")
_BYTE: Final = re.compile(r"\(byte (\d+)\)$")
_ANY_JSON: Final = msgspec.json.Decoder(msgspec.Raw)


def decode(body: bytes, type_: type[T]) -> T:
    """Decodes a body of any size.

    Raises:
        Problem: 400 ``malformed_json``, or 422.
    """
    try:
        return _decode(body, type_)
    except RecursionError:
        raise strict_json.too_deep() from None


def _decode(body: bytes, type_: type[T]) -> T:
    is_crowded = body.count(b"{") > MOST_ELEMENTS
    if is_crowded:
        _check_grammar(body)
        _walk(body)
    try:
        value = strict_json.decoder(cast("Hashable", type_)).decode(body)
    except msgspec.ValidationError as error:
        _check_grammar(body)
        raise strict_json.validation_problem(error, type_) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _why_not_json(body, error) from None
    if not is_crowded:
        _walk(body)
    return cast("T", value)


def _walk(body: bytes) -> None:
    strict_json.check_escapes(body)
    Walk(body).run()


def _check_grammar(body: bytes) -> None:
    """Refuses what is not JSON; nothing is built."""
    try:
        _ANY_JSON.decode(body)
    except msgspec.DecodeError as error:
        raise _why_not_json(body, error) from None


def _why_not_json(body: bytes, error: Exception) -> Problem:
    """Returns the problem of a body that msgspec cannot read; half surrogate pairs and NaN are 422s."""
    strict_json.check_escapes(body)
    place = _BYTE.search(str(error))
    start = int(place[1]) if place else 0
    if place and _CONSTANT.match(body, start - (body[start - 1 : start] == b"-")):
        return strict_json.no_number()
    return strict_json.malformed("The body is not JSON" + (f" (byte {start + 1})." if place else "."))


class Walk:
    """A walk through a body that is JSON."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._parse = strict_json.CHECKER.raw_decode
        self._open: list[set[str] | None] = []
        """What is being walked through: the names of an object so far, None for a list."""
        self._elements = [0]
        """How many values there have been in each of them."""
        self._load(0)

    def run(self) -> None:
        """Walks to the end.

        Raises:
            Problem: 400 or 422.
        """
        self._space()
        while True:
            if (self._value() or self._is_empty()) and self._ends():
                return
            names = self._open[-1]
            if names is not None:
                self._name(names)

    def _load(self, start: int) -> None:
        """Puts the window on a byte of the body."""
        self._start, self._at = start, 0
        self._is_last = start + WINDOW >= len(self._body)
        try:
            self._text, _ = codecs.utf_8_decode(self._body[start : start + WINDOW], "strict", self._is_last)
        except UnicodeDecodeError as error:
            raise strict_json.not_utf8(start + error.start) from None

    def _move(self) -> None:
        """Moves the window to where the walk is."""
        self._load(self._start + self._walked())

    def _walked(self) -> int:
        return len(self._text[: self._at].encode())

    def _space(self) -> None:
        """Goes to the next character that is no space."""
        while True:
            self._at = _end_of(_SPACE.match(self._text, self._at))
            if self._at < len(self._text) or self._is_last:
                return
            self._move()

    def _value(self) -> bool:
        """Walks over a value; False when it is so large that it has only been entered."""
        end = self._end_of_small_value()
        if end is None and self._walked() > WINDOW // 2:
            self._move()
            end = self._end_of_small_value()
        if end is not None:
            self._at = end
            return True
        first = self._text[self._at : self._at + 1]
        if first in ("[", "{"):
            self._enter(first)
            return False
        self._move()
        self._load(self._end_of_string() if first == '"' else self._end_of_number())
        return True

    def _end_of_small_value(self) -> int | None:
        """Returns where a value ends; None when it may go on behind the window."""
        try:
            _, end = self._parse(self._text, self._at)
        except json.JSONDecodeError:
            return None
        return end if end < len(self._text) or self._is_last else None

    def _enter(self, bracket: str) -> None:
        if len(self._open) == DEEPEST:
            raise strict_json.too_deep()
        self._open.append(set() if bracket == "{" else None)
        self._elements.append(0)
        self._at += 1
        self._space()

    def _is_empty(self) -> bool:
        """Leaves a list or object that has nothing but space in it."""
        if self._text[self._at : self._at + 1] not in ("]", "}"):
            return False
        self._at += 1
        self._leave()
        return True

    def _ends(self) -> bool:
        """Goes on from the end of a value to the next one; True when there is none."""
        while self._open:
            self._elements[-1] += 1
            if self._elements[-1] > MOST_ELEMENTS:
                raise _too_many()
            if self._mark() == ",":
                return False
            self._leave()
        return True

    def _leave(self) -> None:
        self._open.pop()
        self._elements.pop()

    def _mark(self) -> str:
        """Walks over a comma or a closing bracket."""
        found = _MARK.match(self._text, self._at)
        if found is not None and found.end() < len(self._text):
            self._at = found.end()
            return found[1]
        self._space()
        mark = self._text[self._at]
        self._at += 1
        self._space()
        return mark

    def _name(self, names: set[str]) -> None:
        """Walks over a name and its colon."""
        try:
            name, end = scanstring(self._text, self._at + 1)
        except json.JSONDecodeError:
            self._move()
            name, end = self._first_string()
        if name in names:
            raise strict_json.duplicate_key()
        if len(names) == MOST_NAMES:
            raise _too_complex(f"An object of the body has more than {MOST_NAMES} names.")
        names.add(name)
        self._at = end
        self._space()
        self._at += 1
        self._space()

    def _first_string(self) -> tuple[str, int]:
        try:
            return cast("tuple[str, int]", scanstring(self._text, 1))
        except json.JSONDecodeError:
            raise _too_complex(f"A name in the body is longer than {WINDOW} bytes.") from None

    def _end_of_string(self) -> int:
        """Returns the byte behind a string that begins with the window; it is UTF-8."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        at = self._start + 1
        while piece := _STRING.match(self._body, at):
            try:
                decoder.decode(piece[0])
            except UnicodeDecodeError as error:
                raise strict_json.not_utf8(at + error.start) from None
            at = piece.end()
        return at + 1

    def _end_of_number(self) -> int:
        """Returns the byte behind a number that begins with the window."""
        number = _NUMBER.match(self._body, self._start)
        assert number is not None
        strict_json.check_range(number[0].decode("ascii"))
        return number.end()


def _end_of(match: re.Match[str] | None) -> int:
    assert match is not None
    return match.end()


def _too_complex(detail: str) -> Problem:
    return strict_json.refused("too_complex", detail)


def _too_many() -> Problem:
    detail = f"A list of the body has more than {MOST_ELEMENTS} elements; send them in several calls."
    return Problem(413, "too_many_elements", detail)
