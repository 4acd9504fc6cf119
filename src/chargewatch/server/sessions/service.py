"""What the calls on sessions do: one transaction each, in which readings and verdict are stored together.

A session's row is locked for the length of a call, so that calls on one session come one after another and no
acknowledged reading is lost. The version grows by one with each call that changes something.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import msgspec
import structlog

from chargewatch.csar2.detect import MODEL_ID, MODEL_VERSION
from chargewatch.domain.verdict import Anomaly, Verdict
from chargewatch.ingest.readings import Change, Reading, ReadingSet
from chargewatch.server.analysis.service import FEWEST_READINGS, Analyser, Case, Declared
from chargewatch.server.clock import from_microseconds, microseconds, utc_now
from chargewatch.server.db.connection import Connection, Row
from chargewatch.server.db.engine import Database
from chargewatch.server.platform.metrics import ANOMALIES, READINGS, SESSIONS_ANALYSED
from chargewatch.server.sessions import repository
from chargewatch.server.sessions.payloads import Attributes, Whereabouts
from chargewatch.server.sessions.repository import Assumed, SessionRow, Times
from chargewatch.server.sessions.schemas import StoredVerdict

MOST_READINGS: Final = 200_000
RECURRENCES: Final = 2
_ATTEMPTS: Final = 5
_REMEMBERED_STATIONS: Final = 50_000
_NOWHERE: Final = UUID(int=0)

logger = structlog.get_logger(__name__)


class SessionNotFound(Exception):
    """The tenant has no session of that id."""


class TooManyReadings(Exception):
    """The session would hold more readings than one may."""


class VersionMismatch(Exception):
    """The session is not at the version that the caller asked for."""


class Stored(NamedTuple):
    """A session as it is stored after a call."""

    row: SessionRow
    times: Times
    station: str


class _Opened(NamedTuple):
    """A locked session with its station; ``row`` is None for a session that is new."""

    row: SessionRow | None
    times: Times | None
    station_id: UUID
    station: str
    station_managed: bool | None
    rated_power_kw: float | None


class SessionService:
    """The calls on sessions of any tenant."""

    def __init__(self, database: Database, analyser: Analyser, idle_s: float) -> None:
        self._database = database
        self._analyser = analyser
        self._idle = timedelta(seconds=idle_s)
        self._stations: dict[tuple[UUID, str], Assumed] = {}

    async def upsert(
        self,
        tenant_id: UUID,
        external_id: str,
        where: Whereabouts,
        attributes: Attributes,
        readings: Sequence[Reading],
        expected_version: int | None = None,
    ) -> Stored:
        """Creates or changes a session; readings, where there are any, replace the stored ones."""
        if expected_version is None:
            created = await self._create(tenant_id, external_id, where, attributes, readings)
            if created is not None:
                return created
        for _ in range(_ATTEMPTS):
            async with self._database.tenant_transaction(tenant_id) as connection:
                row = await repository.open_session(connection, tenant_id, where.station, external_id)
                if row is not None:
                    opened = _opened(row)
                    _check_version(opened, expected_version)
                    stored = await self._store(
                        connection, tenant_id, external_id, opened, where, attributes, readings, replace=True
                    )
                    if stored is not None:
                        return stored
        raise RuntimeError("a new session kept being created by other calls")

    async def _create(
        self,
        tenant_id: UUID,
        external_id: str,
        where: Whereabouts,
        attributes: Attributes,
        readings: Sequence[Reading],
    ) -> Stored | None:
        """Stores a first push without anomalies in one round trip; None: nothing is stored, go the long way."""
        now = utc_now()
        assumed = self._stations.get((tenant_id, where.station), Assumed())
        merged, change = ReadingSet.replacing(readings)
        if len(merged) > MOST_READINGS:
            raise TooManyReadings
        opened = _Opened(None, None, _NOWHERE, where.station, *assumed)
        row = _with_call(external_id, opened, where, attributes, now)
        row = _with_readings(row, merged, change, now, replaced=True)
        verdict = await self._verdict(opened, row, merged, now)
        if verdict is not None and (isinstance(verdict, Exception) or verdict.is_anomaly):
            return None
        row = _pending(row) if verdict is None else _analysed(row, verdict, now, recurring=False)
        made = await repository.create_session(
            self._database, tenant_id, where.station, assumed, row, change.added
        )
        if made.outcome == "assumed":
            self._remember(tenant_id, where.station, made.station)
        if made.outcome != "created" or made.station_id is None or made.created_at is None:
            return None
        READINGS.inc(len(change.added))
        if verdict is not None:
            _count(verdict)
        times = Times(made.created_at, made.created_at)
        return Stored(row._replace(station_id=made.station_id), times, where.station)

    def _remember(self, tenant_id: UUID, station: str, attributes: Assumed) -> None:
        """Keeps what is declared about a station, for the next first push there; the database has the last word."""
        if len(self._stations) >= _REMEMBERED_STATIONS:
            self._stations.clear()
        self._stations[tenant_id, station] = attributes

    async def change(
        self,
        tenant_id: UUID,
        session: str,
        attributes: Attributes,
        readings: Sequence[Reading],
        *,
        replace: bool,
        expected_version: int | None = None,
    ) -> Stored:
        """Adds readings to a session or replaces them (PATCH and PUT).

        Raises:
            SessionNotFound: no such session.
        """
        async with self._database.tenant_transaction(tenant_id) as connection:
            row = await repository.find_session(connection, tenant_id, session, lock=True)
            if row is None:
                raise SessionNotFound
            opened = _opened(row)
            _check_version(opened, expected_version)
            stored = await self._store(
                connection, tenant_id, row["external_id"], opened, None, attributes, readings, replace=replace
            )
            if stored is None:
                raise SessionNotFound
            return stored

    async def get(self, tenant_id: UUID, session: str) -> tuple[Stored, list[Reading]]:
        """Returns a session with its readings in order of time.

        Raises:
            SessionNotFound: no such session.
        """
        async with self._database.tenant_transaction(tenant_id) as connection:
            row = await repository.find_session(connection, tenant_id, session)
            if row is None:
                raise SessionNotFound
            opened = _opened(row)
            assert opened.row is not None
            assert opened.times is not None
            readings = await repository.load_readings(connection, tenant_id, opened.row.session_id)
        return Stored(opened.row, opened.times, opened.station), ReadingSet(readings).ordered()

    async def delete(self, tenant_id: UUID, session: str, expected_version: int | None = None) -> None:
        """Erases a session.

        Raises:
            SessionNotFound: no such session.
        """
        async with self._database.tenant_transaction(tenant_id) as connection:
            row = await repository.find_session(connection, tenant_id, session, lock=True)
            if row is None:
                raise SessionNotFound
            _check_version(_opened(row), expected_version)
            await repository.delete_session(connection, tenant_id, row["session_id"])

    async def _store(
        self,
        connection: Connection,
        tenant_id: UUID,
        external_id: str,
        opened: _Opened,
        where: Whereabouts | None,
        attributes: Attributes,
        readings: Sequence[Reading],
        *,
        replace: bool,
    ) -> Stored | None:
        """Merges a call into what is stored, judges the result and stores both; None: the session is not new."""
        before = ReadingSet()
        if opened.row is not None:
            before.apply(await repository.load_readings(connection, tenant_id, opened.row.session_id))
        replace = replace and bool(readings)
        merged, added, change = _merge(before, readings, replace=replace)
        if len(merged) > MOST_READINGS:
            raise TooManyReadings
        now = utc_now()
        row = _with_call(external_id, opened, where, attributes, now)
        if opened.row is not None and not added and row == opened.row:
            assert opened.times is not None
            return Stored(opened.row, opened.times, opened.station)
        row = _with_readings(
            row, merged, change if added else Change([], 0, 0), now, replaced=replace and bool(added)
        )
        row = await self._judged(connection, tenant_id, opened, row, merged, now)
        if opened.row is None:
            times = await repository.insert_session(connection, tenant_id, row, added)
        else:
            replacing = replace and bool(added)
            times = await repository.update_session(connection, tenant_id, row, added, replace=replacing)
        READINGS.inc(len(added))
        return None if times is None else Stored(row, times, opened.station)

    async def _judged(
        self,
        connection: Connection,
        tenant_id: UUID,
        opened: _Opened,
        row: SessionRow,
        readings: ReadingSet,
        now: datetime,
    ) -> SessionRow:
        """Returns the row with the verdict on its readings."""
        verdict = await self._verdict(opened, row, readings, now)
        if verdict is None:
            return _pending(row)
        if isinstance(verdict, Exception):
            return _pending(row)._replace(status="failed", analyzed_at=now, analyzed_version=row.version)
        recurring = verdict.is_anomaly and _recurs(
            verdict, await repository.recent_categories(connection, tenant_id, row)
        )
        _count(verdict)
        return _analysed(row, verdict, now, recurring=recurring)

    async def _verdict(
        self, opened: _Opened, row: SessionRow, readings: ReadingSet, now: datetime
    ) -> Verdict | Exception | None:
        """Judges readings; None for too few of them, the fault where the analysis failed."""
        if len(readings) < FEWEST_READINGS:
            return None
        declared = Declared(
            managed=bool(row.managed) or (row.managed is None and bool(opened.station_managed)),
            rated_power_kw=opened.rated_power_kw,
            started_at=row.started_at,
            ended_at=row.ended_at,
            over=self._is_over(row, readings, now),
            duplicates=row.duplicate_count,
            out_of_order=row.out_of_order_count,
        )
        try:
            return await self._analyser.verdict(Case(readings, declared), now)
        except Exception as fault:
            logger.exception("analysis_failed", session_version=row.version)
            return fault

    def _is_over(self, row: SessionRow, readings: ReadingSet, now: datetime) -> bool:
        if row.ended_at is not None or readings.has_end():
            return True
        return row.last_reading_at is not None and now - row.last_reading_at >= self._idle


def _check_version(opened: _Opened, expected_version: int | None) -> None:
    if expected_version is not None and (opened.row is None or opened.row.version != expected_version):
        raise VersionMismatch


def _opened(row: Row) -> _Opened:
    """Splits a row of ``open_session`` or ``find_session``."""
    stored = None
    times = None
    if row["session_id"] is not None:
        verdict = (
            msgspec.json.decode(row["verdict"], type=StoredVerdict) if row["verdict"] else StoredVerdict()
        )
        stored = SessionRow(
            **{name: row[name] for name in SessionRow._fields if name not in {"anomaly_count", "categories"}},
            anomaly_count=len(verdict.anomalies),
            categories=_categories(verdict.anomalies),
        )
        times = Times(row["created_at"], row["updated_at"])
    return _Opened(
        stored,
        times,
        row["at_station_id"],
        row["station_external_id"],
        row["station_managed"],
        row["rated_power_kw"],
    )


def _merge(
    before: ReadingSet, readings: Sequence[Reading], *, replace: bool
) -> tuple[ReadingSet, list[Reading], Change]:
    """Returns the readings after a call, those to store, and what was noticed."""
    if not replace:
        change = before.change(readings)
        before.apply(change.added)
        return before, change.added, change
    after, change = ReadingSet.replacing(readings)
    return after, [] if after.same_as(before) else change.added, change


def _with_call(
    external_id: str,
    opened: _Opened,
    where: Whereabouts | None,
    attributes: Attributes,
    now: datetime,
) -> SessionRow:
    """Returns the session's row with what a call sets; absent attributes stay as they are."""
    row = opened.row or _new_row(external_id, opened.station_id, now)
    if where is not None:
        row = row._replace(
            station_id=opened.station_id,
            evse_id=row.evse_id if where.evse_id is None else where.evse_id,
            connector_id=row.connector_id if where.connector_id is None else where.connector_id,
        )
    sent = {name: value for name, value in attributes._asdict().items() if value is not None}
    if "metadata" in sent and _same_json(sent["metadata"], row.metadata):
        del sent["metadata"]
    return row._replace(**sent)


