"""Logs with OCPP frames, as backends write them: JSON lines, a JSON array, or text lines with a frame in each.

Each line is one frame (`ocpp_frames`), alone or in an envelope or behind other text, such as
``2025-03-04 10:15:30 CP-1 -> [2,"17","MeterValues",{…}]``. The station is a field of the envelope, or stands before
the frame in the line, or is given once for all lines. Frames of both directions and of all versions may be mixed.
"""

import json
import re
from collections.abc import Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from chargewatch.domain.ids import external_id
from chargewatch.ingest.foreign_file import records
from chargewatch.ingest.foreign_json import Unreadable
from chargewatch.ingest.ocpp_frames import read_frame, read_message
from chargewatch.ingest.session_push import PassedOver, SessionPush, merge
from chargewatch.ingest.transactions import TransactionBook

#: So many readings are held back at most, to give each session's out together.
MOST_HELD: Final = 50_000

#: What envelopes call the station, compared in lower case without ``_`` and ``-``.
_STATION_FIELD: Final = re.compile(
    r"(?:charg(?:e|ing)(?:station|point|box)|charger|station|cp|client)(?:id(?:entity)?)?|identity"
)
_FRAME: Final = re.compile(r'\[\s*[2346]\s*,\s*"')
_NAMED: Final = re.compile(
    r"""\b(?:charging_?|charge_?)?(?:station|point|box|charger|cp)(?:_?id(?:entity)?)?\s*[=:]\s*["']?([^\s"',;\])}]+)""",
    re.IGNORECASE,
)
#: The loggers of the `ocpp` package write ``INFO:ocpp:CP_1: receive message [2,…]``.
_LOGGER: Final = re.compile(r":ocpp:(\S+?):?\s")
_NOISE: Final = re.compile(
    r"(?:[-:.,/+TZ0-9]*[0-9][-:.,/+TZ0-9]*[-:T/.][-:.,/+TZ0-9]*|[0-9]+|\W+|debug|info|warn(?:ing)?|error|trace|notice"
    r"|in(?:bound|coming)?|out(?:bound|going)?|recv|recei(?:ved?|ving)|sen[dt]|sending|rx|tx|from|to|message|msg|frame"
    r"|call|callresult|callerror|request|response|ocpp(?:1\.6j?|2\.0\.1|2\.1|16|201|21)?|ws|wss|websocket|json|req|res)",
    re.IGNORECASE,
)
_TRIMMED: Final = " \t[](){}<>|,;:\"'"


class _Line(NamedTuple):
    station: str
    frame: bytes


def read_log(
    path: Path,
    *,
    station: str | None = None,
    protocol: str | None = None,
    books: MutableMapping[str, TransactionBook] | None = None,
) -> Iterator[SessionPush | PassedOver]:
    """Reads a log of OCPP frames.

    The readings of a session come together where the file is not too large for that; a session may come several
    times all the same, and storing (or merging) its pushes in their order is right in any case. Reading a file again
    gives the same pushes.

    Args:
        path: the file; ``.gz`` is unpacked.
        station: the station of all lines; else each line names its own.
        protocol: ``ocpp1.6``, ``ocpp2.0.1`` or ``ocpp2.1``; else each message is looked at.
        books: what is known of each station, by its id; it is added to. Files of one station that are read one after
            another with the same books have their transactionIds told apart, where those begin anew.

    Yields:
        What is to be stored, and the lines that gave nothing with the reason.

    Raises:
        OSError: the file cannot be read.
    """
    books = {} if books is None else books
    held = _Held()
    for number, text in records(path):
        try:
            line = _line(text, station)
            if line is None:
                continue
            message = read_message(read_frame(line.frame), protocol)
        except Unreadable as fault:
            yield PassedOver(number, fault.text, refused=True)
            continue
        book = books.setdefault(line.station, TransactionBook(line.station))
        outcome = book.apply(message)
        book.close()
        if outcome.ignored is not None:
            yield PassedOver(number, outcome.ignored, refused=False)
        elif outcome.push is not None:
            yield from held.add(outcome.push)
    yield from held.rest()


class _Held:
    """Pushes that wait for more of their session."""

    def __init__(self) -> None:
        self._pushes: list[SessionPush] = []
        self._readings = 0

    def add(self, push: SessionPush) -> Iterable[SessionPush]:
        self._pushes.append(push)
        self._readings += len(push.readings) + 1
        return self.rest() if self._readings >= MOST_HELD else ()

    def rest(self) -> list[SessionPush]:
        pushes = merge(self._pushes)
        self._pushes, self._readings = [], 0
        return pushes


def _line(text: bytes, station: str | None) -> _Line | None:
    """Finds the station and the frame of a line; None for a blank one.

    Raises:
        Unreadable: the line lacks one of them.
    """
    if text[:1] == b"{":
        return _Line(station or _station_of_envelope(text), text)
    if text[:1] == b"[" and (station or _FRAME.match(text.decode("utf-8", "replace"))):
        if station is None:
            raise _no_station()
        return _Line(station, text)
    line = text.decode("utf-8", "replace")
    if not line.strip():
        return None
    found = _FRAME.search(line)
    if found is None:
        brace = line.find("{")
        if brace < 0:
            raise Unreadable((), "there is no OCPP frame in the line", "not_a_frame")
        frame = _until_end(line[brace:])
        return _Line(station or _station_before(line[:brace]), frame)
    return _Line(station or _station_before(line[: found.start()]), _until_end(line[found.start() :]))


def _until_end(text: str) -> bytes:
    """Returns the JSON that a text begins with; what follows is the logger's own."""
    try:
        _, end = _JSON.raw_decode(text)
    except (ValueError, RecursionError):
        return text.encode()
    return text[:end].encode()


def _station_of_envelope(text: bytes) -> str:
    try:
        fields: dict[str, Any] = _OBJECT.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Unreadable((), "the line is not JSON", "malformed_json") from None
    for name, value in fields.items():
        if _STATION_FIELD.fullmatch(name.lower().replace("_", "").replace("-", "")) and isinstance(
            value, str | int
        ):
            return _station(str(value))
    raise _no_station()


def _station_before(text: str) -> str:
    """Finds the station in what a logger wrote before a frame."""
    named = _NAMED.search(text) or _LOGGER.search(text + " ")
    if named is not None:
        return _station(named[1])
    for word in reversed(text.split()):
        trimmed = word.strip(_TRIMMED)
        if trimmed and not _NOISE.fullmatch(trimmed):
            return _station(trimmed)
    raise _no_station()


def _station(text: str) -> str:
    try:
        return external_id(text)
    except ValueError as fault:
        raise Unreadable((), f"the station's id {fault}") from None


def _no_station() -> Unreadable:
    return Unreadable(
        (), "the line does not name its station; say which one it is for the whole file", "missing"
    )


_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])
_JSON: Final = json.JSONDecoder()
