"""Whole sessions of files of readings for storing, in bounded memory: each with its number, in order of first rows.

The rows of a session may stand anywhere. They keep the order of the file, in which of two with the same key the later
one counts.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from chargewatch.domain.ids import external_id, session_external_id
from chargewatch.ingest.columns import Integers
from chargewatch.ingest.readings import Reading
from chargewatch.ingest.sent_sessions import Refusal, SentSession
from chargewatch.ingest.table_blocks import STORED, Block, TableFile
from chargewatch.ingest.table_partitions import PartFiles
from chargewatch.ingest.table_rows import Report
from chargewatch.ingest.table_sent import SENT, DecodedBlock, Place, SentRows
from chargewatch.ingest.table_sessions import MOST_READINGS, Roster, Survey, check_unchanged, numbered

_AT_ONCE: Final = 20_000


def read_history(
    files: Sequence[TableFile],
    survey: Survey,
    report: Report,
    scratch: Path,
    station: str | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Generator[SentSession | Refusal]:
    """Yields the sessions of a table, numbered in order of their first rows; reports every row that is no reading.

    A session of which no row is a reading is left out; its number is not used.

    Args:
        files: opened for the columns ``STORED``.
        survey: of these files.
        report: told every row that is no reading.
        scratch: a folder for temporary files.
        station: where sessions take place of which no row says so.
        progress: told the number of rows of each block, when all rows are read before the first session.

    Raises:
        TableError: a file is damaged, or was changed since the survey.
    """
    table = _Table(files, survey, report, station)
    if survey.roster is None:
        yield from _streamed(table)
        return
    with TemporaryDirectory(prefix="rows-", dir=scratch) as folder:
        parts = PartFiles(Path(folder), survey.counts, SENT)
        try:
            for rows, refused, count in table.blocks():
                yield from refused
                for part, places in parts.split(rows.column("session").to_numpy()):
                    parts.write(part, rows.take(places))
                progress(count)
            for _, batches in parts.parts():
                rows = _joined(batches)
                order = np.argsort(rows.column("session").to_numpy(), kind="stable")
                yield from table.sessions(rows.take(order))
        finally:
            parts.close()


def _streamed(table: "_Table") -> Iterator[SentSession | Refusal]:
    """Yields sessions of which each stands in one piece as soon as the next one begins."""
    pending: list[pa.RecordBatch] = []
    for rows, refused, _ in table.blocks():
        yield from refused
        if not rows.num_rows:
            continue
        pending.append(rows)
        newest = rows.column("session")[-1].as_py()
        if pending[0].column("session")[0].as_py() < newest:
            whole = _joined(pending)
            cut = int(np.searchsorted(whole.column("session").to_numpy(), newest))
            yield from table.sessions(whole.slice(0, cut))
            pending = [whole.slice(cut)]
    if pending:
        yield from table.sessions(_joined(pending))


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    (whole,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return whole


class _Rows(NamedTuple):
    """Readings of a block, the sessions that are refused for what stands in it, and the number of its rows."""

    readings: pa.RecordBatch
    refused: list[Refusal]
    rows: int


class _Table:
    """The files of a table; their sessions are numbered as the survey counted them."""

    def __init__(
        self, files: Sequence[TableFile], survey: Survey, report: Report, station: str | None
    ) -> None:
        self._files = files
        self._survey = survey
        self._station = station
        self._sent = SentRows(report)
        self._refused: set[int] = set()

    def blocks(self) -> Iterator[_Rows]:
        roster = self._survey.roster or Roster()
        for number, file in enumerate(self._files):
            for block in file.blocks(STORED):
                decoded = self._sent.decode(file.name, block)
                sessions = numbered(roster, decoded.sessions)
                check_unchanged(self._survey.sessions, len(roster))
                keep = decoded.good & ~self._survey.too_large[sessions]
                refused = list(self._too_large(file.name, block, decoded, sessions))
                yield _Rows(self._sent.batch(number, block, decoded, sessions, keep), refused, block.rows)

    def _too_large(
        self, file: str, block: Block, decoded: DecodedBlock, sessions: Integers
    ) -> Iterator[Refusal]:
        """Refuses the sessions that have too many rows, with the first of these."""
        large = np.flatnonzero(self._survey.too_large[sessions])
        numbers, first = np.unique(sessions[large], return_index=True)
        for number, at in zip(numbers.tolist(), decoded.rows[large[first]].tolist(), strict=True):
            if number not in self._refused:
                self._refused.add(number)
                name = decoded.sessions.words[decoded.sessions.number[at]]
                reason = f"the session has {self._survey.counts[number]} rows; at most {MOST_READINGS} can be stored"
                yield Refusal(file, block.first_row + at, block.line_of(at), name, reason)

    def sessions(self, rows: pa.RecordBatch) -> Iterator[SentSession | Refusal]:
        """Returns the sessions of rows that are ordered by session."""
        session = rows.column("session").to_numpy()
        starts = np.append(np.flatnonzero(np.diff(session, prepend=-1)), len(session))
        begin = 0
        while begin < len(starts) - 1:
            full = int(np.searchsorted(starts, starts[begin] + _AT_ONCE))
            end = min(max(full, begin + 1), len(starts) - 1)
            bounds = (starts[begin : end + 1] - starts[begin]).tolist()
            part = rows.slice(int(starts[begin]), bounds[-1])
            columns = {name: part.column(name).to_pylist() for name in SENT.names}
            for first, last in zip(bounds, bounds[1:], strict=False):
                yield self._session({name: values[first:last] for name, values in columns.items()})
            begin = end

    def _session(self, rows: dict[str, list[Any]]) -> SentSession | Refusal:
        try:
            place = self._place({self._sent.places.things[i] for i in set(rows["place"])})
            name = _checked("session_id", session_external_id, rows["id"][0])
        except ValueError as problem:
            file = self._files[rows["file"][0]].name
            return Refusal(file, rows["row"][0], None, rows["id"][0], str(problem))
        sources = self._sent.sources.things
        readings = [
            Reading(at_us, text, sources[source])
            for at_us, text, source in zip(rows["at_us"], rows["text"], rows["source"], strict=True)
        ]
        managed = [value for value in rows["managed"] if value >= 0]
        return SentSession(
            rows["session"][0],
            name,
            place.station or "",
            place.evse_id,
            place.connector_id,
            readings,
            bool(managed[-1]) if managed else None,
        )

    def _place(self, places: set[Place]) -> Place:
        """Returns the one place that rows name.

        Raises:
            ValueError: they name several, or none.
        """
        station = _the_one("station_id", [place.station for place in places]) or self._station
        if station is None:
            raise ValueError("no row says its station_id; --station names it for sessions without")
        return Place(
            station,
            _the_one("evse_id", [place.evse_id for place in places]),
            _the_one("connector_id", [place.connector_id for place in places]),
        )


def _the_one(column: str, texts: Sequence[str | None]) -> str | None:
    distinct = sorted({text for text in texts if text is not None})
    if len(distinct) > 1:
        raise ValueError(f"its rows have more than one {column}; a session takes place at one")
    return _checked(column, external_id, distinct[0]) if distinct else None


def _checked(column: str, check: Callable[[str], str], text: str) -> str:
    try:
        return check(text)
    except ValueError as problem:
        raise ValueError(f"{column} {problem}") from None