def _same_json(a: str, b: str) -> bool:
    return bool(msgspec.json.decode(a) == msgspec.json.decode(b))


#: The analysis fields of a session that has no verdict.
_UNJUDGED: Final[dict[str, Any]] = {
    "status": "pending",
    "analyzed_version": None,
    "analyzed_at": None,
    "model_id": None,
    "model_version": None,
    "is_anomaly": None,
    "anomaly_score": None,
    "anomaly_confidence": None,
    "is_recurring": None,
    "is_incident": None,
    "anomaly_count": 0,
    "categories": [],
    "verdict": None,
}


def _new_row(external_id: str, station_id: UUID, now: datetime) -> SessionRow:
    return SessionRow(
        session_id=uuid4(),
        external_id=external_id,
        station_id=station_id,
        evse_id=None,
        connector_id=None,
        metadata="{}",
        managed=None,
        started_at=None,
        ended_at=None,
        stop_reason=None,
        version=0,
        reading_count=0,
        duplicate_count=0,
        out_of_order_count=0,
        begins_at=now,
        last_reading_at=None,
        was_anomalous=False,
        **_UNJUDGED,
    )


def _with_readings(
    row: SessionRow, readings: ReadingSet, change: Change, now: datetime, *, replaced: bool
) -> SessionRow:
    """Returns the next version of a row, with what follows from its readings.

    It began as declared, else with its first sane reading, else when it was created. What was noticed in a call
    is added to what was noticed in those calls whose readings still stand.
    """
    span = readings.sane_span_us(microseconds(now))
    kept = 0 if replaced else 1
    return row._replace(
        version=row.version + 1,
        reading_count=len(readings),
        duplicate_count=kept * row.duplicate_count + change.duplicates,
        out_of_order_count=kept * row.out_of_order_count + change.out_of_order,
        begins_at=row.started_at or (from_microseconds(span[0]) if span else row.begins_at),
        last_reading_at=from_microseconds(span[1]) if span else None,
    )


