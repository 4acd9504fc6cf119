"""The rounds that the service makes through its tenants, in every process that answers calls.

Each piece of work is a transaction of its own that is safe to do twice, so that processes need not agree on who
does it, and a crash leaves nothing half done.
"""

import asyncio
import random
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import structlog

from chargewatch.server.batches.service import BatchService
from chargewatch.server.db.connection import Connection
from chargewatch.server.db.engine import Database
from chargewatch.server.db.errors import DatabaseUnavailable
from chargewatch.server.housekeeping import repository
from chargewatch.server.platform.idempotency import Idempotency
from chargewatch.server.sessions.service import SessionService

#: Sessions of one tenant that are judged, or erased, in one step.
STEP_SESSIONS: Final = 200
#: A count with more entries than this is folded into one.
MOST_ENTRIES: Final = 16
#: How long finished batches are kept where the settings say nothing else.
BATCHES_KEPT_S: Final = 30 * 86_400.0
#: Before every time and every UUID that is stored.
_BEGINNING: Final = datetime(1, 1, 1, tzinfo=UTC)
_BEFORE_ALL: Final = UUID(int=0)

_log = structlog.get_logger(__name__)


class Housekeeping:
    """Keeps what is stored in order."""

    def __init__(
        self,
        database: Database,
        sessions: SessionService,
        idempotency: Idempotency,
        batches_kept_s: float = BATCHES_KEPT_S,
    ) -> None:
        self._batches = BatchService(database)
        self._batches_kept_s = batches_kept_s
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
        """Does what is due for every tenant; where one of them is at fault, the others are served all the same.

        An outage ends the round. The order is another one each time, so that nobody is always behind it.
        """
        tenants = await repository.all_tenants(self._database)
        for tenant_id in random.sample(tenants, len(tenants)):
            try:
                await self._round_of(tenant_id)
            except DatabaseUnavailable:
                raise
            except Exception:  # noqa: BLE001 - one tenant of many; the log has it
                _log.exception("housekeeping_failed", tenant_id=str(tenant_id))

    async def _round_of(self, tenant_id: UUID) -> None:
        await self.judge_due(tenant_id)
        await self.erase_old(tenant_id)
        await self.fold_counts(tenant_id)
        await self._idempotency.forget_old(tenant_id)
        await self._batches.forget_old(tenant_id, self._batches_kept_s)

    async def judge_due(self, tenant_id: UUID) -> int:
        """Judges sessions that became over, or that others overlap; returns how many verdicts changed.

        Each of them is tried once: one that cannot be judged, or that another clock thinks is not over yet, waits
        for the next round.
        """
        return await self._judge_over(tenant_id) + await self._judge_asked(tenant_id)

    async def _judge_over(self, tenant_id: UUID) -> int:
        changed, last = 0, (_BEGINNING, _BEFORE_ALL)
        while True:
            async with self._database.tenant_transaction(tenant_id, reads=True) as connection:
                due = await repository.due_sessions(connection, tenant_id, last, STEP_SESSIONS)
            for _, session_id in due:
                changed += await self._judged(session_id, self._sessions.recheck(tenant_id, session_id))
            if len(due) < STEP_SESSIONS:
                return changed
            last = due[-1]

    async def _judge_asked(self, tenant_id: UUID) -> int:
        changed, last = 0, _BEFORE_ALL
        while True:
            async with self._database.tenant_transaction(tenant_id, reads=True) as connection:
                asked = await repository.asked_rechecks(connection, tenant_id, last, STEP_SESSIONS)
            for session_id in asked:
                changed += await self._judged(session_id, self._take_and_judge(tenant_id, session_id))
            if len(asked) < STEP_SESSIONS:
                return changed
            last = asked[-1]

    async def _take_and_judge(self, tenant_id: UUID, session_id: UUID) -> bool:
        async def work(connection: Connection) -> bool:
            if not await repository.take_recheck(connection, tenant_id, session_id):
                return False
            return await self._sessions.recheck_in(connection, tenant_id, session_id)

        return await self._database.in_tenant_transaction(tenant_id, work)

    async def _judged(self, session_id: UUID, work: Awaitable[bool]) -> bool:
        """Returns what the work says; a session at fault does not keep the others waiting."""
        try:
            return await work
        except DatabaseUnavailable:
            raise
        except Exception:  # noqa: BLE001 - one session of many; the log has it
            _log.exception("recheck_failed", session=str(session_id))
            return False

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
