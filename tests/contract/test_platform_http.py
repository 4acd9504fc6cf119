"""Bodies, queries and paths: what all calls promise, whichever slice answers (H2, H10, H14)."""

import asyncio
import gzip
import tracemalloc
import zlib
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from litestar import Router, get, post
from litestar.params import FromPath
from litestar.types import ASGIApp

from chargewatch.server.platform.body_memory import BodyLimits
from chargewatch.server.platform.http import ApiRequest, json_response, read_json, read_query
from chargewatch.server.platform.openapi import Operation
from chargewatch.server.platform.request_body import inflate
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


waiting: dict[str, asyncio.Event] = {}


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
    waiting["reached"].set()
    await waiting["open"].wait()
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