def _pending(row: SessionRow) -> SessionRow:
    return row._replace(**_UNJUDGED)


def _analysed(row: SessionRow, verdict: Verdict, now: datetime, *, recurring: bool) -> SessionRow:
    stored = StoredVerdict(
        anomalies=verdict.anomalies,
        past_anomalies=verdict.past_anomalies,
        data_quality=verdict.data_quality,
        sequence_length=verdict.sequence_length,
        energy_kwh=verdict.energy_kwh,
        energy_source=verdict.energy_source,
        energy_disputed_kwh=verdict.energy_disputed_kwh,
        confidence_basis=verdict.confidence_basis,
    )
    return row._replace(
        status="active",
        analyzed_version=row.version,
        analyzed_at=now,
        model_id=MODEL_ID,
        model_version=MODEL_VERSION,
        is_anomaly=verdict.is_anomaly,
        anomaly_score=verdict.score,
        anomaly_confidence=verdict.confidence,
        is_recurring=recurring,
        is_incident=bool(row.is_incident),
        was_anomalous=row.was_anomalous or verdict.is_anomaly or bool(verdict.past_anomalies),
        anomaly_count=len(verdict.anomalies),
        categories=_categories(verdict.anomalies),
        verdict=msgspec.json.encode(stored).decode(),
    )


def _categories(anomalies: Sequence[Anomaly]) -> list[str]:
    return sorted({a.category.value for a in anomalies})


def _recurs(verdict: Verdict, recent: Sequence[Sequence[str]]) -> bool:
    """Tells whether one of the categories was found in at least two of the recent sessions."""
    found = {a.category.value for a in verdict.anomalies}
    return any(sum(category in categories for categories in recent) >= RECURRENCES for category in found)


def _count(verdict: Verdict) -> None:
    SESSIONS_ANALYSED.inc()
    for anomaly in verdict.anomalies:
        ANOMALIES.labels(category=anomaly.category.value).inc()
