"""The contract's section 1, sentence by sentence: keys, errors, identifiers, times, pages, what is refused."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import pytest

from chargewatch.client import AsyncClient, MeterValue, NotFound
from chargewatch.server.db.address import DatabaseAddress
from chargewatch.server.db.connection import connected
from chargewatch.server.tenants.keys import Scope
from chargewatch.server.tenants.service import NewKey, TenantService
from tests.contract.conftest import client_of

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
START = datetime(2026, 2, 27, 10, tzinfo=UTC)
JSON_TYPE = {"Content-Type": "application/json"}
COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def new_id() -> str:
    return f"s-{uuid4()}"


def register(*values: float, start: datetime = START) -> list[MeterValue]:
    return [MeterValue(start + timedelta(minutes=10 * i), v, unit="Wh") for i, v in enumerate(values)]


def body(**fields: Any) -> Json:
    return {"session_id": new_id(), "charging_station_id": "CP-1", **fields}


# --- keys and scopes ---------------------------------------------------------------------------------------


async def key_of(address: DatabaseAddress, tenant: UUID, scope: Scope, **fields: Any) -> NewKey:
    async with connected(address.owner) as owner:
        return await TenantService(owner, address.roles).create_key(tenant, frozenset({scope}), **fields)


CALLS = [
    ("POST", "/v1/sessions", Scope.WRITE),
    ("PUT", "/v1/sessions/x", Scope.WRITE),
    ("PATCH", "/v1/sessions/x", Scope.WRITE),
    ("DELETE", "/v1/sessions/x", Scope.WRITE),
    ("GET", "/v1/sessions/x", Scope.READ),
    ("GET", "/v1/sessions", Scope.READ),
    ("GET", "/v1/stations", Scope.READ),
    ("GET", "/v1/stations/x", Scope.READ),
    ("GET", "/v1/stations/x/connectors", Scope.READ),
    ("GET", "/v1/statistics", Scope.READ),
]


async def test_a_key_without_the_scope_that_a_call_needs_gets_403(
    transport: httpx.ASGITransport, address: DatabaseAddress, two_tenants: tuple[NewKey, NewKey]
) -> None:
    keys = {
        scope: await key_of(address, two_tenants[0].tenant_id, scope) for scope in (Scope.READ, Scope.WRITE)
    }
    for scope, key in keys.items():
        async with client_of(transport, key.api_key.reveal()) as client:
            for method, path, needed in CALLS:
                answer = await client.request(
                    method, path, json={} if method in {"POST", "PUT", "PATCH"} else None
                )
                refused = (answer.status_code, answer.json().get("code")) == (403, "insufficient_scope")
                assert refused == (scope != needed), (scope, method, path)


async def test_without_a_good_key_every_call_gets_401(
    transport: httpx.ASGITransport, address: DatabaseAddress, two_tenants: tuple[NewKey, NewKey]
) -> None:
    tenant = two_tenants[0].tenant_id
    expired = await key_of(address, tenant, Scope.READ, expires_at=datetime.now(UTC) + timedelta(hours=1))
    revoked = await key_of(address, tenant, Scope.READ)
    async with connected(address.owner) as owner:
        await TenantService(owner, address.roles).revoke_key(revoked.key_id)
    async with client_of(transport, expired.api_key.reveal()) as client:
        assert (await client.get("/v1/statistics")).status_code == 200
    async with connected(address.owner) as owner:
        await owner.execute("UPDATE api_keys SET expires_at = now() WHERE key_id = $1", expired.key_id)
    await asyncio.sleep(1.01)  # what a process remembers of a key
    for key in (None, "cw_unknown", expired.api_key.reveal(), revoked.api_key.reveal()):
        async with client_of(transport, key) as client:
            for method, path, _ in CALLS:
                answer = await client.request(method, path)
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), (method, path)


# --- errors ------------------------------------------------------------------------------------------------

ERRORS: list[tuple[str, str, Json, int]] = [
    ("POST", "/v1/sessions", {"content": b"{", "headers": JSON_TYPE}, 400),
    ("GET", "/v1/sessions/nobody", {}, 404),
    ("GET", "/v1/nothing", {}, 404),
    ("PATCH", "/v1/sessions", {"json": {}}, 405),
    ("GET", "/v1/sessions", {"headers": {"Accept": "text/html"}}, 406),
    ("POST", "/v1/sessions", {"json": body(), "headers": {"If-Match": '"7"'}}, 412),
    ("POST", "/v1/sessions", {"content": b" " * (17 << 20), "headers": JSON_TYPE}, 413),
    ("POST", "/v1/sessions", {"content": b"<x/>", "headers": {"Content-Type": "text/xml"}}, 415),
    ("POST", "/v1/sessions", {"json": body(surprise="canary-7f3a")}, 422),
    ("POST", "/v1/sessions", {"json": body(started_at="canary-7f3a")}, 422),
    ("POST", "/v1/sessions", {"json": body(meter_values=[{"timestamp": "canary-7f3a", "value": 1}])}, 422),
    (
        "POST",
        "/v1/sessions",
        {"json": body(meter_values=[{"timestamp": "2026-02-27", "value": "canary-7f3a"}])},
        422,
    ),
    ("GET", "/v1/sessions?date_from=canary-7f3a", {}, 422),
    ("GET", "/v1/sessions?category=canary-7f3a", {}, 422),
]


@pytest.mark.parametrize(("method", "path", "sent", "status"), ERRORS, ids=range(len(ERRORS)))
async def test_errors_are_problems_with_every_member_and_without_the_input(
    api: httpx.AsyncClient, method: str, path: str, sent: Json, status: int
) -> None:
    headers = {"X-Request-Id": "my-own-1", **sent.get("headers", {})}
    answer = await api.request(method, path, **{**sent, "headers": headers})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "my-own-1"
    problem = answer.json()
    members = {"type", "title", "status", "detail", "instance", "request_id", "code"}
    assert set(problem) == members | ({"errors"} if status == 422 else set())
    assert (problem["status"], problem["request_id"]) == (status, "my-own-1")
    for error in problem.get("errors", ()):
        assert set(error) == {"loc", "pointer", "msg", "type"}
        assert isinstance(error["loc"], list)
    for leak in ("canary-7f3a", "Traceback", "SELECT", 'File "'):
        assert leak not in answer.text


# --- identifiers -------------------------------------------------------------------------------------------


async def test_internal_ids_appear_in_three_places_and_no_other(api: httpx.AsyncClient) -> None:
    station, one = f"CP-{uuid4()}", body()
    one["charging_station_id"] = station
    pushed = await api.post("/v1/sessions", json=one)
    (item,) = (
        await api.get("/v1/sessions", params={"charging_station_id": station, "status": "all"})
    ).json()["items"]
    assert (item["external_session_id"], item["charging_station_id"]) == (one["session_id"], station)
    detail = (await api.get(f"/v1/stations/{station}")).json()
    internal = {str(UUID(item["session_id"])), str(UUID(detail["charging_station_id"]))}
    elsewhere = [
        pushed,
        await api.get(f"/v1/sessions/{item['session_id']}"),
        await api.patch(f"/v1/sessions/{item['session_id']}", json={"meter_values": []}),
        await api.get(f"/v1/stations/{detail['charging_station_id']}/connectors"),
    ]
    for answer in elsewhere:
        assert answer.status_code == 200
        assert not [name for name in internal if name in answer.text]
    assert elsewhere[-1].json()["charging_station_id"] == station


async def test_an_id_is_looked_up_as_external_first_then_as_uuid(client: AsyncClient) -> None:
    station, first = f"CP-{uuid4()}", new_id()
    await client.create_session(first, station, register(0, 1000, 2000))
    (item,) = (await client.list_sessions(charging_station_id=station)).items
    twin = item.session_id
    assert (await client.get_session(twin)).session_id == first
    await client.create_session(twin, station, register(0, 3000, 6000))
    assert (await client.get_session(twin)).session_id == twin
    assert (
        await client.update_session(twin, register(9000, start=START + timedelta(hours=1)))
    ).energy_kwh == 9.0
    assert (await client.get_session(first)).energy_kwh == 2.0
    await client.delete_session(twin)
    assert (await client.get_session(twin)).session_id == first, "now it is the internal one again"
    internal = (await client.get_station(station)).charging_station_id
    assert (await client.list_sessions(charging_station_id=internal)).total == 1
    await client.create_session(new_id(), internal, register(0, 1000, 2000))
    assert (await client.get_station(internal)).external_station_id == internal
    assert (await client.list_sessions(charging_station_id=internal)).total == 1


async def test_ids_are_in_normal_form_and_else_compared_byte_for_byte(client: AsyncClient) -> None:
    tail = str(uuid4())
    await client.create_session(
        DECOMPOSED + tail, DECOMPOSED + tail, register(0, 1000, 2000), connector_id=DECOMPOSED
    )
    again = await client.create_session(COMPOSED + tail, COMPOSED + tail)
    assert (again.session_id, again.version) == (COMPOSED + tail, 1)
    for text in (COMPOSED, DECOMPOSED):
        assert (await client.get_session(text + tail)).connector_id == COMPOSED
        assert (await client.get_station(text + tail)).external_station_id == COMPOSED + tail
        assert (await client.list_sessions(charging_station_id=text + tail, connector_id=text)).total == 1
    for other in (COMPOSED.upper() + tail, "cafe" + tail):
        with pytest.raises(NotFound):
            await client.get_session(other)


GOOD_IDS = [
    "a b",
    "x" * 255,
    "\u00e9" * 255,
    "e\u0301" * 255,
    "\U0001f697" * 255,
    "%2F",
    "a?b#c&d",
    "+",
    "..a",
    "Batch",
    "\\",
]
BAD_IDS = ["", "a/b", ".", "..", " a", "a ", "a\tb", "a\x7fb", "a\x85b", "x" * 256, "\u00a0a"]


@pytest.mark.parametrize("good", GOOD_IDS, ids=ascii)
async def test_ids_of_1_to_255_characters_are_percent_encoded_in_paths(
    api: httpx.AsyncClient, good: str
) -> None:
    answer = await api.post(
        "/v1/sessions", json=body(session_id=good, charging_station_id=good, evse_id=good)
    )
    assert answer.status_code == 200, answer.text
    for path in (f"/v1/sessions/{quote(good, safe='')}", f"/v1/stations/{quote(good, safe='')}"):
        assert (await api.get(path)).status_code == 200
    assert (await api.delete(f"/v1/sessions/{quote(good, safe='')}")).status_code == 204


@pytest.mark.parametrize(
    "field", ["session_id", "charging_station_id", "charging_point_id", "connector_id", "evse_id"]
)
@pytest.mark.parametrize("bad", BAD_IDS, ids=ascii)
async def test_what_is_no_id_is_refused(api: httpx.AsyncClient, field: str, bad: str) -> None:
    sent = body(**{field: bad})
    if field == "charging_point_id":
        del sent["charging_station_id"]
    answer = await api.post("/v1/sessions", json=sent)
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, [field])


async def test_batch_is_reserved_for_sessions_only(api: httpx.AsyncClient) -> None:
    assert (await api.post("/v1/sessions", json=body(session_id="batch"))).status_code == 422
    sent = body(charging_station_id="batch", connector_id="batch", evse_id="batch")
    assert (await api.post("/v1/sessions", json=sent)).status_code == 200


@pytest.mark.parametrize(
    ("sent", "kept"), [(1, "1"), (0, "0"), (-7, "-7"), (10**20, str(10**20)), ("01", "01")]
)
async def test_an_integer_is_kept_as_text_for_connector_and_evse(
    api: httpx.AsyncClient, sent: object, kept: str
) -> None:
    one = body(connector_id=sent, evse_id=sent)
    assert (await api.post("/v1/sessions", json=one)).status_code == 200
    detail = (await api.get(f"/v1/sessions/{one['session_id']}")).json()
    assert (detail["connector_id"], detail["evse_id"]) == (kept, kept)


# --- times -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ("2026-02-27T10:00:00", "2026-02-27T10:00:00Z"), ("2026-02-27T10:00:00+01:00", "2026-02-27T09:00:00Z"),
        ("2026-02-27 10:00:00.5z", "2026-02-27T10:00:00.500000Z"),
        ("2026-02-26T23:30:00-01:45", "2026-02-27T01:15:00Z"),
    ],
)  # fmt: skip
async def test_no_offset_means_utc_and_answers_are_utc(
    api: httpx.AsyncClient, sent: str, answered: str
) -> None:
    one = body(started_at=sent, ended_at=sent, meter_values=[{"timestamp": sent, "value": 1}])
    assert (await api.post("/v1/sessions", json=one)).status_code == 200
    detail = (await api.get(f"/v1/sessions/{one['session_id']}")).json()
    times = (detail["started_at"], detail["ended_at"], detail["meter_values"][0]["timestamp"])
    assert times == (answered, answered, answered)
    assert detail["created_at"].endswith("Z")


async def test_readings_at_impossible_times_are_stored_noted_and_left_out(client: AsyncClient) -> None:
    now = datetime.now(UTC)
    border = datetime(2000, 1, 2, tzinfo=UTC)
    slack = timedelta(minutes=2)
    for at, faulty in (
        (border - timedelta(microseconds=1), True),
        (border, False),
        (now + timedelta(hours=24) - slack, False),
        (now + timedelta(hours=24) + slack, True),
        (datetime(1, 1, 1, tzinfo=UTC), True),
        (datetime(9999, 12, 31, tzinfo=UTC), True),
    ):
        lonely = MeterValue(at, 0 if at < START else 9000, unit="Wh")
        state = await client.create_session(new_id(), "CP-1", [*register(1000, 2000, 3000), lonely])
        notes = {note.code: note.count for note in state.data_quality}
        assert notes.get("clock_fault", 0) == faulty, at
        assert (state.energy_kwh == 2.0) == faulty, "left out of the analysis"
        assert len((await client.get_session(state.session_id)).meter_values) == 4


# --- pages and refusals ------------------------------------------------------------------------------------


async def test_pages_are_exact_and_those_past_the_end_are_empty(
    client: AsyncClient, other_client: AsyncClient
) -> None:
    station = f"CP-{uuid4()}"
    names = [f"{station}-{number:02}" for number in range(23)]
    for number, name in enumerate(names):
        await client.create_session(
            name, station, register(0, 900, 1800, start=START - timedelta(hours=number))
        )
    await other_client.create_session(names[0], station, register(0, 900, 1800))
    default = await client.list_sessions(charging_station_id=station)
    assert (default.total, default.page, default.page_size, len(default.items)) == (23, 1, 20, 20)
    assert [item.external_session_id for item in default.items] == names[:20]
    for page, expected in ((1, names[:10]), (3, names[20:]), (4, []), (1000, [])):
        found = await client.list_sessions(charging_station_id=station, page=page, page_size=10)
        assert [item.external_session_id for item in found.items] == expected
        assert (found.total, found.page, found.page_size) == (23, page, 10)
    walked = [
        i.external_session_id async for i in client.iterate_sessions(charging_station_id=station, page_size=7)
    ]
    assert walked == names
    assert (await client.list_sessions(charging_station_id=station, page_size=100)).page_size == 100
    assert (await other_client.list_sessions(charging_station_id=station)).total == 1


DEEP: dict[int, Any] = {}
for _depth in (8, 9):
    DEEP[_depth] = {}
    for _ in range(_depth - 1):
        DEEP[_depth] = {"a": DEEP[_depth]}


@pytest.mark.parametrize(
    ("metadata", "status"),
    [
        ({"any": ["thing", 1, None, True, {"goes": "here"}]}, 200), (DEEP[8], 200), (DEEP[9], 422),
        ({"a": "x" * (16 * 1024 - 8)}, 200), ({"a": "x" * (16 * 1024 - 7)}, 422), ([], 422), ("x", 422), (1, 422),
    ],
    ids=range(8),
)  # fmt: skip
async def test_metadata_is_an_object_of_16_kib_and_8_levels_in_every_call(
    api: httpx.AsyncClient, metadata: object, status: int
) -> None:
    name = new_id()
    values = [{"timestamp": "2026-02-27T10:00:00Z", "value": 1}]
    await api.post("/v1/sessions", json=body(session_id=name, meter_values=values))
    for method, path, sent in (
        ("POST", "/v1/sessions", body(session_id=name)),
        ("PUT", f"/v1/sessions/{name}", {"meter_values": values}),
        ("PATCH", f"/v1/sessions/{name}", {"meter_values": []}),
    ):
        content = json.dumps({**sent, "metadata": metadata}, separators=(",", ":"))
        answer = await api.request(method, path, content=content, headers=JSON_TYPE)
        assert answer.status_code == status, answer.text
        stored = (await api.get(f"/v1/sessions/{name}")).json()["metadata"]
        assert stored == (metadata if status == 200 else {})


HOSTILE: list[tuple[str, int]] = [
    ('{"a": "\\u0000"}', 422), ('{"a": "\\udc00"}', 422), ('{"a": NaN}', 422), ('{"a": -Infinity}', 422),
    ('{"a": 1e999}', 422), ('{"a": 1, "a": 1}', 422), ('{"a\\u0000": 1}', 422), ('{"a": nope}', 400), ('{"a": 1', 400),
]  # fmt: skip


@pytest.mark.parametrize(("metadata", "status"), HOSTILE, ids=range(len(HOSTILE)))
async def test_nothing_of_a_refused_call_is_stored(
    api: httpx.AsyncClient, metadata: str, status: int
) -> None:
    one = body(
        meter_values=[{"timestamp": "2026-02-27T10:00:00Z", "value": 1}], charging_station_id=f"CP-{uuid4()}"
    )
    content = json.dumps(one)[:-1] + f', "metadata": {metadata}' + "}"
    assert (await api.post("/v1/sessions", content=content, headers=JSON_TYPE)).status_code == status
    assert (await api.get(f"/v1/sessions/{one['session_id']}")).status_code == 404
    assert (await api.get(f"/v1/stations/{one['charging_station_id']}")).status_code == 404
