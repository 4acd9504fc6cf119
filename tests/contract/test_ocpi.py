"""The receiver of OCPI 2.2.1 Session objects over HTTP, for two tenants."""

import base64
from typing import Any
from uuid import uuid4

import httpx
import pytest

from chargewatch.server.tenants.service import NewKey
from tests.contract.conftest import BASE

pytestmark = pytest.mark.anyio


def new_id() -> str:
    return uuid4().hex[:12]


def session_object(session: str, **changes: object) -> dict[str, Any]:
    return {
        "country_code": "NL",
        "party_id": "TNM",
        "id": session,
        "start_date_time": "2026-02-27T10:00:00Z",
        "end_date_time": None,
        "kwh": 0,
        "cdr_token": {"uid": "TAG", "type": "RFID", "contract_id": "C"},
        "auth_method": "WHITELIST",
        "location_id": "LOC1",
        "evse_uid": "EVSE-7",
        "connector_id": "1",
        "currency": "EUR",
        "charging_periods": [],
        "status": "ACTIVE",
        "last_updated": "2026-02-27T10:00:00Z",
    } | changes


def path_of(session: str, country: str = "NL", party: str = "TNM") -> str:
    return f"/ocpi/2.2.1/sessions/{country}/{party}/{session}"


async def put(api: httpx.AsyncClient, session: str, **changes: object) -> Any:
    answer = await api.put(path_of(session), json=session_object(session, **changes))
    assert answer.status_code == 200, answer.text
    assert (answer.json()["status_code"], answer.json()["timestamp"][-1]) == (1000, "Z")
    return answer.json()


