"""The contract's section 3, sentence by sentence: upserts, ends, versions, the list, erasure."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from chargewatch.client import (
    AsyncClient,
    MeterValue,
    NotFound,
    PreconditionFailed,
    SessionPage,
    Unprocessable,
)
from chargewatch.server.db.address import DatabaseAddress
from chargewatch.server.db.engine import Database
from chargewatch.server.tenants.service import NewKey
from tests.integration.postgres_rows import rows_that_hold

pytestmark = pytest.mark.anyio

START = datetime(2026, 2, 27, 10, tzinfo=UTC)
FALL = (0, 5000, 10000, 1000)


def register(*values: float, start: datetime = START, every: float = 15, **fields: Any) -> list[MeterValue]:
    return [
        MeterValue(start + timedelta(minutes=every * i), v, unit="Wh", **fields) for i, v in enumerate(values)
    ]


NORMAL = register(0, 1000, 2000)


def new_id() -> str:
    return f"s-{uuid4()}"


# --- upserts and attributes --------------------------------------------------------------------------------

ATTRIBUTES: dict[str, Any] = {
    "metadata": {"card": "x"},
    "started_at": START - timedelta(minutes=5),
    "ended_at": START + timedelta(hours=1),
    "stop_reason": "Local",
    "managed": True,
}


async def test_post_with_readings_replaces_them_and_without_keeps_them(client: AsyncClient) -> None:
    name = new_id()
    await client.create_session(name, "CP-1", register(0, 1000, 2000, 3000))
    await client.create_session(name, "CP-1", NORMAL)
    for none in (None, []):
        state = await client.create_session(name, "CP-1", none)
        assert (state.version, state.energy_kwh) == (2, 2.0)
    assert len((await client.get_session(name)).meter_values) == 3


async def test_put_needs_a_reading_and_put_and_patch_a_session(client: AsyncClient) -> None:
    with pytest.raises(NotFound):
        await client.replace_session(new_id(), NORMAL)
    with pytest.raises(NotFound):
        await client.update_session(new_id(), [])
    name = new_id()
    state = await client.create_session(name, "CP-1", NORMAL)
    with pytest.raises(Unprocessable):
        await client.replace_session(name, [])
    assert await client.update_session(name, []) == state


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_each_call_sets_the_attributes_that_it_names_and_no_others(
    client: AsyncClient, method: str
) -> None:
    name = new_id()
    await client.create_session(name, "CP-1", NORMAL, connector_id=1, evse_id=2)

    async def send(**attributes: Any) -> int:
        if method == "POST":
            state = await client.create_session(name, "CP-1", None, **attributes)
        elif method == "PUT":
            state = await client.replace_session(name, NORMAL, **attributes)
        else:
            state = await client.update_session(name, [], **attributes)
        return state.version

    expected: dict[str, Any] = dict.fromkeys(ATTRIBUTES) | {"metadata": {}}
    for version, (field, value) in enumerate(ATTRIBUTES.items(), 2):
        assert await send(**{field: value}) == version, "an attribute alone is a change"
        assert await send(**{field: value}) == version, "its repeat is none"
        expected[field] = value
        detail = await client.get_session(name)
        assert {field: getattr(detail, field) for field in ATTRIBUTES} == expected
        assert (detail.connector_id, detail.evse_id) == ("1", "2")
        assert (detail.version, detail.analyzed_version) == (version, version)
    assert await send(metadata={"other": 1}) == 7
    assert (await client.get_session(name)).metadata == {"other": 1}, "replaced as a whole"
    assert await send(metadata={}) == 8
    assert (await client.get_session(name)).metadata == {}


DIFFERENT = [
    ({"a": 1}, {"a": True}),
    ({"a": False}, {"a": 0}),
    ({"a": 1}, {"a": "1"}),
    ({"a": 10**30}, {"a": 10**30 + 1}),
]


@pytest.mark.parametrize(("before", "after"), DIFFERENT, ids=str)
async def test_metadata_that_differs_in_whatever_way_replaces(
    api: httpx.AsyncClient, before: object, after: object
) -> None:
    name = new_id()
    for version, value in enumerate((before, after), 1):
        body = {"session_id": name, "charging_station_id": "CP-1", "metadata": {"a": value}}
        assert (await api.post("/v1/sessions", json=body)).json()["version"] == version
    assert json.dumps({"a": after}, separators=(",", ":")) in (
        await api.get(f"/v1/sessions/{name}")
    ).text.replace(": ", ":")


async def test_null_equals_absent(api: httpx.AsyncClient) -> None:
    name = new_id()
    first = {"session_id": name, "charging_station_id": "CP-1", "connector_id": "1", "metadata": {"a": 1}}
    first |= {"started_at": "2026-02-27T10:00:00Z", "stop_reason": "Local", "managed": False}
    await api.post("/v1/sessions", json=first)
    nulls = dict.fromkeys(("connector_id", "evse_id", "metadata", "started_at", "ended_at", "stop_reason"))
    nulls |= {"managed": None, "meter_values": None, "charging_point_id": None}
    answer = await api.post("/v1/sessions", json=first | nulls)
    assert (answer.status_code, answer.json()["version"]) == (200, 1)
    detail = (await api.get(f"/v1/sessions/{name}")).json()
    assert {field: detail[field] for field in first if field != "session_id"} == {
        field: value for field, value in first.items() if field != "session_id"
    }


async def test_charging_point_id_is_another_name_of_the_station(api: httpx.AsyncClient) -> None:
    name, station = new_id(), f"CP-\u00e9-{uuid4()}"
    body = {"session_id": name, "charging_point_id": station}
    assert (await api.post("/v1/sessions", json=body)).status_code == 200
    body["charging_station_id"] = station.replace("\u00e9", "e\u0301")
    same = await api.post("/v1/sessions", json=body)
    assert (same.status_code, same.json()["version"]) == (200, 1), "the same in normal form"
    assert (await api.get(f"/v1/sessions/{name}")).json()["charging_station_id"] == station
    assert (await api.post("/v1/sessions", json=body | {"charging_point_id": "other"})).status_code == 422


async def test_a_moved_session_takes_its_counts_along(client: AsyncClient, other_client: AsyncClient) -> None:
    here, there, name = f"A-{uuid4()}", f"B-{uuid4()}", new_id()
    theirs = await other_client.get_statistics()
    before = await client.get_statistics()
    await client.create_session(name, here, register(*FALL), connector_id=1)
    moves: list[tuple[str, str | None, str | None]] = [
        (here, "7", None),
        (there, None, None),
        (there, "8", "2"),
    ]
    connector, evse = "1", None
    for station, to, at in moves:
        state = await client.create_session(name, station, connector_id=to, evse_id=at)
        connector, evse = to or connector, at or evse
        assert state.is_anomaly
        (found,) = (await client.get_station_connectors(station)).connectors
        assert (found.connector_id, found.evse_id) == (connector, evse)
        assert (found.total_sessions, found.anomalous_sessions) == (1, 1)
        assert found.anomaly_categories == {"KWH_DECREASE": 1}
        listed = await client.list_sessions(charging_station_id=station, connector_id=connector)
        assert [item.external_session_id for item in listed.items] == [name]
    left = await client.get_station(here)
    assert (left.total_sessions, left.anomalous_sessions, left.connectors) == (0, 0, [])
    after = await client.get_statistics()
    assert after.total_sessions == before.total_sessions + 1
    assert after.anomalous_sessions == before.anomalous_sessions + 1
    assert after.total_stations == before.total_stations + 2
    assert after.stations_with_anomalies == before.stations_with_anomalies + 1
    assert await other_client.get_statistics() == theirs


async def test_three_stored_readings_are_judged_and_fewer_are_pending(client: AsyncClient) -> None:
    name = new_id()
    state = await client.create_session(name, "CP-1", NORMAL[:2])
    assert (state.status, state.is_anomaly, state.anomalies, state.analyzed_at) == ("pending", None, [], None)
    state = await client.update_session(name, NORMAL[2:])
    assert (state.status, state.is_anomaly, state.analyzed_version) == ("active", False, 2)
    state = await client.replace_session(name, NORMAL[:1])
    assert (state.status, state.is_anomaly, state.analyzed_version) == ("pending", None, None)


async def test_fewer_than_two_instants_to_analyse_are_doubtful(client: AsyncClient) -> None:
    one_instant = [
        MeterValue(START, 1000, phase=phase, measurand="Power.Active.Import") for phase in ("L1", "L2", "L3")
    ]
    unknown = [*NORMAL[:1], *(MeterValue(v.timestamp, 1, measurand="Vendor.Own") for v in NORMAL)]
    for values in (one_instant, unknown):
        state = await client.create_session(new_id(), "CP-1", values)
        assert state.status == "active"
        assert state.anomaly_confidence is not None
        assert state.anomaly_confidence <= 0.5


# --- the end of a session ----------------------------------------------------------------------------------


def stalled(start: datetime, **last: Any) -> list[MeterValue]:
    """Connected for 20 minutes without energy: on AC that is a zero session only once it is over."""
    return [
        *register(0, 0, 0, 0, start=start, every=5),
        *register(0, start=start + timedelta(minutes=20), **last),
    ]


async def test_a_session_is_over_at_ended_at_or_transaction_end_or_when_nothing_comes(
    client: AsyncClient,
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    live = now - timedelta(minutes=25)
    assert (await client.create_session(new_id(), "CP-1", stalled(live))).is_anomaly is False
    ended = await client.create_session(new_id(), "CP-1", stalled(live), ended_at=now)
    closed = await client.create_session(new_id(), "CP-1", stalled(live, context="Transaction.End"))
    idle = await client.create_session(new_id(), "CP-1", stalled(now - timedelta(hours=6, minutes=21)))
    for state in (ended, closed, idle):
        assert [a.category for a in state.anomalies] == ["ZERO_SESSION"]
    still = await client.create_session(new_id(), "CP-1", stalled(now - timedelta(hours=6, minutes=19)))
    assert still.is_anomaly is False, "six hours have not passed"


async def test_a_late_reading_reopens_a_session(client: AsyncClient) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    start = now - timedelta(hours=6, minutes=21)
    name = new_id()
    assert (await client.create_session(name, "CP-1", stalled(start))).is_anomaly is True
    state = await client.update_session(name, register(300, start=start + timedelta(minutes=22)))
    assert (state.is_anomaly, state.was_anomalous) == (False, True)


# --- versions ----------------------------------------------------------------------------------------------


async def test_concurrent_calls_on_one_session_lose_nothing(client: AsyncClient) -> None:
    name = new_id()
    await client.create_session(name, "CP-1", NORMAL[:1])
    values = register(*range(0, 4100, 100), every=1)[1:]
    states = await asyncio.gather(*(client.update_session(name, [value]) for value in values))
    assert sorted(state.version for state in states) == list(range(2, 42))
    detail = await client.get_session(name)
    assert len(detail.meter_values) == 41
    assert (detail.version, detail.analyzed_version) == (41, 41)


IF_MATCH = [
    ('"1"', True), ('"9"', False), ("*", True), ('"9", "1"', True), ('"9" , "8"', False), ('W/"1"', False),
    ("1", False), ('"1', False), ("", False),
]  # fmt: skip


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(("tag", "fits"), IF_MATCH, ids=str)
async def test_if_match_is_compared_strongly_with_each_tag(
    api: httpx.AsyncClient, method: str, tag: str, fits: bool
) -> None:
    body: dict[str, Any] = {"session_id": new_id(), "charging_station_id": "CP-1"}
    assert (await api.post("/v1/sessions", json=body)).headers["etag"] == '"1"'
    path = "/v1/sessions" if method == "POST" else f"/v1/sessions/{body['session_id']}"
    values = {"meter_values": [{"timestamp": "2026-02-27T10:00:00Z", "value": 1}]}
    sent = {"POST": body | values, "PUT": values, "PATCH": values, "DELETE": None}[method]
    answer = await api.request(method, path, json=sent, headers={"If-Match": tag})
    assert answer.status_code == (412 if not fits else 204 if method == "DELETE" else 200)
    if not fits:
        assert (await api.get(f"/v1/sessions/{body['session_id']}")).json()["version"] == 1


async def test_if_match_never_makes_a_session(client: AsyncClient) -> None:
    for tag in ("*", '"1"'):
        name = new_id()
        with pytest.raises(PreconditionFailed):
            await client.create_session(name, "CP-1", NORMAL, if_match=tag)
        with pytest.raises(NotFound):
            await client.get_session(name)


IF_NONE_MATCH = [
    ('"1"', 304),
    ('W/"1"', 304),
    ("*", 304),
    ('"9", W/"1"', 304),
    ('"9"', 200),
    ("1", 200),
    ("", 200),
]


@pytest.mark.parametrize(("tag", "status"), IF_NONE_MATCH)
async def test_if_none_match_is_compared_weakly_with_each_tag(
    api: httpx.AsyncClient, tag: str, status: int
) -> None:
    name = new_id()
    await api.post("/v1/sessions", json={"session_id": name, "charging_station_id": "CP-1"})
    answer = await api.get(f"/v1/sessions/{name}", headers={"If-None-Match": tag})
    assert (answer.status_code, answer.headers["etag"]) == (status, '"1"')
    assert bool(answer.content) == (status == 200)


# --- the list ----------------------------------------------------------------------------------------------


def names(page: SessionPage) -> list[str]:
    return [item.external_session_id for item in page.items]


async def test_the_list_is_of_analysed_sessions_newest_begin_first(client: AsyncClient) -> None:
    station = f"CP-{uuid4()}"
    day = datetime(2026, 3, 1, tzinfo=UTC)
    sane_later = [
        MeterValue("1999-01-01T00:00:00Z", 0),
        *register(0, 900, 1800, start=day + timedelta(hours=30)),
    ]
    await client.create_session(f"{station}-given", station, NORMAL, started_at=day)
    await client.create_session(f"{station}-sane", station, sane_later)
    await client.create_session(f"{station}-read", station, register(*FALL, start=day + timedelta(hours=24)))
    await client.create_session(f"{station}-empty", station)
    await client.create_session(
        f"{station}-insane", station, register(1000, 2000, 3000, start=datetime(1999, 1, 1, tzinfo=UTC))
    )
    await client.replace_session(
        f"{station}-insane", register(1000, 2000, 3000, start=datetime(1998, 1, 1, tzinfo=UTC))
    )

    async def found(**filters: Any) -> list[str]:
        return [
            name.removeprefix(f"{station}-")
            for name in names(await client.list_sessions(charging_station_id=station, **filters))
        ]

    assert await found() == ["insane", "sane", "read", "given"]
    assert await found(status="all") == ["insane", "empty", "sane", "read", "given"]
    assert await found(status="pending") == ["empty"]
    items = (await client.list_sessions(charging_station_id=station, status="all")).items
    assert [i.started_at for i in items][2:] == [day + timedelta(hours=30), day + timedelta(hours=24), day]
    assert all(abs(i.started_at - i.created_at) < timedelta(seconds=5) for i in items[:2])
    for date_from, date_to, expected in (
        ("2026-03-01", "2026-03-02", ["given"]),
        ("2026-03-01", "2026-03-03", ["sane", "read", "given"]),
        ("2026-03-02", "2026-03-03", ["sane", "read"]),
        ("2026-03-02T00:00:00.000001Z", "2026-03-03", ["sane"]),
        ("2026-03-02T01:00:00+01:00", "2026-03-02T06:00:00", ["read"]),
        ("2026-03-02T01:00:00+01:00", "2026-03-02T06:00:00.000001", ["sane", "read"]),
    ):
        assert await found(date_from=date_from, date_to=date_to) == expected
    analysed = (await client.list_sessions(charging_station_id=station)).items
    for field in ("anomaly_score", "anomaly_confidence"):
        for least in (getattr(item, field) for item in analysed):
            expected = [i.external_session_id for i in analysed if getattr(i, field) >= least]
            filters = {field.replace("anomaly", "min"): least}
            assert [f"{station}-{name}" for name in await found(**filters)] == expected


async def test_begin_is_creation_again_when_no_sane_reading_is_left(client: AsyncClient) -> None:
    station, name = f"CP-{uuid4()}", new_id()
    await client.create_session(name, station, NORMAL)
    await client.replace_session(name, register(1000, 2000, 3000, start=datetime(1999, 1, 1, tzinfo=UTC)))
    (item,) = (await client.list_sessions(charging_station_id=station)).items
    assert abs(item.started_at - item.created_at) < timedelta(seconds=5)


async def test_equal_begins_are_listed_by_id(client: AsyncClient) -> None:
    station = f"CP-{uuid4()}"
    for _ in range(5):
        await client.create_session(new_id(), station, NORMAL)
    listed = [item.session_id for item in (await client.list_sessions(charging_station_id=station)).items]
    assert listed == sorted(listed)


# --- erasure -----------------------------------------------------------------------------------------------


async def test_erasure_leaves_no_trace(
    client: AsyncClient,
    other_client: AsyncClient,
    database: Database,
    two_tenants: tuple[NewKey, NewKey],
    address: DatabaseAddress,
) -> None:
    station, name, key = f"CP-{uuid4()}", f"secret-{uuid4()}", f"key-{uuid4()}"
    before = await client.get_statistics()
    neighbour = await client.create_session(new_id(), station, NORMAL, connector_id=1)
    await other_client.create_session(name, station, NORMAL)
    await client.create_session(name, station, register(*FALL), connector_id=1, idempotency_key=key)
    await client.update_session(name, register(9, start=START + timedelta(hours=2)), idempotency_key=key)
    (item,) = (await client.list_sessions(charging_station_id=station, is_anomaly=True)).items
    await client.delete_session(name)
    for path in (name, item.session_id):
        with pytest.raises(NotFound):
            await client.get_session(path)
    assert names(await client.list_sessions(charging_station_id=station, status="all")) == [
        neighbour.session_id
    ]
    counts = await client.get_station(station)
    assert (counts.total_sessions, counts.anomalous_sessions) == (1, 0)
    after = await client.get_statistics()
    assert (after.total_sessions, after.anomalous_sessions) == (
        before.total_sessions + 1,
        before.anomalous_sessions,
    )
    assert await rows_that_hold(database, two_tenants[0].tenant_id, name, item.session_id) == []
    assert (await other_client.get_session(name)).session_id == name
    anew = await client.create_session(name, station, register(*FALL), connector_id=1, idempotency_key=key)
    assert (anew.version, anew.was_anomalous) == (1, True), "as if it had never been"
