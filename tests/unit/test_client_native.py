"""What the client sends in the words of OCPP and OCPI, and how it reads OCPI's errors."""

import base64
import json
from decimal import Decimal
from typing import Any

import httpx
import pytest

from chargewatch.client import ApiError, NotFound, Unauthorized
from tests.scripted_api import KEY, STATE, Course, answer

FRAME = '[2,"19","MeterValues",{"connectorId":1,"meterValue":[{"sampledValue":[{"value":11.10}]}]}]'
ANSWER = {"accepted": 1, "ignored": 0, "refused": 0, "messages": [], "sessions": []}
STORED = {
    "data": STATE,
    "status_code": 1000,
    "status_message": "Success",
    "timestamp": "2026-02-27T10:00:00Z",
}


def sent_frames(*messages: Any, **options: Any) -> httpx.Request:
    course = Course([answer(200, ANSWER)], lambda c: c.push_ocpp("CP 1", messages, **options))
    assert course.result.accepted == 1
    (request,) = course.requests
    assert request.url.raw_path == b"/v1/ocpp/CP%201"
    return request


@pytest.mark.parametrize("frame", [FRAME, FRAME.encode()])
def test_frames_go_out_as_they_were_received(frame: str | bytes) -> None:
    assert sent_frames(frame, frame).content == f'{{"messages":[{FRAME},{FRAME}]}}'.encode()


def test_frames_as_objects_and_a_protocol() -> None:
    logged = {"action": "Heartbeat", "payload": {"n": Decimal("1.50")}}
    body = json.loads(sent_frames([2, "1", "Heartbeat", {}], logged, protocol="ocpp1.6").content)
    assert body == {
        "messages": [[2, "1", "Heartbeat", {}], {"action": "Heartbeat", "payload": {"n": "1.50"}}],
        "protocol": "ocpp1.6",
    }


@pytest.mark.parametrize("broken", ['[2,"19","Met', "", b"\xff[]", "[1] [2]", "nonsense"])
def test_a_frame_that_is_no_json_does_not_spoil_its_neighbours(broken: str | bytes) -> None:
    first, second = json.loads(sent_frames(broken, FRAME).content)["messages"]
    assert first == (broken if isinstance(broken, str) else broken.decode(errors="replace"))
    assert second == json.loads(FRAME)


def test_ocpi_calls_send_their_own_kind_of_key() -> None:
    session = {"start_date_time": "2026-02-27T10:00:00Z", "kwh": Decimal("11.100")}
    for method in ("put_ocpi_session", "patch_ocpi_session"):
        course = Course(
            [answer(200, STORED)],
            lambda c, m=method: getattr(c, m)("NL", "TNM", "a b", session, correlation_id="c-1"),
        )
        (request,) = course.requests
        assert (request.method, request.url.raw_path) == (
            method[: method.index("_")].upper(),
            b"/ocpi/2.2.1/sessions/NL/TNM/a%20b",
        )
        assert request.headers["Authorization"] == "Token " + base64.b64encode(KEY.encode()).decode()
        assert request.headers["X-Correlation-ID"] == "c-1"
        assert json.loads(request.content) == session | {"kwh": "11.100"}
        assert course.result.data.session_id == STATE["session_id"]


def test_the_energy_of_a_session_object_keeps_its_digits() -> None:
    names = ("country_code", "party_id", "id", "status")
    empty = ("start_date_time", "end_date_time", "location_id", "evse_uid", "connector_id")
    data = dict.fromkeys(names, "x") | dict.fromkeys(empty) | {"last_updated": "2026-02-27T10:00:00Z"}
    text = json.dumps(STORED | {"data": data | {"kwh": 0}}).replace('"kwh": 0', '"kwh": 11.100')
    course = Course([httpx.Response(200, text=text)], lambda c: c.get_ocpi_session("NL", "TNM", "s"))
    assert str(course.result.data.kwh) == "11.100"


@pytest.mark.parametrize(("status", "kind"), [(400, ApiError), (401, Unauthorized), (404, NotFound)])
def test_errors_in_ocpis_envelope(status: int, kind: type[ApiError]) -> None:
    body = {"data": None, "status_code": 2001, "status_message": "kwh: must be a number", "timestamp": "t"}
    course = Course(
        [answer(status, body, X_Request_Id="r-7")], lambda c: c.get_ocpi_session("NL", "TNM", "s")
    )
    error = course.error
    assert type(error) is kind
    assert (error.status, error.code, error.detail) == (status, "ocpi_2001", "kwh: must be a number")
    assert (error.request_id, error.problem["status_code"]) == ("r-7", 2001)
