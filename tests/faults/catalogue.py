"""The faults: what is done to a running service, and what it must still do meanwhile."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import asyncpg

from chargewatch.server.db.connection import connected
from chargewatch.server.db.errors import DatabaseError
from tests.faults.service import Service

DATABASE_PATIENCE_S = 60.0


class Hurt(NamedTuple):
    """What a fault needs to know."""

    service: Service
    rng: random.Random
    freeze_s: float


class Fault(NamedTuple):
    """A fault. ``strike`` returns when it is over and what must recover has begun to."""

    name: str
    strike: Callable[[Hurt], Awaitable[None]]
    processes: int = 1
    """That answer calls."""
    on_server: bool = False
    """Whether it applies to a service on a PostgreSQL server that others use too."""
    keeps_api: bool = True
    """Whether the processes that answer calls live on, so that every call must be answered."""
    restarts: bool = False
    """Whether the service is started anew: then its start counts, not the return of its database."""


async def kill_everything(hurt: Hurt) -> None:
    """kill -9 of serve, its children and its PostgreSQL at once; then it is started again."""
    hurt.service.kill_everything()
    await asyncio.to_thread(hurt.service.start)


async def kill_api(hurt: Hurt) -> None:
    """kill -9 of the process with the most connections, of those that answer calls."""
    max(hurt.service.api_processes(), key=lambda process: len(process.net_connections("tcp"))).kill()


async def stop_immediate(hurt: Hurt) -> None:
    """What ``pg_ctl stop -m immediate`` sends: every backend quits without a word, recovery follows."""
    hurt.service.postmaster().send_signal(signal.SIGQUIT)


async def kill_postmaster(hurt: Hurt) -> None:
    """kill -9 of PostgreSQL's first process; its backends are left behind for a moment."""
    hurt.service.postmaster().kill()


async def kill_backend(hurt: Hurt) -> None:
    """kill -9 of one backend, upon which PostgreSQL ends all of them and recovers; on a server, one is ended."""
    if hurt.service.embedded:
        backends = hurt.service.backends()
        if backends:
            hurt.rng.choice(backends).kill()
        return
    async with connected(hurt.service.address().owner) as owner:
        await owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1"
        )


async def freeze_postgres(hurt: Hurt) -> None:
    """SIGSTOP of every PostgreSQL process, SIGCONT after a while."""
    postmaster = hurt.service.postmaster()
    frozen = [postmaster, *postmaster.children(recursive=True)]
    _signal_all([process.pid for process in frozen], signal.SIGSTOP)
    try:
        await asyncio.sleep(hurt.freeze_s)
    finally:
        _signal_all([process.pid for process in frozen], signal.SIGCONT)


def _signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


FAULTS: Final = {
    fault.name: fault
    for fault in (
        Fault("kill-everything", kill_everything, on_server=True, keeps_api=False, restarts=True),
        Fault("kill-api", kill_api, processes=2, on_server=True, keeps_api=False),
        Fault("stop-immediate", stop_immediate),
        Fault("kill-backend", kill_backend, on_server=True),
        Fault("kill-postmaster", kill_postmaster),
        Fault("freeze-postgres", freeze_postgres),
    )
}
MONKEY: Final = "monkey"
"""Any of them, at any time."""
NAMES: Final = (*FAULTS, MONKEY)


def applying(service: Service) -> list[Fault]:
    """The faults that a monkey may choose from."""
    return [fault for fault in FAULTS.values() if service.embedded or fault.on_server]


async def database_back(service: Service) -> None:
    """Returns when the database takes logins.

    Raises:
        TimeoutError: it stays away.
    """
    deadline = time.monotonic() + DATABASE_PATIENCE_S
    while True:
        try:
            async with asyncio.timeout(1), connected(service.address().owner) as owner:
                await owner.fetchval("SELECT 1")
                return
        except (DatabaseError, asyncpg.PostgresError, OSError, TimeoutError):
            if time.monotonic() > deadline:
                raise TimeoutError("the database stays away") from None
            await asyncio.sleep(0.02)
