"""The processes of an embedded PostgreSQL, found by the folder that they are at home in, and made to stand
still (on Linux)."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from tests.patience import wait_until


def processes(folder: Path) -> dict[int, psutil.Process]:
    """The PostgreSQL processes of a folder; zombies are none."""
    home = str(folder / "data")
    found = {}
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == home:
                found[process.pid] = process
        except psutil.Error:
            continue
    return found


def postmasters(folder: Path) -> list[int]:
    """Those that were started as servers; what they fork is named otherwise or has one of them as parent."""
    family = processes(folder)
    found = []
    for pid, process in family.items():
        try:
            if "-D" in process.cmdline() and process.ppid() not in family:
                found.append(pid)
        except psutil.Error:
            continue
    return found


def postmaster(folder: Path) -> int:
    """The one; two would be a disaster."""
    (pid,) = postmasters(folder)
    return pid


def checkpointer(folder: Path) -> int:
    """One of its processes that lives as long as the postmaster."""
    for pid, process in processes(folder).items():
        with suppress(psutil.Error):
            if "checkpointer" in " ".join(process.cmdline()):
                return pid
    raise AssertionError("no checkpointer")


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """These processes stand still while the block runs. It begins when all their threads do."""
    try:
        for pid in pids:
            _signal(pid, signal.SIGSTOP)
        wait_until(lambda: all(_stands_still(pid) for pid in pids))
        yield
    finally:
        for pid in pids:
            _signal(pid, signal.SIGCONT)


@contextmanager
def stopped(folder: Path) -> Iterator[None]:
    """All of a folder stand still while the block runs, also one that was being forked when they were looked for."""
    with ExitStack() as still:
        family: set[int] = set()
        while found := processes(folder).keys() - family:
            still.enter_context(frozen(*found))
            family |= found
        yield


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _stands_still(pid: int) -> bool:
    """The signal is taken by one thread after the other; a process that has ended moves no more either."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return all(_state(task) in "TtZX" for task in Path(f"/proc/{pid}/task").iterdir())
    return not Path(f"/proc/{pid}").exists()


def _state(task: Path) -> str:
    return (task / "stat").read_text().rpartition(")")[2].split()[0]
