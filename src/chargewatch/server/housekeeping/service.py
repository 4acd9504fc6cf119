"""The rounds that the service makes through its tenants, in every process that answers calls.

Each piece of work is a transaction of its own that is safe to do twice, so that processes need not agree on who
does it, and a crash leaves nothing half done.
"""

import asyncio
from typing import Final
from uuid import UUID

import structlog

from chargewatch.server.db.engine import Database
from chargewatch.server.db.errors import DatabaseUnavailable
from chargewatch.server.housekeeping import repository
from chargewatch.server.platform.idempotency import Idempotency
from chargewatch.server.sessions.service import SessionService

#: Sessions of one tenant that are judged, or erased, in one step.
STEP_SESSIONS: Final = 200
#: A count with more entries than this is folded into one.
MOST_ENTRIES: Final = 64

_log = structlog.get_logger(__name__)


class Housekeeping:
    """Keeps what is stored in order."""

    def __init__(self, database: Database, sessions: SessionService, idempotency: Idempotency) -> None:
        self._database = database
        self._sessions = sessions
        self._idempotency = idempotency

    async def keep_house(self, every_s: float) -> None:
        """Makes rounds until cancelled; a round that fails is logged, and the next one tries again."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.round()
            except DatabaseUnavailable as problem:
                _log.warning("housekeeping_waits", reason=str(problem))
            except Exception:  # noqa: BLE001 - one round of many; the log has it
                _log.exception("housekeeping_failed")

    async def round(self) -> None:
        """Does what is due for every tenant."""
        for tenant_id in await repository.all_tenants(self._database):
            await self.judge_due(tenant_id)
            await self.erase_old(tenant_id)
            await self.fold_counts(tenant_id)
            await self._idempotency.forget_old(tenant_id)

    async def judge_due(self, tenant_id: UUID) -> int:
        """Judges sessions that became over, or that others overlap; returns how many verdicts changed."""
        changed = 0
        while True:
            async with self._database.tenant_transaction(tenant_id, reads=True) as connection:
                due = await repository.due_sessions(connection, tenant_id, STEP_SESSIONS)
            for session_id in due:
                changed += await self._sessions.recheck(tenant_id, session_id)
            if len(due) < STEP_SESSIONS:
                break
        while True:
            async with self._database.tenant_transaction(tenant_id) as connection:
                asked = await repository.take_rechecks(connection, tenant_id, 1)
                if not asked:
                    return changed
                changed += await self._sessions.recheck_in(connection, tenant_id, asked[0])

    async def erase_old(self, tenant_id: UUID) -> int:
        """Erases what is older than the tenant's retention, where one is set; returns how many sessions."""
        erased = 0
        while True:
            async with self._database.tenant_transaction(tenant_id) as connection:
                days = await repository.retention_days(connection, tenant_id)
                if days is None:
                    return erased
                step = await repository.erase_old(connection, tenant_id, days, STEP_SESSIONS)
            erased += step
            if step < STEP_SESSIONS:
                break
        if erased:
            async with self._database.tenant_transaction(tenant_id) as connection:
                await repository.forget_transactions(connection, tenant_id, days)
            _log.info("retention_erased", sessions=erased, tenant_id=str(tenant_id))
        return erased

    async def fold_counts(self, tenant_id: UUID, more_than: int = MOST_ENTRIES) -> None:
        """Folds counts with many entries."""
        async with self._database.tenant_transaction(tenant_id) as connection:
            await repository.fold_counts(connection, tenant_id, more_than)
