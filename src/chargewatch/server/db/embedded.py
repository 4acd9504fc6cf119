"""The embedded database: PostgreSQL in a folder of ours, started and stopped with this process.

The folder (0700) holds::

    lock, server.lock   who is here (see `postgres_process`)
    password            of the superuser, made once (0600)
    data/               PostgreSQL's own; it appears under this name when it is complete
    run/                the Unix socket; nothing listens on TCP (but on Windows, on the loopback address)
    socket_folder       where the socket is instead, when the path of run/ is too long for one
    postgres.log        and postgres.log.old

The server outlives no launcher: it is told to stop when this process dies, however it dies (on macOS and
Windows the next start sees to it). Any thread may start it. A process that forks and goes, as daemons did,
takes the server with it.
"""

import errno
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from chargewatch.server.db.postgres_binaries import EmbeddedPostgresError, installation_for, service_account
from chargewatch.server.db.postgres_folder import PORT, StateFolder
from chargewatch.server.db.postgres_initdb import SUPERUSER, check_data, make_database
from chargewatch.server.db.postgres_process import (
    PID_FILE,
    POLL_S,
    Deadline,
    ServerProcess,
    command_line,
    failure,
    handed_down,
    read_pid_file,
    try_lock,
    unlock,
    wait_for_predecessor,
)

__all__ = ["DataFolderInUse", "EmbeddedPostgres", "EmbeddedPostgresError", "running_dsn"]

#: A process that was killed a moment ago may still hold its lock.
LOCK_PATIENCE_S: Final = 0.25
CONNECT_TIMEOUT_S: Final = 5.0

#: For a laptop or two cores. Arguments of the server: neither its files nor ALTER SYSTEM overrule them.
SERVER_SETTINGS: Final = {
    # an acknowledged reading survives everything
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "jit": "off",
    "autovacuum_naptime": "2s",  # see STATISTICS in the first migration
    "random_page_cost": "1.1",
    "wal_buffers": "16MB",
    "wal_compression": "on",
    # after a crash everything is synced before recovery: one system call instead of one for each file
    **({"recovery_init_sync_method": "syncfs"} if sys.platform == "linux" else {}),
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    # a query whose client was killed holds its locks no longer
    "client_connection_check_interval": "0" if sys.platform == "win32" else "1s",
}


#: PostgreSQL's own default and the least that it takes, for its write-ahead log.
MOST_LOG_MIB: Final = 1024
LEAST_LOG_MIB: Final = 32
USUAL_KEPT_LOG_MIB: Final = 80


