"""Every session request of the API reference, sent as it stands there; the answers have its names and types.

The values of the reference's answers are illustrations: its verdicts do not follow from its readings.
"""

import json
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio

Json = Any

CREATE_REQUEST = """{
"session_id": "sess-abc-001",
"charging_station_id": "CP-NL-AMS-0042",
"connector_id": "1",
"meter_values": [
{
"timestamp": "2026-02-27T10:00:00Z",
"measurand": "Energy.Active.Import.Register",
"unit": "kWh",
"value": 0.0
},
{
"timestamp": "2026-02-27T10:15:00Z",
"measurand": "Energy.Active.Import.Register",
"unit": "kWh",
"value": 5.5
},
{
"timestamp": "2026-02-27T10:30:00Z",
"measurand": "Energy.Active.Import.Register",
"unit": "kWh",
"value": 11.1
}
]
}"""
CREATE_ANSWER = """{
"session_id": "sess-abc-001",
"status": "active",
"is_anomaly": true,
"anomaly_score": 0.85,
"anomaly_confidence": 0.92,
"is_incident": false,
"is_recurring": true,
"anomalies": [
{
"category": "KWH_DECREASE",
"score": 0.87,
"confidence": 0.92,
"bucket_range": { "start_unit": 4, "end_unit": 7 },
"time_range": {
"start_timestamp": "2026-02-27T11:00:00Z",
"end_timestamp": "2026-02-27T11:45:00Z"
}
}
],
"analyzed_at": "2026-02-27T10:31:02Z"
}"""
REPLACE_REQUEST = """{
"meter_values": [
{
"timestamp": "2026-02-27T10:00:00Z",
"measurand": "Energy.Active.Import.Register",
"unit": "kWh",
"value": 0.0
},
{
"timestamp": "2026-02-27T10:15:00Z",
"measurand": "Energy.Active.Import.Register",
"unit": "kWh",
"value": 5.5
},
{
"timestamp": "2026-02-27T10:30:00Z",
"measurand": "Energy.Active.Import.Register",
"unit": "kWh",
"value": 11.1
}
]
}"""
REPLACE_ANSWER = """{
"session_id": "sess-abc-001",
"status": "active",
"is_anomaly": false,
"anomaly_score": 0.12,
"anomaly_confidence": 0.95,
"anomalies": [],
"analyzed_at": "2026-02-27T10:31:02Z"
}"""
UPDATE_REQUEST = """{
"meter_values": [
{
"timestamp": "2026-02-27T10:45:00Z",
"measurand": "Energy.Active.Import.Register",
"unit": "kWh",
"value": 16.5
}
]
}"""
UPDATE_ANSWER = """{
"session_id": "sess-abc-001",
"status": "active",
"is_anomaly": true,
"anomaly_score": 0.85,
"anomaly_confidence": 0.92,
"anomalies": [
{
"category": "KWH_DECREASE",
"score": 0.87,
"confidence": 0.92,
"bucket_range": { "start_unit": 4, "end_unit": 7 }
}
],
"analyzed_at": "2026-02-27T10:46:05Z"
}"""
LIST_ANSWER = """{
"items": [
{
"session_id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
"external_session_id": "sess-abc-001",
"charging_station_id": "CP-NL-AMS-0042",
"is_anomaly": true,
"anomaly_score": 0.85,
"anomaly_count": 2,
"status": "active",
"created_at": "2026-02-27T10:00:00Z",
"last_analyzed_at": "2026-02-27T10:31:02Z"
}
],
"total": 1250,
"page": 1,
"page_size": 20
}"""
DETAIL_ANSWER = """{
"session_id": "sess-abc-001",
"status": "active",
"is_anomaly": true,
"anomaly_score": 0.85,
"anomaly_confidence": 0.92,
"is_incident": false,
"is_recurring": true,
"anomalies": [
{
"category": "KWH_DECREASE",
"score": 0.87,
"confidence": 0.92,
"bucket_range": { "start_unit": 4, "end_unit": 7 },
"time_range": {
"start_timestamp": "2026-02-27T11:00:00Z",
"end_timestamp": "2026-02-27T11:45:00Z"
}
}
],
"analyzed_at": "2026-02-27T10:31:02Z",
"meter_values": [
{ "timestamp": "2026-02-27T10:00:00Z", "measurand": "Energy.Active.Import.Register", "unit": "kWh", "value": 0.0 },
{ "timestamp": "2026-02-27T10:15:00Z", "measurand": "Energy.Active.Import.Register", "unit": "kWh", "value": 5.5 },
{ "timestamp": "2026-02-27T10:30:00Z", "measurand": "Energy.Active.Import.Register", "unit": "kWh", "value": 11.1 }
],
"created_at": "2026-02-27T09:58:00Z"
}"""

