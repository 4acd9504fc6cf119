"""OCPP frames over HTTP: what becomes of each, for two tenants."""

import gzip
import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.ocpp_frames import (
    answer16,
    clock,
    event201,
    meter_value,
    register201,
    session16,
    start16,
    stop16,
    values16,
)

pytestmark = pytest.mark.anyio


def new_station() -> str:
    return f"CP-{uuid4().hex[:8]}"


async def push(api: httpx.AsyncClient, station: str, body: object, status: int = 200) -> Any:
    answer = await api.post(f"/v1/ocpp/{station}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def detail(api: httpx.AsyncClient, session: str) -> Any:
    answer = await api.get(f"/v1/sessions/{session}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_transaction_of_ocpp_16_becomes_a_judged_session(api: httpx.AsyncClient) -> None:
    station = new_station()
    answer = await push(api, station, session16(17))
    assert (answer["accepted"], answer["ignored"], answer["refused"]) == (6, 0, 0)
    assert [m["result"] for m in answer["messages"]] == ["accepted"] * 6
    assert answer["messages"][0]["sessions"] == []
    assert all(m["sessions"] == [f"{station}:17"] for m in answer["messages"][1:])
    (state,) = answer["sessions"]
    assert (state["session_id"], state["status"], state["is_anomaly"]) == (f"{station}:17", "active", False)
    assert (state["energy_kwh"], state["energy_source"], state["data_quality"]) == (4.0, "register", [])
    session = await detail(api, f"{station}:17")
    assert (session["charging_station_id"], session["evse_id"], session["connector_id"]) == (
        station,
        None,
        "1",
    )
    assert (session["started_at"], session["ended_at"]) == (clock(0), clock(40))
    assert (session["stop_reason"], session["metadata"]) == ("Local", {"ocpp": {"transaction_id": "17"}})
    assert [(m["value"], m["context"]) for m in session["meter_values"]] == [
        (1000, "Transaction.Begin"),
        (2000, "Sample.Periodic"),
        (3000, "Sample.Periodic"),
        (4000, "Sample.Periodic"),
        (5000, "Transaction.End"),
    ]


async def test_the_same_frames_again_change_nothing(api: httpx.AsyncClient) -> None:
    station = new_station()
    first = await push(api, station, session16(17))
    again = await push(api, station, session16(17))
    assert again["sessions"] == first["sessions"]
    assert {m["result"] for m in again["messages"]} == {"accepted"}
    for frame in session16(17):
        await push(api, station, frame)
    assert (await detail(api, f"{station}:17"))["version"] == 1


async def test_frame_by_frame_and_all_at_once_are_the_same(api: httpx.AsyncClient) -> None:
    one, other = new_station(), new_station()
    for frame in session16(17):
        await push(api, one, frame)
    await push(api, other, session16(17))
    a, b = await detail(api, f"{one}:17"), await detail(api, f"{other}:17")
    same = (
        "meter_values",
        "started_at",
        "ended_at",
        "stop_reason",
        "connector_id",
        "energy_kwh",
        "data_quality",
    )
    assert [a[name] for name in same] == [b[name] for name in same]


async def test_a_transaction_of_ocpp_201(api: httpx.AsyncClient) -> None:
    station = new_station()
    body = [
        event201("Started", 0, "tx-1", meter_value(0, register201(0)), evse={"id": 2, "connectorId": 1}),
        event201("Updated", 10, "tx-1", meter_value(10, register201(1.5, "kWh"))),
        event201("Updated", 20, "tx-1", meter_value(20, register201(3.0, "Wh", multiplier=3))),
        event201("Ended", 30, "tx-1", meter_value(30, register201(4500)), stoppedReason="EVDisconnected"),
    ]
    answer = await push(api, station, body)
    assert answer["accepted"] == 4
    assert answer["sessions"][0]["energy_kwh"] == 4.5
    session = await detail(api, f"{station}:tx-1")
    assert (session["evse_id"], session["connector_id"]) == ("2", "1")
    assert (session["started_at"], session["ended_at"]) == (clock(0), clock(30))
    assert session["stop_reason"] == "EVDisconnected"
    assert [m["value"] for m in session["meter_values"]] == [0, 1.5, 3000, 4500]


async def test_a_fall_of_the_register_is_found(api: httpx.AsyncClient) -> None:
    station = new_station()
    frames = [values16(f"m{i}", 10 * i, wh, 5) for i, wh in enumerate([5000, 8000, 11000, 3000, 6000])]
    answer = await push(api, station, frames)
    (state,) = answer["sessions"]
    assert state["is_anomaly"] is True
    assert [a["category"] for a in state["anomalies"]] == ["KWH_DECREASE"]


async def test_a_faulty_message_does_not_refuse_its_neighbours(api: httpx.AsyncClient) -> None:
    station = new_station()
    body = {
        "protocol": "ocpp1.6",
        "messages": [
            values16("a", 0, 1000, 3),
            values16("b", 10, "1,5", 3),
            [2, "c", "Heartbeat", {}],
            {"action": "MeterValues", "payload": values16("d", 20, 3000, 3)[3], "message_id": "d"},
            "nonsense",
            [2, "e", "StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": "Available"}],
        ],
    }
    answer = await push(api, station, body)
    assert (answer["accepted"], answer["ignored"], answer["refused"]) == (3, 1, 2)
    refused = answer["messages"][1]
    assert (refused["index"], refused["message_id"], refused["action"]) == (1, "b", "MeterValues")
    assert (refused["result"], refused["code"]) == ("refused", "value_error")
    assert refused["pointer"] == "/messages/1/3/meterValue/0/sampledValue/0/value"
    assert "decimal point" in refused["reason"]
    assert answer["messages"][2]["reason"] == "says nothing about a session"
    assert answer["messages"][4] == {
        "index": 4,
        "message_id": None,
        "action": None,
        "result": "refused",
        "reason": "must be a frame: [2, id, action, payload]",
        "code": "not_a_frame",
        "pointer": "/messages/4",
        "sessions": [],
    }
    assert answer["messages"][5]["reason"] == "a status begins and ends no session"
    assert [m["value"] for m in (await detail(api, f"{station}:3"))["meter_values"]] == [1000, 3000]


async def test_one_bare_message_that_is_broken_is_refused(api: httpx.AsyncClient) -> None:
    problem = await push(api, new_station(), values16("b", 10, "", 3), 422)
    assert problem["errors"][0]["loc"] == [3, "meterValue", 0, "sampledValue", 0, "value"]
    assert problem["errors"][0]["pointer"] == "/3/meterValue/0/sampledValue/0/value"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ([], 422, "validation_error"),
        ({}, 422, "validation_error"),
        (7, 422, "validation_error"),
        ("text", 422, "validation_error"),
        ({"messages": []}, 422, "validation_error"),
        ({"messages": {}}, 422, "validation_error"),
        ({"messages": [[2, "a", "Heartbeat", {}]], "protocol": "ocpp1.5"}, 422, "validation_error"),
        ({"messages": [[2, "a", "Heartbeat", {}]], "protocol": 7}, 422, "validation_error"),
        ({"messages": [[2, "a", "Heartbeat", {}]], "station": "x"}, 422, "validation_error"),
        ([2], 422, "validation_error"),
        ([9, "a", "Heartbeat", {}], 422, "validation_error"),
        ([[2, "a", "Heartbeat", {}]] * 10_001, 413, "too_many_messages"),
    ],
)
async def test_another_outer_shape_is_refused(
    api: httpx.AsyncClient, body: object, status: int, code: str
) -> None:
    assert (await push(api, new_station(), body, status))["code"] == code


