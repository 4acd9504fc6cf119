"""Rows whose sessions are scattered over a table: sorted into files by session, then read back part by part."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from chargewatch.ingest.columns import Integers
from chargewatch.ingest.table_rows import Rows, joined

_ROWS: Final = 500_000
_MOST: Final = 128  # files that are open at once
_DTYPES: Final = {
    "session": np.int64,
    "good": np.bool_,
    "at_us": np.int64,
    "value": np.float64,
    "measurand": np.int8,
    "unit": np.int8,
    "phase": np.int8,
    "location": np.int8,
    "context": np.int8,
    "unit_assumed": np.bool_,
    "other": np.int64,
    "managed": np.int8,
    "rated_power_w": np.float64,
}
_SCHEMA: Final = pa.schema(
    [
        *(pa.field(name, pa.from_numpy_dtype(np.dtype(dtype))) for name, dtype in _DTYPES.items()),
        pa.field("id", pa.string()),
    ]
)


class PartFiles:
    """Temporary files in a folder, each for the rows of a range of sessions; sessions are numbered from 0."""

    def __init__(self, folder: Path, counts: Integers, schema: pa.Schema) -> None:
        """``counts`` are the rows of each session."""
        total = int(counts.sum())
        wanted = min(max(-(-total // _ROWS), 1), _MOST)
        # Equal shares of all rows; a range holds whole sessions.
        share = np.minimum((np.cumsum(counts) - 1) * wanted // max(total, 1), wanted - 1)
        _, self._starts = np.unique(share, return_index=True)
        self._paths = [folder / f"{i}.arrow" for i in range(len(self._starts))]
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writers = [pa.ipc.new_stream(str(path), schema, options=options) for path in self._paths]

    def split(self, sessions: Integers) -> Iterator[tuple[int, Integers]]:
        """Yields (part, the places of its rows in their order) for rows of these sessions."""
        part = np.searchsorted(self._starts, sessions, side="right") - 1
        order = np.argsort(part, kind="stable")
        bounds = np.searchsorted(part[order], np.arange(len(self._starts) + 1))
        for i in np.flatnonzero(np.diff(bounds)).tolist():
            yield i, order[bounds[i] : bounds[i + 1]]

    def write(self, part: int, rows: pa.RecordBatch) -> None:
        """Adds rows to a part."""
        self._writers[part].write_batch(rows)

    def close(self) -> None:
        """Ends the writing."""
        for writer in self._writers:
            writer.close()

    def parts(self) -> Iterator[tuple[int, list[pa.RecordBatch]]]:
        """Yields (first session, rows) of each part in order; each is read when it is asked for, then removed."""
        self.close()
        for path, first_session in zip(self._paths, self._starts.tolist(), strict=True):
            with pa.OSFile(str(path), "rb") as source, pa.ipc.open_stream(source) as reader:
                batches = list(reader)
            path.unlink()
            if batches:
                yield first_session, batches


class Part(NamedTuple):
    """All rows of consecutive sessions, by session and in file order; ``ids`` are those of the sessions."""

    first_session: int
    ids: list[str]
    rows: Rows


class Partitions:
    """The rows of a table to be judged, in part files. ``seen`` marks the sessions that rows were added of."""

    def __init__(self, folder: Path, counts: Integers) -> None:
        self._files = PartFiles(folder, counts, _SCHEMA)
        self.seen = np.zeros(len(counts), np.bool_)

    def add(self, rows: Rows, ids: Mapping[int, str]) -> None:
        """Adds rows in file order; ``ids`` has the ids, by number, of their sessions that were not seen before."""
        for part, places in self._files.split(rows.session):
            self._write(part, rows.take(places), ids)

    def _write(self, part: int, rows: Rows, ids: Mapping[int, str]) -> None:
        sessions, first = np.unique(rows.session, return_index=True)
        fresh = ~self.seen[sessions]
        self.seen[sessions] = True
        texts: list[str | None] = [None] * len(
            rows.session
        )  # an id is written once, with its session's first row
        for row, session in zip(first[fresh].tolist(), sessions[fresh].tolist(), strict=True):
            texts[row] = ids[session]
        arrays = [pa.array(column) for column in rows]
        self._files.write(part, pa.record_batch([*arrays, pa.array(texts, pa.string())], schema=_SCHEMA))

    def close(self) -> None:
        """Ends the writing."""
        self._files.close()

    def parts(self) -> Iterator[Part]:
        """Yields the parts in order of their sessions; each is read when it is asked for, then removed."""
        for first_session, batches in self._files.parts():
            yield _part(batches, first_session)


def _part(batches: list[pa.RecordBatch], first_session: int) -> Part:
    rows = joined([_rows(batch) for batch in batches])
    ids = pa.chunked_array([batch.column("id") for batch in batches])
    has_id = np.flatnonzero(ids.is_valid().to_numpy())
    texts = ids.drop_null().to_pylist()
    by_session = np.argsort(rows.session[has_id])
    order = np.argsort(rows.session, kind="stable")
    return Part(first_session, [texts[i] for i in by_session.tolist()], rows.take(order))


def _rows(batch: pa.RecordBatch) -> Rows:
    return Rows._make(batch.column(name).to_numpy(zero_copy_only=False) for name in _DTYPES)
