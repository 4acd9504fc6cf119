"""Bodies, queries, paths and the wire: what all calls promise, whichever slice answers (H2, H10, H14)."""

import asyncio
import gzip
import json
import socket
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from litestar import Router, get, post
from litestar.params import FromPath
from litestar.types import ASGIApp

from chargewatch.server.platform.body_memory import BodyLimits
from chargewatch.server.platform.health import Draining
from chargewatch.server.platform.http import ApiRequest, json_response, read_json, read_query
from chargewatch.server.platform.http_protocol import ConnectionLimits
from chargewatch.server.platform.openapi import Operation
from chargewatch.server.platform.request_body import inflate
from chargewatch.server.process import GracefulServer, ServeError, StopTimes, listen, url_of
from tests.asgi_driver import Driver, Reply, platform_app

pytestmark = pytest.mark.anyio

LIMIT = 1000
MIB = 1024 * 1024


class Order(StrEnum):
    UP = "up"
    DOWN = "down"


class Payload(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    number: float | None = None


class Filter(msgspec.Struct, forbid_unknown_fields=True):
    page: Annotated[int, msgspec.Meta(ge=1)] = 1
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    flag: bool | None = None
    word: Annotated[str, msgspec.Meta(max_length=5, description="A word.")] | None = None
    order: Order = Order.UP
    kind: Literal["a", "b"] | None = None


_waiting: dict[str, asyncio.Event] = {}


@post("/payload", opt={"scope": "write", "operation": Operation(summary="P", request=Payload)})
async def payload(request: ApiRequest) -> ASGIApp:
    body = await read_json(request, Payload)
    return json_response({"length": len(body.text), "number": body.number})


@post("/small", opt={"scope": "write", "operation": Operation(summary="S", request=Payload)})
async def small(request: ApiRequest) -> ASGIApp:
    return json_response({"length": len((await read_json(request, Payload, limit=LIMIT)).text)})


@get("/filter", opt={"scope": "read", "operation": Operation(summary="F", query=Filter)})
async def filtered(request: ApiRequest) -> ASGIApp:
    return json_response(read_query(request, Filter))


@get("/things/{name:str}", opt={"scope": "read", "operation": Operation(summary="T")})
async def thing(name: FromPath[str]) -> ASGIApp:
    return json_response({"name": name})


@get("/things/{name:str}/part", opt={"scope": "read", "operation": Operation(summary="R")})
async def part(name: FromPath[str]) -> ASGIApp:
    return json_response({"part of": name})


@get("/wait", opt={"scope": "read", "operation": Operation(summary="W")})
async def wait() -> ASGIApp:
    await _waiting["open"].wait()
    return json_response({"waited": True})


@get("/large", opt={"scope": "read", "operation": Operation(summary="B")})
async def large() -> ASGIApp:
    return json_response("x" * 20 * MIB)


ROUTER = Router("/v1", route_handlers=[payload, small, filtered, thing, part, wait, large])


@pytest.fixture
def api() -> Driver:
    return platform_app([ROUTER])


def code(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.json()["code"]


# --- bodies


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ('application/json;charset="UTF-8"', 200),
        ("APPLICATION/JSON", 200),
        ("application/vnd.api+json", 200),
        ("application/merge-patch+json; charset=utf8", 200),
        (None, 200),
        ("", 415),
        ("text/json", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/json; charset=latin-1", 415),
        ("application/json; charset=utf-16", 415),
        ("application/jsonp", 415),
        ("application/x-ndjson", 415),
        ("\xff\xfe", 415),
    ],
)
async def test_bodies_are_json_in_utf_8(api: Driver, content_type: str | None, status: int) -> None:
    headers = {"content-type": content_type}
    reply = await api.call("POST", "/v1/payload", b'{"text":"x"}', headers=headers)  # type: ignore[arg-type]
    assert reply.status == status
    if status == 415:
        assert (reply.json()["code"], reply.headers["accept"]) == (
            "unsupported_media_type",
            "application/json",
        )


HOSTILE = [
    b'{"text":"x","number":NaN}',
    b'{"text":"x","number":Infinity}',
    b'{"text":"x","number":1e400}',
    b'{"text":"x","number":' + b"9" * 5000 + b"}",
    b'{"text":"x","number":true}',
    b'{"text":"\\ud800"}',
    b'{"text":"\\u0000"}',
    b'\xef\xbb\xbf{"text":"x"}',
    b'{"text":"\xff"}',
    b"[" * 100_000,
    b'{"text":"x","text":"y"}',
    b'{"text":"x","SECRET":"SECRET"}',
    b'{"text":["SECRET"]}',
    b"SECRET",
    b"",
]


@pytest.mark.parametrize("body", HOSTILE, ids=lambda body: repr(body[:30]))
async def test_hostile_bodies_get_4xx_and_nothing_back(api: Driver, body: bytes) -> None:
    reply = await api.call("POST", "/v1/payload", body)
    assert reply.status in (400, 422)
    assert reply.headers["content-type"] == "application/problem+json"
    assert b"SECRET" not in reply.body
    if reply.status == 422:
        (error,) = reply.json()["errors"]
        assert error.keys() == {"loc", "pointer", "msg", "type"}


def body_of(size: int) -> bytes:
    return b'{"text":"' + b"x" * (size - 11) + b'"}'


@pytest.mark.parametrize("chunked", [False, True])
async def test_the_limit_is_exact(api: Driver, chunked: bool) -> None:
    for size, status in ((LIMIT, 200), (LIMIT + 1, 413)):
        body = body_of(size)
        headers = {} if chunked else {"content-length": str(size)}
        sent = [body[:500], body[500:]] if chunked else body
        reply = await api.call("POST", "/v1/small", sent, headers=headers)
        assert reply.status == status
    assert code(reply) == (413, "body_too_large")
    assert "1000 bytes" in reply.json()["detail"]


async def test_a_declared_size_is_refused_before_the_body_is_read(api: Driver) -> None:
    async def never() -> dict[str, Any]:
        raise AssertionError("the body was read")

    headers = {"content-length": str(16 * MIB + 1)}
    reply = await api.call("POST", "/v1/payload", headers=headers, receive=never)
    assert code(reply) == (413, "body_too_large")
    assert "16 MiB" in reply.json()["detail"]


async def test_no_more_is_read_than_the_limit(api: Driver) -> None:
    read = 0

    async def endless() -> dict[str, Any]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b" " * 400, "more_body": True}

    assert (await api.call("POST", "/v1/small", receive=endless)).status == 413
    assert read == 3


