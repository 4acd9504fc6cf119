"""Idempotency-Key (H9): a repeated call is answered again and done once."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from chargewatch.server.app import create_app
from chargewatch.server.db.engine import Database
from chargewatch.server.platform import idempotency
from chargewatch.server.settings import Settings
from chargewatch.server.tenants.service import NewKey
from chargewatch.server.wiring import Wiring, wire
from tests.contract.conftest import client_of

pytestmark = pytest.mark.anyio

KEY: dict[str, str] = {}
IDS: dict[str, str] = {}


@pytest.fixture(autouse=True)
def _new_names() -> None:
    """Tests share a database: each has a key and sessions of its own."""
    KEY["Idempotency-Key"] = f"order-{uuid4()}"
    IDS.update({name: f"{name}-{uuid4()}" for name in ("s-1", "s-2")})


def at(session: str = "s-1") -> str:
    return f"/v1/sessions/{IDS[session]}"


def values(count: int, first: int = 0) -> list[dict[str, object]]:
    return [
        {"timestamp": f"2026-02-27T10:{minute:02}:00Z", "value": 100 * minute}
        for minute in range(first, first + count)
    ]


def body(session: str = "s-1", count: int = 4) -> dict[str, Any]:
    return {"session_id": IDS[session], "charging_station_id": "CP-1", "meter_values": values(count)}


def is_replay(answer: httpx.Response) -> bool:
    return answer.headers.get("idempotent-replayed") == "true"


async def test_a_repeated_post_gets_the_first_answer(api: httpx.AsyncClient) -> None:
    first = await api.post("/v1/sessions", json=body(), headers=KEY)
    assert (first.status_code, is_replay(first)) == (200, False)
    await api.patch(at(), json={"meter_values": values(1, 10)})
    again = await api.post("/v1/sessions", json=body(), headers=KEY)
    assert (again.status_code, is_replay(again)) == (200, True)
    assert again.content == first.content
    assert again.headers["etag"] == first.headers["etag"] == '"1"'
    assert again.headers["content-type"] == "application/json"
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    detail = (await api.get(at())).json()
    assert (detail["version"], len(detail["meter_values"])) == (2, 5)


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_a_repeated_change_is_done_once(api: httpx.AsyncClient, method: str) -> None:
    await api.post("/v1/sessions", json=body())
    sent = {"meter_values": values(2, 10)}
    first = await api.request(method, at(), json=sent, headers=KEY)
    await api.put(at(), json={"meter_values": values(3)})
    again = await api.request(method, at(), json=sent, headers=KEY)
    assert is_replay(again)
    assert again.json() == first.json()
    assert len((await api.get(at())).json()["meter_values"]) == 3


async def test_another_payload_is_refused(api: httpx.AsyncClient) -> None:
    await api.post("/v1/sessions", json=body(), headers=KEY)
    other = await api.post("/v1/sessions", json=body(count=5), headers=KEY)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    await api.post("/v1/sessions", json=body("s-2"))
    sent = {"meter_values": values(1, 20)}
    assert (await api.patch(at(), json=sent, headers=KEY)).status_code == 200
    elsewhere = await api.patch(at("s-2"), json=sent, headers=KEY)
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_key_belongs_to_tenant_method_and_route(
    api: httpx.AsyncClient, other_api: httpx.AsyncClient
) -> None:
    for client in (api, other_api):
        answer = await client.post("/v1/sessions", json=body(), headers=KEY)
        assert (answer.status_code, is_replay(answer)) == (200, False)
        assert answer.json()["version"] == 1
    for method in ("PATCH", "PUT"):
        answer = await api.request(method, at(), json={"meter_values": values(2, 30)}, headers=KEY)
        assert (answer.status_code, is_replay(answer)) == (200, False)


async def test_what_is_refused_keeps_nothing(api: httpx.AsyncClient) -> None:
    sent = {"meter_values": values(3)}
    missing = await api.patch(at(), json=sent, headers=KEY)
    assert missing.status_code == 404
    await api.post("/v1/sessions", json=body(count=0))
    assert (await api.patch(at(), json={"oops": 1}, headers=KEY)).status_code == 422
    stale = await api.patch(at(), json=sent, headers={**KEY, "If-Match": '"9"'})
    assert stale.status_code == 412
    answer = await api.patch(at(), json=sent, headers=KEY)
    assert (answer.status_code, is_replay(answer)) == (200, False)


@pytest.mark.parametrize("key", ["", " ", "two words", "x" * 256, "caf\u00e9", "tab\there"])
async def test_what_is_no_key_is_refused(api: httpx.AsyncClient, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    answer = await api.post("/v1/sessions", json=body(), headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["type"] == "invalid_idempotency_key"
    assert (await api.get(at())).status_code == 404


async def test_the_longest_key_is_taken(api: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "~" * 255}
    assert (await api.post("/v1/sessions", json=body(), headers=headers)).status_code == 200
    assert is_replay(await api.post("/v1/sessions", json=body(), headers=headers))


async def test_equal_calls_at_once_are_done_once(api: httpx.AsyncClient) -> None:
    await api.post("/v1/sessions", json=body(count=0))
    sent = {"meter_values": values(3)}
    answers = await asyncio.gather(*(api.patch(at(), json=sent, headers=KEY) for _ in range(100)))
    done = [a for a in answers if a.status_code == 200]
    waiting = [a for a in answers if a.status_code == 409]
    assert len(done) + len(waiting) == 100
    assert sum(not is_replay(a) for a in done) == 1
    assert {a.content for a in done} == {done[0].content}
    assert all(a.json()["code"] == "idempotency_key_in_flight" for a in waiting)
    assert all(int(a.headers["retry-after"]) >= 1 for a in waiting)
    assert (await api.get(at())).json()["version"] == 2


# --- claims that end, answers that grow old ---------------------------------------------------------------


@pytest.fixture
async def wiring(settings: Settings, database: Database) -> Wiring:
    return wire(msgspec.structs.replace(settings, idempotency_lease_s=60, idempotency_kept_s=3600), database)


@pytest.fixture
def passes(database: Database, two_tenants: tuple[NewKey, NewKey]) -> Callable[[timedelta], Awaitable[None]]:
    """Lets time pass for the tenant's claims and answers: they are as much older."""

    async def pass_by(time: timedelta) -> None:
        older = "created_at = created_at - $1::interval, claimed_until = claimed_until - $1::interval"
        async with database.tenant_transaction(two_tenants[0].tenant_id) as connection:
            await connection.execute(f"UPDATE idempotency_keys SET {older}", time)

    return pass_by


