"""Readings from NDJSON files: one JSON object a line."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import pyarrow as pa

from chargewatch.ingest.table_blocks import PLACES, READ, STORED, Block, Column, TableError
from chargewatch.ingest.table_text import Piece, pieces

_PROBED: Final = 100


class _Line(msgspec.Struct, gc=False):
    """The fields that are looked at. Numbers may be text, as in the other formats."""

    session_id: str | int | None = None
    timestamp: str | None = None
    value: float | str | None = None
    measurand: str | None = None
    unit: str | None = None
    phase: str | None = None
    location: str | None = None
    context: str | None = None
    rated_power_kw: float | str | None = None
    managed: bool | int | str | None = None


class _PlacedLine(_Line, gc=False):
    station_id: str | int | None = None
    evse_id: str | int | None = None
    connector_id: str | int | None = None


class _Identity(msgspec.Struct, gc=False):
    session_id: str | int | None = None


_LineDecoder: TypeAlias = msgspec.json.Decoder[_Line] | msgspec.json.Decoder[_PlacedLine]
_IDENTITIES: Final = msgspec.json.Decoder(_Identity)
_FIELD: Final = re.compile(r"`\$\.(\w+)`$")
_EXPECTED: Final = {
    **dict.fromkeys(("session_id", *PLACES), "text or an integer"),
    "timestamp": "text as in RFC 3339",
    "value": "a number or numeric text within float64",
    "rated_power_kw": "a number or numeric text within float64",
    "managed": "true or false",
}


class NdjsonTable:
    """An NDJSON file of readings, of which the columns ``read`` are looked at. It has those of its first lines."""

    def __init__(self, path: Path, name: str, read: Sequence[str]) -> None:
        self.name = name
        self._path = path
        self._lines = _Lines(read)
        self.columns: Sequence[str] = sorted(self._probe())

    def _probe(self) -> set[str]:
        found: set[str] = set()
        for piece in pieces(self._path, self.name, quoted=False):
            for line in piece.data.split(b"\n", _PROBED)[:_PROBED]:
                try:
                    found.update(msgspec.json.decode(line, type=dict[str, msgspec.Raw]))
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    continue
            return found
        raise TableError(f"{self.name}: the file is empty")

    def blocks(self, wanted: Sequence[str]) -> Iterator[Block]:
        """Yields the file's rows in blocks; see ``TableFile``."""
        row = 1
        for piece in pieces(self._path, self.name, quoted=False):
            block = (
                _identities(piece, row) if tuple(wanted) == ("session_id",) else self._lines.block(piece, row)
            )
            yield block
            row += block.rows


class _Lines:
    """Reads lines, the columns ``read`` of them."""

    def __init__(self, read: Sequence[str]) -> None:
        self._read = read
        placed = not set(PLACES).isdisjoint(read)
        self._decoder: _LineDecoder = msgspec.json.Decoder(_PlacedLine if placed else _Line)

    def block(self, piece: Piece, row: int) -> Block:
        """Returns the rows of a piece, of which the first is data row ``row``."""
        try:
            found = self._decoder.decode_lines(piece.data)
            if len(found) == piece.data.count(b"\n") + (not piece.data.endswith(b"\n")):
                return Block(row, len(found), self._columns(found), {}, lambda i: piece.first_line + i)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
        return self._line_by_line(piece, row)

    def _line_by_line(self, piece: Piece, row: int) -> Block:
        """Reads a piece of which a line is no reading, or is blank."""
        lines = _lines(piece)
        found: list[_Line] = []
        faults: dict[int, str] = {}
        for i, (_, line) in enumerate(lines):
            try:
                found.append(self._decoder.decode(line))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                faults[i] = _fault(error)
                found.append(_PlacedLine(session_id=_identity(line)))
        return Block(row, len(found), self._columns(found), faults, lambda i: lines[i][0])

    def _columns(self, lines: Sequence[_Line]) -> dict[str, Column]:
        columns: dict[str, Column] = {}
        for name in self._read:
            values = [getattr(line, name) for line in lines]
            if name in {"value", "rated_power_kw"}:
                columns[name] = _numbers(values)
            elif any(value is not None for value in values) or name in {"session_id", "timestamp"}:
                columns[name] = pa.array([None if v is None else _text(v) for v in values], pa.string())
        return columns


def _lines(piece: Piece) -> list[tuple[int, bytes]]:
    """Returns the lines of a piece that are not blank, with their numbers."""
    numbered = enumerate(piece.data.split(b"\n"), piece.first_line)
    return [(number, line) for number, line in numbered if line.strip()]


def _identities(piece: Piece, row: int) -> Block:
    """Returns only the session of each row, null where the row has none."""
    try:
        found = [line.session_id for line in _IDENTITIES.decode_lines(piece.data)]
        whole = len(found) == piece.data.count(b"\n") + (not piece.data.endswith(b"\n"))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        whole = False
    if not whole:
        found = [_identity(line) for _, line in _lines(piece)]
    ids = [str(i) if type(i) is int else i for i in found]
    return Block(row, len(ids), {"session_id": pa.array(ids, pa.string())}, {}, lambda _: None)


def _identity(line: bytes) -> str | int | None:
    try:
        return _IDENTITIES.decode(line).session_id
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _fault(error: Exception) -> str:
    """Says what is wrong with a line."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    if not isinstance(error, msgspec.ValidationError):
        return "not JSON"
    field = _FIELD.search(str(error))
    if field is None:
        return "not a JSON object"
    return f"{field[1]} is not {_EXPECTED.get(field[1], 'text')}"


def _numbers(values: Sequence[float | str | None]) -> Column:
    """Returns numbers as they are, or all as text where some are text."""
    if any(type(value) is str for value in values):
        return pa.array(
            [None if v is None else v if type(v) is str else repr(v) for v in values], pa.string()
        )
    return pa.array(values, pa.float64())


def _text(value: str | int | bool) -> str:
    return value if type(value) is str else str(value)


assert set(_Line.__struct_fields__) == set(READ)
assert set(_PlacedLine.__struct_fields__) == {*READ, *STORED}
