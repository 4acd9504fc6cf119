"""The calls on thresholds: what they show and change, for one tenant and never for another."""

import asyncio
from typing import Any

import httpx
import pytest

from chargewatch.client import AsyncClient, PreconditionFailed
from chargewatch.domain.limits import LIMITS, default_of
from chargewatch.server.app import create_app
from chargewatch.server.db.address import DatabaseAddress
from chargewatch.server.db.connection import connected
from chargewatch.server.db.engine import Database
from chargewatch.server.settings import Settings
from chargewatch.server.tenants.keys import Scope
from chargewatch.server.tenants.service import NewKey, TenantService
from chargewatch.server.wiring import wire
from tests.contract.conftest import client_of

pytestmark = pytest.mark.anyio

PATH = "/v1/thresholds"


def dip(name: str, low_w: int = 2400) -> dict[str, Any]:
    """A session whose power falls to 22 % for ten minutes."""
    watts = [11_000] * 20 + [low_w] * 10 + [11_000] * 20
    return {
        "session_id": name,
        "charging_station_id": "CP-1",
        "meter_values": [
            {
                "timestamp": f"2026-02-27T10:{minute:02}:00Z",
                "value": watt,
                "measurand": "Power.Active.Import",
            }
            for minute, watt in enumerate(watts)
        ],
    }


async def values(api: httpx.AsyncClient) -> dict[str, float]:
    answer = await api.get(PATH)
    assert answer.status_code == 200
    return {row["name"]: row["value"] for row in answer.json()["thresholds"]}


async def change(api: httpx.AsyncClient, **headers_and_values: Any) -> httpx.Response:
    headers = headers_and_values.pop("headers", {})
    return await api.put(PATH, json={"thresholds": headers_and_values}, headers=headers)


@pytest.fixture(autouse=True)
async def defaults(api: httpx.AsyncClient, other_api: httpx.AsyncClient) -> None:
    for client in (api, other_api):
        answer = await change(client, **dict.fromkeys(LIMITS))
        assert answer.status_code == 200


async def test_every_limit_is_shown_with_what_it_means(api: httpx.AsyncClient) -> None:
    answer = await api.get(PATH)
    body = answer.json()
    assert answer.headers["etag"] == f'"{body["version"]}"'
    assert [row["name"] for row in body["thresholds"]] == list(LIMITS)
    for row in body["thresholds"]:
        limit = LIMITS[row["name"]]
        assert row == {
            "name": row["name"],
            "value": default_of(row["name"]),
            "default": default_of(row["name"]),
            "minimum": limit.least,
            "maximum": limit.most,
            "unit": limit.unit,
            "category": limit.category,
            "relaxed_by": limit.relaxed_by,
            "meaning": limit.meaning,
        }


async def test_a_tenant_that_never_changed_anything_is_at_version_1(
    settings: Settings, database: Database, address: DatabaseAddress
) -> None:
    async with connected(address.owner) as owner:
        made = await TenantService(owner, address.roles).create_tenant("fresh")
    transport = httpx.ASGITransport(create_app(wire(settings, database)))
    async with client_of(transport, made.api_key.reveal()) as fresh:
        answer = await fresh.get(PATH)
        assert (answer.headers["etag"], answer.json()["version"], answer.json()["updated_at"]) == (
            '"1"',
            1,
            None,
        )
        changed = await change(fresh, headers={"If-Match": '"1"'}, pit_depth=0.2)
        assert (changed.status_code, changed.json()["version"]) == (200, 2)
        assert changed.json()["updated_at"].endswith("Z")


async def test_only_what_is_named_changes_and_null_resets(api: httpx.AsyncClient) -> None:
    before = await values(api)
    first = await change(api, pit_depth=0.2, pit_level_kw=2)
    assert first.status_code == 200
    assert await values(api) == {**before, "pit_depth": 0.2, "pit_level_kw": 2.0}
    second = await change(api, pit_depth=None, zero_energy_kwh=0.2)
    assert second.json()["version"] == first.json()["version"] + 1
    assert await values(api) == {**before, "pit_level_kw": 2.0, "zero_energy_kwh": 0.2}
    assert second.json() == (await api.get(PATH)).json()