async def test_a_slow_body_is_a_408() -> None:
    api = platform_app([ROUTER], body_limits=BodyLimits(deadline_s=0.05))

    async def silent() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}

    reply = await api.call("POST", "/v1/payload", receive=silent)
    assert (*code(reply), reply.headers["connection"]) == (408, "body_too_slow", "close")


async def test_a_client_that_leaves_gets_no_answer(api: Driver) -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert (await api.call("POST", "/v1/payload", receive=gone)).status == 0


async def test_a_large_body_is_taken(api: Driver) -> None:
    reply = await api.call("POST", "/v1/payload", body_of(16 * MIB))
    assert reply.json()["length"] == 16 * MIB - 11
    assert (await api.call("POST", "/v1/payload", body_of(16 * MIB + 1))).status == 413


async def test_chunks_are_put_together(api: Driver) -> None:
    reply = await api.call("POST", "/v1/payload", [b'{"te', b"", b'xt":"\xc3', b'\xbc"}'])
    assert reply.json()["length"] == 1


# --- compressed bodies


def deflate(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


@pytest.mark.parametrize(
    ("body", "encoding", "expected"),
    [
        (deflate(b'{"text":"x"}'), "gzip", 200),
        (deflate(b'{"text":"x"}'), "GZIP", 200),
        (deflate(b'{"text":"x"}'), "x-gzip", 200),
        (b'{"text":"x"}', "identity", 200),
        (deflate(b'{"text":') + deflate(b'"x"}'), "gzip", 200),
        (b'{"text":"x"}', "gzip", 400),
        (b"", "gzip", 400),
        (deflate(b'{"text":"x"}')[:-1], "gzip", 400),
        (deflate(b'{"text":"x"}')[:12], "gzip", 400),
        (deflate(b'{"text":"x"}') + b"rest", "gzip", 400),
        (deflate(b'{"text":"x"}')[:-8] + b"\0" * 8, "gzip", 400),
        (deflate(b"") * 65, "gzip", 400),
        (zlib.compress(b'{"text":"x"}'), "deflate", 415),
        (b"", "br", 415),
        (deflate(b'{"text":"x"}'), "gzip, gzip", 415),
    ],
)
async def test_gzip_bodies(api: Driver, body: bytes, encoding: str, expected: int) -> None:
    reply = await api.call(
        "POST",
        "/v1/payload",
        body,
        headers={"content-encoding": encoding, "content-type": "application/json"},
    )
    assert reply.status == expected
    if expected == 415:
        assert reply.headers["accept-encoding"] == "gzip"


async def test_what_inflates_beyond_the_limit_is_refused(api: Driver) -> None:
    headers = {"content-encoding": "gzip"}
    assert (await api.call("POST", "/v1/small", deflate(body_of(LIMIT)), headers=headers)).status == 200
    assert (await api.call("POST", "/v1/small", deflate(body_of(LIMIT + 1)), headers=headers)).status == 413
    halves = [deflate(part) for part in (body_of(LIMIT + 1)[:600], body_of(LIMIT + 1)[600:])]
    assert (await api.call("POST", "/v1/small", b"".join(halves), headers=headers)).status == 413


async def test_a_bomb_costs_no_memory(api: Driver) -> None:
    bomb = deflate(b"\0" * (100 * MIB))
    assert len(bomb) < 110_000
    tracemalloc.start()
    try:
        reply = await api.call("POST", "/v1/payload", bomb, headers={"content-encoding": "gzip"})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert code(reply) == (413, "body_too_large")
    assert peak < 64 * MIB


def test_a_small_body_may_shrink_a_lot() -> None:
    assert len(inflate(deflate(b" " * 60_000), MIB)) == 60_000


# --- queries


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("page=7", {"page": 7}),
        ("share=0.5&flag=true", {"share": 0.5, "flag": True}),
        ("share=1e-1", {"share": 0.1}),
        ("share=1", {"share": 1}),
        ("flag=false", {"flag": False}),
        ("word=null", {"word": "null"}),
        ("word=", {"word": ""}),
        ("word=a%20b", {"word": "a b"}),
        ("word=a+b", {"word": "a b"}),
        ("word=%C3%BC", {"word": "ü"}),
        ("word=%2541", {"word": "%41"}),
        ("word=a%26b", {"word": "a&b"}),
        ("order=down&kind=b", {"order": "down", "kind": "b"}),
        ("&page=2&", {"page": 2}),
    ],
)
async def test_parameters_are_read(api: Driver, query: str, expected: dict[str, Any]) -> None:
    reply = await api.call("GET", f"/v1/filter?{query}")
    defaults = {"page": 1, "share": None, "flag": None, "word": None, "order": "up", "kind": None}
    assert (reply.status, reply.json()) == (200, defaults | expected)


