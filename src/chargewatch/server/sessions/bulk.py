"""Many sessions stored as POST would store them one after the other, in one transaction of the caller's.

New sessions without anomalies are judged as one batch beforehand and stored in one round trip; the others go the long
way (`SessionService.upsert_in`), one by one, each undone alone where it cannot be stored. Sessions of one id, and those
of one station around one that goes the long way, keep their order: a verdict depends on the neighbours.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

import structlog

from chargewatch.domain.verdict import Verdict
from chargewatch.ingest.readings import Reading, ReadingSet
from chargewatch.server.clock import utc_now
from chargewatch.server.db.connection import Connection, is_lost
from chargewatch.server.db.engine import Database
from chargewatch.server.db.errors import DatabaseUnavailable, is_passing
from chargewatch.server.platform.metrics import READINGS
from chargewatch.server.sessions import judging, repository, rows
from chargewatch.server.sessions.payloads import Attributes, Whereabouts
from chargewatch.server.sessions.repository import NewSession
from chargewatch.server.sessions.rows import StationFacts, Stored, Times
from chargewatch.server.sessions.service import MOST_READINGS, SessionService, TooManyReadings

_NOTHING_DECLARED: Final = StationFacts()

_log = structlog.get_logger(__name__)


class Upsert(NamedTuple):
    """What a POST would say of one session."""

    external_id: str
    where: Whereabouts
    attributes: Attributes
    readings: Sequence[Reading]


class Refusal(NamedTuple):
    """Why a session could not be stored: ``too_many_readings``, or ``internal_error``."""

    code: str
    detail: str


class Prepared(NamedTuple):
    """A session to store; ``new`` is its first version where it is new and shows no anomaly."""

    upsert: Upsert
    new: NewSession | None = None
    verdict: Verdict | None = None


class BulkSessions:
    """Stores sessions in bulk."""

    def __init__(self, database: Database, sessions: SessionService) -> None:
        self._database = database
        self._sessions = sessions

    async def prepare(self, tenant_id: UUID, upserts: Sequence[Upsert]) -> list[Prepared]:
        """Judges those that are new, as one batch; nothing is stored."""
        ids = [upsert.external_id for upsert in upserts]
        stations = list({upsert.where.station for upsert in upserts})
        async with self._database.tenant_transaction(tenant_id, reads=True) as connection:
            taken = await repository.existing_sessions(connection, tenant_id, ids)
            facts = await repository.station_facts(connection, tenant_id, stations)
        waiting = []
        for upsert in upserts:
            is_new = upsert.external_id not in taken and len(upsert.readings) <= MOST_READINGS
            taken.add(upsert.external_id)
            known = facts.get(upsert.where.station, _NOTHING_DECLARED)
            waiting.append(self._judged(tenant_id, upsert, known) if is_new else _unjudged(upsert))
        return list(await asyncio.gather(*waiting))

    async def _judged(self, tenant_id: UUID, upsert: Upsert, facts: StationFacts) -> Prepared:
        now = utc_now()
        judge = self._sessions.judge
        readings, change = ReadingSet.replacing(upsert.readings)
        row = rows.first_row(upsert.external_id, upsert.where, upsert.attributes, readings, change, now)
        judgement = await judge.quick_judgement(tenant_id, row, facts, readings, now)
        verdict = judgement.verdict
        if judgement.failed or (verdict is not None and verdict.is_anomaly):
            return Prepared(upsert)
        row = judge.row_with(row, judgement, now)
        return Prepared(upsert, NewSession(upsert.where.station, facts, row, change.added), verdict)

    async def store(
        self, connection: Connection, tenant_id: UUID, prepared: Sequence[Prepared]
    ) -> list[Stored | Refusal]:
        """Stores sessions; returns what became of each.

        Raises:
            DatabaseUnavailable: the database failed or another transaction was in the way; whatever it raises for that
                reason, too. The transaction is to be rolled back.
        """
        outcomes: dict[int, Stored | Refusal] = {}
        group: list[int] = []
        names: set[str | tuple[str, str]] = set()
        for place, one in enumerate(prepared):
            upsert = one.upsert
            if one.new is None:
                if {upsert.external_id, ("station", upsert.where.station)} & names:
                    await self._store_group(connection, tenant_id, prepared, group, outcomes)
                    group, names = [], set()
                outcomes[place] = await self._store_alone(connection, tenant_id, upsert)
            else:
                group.append(place)
                names |= {upsert.external_id, ("station", upsert.where.station)}
        await self._store_group(connection, tenant_id, prepared, group, outcomes)
        return [outcomes[place] for place in range(len(prepared))]

    async def _store_group(
        self,
        connection: Connection,
        tenant_id: UUID,
        prepared: Sequence[Prepared],
        group: Sequence[int],
        outcomes: dict[int, Stored | Refusal],
    ) -> None:
        """Stores new sessions in one round trip; those of which something else was assumed go the long way."""
        stored = await self._create(connection, tenant_id, [prepared[place] for place in group])
        for place, one in zip(group, stored, strict=True):
            outcomes[place] = one or await self._store_alone(connection, tenant_id, prepared[place].upsert)

    async def _create(
        self, connection: Connection, tenant_id: UUID, group: Sequence[Prepared]
    ) -> list[Stored | None]:
        new = [one.new for one in group if one.new is not None]
        if not new:
            return []
        await connection.execute("SAVEPOINT a_group")
        try:
            made = await repository.create_sessions(connection, tenant_id, new)
        except Exception as fault:
            if not _is_of_what_was_sent(fault, connection):
                raise
            _log.exception("bulk_group_failed")
            await connection.execute("ROLLBACK TO SAVEPOINT a_group")
            return [None] * len(new)
        stored: list[Stored | None] = []
        for one, first, prepared in zip(new, made, group, strict=True):
            if first.outcome != "created" or first.station_id is None or first.created_at is None:
                stored.append(None)
                continue
            READINGS.inc(len(one.readings))
            judging.count(prepared.verdict)
            times = Times(first.created_at, first.created_at)
            stored.append(Stored(one.row._replace(station_id=first.station_id), times, one.station))
        return stored

    async def _store_alone(self, connection: Connection, tenant_id: UUID, upsert: Upsert) -> Stored | Refusal:
        await connection.execute("SAVEPOINT a_session")
        try:
            return await self._sessions.upsert_in(connection, tenant_id, *upsert)
        except TooManyReadings:
            refusal = Refusal("too_many_readings", f"A session holds at most {MOST_READINGS} readings.")
        except Exception as fault:
            if not _is_of_what_was_sent(fault, connection):
                raise
            _log.exception("bulk_session_failed")
            refusal = Refusal("internal_error", "Something went wrong on our side.")
        await connection.execute("ROLLBACK TO SAVEPOINT a_session")
        return refusal


async def _unjudged(upsert: Upsert) -> Prepared:
    return Prepared(upsert)


def _is_of_what_was_sent(fault: Exception, connection: Connection) -> bool:
    """Whether trying again would end the same: no outage, and nobody else in the way."""
    return not (isinstance(fault, DatabaseUnavailable) or is_passing(fault) or is_lost(connection))
