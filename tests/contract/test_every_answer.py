"""Every route, every kind of refusal: common headers, one shape of errors, nothing of what was sent (H2, H14)."""

import re
from typing import Any

import httpx
import msgspec
import pytest

from chargewatch.server.app import ROUTERS
from chargewatch.server.platform.openapi import build_document, routes_of
from chargewatch.server.tenants.service import NewKey
from tests.asgi_driver import platform_app
from tests.contract.conftest import client_of

pytestmark = pytest.mark.anyio

CANARY = "cAnArY-7391"
METHODS = ("get", "put", "post", "delete", "patch")
#: What a call without a key, on nothing, or with a faulty body may be answered.
REFUSALS = {400, 401, 403, 404, 405, 406, 409, 412, 413, 415, 422}


def _calls() -> list[tuple[str, str, bool]]:
    """Method and path of every documented call, and whether it takes a body."""
    app = platform_app(ROUTERS).app
    document = msgspec.to_builtins(build_document(routes_of(app)))
    return [
        (method.upper(), path, "requestBody" in item[method])
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]


CALLS = _calls()
WITH_BODY = [(method, path) for method, path, has_body in CALLS if has_body]


def address(path: str, name: str = "nobody") -> str:
    return re.sub(r"\{[^}]+\}", name, path)


def check(answer: httpx.Response, path: str) -> None:
    """What holds for every answer."""
    assert answer.status_code < 500, answer.text
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", answer.headers["x-request-id"])
    assert answer.headers["traceparent"]
    if path.startswith(("/v1", "/ocpi")):
        assert answer.headers["cache-control"] == "no-store"
    if answer.status_code >= 400 and path.startswith("/ocpi"):
        assert answer.headers["content-type"] == "application/json"
        assert answer.request.method == "HEAD" or answer.json()["status_code"] >= 2000
    elif answer.status_code >= 400 and answer.request.method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert {"type", "title", "status", "detail", "instance", "request_id", "code"} <= problem.keys()
        assert problem["status"] == answer.status_code
        assert problem["request_id"] == answer.headers["x-request-id"]
        if answer.status_code == 422:
            assert all(error.keys() == {"loc", "pointer", "msg", "type"} for error in problem["errors"])
    said = answer.text + repr(answer.headers)
    assert answer.status_code == 200 or CANARY not in said
    assert "Traceback" not in said
    assert "SELECT" not in said


def test_there_is_something_to_sweep() -> None:
    assert len(CALLS) > 10
    assert len(WITH_BODY) >= 3
    assert ("POST", "/v1/sessions") in WITH_BODY


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in CALLS])
async def test_every_route_answers_with_the_common_headers(
    transport: httpx.ASGITransport, two_tenants: tuple[NewKey, NewKey], method: str, path: str
) -> None:
    key = two_tenants[0].api_key.reveal()
    for caller in (None, f"cw_{CANARY}", key):
        async with client_of(transport, caller) as client:
            for target in (address(path), address(path, "%C3%BC"), address(path) + f"?{CANARY}={CANARY}"):
                for verb in (method, "HEAD", "OPTIONS", "BREW"):
                    answer = await client.request(verb, target)
                    check(answer, path)
                    if caller != key and path.startswith("/v1") and verb == method:
                        assert answer.status_code == 401


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1", "/v1/", "/v1/nothing", "/ocpi/2.2.1/nothing", "/v1/sessions//x", "/v1/%2F"]
)
async def test_addresses_of_nothing_answer_alike(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(path)
    assert answer.status_code == 404
    check(answer, path)


def spoiled(value: bytes) -> list[bytes]:
    """Bodies with a faulty value where readings have theirs, where times are, as metadata, and as a whole."""
    reading = b'{"timestamp":"2026-02-27T10:00:00Z","value":1}'
    return [
        value,
        b'{"session_id":' + value + b',"charging_station_id":"CP-1"}',
        b'{"session_id":"s","charging_station_id":"CP-1","metadata":{"x":' + value + b"}}",
        b'{"session_id":"s","charging_station_id":"CP-1","' + CANARY.encode() + b'":' + value + b"}",
        b'{"session_id":"s","charging_station_id":"CP-1","meter_values":[' + reading + b"," + value + b"]}",
        b'{"meter_values":[' + reading.replace(b"1}", value + b"}") + b"]}",
        b'{"meter_values":[' + reading.replace(b'"2026-02-27T10:00:00Z"', value) + b"]}",
        b'{"meter_values":[{"timestamp":"2026-02-27T10:00:00Z","value":1,"unit":' + value + b"}]}",
    ]


TEXT = b'"' + CANARY.encode()
#: Each is wrong wherever it stands.
FAULTS: dict[str, bytes] = {
    "NaN": b"NaN",
    "Infinity": b"[-Infinity]",
    "beyond float64": b"1e400",
    "half a surrogate pair": TEXT + b'\\ud800"',
    "NUL": TEXT + b'\\u0000"',
    "bad UTF-8": TEXT + b'\xff"',
    "5000 digits": b"7" * 5000,
    "deep": b"[" * 100_000,
    "deep and closed": b"[" * 100_000 + b"]" * 100_000,
    "a name twice": b'{"' + CANARY.encode() + b'":1,"' + CANARY.encode() + b'":2}',
    "no end": TEXT,
    "no JSON": CANARY.encode(),
    "control character": TEXT + b'\n"',
    "true": b"true",
    "a naive time": b'"2026-02-27 ' + CANARY.encode() + b'"',
    "an epoch": b"1772186400",
    "a comma": b'"1,5' + CANARY.encode() + b'"',
    "a list": b"[[" + TEXT + b'"]]',
}


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
@pytest.mark.parametrize("fault", FAULTS)
async def test_no_faulty_body_comes_back(api: httpx.AsyncClient, method: str, path: str, fault: str) -> None:
    headers = {"Content-Type": "application/json"}
    for body in spoiled(FAULTS[fault]):
        for content in (body, b"\xef\xbb\xbf" + body, body + b" " * 70_000):
            answer = await api.request(method, address(path), content=content, headers=headers)
            check(answer, path)
            assert answer.status_code in REFUSALS | {200}
    outer = await api.request(method, address(path), content=FAULTS[fault], headers=headers)
    if fault != "a list":  # which OCPP's frames come in, each with an answer of its own
        assert outer.status_code in REFUSALS, "a fault as the whole body is never taken"


async def test_a_problem_can_always_be_encoded(api: httpx.AsyncClient) -> None:
    odd: list[Any] = ["\U0001f600", "\x7f", "\u2028", "é" * 300, "", ".", "..", " x"]
    for name in odd:
        body = {"session_id": name, "charging_station_id": "CP-1"}
        answer = await api.post("/v1/sessions", json=body)
        check(answer, "/v1/sessions")
        assert answer.content.decode("utf-8")
