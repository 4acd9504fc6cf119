"""Stores the sessions of a file as the API would store them. Readings are appended: what is stored changes nothing."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from datetime import datetime
from itertools import islice, takewhile
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar
from uuid import UUID

from chargewatch.ingest.sent_sessions import SentSession
from chargewatch.server.clock import from_microseconds
from chargewatch.server.db.engine import Database
from chargewatch.server.db.errors import DatabaseUnavailable, is_passing
from chargewatch.server.imports import repository
from chargewatch.server.imports.queue import OrderedQueue
from chargewatch.server.sessions.payloads import Attributes, Whereabouts
from chargewatch.server.sessions.rows import Stored
from chargewatch.server.sessions.service import MOST_READINGS, SessionService, TooManyReadings

#: Sessions that are looked up at once.
_LOOKED_UP: Final = 200
#: Sessions that are begun ahead of the one that progress waits for, for each that is stored at once.
_AHEAD: Final = 8
_REMEMBERED: Final = 10_000
#: How long one waits before each new attempt while the database does not answer.
PATIENCE_S: Final = (0.1, 0.3, 1.0, 3.0, 5.0, 10.0)

Fate: TypeAlias = Literal["created", "changed", "unchanged", "refused"]
T = TypeVar("T")


class Done(NamedTuple):
    """What became of a session; ``reason`` says why it was refused.

    ``repeated`` readings had a key that was stored before or stands twice in the file.
    """

    sent: SentSession
    fate: Fate
    added: int
    repeated: int
    reason: str | None = None


class _Case(NamedTuple):
    """A session to store, and how many readings are stored of it."""

    sent: SentSession
    stored: int


class ImportService:
    """Stores the sessions of files for one tenant."""

    def __init__(
        self,
        database: Database,
        sessions: SessionService,
        tenant_id: UUID,
        *,
        concurrency: int,
        patience_s: Iterable[float] = PATIENCE_S,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._tenant_id = tenant_id
        self._concurrency = concurrency
        self._patience_s = tuple(patience_s)
        self._newest: OrderedDict[str, int] = OrderedDict()

    async def present(self) -> datetime:
        """Returns the present as the database has it."""
        async with self._database.tenant_transaction(self._tenant_id, reads=True) as connection:
            return await repository.present(connection)

    async def store(
        self,
        sent: Iterable[SentSession],
        began: datetime,
        done: Callable[[Done], None],
        *,
        by_station: bool = False,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Stores sessions, several at once, with the same result as one after the other.

        Args:
            sent: in the order of the file.
            began: when the import began (`present`), in an earlier run where it is gone on with: what was stored since
                counts as created or changed by it.
            done: told what became of each session, in the order given, when all before it are stored as well.
            by_station: parts of one session may name its connector or leave it out, so that the order of a station's
                sessions is what keeps those of a connector in order.
            stopped: asked before each session; those that were begun are ended.

        Raises:
            DatabaseError: the database cannot be used; DatabaseUnavailable when it keeps not answering.
        """

        async def work(case: _Case) -> Done:
            return await self._again(lambda: self._store(case, began))

        keys = _station if by_station else _connector
        queue = OrderedQueue(work, keys, done, at_once=self._concurrency, ahead=_AHEAD * self._concurrency)
        try:
            for part in _chunks(takewhile(lambda _: not stopped(), sent)):
                counts = await self._again(lambda: self._counts(part))  # noqa: B023 - called at once
                for session in takewhile(lambda _: not stopped(), part):
                    await queue.put(_Case(session, counts.get(session.session_id, 0)))
            await queue.finish()
        finally:
            await queue.cancel()

    async def _again(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does work once more while the database does not answer; work that was applied changes nothing then."""
        for pause_s in self._patience_s:
            try:
                return await work()
            except Exception as problem:
                if not (isinstance(problem, DatabaseUnavailable) or is_passing(problem)):
                    raise
                await asyncio.sleep(pause_s)
        return await work()

    async def _counts(self, part: list[SentSession]) -> dict[str, int]:
        async with self._database.tenant_transaction(self._tenant_id, reads=True) as connection:
            ids = [session.session_id for session in part]
            return await repository.reading_counts(connection, self._tenant_id, ids)

    async def _store(self, case: _Case, began: datetime) -> Done:
        sent = case.sent
        attributes = Attributes(
            sent.metadata, _time(sent.started_us), _time(sent.ended_us), sent.stop_reason, sent.managed
        )
        where = Whereabouts(sent.station, sent.evse_id, sent.connector_id)
        try:
            stored = await self._sessions.append(
                self._tenant_id, sent.session_id, where, attributes, sent.readings
            )
        except TooManyReadings:
            reason = f"with the {case.stored} readings that are stored the session would have more than {MOST_READINGS}"
            return Done(sent, "refused", 0, 0, reason)
        before = max(case.stored, self._newest.get(sent.session_id, 0))
        added = stored.row.reading_count - before
        self._remember(sent.session_id, stored.row.reading_count)
        return Done(sent, _fate(stored, began), added, len(sent.readings) - added)

    def _remember(self, session: str, readings: int) -> None:
        """Keeps how many readings a session has now: what was looked up of its later parts may be older."""
        self._newest[session] = readings
        self._newest.move_to_end(session)
        if len(self._newest) > _REMEMBERED:
            self._newest.popitem(last=False)


def _connector(case: _Case) -> tuple[Hashable, ...]:
    """What a session must not overtake: earlier ones of its connector, and parts of its own."""
    sent = case.sent
    return sent.session_id, (sent.station, sent.evse_id, sent.connector_id)


def _station(case: _Case) -> tuple[Hashable, ...]:
    return case.sent.session_id, (case.sent.station,)


def _fate(stored: Stored, began: datetime) -> Fate:
    if stored.times.created_at >= began:
        return "created"
    return "changed" if stored.times.updated_at >= began else "unchanged"


def _time(at_us: int | None) -> datetime | None:
    return None if at_us is None else from_microseconds(at_us)


def _chunks(sent: Iterable[SentSession]) -> Iterator[list[SentSession]]:
    sessions = iter(sent)
    while part := list(islice(sessions, _LOOKED_UP)):
        yield part
