"""What the calls on sessions do: one transaction each, in which readings and verdict are stored together.

A session's row is locked for the length of a call, so that calls on one session come one after another and no
acknowledged reading is lost. The version grows by one with each call that changes something. Where this process knows
the session (`known`), or the session is new, a push is one round trip instead, which stores nothing when what it
builds on is no longer so.
"""

from collections.abc import Awaitable, Callable, Container, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from chargewatch.ingest.readings import Change, Reading, ReadingSet, text_bytes
from chargewatch.server.analysis.service import Analyser, aside_if_large
from chargewatch.server.clock import utc_now
from chargewatch.server.db.connection import Connection, Row
from chargewatch.server.db.engine import Database
from chargewatch.server.platform.metrics import READINGS
from chargewatch.server.sessions import judging, repository, rows
from chargewatch.server.sessions.judging import Judge
from chargewatch.server.sessions.known import Known, KnownSessions, KnownStations
from chargewatch.server.sessions.payloads import Attributes, Whereabouts
from chargewatch.server.sessions.rows import SessionRow, StationFacts, Stored, Times
from chargewatch.server.thresholds.memory import KnownThresholds

MOST_READINGS: Final = 200_000
_ATTEMPTS: Final = 5
_NOTHING_NOTICED: Final = Change([], 0, 0)

#: Runs in the transaction of a call, before it is committed, with what the call leaves behind.
Sealing = Callable[[Connection, Stored], Awaitable[None]]


class SessionNotFound(Exception):
    """The tenant has no session of that id."""


class TooManyReadings(Exception):
    """The session would hold more readings than one may."""


class VersionMismatch(Exception):
    """The session is at none of the versions that the caller asked for."""


class Push(NamedTuple):
    """What a call wants of a session.

    ``replaces``: the readings, where there are any, take the place of the stored ones instead of joining them.
    ``joins_metadata``: what is sent joins the stored object instead of taking its place.
    """

    attributes: Attributes
    readings: Sequence[Reading]
    replaces: bool
    joins_metadata: bool = False
    where: Whereabouts | None = None
    expected_versions: Container[int] | None = None
    sealing: Sealing | None = None


class _Opened(NamedTuple):
    """A locked session with its station; ``row`` is None for a session that is new."""

    row: SessionRow | None
    times: Times | None
    station_id: UUID
    station: str
    facts: StationFacts