async def test_ten_thousand_messages_are_taken(api: httpx.AsyncClient) -> None:
    answer = await push(api, new_station(), [[2, "a", "Heartbeat", {}]] * 10_000)
    assert answer["ignored"] == 10_000


async def test_gzip_and_what_is_no_json(api: httpx.AsyncClient) -> None:
    path = f"/v1/ocpp/{new_station()}"
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    packed = gzip.compress(json.dumps(values16("m", 0, 1000, 3)).encode())
    assert (await api.post(path, content=packed, headers=headers)).json()["accepted"] == 1
    assert (
        await api.post(path, content=b"[2,", headers={"Content-Type": "application/json"})
    ).status_code == 400


async def test_a_start_waits_for_its_answer_in_a_later_post(api: httpx.AsyncClient) -> None:
    station = new_station()
    waiting = await push(api, station, start16("m0"))
    assert (waiting["accepted"], waiting["sessions"]) == (1, [])
    assert "answer" in waiting["messages"][0]["reason"]
    named = await push(api, station, answer16("m0", 4))
    assert named["sessions"][0]["session_id"] == f"{station}:4"
    session = await detail(api, f"{station}:4")
    assert (session["started_at"], session["meter_values"][0]["value"]) == (clock(0), 1000)


async def test_readings_without_transaction_go_to_the_running_one_and_to_the_last_for_15_minutes(
    api: httpx.AsyncClient,
) -> None:
    station = new_station()
    await push(api, station, [*session16(4)[:2], values16("x", 5, 1500)])
    await push(api, station, [stop16("s", 40, 4, 5000), values16("y", 41, 5003), values16("z", 60, 5003)])
    assert [m["value"] for m in (await detail(api, f"{station}:4"))["meter_values"]] == [
        1000,
        1500,
        5000,
        5003,
    ]
    answer = await push(api, station, [values16("z", 60, 5003), values16("w", 5, 77, connector=0)])
    assert [m["result"] for m in answer["messages"]] == ["ignored", "ignored"]
    assert "no transaction" in answer["messages"][0]["reason"]
    assert "main meter" in answer["messages"][1]["reason"]


