"""The layer around every call: ids, traces, headers, the log line, figures, protection at the start."""

import asyncio
import io
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import structlog
from litestar import Request, Router, get, post, put
from litestar.params import FromPath
from litestar.types import ASGIApp

from chargewatch.server.db.errors import DatabaseUnavailable
from chargewatch.server.platform import metrics
from chargewatch.server.platform.authentication import accepts_json, bearer_token
from chargewatch.server.platform.health import Draining
from chargewatch.server.platform.http import ApiRequest, empty_response, json_response, read_json
from chargewatch.server.platform.logging import configure_logging
from chargewatch.server.platform.openapi import Operation
from chargewatch.server.platform.problems import Problem
from chargewatch.server.platform.request_body import ClientDisconnected
from chargewatch.server.platform.request_context import RequestContext, current_context
from tests.asgi_driver import KEYS, TENANT, Driver, FakeAuthenticator, platform_app
from tests.patience import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def log() -> Iterator[io.BytesIO]:
    stream = io.BytesIO()
    configure_logging("info", stream=stream)
    yield stream
    structlog.reset_defaults()


def lines(log: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


class Echo(msgspec.Struct, forbid_unknown_fields=True):
    text: str


class Boom(Exception):
    pass


def doing(summary: str, **more: Any) -> Operation:
    return Operation(summary=summary, **more)


@post("/echo", opt={"scope": "write", "operation": doing("Echo", request=Echo, response=Echo)})
async def echo(request: ApiRequest) -> ASGIApp:
    return json_response(await read_json(request, Echo))


@get("/things/{name:str}", opt={"scope": "read", "operation": doing("Thing")})
async def thing(request: ApiRequest, name: FromPath[str]) -> ASGIApp:
    return json_response({"name": name, "tenant": str(request.auth.tenant_id)}, headers={"ETag": '"7"'})


@put("/things/{name:str}", opt={"scope": "write", "operation": doing("Put")})
async def put_thing(name: FromPath[str]) -> ASGIApp:
    return empty_response(200)


@get("/admin", opt={"scope": "admin", "operation": doing("Admin")})
async def admin() -> ASGIApp:
    return json_response({})


@get("/fail/{how:str}", opt={"scope": "read", "operation": doing("Fail")})
async def fail(how: FromPath[str]) -> ASGIApp:
    raise {
        "boom": Boom("password=hunter2"),
        "value": ValueError("SELECT hunter2"),
        "database": DatabaseUnavailable("hunter2"),
        "problem": Problem(409, "conflict", "No."),
        "gone": ClientDisconnected(),
    }[how]


@get("/half", opt={"scope": "read", "operation": doing("Half")})
async def half(request: Request[Any, Any, Any]) -> ASGIApp:
    async def answer(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("in the middle")

    return answer


_gate: dict[str, asyncio.Event] = {}
_waiting: list[str] = []


@get("/wait", opt={"scope": "read", "operation": doing("Wait")})
async def wait() -> ASGIApp:
    _waiting.append("one more")
    await _gate["open"].wait()
    return json_response({})


ROUTER = Router(
    "/v1",
    route_handlers=[echo, thing, put_thing, admin, fail, half, wait],
    opt={"problems": {Boom: lambda _: Problem(412, "boom", "Boom.")}},
)


@pytest.fixture
def api(log: io.BytesIO) -> Driver:
    return platform_app([ROUTER])


# --- ids and traces


@pytest.mark.parametrize("sane", ["a", "A-Z.09_x", "x" * 128, "1.2.3"])
async def test_a_sane_request_id_is_kept(api: Driver, sane: str) -> None:
    reply = await api.call("GET", "/healthz", headers={"X-Request-Id": sane})
    assert reply.headers["x-request-id"] == sane


@pytest.mark.parametrize("odd", ["", "x" * 129, "a b", "a\tb", "ü", 'a"b', "a/b", "a\\b", "${x}", "a,b"])
async def test_an_odd_request_id_is_replaced(api: Driver, odd: str) -> None:
    reply = await api.call("GET", "/nothing", headers={"X-Request-Id": odd})
    assert re.fullmatch("[0-9a-f]{32}", reply.headers["x-request-id"])
    assert reply.json()["request_id"] == reply.headers["x-request-id"]


async def test_a_trace_goes_on(api: Driver) -> None:
    sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    reply = await api.call("GET", "/healthz", headers={"traceparent": sent})
    version, trace, span, flags = reply.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", "4bf92f3577b34da6a3ce929d0e0e4736", "01")
    assert re.fullmatch("[0-9a-f]{16}", span)
    assert span != "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "00-0-0-0",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
    ],
)
async def test_a_broken_trace_is_begun_anew(api: Driver, bad: str) -> None:
    reply = await api.call("GET", "/healthz", headers={"traceparent": bad})
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", reply.headers["traceparent"])
    assert "4bf92f35" not in reply.headers["traceparent"]