@pytest.fixture
async def hasty(wiring: Wiring, two_tenants: tuple[NewKey, NewKey]) -> httpx.AsyncClient:
    return client_of(httpx.ASGITransport(create_app(wiring)), two_tenants[0].api_key.reveal())


async def test_a_crash_frees_the_key_when_the_claim_ends(
    hasty: httpx.AsyncClient,
    wiring: Wiring,
    passes: Callable[[timedelta], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that dies leaves its claim behind; here the call is cut where it would free it."""

    async def die(*_: object) -> None:
        raise KeyboardInterrupt

    async with hasty:
        with monkeypatch.context() as crash:
            crash.setattr(wiring.sessions, "upsert", die)
            crash.setattr(wiring.idempotency, "_free", die)
            with pytest.raises(KeyboardInterrupt):
                await hasty.post("/v1/sessions", json=body(), headers=KEY)
        early = await hasty.post("/v1/sessions", json=body(), headers=KEY)
        assert (early.status_code, early.json()["code"]) == (409, "idempotency_key_in_flight")
        await passes(timedelta(seconds=61))
        late = await hasty.post("/v1/sessions", json=body(), headers=KEY)
        assert (late.status_code, is_replay(late)) == (200, False)


async def test_who_lost_the_claim_does_nothing(
    hasty: httpx.AsyncClient,
    wiring: Wiring,
    passes: Callable[[timedelta], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Slower than its lease: another call took the work over, so this one's is rolled back."""
    slow = wiring.sessions.change
    reached, held = asyncio.Event(), asyncio.Event()

    async def hold(*arguments: Any, **named: Any) -> Any:
        reached.set()
        await held.wait()
        return await slow(*arguments, **named)

    async with hasty:
        await hasty.post("/v1/sessions", json=body(count=0))
        sent = {"meter_values": values(3)}
        with monkeypatch.context() as slowed:
            slowed.setattr(wiring.sessions, "change", hold)
            first = asyncio.create_task(hasty.patch(at(), json=sent, headers=KEY))
            await reached.wait()
        await passes(timedelta(seconds=61))
        second = await hasty.patch(at(), json=sent, headers=KEY)
        assert (second.status_code, is_replay(second)) == (200, False)
        held.set()
        assert (await first).status_code == 409
        assert (await hasty.get(at())).json()["version"] == 2


async def test_an_answer_is_kept_for_its_time(
    hasty: httpx.AsyncClient,
    wiring: Wiring,
    two_tenants: tuple[NewKey, NewKey],
    database: Database,
    passes: Callable[[timedelta], Awaitable[None]],
) -> None:
    tenant_id = two_tenants[0].tenant_id
    count = f"SELECT count(*) FROM idempotency_keys WHERE key = '{KEY['Idempotency-Key']}'"
    async with hasty:
        await hasty.post("/v1/sessions", json=body(), headers=KEY)
        await wiring.idempotency.forget_old(tenant_id)
        assert is_replay(await hasty.post("/v1/sessions", json=body(), headers=KEY))
        await passes(timedelta(seconds=3601))
        assert not is_replay(await hasty.post("/v1/sessions", json=body(), headers=KEY))
        await passes(timedelta(seconds=3601))
        await wiring.idempotency.forget_old(tenant_id)
        async with database.tenant_transaction(tenant_id) as connection:
            assert await connection.fetchval(count) == 0


async def test_the_kept_answer_and_the_change_are_one_transaction(
    api: httpx.AsyncClient,
    database: Database,
    two_tenants: tuple[NewKey, NewKey],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("the answer cannot be kept")

    with monkeypatch.context() as broken:
        broken.setattr(idempotency, "_keep", fail)
        assert (await api.post("/v1/sessions", json=body(), headers=KEY)).status_code == 500
    assert (await api.get(at())).status_code == 404
    assert (await api.post("/v1/sessions", json=body(), headers=KEY)).status_code == 200
    async with database.tenant_transaction(two_tenants[0].tenant_id) as connection:
        kept = await connection.fetchrow(
            "SELECT answered_at - created_at AS took FROM idempotency_keys WHERE key = $1",
            KEY["Idempotency-Key"],
        )
    assert timedelta(0) <= kept["took"] < timedelta(seconds=30)


@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST"])
@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.soak)])
async def test_a_call_that_is_cut_off_anywhere_is_done_once(
    api: httpx.AsyncClient, method: str, step: int
) -> None:
    """Cut at its first, fourth, … visit to the event loop, in soak at each; who repeats it is never told to wait."""
    await api.post("/v1/sessions", json=body())
    version, cuts, was_cut = 1, 0, True
    while was_cut:
        key = {"Idempotency-Key": f"cut-{uuid4()}"}
        sent = {"meter_values": [*values(4), {"timestamp": "2026-02-27T10:05:00Z", "value": 500 + cuts}]}
        where, sent = (at(), sent) if method != "POST" else ("/v1/sessions", body() | sent)
        call = asyncio.ensure_future(api.request(method, where, json=sent, headers=key))
        for _ in range(cuts):
            await asyncio.sleep(0)
        was_cut = not call.done()
        call.cancel()
        await asyncio.wait([call])
        answer = await api.request(method, where, json=sent, headers=key)
        assert answer.status_code == 200
        version += 1
        assert answer.json()["version"] == (await api.get(at())).json()["version"] == version
        cuts += step
    assert cuts > 10