@pytest.mark.parametrize(
    ("query", "loc", "kind"),
    [
        ("page=0", ["page"], "constraint"),
        ("page=", ["page"], "type_error"),
        ("page=x", ["page"], "type_error"),
        ("page=1.0", ["page"], "type_error"),
        ("page=+1", ["page"], "type_error"),
        ("page=%201", ["page"], "type_error"),
        ("page=1_0", ["page"], "type_error"),
        ("page=01", ["page"], "type_error"),
        ("page=null", ["page"], "type_error"),
        ("page=%D9%A1", ["page"], "type_error"),
        ("page=" + "9" * 5000, ["page"], "type_error"),
        ("share=nan", ["share"], "type_error"),
        ("share=inf", ["share"], "type_error"),
        ("share=1e400", ["share"], "type_error"),
        ("share=.5", ["share"], "type_error"),
        ("share=1,5", ["share"], "type_error"),
        ("share=1.5", ["share"], "constraint"),
        ("flag=1", ["flag"], "type_error"),
        ("flag=True", ["flag"], "type_error"),
        ("flag=yes", ["flag"], "type_error"),
        ("flag=", ["flag"], "type_error"),
        ("word=SECRET", ["word"], "constraint"),
        ("order=SECRET", ["order"], "unknown_value"),
        ("kind=SECRET", ["kind"], "unknown_value"),
        ("SECRET=1", [], "unknown_field"),
        ("page=1&page=1", ["page"], "duplicate_key"),
        ("page=1&page=2", ["page"], "duplicate_key"),
        ("word=%00", [], "invalid_character"),
        ("word=%FF", [], "value_error"),
        ("word=%ED%A0%80", [], "value_error"),
        ("&".join(f"a{i}=1" for i in range(200)), [], "value_error"),
    ],
    ids=lambda case: str(case)[:30],
)
async def test_wrong_parameters_are_refused(api: Driver, query: str, loc: list[str], kind: str) -> None:
    reply = await api.call("GET", f"/v1/filter?{query}")
    assert reply.status == 422
    (error,) = reply.json()["errors"]
    assert (error["loc"], error["type"]) == (loc, kind)
    assert b"SECRET" not in reply.body