def log_settings(total_bytes: int) -> dict[str, str]:
    """How large the write-ahead log may grow between checkpoints: an eighth of the disk, within bounds."""
    most = max(LEAST_LOG_MIB, min(MOST_LOG_MIB, total_bytes // 8 // 1024**2))
    return {"max_wal_size": f"{most}MB", "min_wal_size": f"{min(USUAL_KEPT_LOG_MIB, most)}MB"}


class DataFolderInUse(EmbeddedPostgresError):
    """Another process runs the database of this folder."""


class EmbeddedPostgres:
    """One PostgreSQL server on one folder.

    Args:
        state_dir: ``<data folder>/postgres``; made when missing.
        start_timeout_s: how long `start` may take, the wait for an earlier server included.
        on_exit: called in another thread whenever the server has ended, by itself or by `stop`.
    """

    def __init__(
        self, state_dir: Path, *, start_timeout_s: float = 60.0, on_exit: Callable[[], None] = lambda: None
    ) -> None:
        self._path = Path(state_dir).absolute()
        self._start_timeout_s = start_timeout_s
        self._on_exit = on_exit
        self._cancelled = threading.Event()
        self._lock: int | None = None
        self._server: ServerProcess | None = None

    def start(self) -> None:
        """Takes the folder, makes the database when there is none, and returns when the server answers.

        Does nothing when it runs; starts it again when it has died, and when that fails keeps the folder.

        Raises:
            DataFolderInUse: another process has the folder.
            EmbeddedPostgresError: it cannot run; the text says why.
        """
        if self.running:
            return
        with _one_line(self._path):
            state = StateFolder(self._path, service_account(self._path / "data"))
            state.make()
            again = self._lock is not None
            if self._lock is None:
                self._lock = _take_lock(state)
            try:
                self._start(state, Deadline(self._start_timeout_s, self._cancelled))
            except BaseException:
                self._end_server() if again else self.stop()
                raise

    def cancel(self) -> None:
        """Makes a `start` that runs in another thread, or is begun before `stop`, end soon with an error."""
        self._cancelled.set()

    def stop(self) -> None:
        """Ends the server (open transactions are rolled back) and gives the folder back; again is no harm."""
        server = self._end_server()
        self._server = None
        if server is not None:
            StateFolder(self._path).leave_socket_folder()
        lock, self._lock = self._lock, None
        if lock is not None:
            unlock(lock)
        self._cancelled.clear()

    def _end_server(self) -> ServerProcess | None:
        if self._server is not None and self._server.running:
            if sys.platform == "win32":
                _stop_on_windows(self._path / "data")
            self._server.stop()
        return self._server

    def dsn(self, *, user: str = SUPERUSER, password: str | None = None, database: str = "postgres") -> str:
        """The address of the server for asyncpg and libpq; it stays the same when the server starts again.

        Args:
            user: who logs in.
            password: of ``user``; the superuser's is known here.
            database: where to.

        Raises:
            EmbeddedPostgresError: the server has not been started.
        """
        if self._server is None:
            raise EmbeddedPostgresError(f"no database is running in {self._path}: start it first")
        with _one_line(self._path):
            return _address(StateFolder(self._path), user, password, database)

    @property
    def pid(self) -> int:
        """The process id of the server.

        Raises:
            EmbeddedPostgresError: it does not run.
        """
        if self._server is None or not self._server.running:
            raise EmbeddedPostgresError(f"no database is running in {self._path}: start it first")
        return self._server.pid

    @property
    def running(self) -> bool:
        """Whether the server process is alive."""
        return self._server is not None and self._server.running

    @property
    def exit_code(self) -> int | None:
        """How the last server ended: its status, or the negative number of the signal."""
        return self._server.exit_code if self._server is not None else None

    def _start(self, state: StateFolder, deadline: Deadline) -> None:
        installation = installation_for(state.account)
        server_lock = state.open("server.lock", os.O_RDWR)
        try:
            wait_for_predecessor(state.data, server_lock, deadline)
            run = state.prepare_socket_folder()
            if not state.data.exists():
                make_database(state, installation, run, server_lock, deadline)
            check_data(state, installation)
            (state.data / PID_FILE).unlink(missing_ok=True)
            self._launch(state, installation, run, server_lock, deadline)
        finally:
            os.close(server_lock)

    def _launch(
        self, state: StateFolder, installation: Path, run: Path, server_lock: int, deadline: Deadline
    ) -> None:
        log = state.open_log()
        try:
            log_start = os.fstat(log).st_size
            with state.as_server_sees(state.data, run) as (names, descriptors):
                total_bytes = shutil.disk_usage(state.path).total
                settings = _listening_settings(names[1]) | SERVER_SETTINGS | log_settings(total_bytes)
                arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
                program = installation / "bin" / "postgres"
                self._server = ServerProcess(
                    command_line(state.account, program, "-D", names[0], *arguments),
                    output=log,
                    inherited=handed_down(*descriptors, server_lock),
                    on_exit=self._on_exit,
                )
        finally:
            os.close(log)
        self._wait_until_ready(self._server, state, log_start, deadline)

    def _wait_until_ready(
        self, server: ServerProcess, state: StateFolder, log_start: int, deadline: Deadline
    ) -> None:
        what = "PostgreSQL did not start"
        while not server.wait(POLL_S):
            written = read_pid_file(state.data)
            if written is not None and written.ready and written.pid == server.pid:
                return
            if deadline.passed:
                what = f"PostgreSQL was not ready after {self._start_timeout_s:g} s"
                break
        with state.log.open("rb") as log:
            log.seek(log_start)
            said = log.read().decode(errors="replace")
        raise EmbeddedPostgresError(f"{failure(state.path, what, said)} (see {state.log})")


def running_dsn(
    state_dir: Path, *, user: str = SUPERUSER, password: str | None = None, database: str = "postgres"
) -> str | None:
    """The address of the server that runs in this folder and is ready, whoever started it; else None."""
    state = StateFolder(Path(state_dir).absolute())
    try:
        written = read_pid_file(state.data)
        if written is None or not written.ready or not _answers(state):
            return None
        return _address(state, user, password, database)
    except OSError:
        return None


def _take_lock(state: StateFolder) -> int:
    lock = state.open("lock", os.O_RDWR)
    try:
        patience = time.monotonic() + LOCK_PATIENCE_S
        while not try_lock(lock):
            if time.monotonic() > patience:
                raise DataFolderInUse(_who_has(state.path, lock))
            time.sleep(POLL_S)
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
    except BaseException:
        os.close(lock)
        raise
    return lock


def _who_has(folder: Path, lock: int) -> str:
    holder = os.read(lock, 20).decode(errors="replace") or "unknown"
    return (
        f"the database folder {folder} is in use by another chargewatch (process {holder}): "
        "stop that one or choose another CHARGEWATCH_DATA_DIR"
    )


def _address(state: StateFolder, user: str, password: str | None, database: str) -> str:
    if password is None and user == SUPERUSER:
        password = state.password.read_text()
    login = quote(user, safe="") + ("" if password is None else ":" + quote(password, safe=""))
    host, port = _endpoint(state)
    # the port too: a PGPORT in the caller's environment would count otherwise
    return f"postgresql://{login}@/{quote(database, safe='')}?host={quote(host, safe='/')}&port={port}"


def _endpoint(state: StateFolder) -> tuple[str, int]:
    """The host (a folder, where there are Unix sockets) and the port."""
    if sys.platform == "win32":
        written = read_pid_file(state.data)
        return "127.0.0.1", written.port if written else 0
    return str(state.socket_folder()), PORT


def _answers(state: StateFolder) -> bool:
    """Whether somebody listens there; after a kill -9 the files alone would say so."""
    host, port = _endpoint(state)
    family = socket.AF_INET if sys.platform == "win32" else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_TIMEOUT_S)
        return probe.connect_ex((host, port) if sys.platform == "win32" else f"{host}/.s.PGSQL.{port}") == 0


def _listening_settings(run: str) -> dict[str, str]:
    if sys.platform == "win32":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return {"listen_addresses": "127.0.0.1", "port": str(probe.getsockname()[1])}
    folder = run.replace('"', '""')
    return {"listen_addresses": "", "unix_socket_directories": f'"{folder}"', "port": str(PORT)}


def _stop_on_windows(data: Path) -> None:
    """There is no signal for it."""
    command = [str(installation_for(None) / "bin" / "pg_ctl"), "stop", "-D", str(data), "-m", "fast", "-w"]
    subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our own program


@contextmanager
def _one_line(folder: Path) -> Iterator[None]:
    """What the operating system refuses, as one line for the operator."""
    try:
        yield
    except OSError as problem:
        full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "free some space" if full else "let this user write there"
        where = problem.filename if isinstance(problem.filename, str) else folder
        raise EmbeddedPostgresError(
            f"cannot use {folder}: {problem.strerror or type(problem).__name__} ({where}): "
            f"{advice} or choose another CHARGEWATCH_DATA_DIR"
        ) from None