async def test_an_answer_without_a_change_is_kept_as_well(api: httpx.AsyncClient) -> None:
    first = await api.post("/v1/sessions", json=body())
    nothing = await api.patch(at(), json={"meter_values": []}, headers=KEY)
    assert nothing.json() == first.json()
    await api.patch(at(), json={"meter_values": values(1, 10)})
    again = await api.patch(at(), json={"meter_values": []}, headers=KEY)
    assert (is_replay(again), again.content) == (True, nothing.content)


async def test_a_session_by_its_other_name_is_another_call(
    api: httpx.AsyncClient, wiring: Wiring, two_tenants: tuple[NewKey, NewKey]
) -> None:
    """A key repeats one call, as it was sent; it says so instead of guessing that both mean the same."""
    await api.post("/v1/sessions", json=body())
    stored, _ = await wiring.sessions.get(two_tenants[0].tenant_id, IDS["s-1"])
    sent = {"meter_values": values(1, 10)}
    by_uuid = f"/v1/sessions/{stored.row.session_id}"
    assert (await api.patch(by_uuid, json=sent, headers=KEY)).status_code == 200
    assert is_replay(await api.patch(by_uuid, json=sent, headers=KEY))
    assert (await api.patch(at(), json=sent, headers=KEY)).status_code == 422


async def test_another_payload_is_told_while_the_first_call_runs(
    api: httpx.AsyncClient, hasty: httpx.AsyncClient, wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """422 before 409: waiting would not help."""
    reached, go_on = asyncio.Event(), asyncio.Event()
    upsert = wiring.sessions.upsert

    async def hold(*arguments: Any) -> Any:
        reached.set()
        await go_on.wait()
        return await upsert(*arguments)

    monkeypatch.setattr(wiring.sessions, "upsert", hold)
    async with hasty:
        first = asyncio.ensure_future(hasty.post("/v1/sessions", json=body(), headers=KEY))
        await reached.wait()
        other = await api.post("/v1/sessions", json=body(count=5), headers=KEY)
        same = await api.post("/v1/sessions", json=body(), headers=KEY)
        go_on.set()
        assert (await first).status_code == 200
    assert (other.status_code, same.status_code) == (422, 409)