def test_a_later_version_of_traces_is_understood() -> None:
    header = b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-extra"
    assert RequestContext({b"traceparent": header}).traceparent.startswith(
        "00-4bf92f3577b34da6a3ce929d0e0e4736-"
    )


async def test_ids_differ_from_call_to_call(api: Driver) -> None:
    ids = {(await api.call("GET", "/healthz")).headers["x-request-id"] for _ in range(20)}
    assert len(ids) == 20


# --- every answer


EVERY_KIND = [
    ("GET", "/healthz", None, 200),
    ("GET", "/nothing", None, 404),
    ("GET", "/v1/things/a", "key-all", 200),
    ("GET", "/v1/things/a", None, 401),
    ("GET", "/v1/admin", "key-read", 403),
    ("GET", "/v1/nothing", None, 404),
    ("DELETE", "/v1/echo", "key-all", 405),
    ("GET", "/v1/things/a", "key-all", 406),
    ("POST", "/v1/echo", "key-all", 415),
    ("GET", "/v1/things/a?x=1", "key-all", 422),
    ("GET", "/v1/fail/value", "key-all", 500),
    ("GET", "/v1/fail/boom", "key-all", 412),
    ("GET", "/v1/fail/problem", "key-all", 409),
    ("GET", "/v1/fail/database", "key-all", 503),
    ("OPTIONS", "/v1/things/a", None, 204),
    ("HEAD", "/v1/things/a", "key-all", 200),
    ("BREW", "/v1/things/a", "key-all", 405),
]


@pytest.mark.parametrize(("method", "target", "key", "status"), EVERY_KIND)
async def test_every_answer_has_the_common_headers(
    api: Driver, method: str, target: str, key: str | None, status: int
) -> None:
    headers = {"accept": "text/html"} if status == 406 else {}
    headers |= {"content-type": "text/plain"} if status == 415 else {}
    reply = await api.call(method, target, b"x" if status == 415 else b"", key=key, headers=headers)
    assert reply.status == status
    assert reply.headers["x-request-id"]
    assert reply.headers["traceparent"]
    assert reply.headers.get("cache-control") == ("no-store" if target.startswith("/v1") else None)
    if status >= 400:
        assert reply.headers["content-type"] == "application/problem+json"
        body = reply.json()
        assert {"type", "title", "status", "detail", "instance", "request_id", "code"} <= body.keys()
        assert body["status"] == status
        assert body["request_id"] == reply.headers["x-request-id"]
        assert b"hunter2" not in reply.body
    if method != "HEAD":
        assert reply.headers.get("content-length", str(len(reply.body))) == str(len(reply.body))
    assert ("retry-after" in reply.headers) == (status == 503)
    assert ("allow" in reply.headers) == (status in (204, 405))


async def test_a_broken_off_answer_is_not_made_up(api: Driver, log: io.BytesIO) -> None:
    with pytest.raises(ValueError, match="in the middle"):
        await api.call("GET", "/v1/half")
    assert lines(log)[-1]["status"] == 200


async def test_a_client_that_left_gets_no_answer(api: Driver, log: io.BytesIO) -> None:
    assert (await api.call("GET", "/v1/fail/gone")).status == 0
    assert lines(log)[-1]["status"] == 499


async def test_head_is_get_without_the_body(api: Driver) -> None:
    reply = await api.call("GET", "/v1/things/a")
    head = await api.call("HEAD", "/v1/things/a")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(reply.body))
    assert head.headers["etag"] == '"7"'
    assert (await api.call("HEAD", "/v1/echo")).status == 405
    assert (await api.call("HEAD", "/nothing")).body == b""


async def test_options_lists_the_methods_of_an_address(api: Driver) -> None:
    reply = await api.call("OPTIONS", "/v1/things/a", key=None)
    assert (reply.status, reply.headers["allow"]) == (204, "GET, HEAD, OPTIONS, PUT")
    assert (await api.call("OPTIONS", "/nothing", key=None)).status == 404


# --- the log


async def test_a_call_leaves_one_line(api: Driver, log: io.BytesIO) -> None:
    await api.call(
        "GET", "/v1/things/secret-thing", headers={"X-Request-Id": "id-1", "cookie": "secret-cookie"}
    )
    (line,) = lines(log)
    assert set(line) == {
        "event",
        "method",
        "route",
        "status",
        "duration_ms",
        "tenant_id",
        "request_id",
        "trace_id",
        "level",
        "timestamp",
    }
    assert line["route"] == "/v1/things/{name}"
    assert (line["event"], line["method"], line["status"]) == ("request", "GET", 200)
    assert (line["tenant_id"], line["request_id"]) == (str(TENANT), "id-1")
    assert b"secret" not in log.getvalue()
    assert b"key-all" not in log.getvalue()


