"""The calls on batches as a client sees them (contract, section 5), with a worker beside them."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from chargewatch.server.batches import routes
from chargewatch.server.db.engine import Database
from chargewatch.server.settings import Settings
from chargewatch.server.wiring import wire

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
Work = Callable[[], Awaitable[None]]
START = datetime(2026, 2, 27, 10, tzinfo=UTC)

REFERENCE_REQUEST = """{
"sessions": [
{
"session_id": "sess-001",
"charging_point_id": "CP-001",
"meter_values": [
{ "timestamp": "2026-02-27T10:00:00Z", "unit": "kwh", "value": 0.0 },
{ "timestamp": "2026-02-27T10:15:00Z", "unit": "kwh", "value": 5.5 },
{ "timestamp": "2026-02-27T10:30:00Z", "unit": "kwh", "value": 11.1 }
]
},
{
"session_id": "sess-002",
"charging_point_id": "CP-002",
"meter_values": [
{ "timestamp": "2026-02-27T11:00:00Z", "unit": "kwh", "value": 0.0 },
{ "timestamp": "2026-02-27T11:15:00Z", "unit": "kwh", "value": 7.2 },
{ "timestamp": "2026-02-27T11:30:00Z", "unit": "kwh", "value": 14.8 }
]
}
]
}"""
REFERENCE_STATUS = {
    "batch_id": str, "status": str, "total_sessions": int, "processed_sessions": int, "failed_sessions": int,
    "results": list, "created_at": str, "completed_at": str,
}  # fmt: skip
REFERENCE_RESULT = {
    "session_id": str, "status": str, "is_anomaly": bool, "anomaly_score": float, "sequence_length": int,
    "anomalies": list,
}  # fmt: skip


@pytest.fixture
async def work(settings: Settings, database: Database) -> Work:
    """Does all jobs that are there."""
    return wire(settings, database).jobs.run_until_idle


def values(*register: float) -> list[Json]:
    return [
        {"timestamp": (START + timedelta(minutes=15 * i)).isoformat(), "value": v, "unit": "kWh"}
        for i, v in enumerate(register)
    ]


def session(**fields: object) -> Json:
    return {
        "session_id": f"b-{uuid4()}",
        "charging_point_id": f"CP-{uuid4()}",
        "meter_values": values(0, 5, 10),
        **fields,
    }


async def submit(api: httpx.AsyncClient, *sessions: object, **headers: str) -> Json:
    answer = await api.post("/v1/sessions/batch", json={"sessions": sessions}, headers=headers)
    assert answer.status_code == 200, answer.text
    accepted: Json = answer.json()
    assert answer.headers["location"] == f"/v1/sessions/batch/{accepted['batch_id']}"
    assert answer.headers["retry-after"] == "1"
    return accepted


async def status_of(api: httpx.AsyncClient, batch_id: str) -> Json:
    answer = await api.get(f"/v1/sessions/batch/{batch_id}")
    assert answer.status_code == 200, answer.text
    status: Json = answer.json()
    assert ("retry-after" in answer.headers) == (status["completed_at"] is None)
    return status


async def processed(api: httpx.AsyncClient, work: Work, *sessions: object) -> Json:
    accepted = await submit(api, *sessions)
    await work()
    return await status_of(api, accepted["batch_id"])


async def test_the_example_of_the_reference(api: httpx.AsyncClient, work: Work) -> None:
    answer = await api.post(
        "/v1/sessions/batch", content=REFERENCE_REQUEST, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 200
    accepted = answer.json()
    assert accepted == {"batch_id": accepted["batch_id"], "total_sessions": 2, "status": "pending"}
    pending = await status_of(api, accepted["batch_id"])
    assert (pending["status"], pending["results"], pending["completed_at"]) == ("pending", [], None)
    await work()
    status = await status_of(api, accepted["batch_id"])
    assert {name: type(status[name]) for name in REFERENCE_STATUS} == REFERENCE_STATUS
    assert status["status"] == "completed"
    assert (status["total_sessions"], status["processed_sessions"], status["failed_sessions"]) == (2, 2, 0)
    assert [result["session_id"] for result in status["results"]] == ["sess-001", "sess-002"]
    for result in status["results"]:
        assert {name: type(result[name]) for name in REFERENCE_RESULT} == REFERENCE_RESULT
        assert (result["status"], result["sequence_length"], result["error"]) == ("active", 3, None)
    assert (await api.get("/v1/sessions/sess-001")).json()["energy_kwh"] == 11.1


async def test_a_batch_stores_what_posts_would(api: httpx.AsyncClient, work: Work) -> None:
    """The same sessions, by POST one after the other and in one batch: the same states, recurrence included."""
    tag = str(uuid4())

    def sessions(kind: str) -> list[Json]:
        day = timedelta(days=1)
        made = []
        for number in range(6):
            shifted = [
                {**one, "timestamp": (datetime.fromisoformat(one["timestamp"]) + number * day).isoformat()}
                for one in (values(0, 5, 2) if number % 3 else values(0, 5, 10))
            ]
            made.append(
                session(
                    session_id=f"{kind}-{tag}-{number}",
                    charging_point_id=f"{kind}-CP-{tag}",
                    connector_id=1,
                    meter_values=shifted,
                    metadata={"number": number},
                )
            )
        made.append({**made[0], "session_id": f"{kind}-{tag}-overlapping"})
        made.append(
            {**made[1], "session_id": f"{kind}-{tag}-few", "meter_values": made[1]["meter_values"][:2]}
        )
        return made

    for one in sessions("post"):
        assert (await api.post("/v1/sessions", json=one)).status_code == 200
    status = await processed(api, work, *sessions("batch"))
    assert status["failed_sessions"] == 0
    for posted, batched, result in zip(sessions("post"), sessions("batch"), status["results"], strict=True):
        expected = (await api.get(f"/v1/sessions/{posted['session_id']}")).json()
        found = (await api.get(f"/v1/sessions/{batched['session_id']}")).json()
        for moment in ("analyzed_at", "created_at", "updated_at", "session_id", "charging_station_id"):
            expected.pop(moment), found.pop(moment)
        assert found == expected
        for name in ("status", "is_anomaly", "anomaly_score", "anomaly_confidence", "sequence_length"):
            assert result[name] == expected[name]
        assert result["anomalies"] == expected["anomalies"]
    stations = {one: (await api.get(f"/v1/stations/{one}-CP-{tag}")).json() for one in ("post", "batch")}
    assert stations["post"]["connectors"] == stations["batch"]["connectors"]


async def test_the_same_id_twice_is_applied_in_order(api: httpx.AsyncClient, work: Work) -> None:
    one = session()
    status = await processed(
        api,
        work,
        one,
        {**one, "meter_values": values(0, 5, 2)},
        session(),
        {**one, "meter_values": values(0, 1)},
    )
    assert [result["position"] for result in status["results"]] == [0, 1, 2, 3]
    assert [result["version"] for result in status["results"]] == [1, 2, 1, 3]
    assert [result["is_anomaly"] for result in status["results"]] == [False, True, False, None]
    assert [result["status"] for result in status["results"]] == ["active", "active", "active", "pending"]
    assert (status["processed_sessions"], status["failed_sessions"]) == (4, 0)
    stored = (await api.get(f"/v1/sessions/{one['session_id']}")).json()
    assert (stored["version"], len(stored["meter_values"])) == (3, 2)


FAULTY: list[tuple[Json, str, list[str | int]]] = [
    ({"session_id": "a/b"}, "validation_error", ["session_id"]),
    ({"session_id": 5}, "validation_error", ["session_id"]),
    ({"charging_point_id": None}, "validation_error", ["charging_station_id"]),
    ({"colour": "red"}, "validation_error", []),
    ({"meter_values": [{"timestamp": "yesterday", "value": 1}]}, "validation_error", ["meter_values", 0, "timestamp"]),
    ({"meter_values": [{"timestamp": "2026-02-27", "value": "1,5"}]}, "validation_error", ["meter_values", 0]),
    ({"meter_values": {}}, "validation_error", ["meter_values"]),
    ({"metadata": [1]}, "validation_error", ["metadata"]),
]  # fmt: skip


async def test_a_session_at_fault_fails_alone(api: httpx.AsyncClient, work: Work) -> None:
    good = [session() for _ in range(3)]
    bad = [session(**fields) for fields, _, _ in FAULTY]
    sent = [good[0], *bad, *good[1:]]
    status = await processed(api, work, *sent)
    assert status["status"] == "completed"
    assert (status["processed_sessions"], status["failed_sessions"]) == (3, len(FAULTY))
    assert [result["status"] for result in status["results"]] == [
        "active", *["failed"] * len(FAULTY), "active", "active",
    ]  # fmt: skip
    for one, result, (_, code, loc) in zip(bad, status["results"][1:], FAULTY, strict=False):
        assert result["error"]["code"] == code
        assert result["error"]["detail"]
        assert [error["loc"][: len(loc)] for error in result["error"]["errors"]] == [loc]
        assert result["session_id"] in (one["session_id"], None)
        if result["session_id"] is not None:
            assert (await api.get(f"/v1/sessions/{result['session_id']}")).status_code == 404


async def test_a_batch_without_any_good_session_fails(api: httpx.AsyncClient, work: Work) -> None:
    status = await processed(api, work, {}, session(session_id=""))
    assert (status["status"], status["processed_sessions"], status["failed_sessions"]) == ("failed", 0, 2)
    assert [result["session_id"] for result in status["results"]] == [None, None]
    assert status["completed_at"] is not None


WRONG_SHAPES = [
    ('{"sessions": []}', 422),
    ("{}", 422),
    ('{"sessions": null}', 422),
    ('{"sessions": {}}', 422),
    ('{"sessions": [{}], "more": 1}', 422),
    ('{"sessions": [5]}', 422),
    ('{"sessions": [{}, null]}', 422),
    ('{"sessions": [{}], "sessions": [{}]}', 422),
    ('{"sessions": [{"a": NaN}]}', 422),
    ('{"sessions": [{"a": 1, "a": 2}]}', 422),
    ('{"sessions": [{"a": "\\u0000"}]}', 422),
    ('{"sessions": [{"a": 1e999}]}', 422),
    ("[]", 422),
    ('{"sessions": [{}', 400),
    ("", 400),
]


@pytest.mark.parametrize(("body", "status"), WRONG_SHAPES)
async def test_a_wrong_outer_shape_refuses_the_whole(api: httpx.AsyncClient, body: str, status: int) -> None:
    answer = await api.post("/v1/sessions/batch", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_beyond_the_limit(api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "LARGEST_BATCH", 2_000)
    padded = json.dumps({"sessions": [session(metadata={"pad": "x" * 3_000})]}).encode()
    for content, headers in ((padded, {}), (gzip.compress(padded), {"Content-Encoding": "gzip"})):
        answer = await api.post("/v1/sessions/batch", content=content, headers=headers)
        assert answer.status_code == 413


async def test_a_compressed_body_of_more_than_other_calls_take(api: httpx.AsyncClient, work: Work) -> None:
    """17 MiB: as much as POST refuses."""
    filler = [session(session_id="", metadata={"pad": "x" * 500_000}) for _ in range(35)]
    one = session()
    body = json.dumps({"sessions": [*filler, one]}).encode()
    assert len(body) > 16 * 1024 * 1024
    content = gzip.compress(body, 9)
    if len(body) > 100 * len(content):
        content = gzip.compress(body, 0)
    answer = await api.post("/v1/sessions/batch", content=content, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 200, answer.text
    await work()
    status = await status_of(api, answer.json()["batch_id"])
    assert (status["processed_sessions"], status["failed_sessions"]) == (1, 35)
    assert status["results"][-1]["session_id"] == one["session_id"]


async def test_batches_belong_to_their_tenant(
    api: httpx.AsyncClient, other_api: httpx.AsyncClient, work: Work
) -> None:
    one = session()
    accepted = await submit(api, one)
    other = await submit(other_api, {**one, "meter_values": values(0, 5, 2)})
    await work()
    foreign = await other_api.get(f"/v1/sessions/batch/{accepted['batch_id']}")
    unknown = await other_api.get(f"/v1/sessions/batch/batch-{uuid4().hex}")
    assert (foreign.status_code, foreign.json()["code"]) == (404, "batch_not_found")
    assert unknown.json().keys() == foreign.json().keys()
    assert [r["is_anomaly"] for r in (await status_of(api, accepted["batch_id"]))["results"]] == [False]
    assert [r["is_anomaly"] for r in (await status_of(other_api, other["batch_id"]))["results"]] == [True]
    for name in ("batch-", "batch-x", accepted["batch_id"].upper(), accepted["batch_id"][6:]):
        assert (await api.get(f"/v1/sessions/batch/{name}")).status_code == 404


async def test_an_idempotency_key_makes_one_batch(
    api: httpx.AsyncClient, other_api: httpx.AsyncClient
) -> None:
    one, key = session(), str(uuid4())
    headers = {"Idempotency-Key": key}
    answers = await asyncio.gather(
        *(api.post("/v1/sessions/batch", json={"sessions": [one]}, headers=headers) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} <= {200, 409}
    ids = {answer.json()["batch_id"] for answer in answers if answer.status_code == 200}
    assert len(ids) == 1
    again = await api.post("/v1/sessions/batch", json={"sessions": [one]}, headers=headers)
    assert (again.json()["batch_id"], again.headers["idempotent-replayed"]) == (*ids, "true")
    assert again.headers["location"].endswith(again.json()["batch_id"])
    reused = await api.post("/v1/sessions/batch", json={"sessions": [one, one]}, headers=headers)
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")
    elsewhere = await other_api.post("/v1/sessions/batch", json={"sessions": [one]}, headers=headers)
    assert elsewhere.json()["batch_id"] not in ids


async def test_erasing_a_session_erases_what_its_batch_tells(api: httpx.AsyncClient, work: Work) -> None:
    kept, erased = session(), session()
    accepted = await submit(api, kept, erased)
    await work()
    assert (await api.delete(f"/v1/sessions/{erased['session_id']}")).status_code == 204
    status = await status_of(api, accepted["batch_id"])
    assert [result["session_id"] for result in status["results"]] == [kept["session_id"]]
    assert (status["total_sessions"], status["processed_sessions"]) == (2, 2)


async def test_the_most_sessions_and_one_more(api: httpx.AsyncClient) -> None:
    """The last test here: nobody processes this batch."""
    body = b'{"sessions": [%s]}'
    most = body % b",".join([b"{}"] * 10_000)
    assert (await api.post("/v1/sessions/batch", content=most)).json()["total_sessions"] == 10_000
    answer = await api.post("/v1/sessions/batch", content=body % b",".join([b"{}"] * 10_001))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_many_sessions")
