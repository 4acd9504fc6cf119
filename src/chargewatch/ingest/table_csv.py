"""Readings from CSV files (RFC 4180: commas, double quotes, a header line).

Pieces of a file are read by Arrow. A piece with a row that Arrow does not take as it stands is read once more
row by row, so that every such row is known by its number and costs no other row.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
import pyarrow.csv as arrow_csv

from chargewatch.ingest.table_blocks import Block, TableError, check_columns
from chargewatch.ingest.table_text import Piece, pieces

#: A quoted value that spans more lines than this is taken for a quote that was never closed.
_MOST_LINES: Final = 100
_WHOLE: Final = 1 << 30


class CsvTable:
    """A CSV file of readings, of which the columns ``read`` are looked at.

    Raises:
        TableError: it is empty, or its header lacks a column.
    """

    def __init__(self, path: Path, name: str, read: Sequence[str]) -> None:
        self.name = name
        self._path = path
        self._read_columns = read
        self._header_bytes, self._header_lines, self.columns = self._header()
        check_columns(name, self.columns, read)

    def _header(self) -> tuple[int, int, Sequence[str]]:
        """Returns how long the header is in bytes and lines, and the names in it."""
        for piece in pieces(self._path, self.name, quoted=True):
            lines = piece.data.split(b"\n", _MOST_LINES + 1)[:_MOST_LINES]
            reader = csv.reader(io.StringIO(_decoded(b"\n".join(lines)), newline=""))
            try:
                columns = next((fields for fields in reader if fields), [])
            except csv.Error:
                raise TableError(f"{self.name}: the header is not CSV") from None
            if not all(_is_utf8(column) for column in columns):
                raise TableError(f"{self.name}: the header is not UTF-8")
            size = sum(len(line) + 1 for line in lines[: reader.line_num])
            return min(size, len(piece.data)), reader.line_num, columns
        raise TableError(f"{self.name}: the file is empty")

    def blocks(self, wanted: Sequence[str]) -> Iterator[Block]:
        """Yields the file's rows in blocks; see ``TableFile``."""
        row = 1
        for piece in pieces(self._path, self.name, quoted=True):
            rows = piece
            if piece.first_line == 1:
                rows = Piece(piece.data[self._header_bytes :], 1 + self._header_lines)
            # With quotes all columns are looked at each time, so that every pass finds the same rows.
            sought = self._read_columns if b'"' in rows.data else wanted
            block = self._block(rows, row, [c for c in sought if c in self.columns])
            if block.rows:
                yield block
            row += block.rows

    def _block(self, piece: Piece, row: int, columns: list[str]) -> Block:
        table = self._whole(piece, columns)
        if table is None:
            return self._row_by_row(piece, row, columns)
        arrays = {name: table.column(name).combine_chunks() for name in columns}
        return Block(row, table.num_rows, arrays, {}, _lines_of(piece, table.num_rows))

    def _whole(self, piece: Piece, columns: list[str]) -> pa.Table | None:
        """Reads a piece at once; returns None where a row of it is not as it should be."""
        if not piece.data.strip():
            return pa.table({name: pa.array([], pa.string()) for name in columns})
        quotes = piece.data.count(b'"')
        table = self._read(piece, columns) if quotes % 2 == 0 else None
        spread = table is not None and quotes > 0 and table.num_rows != len(_lines(piece))
        return None if spread else table

    def _read(self, piece: Piece, columns: list[str]) -> pa.Table | None:
        odd: list[object] = []

        def skip(row: object) -> Literal["skip"]:
            odd.append(row)
            return "skip"

        try:
            table = arrow_csv.read_csv(
                io.BytesIO(piece.data),
                arrow_csv.ReadOptions(use_threads=False, column_names=list(self.columns), block_size=_WHOLE),
                arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
                arrow_csv.ConvertOptions(
                    include_columns=columns, column_types=dict.fromkeys(columns, pa.string())
                ),
            )
        except pa.ArrowInvalid:
            return None
        return None if odd else table

    def _row_by_row(self, piece: Piece, row: int, columns: list[str]) -> Block:
        positions = {name: self.columns.index(name) for name in columns}
        values: dict[str, list[str | None]] = {name: [] for name in columns}
        faults: dict[int, str] = {}
        lines: list[int] = []
        one_line = [self.columns.index(c) for c in self._read_columns if c in self.columns]
        for line, fields in _records(piece, one_line):
            fault = self._fault(fields, positions.values())
            if fault is not None:
                faults[len(lines)] = fault
            lines.append(line)
            for name, position in positions.items():
                value = fields[position] if fields and len(fields) == len(self.columns) else None
                values[name].append(value if value is None or _is_utf8(value) else None)
        arrays = {name: pa.array(column, pa.string()) for name, column in values.items()}
        return Block(row, len(lines), arrays, faults, lines.__getitem__)

    def _fault(self, fields: Sequence[str] | None, read: Iterable[int]) -> str | None:
        """Says what is wrong with a record, of which the fields at the positions ``read`` are looked at."""
        if fields is None:
            return "not CSV: a quoted value does not end"
        if len(fields) != len(self.columns):
            return f"{len(fields)} columns instead of {len(self.columns)}"
        return None if all(_is_utf8(fields[i]) for i in read) else "not UTF-8"


def _is_utf8(text: str) -> bool:
    """Tells whether ``text`` was UTF-8; bytes that were not have become surrogates."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _lines(piece: Piece) -> list[int]:
    """Returns the numbers of the lines that are not blank."""
    numbered = enumerate(piece.data.split(b"\n"), piece.first_line)
    return [number for number, line in numbered if line not in {b"", b"\r"}]


class _Lines:
    """Hands out lines, at most ``left`` more of them."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines
        self.at = 0
        self.left = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if self.left == 0 or self.at == len(self.lines):
            raise StopIteration
        self.left -= 1
        self.at += 1
        return self.lines[self.at - 1]


def _records(piece: Piece, one_line: Sequence[int]) -> Iterator[tuple[int, list[str] | None]]:
    """Yields the records of a piece with the lines on which they begin.

    None stands for a line with a quote that is never closed: no end within 100 lines or in the piece, something
    behind the end, or a line break in one of the columns at the positions ``one_line``, which hold single words.
    """
    lines = _Lines([line + "\n" for line in _decoded(piece.data).split("\n")])
    reader = csv.reader(lines)
    while lines.at < len(lines.lines):
        start = lines.at
        lines.left = _MOST_LINES
        try:
            fields: list[str] | None = next(reader, [])
        except csv.Error:
            fields = None
        if fields is None or (
            lines.at - start > 1 and _runs_on(fields, lines.lines[start : lines.at], one_line)
        ):
            yield piece.first_line + start, None
            lines.at = start + 1
        elif fields:
            yield piece.first_line + start, fields


def _runs_on(fields: Sequence[str], lines: Sequence[str], one_line: Sequence[int]) -> bool:
    """Tells whether a record of several lines is none: its quotes do not match, or hold too much."""
    if sum(line.count('"') for line in lines) % 2 or any(
        "\n" in fields[i] for i in one_line if i < len(fields)
    ):
        return True
    try:
        next(csv.reader(lines, strict=True))
    except csv.Error:
        return True
    return False


def _lines_of(piece: Piece, rows: int) -> Callable[[int], int | None]:
    """Returns the line of each row of a piece that Arrow took as it stands; looked up when first asked for."""

    @cache
    def lines() -> list[int]:
        return _lines(piece)

    def line_of(i: int) -> int | None:
        return lines()[i] if len(lines()) == rows else None

    return line_of