async def test_a_failure_is_logged_with_the_call_s_ids(api: Driver, log: io.BytesIO) -> None:
    reply = await api.call("GET", "/v1/fail/value", headers={"X-Request-Id": "id-2"})
    assert reply.status == 500
    failure, line = lines(log)
    assert (failure["event"], failure["level"], failure["request_id"]) == ("request_failed", "error", "id-2")
    assert "ValueError" in failure["exception"]
    assert line["status"] == 500


async def test_an_outage_is_logged_without_a_traceback(api: Driver, log: io.BytesIO) -> None:
    await api.call("GET", "/v1/fail/database")
    outage, line = lines(log)
    assert (outage["event"], outage["level"], outage["reason"]) == (
        "database_unavailable",
        "warning",
        "hunter2",
    )
    assert "exception" not in outage
    assert line["status"] == 503


async def test_unknown_addresses_are_no_routes(api: Driver, log: io.BytesIO) -> None:
    await api.call("GET", "/v1/" + "x" * 50)
    await api.call("BREW", "/v1/echo")
    assert [line["route"] for line in lines(log)] == ["unmatched", "unmatched"]


async def test_there_is_no_context_outside_of_calls() -> None:
    assert current_context() is None


# --- figures


async def test_calls_are_counted_by_route(api: Driver) -> None:
    def count(labels: str) -> float:
        found = re.search(
            rf"^chargewatch_http_requests_total{{{re.escape(labels)}}} (\S+)$",
            metrics.render().decode(),
            re.MULTILINE,
        )
        return float(found[1]) if found else 0.0

    labels = 'method="GET",route="/v1/things/{name}",status_class="2xx"'
    before = count(labels)
    for name in ("a", "b", "c"):
        await api.call("GET", f"/v1/things/{name}")
    assert count(labels) == before + 3
    other = 'method="OTHER",route="unmatched",status_class="4xx"'
    before = count(other)
    await api.call("BREW", "/v1/echo")
    assert count(other) == before + 1


async def test_the_figures_are_well_formed(api: Driver) -> None:
    reply = await api.call("GET", "/metrics", key=None)
    assert reply.status == 200
    text = reply.body.decode()
    names = set(re.findall(r"^# TYPE (\S+) \S+$", text, re.MULTILINE))
    ours = {name for name in names if name.startswith("chargewatch_")}
    assert {
        "chargewatch_http_requests_total",
        "chargewatch_readings_total",
        "chargewatch_anomalies_total",
    } <= ours
    assert all(re.fullmatch(r"[a-z_]+", name) for name in ours)
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", text), "no ids as labels"
    for name in ours:
        assert re.search(rf"^# HELP {name} [A-Z].*\.$", text, re.MULTILINE), name


