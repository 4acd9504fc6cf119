"""OCPP messages of a station into sessions.

Three steps, each repeatable: the messages are applied to what is known of the station's transactions, one call after
another, and that is stored; then the sessions are stored, through their own service; last the starts that are settled
are removed. A call that dies in between and comes again ends in the same state (`ingest.transactions`).
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from chargewatch.ingest.session_push import SessionPush, merge
from chargewatch.ingest.transaction_messages import Message, NothingReported, StatusReported
from chargewatch.ingest.transactions import Outcome, TransactionBook
from chargewatch.server.clock import from_microseconds
from chargewatch.server.db.engine import Database
from chargewatch.server.ocpp import repository
from chargewatch.server.sessions.payloads import Attributes, Whereabouts
from chargewatch.server.sessions.rows import Stored
from chargewatch.server.sessions.service import SessionService, TooManyReadings


class Pushed(NamedTuple):
    """What became of messages: one outcome each, and the sessions by external id; ``full`` are those without room."""

    outcomes: Sequence[Outcome]
    sessions: dict[str, Stored]
    full: frozenset[str]


class OcppService:
    """The calls with OCPP frames of any tenant."""

    def __init__(self, database: Database, sessions: SessionService) -> None:
        self._database = database
        self._sessions = sessions

    async def push(self, tenant_id: UUID, station: str, messages: Sequence[Message]) -> Pushed:
        """Stores what messages say, in their order.

        Raises:
            DatabaseUnavailable: repeat the call; what it stored already is no obstacle.
        """
        outcomes, settled = await self._note(tenant_id, station, messages)
        stored: dict[str, Stored] = {}
        full: set[str] = set()
        for push in merge(outcome.push for outcome in outcomes if outcome.push is not None):
            try:
                stored[push.session] = await store_push(self._sessions, tenant_id, push)
            except TooManyReadings:
                full.add(push.session)
        if settled:
            async with self._database.tenant_transaction(tenant_id) as connection:
                await repository.remove_starts(connection, tenant_id, station, settled)
        return Pushed(outcomes, stored, frozenset(full))

    async def _note(
        self, tenant_id: UUID, station: str, messages: Sequence[Message]
    ) -> tuple[list[Outcome], list[str]]:
        """Applies messages to what is known of the station and stores that; returns what is to be done."""
        if all(isinstance(message, NothingReported | StatusReported) for message in messages):
            book = TransactionBook(station)
            return [book.apply(message) for message in messages], []
        wanted = repository.wanted_by(messages)
        async with self._database.tenant_transaction(tenant_id) as connection:
            await repository.lock_station(connection, tenant_id, station)
            book = TransactionBook(station, await repository.load(connection, tenant_id, station, wanted))
            outcomes = [book.apply(message) for message in messages]
            changes = book.changes()
            if changes:
                await repository.save(connection, tenant_id, station, changes)
        return outcomes, book.settled()


async def store_push(sessions: SessionService, tenant_id: UUID, push: SessionPush) -> Stored:
    """Stores a push of the border as a session.

    Raises:
        SessionNotFound: a push that names no station, of a session that is unknown.
        TooManyReadings: the session has no room for its readings.
    """
    started_us, ended_us = push.started_us, push.ended_us
    return await sessions.append(
        tenant_id,
        push.session,
        Whereabouts(push.station, push.evse_id, push.connector_id) if push.station else None,
        Attributes(
            push.metadata,
            None if started_us is None else from_microseconds(started_us),
            None if ended_us is None else from_microseconds(ended_us),
            push.stop_reason,
            None,
        ),
        push.readings,
    )
