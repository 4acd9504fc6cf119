"""The processes of an embedded PostgreSQL, found by the folder that they are at home in (on Linux)."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil


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


@contextmanager
def stopped(folder: Path) -> Iterator[None]:
    """All of them stand still while the block runs, also one that was being forked when they were looked for."""
    family: dict[int, psutil.Process] = {}
    while found := {pid: one for pid, one in processes(folder).items() if pid not in family}:
        _signal(found, signal.SIGSTOP)
        family |= found
    try:
        yield
    finally:
        _signal(family, signal.SIGCONT)


def _signal(family: dict[int, psutil.Process], number: int) -> None:
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
