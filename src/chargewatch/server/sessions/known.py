"""What one process remembers of sessions and stations, so that most pushes need one round trip.

It is a memory, never a truth: the database compares the version (and the station's attributes) that a push builds on
with its own, and stores nothing when they differ. Then the push goes the long way, behind the row's lock.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from sys import getsizeof
from typing import Final, NamedTuple
from uuid import UUID

from chargewatch.ingest.readings import ReadingSet
from chargewatch.server.sessions.rows import StationFacts, Stored

#: What is remembered at once (100,000 readings of sessions of the usual size); the session used longest ago goes first.
MOST_BYTES: Final = 36_000_000
#: A longer session is loaded each time.
LONGEST_SESSION: Final = 5_000
MOST_SESSIONS: Final = 20_000
MOST_STATIONS: Final = 50_000
#: What a session and a reading take beside their texts, as measured (``tests/unit/test_known_sessions.py``).
_SESSION_BYTES: Final = 1_700
_READING_BYTES: Final = 260

Name = tuple[UUID, str]


class Known(NamedTuple):
    """A session as it was after the last call on it in this process.

    ``text_bytes`` are those of its readings (`text_bytes`), or more, where some took the place of others.
    """

    stored: Stored
    facts: StationFacts
    readings: ReadingSet
    text_bytes: int


class KnownSessions:
    """The sessions that were used last, each by tenant and external id."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._sessions: OrderedDict[Name, tuple[Known, int]] = OrderedDict()
        self._bytes = 0
        self._turns: dict[Name, tuple[asyncio.Lock, int]] = {}

    def __contains__(self, name: Name) -> bool:
        return name in self._sessions

    def take(self, name: Name) -> Known | None:
        """Hands a session out, to be put back when what it became is stored; meanwhile it is not remembered."""
        known, size = self._sessions.pop(name, (None, 0))
        self._bytes -= size
        return known

    def put(self, name: Name, known: Known) -> None:
        """Remembers a session, and forgets those used longest ago where there is no room."""
        self.take(name)
        if len(known.readings) > LONGEST_SESSION:
            return
        size = _size(known)
        self._sessions[name] = known, size
        self._bytes += size
        while self._bytes > self._most_bytes or len(self._sessions) > MOST_SESSIONS:
            _, (_, gone) = self._sessions.popitem(last=False)
            self._bytes -= gone

    @asynccontextmanager
    async def turn(self, name: Name) -> AsyncIterator[None]:
        """Holds the other calls of this process on the session back while the block runs."""
        lock, users = self._turns.get(name) or (asyncio.Lock(), 0)
        self._turns[name] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._turns.pop(name)
            if users > 1:
                self._turns[name] = lock, users - 1


def _size(known: Known) -> int:
    """Returns about how many bytes a session takes: its texts are the client's, and may be long."""
    row = known.stored.row
    texts = getsizeof(row.metadata) + getsizeof(row.verdict) + known.text_bytes
    return _SESSION_BYTES + _READING_BYTES * len(known.readings) + texts


class KnownStations:
    """What is declared about stations."""

    def __init__(self) -> None:
        self._stations: dict[Name, StationFacts] = {}

    def get(self, name: Name) -> StationFacts:
        """Returns what was last seen; nothing declared for a station never seen."""
        return self._stations.get(name, _NOTHING)

    def put(self, name: Name, facts: StationFacts) -> None:
        """Remembers a station."""
        if len(self._stations) >= MOST_STATIONS:
            self._stations.clear()
        self._stations[name] = facts


_NOTHING: Final = StationFacts()
