"""The calls on sessions as a client sees them (contract, sections 1 to 4).

Through the Python client where a test is about sessions, through plain HTTP where it is about HTTP.
"""

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from chargewatch.client import AsyncClient, BucketRange, MeterValue, NotFound, TimeRange, Unprocessable

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
START = datetime(2026, 2, 27, 10, tzinfo=UTC)
STATE_FIELDS = {
    "session_id",
    "status",
    "is_anomaly",
    "anomaly_score",
    "anomaly_confidence",
    "is_incident",
    "is_recurring",
    "anomalies",
    "analyzed_at",
}


def reading(minute: float, value: object, **fields: object) -> Json:
    at = START + timedelta(minutes=minute)
    return {"timestamp": at.isoformat().replace("+00:00", "Z"), "value": value, "unit": "kWh", **fields}


def register(*values: float, first: int = 0, every: float = 15) -> list[MeterValue]:
    """Readings of a register in kWh, one every ``every`` minutes, from the ``first`` on."""
    return [
        MeterValue(START + timedelta(minutes=every * i), value, unit="kWh")
        for i, value in enumerate(values, first)
    ]


def new_id() -> str:
    return f"s-{uuid4()}"


def new_session(*values: object, every: float = 15, **fields: object) -> Json:
    return {
        "session_id": new_id(),
        "charging_station_id": "CP-1",
        "meter_values": [reading(i * every, v) for i, v in enumerate(values)],
        **fields,
    }