async def test_a_call_without_parameters_takes_none(api: Driver) -> None:
    reply = await api.call("GET", "/v1/things/a?page=1")
    assert (*code(reply), reply.json()["errors"][0]["type"]) == (422, "validation_error", "unknown_field")
    assert (await api.call("GET", "/v1/things/a?")).status == 200
    assert (await api.call("POST", "/v1/payload?x=1", b'{"text":"x"}')).status == 422


# --- paths


@pytest.mark.parametrize(
    ("segment", "name"),
    [
        ("a", "a"),
        ("a%20b", "a b"),
        ("%C3%BC", "ü"),
        ("u%CC%88", "u\u0308"),
        ("%F0%9F%98%80", "\U0001f600"),
        ("%2541", "%41"),
        ("%25", "%"),
        ("a%252Fb", "a%2Fb"),
        (".", "."),
        ("..", ".."),
        ("%2E%2E", ".."),
        ("a.b", "a.b"),
        ("a;b=c", "a;b=c"),
        ("a%3Fb%23c", "a?b#c"),
        ("%5C", "\\"),
        ("part", "part"),
        ("%00", "\0"),
        ("a+b", "a+b"),
        ("{name}", "{name}"),
    ],
)
async def test_an_id_in_a_path_arrives_decoded_once(api: Driver, segment: str, name: str) -> None:
    reply = await api.call("GET", f"/v1/things/{segment}")
    assert (reply.status, reply.json()) == (200, {"name": name})
    reply = await api.call("GET", f"/v1/things/{segment}/part")
    assert (reply.status, reply.json()) == (200, {"part of": name})


@pytest.mark.parametrize(
    "path",
    [
        "/v1/things/a%2Fpart",
        "/v1/things/a%2fpart",
        "/v1/things/%2F",
        "/v1/things%2Fa",
        "/v1%2Fthings/a",
        "/v1/things/..%2Ffilter",
        "/v1/things//part",
        "/v1/things/",
        "/v1/things/a/",
        "/v1//things/a",
        "//v1/things/a",
        "/v1/things/%FF",
        "/v1/things/%C3",
        "/v1/things/%ED%A0%80",
        "/v1/things/a/b",
        "/V1/things/a",
        "/v1/things",
        "/",
        "/v1",
    ],
)
async def test_an_id_never_reaches_another_route(api: Driver, path: str) -> None:
    assert code(await api.call("GET", path)) == (404, "not_found")


# --- the wire


class Wire:
    """A raw connection to a running server."""

    def __init__(self, port: int) -> None:
        self._port = port

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def exchange(self, data: bytes, until: float = 5.0) -> bytes:
        """Sends bytes; returns all that comes back until the server closes the connection."""
        async with self.open() as (reader, writer), asyncio.timeout(until):
            writer.write(data)
            return await reader.read()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return int(head[0].split()[1]), headers, body


