"""The checks of answers find what they are for."""

import json
from typing import Any

import pytest

from tests.hostile.api_document import Call
from tests.hostile.attacks import Attack
from tests.hostile.connection import Reply
from tests.hostile.sweep import same_class
from tests.hostile.verdicts import PROBLEM, faults_of, log_faults

DOCUMENT = {
    "paths": {"/v1/things": {"post": {"responses": {"200": {}, "422": {}, "503": {}}}}},
    "components": {},
}
CALL = Call(DOCUMENT, "post", "/v1/things")
ATTACK = Attack("text", "", b"POST", b"/v1/things", canary=b"cnry000001", refused=True)
ERROR = {"loc": ["a"], "pointer": "/a", "msg": "m", "type": "t"}
REFUSAL: dict[str, Any] = {
    "type": "urn:x",
    "title": "X",
    "status": 422,
    "detail": "d",
    "instance": "urn:y",
    "request_id": "r1",
    "code": "c",
    "errors": [ERROR],
}


def reply(status: int = 422, document: object = REFUSAL, **headers: str) -> Reply:
    fields = {"content-type": PROBLEM, "x-request-id": "r1"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return Reply(status, list(fields.items()), json.dumps(document).encode())


def test_a_right_refusal_has_no_fault() -> None:
    assert list(faults_of(CALL, ATTACK, reply())) == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (reply(500, REFUSAL | {"status": 500}), "answered 500"),
        (reply(503, REFUSAL | {"status": 503}), "answered 503"),
        (reply(418, REFUSAL | {"status": 418}), "does not name"),
        (reply(404, REFUSAL | {"status": 404}), "does not name"),
        (reply(200, {}), "accepted with 200"),
        (reply(x_request_id=""), "no X-Request-Id"),
        (reply(422, REFUSAL | {"detail": "cnry000001"}), "repeats what was sent"),
        (reply(allow="cnry000001"), "header of the refusal repeats"),
        (reply(x_injected="yes"), "injected"),
        (reply(422, REFUSAL | {"detail": 'File "x.py"'}), "innards"),
        (reply(content_type="text/plain"), "text/plain"),
        (reply(422, {name: REFUSAL[name] for name in REFUSAL if name != "code"}), "without code"),
        (reply(422, REFUSAL | {"status": 400}), "another status"),
        (reply(422, REFUSAL | {"request_id": "r2"}), "another status or id"),
        (reply(422, REFUSAL | {"errors": []}), "without errors"),
        (reply(422, REFUSAL | {"errors": [{"loc": []}]}), "without loc"),
        (reply()._replace(body=b"{"), "not JSON"),
    ],
)
def test_each_fault_is_found(answer: Reply, said: str) -> None:
    assert any(said in fault for fault in faults_of(CALL, ATTACK, answer))


def test_another_address_may_be_unknown() -> None:
    answer = reply(404, REFUSAL | {"status": 404})
    assert list(faults_of(CALL, ATTACK._replace(elsewhere=True), answer)) == []


def test_faults_of_a_log() -> None:
    assert list(log_faults(b'{"event":"request","request_id":"cnry1","level":"info"}\n', b"cnry")) == []
    for line, said in (
        (b"Traceback", "not JSON"),
        (b'{"event":"cnry1"}', "repeats"),
        (b'{"event":"x","level":"error"}', "is an error"),
    ):
        assert [said in fault for fault in log_faults(line, b"cnry")] == [True]


def test_a_slower_class_of_calls_is_told_from_noise() -> None:
    noise = [0.0030 + 0.0001 * (number % 7) for number in range(40)]
    assert same_class(noise, list(reversed(noise)))
    assert same_class([*noise[:30], *([0.2] * 10)], noise)  # a busy moment
    assert not same_class([seconds + 0.002 for seconds in noise], noise)
    assert not same_class(noise, [seconds + 0.002 for seconds in noise])
