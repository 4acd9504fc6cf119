"""The worker process of ``serve``: ``python -m chargewatch.server.worker_child``."""

import asyncio
import os
import signal
import sys
from typing import Final

import msgspec

from chargewatch.server.db.errors import DatabaseError
from chargewatch.server.platform.logging import configure_logging, secrets_of
from chargewatch.server.settings import SettingsError, load_settings
from chargewatch.server.worker import run_worker
from chargewatch.server.worker_keeper import WorkerTask

FAILED: Final = 1
#: Calls come first: where both want the processor, the worker waits.
NICENESS: Final = 5


def main() -> int:
    """Works as its starter says; returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=WorkerTask)
    try:
        settings = load_settings(task.flags)
        configure_logging(settings.log_level, secrets_of(settings))
        run_worker(settings, None, lambda: None, until=_starter_is_gone, idle_s=task.idle_s)
    except (DatabaseError, SettingsError) as problem:
        sys.stderr.write(f"chargewatch worker: {problem}\n")
        return FAILED
    return 0


async def _starter_is_gone() -> None:
    """Returns when the other end of standard input is closed, also because its process was killed."""
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(0, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(0)


if __name__ == "__main__":
    sys.exit(main())
