"""The server as a process: started so that it stops with us, stopped, waited for when an earlier one lingers.

Two locks tell who is there. ``lock`` belongs to the launcher alone and goes with it. ``server.lock`` is
handed down to PostgreSQL and so to every process that it forks: it is free when the last of them is gone,
whatever ``postmaster.pid`` says (a zombie's id, an id that is another program's by now).
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from chargewatch.server.db import postgres_exec
from chargewatch.server.db.postgres_binaries import Account, EmbeddedPostgresError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

POLL_S: Final = 0.003
#: Looking through all processes costs more than looking into a file.
SCAN_POLL_S: Final = 0.02
#: How long a fast shutdown may take before an immediate one, which the next start repairs from the log.
FAST_STOP_S: Final = 20.0
IMMEDIATE_STOP_S: Final = 10.0
#: Orphaned backends that have not gone by then (they may be stopped) are killed: the log repairs what they did.
ORPHAN_PATIENCE_S: Final = 2.0
PID_FILE: Final = "postmaster.pid"

_MARKS: Final = ("FATAL:", "PANIC:", "error:")
#: Windows locks bytes, and locked bytes cannot be read: one that no file has.
_LOCKED_BYTE: Final = 1 << 30


class Deadline:
    """When waiting ends: after some time, or as soon as another thread says so.

    Args:
        seconds: from now.
        cancelled: ends it at once when set.
    """

    def __init__(self, seconds: float, cancelled: threading.Event | None = None) -> None:
        self._at = time.monotonic() + seconds
        self._cancelled = cancelled or threading.Event()

    @property
    def left_s(self) -> float:
        """What is left; zero or less when it has passed."""
        return 0.0 if self._cancelled.is_set() else self._at - time.monotonic()

    @property
    def passed(self) -> bool:
        """Whether nothing is left."""
        return self.left_s <= 0


class PidFile(msgspec.Struct, frozen=True):
    """What a server writes about itself into its data folder."""

    pid: int
    port: int
    ready: bool


def read_pid_file(data: Path) -> PidFile | None:
    """None where there is none or it does not say whose it is; a server fills it line by line."""
    try:
        lines = (data / PID_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
        ready = len(lines) > 7 and lines[7].strip() == "ready"
        return PidFile(pid=int(lines[0]), port=int(lines[3]) if len(lines) > 3 else 0, ready=ready)
    except (FileNotFoundError, ValueError, IndexError):
        return None


def try_lock(descriptor: int) -> bool:
    """Takes the lock on an open file, and says whether; it is free again when all its copies are closed."""
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def unlock(descriptor: int) -> None:
    """Gives the lock back and closes the file, also where a forked process still has a copy of it."""
    if sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def command_line(account: Account | None, program: Path, *arguments: str) -> list[str]:
    """The command that runs a program of PostgreSQL as the account, tied to this process."""
    if sys.platform == "win32":
        return [str(program), *arguments]
    become = f"{account.uid}:{account.gid}" if account else "-"
    script = [sys.executable, "-I", "-S", postgres_exec.__file__, str(os.getpid()), become]
    return [*script, str(program), *arguments]


def handed_down(*descriptors: int) -> list[int]:
    """The descriptors that the command inherits; on Windows it cannot, and none is needed."""
    return [] if sys.platform == "win32" else list(descriptors)


def failure(folder: Path, what: str, output: str) -> str:
    """One line out of what a program of PostgreSQL had to say."""
    if "No space left on device" in output:
        return f"{folder}: {what}: the disk is full; free some space and start again"
    lines = [" ".join(line.split()) for line in output.splitlines() if line.strip()]
    telling = [line[line.index(mark) :] for line in lines for mark in _MARKS if mark in line] or lines
    return f"{folder}: {what}: {telling[-1] if telling else 'it said nothing'}"


class ServerProcess:
    """A running ``postgres`` and the thread whose child it is.

    The signal at the parent's death comes when the *thread* that forked ends. So a thread of its own forks
    and then waits for the server: it ends no sooner than the server or this whole process.
    """

    def __init__(
        self, command: Sequence[str], *, output: int, inherited: Sequence[int], on_exit: Callable[[], None]
    ) -> None:
        """``on_exit`` is called in another thread when the server has ended, however that came."""
        self._exited = threading.Event()
        self._on_exit = on_exit
        spawned: Future[subprocess.Popen[bytes]] = Future()
        arguments = (command, output, inherited, spawned)
        threading.Thread(target=self._be_parent, args=arguments, name="postgres-parent", daemon=True).start()
        self._process = spawned.result()

    def _be_parent(
        self,
        command: Sequence[str],
        output: int,
        inherited: Sequence[int],
        spawned: "Future[subprocess.Popen[bytes]]",
    ) -> None:
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=inherited,
                cwd=Path(os.sep),
                start_new_session=True,  # Ctrl-C in the terminal is ours to handle
            )
        except BaseException as problem:  # noqa: BLE001 - it is raised where the result is awaited
            spawned.set_exception(problem)
            return
        spawned.set_result(process)
        process.wait()
        self._exited.set()
        self._on_exit()

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the postmaster is alive."""
        return not self._exited.is_set()

    @property
    def exit_code(self) -> int | None:
        """How it ended: its status, or the negative number of the signal; None while it runs."""
        return self._process.returncode

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended within the time."""
        return self._exited.wait(timeout_s)

    def stop(self) -> None:
        """Ends it: fast (open transactions are rolled back), at once when that takes too long."""
        for stop_signal, patience_s in _stop_signals():
            if self._exited.is_set():
                return
            self._process.send_signal(stop_signal)
            self._exited.wait(patience_s)


def _stop_signals() -> Iterator[tuple[int, float]]:
    if sys.platform != "win32":
        yield signal.SIGINT, FAST_STOP_S
        yield signal.SIGQUIT, IMMEDIATE_STOP_S
        yield signal.SIGKILL, IMMEDIATE_STOP_S
    else:
        yield signal.SIGTERM, IMMEDIATE_STOP_S


def wait_for_predecessor(data: Path, server_lock: int, deadline: Deadline) -> None:
    """Returns when no process of an earlier server on this data folder is left; holds ``server.lock`` then.

    The caller holds ``lock``: whoever started that server is dead. On Linux the server has been told so
    by the kernel; elsewhere it is told here.

    Raises:
        EmbeddedPostgresError: it is still there at the deadline.
    """
    began = time.monotonic()
    told: set[tuple[int, int]] = set()
    while True:
        free = try_lock(server_lock)
        left = set() if free and not (data / PID_FILE).exists() else _postgres_processes(data)
        if free and not left:
            return
        if deadline.passed:
            who = ", ".join(str(pid) for pid in sorted(left)) or "unknown"
            raise EmbeddedPostgresError(
                f"an earlier PostgreSQL (process {who}) still uses {data}: end it and start again"
            )
        _tell_to_stop(data, left, told, time.monotonic() - began)
        time.sleep(SCAN_POLL_S)


def _tell_to_stop(data: Path, left: set[int], told: set[tuple[int, int]], waited_s: float) -> None:
    """A postmaster without its launcher shuts down; backends without a postmaster have nothing to finish."""
    if sys.platform == "win32":
        return
    pid_file = read_pid_file(data)
    postmaster = {pid_file.pid} & left if pid_file else set()
    stop_signal = signal.SIGINT if postmaster and waited_s < FAST_STOP_S else signal.SIGQUIT
    if not postmaster and waited_s > ORPHAN_PATIENCE_S:
        stop_signal = signal.SIGKILL
    for pid in postmaster or left:
        if (pid, stop_signal) not in told:
            told.add((pid, stop_signal))
            with suppress(ProcessLookupError):
                os.kill(pid, stop_signal)


def _postgres_processes(data: Path) -> set[int]:
    """The living PostgreSQL processes of a data folder; zombies are not alive."""
    if sys.platform == "win32" or not data.exists():
        return set()
    return set(_processes_at_home_in(data) if sys.platform == "linux" else _process_named_in(data))


def _processes_at_home_in(data: Path) -> Iterator[int]:
    home = data.stat()
    for process in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended, or is another user's
            if not process.name.isdigit() or (process / "comm").read_text().strip() != "postgres":
                continue
            if os.path.samestat((process / "cwd").stat(), home):
                yield int(process.name)


def _process_named_in(data: Path) -> Iterator[int]:
    pid_file = read_pid_file(data)
    if pid_file is None:
        return
    query = ["ps", "-ww", "-o", "command=", "-p", str(pid_file.pid)]
    answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout  # noqa: S603
    if "postgres" in answer and str(data) in answer:
        yield pid_file.pid