class SessionService:
    """The calls on sessions of any tenant."""

    def __init__(self, database: Database, analyser: Analyser, idle_s: float) -> None:
        self._database = database
        self.thresholds = KnownThresholds(database)
        self.judge = Judge(analyser, self.thresholds, timedelta(seconds=idle_s))
        self._sessions = KnownSessions()
        self._stations = KnownStations()

    async def upsert(
        self,
        tenant_id: UUID,
        external_id: str,
        where: Whereabouts,
        attributes: Attributes,
        readings: Sequence[Reading],
        expected_versions: Container[int] | None = None,
        sealing: Sealing | None = None,
    ) -> Stored:
        """Creates or changes a session; readings, where there are any, replace the stored ones (POST)."""
        push = Push(
            attributes,
            readings,
            replaces=True,
            where=where,
            expected_versions=expected_versions,
            sealing=sealing,
        )
        return await self._create_or_change(tenant_id, external_id, where, push)

    async def append(
        self,
        tenant_id: UUID,
        external_id: str,
        where: Whereabouts | None,
        attributes: Attributes,
        readings: Sequence[Reading],
    ) -> Stored:
        """Creates a session or adds readings to it; a place other than the stored one moves it.

        Metadata joins the stored object: names that are not sent stay.

        Raises:
            SessionNotFound: the session is new and no place is given.
        """
        push = Push(attributes, readings, replaces=False, joins_metadata=True, where=where)
        if where is None:
            return await self._change(tenant_id, external_id, push)
        return await self._create_or_change(tenant_id, external_id, where, push)

    async def change(
        self,
        tenant_id: UUID,
        session: str,
        attributes: Attributes,
        readings: Sequence[Reading],
        *,
        replace: bool,
        expected_versions: Container[int] | None = None,
        sealing: Sealing | None = None,
    ) -> Stored:
        """Adds readings to a session or replaces them (PATCH and PUT).

        Raises:
            SessionNotFound: no such session.
        """
        push = Push(
            attributes, readings, replaces=replace, expected_versions=expected_versions, sealing=sealing
        )
        return await self._change(tenant_id, session, push)

    async def get(self, tenant_id: UUID, session: str) -> tuple[Stored, list[Reading]]:
        """Returns a session with its readings in order of time.

        Raises:
            SessionNotFound: no such session.
        """
        async with self._database.tenant_transaction(tenant_id, reads=True) as connection:
            row = await repository.find_session(connection, tenant_id, session)
            if row is None:
                raise SessionNotFound
            opened = _opened(row)
            assert opened.row is not None
            assert opened.times is not None
            readings = await repository.load_readings(connection, tenant_id, opened.row.session_id)
        return Stored(opened.row, opened.times, opened.station), ReadingSet(readings).ordered()

    async def delete(
        self, tenant_id: UUID, session: str, expected_versions: Container[int] | None = None
    ) -> None:
        """Erases a session.

        Raises:
            SessionNotFound: no such session.
        """

        async def work(connection: Connection) -> str:
            found = await repository.find_session(connection, tenant_id, session, lock=True)
            if found is None:
                raise SessionNotFound
            opened = _opened(found)
            assert opened.row is not None
            _check_version(opened.row, expected_versions)
            others = await repository.overlapping_sessions(connection, tenant_id, opened.row)
            await repository.ask_for_rechecks(connection, tenant_id, others)
            await repository.delete_session(connection, tenant_id, opened.row)
            return opened.row.external_id

        external_id = await self._database.in_tenant_transaction(tenant_id, work)
        self._sessions.take((tenant_id, external_id))

    async def recheck(self, tenant_id: UUID, session_id: UUID) -> bool:
        """Judges a session anew without a push; returns whether that changed its verdict."""
        return await self._database.in_tenant_transaction(
            tenant_id, lambda connection: self.recheck_in(connection, tenant_id, session_id)
        )

    async def recheck_in(self, connection: Connection, tenant_id: UUID, session_id: UUID) -> bool:
        """Does so in a transaction of the caller's.

        A changed verdict is a new version: the session became over, or it shows in another session's light.
        """
        found = await repository.find_internal(connection, tenant_id, session_id)
        if found is None:
            return False
        opened = _opened(found)
        row = opened.row
        assert row is not None
        readings = ReadingSet(await repository.load_readings(connection, tenant_id, session_id))
        after, _ = await self.judge.judged_row(
            connection, tenant_id, row._replace(version=row.version + 1), opened.facts, readings, utc_now()
        )
        if rows.same_verdict(row, after):
            await repository.set_recheck(connection, tenant_id, session_id, after.recheck_at)
            return False
        await repository.update_session(connection, tenant_id, after, [], replace=False)
        self._sessions.take((tenant_id, row.external_id))
        return True

    async def upsert_in(
        self,
        connection: Connection,
        tenant_id: UUID,
        external_id: str,
        where: Whereabouts,
        attributes: Attributes,
        readings: Sequence[Reading],
    ) -> Stored:
        """Does what `upsert` does in a transaction of the caller's, which holds the session's row from here on.

        Raises:
            TooManyReadings: something may be stored already; the caller undoes it.
        """
        push = Push(attributes, readings, replaces=True, where=where)
        for _ in range(_ATTEMPTS):
            found = await repository.open_session(connection, tenant_id, where.station, external_id)
            if found is not None:
                known = await self._store(connection, tenant_id, external_id, _opened(found), push)
                if known is not None:
                    return known.stored
        raise RuntimeError("a new session kept being created by other calls")

    async def _create_or_change(
        self, tenant_id: UUID, external_id: str, where: Whereabouts, push: Push
    ) -> Stored:
        name = (tenant_id, external_id)
        if push.expected_versions is None and push.sealing is None:
            if name not in self._sessions:
                stored = await self._create_quickly(tenant_id, external_id, where, push)
            elif not push.replaces:
                stored = await self._change_quickly(tenant_id, external_id, push)
            else:
                stored = None
            if stored is not None:
                return stored

        async def work(connection: Connection) -> Known | None:
            found = await repository.open_session(connection, tenant_id, where.station, external_id)
            if found is None:
                return None
            return await self._store(connection, tenant_id, external_id, _opened(found), push)

        for _ in range(_ATTEMPTS):
            known = await self._database.in_tenant_transaction(tenant_id, work)
            if known is not None:
                self._sessions.put(name, known)
                return known.stored
        raise RuntimeError("a new session kept being created by other calls")

    async def _create_quickly(
        self, tenant_id: UUID, external_id: str, where: Whereabouts, push: Push
    ) -> Stored | None:
        """Stores a first push without anomalies in one round trip; None: nothing is stored, go the long way."""
        now = utc_now()
        station = (tenant_id, where.station)
        facts = self._stations.get(station)
        merged, change = ReadingSet.replacing(push.readings)
        if len(merged) > MOST_READINGS:
            raise TooManyReadings
        row = rows.first_row(external_id, where, push.attributes, merged, change, now)
        judgement = await self.judge.quick_judgement(tenant_id, row, facts, merged, now)
        verdict = judgement.verdict
        if judgement.failed or (verdict is not None and verdict.is_anomaly):
            return None
        row = self.judge.row_with(row, judgement, now)
        made = await repository.create_session(
            self._database, tenant_id, where.station, facts, row, change.added
        )
        if made.outcome == "assumed":
            self._stations.put(station, made.station)
        if made.outcome != "created" or made.station_id is None or made.created_at is None:
            return None
        READINGS.inc(len(change.added))
        judging.count(verdict)
        times = Times(made.created_at, made.created_at)
        stored = Stored(row._replace(station_id=made.station_id), times, where.station)
        self._sessions.put((tenant_id, external_id), Known(stored, facts, merged, text_bytes(change.added)))
        return stored

    async def _change(self, tenant_id: UUID, session: str, push: Push) -> Stored:
        external_id = repository.normal_id(session)
        if push.sealing is None and (tenant_id, external_id) in self._sessions:
            stored = await self._change_quickly(tenant_id, external_id, push)
            if stored is not None:
                return stored

        async def work(connection: Connection) -> Known | None:
            found = await repository.find_session(connection, tenant_id, session, lock=True)
            if found is None:
                return None
            return await self._store(connection, tenant_id, found["external_id"], _opened(found), push)

        known = await self._database.in_tenant_transaction(tenant_id, work)
        if known is None:
            raise SessionNotFound
        self._sessions.put((tenant_id, known.stored.row.external_id), known)
        return known.stored

    async def _change_quickly(self, tenant_id: UUID, external_id: str, push: Push) -> Stored | None:
        """Stores a push on a session that this process knows in one round trip; None: go the long way.

        The long way is for what needs more than the session itself: anomalies (their recurrence), overlaps, moves,
        and for answers that must be the newest although nothing is stored.
        """
        name = (tenant_id, external_id)
        async with self._sessions.turn(name):
            known = self._sessions.take(name)
            if known is None or not _is_simple(known, push):
                return None
            before = known.stored.row
            readings, added, change = _merge(known.readings, push.readings, replaces=push.replaces)
            if len(readings) > MOST_READINGS:
                return None
            now = utc_now()
            row = rows.attributed(before, push.attributes, joins_metadata=push.joins_metadata)
            if push.where is not None:
                row = rows.located(row, row.station_id, push.where)
            if not added and row == before:
                return None
            replaces = push.replaces and bool(added)
            created_at = known.stored.times.created_at
            row = rows.next_version(
                row, readings, change if added else _NOTHING_NOTICED, now, created_at, replaced=replaces
            )
            if rows.gives_up(before, row):
                return None
            judgement = await self.judge.quick_judgement(tenant_id, row, known.facts, readings, now)
            verdict = judgement.verdict
            if judgement.failed or (verdict is not None and verdict.is_anomaly):
                return None
            row = self.judge.row_with(row, judgement, now)
            times = await repository.change_session(
                self._database, tenant_id, before.version, known.facts, row, added, replaces=replaces
            )
            if times is None:
                return None
            stored = Stored(row, times, known.stored.station)
            kept = 0 if replaces else known.text_bytes
            self._sessions.put(name, Known(stored, known.facts, readings, kept + text_bytes(added)))
        READINGS.inc(len(added))
        judging.count(verdict)
        return stored

    async def _store(
        self, connection: Connection, tenant_id: UUID, external_id: str, opened: _Opened, push: Push
    ) -> Known | None:
        """Merges a push into what is stored, judges the result and stores both; None: the session is not new."""
        _check_version(opened.row, push.expected_versions)
        stored_readings: list[Reading] = []
        if opened.row is not None:
            stored_readings = await repository.load_readings(connection, tenant_id, opened.row.session_id)
        readings, added, change = await aside_if_large(
            len(stored_readings) + len(push.readings),
            lambda: _merge(ReadingSet(stored_readings), push.readings, replaces=push.replaces),
        )
        if len(readings) > MOST_READINGS:
            raise TooManyReadings
        now = utc_now()
        row = opened.row or rows.new_row(external_id, opened.station_id, now)
        if push.where is not None:
            row = rows.located(row, opened.station_id, push.where)
        row = rows.attributed(row, push.attributes, joins_metadata=push.joins_metadata)
        if opened.row is not None and not added and row == opened.row:
            assert opened.times is not None
            times: Times | None = opened.times
        else:
            replaces = push.replaces and bool(added)
            created_at = opened.times.created_at if opened.times is not None else now
            row = rows.next_version(
                row, readings, change if added else _NOTHING_NOTICED, now, created_at, replaced=replaces
            )
            row = await self._judged(connection, tenant_id, opened, row, readings, now)
            if opened.row is None:
                times = await repository.insert_session(connection, tenant_id, row, added)
            else:
                times = await repository.update_session(connection, tenant_id, row, added, replace=replaces)
            READINGS.inc(len(added))
        if times is None:
            return None
        stored = Stored(row, times, opened.station)
        if push.sealing is not None:
            await push.sealing(connection, stored)
        return Known(stored, opened.facts, readings, text_bytes(readings.values()))

    async def _judged(
        self,
        connection: Connection,
        tenant_id: UUID,
        opened: _Opened,
        row: SessionRow,
        readings: ReadingSet,
        now: datetime,
    ) -> SessionRow:
        """Returns the row with its verdict; sessions that it newly overlaps, or no longer, are to be judged again."""
        after, overlapping = await self.judge.judged_row(
            connection, tenant_id, row, opened.facts, readings, now
        )
        before: list[UUID] = []
        if opened.row is not None and (rows.is_overlapping(opened.row) or rows.gives_up(opened.row, row)):
            before = await repository.overlapping_sessions(connection, tenant_id, opened.row)
        await repository.ask_for_rechecks(connection, tenant_id, {*overlapping} ^ {*before})
        return after