async def test_a_transaction_id_that_begins_anew_is_another_session(api: httpx.AsyncClient) -> None:
    station = new_station()
    frames = [*session16(1, prefix="a"), *session16(1, begins=120, prefix="b")]
    for _ in range(2):
        answer = await push(api, station, frames)
        assert [s["session_id"] for s in answer["sessions"]] == [
            f"{station}:1",
            f"{station}:1:20250304T120000Z",
        ]
        assert [s["energy_kwh"] for s in answer["sessions"]] == [4.0, 4.0]
        assert [s["version"] for s in answer["sessions"]] == [1, 1]
    assert (await detail(api, f"{station}:1"))["ended_at"] == clock(40)


async def test_an_internal_uuid_stands_for_the_station(api: httpx.AsyncClient) -> None:
    station = new_station()
    await push(api, station, values16("m", 0, 1000, 3))
    found = (await api.get(f"/v1/stations/{station}")).json()
    answer = await push(api, found["charging_station_id"], values16("n", 10, 2000, 3))
    assert answer["sessions"][0]["session_id"] == f"{station}:3"


async def test_tenants_do_not_meet(api: httpx.AsyncClient, other_api: httpx.AsyncClient) -> None:
    station = new_station()
    await push(api, station, [*session16(9)[:2], values16("x", 5, 1500)])
    other = await push(other_api, station, [answer16("m0", 9), values16("y", 6, 70), values16("z", 7, 80, 9)])
    assert [m["result"] for m in other["messages"]] == ["ignored", "ignored", "accepted"]
    theirs, mine = await detail(other_api, f"{station}:9"), await detail(api, f"{station}:9")
    assert [m["value"] for m in theirs["meter_values"]] == [80]
    assert [m["value"] for m in mine["meter_values"]] == [1000, 1500]
    assert theirs["started_at"] is None


async def test_who_may_push(api: httpx.AsyncClient, anonymous: httpx.AsyncClient) -> None:
    await push(anonymous, new_station(), session16(1), 401)
    await push(api, "%2E%2E", session16(1), 422)
    await push(api, "a%01b", session16(1), 422)
