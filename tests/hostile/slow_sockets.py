"""Hundreds of slow clients beside one normal client: is it still answered quickly, and when are they cut?

    python -m tests.hostile.slow_sockets

starts a service with its real deadlines, opens 300 sockets that drip the head of a request and 300 that drip
a body, and prints the times of the normal client, when the slow ones were cut, and the memory.
"""

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil

from tests.acceptance.test_serve import KEY, Service, session
from tests.patience import until

SOCKETS = 300
#: Of the normal client, for its times to say something.
FEWEST_CALLS = 20
#: A byte so often: it must not buy time.
DRIP_EVERY_S = 0.5


class Figures(msgspec.Struct, frozen=True):
    """What was measured."""

    calls: int
    p50_ms: float
    p95_ms: float
    statuses: dict[int, int]
    """How often the normal client got which."""
    cut_after_s: dict[str, list[float]]
    """Kind of slow client -> when each of its sockets was cut, from the connection on."""
    told: dict[str, int]
    """Kind of slow client -> how many of its sockets got an answer that says why."""
    rss_before_mb: float
    rss_most_mb: float


class SlowClient:
    """A socket that sends what it begins with, and then byte after byte until it is cut."""

    def __init__(self, host: str, port: int, beginning: bytes) -> None:
        self._host, self._port, self._beginning = host, port, beginning
        self.cut_after_s = 0.0
        self.answer = b""

    async def run(self) -> None:
        """Ends when the server has closed the connection."""
        began = time.perf_counter()  # before the server can have begun to count
        reader, writer = await asyncio.open_connection(self._host, self._port)
        dripping = asyncio.create_task(self._drip(writer))
        try:
            with contextlib.suppress(ConnectionError):
                self.answer = await reader.read()
            self.cut_after_s = time.perf_counter() - began
        finally:
            dripping.cancel()
            writer.close()

    async def _drip(self, writer: asyncio.StreamWriter) -> None:
        writer.write(self._beginning)
        while not writer.is_closing():
            await asyncio.sleep(DRIP_EVERY_S)
            writer.write(b"x")


def beginnings() -> dict[str, bytes]:
    """Kind of slow client -> what it sends at once."""
    body = f"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    return {
        "head": b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        "body": body.encode()
        + b'Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"session_id":"',
    }


class NormalClient:
    """A client with one connection that pushes session after session."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.seconds: list[float] = []
        self.statuses: dict[int, int] = {}

    async def run(self, pause_s: float = 0.005) -> None:
        """Goes on until it is cancelled."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            while True:
                began = time.perf_counter()
                writer.write(_push(f"normal-{len(self.seconds)}"))
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                self.seconds.append(time.perf_counter() - began)
                status = int(head.split()[1])
                self.statuses[status] = self.statuses.get(status, 0) + 1
                await asyncio.sleep(pause_s)
        finally:
            writer.close()


def _push(name: str) -> bytes:
    body = msgspec.json.encode(session(name))
    head = f"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    return head.encode() + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def measure(service: Service, sockets: int, patience_s: float) -> Figures:
    """Runs that many slow clients of each kind beside a normal one, until all are cut.

    Raises:
        TimeoutError: some were not cut in time.
    """
    server = psutil.Process(service.process.pid)
    rss_before = server.memory_info().rss
    slow = {
        kind: [SlowClient(*service.address, beginning) for _ in range(sockets)]
        for kind, beginning in beginnings().items()
    }
    normal = NormalClient(*service.address)
    calling = asyncio.create_task(normal.run())
    watching = asyncio.create_task(_watch(server))
    async with asyncio.timeout(patience_s):
        await until(lambda: len(normal.seconds) > 0 or calling.done())
        await asyncio.gather(*(client.run() for clients in slow.values() for client in clients))
        await until(lambda: len(normal.seconds) > FEWEST_CALLS or calling.done())
    calling.cancel()
    watching.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    milliseconds = [seconds * 1000 for seconds in normal.seconds]
    return Figures(
        calls=len(milliseconds),
        p50_ms=statistics.median(milliseconds),
        p95_ms=percentile(milliseconds, 95),
        statuses=normal.statuses,
        cut_after_s={kind: [client.cut_after_s for client in clients] for kind, clients in slow.items()},
        told={kind: sum(b" 408 " in client.answer for client in clients) for kind, clients in slow.items()},
        rss_before_mb=rss_before / 1e6,
        rss_most_mb=(await _most(watching)) / 1e6,
    )


def percentile(values: Sequence[float], share: int) -> float:
    """The value that so many per cent of them do not exceed."""
    return sorted(values)[min(len(values) - 1, len(values) * share // 100)]


async def _watch(server: psutil.Process) -> int:
    most = 0
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            most = max(most, server.memory_info().rss)
            await asyncio.sleep(0.2)
    return most


async def _most(watching: "asyncio.Task[int]") -> int:
    return await watching


def main() -> None:
    """Prints the figures of a service with its real deadlines."""
    with tempfile.TemporaryDirectory(prefix="cw-slow-") as folder:
        service = Service(Path(folder) / "data")
        try:
            figures = asyncio.run(measure(service, SOCKETS, patience_s=120))
        finally:
            service.stop()
    print(f"{SOCKETS} slow heads and {SOCKETS} slow bodies beside a client that pushes sessions")
    print(f"  normal client  {figures.calls} calls, p50 {figures.p50_ms:.1f} ms, p95 {figures.p95_ms:.1f} ms")
    for kind, seconds in figures.cut_after_s.items():
        print(
            f"  slow {kind:10}cut after {min(seconds):.2f} to {max(seconds):.2f} s, {figures.told[kind]} told why"
        )
    print(f"  RSS            {figures.rss_before_mb:.0f} MB before, at most {figures.rss_most_mb:.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