async def test_a_repeat_changes_nothing(api: httpx.AsyncClient) -> None:
    first, again = [await change(api, pit_depth=0.2) for _ in range(2)]
    assert first.json() == again.json()
    assert first.headers["etag"] == again.headers["etag"]
    assert (await change(api)).json() == first.json()
    default = await change(api, pit_depth=default_of("pit_depth"), zero_power_kw=None)
    assert default.json()["version"] == first.json()["version"] + 1
    assert (await change(api, pit_depth=None)).json() == default.json()


async def test_calls_at_once_are_each_done(api: httpx.AsyncClient) -> None:
    names = [name for name, limit in LIMITS.items() if limit.least < limit.most][:12]
    before = (await api.get(PATH)).json()["version"]
    answers = await asyncio.gather(*(change(api, **{name: LIMITS[name].least}) for name in names))
    moved = [name for name in names if LIMITS[name].least != default_of(name)]
    assert {answer.status_code for answer in answers} == {200}
    now = await api.get(PATH)
    assert now.json()["version"] == before + len(moved)
    found = await values(api)
    assert {name: found[name] for name in names} == {name: LIMITS[name].least for name in names}


async def test_versions_and_conditions(client: AsyncClient, api: httpx.AsyncClient) -> None:
    before = await client.get_thresholds()
    with pytest.raises(PreconditionFailed) as caught:
        await client.change_thresholds({"pit_depth": 0.2}, if_match=before.version + 1)
    assert caught.value.code == "version_mismatch"
    assert await client.get_thresholds() == before
    after = await client.change_thresholds({"pit_depth": 0.2}, if_match=before.version)
    assert after.version == before.version + 1
    assert next(one.value for one in after.thresholds if one.name == "pit_depth") == 0.2
    assert (await change(api, headers={"If-Match": "*"}, pit_depth=0.3)).status_code == 200


async def test_if_none_match(api: httpx.AsyncClient, client: AsyncClient) -> None:
    """304 without a body while nothing has changed; another tenant's version says nothing about one's own."""
    before = await client.get_thresholds()
    for tag in (f'"{before.version}"', f'W/"{before.version}"', f'"99", "{before.version}"', "*"):
        same = await api.get(PATH, headers={"If-None-Match": tag})
        assert (same.status_code, same.content) == (304, b""), tag
        assert same.headers["etag"] == f'"{before.version}"'
    assert await client.get_thresholds_if_changed(before.version) is None
    assert (await api.get(PATH, headers={"If-None-Match": '"99"'})).status_code == 200
    changed = await client.change_thresholds({"soc_drop_points": 5.0})
    assert await client.get_thresholds_if_changed(before.version) == changed


async def test_an_idempotency_key_is_kept_with_the_change(
    api: httpx.AsyncClient, other_api: httpx.AsyncClient
) -> None:
    key = {"Idempotency-Key": "thresholds-1"}
    first = await change(api, headers=key, pit_depth=0.2)
    await change(api, pit_depth=0.3)
    again = await change(api, headers=key, pit_depth=0.2)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.content == first.content
    assert (await values(api))["pit_depth"] == 0.3
    assert (await change(api, headers=key, pit_depth=0.1)).status_code == 422
    assert "idempotent-replayed" not in (await change(other_api, headers=key, pit_depth=0.2)).headers


@pytest.mark.parametrize(
    ("body", "loc", "said"),
    [
        ({"thresholds": {"pit_depth": 0.41}}, ["thresholds", "pit_depth"], "<= 0.4"),
        ({"thresholds": {"pit_depth": 0.049}}, ["thresholds", "pit_depth"], ">= 0.05"),
        ({"thresholds": {"tolerance_kwh": 0.011}}, ["thresholds", "tolerance_kwh"], "<= 0.01"),
        ({"thresholds": {"phase_carried_a": 3.5}}, ["thresholds", "phase_carried_a"], "<= 3"),
        ({"thresholds": {"voltage_deviation": 0.2}}, ["thresholds", "voltage_deviation"], "<= 0.1"),
        ({"thresholds": {"pit_depth": "0.2"}}, ["thresholds", "pit_depth"], "expected float | null"),
        ({"thresholds": {"pit_depth": True}}, ["thresholds", "pit_depth"], "expected float | null"),
        ({"thresholds": {"pit_depht": 0.2}}, ["thresholds"], "pit_depth"),
        ({"thresholds": None}, ["thresholds"], "object"),
        ({"pit_depth": 0.2}, [], "it takes thresholds"),
        ({}, ["thresholds"], "is required"),
    ],
)
async def test_what_cannot_be_is_refused_as_a_whole(
    api: httpx.AsyncClient, body: Any, loc: list[str], said: str
) -> None:
    before = (await api.get(PATH)).json()
    answer = await api.put(PATH, json=body)
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert (error["loc"], said in error["msg"]) == (loc, True), error
    both = {"thresholds": {"pit_level_kw": 2, **(body.get("thresholds") or {"pit_depth": 9})}}
    assert (await api.put(PATH, json=both)).status_code == 422
    assert (await api.get(PATH)).json() == before


