"""One serving process: uvicorn around the application, started, announced, and stopped without losing a call.

SIGTERM: readiness fails at once and answers ask clients to close their connections, while new calls are still
taken for a moment, so that a balancer notices first; then the port closes, calls in flight are finished for
up to 25 s, and the process ends. SIGINT (Ctrl-C) leaves that moment out. A second signal waits for nothing.
"""

import asyncio
import contextlib
import ctypes
import errno
import gc
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
import structlog
import uvicorn
from litestar import Litestar

from chargewatch.server.db.address import DatabaseAddress
from chargewatch.server.platform.health import Draining
from chargewatch.server.platform.http_protocol import ConnectionLimits, protocol_with
from chargewatch.server.settings import Settings

BACKLOG: Final = 2048
#: More open files than this are not asked for.
MOST_FILES: Final = 65536
#: Files that are no connections of clients: the database's, the listening socket, logs, models.
OTHER_FILES: Final = 100

_log = structlog.get_logger(__name__)


class ServeError(Exception):
    """The service cannot start; the text is one line for the operator."""


class StopTimes(msgspec.Struct, frozen=True):
    """How long stopping may take."""

    notice_s: float = 1.0
    """Between failing readiness and closing the port, on SIGTERM."""
    finish_s: int = 25
    """For the calls in flight."""


def listen(host: str, port: int) -> socket.socket:
    """Returns a listening socket; connections wait in it until somebody serves.

    Raises:
        ServeError: the address is none of this machine's, or taken, or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServeError(f"cannot listen on {host}: {error.strerror or error}") from None
    try:
        if sys.platform != "win32":  # where it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ServeError(_refused(host, port, error)) from None
    return listener


def _refused(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken: stop what listens there or choose another with --port"
    return f"cannot listen on port {port} of {host}: {error.strerror or error}"


def url_of(listener: socket.socket) -> str:
    """Returns the address at which a browser on this machine finds a listening socket."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - shown, not bound
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def run_process(
    settings: Settings,
    address: DatabaseAddress | None,
    listener: socket.socket,
    on_ready: Callable[[], None],
    *,
    times: StopTimes | None = None,
    until: Callable[[], Awaitable[None]] | None = None,
    worker_flags: Mapping[str, Any] | None = None,
) -> None:
    """Serves in this process until a signal ends it.

    Args:
        settings: the effective settings.
        address: where the database is; found from the settings when None.
        listener: the listening socket.
        on_ready: called once, when calls are answered.
        times: how long stopping may take.
        until: when this returns, the process stops as on SIGTERM.
        worker_flags: what the command line says, for the worker beside this process; None for none.

    Raises:
        DatabaseError: the database cannot be used.
    """
    _return_memory()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(settings, address, listener, on_ready, times or StopTimes(), until, worker_flags))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Returns what makes the event loop: uvloop's, where there is one."""
    if sys.platform == "win32":
        return None
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _serve(
    settings: Settings,
    address: DatabaseAddress | None,
    listener: socket.socket,
    on_ready: Callable[[], None],
    times: StopTimes,
    until: Callable[[], Awaitable[None]] | None,
    worker_flags: Mapping[str, Any] | None,
) -> None:
    from chargewatch.server.app import create_app
    from chargewatch.server.wiring import open_wiring
    from chargewatch.server.worker_keeper import keep_worker

    async with open_wiring(settings, address) as wiring:
        limits = connection_limits(settings, _allow_many_files())
        server = GracefulServer(create_app(wiring), wiring.draining, on_ready, times, limits)
        beside = []
        if until is not None:
            beside.append(asyncio.create_task(server.stop_after(until)))
        if worker_flags is not None:
            keeping = keep_worker(worker_flags, wiring.jobs.next_s, settings.job_poll_s)
            beside.append(asyncio.create_task(keeping))
        await server.serve([listener])
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


class GracefulServer(uvicorn.Server):
    """uvicorn's server with our way of stopping."""

    def __init__(
        self,
        app: Litestar,
        draining: Draining,
        on_ready: Callable[[], None],
        times: StopTimes,
        limits: ConnectionLimits | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol_with(limits or ConnectionLimits()),
                ws="none",
                lifespan="on",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=times.finish_s,
            )
        )
        self._draining = draining
        self._on_ready = on_ready
        self._times = times

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts answering, and says so."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # what is there now stays: the collector need not look at it again
        self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals end the server while the block runs; they are not raised again afterwards."""
        loop = asyncio.get_running_loop()

        def stop_by(number: int, _frame: object) -> None:
            notice_s = self._times.notice_s if number == signal.SIGTERM else 0.0
            loop.call_soon_threadsafe(self.stop, notice_s)

        before = {number: signal.signal(number, stop_by) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self, notice_s: float) -> None:
        """Begins to stop; the second time, at once."""
        if self._draining.is_begun():
            self.force_exit = True
            self._close()
            return
        self._draining.begin()
        asyncio.get_running_loop().call_later(notice_s, self._close)

    async def stop_after(self, until: Callable[[], Awaitable[None]]) -> None:
        """Stops when ``until`` returns."""
        await until()
        self.stop(self._times.notice_s)

    def _close(self) -> None:
        self.should_exit = True


def connection_limits(settings: Settings, files: int | None) -> ConnectionLimits:
    """Returns what the settings say about connections, within what the machine allows.

    Args:
        settings: the effective settings.
        files: how many files the process may have open; None when that is not known.
    """
    most = settings.max_connections
    if files is not None and files - OTHER_FILES < most:
        most = max(files - OTHER_FILES, 1)
        _log.warning("fewer_connections", max_connections=most, open_files=files)
    return ConnectionLimits(
        header_deadline_s=settings.header_deadline_s,
        keep_alive_s=settings.keep_alive_s,
        answer_deadline_s=settings.answer_deadline_s,
        most_connections=most,
    )


def _return_memory() -> None:
    """Tells the C library to give back what large bodies took as soon as they are gone.

    glibc otherwise learns from the first of them to keep such blocks, in an arena for each thread.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for option, value in _MALLOC_OPTIONS.items():
            libc.mallopt(option, value)


#: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_ARENA_MAX of <malloc.h>.
_MALLOC_OPTIONS: Final = {-3: 256 * 1024, -1: 256 * 1024, -8: 2}


def _allow_many_files() -> int | None:
    """Each connection is an open file, and the usual limit of 1024 is soon reached; returns the new limit."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft
