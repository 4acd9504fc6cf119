"""A thousand clients at once, coming and going: slower, or asked to come back, but never an error (R9)."""

import asyncio
import itertools
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from tests.acceptance.test_serve import KEY, Service, eventually, serving, session
from tests.hostile.slow_sockets import percentile
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

CLIENTS = 1000
#: Fewer beside other tests, and not as quick.
FEWER_CLIENTS = 400
CALLS_A_CONNECTION = 3
MOST_P99_S = 5.0
FINE = {200, 429, 503}
#: Connections of the database's pool and what the process opens once may stay.
MORE_FILES = 20
MORE_RSS = 64 * 1024 * 1024


class Crowd:
    """Clients that push, read and list, on a new connection every few calls."""

    def __init__(self, service: Service) -> None:
        self._address = service.address
        self._names = itertools.count()
        self.seconds: list[float] = []
        self.statuses: dict[int, int] = {}
        self.failures: list[str] = []

    async def run(self, clients: int, seconds: float) -> None:
        until = time.perf_counter() + seconds
        await asyncio.gather(*(self._client(until) for _ in range(clients)))

    async def _client(self, until: float) -> None:
        while time.perf_counter() < until:
            try:
                await self._connection(until)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.failures.append(repr(error))

    async def _connection(self, until: float) -> None:
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            for _ in range(CALLS_A_CONNECTION):
                await self._call(reader, writer, began)
                if time.perf_counter() > until or reader.at_eof():
                    return
                began = time.perf_counter()
        finally:
            writer.close()

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, began: float) -> None:
        writer.write(self._request())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        self.seconds.append(time.perf_counter() - began)
        status = int(head.split()[1])
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status in (429, 503):
            assert b"retry-after:" in head.lower()

    def _request(self) -> bytes:
        number = next(self._names)
        key = f"Host: x\r\nAuthorization: Bearer {KEY}\r\n".encode()
        if number % 3 == 0:
            return b"GET /v1/sessions?page_size=5 HTTP/1.1\r\n" + key + b"\r\n"
        body = msgspec.json.encode(session(f"crowd-{number}"))
        head = b"POST /v1/sessions HTTP/1.1\r\n" + key + b"Content-Type: application/json\r\n"
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def run(service: Service, clients: int, seconds: float, slower: int = 1) -> None:
    """``slower``: how many times as slow as promised this machine may be."""
    server = psutil.Process(service.process.pid)
    asyncio.run(Crowd(service).run(clients, seconds / 2))  # what a busy process keeps, it may keep
    files, rss = server.num_fds(), server.memory_info().rss
    crowd = Crowd(service)
    asyncio.run(crowd.run(clients, seconds))
    p99_s = percentile(crowd.seconds, 99)
    print(f"{clients} clients: {len(crowd.seconds)} calls, p99 {p99_s:.2f} s, {crowd.statuses}")
    assert crowd.failures == []
    assert crowd.statuses.keys() <= FINE
    assert crowd.statuses[200] > len(crowd.seconds) / 5 / slower
    assert p99_s < MOST_P99_S * slower
    assert eventually(lambda: server.num_fds() <= files + MORE_FILES)
    assert eventually(lambda: server.memory_info().rss < rss + MORE_RSS)


def test_hundreds_of_clients_at_once(tmp_path: Path) -> None:
    with serving(tmp_path / "data", CHARGEWATCH_LOG_LEVEL="warning") as service:
        run(service, FEWER_CLIENTS, 3.0, slower=5)


@pytest.mark.soak
def test_a_thousand_clients_for_a_minute(tmp_path: Path) -> None:
    with serving(tmp_path / "data", CHARGEWATCH_LOG_LEVEL="warning") as service:
        run(service, CLIENTS, 60.0)


def test_connections_beyond_the_limit_are_asked_to_come_back(tmp_path: Path) -> None:
    settings = {"CHARGEWATCH_MAX_CONNECTIONS": "50", "CHARGEWATCH_HEADER_DEADLINE_S": str(PATIENCE_S)}
    with serving(tmp_path / "data", **settings) as service:
        server = psutil.Process(service.process.pid)
        before = server.num_fds()
        refused = asyncio.run(_refusals(service, 400, 350))
        for answer in refused:
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1" in head
            assert msgspec.json.decode(body)["code"] == "overloaded"
        assert eventually(lambda: server.num_fds() <= before + MORE_FILES)
        assert service.post("afterwards").status_code == 200


async def _refusals(service: Service, connections: int, expected: int) -> list[bytes]:
    """Opens connections that send nothing; returns what so many of them are told, and nobody else."""
    opened = [await asyncio.open_connection(*service.address) for _ in range(connections)]
    reading = [asyncio.create_task(reader.read()) for reader, _ in opened]
    try:
        told = [await answer for answer in itertools.islice(asyncio.as_completed(reading), expected)]
        assert sum(task.done() for task in reading) == expected, "the others are taken, and wait"
        return told
    finally:
        for task, (_, writer) in zip(reading, opened, strict=True):
            task.cancel()
            writer.close()
        await asyncio.gather(*reading, return_exceptions=True)
