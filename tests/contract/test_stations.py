"""The calls on stations and statistics as a client sees them (contract, section 6), and that they are exact."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
START = datetime(2026, 2, 27, 10, tzinfo=UTC)


def values(*register: float) -> list[Json]:
    return [
        {"timestamp": (START + timedelta(minutes=15 * i)).isoformat(), "value": v, "unit": "kWh"}
        for i, v in enumerate(register)
    ]


NORMAL, FALLEN = values(0, 5, 10), values(0, 5, 2)


async def push(api: httpx.AsyncClient, station: str, readings: list[Json], **fields: object) -> Json:
    body = {"session_id": f"s-{uuid4()}", "charging_station_id": station, "meter_values": readings, **fields}
    answer = await api.post("/v1/sessions", json=body)
    assert answer.status_code == 200, answer.text
    return body | answer.json()


async def read(api: httpx.AsyncClient, path: str) -> Json:
    answer = await api.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def connector(detail: Json, name: str, evse: str | None = None) -> Json:
    (found,) = [c for c in detail["connectors"] if (c["evse_id"], c["connector_id"]) == (evse, name)]
    return found


async def test_a_station_counts_its_sessions(api: httpx.AsyncClient) -> None:
    station = f"CP-{uuid4()}"
    await push(api, station, NORMAL, connector_id="1")
    fallen = await push(api, station, FALLEN, connector_id="1")
    await push(api, station, FALLEN, connector_id=2, evse_id=7)
    await push(api, station, NORMAL[:1])
    detail = await read(api, f"/v1/stations/{station}")
    assert set(detail) == {
        "charging_station_id", "external_station_id", "connectors", "total_sessions", "anomalous_sessions", "metadata",
    }  # fmt: skip
    assert detail["external_station_id"] == station
    assert (detail["total_sessions"], detail["anomalous_sessions"], detail["metadata"]) == (4, 2, {})
    assert len(detail["connectors"]) == 3
    assert connector(detail, "1") == {
        "evse_id": None, "connector_id": "1", "total_sessions": 2, "anomalous_sessions": 1,
    }  # fmt: skip
    assert connector(detail, "2", "7")["anomalous_sessions"] == 1
    assert connector(detail, "unspecified")["total_sessions"] == 1
    categories = await read(api, f"/v1/stations/{station}/connectors")
    assert categories["charging_station_id"] == station
    assert connector(categories, "1")["anomaly_categories"] == {"KWH_DECREASE": 1}
    assert connector(categories, "unspecified")["anomaly_categories"] == {}
    by_uuid = await read(api, f"/v1/stations/{detail['charging_station_id']}")
    assert by_uuid == detail
    assert UUID(detail["charging_station_id"])
    items = {item["external_station_id"]: item for item in (await everything(api))}
    assert items[station] == {
        "charging_station_id": detail["charging_station_id"],
        "external_station_id": station,
        "total_sessions": 4,
        "anomalous_sessions": 2,
        "max_anomaly_score": fallen["anomaly_score"],
        "last_anomaly_at": items[station]["last_anomaly_at"],
    }
    assert items[station]["last_anomaly_at"] >= fallen["analyzed_at"]


async def everything(api: httpx.AsyncClient) -> list[Json]:
    found: list[Json] = []
    page = 1
    while True:
        answer = await read(api, f"/v1/stations?page={page}&page_size=3")
        found += answer["items"]
        assert (answer["page"], answer["page_size"]) == (page, 3)
        if len(answer["items"]) < 3:
            assert answer["total"] == len(found)
            return found
        page += 1


async def test_counts_follow_a_session_wherever_it_goes(api: httpx.AsyncClient) -> None:
    here, there = f"CP-{uuid4()}", f"CP-{uuid4()}"
    session = await push(api, here, FALLEN, connector_id="1")
    other = await push(api, here, NORMAL, connector_id="1")
    path = f"/v1/sessions/{session['session_id']}"
    moved = {"session_id": session["session_id"], "charging_station_id": there, "connector_id": "9"}
    assert (await api.post("/v1/sessions", json=moved)).json()["is_anomaly"] is True
    assert (await read(api, f"/v1/stations/{here}"))["total_sessions"] == 1
    detail = await read(api, f"/v1/stations/{there}")
    assert connector(detail, "9")["anomalous_sessions"] == 1
    assert (await api.put(path, json={"meter_values": NORMAL})).json()["is_anomaly"] is False
    assert (await read(api, f"/v1/stations/{there}"))["anomalous_sessions"] == 0
    assert (await api.delete(path)).status_code == 204
    assert (await read(api, f"/v1/stations/{there}"))["connectors"] == []
    emptied = [i for i in await everything(api) if i["external_station_id"] == there]
    assert [(i["total_sessions"], i["max_anomaly_score"], i["last_anomaly_at"]) for i in emptied] == [
        (0, 0, None)
    ]
    assert (await read(api, f"/v1/stations/{here}"))["total_sessions"] == 1
    assert (await api.delete(f"/v1/sessions/{other['session_id']}")).status_code == 204


async def test_an_answer_is_counted_as_soon_as_it_is_given(api: httpx.AsyncClient) -> None:
    """Read your writes (M2), many at once."""
    before = await read(api, "/v1/statistics")

    async def one(number: int) -> None:
        station = f"CP-{uuid4()}"
        body = await push(api, station, FALLEN if number % 2 else NORMAL)
        detail = await read(api, f"/v1/stations/{station}")
        assert (detail["total_sessions"], detail["anomalous_sessions"]) == (1, number % 2)
        listed = await read(api, f"/v1/sessions?charging_station_id={station}")
        assert [item["external_session_id"] for item in listed["items"]] == [body["session_id"]]

    await asyncio.gather(*(one(number) for number in range(40)))
    after = await read(api, "/v1/statistics")
    assert after["total_sessions"] - before["total_sessions"] == 40
    assert after["anomalous_sessions"] - before["anomalous_sessions"] == 20
    assert after["total_stations"] - before["total_stations"] == 40
    assert after["stations_with_anomalies"] - before["stations_with_anomalies"] == 20
    assert after["anomaly_rate"] == round(after["anomalous_sessions"] / after["total_sessions"], 4)


async def test_what_another_tenant_has_is_not_there(
    api: httpx.AsyncClient, other_api: httpx.AsyncClient
) -> None:
    station = f"CP-{uuid4()}"
    before = await read(other_api, "/v1/statistics")
    await push(api, station, FALLEN)
    internal = (await read(api, f"/v1/stations/{station}"))["charging_station_id"]
    for name in (station, internal):
        for path in (f"/v1/stations/{name}", f"/v1/stations/{name}/connectors"):
            answer = await other_api.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "station_not_found")
    assert await read(other_api, "/v1/statistics") == before
    assert station not in {item["external_station_id"] for item in await everything(other_api)}


async def test_a_tenant_without_anything(other_api: httpx.AsyncClient) -> None:
    assert (await other_api.get("/v1/stations/no-such")).status_code == 404
    page = await read(other_api, "/v1/stations?page=9")
    assert (page["items"], page["page"]) == ([], 9)


@pytest.mark.parametrize(
    "query", ["page=0", "page_size=0", "page_size=101", "page=x", "sort=id", "page=1&page=2"]
)
async def test_a_query_that_makes_no_sense_is_refused(api: httpx.AsyncClient, query: str) -> None:
    answer = await api.get(f"/v1/stations?{query}")
    assert (answer.status_code, bool(answer.json()["errors"])) == (422, True)