@pytest.fixture
async def wire_server(api: Driver) -> AsyncIterator[tuple[Wire, GracefulServer]]:
    limits = ConnectionLimits(header_deadline_s=0.3, leftover_deadline_s=0.3, answer_deadline_s=0.3)
    listener = listen("127.0.0.1", 0)
    ready = asyncio.Event()
    server = GracefulServer(api.app, Draining(), ready.set, StopTimes(notice_s=0.0, finish_s=5), limits)
    task = asyncio.create_task(server.serve([listener]))
    port = listener.getsockname()[1]
    async with asyncio.timeout(5):
        await ready.wait()
    yield Wire(port), server
    server.stop(0.0)
    await task


@pytest.fixture
def wire(wire_server: tuple[Wire, GracefulServer]) -> Wire:
    return wire_server[0]


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
async def test_a_slow_head_is_cut(wire: Wire, data: bytes) -> None:
    began = asyncio.get_running_loop().time()
    assert await wire.exchange(data) == b""
    assert asyncio.get_running_loop().time() - began < 3


async def test_dripping_bytes_do_not_buy_time(wire: Wire) -> None:
    async with wire.open() as (reader, writer):
        began = asyncio.get_running_loop().time()
        reading = asyncio.create_task(reader.read())
        for byte in b"GET / HTTP/1.1\r\nX-Slow: " + b"x" * 200:
            if reading.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        with suppress(ConnectionError):
            assert await reading == b""
        assert asyncio.get_running_loop().time() - began < 3


async def test_a_refused_body_is_answered_before_its_end_and_cut(wire: Wire) -> None:
    head = b"POST /v1/small HTTP/1.1\r\n" + AUTHORIZED + b"Content-Type: application/json\r\n"
    async with wire.open() as (reader, writer):
        writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
        reading = asyncio.create_task(read_answer(reader))
        for _ in range(200):
            if reading.done():
                break
            writer.write(b"400\r\n" + b" " * 1024 + b"\r\n")
            await asyncio.sleep(0.005)
        assert (await reading)[0] == 413
        async with asyncio.timeout(3):  # it is thrown away for a moment, then the connection ends
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


async def test_a_client_that_does_not_read_is_cut(wire: Wire) -> None:
    async with wire.open() as (reader, writer):
        writer.write(b"GET /v1/large HTTP/1.1\r\n" + AUTHORIZED + b"\r\n")
        await asyncio.sleep(1)
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
    _waiting["open"] = asyncio.Event()
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    draining = Draining()
    ready = asyncio.Event()
    server = GracefulServer(api.app, draining, ready.set, StopTimes(notice_s=0.0, finish_s=5))
    task = asyncio.create_task(server.serve([listener]))
    await ready.wait()
    async with Wire(port).open() as (reader, writer):
        writer.write(b"GET /v1/wait HTTP/1.1\r\n" + AUTHORIZED + b"\r\n")
        await asyncio.sleep(0.05)
        server.stop(0.0)
        await asyncio.sleep(0.3)
        assert not task.done()
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", port)
        _waiting["open"].set()
        status, headers, _ = await read_answer(reader)
        assert (status, headers["connection"]) == (200, "close")
        async with asyncio.timeout(3):
            await task


async def test_stopping_answers_who_has_just_connected(wire_server: tuple[Wire, GracefulServer]) -> None:
    wire, server = wire_server
    request = b"GET /v1/things/a HTTP/1.1\r\n" + AUTHORIZED + b"\r\n"
    async with wire.open() as fresh, wire.open() as begun, wire.open() as idle:
        begun[1].write(request[:20])
        idle[1].write(request)
        await read_answer(idle[0])
        await asyncio.sleep(0.05)
        server.stop(0.0)
        await asyncio.sleep(0.15)
        fresh[1].write(request)
        begun[1].write(request[20:])
        for reader, _ in (fresh, begun):
            status, headers, _ = await read_answer(reader)
            assert (status, headers["connection"]) == (200, "close")
        assert await idle[0].read() == b""


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