async def test_who_may(
    transport: httpx.ASGITransport, two_tenants: tuple[NewKey, NewKey], address: DatabaseAddress
) -> None:
    async with connected(address.owner) as owner:
        service = TenantService(owner, address.roles)
        keys = {
            scope: await service.create_key(two_tenants[0].tenant_id, frozenset({scope})) for scope in Scope
        }
    for scope, key in keys.items():
        async with client_of(transport, key.api_key.reveal()) as client:
            assert (await client.get(PATH)).status_code == (200 if scope is Scope.READ else 403)
            assert (await change(client)).status_code == (200 if scope is Scope.MODELS else 403)
    async with client_of(transport, None) as anonymous:
        assert (await anonymous.get(PATH)).status_code == (await change(anonymous)).status_code == 401


async def test_sessions_are_judged_by_the_thresholds_of_their_tenant(
    api: httpx.AsyncClient, other_api: httpx.AsyncClient
) -> None:
    found = [await client.post("/v1/sessions", json=dip("before")) for client in (api, other_api)]
    assert [answer.json()["is_anomaly"] for answer in found] == [True, True]
    await change(api, pit_depth=0.2)
    found = [await client.post("/v1/sessions", json=dip("after")) for client in (api, other_api)]
    assert [answer.json()["is_anomaly"] for answer in found] == [False, True]
    assert await values(other_api) == {name: default_of(name) for name in LIMITS}
    await change(other_api, pit_depth=0.05)
    await change(api, pit_depth=None)
    found = [await client.post("/v1/sessions", json=dip("later")) for client in (api, other_api)]
    assert [answer.json()["is_anomaly"] for answer in found] == [True, False]


async def test_a_session_keeps_its_verdict_until_it_is_judged_again(api: httpx.AsyncClient) -> None:
    await api.post("/v1/sessions", json=dip("kept"))
    await change(api, pit_depth=0.2)
    assert (await api.get("/v1/sessions/kept")).json()["is_anomaly"] is True
    repeat = await api.patch("/v1/sessions/kept", json={"meter_values": dip("kept")["meter_values"]})
    assert repeat.json()["is_anomaly"] is True, "an exact repeat changes nothing"
    more = dip("kept")["meter_values"][-1] | {"timestamp": "2026-02-27T10:51:00Z"}
    judged = await api.patch("/v1/sessions/kept", json={"meter_values": [more]})
    assert (judged.json()["is_anomaly"], judged.json()["was_anomalous"]) == (False, True)
    assert (await api.get("/v1/sessions/kept")).json()["is_anomaly"] is False


async def test_the_evidence_names_the_limit_in_force(api: httpx.AsyncClient) -> None:
    await change(api, pit_shortest_s=420)
    answer = await api.post("/v1/sessions", json=dip("evidence"))
    (anomaly,) = answer.json()["anomalies"]
    assert {fact["what"]: fact.get("expected") for fact in anomaly["evidence"]}["duration"] == 7.0


async def test_every_way_to_push_uses_them(api: httpx.AsyncClient, transport: httpx.ASGITransport) -> None:
    await change(api, pit_depth=0.2)
    first, rest = dip("ways"), dip("ways")["meter_values"]
    first["meter_values"] = rest[:25]
    assert (await api.post("/v1/sessions", json=first)).json()["is_anomaly"] is False
    grown = await api.patch("/v1/sessions/ways", json={"meter_values": rest[25:]})
    assert grown.json()["is_anomaly"] is False, "the quick way of a known session"
    put = await api.put("/v1/sessions/ways", json={"meter_values": rest[:-1]})
    assert put.json()["is_anomaly"] is False, "the long way"
    await change(api, pit_depth=None)
    keyed = await api.put(
        "/v1/sessions/ways", json={"meter_values": rest}, headers={"Idempotency-Key": "ways-1"}
    )
    assert keyed.json()["is_anomaly"] is True