async def stored(api: httpx.AsyncClient, session: str) -> Any:
    answer = await api.get(f"/v1/sessions/NL*TNM*{session}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def values(session: Any, measurand: str = "Energy.Active.Import.Register") -> list[tuple[str, Any, str]]:
    return [
        (m["timestamp"][11:16], m["value"], m["context"])
        for m in session["meter_values"]
        if m["measurand"] == measurand
    ]


async def test_a_session_from_start_to_end(api: httpx.AsyncClient) -> None:
    session = new_id()
    await put(api, session)
    await put(api, session, kwh=5.5, last_updated="2026-02-27T10:30:00Z")
    patch = {"kwh": 11.25, "last_updated": "2026-02-27T11:00:00Z"}
    answer = (await api.patch(path_of(session), json=patch)).json()
    assert (answer["status_code"], answer["data"]["status"]) == (1000, "active")
    assert (answer["data"]["energy_kwh"], answer["data"]["is_anomaly"]) == (11.25, False)
    end = {"kwh": 12, "status": "COMPLETED", "end_date_time": "2026-02-27T11:10:00Z"}
    await api.patch(path_of(session), json=end | {"last_updated": "2026-02-27T11:10:05Z"})
    found = await stored(api, session)
    assert values(found) == [
        ("10:00", 0, "Sample.Periodic"),
        ("10:00", 0, "Transaction.Begin"),
        ("10:30", 5.5, "Sample.Periodic"),
        ("11:00", 11.25, "Sample.Periodic"),
        ("11:10", 12, "Transaction.End"),
    ]
    assert (found["charging_station_id"], found["connector_id"]) == ("EVSE-7", "1")
    assert (found["started_at"], found["ended_at"]) == ("2026-02-27T10:00:00Z", "2026-02-27T11:10:00Z")
    assert found["metadata"]["ocpi"] == {
        "country_code": "NL",
        "party_id": "TNM",
        "session_id": session,
        "location_id": "LOC1",
        "evse_uid": "EVSE-7",
    }
    assert found["energy_kwh"] == 12


async def test_a_put_again_changes_nothing(api: httpx.AsyncClient) -> None:
    session = new_id()
    first = await put(api, session, kwh=3, last_updated="2026-02-27T10:30:00Z")
    again = await put(api, session, kwh=3, last_updated="2026-02-27T10:30:00Z")
    assert (first["data"]["version"], again["data"]["version"]) == (1, 1)


async def test_charging_periods_count_at_their_end_and_running_ones_give_no_energy(
    api: httpx.AsyncClient,
) -> None:
    session = new_id()

    def period(at: str, *dimensions: tuple[str, float]) -> dict[str, Any]:
        listed = [{"type": name, "volume": volume} for name, volume in dimensions]
        return {"start_date_time": f"2026-02-27T{at}:00Z", "dimensions": listed}

    first = period("10:00", ("ENERGY", 4.5), ("POWER", 9), ("MAX_POWER", 11), ("TIME", 0.5))
    second = period("10:30", ("ENERGY", 2.5), ("POWER", 7.5), ("STATE_OF_CHARGE", 55), ("CURRENT", -3))
    answer = await put(
        api, session, kwh=7, charging_periods=[second, first], last_updated="2026-02-27T10:50:00Z"
    )
    assert answer["status_message"] == "Success; not used: MAX_POWER, TIME"
    found = await stored(api, session)
    interval = "Energy.Active.Import.Interval"
    assert values(found, interval) == [("10:30", 4.5, "Sample.Periodic")]
    assert [v[:2] for v in values(found, "Power.Active.Import")] == [("10:30", 9), ("10:50", 7.5)]
    assert [v[:2] for v in values(found, "SoC")] == [("10:50", 55)]
    assert [v[:2] for v in values(found, "Current.Export")] == [("10:50", 3)]
    assert (found["energy_kwh"], found["energy_source"]) == (7, "register")
    await put(
        api,
        session,
        kwh=7.5,
        charging_periods=[first, second],
        status="COMPLETED",
        last_updated="2026-02-27T11:00:00Z",
    )
    found = await stored(api, session)
    assert [v[:2] for v in values(found, interval)] == [("10:30", 4.5), ("11:00", 2.5)]
    assert (found["ended_at"], found["energy_kwh"]) == ("2026-02-27T11:00:00Z", 7.5)


async def test_the_odd_session_of_a_real_system(api: httpx.AsyncClient) -> None:
    session = f"x{new_id()}"
    odd = {
        "id": session,
        "country_code": "gr",
        "party_id": "emu",
        "start_date_time": "2025-03-04T15:38:39.877000",
        "end_date_time": None,
        "kwh": 0.0,
        "auth_method": "COMMAND",
        "location_id": "l",
        "evse_uid": "u",
        "connector_id": "",
        "currency": "EUR",
        "charging_periods": [],
        "total_cost": None,
        "status": "COMPLETED",
        "last_updated": "2025-03-04T12:44:50.468169",
    }
    answer = await api.put(path_of(session, "GR", "EMU"), json=odd)
    assert answer.status_code == 200, answer.text
    found = (await api.get(f"/v1/sessions/GR*EMU*{session}")).json()
    assert (found["charging_station_id"], found["connector_id"]) == ("u", None)
    assert found["started_at"] == found["ended_at"] == "2025-03-04T15:38:39.877000Z"
    assert values(found) == [("15:38", 0.0, "Transaction.End")]
    assert found["is_anomaly"] is None


async def test_get_gives_back_what_is_kept(api: httpx.AsyncClient) -> None:
    session = new_id()
    await put(api, session)
    await put(api, session, kwh="5.50", last_updated="2026-02-27T10:30:00Z")
    answer = (await api.get(path_of(session, "nl", "tnm"))).json()
    data = answer["data"]
    assert answer["status_code"] == 1000
    assert (data["country_code"], data["party_id"], data["id"]) == ("NL", "TNM", session)
    assert (data["kwh"], data["status"], data["evse_uid"]) == (5.50, "ACTIVE", "EVSE-7")
    assert (data["start_date_time"], data["end_date_time"]) == ("2026-02-27T10:00:00Z", None)


async def test_unknown_sessions_and_other_peoples(
    api: httpx.AsyncClient, other_api: httpx.AsyncClient
) -> None:
    session = new_id()
    await put(api, session, kwh=5, last_updated="2026-02-27T10:30:00Z")
    for answer in (
        await other_api.get(path_of(session)),
        await other_api.patch(path_of(session), json={"kwh": 1}),
        await api.patch(path_of(new_id()), json={"kwh": 1, "evse_uid": "E"}),
    ):
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/json"
        body = answer.json()
        assert (body["data"], body["status_code"]) == (None, 2000)
        assert body["status_message"] == "There is no such session."
    await put(other_api, session, kwh=9, last_updated="2026-02-27T10:30:00Z")
    assert [v[1] for v in values(await stored(api, session))] == [0, 5]
    assert [v[1] for v in values(await stored(other_api, session))] == [0, 9]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"kwh": "1,5"}, "/kwh"),
        ({"kwh": ""}, "/kwh"),
        ({"start_date_time": None}, "/start_date_time"),
        ({"start_date_time": "yesterday"}, "/start_date_time"),
        ({"evse_uid": None, "location_id": None}, "/evse_uid"),
        ({"id": "another"}, "/id"),
        ({"party_id": "XXX"}, "/party_id"),
        (
            {"charging_periods": [{"start_date_time": "2026-02-27T10:00:00Z", "dimensions": {}}]},
            "/dimensions",
        ),
    ],
)
async def test_what_is_wrong_is_named(api: httpx.AsyncClient, changes: dict[str, object], place: str) -> None:
    session = new_id()
    answer = await api.put(path_of(session), json=session_object(session, **changes))
    assert answer.status_code == 400
    assert answer.json()["status_code"] == 2001
    assert place in answer.json()["status_message"]
    assert (await api.get(path_of(session))).status_code == 404


