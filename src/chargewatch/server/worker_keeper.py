"""The worker of ``serve``: a process beside the one that answers calls, there only while there are jobs.

Looking for jobs costs one short query now and then. The worker itself is started when one is due, so that calls are
answered as quickly as before, and ends after a while without work, or with the process that started it.
"""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from chargewatch.server.db.errors import DatabaseUnavailable

#: How long a worker without work stays, in case that there is more.
IDLE_S: Final = 30.0
#: Before a worker that ended badly is started again.
PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
#: How much longer than its own deadline a worker gets before it is killed.
GRACE_S: Final = 12.0

_log = structlog.get_logger(__name__)


class WorkerTask(msgspec.Struct, frozen=True):
    """What a worker process has to do: the first line of its standard input. Its end tells it to stop."""

    flags: dict[str, str | int | None]
    idle_s: float


async def keep_worker(
    flags: Mapping[str, Any], next_s: Callable[[], Awaitable[float | None]], poll_s: float
) -> None:
    """Has a worker run whenever there is something to do, until cancelled; then the worker is stopped as well.

    Args:
        flags: what the command line says, as for `load_settings`.
        next_s: says in how many seconds a job is due.
        poll_s: how often to look.
    """
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in flags.items()}
    task = WorkerTask(plain, IDLE_S)
    pause_s = PAUSE_S
    while True:
        await asyncio.sleep(poll_s)
        try:
            seconds = await next_s()
            if seconds is None or seconds > 0:
                continue
            code = await _run(task)
        except DatabaseUnavailable:
            continue
        except Exception:  # noqa: BLE001 - no fault in here may leave jobs undone for good
            _log.exception("worker_not_started")
            code = None
        if code == 0:
            pause_s = PAUSE_S
            continue
        _log.error("worker_ended", exit_code=code)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


async def _run(task: WorkerTask) -> int:
    """Runs a worker to its end; returns its exit status."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "chargewatch.server.worker_child",
        stdin=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the service, which passes it on
    )
    assert worker.stdin is not None
    worker.stdin.write(msgspec.json.encode(task) + b"\n")
    try:
        return await worker.wait()
    except asyncio.CancelledError:
        worker.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await worker.wait()
        if worker.returncode is None:
            worker.kill()
            await worker.wait()
        raise
