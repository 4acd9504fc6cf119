"""The wire: what is no HTTP, slow, endless, too much at once, or meant to be read in two ways (H11, R11)."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from chargewatch.server.platform.body_memory import BodyLimits
from chargewatch.server.platform.health import Draining
from chargewatch.server.platform.http_protocol import (
    LARGEST_HEAD,
    MOST_HEADERS,
    MOST_PIPELINED,
    ConnectionLimits,
)
from chargewatch.server.process import (
    GracefulServer,
    ServeError,
    StopTimes,
    connection_limits,
    listen,
    url_of,
)
from chargewatch.server.settings import load_settings
from tests.asgi_driver import Driver, platform_app
from tests.contract.test_platform_http import MIB, ROUTER, body_of, waiting
from tests.patience import PATIENCE_S, until

pytestmark = pytest.mark.anyio


#: A deadline that a test waits for, and what only a machine that stands still would exceed.
DEADLINE_S = 0.3
CUT_WITHIN_S = 30 * DEADLINE_S


@pytest.fixture
def api() -> Driver:
    return platform_app([ROUTER])


@pytest.fixture
def hasty_api() -> Driver:
    """With little patience for slow bodies."""
    return platform_app([ROUTER], body_limits=BodyLimits(deadline_s=0.5, min_rate=100_000))


class Wire:
    """A raw connection to a running server."""

    def __init__(self, port: int, server: GracefulServer) -> None:
        self._port = port
        self.server = server

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def exchange(self, data: bytes) -> bytes:
        """Sends bytes; returns all that comes back until the server closes the connection."""
        async with self.open() as (reader, writer), asyncio.timeout(PATIENCE_S):
            writer.write(data)
            return await reader.read()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return int(head[0].split()[1]), headers, body


@asynccontextmanager
async def serving(api: Driver, limits: ConnectionLimits, finish_s: int = 60) -> AsyncIterator[Wire]:
    """A server on a port of its own."""
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    ready = asyncio.Event()
    times = StopTimes(notice_s=0.0, finish_s=finish_s)
    server = GracefulServer(api.app, Draining(), ready.set, times, limits)
    task = asyncio.create_task(server.serve([listener]))
    async with asyncio.timeout(PATIENCE_S):
        await ready.wait()
    try:
        yield Wire(port, server)
    finally:
        if not task.done():
            server.stop(0.0)
        await task


@pytest.fixture
async def wire(api: Driver) -> AsyncIterator[Wire]:
    async with serving(api, ConnectionLimits(farewell_deadline_s=DEADLINE_S)) as wire:
        yield wire


@pytest.fixture
async def hasty(hasty_api: Driver) -> AsyncIterator[Wire]:
    """A server with short deadlines, for clients that shall not meet them."""
    limits = ConnectionLimits(
        header_deadline_s=DEADLINE_S,
        leftover_deadline_s=DEADLINE_S,
        farewell_deadline_s=DEADLINE_S,
        answer_deadline_s=DEADLINE_S,
    )
    async with serving(hasty_api, limits) as wire:
        yield wire


AUTHORIZED = b"Host: x\r\nAuthorization: Bearer key-all\r\n"


async def test_a_connection_serves_many_calls(wire: Wire) -> None:
    async with wire.open() as (reader, writer):
        for name in ("a", "b%20c"):
            writer.write(b"GET /v1/things/" + name.encode() + b" HTTP/1.1\r\n" + AUTHORIZED + b"\r\n")
            status, headers, body = await read_answer(reader)
            assert (status, "x-request-id" in headers) == (200, True)
        assert json.loads(body) == {"name": "b c"}
        writer.write(b"HEAD /v1/things/a HTTP/1.1\r\n" + AUTHORIZED + b"\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 12" in head
        writer.write(b"OPTIONS /v1/things/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b" 204 " in await reader.read()


async def test_pipelined_calls_are_answered_in_order(wire: Wire) -> None:
    async with wire.open() as (reader, writer):
        writer.write(b"".join(b"GET /v1/things/%d HTTP/1.1\r\n" % i + AUTHORIZED + b"\r\n" for i in range(5)))
        names = [json.loads((await read_answer(reader))[2])["name"] for _ in range(5)]
    assert names == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /v1/things/\xc3\xbc HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n",
        b"POST /v1/payload HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"POST /v1/payload HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_is_not_http_gets_a_problem(wire: Wire, data: bytes) -> None:
    answer = await wire.exchange(data)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["request_id"].encode() in head
    assert json.loads(body)["code"] == "bad_request"


async def test_a_head_without_an_end_is_refused(wire: Wire) -> None:
    async with wire.open() as (reader, writer):
        reading = asyncio.create_task(reader.read())
        writer.write(b"GET / HTTP/1.1\r\n")
        sent = 0
        while not reading.done() and sent < 10 * MIB:
            writer.write(b"X-Filler: " + b"x" * 8000 + b"\r\n")
            sent += 8000
            await asyncio.sleep(0.002)
        with suppress(ConnectionError):  # what was still on its way resets the connection
            assert (await reading).startswith(b"HTTP/1.1 400 ")
    assert sent < MIB


@pytest.mark.parametrize("data", [b"", b"G", b"GET / HTTP/1.1\r\nHost:", b"\r\n"])
async def test_a_slow_head_is_cut(hasty: Wire, data: bytes) -> None:
    began = asyncio.get_running_loop().time()
    assert await hasty.exchange(data) == b""
    assert asyncio.get_running_loop().time() - began < CUT_WITHIN_S


async def test_dripping_bytes_do_not_buy_time(hasty: Wire) -> None:
    """Each after a fifteenth of the deadline; half of them would already be too many."""
    dripping = b"GET / HTTP/1.1\r\nX-Slow: " + b"x" * 200
    sent = 0
    async with hasty.open() as (reader, writer):
        reading = asyncio.create_task(reader.read())
        for byte in dripping:
            if reading.done():
                break
            writer.write(bytes([byte]))
            sent += 1
            await asyncio.sleep(DEADLINE_S / 15)
        with suppress(ConnectionError):
            assert await reading == b""
    assert sent < len(dripping) / 2


async def test_a_refused_body_is_answered_before_its_end_and_cut(hasty: Wire) -> None:
    head = b"POST /v1/small HTTP/1.1\r\n" + AUTHORIZED + b"Content-Type: application/json\r\n"
    async with hasty.open() as (reader, writer):
        writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
        reading = asyncio.create_task(read_answer(reader))
        for _ in range(200):
            if reading.done():
                break
            writer.write(b"400\r\n" + b" " * 1024 + b"\r\n")
            await asyncio.sleep(0.005)
        assert (await reading)[0] == 413
        async with asyncio.timeout(PATIENCE_S):  # it is thrown away for a moment, then the connection ends
            while not reader.at_eof():
                try:
                    writer.write(b"400\r\n" + b" " * 1024 + b"\r\n")
                    await reader.read(1)
                except ConnectionError:
                    break


async def test_after_a_refused_body_that_ends_the_connection_goes_on(wire: Wire) -> None:
    body = body_of(50_000)
    head = b"POST /v1/small HTTP/1.1\r\n" + AUTHORIZED + b"Content-Type: application/json\r\n"
    async with wire.open() as (reader, writer):
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body))
        status, _, _ = await read_answer(reader)
        assert status == 413
        writer.write(body)
        writer.write(b"GET /v1/things/a HTTP/1.1\r\n" + AUTHORIZED + b"\r\n")
        assert (await read_answer(reader))[0] == 200


async def test_a_client_that_asks_first_is_told_no(wire: Wire) -> None:
    head = b"POST /v1/small HTTP/1.1\r\n" + AUTHORIZED + b"Content-Type: application/json\r\n"
    async with wire.open() as (reader, writer):
        writer.write(head + b"Content-Length: 100000\r\nExpect: 100-continue\r\n\r\n")
        assert (await read_answer(reader))[0] == 413
    async with wire.open() as (reader, writer):
        writer.write(head + b"Content-Length: 12\r\nExpect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b'{"text":"x"}')
        assert (await read_answer(reader))[0] == 200


async def test_a_client_that_does_not_read_is_cut(hasty: Wire, wire: Wire) -> None:
    async with hasty.open() as (reader, writer):
        writer.write(b"GET /v1/large HTTP/1.1\r\n" + AUTHORIZED + b"\r\n")
        await asyncio.sleep(4 * DEADLINE_S)
        received = 0
        with suppress(ConnectionError):
            while chunk := await reader.read(MIB):
                received += len(chunk)
    assert 0 < received < 20 * MIB
    async with wire.open() as (reader, writer):
        writer.write(b"GET /v1/large HTTP/1.1\r\n" + AUTHORIZED + b"\r\n")
        assert len((await read_answer(reader))[2]) == 20 * MIB + 2


async def test_an_upgrade_is_not_taken(wire: Wire) -> None:
    async with wire.open() as (reader, writer):
        upgrade = (
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
        )
        writer.write(b"GET /v1/things/a HTTP/1.1\r\n" + AUTHORIZED + upgrade + b"\r\n")
        assert (await read_answer(reader))[0] == 200


async def test_stopping_finishes_what_is_in_flight(api: Driver) -> None:
    waiting.update(open=asyncio.Event(), reached=asyncio.Event())
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    draining = Draining()
    ready = asyncio.Event()
    server = GracefulServer(api.app, draining, ready.set, StopTimes(notice_s=0.0, finish_s=60))
    task = asyncio.create_task(server.serve([listener]))
    await ready.wait()
    async with Wire(port, server).open() as (reader, writer):
        writer.write(b"GET /v1/wait HTTP/1.1\r\n" + AUTHORIZED + b"\r\n")
        await waiting["reached"].wait()
        server.stop(0.0)
        await until(lambda: _is_closed(port))
        assert not task.done()
        waiting["open"].set()
        status, headers, _ = await read_answer(reader)
        assert (status, headers["connection"]) == (200, "close")
        async with asyncio.timeout(PATIENCE_S):
            await task


async def _is_closed(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return True
    writer.close()
    return False


async def test_stopping_answers_who_has_just_connected(api: Driver) -> None:
    request = b"GET /v1/things/a HTTP/1.1\r\n" + AUTHORIZED + b"\r\n"
    limits = ConnectionLimits(arrival_deadline_s=PATIENCE_S)
    async with (
        serving(api, limits) as wire,
        wire.open() as fresh,
        wire.open() as begun,
        wire.open() as idle,
    ):
        begun[1].write(request[:20])
        idle[1].write(request)
        await read_answer(idle[0])
        await asyncio.sleep(0.05)
        wire.server.stop(0.0)
        await asyncio.sleep(0.15)
        fresh[1].write(request)
        begun[1].write(request[20:])
        for reader, _ in (fresh, begun):
            status, headers, _ = await read_answer(reader)
            assert (status, headers["connection"]) == (200, "close")
        assert await idle[0].read() == b""


# --- requests that two servers could read in two ways, and other shapes that are no HTTP/1.1

CALL = b"GET /v1/things/a HTTP/1.1\r\n"
PUSH = b"POST /v1/payload HTTP/1.1\r\n" + AUTHORIZED + b"Content-Type: application/json\r\n"
PAYLOAD = b'{"text":"x"}'
CHUNKED = PUSH + b"Transfer-Encoding: chunked\r\n\r\n"
IN_CHUNKS = b"c\r\n" + PAYLOAD + b"\r\n0\r\n\r\n"

REFUSED = {
    "length and chunks": PUSH + b"Content-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\n" + IN_CHUNKS,
    "chunks and length": PUSH + b"Transfer-Encoding: chunked\r\nContent-Length: 12\r\n\r\n" + IN_CHUNKS,
    "two equal lengths": PUSH + b"Content-Length: 12\r\nContent-Length: 12\r\n\r\n" + PAYLOAD,
    "a list of lengths": PUSH + b"Content-Length: 12, 12\r\n\r\n" + PAYLOAD,
    "a signed length": PUSH + b"Content-Length: +12\r\n\r\n" + PAYLOAD,
    "a hexadecimal length": PUSH + b"Content-Length: 0xc\r\n\r\n" + PAYLOAD,
    "no length": PUSH + b"Content-Length:\r\n\r\n",
    "a length with a space": PUSH + b"Content-Length: 1 2\r\n\r\n" + PAYLOAD,
    "an endless length": PUSH + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
    "a coding before chunks": PUSH + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + IN_CHUNKS,
    "an unknown coding": PUSH + b"Transfer-Encoding: xchunked\r\n\r\n" + IN_CHUNKS,
    "a coding after chunks": PUSH + b"Transfer-Encoding: chunked, identity\r\n\r\n" + IN_CHUNKS,
    "chunked twice": PUSH + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + IN_CHUNKS,
    "identity": PUSH + b"Transfer-Encoding: identity\r\n\r\n",
    "a space before the colon": PUSH + b"Transfer-Encoding : chunked\r\n\r\n" + IN_CHUNKS,
    "chunks in 1.0": CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + IN_CHUNKS,
    "a folded header": CALL + AUTHORIZED + b"X-A: a\r\n b\r\n\r\n",
    "bare line feeds": (CALL + AUTHORIZED + b"\r\n").replace(b"\r\n", b"\n"),
    "a bare carriage return": CALL + AUTHORIZED + b"X-A: a\rb\r\n\r\n",
    "NUL in a value": CALL + AUTHORIZED + b"X-A: a\0b\r\n\r\n",
    "NUL in a name": CALL + AUTHORIZED + b"X\0A: b\r\n\r\n",
    "NUL in a path": b"GET /\0 HTTP/1.1\r\n" + AUTHORIZED + b"\r\n",
    "a name without a colon": CALL + AUTHORIZED + b"X-A\r\n\r\n",
    "an empty name": CALL + AUTHORIZED + b": x\r\n\r\n",
    "no host": CALL + b"Authorization: Bearer key-all\r\n\r\n",
    "two hosts": CALL + AUTHORIZED + b"Host: y\r\n\r\n",
    "CONNECT": b"CONNECT x:443 HTTP/1.1\r\n" + AUTHORIZED + b"\r\n",
    "a bad authority": b"GET http://u:p@x:99999/ HTTP/1.1\r\n" + AUTHORIZED + b"\r\n",
    "a relative path": b"GET healthz HTTP/1.1\r\n" + AUTHORIZED + b"\r\n",
    "a method in lower case": b"get /healthz HTTP/1.1\r\n" + AUTHORIZED + b"\r\n",
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "HTTP/1.2": b"GET /healthz HTTP/1.2\r\n" + AUTHORIZED + b"\r\n",
    "HTTP/2.0": b"GET /healthz HTTP/2.0\r\n" + AUTHORIZED + b"\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a TLS client hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "many headers": CALL + AUTHORIZED + b"X-A: 1\r\n" * (MOST_HEADERS + 1) + b"\r\n",
    "a large header": CALL + AUTHORIZED + b"X-A: " + b"x" * LARGEST_HEAD + b"\r\n\r\n",
    "a large path": b"GET /" + b"x" * LARGEST_HEAD + b" HTTP/1.1\r\n" + AUTHORIZED + b"\r\n",
    "a large method": b"G" * 2 * LARGEST_HEAD,
    "a chunk without a size": CHUNKED + b"xyz\r\n",
    "a negative chunk": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "a chunk of 0x": CHUNKED + b"0xc\r\n" + PAYLOAD + b"\r\n0\r\n\r\n",
    "an endless chunk size": CHUNKED + b"f" * 18 + b"\r\n",
    "a chunk that goes on": CHUNKED + b"c\r\n" + PAYLOAD + b"XX0\r\n\r\n",
    "line feeds around chunks": CHUNKED + IN_CHUNKS.replace(b"\r\n", b"\n"),
    "an endless chunk extension": CHUNKED + b"c;" + b"x" * 3 * LARGEST_HEAD,
    "endless trailers": CHUNKED + IN_CHUNKS[:-2] + b"X-A: 1\r\n" * LARGEST_HEAD,
    "chunks of one byte": CHUNKED + b"1\r\nx\r\n" * LARGEST_HEAD,
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_what_is_refused_is_a_problem_and_the_connection_ends(wire: Wire, kind: str) -> None:
    canary = b"X-Request-Id: canary-7\r\n"
    answer = await wire.exchange(REFUSED[kind].replace(AUTHORIZED, AUTHORIZED + canary, 1))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    problem = json.loads(body)
    assert (problem["code"], problem["status"]) == ("bad_request", 400)
    for field in (b"x-request-id: ", b"traceparent: ", b"cache-control: no-store", b"connection: close"):
        assert field in head
    assert f"x-request-id: {problem['request_id']}".encode() in head
    if kind.startswith(("two hosts", "no chunks", "a coding before", "endless", "chunks of one")):
        assert problem["request_id"] == "canary-7"


TAKEN = {
    "an absolute address": b"GET http://x/v1/things/a HTTP/1.1\r\n" + AUTHORIZED,
    "empty lines first": b"\r\n\r\n" + CALL + AUTHORIZED,
    "an empty host": CALL + AUTHORIZED.replace(b"Host: x", b"Host:"),
    "HTTP/1.0 without a host": CALL.replace(b"1.1", b"1.0") + AUTHORIZED.replace(b"Host: x\r\n", b""),
    "a fragment": b"GET /v1/things/a#b HTTP/1.1\r\n" + AUTHORIZED,
    "as many headers as may be": CALL + AUTHORIZED + b"X-A: 1\r\n" * (MOST_HEADERS - 3),
}


@pytest.mark.parametrize("kind", TAKEN)
async def test_what_is_odd_but_right_is_answered(wire: Wire, kind: str) -> None:
    answer = await wire.exchange(TAKEN[kind] + b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b'{"name":"a"}')


@pytest.mark.parametrize(
    "chunks",
    [
        b'c;name="value"\r\n' + PAYLOAD + b"\r\n0;last\r\n\r\n",
        b"".join(b"1\r\n%c\r\n" % byte for byte in PAYLOAD) + b"0\r\n\r\n",
        b"C\r\n" + PAYLOAD + b"\r\n000\r\nX-Trailer: 1\r\nAuthorization: Bearer key-other\r\n\r\n",
    ],
)
async def test_chunks_of_all_kinds_are_put_together(wire: Wire, chunks: bytes) -> None:
    async with wire.open() as (reader, writer):
        writer.write(CHUNKED + chunks + CALL + AUTHORIZED + b"\r\n")
        for _ in range(2):
            assert (await read_answer(reader))[0] == 200


async def test_what_follows_a_good_call_is_answered_after_it(wire: Wire) -> None:
    answer = await wire.exchange(CALL + AUTHORIZED + b"\r\nnonsense\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == 1
    assert answer.count(b"HTTP/1.1 ") == 1
    answer = await wire.exchange((CALL + AUTHORIZED + b"\r\n") * 20 * MOST_PIPELINED)
    assert answer.count(b"HTTP/1.1 200 ") == answer.count(b"HTTP/1.1 ")
    assert MOST_PIPELINED <= answer.count(b"HTTP/1.1 ") <= MOST_PIPELINED + 1


async def test_after_an_upgrade_that_is_not_taken_the_connection_ends(wire: Wire) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    answer = await wire.exchange(CALL + AUTHORIZED + upgrade + CALL + AUTHORIZED + b"\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == answer.count(b"HTTP/1.1 ") == 1


# --- bodies in time


async def body_in_pieces(wire: Wire, pieces: int, size: int, pause_s: float) -> tuple[int, float]:
    """Sends a body piece by piece; returns the status and when it came."""
    clock = asyncio.get_running_loop().time
    async with wire.open() as (reader, writer):
        began = clock()
        writer.write(PUSH + b"Content-Length: %d\r\n\r\n" % (pieces * size))
        reading = asyncio.create_task(read_answer(reader))
        text = PAYLOAD[:-2] + b"x" * (pieces * size - len(PAYLOAD)) + PAYLOAD[-2:]
        for number in range(pieces):
            if reading.done():
                break
            writer.write(text[number * size :][:size])
            await asyncio.sleep(pause_s)
        return (await reading)[0], clock() - began


async def test_a_body_may_take_long_while_it_keeps_up_the_rate(hasty: Wire) -> None:
    status, seconds = await body_in_pieces(hasty, pieces=30, size=20_000, pause_s=0.04)
    assert status == 200
    assert seconds > 1.0  # twice the deadline


async def test_a_dripping_body_is_cut_at_the_deadline(hasty: Wire) -> None:
    """It would take ten seconds."""
    status, seconds = await body_in_pieces(hasty, pieces=500, size=1, pause_s=0.02)
    assert status == 408
    assert 0.45 < seconds < 8.0


async def test_a_body_that_stops_is_cut_a_deadline_later(hasty: Wire) -> None:
    """Although its size would be worth a hundred seconds."""
    clock = asyncio.get_running_loop().time
    async with hasty.open() as (reader, writer):
        writer.write(PUSH + b"Content-Length: 10000000\r\n\r\n" + b" " * 5_000_000)
        began = clock()
        status, headers, body = await read_answer(reader)
        assert (status, headers["connection"]) == (408, "close")
        assert json.loads(body)["code"] == "body_too_slow"
        assert clock() - began < 30.0
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""


# --- connections


async def test_a_connection_too_many_is_turned_away(api: Driver) -> None:
    limits = ConnectionLimits(most_connections=2, farewell_deadline_s=0.2)
    async with serving(api, limits) as wire:
        async with wire.open() as first, wire.open():
            for _ in range(3):
                answer = await wire.exchange(CALL + AUTHORIZED + b"\r\n")
                head, _, body = answer.partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 503 ")
                assert b"retry-after: 1\r\n" in head
                assert b"x-request-id: " in head
                assert json.loads(body)["code"] == "overloaded"
            first[1].write(CALL + AUTHORIZED + b"\r\n")
            assert (await read_answer(first[0]))[0] == 200
        await until(lambda: _is_taken(wire))


async def _is_taken(wire: Wire) -> bool:
    async with wire.open() as (reader, writer):
        writer.write(CALL + AUTHORIZED + b"\r\n")
        status = (await read_answer(reader))[0]
    assert status in (200, 503)
    return status == 200


async def test_an_idle_connection_is_closed(api: Driver) -> None:
    async with serving(api, ConnectionLimits(keep_alive_s=0.2)) as wire, wire.open() as (reader, writer):
        writer.write(CALL + AUTHORIZED + b"\r\n")
        assert (await read_answer(reader))[0] == 200
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""


def test_connections_stay_below_the_files_of_the_process() -> None:
    settings = load_settings({"max_connections": 500}, environ={}, dotenv=None)
    assert connection_limits(settings, 65536).most_connections == 500
    assert connection_limits(settings, None).most_connections == 500
    assert connection_limits(settings, 256).most_connections == 156
    assert connection_limits(settings, 10).most_connections == 1


async def test_a_stop_that_waits_no_longer_is_a_503(api: Driver) -> None:
    waiting.update(open=asyncio.Event(), reached=asyncio.Event())
    async with serving(api, ConnectionLimits(), finish_s=0) as wire, wire.open() as (reader, writer):
        writer.write(b"GET /v1/wait HTTP/1.1\r\n" + AUTHORIZED + b"\r\n")
        await waiting["reached"].wait()
        wire.server.stop(0.0)
        status, headers, body = await read_answer(reader)
        assert (status, headers["retry-after"]) == (503, "1")
        assert json.loads(body)["code"] == "service_unavailable"
        assert json.loads(body)["request_id"] == headers["x-request-id"]


def test_a_taken_port_is_one_line() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ServeError, match=f"port {port} of 127.0.0.1 is taken"):
            listen("127.0.0.1", port)
    with pytest.raises(ServeError, match=r"cannot listen on port 0 of 192\.0\.2\.1"):
        listen("192.0.2.1", 0)
    with pytest.raises(ServeError, match="cannot listen on"):
        listen("no-such-host.invalid", 0)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 on this machine")
def test_addresses_are_shown_for_a_browser() -> None:
    with listen("0.0.0.0", 0) as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        six = listen("::1", 0)
    except ServeError:
        pytest.skip("no IPv6 loopback on this machine")
    with six:
        assert url_of(six) == f"http://[::1]:{six.getsockname()[1]}"
