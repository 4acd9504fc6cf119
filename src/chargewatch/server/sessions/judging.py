"""From a session's row and readings to the row with its verdict."""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import structlog

from chargewatch.domain.thresholds import Thresholds
from chargewatch.domain.verdict import Verdict
from chargewatch.ingest.readings import ReadingSet
from chargewatch.server.analysis.service import FEWEST_READINGS, Analyser, Case, Declared
from chargewatch.server.db.connection import Connection
from chargewatch.server.platform.metrics import ANOMALIES, SESSIONS_ANALYSED
from chargewatch.server.sessions import repository, rows
from chargewatch.server.sessions.rows import SessionRow, StationFacts
from chargewatch.server.thresholds.memory import KnownThresholds

RECURRENCES = 2

logger = structlog.get_logger(__name__)


class Judgement(NamedTuple):
    """What came of an analysis: a verdict, too few readings for one, or a fault; and whether the session is over."""

    verdict: Verdict | None
    over: bool
    failed: bool = False


class Judge:
    """Judges sessions, by their tenant's thresholds and with what the database knows of their neighbours."""

    def __init__(self, analyser: Analyser, thresholds: KnownThresholds, idle: timedelta) -> None:
        self._analyser = analyser
        self._thresholds = thresholds
        self.idle = idle

    async def quick_judgement(
        self, tenant_id: UUID, row: SessionRow, station: StationFacts, readings: ReadingSet, now: datetime
    ) -> Judgement:
        """Runs CSAR-2 outside of a transaction, on a session that overlaps no other one."""
        if len(readings) < FEWEST_READINGS:
            return Judgement(None, rows.is_over(row, readings, now, self.idle))
        return await self._judgement(row, station, readings, now, 0, await self._thresholds.of(tenant_id))

    async def _judgement(
        self,
        row: SessionRow,
        station: StationFacts,
        readings: ReadingSet,
        now: datetime,
        overlaps: int,
        thresholds: Thresholds,
    ) -> Judgement:
        """Runs CSAR-2 on the readings of a row; a fault of the analysis is logged and told."""
        over = rows.is_over(row, readings, now, self.idle)
        if len(readings) < FEWEST_READINGS:
            return Judgement(None, over)
        declared = Declared(
            managed=bool(row.managed) or (row.managed is None and bool(station.managed)),
            rated_power_kw=station.rated_power_kw,
            started_at=row.started_at,
            ended_at=row.ended_at,
            over=over,
            duplicates=row.duplicate_count,
            out_of_order=row.out_of_order_count,
            overlaps=overlaps,
        )
        try:
            return Judgement(await self._analyser.verdict(Case(readings, declared, thresholds), now), over)
        except Exception:
            logger.exception("analysis_failed", session_version=row.version)
            return Judgement(None, over, failed=True)

    def row_with(
        self, row: SessionRow, judgement: Judgement, now: datetime, *, recurring: bool = False
    ) -> SessionRow:
        """Returns the row with a judgement."""
        if judgement.failed:
            return rows.failed(row, now)
        if judgement.verdict is None:
            return rows.unjudged(row)
        return rows.judged(
            row, judgement.verdict, now, recurring=recurring, over=judgement.over, idle=self.idle
        )

    async def judged_row(
        self,
        connection: Connection,
        tenant_id: UUID,
        row: SessionRow,
        station: StationFacts,
        readings: ReadingSet,
        now: datetime,
    ) -> tuple[SessionRow, list[UUID]]:
        """Returns the row with the verdict on its readings, and the sessions that it overlaps."""
        overlapping = await repository.overlapping_sessions(connection, tenant_id, row)
        thresholds = await self._thresholds.of(tenant_id, connection)
        judgement = await self._judgement(row, station, readings, now, len(overlapping), thresholds)
        verdict = judgement.verdict
        recurring = False
        if verdict is not None and verdict.is_anomaly:
            recurring = _recurs(verdict, await repository.recent_categories(connection, tenant_id, row))
        count(verdict)
        return self.row_with(row, judgement, now, recurring=recurring), overlapping


def _recurs(verdict: Verdict, recent: list[list[str]]) -> bool:
    """Tells whether one of the categories was found in at least two of the recent sessions."""
    found = {a.category.value for a in verdict.anomalies}
    return any(sum(category in categories for categories in recent) >= RECURRENCES for category in found)


def count(verdict: Verdict | None) -> None:
    """Counts an analysis in the figures."""
    if verdict is None:
        return
    SESSIONS_ANALYSED.inc()
    for anomaly in verdict.anomalies:
        ANOMALIES.labels(category=anomaly.category.value).inc()
