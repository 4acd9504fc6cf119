"""A worker: one process that does background jobs, for as many tenants as there are, beside any number of others.

SIGTERM and SIGINT: the part of the job that it is at is finished, the job is given back, and the process ends, within
10 s. A second signal ends it at once. While the database does not answer, it waits.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from chargewatch.server.db.address import DatabaseAddress
from chargewatch.server.db.engine import Database
from chargewatch.server.process import loop_factory
from chargewatch.server.settings import Settings

#: For the part of a job that is under way.
FINISH_S: Final = 10.0

_log = structlog.get_logger(__name__)


def run_worker(
    settings: Settings,
    address: DatabaseAddress | None,
    on_ready: Callable[[], None],
    *,
    until: Callable[[], Awaitable[None]] | None = None,
    idle_s: float | None = None,
) -> None:
    """Works in this process until a signal ends it.

    Args:
        settings: the effective settings.
        address: where the database is; found from the settings when None.
        on_ready: called once, when it looks for jobs.
        until: when this returns, it stops as on SIGTERM.
        idle_s: stop by itself when there was nothing to do for so long.

    Raises:
        DatabaseError: the database cannot be used.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_work(settings, address, on_ready, until, idle_s))


async def _work(
    settings: Settings,
    address: DatabaseAddress | None,
    on_ready: Callable[[], None],
    until: Callable[[], Awaitable[None]] | None,
    idle_s: float | None,
) -> None:
    from chargewatch.server.wiring import wire

    stop = asyncio.Event()
    _stop_on_signals(stop)
    database = await Database.open(settings, address)
    watching = asyncio.create_task(_stop_after(until, stop)) if until is not None else None
    try:
        working = asyncio.create_task(wire(settings, database).jobs.run(stop, idle_s))
        on_ready()
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        done, _ = await asyncio.wait((working,), timeout=FINISH_S)
        if not done:  # its lease ends by itself
            _log.warning("job_left_behind", after_s=FINISH_S)
            working.cancel()
        await asyncio.gather(working)
    except asyncio.CancelledError:
        pass
    finally:
        if watching is not None:
            watching.cancel()
        await database.close()


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def begin() -> None:
        if stop.is_set():
            raise SystemExit(1)
        stop.set()

    if sys.platform == "win32":  # where only Ctrl-C is a signal, and ends the process
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin)


async def _stop_after(until: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    await until()
    stop.set()