async def test_urls_that_name_nothing(api: httpx.AsyncClient) -> None:
    assert (await api.put(path_of("x", "NLD"), json=session_object("x"))).json()["status_code"] == 2001
    assert (await api.put(path_of("x", "NL", "A*B"), json={})).json()["status_code"] == 2001
    unknown = await api.get("/ocpi/2.2.1/cdrs")
    assert (unknown.status_code, unknown.json()["status_code"]) == (404, 2000)
    assert (await api.put(path_of("x"), content=b"{")).json()["status_code"] == 2001
    deleted = await api.delete(path_of("x"))
    assert (deleted.status_code, deleted.json()["status_code"]) == (405, 2000)


async def test_tokens_as_ocpi_has_them(
    transport: httpx.ASGITransport, two_tenants: tuple[NewKey, NewKey], api: httpx.AsyncClient
) -> None:
    session = new_id()
    await put(api, session)
    key = two_tenants[0].api_key.reveal()
    encoded = base64.b64encode(key.encode()).decode()
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:

        async def status(authorization: str | bytes | None) -> int:
            headers = {} if authorization is None else {"Authorization": authorization}
            return (await client.get(path_of(session), headers=headers)).status_code

        for good in (f"Token {encoded}", f"token {encoded.rstrip('=')}", f"Token {key}", f"Bearer {key}"):
            assert await status(good) == 200
        for bad in (None, "Token", b"Token \xe9", f"Token {encoded[:-6]}", f"Basic {encoded}", "Token !!!!"):
            assert await status(bad) == 401
        refused = await client.get(
            path_of(session), headers={"X-Correlation-ID": "c-1", "X-Request-ID": "r-1"}
        )
        assert (refused.headers["x-correlation-id"], refused.headers["x-request-id"]) == ("c-1", "r-1")
        assert refused.headers["www-authenticate"] == "Token"
        assert refused.json()["status_code"] == 2000
        assert "Token" in refused.json()["status_message"]
        assert (
            await client.get("/v1/sessions", headers={"Authorization": f"Token {encoded}"})
        ).status_code == 401


async def test_ids_of_the_call_come_back(api: httpx.AsyncClient) -> None:
    session = new_id()
    headers = {"X-Correlation-ID": "corr.1", "X-Request-ID": "req.1"}
    answer = await api.put(path_of(session), json=session_object(session), headers=headers)
    assert (answer.headers["x-correlation-id"], answer.headers["x-request-id"]) == ("corr.1", "req.1")
    assert answer.headers["cache-control"] == "no-store"
    plain = await api.get(path_of(session), headers={"X-Correlation-ID": "not sane"})
    assert "x-correlation-id" not in plain.headers
