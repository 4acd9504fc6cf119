"""Which sessions a table has, in order of their first rows, and whether each stands in one piece."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from chargewatch.ingest.columns import Flags, Integers
from chargewatch.ingest.table_blocks import TableError, TableFile
from chargewatch.ingest.table_rows import sessions_of
from chargewatch.ingest.table_values import Indices, Words

#: More rows than this are no session (contract, section 2).
MOST_READINGS: Final = 200_000

_EMPTY: Final = np.zeros(0, np.int64)


class Roster:
    """Numbers sessions in order of first appearance.

    Knows ids by 64-bit hashes, 16 bytes a session: of a million sessions two are taken for one with a
    probability of 3 in 10⁸.
    """

    def __init__(self) -> None:
        self._hashes = _EMPTY
        self._numbers = _EMPTY

    def __len__(self) -> int:
        return len(self._hashes)

    def numbers_of(self, ids: Sequence[str | None]) -> Integers:
        """Returns the number of each session; those not met before get the next ones in the order given."""
        hashes = np.fromiter(map(hash, ids), np.int64, len(ids))
        at = np.searchsorted(self._hashes, hashes)
        known = at < len(self._hashes)
        known[known] = self._hashes[at[known]] == hashes[known]
        numbers = np.empty(len(ids), np.int64)
        numbers[known] = self._numbers[at[known]]
        if not known.all():
            numbers[~known] = self._add(hashes[~known])
        return numbers

    def _add(self, hashes: Integers) -> Integers:
        distinct, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        numbers = np.empty(len(distinct), np.int64)
        numbers[np.argsort(first)] = np.arange(len(self), len(self) + len(distinct))
        places = np.searchsorted(self._hashes, distinct)
        self._hashes = np.insert(self._hashes, places, distinct)
        self._numbers = np.insert(self._numbers, places, numbers)
        added: Integers = numbers[inverse]
        return added


class Survey(NamedTuple):
    """What a first pass over the session column shows.

    ``counts`` are the rows of each session, in order of first appearance. ``roster`` is None where the rows of
    every session stand in one piece.
    """

    counts: Integers
    roster: Roster | None

    @property
    def sessions(self) -> int:
        """The number of sessions."""
        return len(self.counts)

    @property
    def too_large(self) -> Flags:
        """Marks the sessions that have more rows than a session can have."""
        return self.counts > MOST_READINGS


class _Runs:
    """The runs of rows of one session, by hash and length; at an end of a block a run may go on."""

    def __init__(self) -> None:
        self._hashes: list[Integers] = []
        self._lengths: list[Integers] = []

    def add(self, sessions: Words) -> bool:
        """Takes the rows of a block; returns False where it has two runs of one session."""
        number = sessions.number[sessions.number >= 0]
        starts = run_starts(number)
        ids = [sessions.words[i] for i in number[starts].tolist()]
        hashes = np.fromiter(map(hash, ids), np.int64, len(ids))
        lengths = np.diff(starts, append=len(number))
        if len(np.unique(hashes)) < len(hashes):
            return False
        if self._hashes and len(hashes) and self._hashes[-1][-1] == hashes[0]:
            self._lengths[-1][-1] += lengths[0]
            hashes, lengths = hashes[1:], lengths[1:]
        if len(hashes):
            self._hashes.append(hashes)
            self._lengths.append(lengths)
        return True

    def counts(self) -> Integers | None:
        """Returns the rows of each session, None where a session has two runs."""
        if not self._hashes:
            return _EMPTY
        hashes = np.concatenate(self._hashes)
        return np.concatenate(self._lengths) if len(np.unique(hashes)) == len(hashes) else None


def run_starts(number: Indices) -> Integers:
    """Returns where runs of the same number begin."""
    return np.flatnonzero(np.diff(number, prepend=-1))


def survey(files: Sequence[TableFile], progress: Callable[[int], None]) -> Survey:
    """Passes over the sessions of all rows; ``progress`` is told the number of rows of each block."""
    runs = _Runs()
    for sessions, rows in _sessions(files):
        progress(rows)
        if not runs.add(sessions):
            return _census(files, progress)
    counts = runs.counts()
    return _census(files, progress) if counts is None else Survey(counts, None)


def _sessions(files: Iterable[TableFile]) -> Iterator[tuple[Words, int]]:
    for file in files:
        for block in file.blocks(("session_id",)):
            yield sessions_of(block.columns["session_id"])[0], block.rows


def _census(files: Iterable[TableFile], progress: Callable[[int], None]) -> Survey:
    """Counts the rows of sessions that are scattered."""
    roster = Roster()
    counts = _EMPTY
    for sessions, rows in _sessions(files):
        progress(rows)
        numbers = numbered(roster, sessions)
        if len(roster) > len(counts):
            counts = np.pad(counts, (0, len(roster) + len(roster) // 8 - len(counts)))
        np.add.at(counts, numbers, 1)
    return Survey(counts[: len(roster)].copy(), roster)


def numbered(roster: Roster, sessions: Words) -> Integers:
    """Returns the roster's number of each row that belongs to a session."""
    number = sessions.number[sessions.number >= 0]
    starts = run_starts(number)
    distinct, first, inverse = np.unique(number[starts], return_index=True, return_inverse=True)
    by_appearance = np.argsort(first)
    found = np.empty(len(distinct), np.int64)
    found[by_appearance] = roster.numbers_of([sessions.words[i] for i in distinct[by_appearance].tolist()])
    rows: Integers = np.repeat(found[inverse], np.diff(starts, append=len(number)))
    return rows


def check_unchanged(known: int, met: int) -> None:
    """Checks that a second pass meets no other sessions than the first.

    Raises:
        TableError: the files were changed meanwhile.
    """
    if met > known:
        raise TableError("the readings were changed while they were read")