def _is_simple(known: Known, push: Push) -> bool:
    """Tells whether a push on a known session may be stored without looking at anything else."""
    row = known.stored.row
    if push.expected_versions is not None and row.version not in push.expected_versions:
        return False
    if push.where is not None and push.where.station != known.stored.station:
        return False
    return not row.is_anomaly and row.status != "failed" and not rows.is_overlapping(row)


def _check_version(row: SessionRow | None, expected_versions: Container[int] | None) -> None:
    if expected_versions is not None and (row is None or row.version not in expected_versions):
        raise VersionMismatch


def _opened(row: Row) -> _Opened:
    """Splits a row of ``open_session`` or ``find_session``."""
    is_stored = row["session_id"] is not None
    return _Opened(
        rows.stored_row(row) if is_stored else None,
        Times(row["created_at"], row["updated_at"]) if is_stored else None,
        row["at_station_id"],
        row["station_external_id"],
        StationFacts(row["station_managed"], row["rated_power_kw"]),
    )


def _merge(
    before: ReadingSet, readings: Sequence[Reading], *, replaces: bool
) -> tuple[ReadingSet, list[Reading], Change]:
    """Returns the readings after a call, those to store, and what was noticed. It may change ``before``."""
    if not (replaces and readings):
        change = before.change(readings)
        before.apply(change.added)
        return before, change.added, change
    after, change = ReadingSet.replacing(readings)
    if after.same_as(before):  # what is stored stays, to the letter
        return before, [], change
    return after, change.added, change