async def posted(api: httpx.AsyncClient, body: Json) -> Json:
    answer = await api.post("/v1/sessions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def assert_problem(answer: httpx.Response, status: int, code: str | None = None) -> Json:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    problem = answer.json()
    assert problem["status"] == status
    assert {"type", "title", "detail", "instance", "request_id", "code"} <= set(problem)
    assert problem["request_id"] == answer.headers["x-request-id"]
    if code:
        assert problem["code"] == code
    if status == 422:
        assert problem["errors"]
        assert set(problem["errors"][0]) == {"loc", "pointer", "msg", "type"}
    return problem


async def test_a_push_is_answered_with_its_verdict(client: AsyncClient) -> None:
    state = await client.create_session(new_id(), "CP-1", register(0, 5.5, 11.1, 16, 3, 8))
    assert set(state.__struct_fields__) >= STATE_FIELDS
    assert state.is_anomaly is True
    assert state.anomaly_score is not None
    assert state.anomaly_score >= 0.5
    assert state.anomaly_confidence is not None
    assert 0 < state.anomaly_confidence <= 1
    (anomaly,) = state.anomalies
    assert anomaly.category == "KWH_DECREASE"
    assert anomaly.bucket_range == BucketRange(start_unit=3, end_unit=4)
    assert anomaly.time_range == TimeRange(
        start_timestamp=START + timedelta(minutes=45), end_timestamp=START + timedelta(minutes=60)
    )
    assert (anomaly.severity, anomaly.concern) == ("critical", "billing")
    assert [e.observed for e in anomaly.evidence][:2] == [16.0, 3.0]
    assert state.sequence_length == 6
    assert state.energy_kwh == 21.0
    assert state.model_id == "model-csar2-base"


async def test_pending_fields_are_null_not_missing(api: httpx.AsyncClient) -> None:
    state = await posted(api, new_session(0, 1))
    assert set(state) >= STATE_FIELDS
    for field in STATE_FIELDS - {"session_id", "status", "anomalies"}:
        assert state[field] is None, field
    assert (state["status"], state["anomalies"]) == ("pending", [])


async def test_a_session_can_begin_empty_and_grow(client: AsyncClient) -> None:
    name = new_id()
    assert (await client.create_session(name, "CP-1")).status == "pending"
    for minute in range(3):
        state = await client.update_session(name, register(minute, first=minute, every=1))
    assert state.status == "active"
    assert state.version == 4
    assert await client.update_session(name, []) == state


async def test_get_returns_what_was_sent(api: httpx.AsyncClient) -> None:
    body = new_session(
        connector_id=1,
        evse_id="E2",
        managed=True,
        metadata={"tag": "x", "n": 1.50},
        started_at="2026-02-27T09:58:00+01:00",
    )
    body["meter_values"] = [
        {"timestamp": "2026-02-27T11:00:00.250+01:00", "value": "0.50"},
        {"timestamp": "2026-02-27T10:01:00", "value": 5e-1, "measurand": "soc", "location": "ev"},
        {
            "timestamp": "2026-02-27T10:02:00z",
            "value": "7",
            "measurand": "Power.Active.Import",
            "phase": "l1",
            "unit": "KW",
        },
        {"timestamp": "2026-02-27T10:03:00Z", "value": 1, "measurand": "My.Own", "unit": "furlong"},
    ]
    await posted(api, body)
    answer = await api.get(f"/v1/sessions/{body['session_id']}?raw=true")
    detail = answer.json()
    assert detail["charging_station_id"] == "CP-1"
    assert (detail["evse_id"], detail["connector_id"], detail["managed"]) == ("E2", "1", True)
    assert detail["metadata"] == {"tag": "x", "n": 1.5}
    assert detail["started_at"] == "2026-02-27T08:58:00Z"
    first, soc, power, own = detail["meter_values"]
    assert first == {
        "timestamp": "2026-02-27T10:00:00.250000Z",
        "value": 0.5,
        "measurand": "Energy.Active.Import.Register",
        "unit": "Wh",
        "phase": None,
        "location": "Outlet",
        "context": "Sample.Periodic",
        "format": "Raw",
        "raw_value": "0.50",
    }
    assert '"value":0.50' in answer.text
    assert (soc["measurand"], soc["unit"], soc["location"], soc["raw_value"]) == (
        "SoC",
        "Percent",
        "EV",
        "0.5",
    )
    assert (power["unit"], power["phase"], power["value"]) == ("kW", "L1", 7)
    assert (own["measurand"], own["unit"]) == ("My.Own", "furlong")
    codes = {note["code"]: note["count"] for note in detail["data_quality"]}
    assert codes["unknown_measurand"] == 1
    assert codes["unit_assumed"] == 2
    plain = (await api.get(f"/v1/sessions/{body['session_id']}")).json()
    assert all("raw_value" not in value for value in plain["meter_values"])


async def test_the_internal_id_appears_in_the_list_only(api: httpx.AsyncClient) -> None:
    body = new_session(0, 1, 2, charging_station_id=f"CP-{uuid4()}")
    await posted(api, body)
    listed = (
        await api.get("/v1/sessions", params={"charging_station_id": body["charging_station_id"]})
    ).json()
    (item,) = listed["items"]
    assert item["external_session_id"] == body["session_id"]
    assert item["charging_station_id"] == body["charging_station_id"]
    UUID(item["session_id"])
    by_uuid = (await api.get(f"/v1/sessions/{item['session_id']}")).json()
    assert by_uuid["session_id"] == body["session_id"]
    assert item["session_id"] not in json.dumps(by_uuid)
    assert listed["total"] == 1
    assert {"page", "page_size"} <= set(listed)


@pytest.mark.parametrize("name", ["a b", "ü/x".replace("/", "|"), "50%", "a?b#c", "…", "x" * 255, "a.b", "-"])
async def test_odd_ids_work_in_paths(client: AsyncClient, name: str) -> None:
    await client.create_session(name, "CP-1", register(0, 1, 2))
    assert (await client.get_session(name)).session_id == name
    await client.delete_session(name)
    with pytest.raises(NotFound):
        await client.get_session(name)


@pytest.mark.parametrize(
    "path", ["/v1/sessions/a%2Fb", "/v1/sessions/..%2Fsessions", "/v1/sessions/%00", "/v1/nothing"]
)
async def test_paths_that_name_nothing_are_not_found_or_refused(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(path)
    assert answer.status_code in {404, 422}
    assert_problem(answer, answer.status_code)


async def test_put_replaces_and_needs_a_reading(client: AsyncClient) -> None:
    name = new_id()
    assert (await client.create_session(name, "CP-1", register(0, 5, 1))).is_anomaly is True
    state = await client.replace_session(name, register(0, 1, 2, every=1))
    assert (state.is_anomaly, state.was_anomalous, state.version) == (False, True, 2)
    with pytest.raises(Unprocessable):
        await client.replace_session(name, [])
    assert len((await client.get_session(name)).meter_values) == 3


async def test_unknown_sessions_and_those_of_others_are_not_found(
    client: AsyncClient, other_client: AsyncClient
) -> None:
    name = new_id()
    await client.create_session(name, "CP-1", register(0, 1, 2))
    (item,) = (await client.list_sessions(page_size=1)).items
    bodies = []
    for unknown in (name, item.session_id, str(uuid4()), "nobody"):
        for attempt in (
            other_client.get_session(unknown),
            other_client.replace_session(unknown, register(1)),
            other_client.update_session(unknown, register(1)),
            other_client.delete_session(unknown),
        ):
            with pytest.raises(NotFound) as missing:
                await attempt
            assert missing.value.code == "session_not_found"
            problem = missing.value.problem
            assert {"type", "title", "detail", "instance", "request_id", "code"} <= set(problem)
            bodies.append({k: v for k, v in problem.items() if k not in {"request_id", "instance"}})
    assert all(b == bodies[0] for b in bodies)
    assert (await other_client.list_sessions()).total == 0
    assert (await client.get_session(name)).session_id == name


async def test_etags_guard_against_lost_changes(api: httpx.AsyncClient) -> None:
    body = new_session(0, 1, 2)
    created = await api.post("/v1/sessions", json=body)
    path = f"/v1/sessions/{body['session_id']}"
    etag = created.headers["etag"]
    assert etag == '"1"'
    assert (await api.get(path)).headers["etag"] == etag
    unchanged = await api.get(path, headers={"If-None-Match": etag})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    values = {"meter_values": [reading(60, 3)]}
    assert (await api.patch(path, json=values, headers={"If-Match": etag})).status_code == 200
    values = {"meter_values": [reading(75, 4)]}
    assert_problem(await api.patch(path, json=values, headers={"If-Match": etag}), 412, "version_mismatch")
    assert_problem(await api.put(path, json=values, headers={"If-Match": "nonsense"}), 412)
    assert_problem(await api.delete(path, headers={"If-Match": etag}), 412)
    assert len((await api.get(path)).json()["meter_values"]) == 4
    assert (await api.delete(path, headers={"If-Match": '"2"'})).status_code == 204


BAD_BODIES = [
    ({"session_id": None}, ("session_id",)),
    ({"session_id": 5}, ("session_id",)),
    ({"session_id": "batch"}, ("session_id",)),
    ({"session_id": "a/b"}, ("session_id",)),
    ({"charging_station_id": None}, ("charging_station_id",)),
    ({"charging_station_id": " x"}, ("charging_station_id",)),
    ({"connector_id": 1.5}, ("connector_id",)),
    ({"evse_id": ""}, ("evse_id",)),
    ({"managed": "yes"}, ("managed",)),
    ({"metadata": []}, ("metadata",)),
    ({"metadata": "x"}, ("metadata",)),
    ({"started_at": "today"}, ("started_at",)),
    ({"ended_at": 5}, ("ended_at",)),
    ({"meter_values": {}}, ("meter_values",)),
    ({"meter_values": [1]}, ("meter_values", 0)),
    ({"meter_values": [{"value": 1}]}, ("meter_values", 0)),
    ({"meter_values": [{"timestamp": "2026-02-27T10:00:00Z"}]}, ("meter_values", 0)),
    ({"meter_values": [reading(0, "1,5")]}, ("meter_values", 0, "value")),
    ({"meter_values": [reading(0, "")]}, ("meter_values", 0, "value")),
    ({"meter_values": [reading(0, True)]}, ("meter_values", 0, "value")),
    ({"meter_values": [reading(0, None)]}, ("meter_values", 0, "value")),
    (
        {"meter_values": [reading(0, 1), reading(1, 1, timestamp="2026-13-01T00:00:00Z")]},
        ("meter_values", 1, "timestamp"),
    ),
    ({"meter_values": [reading(0, 1, timestamp=1772186400)]}, ("meter_values", 0, "timestamp")),
    ({"meter_values": [reading(0, 1, unitt="kWh")]}, ("meter_values", 0)),
    ({"surprise": 1}, ()),
]


@pytest.mark.parametrize(("change", "place"), BAD_BODIES, ids=lambda v: json.dumps(v)[:60])
async def test_bad_fields_are_refused_with_their_place_and_nothing_is_stored(
    api: httpx.AsyncClient, change: Json, place: tuple[Any, ...]
) -> None:
    before = (await api.get("/v1/sessions?status=all")).json()["total"]
    body = new_session(0, 1, 2) | change
    problem = assert_problem(await api.post("/v1/sessions", json=body), 422)
    assert tuple(problem["errors"][0]["loc"][: len(place)]) == place
    assert (await api.get("/v1/sessions?status=all")).json()["total"] == before


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"not json", 400),
        (b'{"session_id": "a", "session_id": "b"}', 422),
        (b'{"session_id": "\\u0000"}', 422),
        (b'{"session_id": "\\ud800"}', 422),
        (b'{"session_id": "a", "metadata": {"n": 1e400}}', 422),
        (b"[]", 422),
        (b"null", 422),
        (b'{"metadata": {"a": ' + b"[" * 20000 + b"]" * 20000 + b"}}", 422),
    ],
    ids=range(10),
)
async def test_bodies_that_are_no_proper_json_are_refused(
    api: httpx.AsyncClient, raw: bytes, status: int
) -> None:
    answer = await api.post("/v1/sessions", content=raw, headers={"Content-Type": "application/json"})
    assert_problem(answer, status)


