"""Several serving processes on one port: started together, restarted when they crash, stopped together.

SIGHUP replaces them one by one, each by a fresh interpreter that reads the settings anew (from the `.env` file,
say) and answers before its predecessor stops: no call is lost. One that cannot start ends the replacement.

The supervisor holds the listening socket (and the embedded database) and serves nothing itself. Each child is
a fresh interpreter that inherits the socket. Its standard input is a pipe from here: the first line says what
to do, and its end, also when the supervisor was killed, tells the child to stop. On its standard output it
says that it is ready, or in one line why not.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from chargewatch.server.process import ServeError, StopTimes

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 3.0
#: A child that lived longer than this did not crash at its start.
LONG_LIFE_S: Final = 30.0
#: How much longer than their own deadlines children get before they are killed.
GRACE_S: Final = 5.0

_log = structlog.get_logger(__name__)


class Task(msgspec.Struct, frozen=True):
    """What a child has to do: the first line of its standard input."""

    flags: dict[str, str | int | None]
    descriptor: int
    times: StopTimes
    worker: bool = False
    """Whether a worker runs beside it."""


class Report(msgspec.Struct, frozen=True):
    """What a child says on its standard output: None when it is ready."""

    failure: str | None = None


def supervise(
    flags: Mapping[str, Any],
    listener: socket.socket,
    processes: int,
    on_ready: Callable[[], None],
    times: StopTimes | None = None,
    *,
    worker: bool = False,
) -> None:
    """Serves in that many processes until a signal ends them.

    Args:
        flags: what the command line says, as for `load_settings`.
        listener: the listening socket.
        processes: how many.
        on_ready: called once, when the first of them answers.
        times: how long stopping may take.
        worker: whether a worker runs beside the first of them.

    Raises:
        ServeError: a process could not start, for a reason that trying again does not mend.
    """
    listener.set_inheritable(True)
    task = Task(
        {name: str(value) if isinstance(value, Path) else value for name, value in flags.items()},
        listener.fileno(),
        times or StopTimes(),
    )
    figures = Path(tempfile.mkdtemp(prefix="chargewatch-metrics-"))
    try:
        asyncio.run(_Supervisor(task, figures, on_ready).run(processes, worker=worker))
    finally:
        shutil.rmtree(figures, ignore_errors=True)


class _Place:
    """One of the processes: it is kept running until its place is given up."""

    def __init__(self, *, has_worker: bool = False) -> None:
        self.has_worker = has_worker
        self.child: asyncio.subprocess.Process | None = None
        self.is_given_up = False
        self.has_reported = asyncio.Event()
        """The first child of this place is ready, or has ended before it was."""
        self.is_ready = False
        self.is_over = asyncio.Event()

    def give_up(self) -> None:
        """Stops the child, and starts no other."""
        self.is_given_up = True
        if self.child is not None:
            _send(self.child, signal.SIGTERM)


class _Supervisor:
    def __init__(self, task: Task, figures: Path, on_ready: Callable[[], None]) -> None:
        self._task = task
        self._figures = figures
        self._announce: Callable[[], None] | None = on_ready
        self._places: list[_Place] = []
        self._children: set[asyncio.subprocess.Process] = set()
        self._stopping = asyncio.Event()
        self._replacing: asyncio.Task[None] | None = None
        self._failure: str | None = None

    async def run(self, processes: int, *, worker: bool) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        try:
            async with asyncio.TaskGroup() as group:
                loop.add_signal_handler(signal.SIGHUP, self._replace, group)
                for place in range(processes):
                    group.create_task(self._keep(_Place(has_worker=worker and place == 0)))
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)
        if self._failure is not None:
            raise ServeError(self._failure)

    def _replace(self, group: asyncio.TaskGroup) -> None:
        if self._replacing is None or self._replacing.done():
            self._replacing = group.create_task(self._replace_all(group))

    async def _replace_all(self, group: asyncio.TaskGroup) -> None:
        """Replaces the processes one by one."""
        for old in tuple(self._places):
            new = _Place(has_worker=old.has_worker)
            group.create_task(self._keep(new))
            await new.has_reported.wait()
            if self._stopping.is_set():
                return
            if not new.is_ready:
                new.give_up()
                _log.error("replacement_failed")
                return
            old.give_up()
            await old.is_over.wait()
        _log.info("processes_replaced")

    async def _keep(self, place: _Place) -> None:
        """Keeps the child of a place running."""
        self._places.append(place)
        pause_s = FIRST_PAUSE_S
        while not (self._stopping.is_set() or place.is_given_up):
            began = time.monotonic()
            await self._run_child(place)
            if self._stopping.is_set() or place.is_given_up:
                break
            pause_s = (
                FIRST_PAUSE_S if time.monotonic() - began > LONG_LIFE_S else min(pause_s * 2, LONGEST_PAUSE_S)
            )
            await self._pause(pause_s)
        self._places.remove(place)
        place.is_over.set()

    async def _run_child(self, place: _Place) -> None:
        child = await self._start_child(place)
        self._children.add(child)
        place.child = child
        if self._stopping.is_set() or place.is_given_up:  # while it was being started
            _send(child, signal.SIGTERM)
        try:
            report = await _read_report(child)
            place.is_ready = report is not None and report.failure is None
            place.has_reported.set()
            if place.is_ready:
                self._note_ready()
            elif self._announce is not None and not self._stopping.is_set():  # it never worked
                self._failure = report.failure if report is not None else "a process ended while it started"
                self._stop(signal.SIGTERM)
            code = await child.wait()
        finally:
            self._children.discard(child)
            place.child = None
            self._forget_figures(child.pid)
        if not (self._stopping.is_set() or place.is_given_up):
            reason = report.failure if report is not None else None
            _log.error("process_ended", pid=child.pid, exit_code=code, reason=reason)

    async def _start_child(self, place: _Place) -> asyncio.subprocess.Process:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "chargewatch.server.child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=[self._task.descriptor],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(self._figures)},
            start_new_session=True,  # Ctrl-C is for the supervisor, who passes it on
        )
        assert child.stdin is not None
        task = msgspec.structs.replace(self._task, worker=place.has_worker)
        child.stdin.write(msgspec.json.encode(task) + b"\n")
        return child

    def _note_ready(self) -> None:
        if self._announce is not None:
            self._announce()
            self._announce = None

    def _stop(self, number: int) -> None:
        """Passes a signal on; the second one kills."""
        again = self._stopping.is_set()
        self._stopping.set()
        for child in self._children:
            _send(child, signal.SIGKILL if again else number)
        if not again:
            asyncio.get_running_loop().call_later(
                self._task.times.notice_s + self._task.times.finish_s + GRACE_S, self._stop, number
            )

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _forget_figures(self, pid: int) -> None:
        """Gauges of a process that is gone no longer count."""
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(pid, str(self._figures))  # type: ignore[no-untyped-call]


async def _read_report(child: asyncio.subprocess.Process) -> Report | None:
    """Returns what a child says; None when it ended without a word."""
    assert child.stdout is not None
    line = await child.stdout.readline()
    try:
        return msgspec.json.decode(line, type=Report)
    except msgspec.DecodeError:
        return None


def _send(child: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it is gone, which is what was wanted
        child.send_signal(number)
