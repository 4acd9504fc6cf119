"""Whole sessions out of rows of a table, in slices of a size that suits the analysis."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from chargewatch.ingest.columns import Codes, Flags, Floats, Integers, ReadingColumns, SessionColumns
from chargewatch.ingest.reading_order import Keys, settle
from chargewatch.ingest.table_rows import Rows, joined

#: A slice ends after this many sessions, or with the session in which this many rows are reached.
SLICE_SESSIONS: Final = 1_000
SLICE_ROWS: Final = 100_000


class SessionSlice(NamedTuple):
    """S whole sessions: their ids, readings (one per key, in order of time) and what is declared about them."""

    ids: list[str]
    readings: ReadingColumns
    declared: SessionColumns


def slices(rows: Rows, first_session: int, ids: Sequence[str]) -> Iterator[SessionSlice]:
    """Cuts rows of whole sessions, numbered from ``first_session`` and in their order, into slices."""
    starts = np.searchsorted(rows.session, np.arange(first_session, first_session + len(ids) + 1))
    begin = 0
    while begin < len(ids):
        full = int(np.searchsorted(starts, starts[begin] + SLICE_ROWS))
        end = min(max(full, begin + 1), begin + SLICE_SESSIONS, len(ids))
        part = rows.take(slice(int(starts[begin]), int(starts[end])))
        yield _slice(part, first_session + begin, list(ids[begin:end]))
        begin = end


def _slice(rows: Rows, first_session: int, ids: list[str]) -> SessionSlice:
    if not rows.good.all():
        rows = rows.take(rows.good)
    session = rows.session - first_session
    keys = Keys(session, rows.at_us, rows.measurand, rows.phase, rows.location, rows.context, rows.other)
    order, duplicates, out_of_order = settle(keys, len(ids))
    declared = SessionColumns.undeclared(len(ids))._replace(
        managed=_last(session, rows.managed, rows.managed >= 0, len(ids)) == 1,
        rated_power_w=_last(session, rows.rated_power_w, ~np.isnan(rows.rated_power_w), len(ids)),
        duplicates=duplicates,
        out_of_order=out_of_order,
    )
    return SessionSlice(ids, _readings(rows.take(order), session[order], len(ids)), declared)


def _readings(rows: Rows, session: Integers, sessions: int) -> ReadingColumns:
    return ReadingColumns(
        offsets=np.searchsorted(session, np.arange(sessions + 1)),
        at_us=rows.at_us,
        value=rows.value,
        measurand=rows.measurand,
        unit=rows.unit,
        phase=rows.phase,
        location=rows.location,
        context=rows.context,
        unit_assumed=rows.unit_assumed,
        signed=np.zeros(len(rows.at_us), np.bool_),
    )


def _last(session: Integers, values: Floats | Codes, given: Flags, sessions: int) -> Floats:
    """Returns the last given value of each session, NaN where none is."""
    last = np.full(sessions, np.nan)
    last[session[given]] = values[given]  # of several values for one place numpy keeps the last
    return last


class Stream:
    """Puts together the rows of sessions that stand in one piece; sessions are numbered as they come."""

    def __init__(self) -> None:
        self.sessions = 0
        self._pending: list[Rows] = []
        self._rows = 0
        self._ids: list[str] = []

    def number(self, words: Sequence[str | None], number: Integers) -> Integers:
        """Returns the numbers of rows whose sessions are given by their place in ``words``."""
        starts = np.flatnonzero(np.diff(number, prepend=-1))
        ids = [str(words[i]) for i in number[starts].tolist()]
        goes_on = bool(ids and self._ids and ids[0] == self._ids[-1])
        fresh = ids[1:] if goes_on else ids
        numbers = (
            np.repeat(np.arange(len(ids)), np.diff(starts, append=len(number))) + self.sessions - goes_on
        )
        self.sessions += len(fresh)
        self._ids.extend(fresh)
        return numbers

    def add(self, rows: Rows) -> Iterator[SessionSlice]:
        """Takes numbered rows; yields sessions that are whole, as soon as there are enough of them."""
        if len(rows.session):
            self._pending.append(rows)
            self._rows += len(rows.session)
        if self._rows >= SLICE_ROWS and self._pending[0].session[0] < self._pending[-1].session[-1]:
            yield from self._emit(int(self._pending[-1].session[-1]))

    def end(self) -> Iterator[SessionSlice]:
        """Yields the sessions that are left."""
        if self._pending:
            yield from self._emit(self.sessions)

    def _emit(self, until: int) -> Iterator[SessionSlice]:
        """Yields the sessions with numbers below ``until``."""
        rows = joined(self._pending)
        first = self.sessions - len(self._ids)
        whole = int(np.searchsorted(rows.session, until))
        ids, self._ids = self._ids[: until - first], self._ids[until - first :]
        # Copied: what is left must not keep all the rest in memory.
        left = Rows._make(column[whole:].copy() for column in rows)
        self._pending = [left] if len(left.session) else []
        self._rows = len(left.session)
        yield from slices(rows.take(slice(0, whole)), first, ids)