async def test_too_large_wrong_type_and_gzip(api: httpx.AsyncClient) -> None:
    huge = b'{"session_id": "' + b"x" * (17 << 20) + b'"}'
    json_type = {"Content-Type": "application/json"}
    assert_problem(await api.post("/v1/sessions", content=huge, headers=json_type), 413)
    assert_problem(await api.post("/v1/sessions", content=b"<a/>", headers={"Content-Type": "text/xml"}), 415)
    body = gzip.compress(json.dumps(new_session(0, 1, 2)).encode())
    answer = await api.post("/v1/sessions", content=body, headers=json_type | {"Content-Encoding": "gzip"})
    assert answer.status_code == 200


async def test_three_kinds_of_wrong_key(anonymous: httpx.AsyncClient) -> None:
    for key in (None, "cw_" + "a" * 36, "nonsense"):
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        for method, path in (("GET", "/v1/sessions"), ("POST", "/v1/sessions"), ("DELETE", "/v1/sessions/x")):
            assert_problem(await anonymous.request(method, path, headers=headers), 401, "unauthorized")


@pytest.mark.parametrize(
    "query",
    ["page=0", "page=x", "page_size=0", "page_size=101", "min_score=2", "is_anomaly=1", "date_from=yesterday",
     "cursor=zzz", "cursor=&page=1", "status=old", "category=NOPE", "surprise=1", "page=1&page=2"],
)  # fmt: skip
async def test_bad_queries_are_refused(api: httpx.AsyncClient, query: str) -> None:
    assert_problem(await api.get(f"/v1/sessions?{query}"), 422)


