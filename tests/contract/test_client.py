"""The Python client and the API together: what goes in comes out, for every method."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import httpx
import pytest

from chargewatch.client import (
    ApiError,
    AsyncClient,
    MeterValue,
    NotFound,
    PreconditionFailed,
    Retry,
    SessionState,
    Unauthorized,
    Unprocessable,
)
from chargewatch.server.tenants.keys import new_key
from chargewatch.server.tenants.service import NewKey
from tests.contract.conftest import BASE, python_client

pytestmark = pytest.mark.anyio

START = datetime(2026, 2, 27, 10, tzinfo=UTC)


def readings(*values: float | str | Decimal, first: int = 0) -> list[MeterValue]:
    """A register in kWh, a reading every 15 minutes."""
    return [
        MeterValue(START + timedelta(minutes=15 * i), value, unit="kWh")
        for i, value in enumerate(values, first)
    ]


async def test_a_session_from_its_first_reading_to_its_end(client: AsyncClient) -> None:
    name = f"s-{uuid4()}"
    state = await client.create_session(
        name, "CP 1", connector_id=1, evse_id="E", metadata={"a": [1]}, started_at=START, managed=False
    )
    assert (state.session_id, state.status, state.is_anomaly) == (name, "pending", None)
    state = await client.update_session(name, readings(0, "5.50", Decimal("11.100")))
    assert (state.status, state.is_anomaly, state.anomalies) == ("active", False, [])
    assert await client.update_session(name) == state
    state = await client.update_session(
        name, readings(3, first=3), ended_at=START + timedelta(hours=1), stop_reason="Local"
    )
    (anomaly,) = state.anomalies
    assert (state.is_anomaly, anomaly.category, anomaly.concern) == (True, "KWH_DECREASE", "billing")
    assert anomaly.time_range.start_timestamp == START + timedelta(minutes=30)
    assert [found.observed for found in anomaly.evidence][:2] == [11.1, 3.0]
    detail = await client.get_session(name, raw=True)
    assert [str(value.value) for value in detail.meter_values] == ["0", "5.50", "11.100", "3"]
    assert [value.raw_value for value in detail.meter_values] == ["0", "5.50", "11.100", "3"]
    assert [value.timestamp for value in detail.meter_values] == [v.timestamp for v in readings(0, 0, 0, 0)]
    assert (detail.charging_station_id, detail.evse_id, detail.connector_id) == ("CP 1", "E", "1")
    assert (detail.metadata, detail.started_at, detail.managed) == ({"a": [1]}, START, False)
    assert (detail.ended_at, detail.stop_reason) == (START + timedelta(hours=1), "Local")
    assert detail.version == state.version
    replaced = await client.replace_session(name, readings(0, 1, 2), metadata={})
    assert (replaced.is_anomaly, replaced.was_anomalous) == (False, True)
    assert (await client.get_session(name)).metadata == {}
    assert await client.delete_session(name) is None
    with pytest.raises(NotFound) as gone:
        await client.get_session(name)
    assert gone.value.code == "session_not_found"
    assert gone.value.request_id


async def test_digits_beyond_a_float_come_back(client: AsyncClient) -> None:
    name, exact = f"s-{uuid4()}", Decimal("123456789012345.678901234567890")
    signed = MeterValue(START, "OCMF|{...}", format="SignedData", measurand="Energy.Active.Import.Register")
    await client.create_session(name, "CP", [*readings(exact, first=1), signed])
    values = (await client.get_session(name)).meter_values
    assert [value.value for value in values] == ["OCMF|{...}", exact]
    assert str(values[1].value) == str(exact)


async def test_versions_guard_changes(client: AsyncClient) -> None:
    name = f"s-{uuid4()}"
    first = await client.create_session(name, "CP", readings(0, 1, 2))
    assert await client.get_session_if_changed(name, first.version) is None
    second = await client.update_session(name, readings(3, first=3), if_match=first.version)
    changed = await client.get_session_if_changed(name, first.version)
    assert changed is not None
    assert changed.version == second.version
    for attempt in (
        client.update_session(name, readings(4, first=4), if_match=first.version),
        client.replace_session(name, readings(4), if_match=first.version),
        client.create_session(name, "CP", readings(4), if_match=f'"{first.version}"'),
        client.delete_session(name, if_match=first.version),
    ):
        with pytest.raises(PreconditionFailed):
            await attempt
    await client.delete_session(name, if_match=second.version)


async def test_a_repeated_key_changes_nothing(
    client: AsyncClient, transport: httpx.ASGITransport, two_tenants: tuple[NewKey, NewKey]
) -> None:
    name, key = f"s-{uuid4()}", str(uuid4())
    await client.create_session(name, "CP", readings(0, 1, 2))
    quick = Retry(sleep_async=lambda _: asyncio.sleep(0.02), attempts=50)  # "under way" is repeated, soon
    api_key = two_tenants[0].api_key.reveal()
    async with AsyncClient(BASE, api_key, transport=transport, retry=quick) as patient:
        states = await asyncio.gather(
            *(patient.replace_session(name, readings(0, 1, 2, 3), idempotency_key=key) for _ in range(3))
        )
    assert {state.version for state in states} == {2}
    await client.update_session(name, readings(4, first=4))
    again = await client.replace_session(name, readings(0, 1, 2, 3), idempotency_key=key)
    assert again == states[0], "the answer of then"
    assert len((await client.get_session(name)).meter_values) == 5, "not replaced again"
    with pytest.raises(Unprocessable) as reused:
        await client.replace_session(name, readings(0), idempotency_key=key)
    assert reused.value.code == "idempotency_key_reused"


async def test_a_large_push_goes_out_compressed(client: AsyncClient) -> None:
    name = f"s-{uuid4()}"
    many = [MeterValue(START + timedelta(seconds=i), i, unit="Wh") for i in range(2000)]
    await client.create_session(name, "CP", many)
    assert len((await client.get_session(name)).meter_values) == 2000


async def test_what_is_wrong_is_named_with_its_place(client: AsyncClient) -> None:
    with pytest.raises(Unprocessable) as refused:
        await client.create_session(f"s-{uuid4()}", "CP", [*readings(0), MeterValue("yesterday", 1)])
    (wrong,) = refused.value.errors
    assert (wrong.loc, wrong.pointer) == (("meter_values", 1, "timestamp"), "/meter_values/1/timestamp")
    with pytest.raises(Unprocessable) as refused:
        await client.list_sessions(page_size=101)
    assert refused.value.errors[0].loc == ("page_size",)


async def test_lists_by_page_and_in_one_walk(client: AsyncClient) -> None:
    station = f"CP-{uuid4()}"
    names = [f"s-{uuid4()}" for _ in range(5)]
    for day, name in enumerate(names):
        values = readings(0, 5, 1) if day == 2 else readings(0, 1, 2)
        await client.create_session(name, station, values, started_at=START - timedelta(days=day))
    page = await client.list_sessions(charging_station_id=station, page_size=2, page=2)
    assert (page.total, page.page, page.page_size) == (5, 2, 2)
    assert [item.external_session_id for item in page.items] == names[2:4]
    assert page.items[0].categories == ["KWH_DECREASE"]
    by_internal_id = await client.get_session(page.items[0].session_id)
    assert by_internal_id.session_id == names[2]
    walk = client.iterate_sessions(charging_station_id=station, page_size=2)
    assert [item.external_session_id async for item in walk] == names
    some = client.iterate_sessions(
        charging_station_id=station,
        date_from=(START - timedelta(days=3)).date(),
        date_to=START,
        is_anomaly=False,
    )
    assert [item.external_session_id async for item in some] == [names[1], names[3]]


async def test_stations_and_totals(client: AsyncClient, other_client: AsyncClient) -> None:
    before = await client.get_statistics()
    stations = [f"st {uuid4()}" for _ in range(3)]
    for station in stations:
        await client.create_session(f"s-{uuid4()}", station, readings(0, 5, 1), connector_id=7)
    totals = await client.get_statistics()
    assert totals.total_sessions - before.total_sessions == 3
    assert totals.total_stations - before.total_stations == 3
    assert totals.anomaly_rate == round(totals.anomalous_sessions / totals.total_sessions, 4)
    listed = [item async for item in client.iterate_stations(page_size=2)]
    assert {item.external_station_id for item in listed} >= set(stations)
    assert len(listed) == (await client.list_stations()).total == totals.total_stations
    detail = await client.get_station(stations[0])
    assert UUID(detail.charging_station_id)
    assert (detail.total_sessions, detail.connectors[0].connector_id) == (1, "7")
    connectors = await client.get_station_connectors(detail.charging_station_id)
    assert connectors.charging_station_id == stations[0]
    assert connectors.connectors[0].anomaly_categories == {"KWH_DECREASE": 1}
    with pytest.raises(NotFound):
        await other_client.get_station(stations[0])


async def test_frames_of_a_station(client: AsyncClient) -> None:
    station = f"CP-{uuid4()}"
    begin = {"connectorId": 1, "idTag": "TAG", "meterStart": 154110, "timestamp": "2026-02-27T10:00:00Z"}
    begun = '[3, "m1", {"transactionId": 17, "idTagInfo": {"status": "Accepted"}}]'
    sampled = '{"timestamp": "2026-02-27T10:15:00Z", "sampledValue": [{"value": "159610.50"}]}'
    metered = (
        f'[2, "m2", "MeterValues", {{"connectorId": 1, "transactionId": 17, "meterValue": [{sampled}]}}]'
    )
    frames = [[2, "m1", "StartTransaction", begin], begun.encode(), metered, "[2, broken"]
    answer = await client.push_ocpp(station, frames, protocol="ocpp1.6")
    assert (answer.accepted, answer.ignored, answer.refused) == (3, 0, 1)
    assert answer.messages[3].pointer == "/messages/3"
    (session,) = answer.sessions
    stored = await client.get_session(session.session_id)
    assert str(stored.meter_values[-1].value) == "159610.50"
    assert (stored.charging_station_id, stored.connector_id) == (station, "1")
    again = await client.push_ocpp(station, frames)
    assert [one.version for one in again.sessions] == [session.version], "nothing has changed"


async def test_session_objects_of_ocpi(client: AsyncClient) -> None:
    name = str(uuid4())
    session = {
        "country_code": "NL",
        "party_id": "TNM",
        "id": name,
        "start_date_time": "2026-02-27T10:00:00Z",
        "kwh": Decimal("11.100"),
        "location_id": "LOC1",
        "evse_uid": "E1",
        "connector_id": "1",
        "status": "ACTIVE",
        "last_updated": "2026-02-27T10:30:00Z",
    }
    stored = await client.put_ocpi_session("NL", "TNM", name, session)
    assert (stored.status_code, stored.data.session_id) == (1000, f"NL*TNM*{name}")
    change = {"kwh": Decimal("16.50"), "last_updated": "2026-02-27T10:45:00Z", "status": "COMPLETED"}
    changed = await client.patch_ocpi_session("NL", "TNM", name, change)
    assert changed.data.version > stored.data.version
    found = (await client.get_ocpi_session("NL", "TNM", name)).data
    assert (str(found.kwh), found.status, found.location_id) == ("16.50", "COMPLETED", "LOC1")
    with pytest.raises(NotFound) as missing:
        await client.get_ocpi_session("NL", "TNM", "nobody's")
    assert missing.value.code == "ocpi_2000"
    with pytest.raises(ApiError) as wrong:
        await client.put_ocpi_session("NL", "TNM", name, session | {"kwh": "much"})
    assert (wrong.value.status, wrong.value.code) == (400, "ocpi_2001")


async def test_another_tenant_sees_nothing(client: AsyncClient, other_client: AsyncClient) -> None:
    name = f"s-{uuid4()}"
    await client.create_session(name, "CP", readings(0, 1, 2))
    for attempt in (
        other_client.get_session(name),
        other_client.update_session(name, readings(3)),
        other_client.replace_session(name, readings(3)),
        other_client.delete_session(name),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert [item async for item in other_client.iterate_sessions(status="all")] == []


async def test_health_needs_no_key_and_all_else_a_good_one(transport: httpx.ASGITransport) -> None:
    async with python_client(transport, new_key()) as stranger:
        assert (await stranger.get_health()).status == "ok"
        ready = await stranger.get_readiness()
        assert (ready.status, set(ready.checks.values())) == ("ready", {"ok"})
        with pytest.raises(Unauthorized):
            await stranger.list_sessions()


async def test_many_calls_at_once(client: AsyncClient) -> None:
    name = f"s-{uuid4()}"
    await client.create_session(name, "CP")

    async def push(number: int) -> SessionState:
        return await client.update_session(name, readings(number, first=number))

    states = await asyncio.gather(*map(push, range(20)))
    assert {state.version for state in states} == set(range(2, 22))
    assert len((await client.get_session(name)).meter_values) == 20