JSON_TYPE = {"Content-Type": "application/json"}
PATH = "/v1/sessions/sess-abc-001"


def assert_shape(answer: Json, documented: Json, place: str = "$") -> None:
    """Every documented name is there with the documented type (of numbers: a number)."""
    if isinstance(documented, dict):
        assert isinstance(answer, dict), place
        for name, value in documented.items():
            assert name in answer, f"{place}.{name} is missing"
            assert_shape(answer[name], value, f"{place}.{name}")
    elif isinstance(documented, list):
        assert isinstance(answer, list), place
        for i, item in enumerate(answer):
            if documented:
                assert_shape(item, documented[0], f"{place}[{i}]")
    elif isinstance(documented, bool):
        assert isinstance(answer, bool), place
    elif isinstance(documented, int | float):
        assert isinstance(answer, int | float), place
        assert not isinstance(answer, bool), place
    else:
        assert isinstance(answer, str), place


async def send(api: httpx.AsyncClient, method: str, path: str, body: str | None = None) -> Json:
    answer = await api.request(method, path, content=body, headers=JSON_TYPE if body else {})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


async def test_the_session_examples_of_the_reference(api: httpx.AsyncClient) -> None:
    created = await send(api, "POST", "/v1/sessions", CREATE_REQUEST)
    assert_shape(created, json.loads(CREATE_ANSWER))
    replaced = await send(api, "PUT", PATH, REPLACE_REQUEST)
    assert_shape(replaced, json.loads(REPLACE_ANSWER))
    assert replaced["is_anomaly"] is False
    updated = await send(api, "PATCH", PATH, UPDATE_REQUEST)
    assert_shape(updated, json.loads(UPDATE_ANSWER))
    assert updated["is_anomaly"] is False
    assert updated["sequence_length"] == 4
    listed = await send(api, "GET", "/v1/sessions?page=1&page_size=20&charging_station_id=CP-NL-AMS-0042")
    assert_shape(listed, json.loads(LIST_ANSWER))
    assert listed["total"] == 1
    detail = await send(api, "GET", PATH)
    assert_shape(detail, json.loads(DETAIL_ANSWER))
    assert [v["value"] for v in detail["meter_values"]] == [0.0, 5.5, 11.1, 16.5]
    shown = [
        {name: value[name] for name in ("timestamp", "measurand", "unit", "value")}
        for value in detail["meter_values"][:3]
    ]
    assert shown == json.loads(DETAIL_ANSWER)["meter_values"]


async def test_an_anomalous_answer_has_the_documented_shape(api: httpx.AsyncClient) -> None:
    falling = json.loads(CREATE_REQUEST)
    falling["session_id"] = "sess-abc-002"
    falling["meter_values"][2]["value"] = 1.1
    answer = await send(api, "POST", "/v1/sessions", json.dumps(falling))
    assert answer["anomalies"]
    assert_shape(answer, json.loads(CREATE_ANSWER))
    assert_shape(await send(api, "GET", "/v1/sessions/sess-abc-002"), json.loads(DETAIL_ANSWER))
