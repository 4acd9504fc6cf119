"""What one process of the service holds: settings, database, and the services of the slices.

It is made when the process starts and closed when it stops (`open_wiring`). Handlers reach it through
`services`. A slice joins by adding its service here and its router in `app`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import msgspec
from litestar.connection import ASGIConnection

from chargewatch.server.analysis.service import Analyser
from chargewatch.server.batches.processing import BatchProcessing
from chargewatch.server.batches.service import PROCESS, BatchService
from chargewatch.server.db.address import DatabaseAddress
from chargewatch.server.db.engine import Database
from chargewatch.server.housekeeping.service import Housekeeping
from chargewatch.server.ocpi.service import OcpiService
from chargewatch.server.ocpp.service import OcppService
from chargewatch.server.platform.health import (
    Draining,
    ReadinessChecks,
    database_check,
    disk_check,
    models_check,
    schema_check,
)
from chargewatch.server.platform.idempotency import Idempotency
from chargewatch.server.platform.jobs import JobQueue, JobRunner
from chargewatch.server.platform.metrics import set_pool
from chargewatch.server.sessions.bulk import BulkSessions
from chargewatch.server.sessions.listing import SessionList
from chargewatch.server.sessions.service import SessionService
from chargewatch.server.settings import Settings
from chargewatch.server.stations.service import StationService
from chargewatch.server.tenants.service import Authenticator
from chargewatch.server.thresholds.service import ThresholdService

FIGURES_EVERY_S: Final = 1.0


class Wiring(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that calls share in one process."""

    settings: Settings
    draining: Draining
    readiness: ReadinessChecks
    database: Database
    authenticator: Authenticator
    sessions: SessionService
    session_list: SessionList
    batches: BatchService
    jobs: JobRunner
    ocpp: OcppService
    ocpi: OcpiService
    stations: StationService
    thresholds: ThresholdService
    idempotency: Idempotency
    housekeeping: Housekeeping


@asynccontextmanager
async def open_wiring(settings: Settings, address: DatabaseAddress | None = None) -> AsyncIterator[Wiring]:
    """Opens what a process needs, and closes it at the end.

    Args:
        settings: the effective settings.
        address: where the database is; found from the settings when None.

    Raises:
        DatabaseError: the database cannot be used; DatabaseUnavailable when it does not answer.
    """
    database = await _ServedDatabase.open(settings, address)
    wiring = wire(settings, database)
    tasks = [
        asyncio.create_task(database.keep_figures()),
        asyncio.create_task(wiring.housekeeping.keep_house(settings.housekeeping_s)),
    ]
    try:
        yield wiring
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await database.close()


class _ServedDatabase(Database):
    """The database of a serving process: how its pool is used is one of the figures."""

    async def keep_figures(self) -> None:
        """Notes the pool's use from time to time, until cancelled."""
        while True:
            idle: int = self._pool.get_idle_size()
            set_pool(in_use=self._pool.get_size() - idle, idle=idle)
            await asyncio.sleep(FIGURES_EVERY_S)


def wire(settings: Settings, database: Database) -> Wiring:
    """Puts the services on an open database."""
    draining = Draining()
    readiness = ReadinessChecks(
        {
            "database": database_check(database),
            "schema": schema_check(database),
            "disk": disk_check(settings.data_dir, settings.disk_reserve_percent),
            "models": models_check(_models_are_loaded),
            "draining": draining.check,
        }
    )
    sessions = SessionService(database, Analyser(), settings.session_idle_s)
    idempotency = Idempotency(database, settings.idempotency_kept_s, settings.idempotency_lease_s)
    queue = JobQueue(database, settings.job_lease_s, settings.job_retry_s)
    processing = BatchProcessing(database, queue, BulkSessions(database, sessions))
    return Wiring(
        settings=settings,
        draining=draining,
        readiness=readiness,
        database=database,
        authenticator=Authenticator(database, settings.key_cache_s),
        sessions=sessions,
        session_list=SessionList(database),
        batches=BatchService(database),
        jobs=JobRunner(queue, {PROCESS: processing}, settings.job_poll_s),
        ocpp=OcppService(database, sessions),
        ocpi=OcpiService(sessions),
        stations=StationService(database),
        thresholds=ThresholdService(database, sessions.thresholds),
        idempotency=idempotency,
        housekeeping=Housekeeping(database, sessions, idempotency, settings.batches_kept_s),
    )


def _models_are_loaded() -> bool:
    """The physics rules have nothing to load: importing them, as this module does, is enough."""
    return True


def services(connection: ASGIConnection[Any, Any, Any, Any]) -> Wiring:
    """Returns the wiring of the application that answers this call."""
    return cast("Wiring", connection.app.state.wiring)