async def test_a_method_that_is_not_there(api: httpx.AsyncClient) -> None:
    answer = await api.put("/v1/sessions", json={})
    assert_problem(answer, 405)
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"


async def test_long_sessions_report_the_last_six_hours(client: AsyncClient) -> None:
    values = [*range(10), *range(5, 45)]  # the register falls after 2.5 of 12 hours
    name = new_id()
    state = await client.create_session(name, "CP-1", register(*values))
    assert state.is_anomaly is False
    assert state.anomalies == []
    assert [a.category for a in state.past_anomalies] == ["KWH_DECREASE"]
    assert state.was_anomalous is True
    assert state.sequence_length == 24
    assert len((await client.get_session(name)).meter_values) == 50


async def test_order_of_arrival_never_matters(client: AsyncClient) -> None:
    values = register(0, 0.2, 0.4, 0.6, 0.1, 0.3, 0.5, every=1)
    expected = await client.create_session(new_id(), "CP-1", values)
    name = new_id()
    await client.create_session(name, "CP-1", values[4:] + values[2:5])
    state = await client.update_session(name, values[:3][::-1])
    for field in (
        "is_anomaly",
        "anomaly_score",
        "anomaly_confidence",
        "anomalies",
        "energy_kwh",
        "sequence_length",
    ):
        assert getattr(state, field) == getattr(expected, field), field
    codes = {note.code for note in state.data_quality}
    assert codes == {"duplicate", "out_of_order"}
