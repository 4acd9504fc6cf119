"""One process under the supervisor: ``python -m chargewatch.server.child``."""

import asyncio
import os
import shutil
import signal
import socket
import sys
from typing import Final

import msgspec

from chargewatch.server.db.errors import DatabaseError
from chargewatch.server.platform.logging import configure_logging, secrets_of
from chargewatch.server.process import run_process
from chargewatch.server.settings import SettingsError, load_settings
from chargewatch.server.supervisor import Report, Task

FAILED: Final = 1


def main() -> int:
    """Serves as the supervisor says; returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends it at once, until the server minds it
    task = msgspec.json.decode(_first_line(), type=Task)
    listener = socket.socket(fileno=task.descriptor)
    try:
        settings = load_settings(task.flags)
        configure_logging(settings.log_level, secrets_of(settings))
        run_process(
            settings,
            None,
            listener,
            _say_ready,
            times=task.times,
            until=_supervisor_is_gone,
            worker_flags=task.flags if task.worker else None,
        )
    except (DatabaseError, SettingsError) as problem:
        _say(Report(str(problem)))
        return FAILED
    return 0


def _first_line() -> bytes:
    """Reads no further than the line: what follows is the pipe's end, which is watched for later."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit(FAILED)
        line += byte
    return line


def _say_ready() -> None:
    _say(Report())


def _say(report: Report) -> None:
    os.write(1, msgspec.json.encode(report) + b"\n")


async def _supervisor_is_gone() -> None:
    """Returns when the other end of standard input is closed; tidies up in the supervisor's place."""
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(0, gone.set)
    try:
        await gone.wait()
        shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
    finally:
        loop.remove_reader(0)


if __name__ == "__main__":
    sys.exit(main())