# --- who may


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer unknown",
        "Basic a2V5LWFsbA==",
        "key-all",
        "Bearerkey-all",
        "Bearer key-all key-all",
        "Bearer key-äll",
        "Bearer\tkey-all",
    ],
)
async def test_without_a_good_key_all_answers_are_alike(api: Driver, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    reply = await api.call("GET", "/v1/things/a", key=None, headers={**headers, "X-Request-Id": "r"})
    assert reply.status == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.body == (await api.call("GET", "/v1/admin", key=None, headers={"X-Request-Id": "r"})).body


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
async def test_the_scheme_s_case_does_not_matter(api: Driver, scheme: str) -> None:
    reply = await api.call("GET", "/v1/things/a", headers={"authorization": f"{scheme} key-all"})
    assert reply.json()["tenant"] == str(TENANT)


async def test_each_scope_stands_for_itself(api: Driver) -> None:
    wanted = {
        ("GET", "/v1/things/a"): "read",
        ("PUT", "/v1/things/a"): "write",
        ("GET", "/v1/admin"): "admin",
    }
    for (method, target), scope in wanted.items():
        for key, principal in KEYS.items():
            reply = await api.call(method, target, key=key)
            assert reply.status == (200 if scope in principal.scopes else 403), (target, key)
            if reply.status == 403:
                assert reply.json()["code"] == "insufficient_scope"
                assert f'scope="{scope}"' in reply.headers["www-authenticate"]


async def test_open_routes_ask_for_no_key(log: io.BytesIO) -> None:
    authenticator = FakeAuthenticator()
    api = platform_app([ROUTER], authenticator=authenticator)
    for target in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
        assert (await api.call("GET", target, key=None)).status == 200
    assert authenticator.asked == 0


@pytest.mark.parametrize("prefix", ["/v1", "/ocpi"])
def test_a_route_without_a_scope_does_not_start(prefix: str) -> None:
    @get("/open", opt={"operation": doing("Open")})
    async def open_route() -> ASGIApp:
        return json_response({})

    with pytest.raises(RuntimeError, match=rf"{prefix}/open \(open_route\) names no scope"):
        platform_app([Router(prefix, route_handlers=[open_route])])


def test_a_route_with_a_made_up_scope_does_not_start() -> None:
    @get("/open", opt={"scope": "everything", "operation": doing("Open")})
    async def open_route() -> ASGIApp:
        return json_response({})

    with pytest.raises(RuntimeError, match="names no scope"):
        platform_app([Router("/v1", route_handlers=[open_route])])


def test_a_route_beside_the_gate_does_not_start() -> None:
    async def mine(_request: Request[Any, Any, Any]) -> None:
        return None

    @get("/open", opt={"scope": "read", "operation": doing("Open")})
    async def open_route() -> ASGIApp:
        return json_response({})

    with pytest.raises(RuntimeError, match="before_request of its own"):
        platform_app([Router("/v1", route_handlers=[open_route], before_request=mine)])


def test_tokens_are_read_as_sent() -> None:
    assert bearer_token(b"Bearer abc") == "abc"
    assert bearer_token(b"bearer   abc ") == "abc"
    assert bearer_token(b"Bearer \xff") == ""
    assert bearer_token(None) == ""


@pytest.mark.parametrize(
    ("accept", "fits"),
    [
        ("*/*", True),
        ("application/json", True),
        ("application/*", True),
        ("APPLICATION/JSON;q=0.1", True),
        ("text/html, */*;q=0.1", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("application/json;charset=utf-8", True),
        ("application/json;q=oops", True),
        ("text/html", False),
        ("application/problem+json", False),
        ("application/json;q=0", False),
        ("*/*;q=0", False),
        ("application/json;q=0, */*", False),
        ("", False),
    ],
)
def test_accept(accept: str, fits: bool) -> None:
    assert accepts_json(accept.encode()) is fits


# --- load and stopping


async def test_too_many_calls_at_once_are_asked_to_come_back(log: io.BytesIO) -> None:
    api = platform_app([ROUTER], most_in_flight=2)
    _gate["open"] = asyncio.Event()
    _waiting.clear()
    waiting = [asyncio.create_task(api.call("GET", "/v1/wait")) for _ in range(2)]
    await until(lambda: len(_waiting) == 2)
    reply = await api.call("GET", "/v1/things/a")
    assert (reply.status, reply.json()["code"], reply.headers["retry-after"]) == (503, "overloaded", "1")
    assert (await api.call("GET", "/healthz")).status == 200
    _gate["open"].set()
    assert [(await task).status for task in waiting] == [200, 200]
    assert (await api.call("GET", "/v1/things/a")).status == 200


async def test_a_stopping_process_sends_clients_away(log: io.BytesIO) -> None:
    draining = Draining()
    api = platform_app([ROUTER], draining=draining, checks={"draining": draining.check})
    reply = await api.call("GET", "/v1/things/a")
    assert "connection" not in reply.headers
    assert (await api.call("GET", "/readyz")).status == 200
    draining.begin()
    reply = await api.call("GET", "/v1/things/a")
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    reply = await api.call("GET", "/readyz")
    assert (reply.status, reply.json()["checks"]) == (503, {"draining": "the process is stopping"})


async def test_readiness_names_what_fails_in_time(log: io.BytesIO) -> None:
    asked = 0

    async def well() -> str | None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return None

    async def down() -> str | None:
        raise DatabaseUnavailable("host=10.0.0.1 password=hunter2")

    async def broken() -> str | None:
        raise ValueError("hunter2")

    async def hanging() -> str | None:
        await asyncio.sleep(60)
        return None

    api = platform_app([], checks={"well": well, "down": down, "broken": broken, "hanging": hanging})
    replies = await asyncio.gather(*(api.call("GET", "/readyz", key=None) for _ in range(5)))
    assert asked == 1, "however many ask, the checks run once"
    for reply in replies:
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert reply.json()["checks"] == {
            "well": "ok",
            "down": "no answer",
            "broken": "no answer",
            "hanging": "no answer within 0.05 seconds",
        }
        assert b"hunter2" not in reply.body


async def test_the_way_to_a_handler_costs_little(log: io.BytesIO) -> None:
    api = platform_app([ROUTER])
    body = b'{"text":"x"}'

    async def microseconds(rounds: int = 200) -> float:
        began = time.process_time()
        for _ in range(rounds):
            await api.call("POST", "/v1/echo", body)
        return (time.process_time() - began) / rounds * 1e6

    best_us = min([await microseconds() for _ in range(10)])
    print(f"framework, platform and driver around a handler: {best_us:.0f} µs")
    assert best_us < 1000  # 150 µs on an idle machine; the bound leaves room for a busy, slower one
