"""Tables of readings for tests: the same rows in every format, and what is in them, read the slow way.

A row is a dict of the columns of ``chargewatch score``; a missing key and None are an empty field.
"""

import csv
import gzip
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chargewatch.domain.instants import parse_instant
from chargewatch.ingest.columns import ReadingColumns, SessionColumns
from chargewatch.ingest.readings import Reading, ReadingSet, columns_of, source_of
from chargewatch.ingest.table_blocks import BadRow
from chargewatch.ingest.table_sessions import survey
from chargewatch.ingest.table_slices import SessionSlice
from chargewatch.ingest.tables import open_table, read_sessions

Row = Mapping[str, Any]
START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)


def reading(session: str | None, minute: float, value: object, **more: object) -> dict[str, object]:
    """A row with a time in minutes after ``START``."""
    at = START + timedelta(minutes=minute)
    return {"session_id": session, "timestamp": at.isoformat().replace("+00:00", "Z"), "value": value} | more


def charging(session: str, readings: int = 6, **more: object) -> list[dict[str, object]]:
    """Rows of a session whose register rises, a reading every five minutes."""
    return [reading(session, 5 * i, 1000.0 + 500 * i, **more) for i in range(readings)]


def falling(session: str) -> list[dict[str, object]]:
    """Rows of a session whose register falls half-way."""
    return charging(session, 4) + [reading(session, 20 + 5 * i, 100.0 + 500 * i) for i in range(3)]


def write(path: Path, rows: Sequence[Row], columns: Sequence[str] | None = None) -> Path:
    """Writes rows in the format of the path's ending."""
    names = list(columns or dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".parquet":
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
        return path
    text = _csv(rows, names) if ".csv" in path.suffixes else _ndjson(rows)
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def _csv(rows: Iterable[Row], names: Sequence[str]) -> bytes:
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        fields = [row.get(name) for name in names]
        writer.writerow([str(f).lower() if isinstance(f, bool) else f for f in fields])
    return sink.getvalue().encode()


def _ndjson(rows: Iterable[Row]) -> bytes:
    return b"".join(
        json.dumps({k: v for k, v in row.items() if v is not None}).encode() + b"\n" for row in rows
    )


class Table(NamedTuple):
    """What was read: sessions in order, bad rows, and whether every session stood in one piece."""

    sessions: list[SessionSlice]
    bad: list[BadRow]
    contiguous: bool

    @property
    def ids(self) -> list[str]:
        return [part.ids[0] for part in self.sessions]

    def values(self, session: str) -> list[float]:
        return self.sessions[self.ids.index(session)].readings.value.tolist()


def read(path: Path, scratch: Path) -> Table:
    """Reads a file or folder, one slice a session."""
    files = open_table(path).files
    found = survey(files, lambda rows: None)
    bad: list[BadRow] = []
    sessions = [one for part in read_sessions(files, found, bad.append, scratch) for one in singles(part)]
    assert found.sessions == len(sessions)
    assert not list(scratch.glob(".chargewatch-*"))
    return Table(sessions, bad, found.roster is None)


def singles(part: SessionSlice) -> Iterable[SessionSlice]:
    """The sessions of a slice, one by one."""
    offsets = part.readings.offsets.tolist()
    for s, (name, start, end) in enumerate(zip(part.ids, offsets[:-1], offsets[1:], strict=True)):
        columns = [column[start:end] for column in part.readings[1:]]
        readings = ReadingColumns(np.array([0, end - start]), *columns)
        yield SessionSlice([name], readings, SessionColumns(*(column[s : s + 1] for column in part.declared)))


def slow(rows: Sequence[Row]) -> list[SessionSlice]:
    """What ``read`` should return for good rows: each session as a set of readings, as the API keeps it."""
    found = []
    for session in dict.fromkeys(row["session_id"] for row in rows):
        own = [row for row in rows if row["session_id"] == session]
        sent = [_sent(row) for row in own]
        change = ReadingSet().change(sent)
        managed = [row["managed"] for row in own if row.get("managed") is not None]
        rated = [row["rated_power_kw"] for row in own if row.get("rated_power_kw") is not None]
        declared = SessionColumns.undeclared(1)._replace(
            managed=np.array([bool(managed and managed[-1])]),
            rated_power_w=np.array([rated[-1] * 1000.0 if rated else np.nan]),
            duplicates=np.array([change.duplicates]),
            out_of_order=np.array([change.out_of_order]),
        )
        readings = ReadingSet()
        readings.apply(sent)
        found.append(SessionSlice([session], columns_of([readings]), declared))
    return found


def _sent(row: Row) -> Reading:
    names = [row.get(name) for name in ("measurand", "unit", "phase", "location", "context")]
    return Reading(parse_instant(row["timestamp"]), str(row["value"]), source_of(*names, None))


def assert_same(found: Sequence[SessionSlice], expected: Sequence[SessionSlice]) -> None:
    """Asserts that sessions are the same in every column, whatever the order of unknown names of one instant."""
    assert [part.ids for part in found] == [part.ids for part in expected]
    for a, b in zip(found, expected, strict=True):
        assert a.readings.at_us.tolist() == sorted(a.readings.at_us.tolist())
        for name, left, right in zip(a.readings._fields, _sorted(a), _sorted(b), strict=True):
            np.testing.assert_array_equal(left, right, err_msg=f"{a.ids[0]}: {name}")
        for name, left, right in zip(a.declared._fields, a.declared, b.declared, strict=True):
            np.testing.assert_array_equal(left, right, err_msg=f"{a.ids[0]}: {name}")


def _sorted(part: SessionSlice) -> ReadingColumns:
    columns = part.readings[1:]
    order = np.lexsort(columns[::-1])
    return ReadingColumns(part.readings.offsets, *(column[order] for column in columns))
