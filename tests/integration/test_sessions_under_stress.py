"""Two processes on one database against a slow twin of the store, one call after another and two at once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chargewatch.ingest.readings import Reading, source_of
from chargewatch.server.analysis.service import Analyser
from chargewatch.server.clock import microseconds
from chargewatch.server.db.address import DatabaseAddress
from chargewatch.server.db.connection import connected
from chargewatch.server.db.engine import Database
from chargewatch.server.housekeeping.service import Housekeeping
from chargewatch.server.platform.idempotency import Idempotency
from chargewatch.server.sessions.payloads import Attributes, Whereabouts
from chargewatch.server.sessions.rows import Stored
from chargewatch.server.sessions.service import SessionNotFound, SessionService, VersionMismatch
from chargewatch.server.settings import Settings
from chargewatch.server.tenants.service import TenantService
from chargewatch.server.verification.service import verify
from tests.reference.store import Call, Mismatch, NotFound, Store, same_json

START = datetime(2026, 2, 27, 10, tzinfo=UTC)
IDLE_S = 6 * 3600
EVERYTHING = list(HealthCheck)
#: A history that fails is told as it is: making it shorter takes minutes.
PHASES = [Phase.generate]

# Only two of the sessions are ever anomalous, so that none is recurring: that is fixed at the analysis.
SHAPES: dict[str, list[tuple[int, str, str]]] = {
    "none": [],
    "thin": [(0, "0", "")],
    "normal": [(0, "0", ""), (10, "900", ""), (20, "1800", "")],
    "same, other words": [(0, "0.0", "Wh"), (10, "9e2", "Wh"), (20, "1800", "")],
    "longer": [(30, "2700", ""), (40, "3600", "Wh")],
    "early": [(-30, "0", "")],
    "far": [(300, "0", ""), (310, "900", ""), (320, "1800", "")],
    "twice": [(10, "700", ""), (10, "900", "")],
    "fallen": [(0, "0", ""), (10, "900", ""), (20, "100", "")],
}
SOUND = sorted(set(SHAPES) - {"fallen"})
METADATA = [None, None, "{}", '{"a": 1}', '{"a": true}', '{"b": [1.5], "a": 1}']
KINDS = ["post", "post", "append", "append", "patch", "patch", "put", "delete"]


def normal(call: Call) -> Call:
    """What the ways in cannot express: an append has no If-Match, a PUT has readings."""
    if call.kind == "append":
        return replace(call, expected=None)
    return replace(call, kind="patch") if call.kind == "put" and not call.readings else call


def _call(session: str) -> st.SearchStrategy[Call]:
    shapes = sorted(SHAPES) if session != "c" else SOUND
    built = st.builds(
        Call,
        kind=st.sampled_from(KINDS),
        session=st.just(session),
        readings=st.sampled_from(shapes).map(SHAPES.__getitem__),
        station=st.sampled_from(["CP-1", "CP-1", "CP-2"]),
        connector=st.sampled_from([None, "1", "1", "2"]),
        metadata=st.sampled_from(METADATA),
        ended=st.sampled_from([None, None, None, 60]),
        expected=st.sampled_from([None, None, None, 1, 2, 3]),
    )
    return built.map(normal)


class Step(NamedTuple):
    """A call in one of the processes, by the UUID or the client's own id; None is a round of housekeeping."""

    process: int
    by_uuid: bool
    call: Call | None


calls = st.sampled_from(["a", "b", "c"]).flatmap(_call)
processes = st.integers(0, 1)
step = st.builds(Step, processes, st.booleans(), st.one_of(calls, calls, calls, st.none()))
met = st.builds(Step, processes, st.just(value=False), _call("a"))
steps = st.lists(step, min_size=6, max_size=24)


def readings_of(sent: Any) -> list[Reading]:
    sources = {unit: source_of(None, unit or None, None, None, None, None) for unit in ("", "Wh")}
    return [
        Reading(microseconds(START + timedelta(minutes=m)), text, sources[unit]) for m, text, unit in sent
    ]


async def make(service: SessionService, tenant: UUID, call: Call, name: str) -> Stored | None:
    """Makes a call on a session by one of its names."""
    ended = None if call.ended is None else START + timedelta(minutes=call.ended)
    attributes = Attributes(call.metadata, None, ended, None, None)
    where = Whereabouts(call.station, None, call.connector)
    readings = readings_of(call.readings)
    expected = None if call.expected is None else {call.expected}
    if call.kind == "post":
        return await service.upsert(tenant, call.session, where, attributes, readings, expected)
    if call.kind == "append":
        return await service.append(tenant, call.session, where, attributes, readings)
    if call.kind == "delete":
        await service.delete(tenant, name, expected)
        return None
    replaces = call.kind == "put" and bool(readings)
    return await service.change(
        tenant, name, attributes, readings, replace=replaces, expected_versions=expected
    )


async def outcome(service: SessionService, tenant: UUID, call: Call, name: str) -> Stored | str | None:
    """What a call gave: the session, None when it is erased, or why it was refused."""
    try:
        return await make(service, tenant, call, name)
    except SessionNotFound:
        return "not found"
    except VersionMismatch:
        return "mismatch"


def twin_outcome(store: Store, call: Call) -> int | str:
    """The same for the twin, which answers with the version."""
    try:
        return store.carry_out(call)
    except NotFound:
        return "not found"
    except Mismatch:
        return "mismatch"


def version_of(answer: Stored | str | None) -> int | str:
    if answer is None:
        return 0
    return answer if isinstance(answer, str) else answer.row.version


async def check(service: SessionService, tenant: UUID, store: Store) -> None:
    """Everything that is stored equals the twin."""
    for name in ("a", "b", "c"):
        expected = store.sessions.get(name)
        if expected is None:
            with pytest.raises(SessionNotFound):
                await service.get(tenant, name)
            continue
        stored, readings = await service.get(tenant, name)
        sent = [(minute, *value) for minute, value in sorted(expected.readings.items())]
        assert readings == readings_of(sent)
        row = stored.row
        assert (stored.station, row.connector_id) == (expected.station, expected.connector)
        assert same_json(row.metadata, expected.metadata)
        assert row.version == expected.version
        assert row.reading_count == len(sent)
        assert row.analyzed_version == (None if row.status == "pending" else row.version)
        assert (row.status == "pending") == (len(sent) < 3)


class _Tenant:
    """A tenant of its own with two processes that serve it."""

    def __init__(self, database: Database, tenant: UUID) -> None:
        self.database, self.tenant = database, tenant
        self.services = [SessionService(database, Analyser(), IDLE_S) for _ in range(2)]
        self.uuids: dict[str, str] = {}

    async def keep_house(self, process: int) -> None:
        idempotency = Idempotency(self.database, 86400, 60)
        await Housekeeping(self.database, self.services[process], idempotency).judge_due(self.tenant)

    async def settle(self, store: Store) -> None:
        """Judges what is due; each changed verdict is one version of the twin, and then nothing changes any more."""
        before = dict(await self._versions())
        await self.keep_house(0)
        for name, version in (await self._versions()).items():
            assert before[name] <= version <= before[name] + 1
            store.sessions[name].version = version
        process = SessionService(self.database, Analyser(), IDLE_S)
        for name in store.sessions:
            session_id = (await process.get(self.tenant, name))[0].row.session_id
            assert not await process.recheck(self.tenant, session_id), (
                "the verdict is not that of the readings"
            )

    async def _versions(self) -> dict[str, int]:
        async with self.database.tenant_transaction(self.tenant) as connection:
            rows = await connection.fetch("SELECT external_id, version FROM sessions")
        return {row[0]: row[1] for row in rows}

    async def made(self, step: Step) -> Stored | str | None:
        """What a step's call gave."""
        assert step.call is not None
        name = self.uuids.get(step.call.session, step.call.session) if step.by_uuid else step.call.session
        answer = await outcome(self.services[step.process], self.tenant, step.call, name)
        if isinstance(answer, Stored):
            self.uuids[step.call.session] = str(answer.row.session_id)
        return answer

    async def one(self, store: Store, step: Step) -> None:
        """One step, on both."""
        if step.call is None:
            await self.settle(store)
            return
        answer = await self.made(step)
        assert version_of(answer) == twin_outcome(store, step.call), step
        if isinstance(answer, Stored):
            stored, _ = await self.services[1 - step.process].get(self.tenant, step.call.session)
            assert stored == answer, "what is answered is what is stored"


async def new_tenant(address: DatabaseAddress) -> UUID:
    async with connected(address.owner) as owner:
        return (await TenantService(owner, address.roles).create_tenant(f"t-{uuid4()}")).tenant_id


def with_tenant(settings_: Settings, address: DatabaseAddress, work: Any) -> None:
    """Runs work on a tenant of its own."""

    async def run() -> None:
        database = await Database.open(settings_, address)
        try:
            await work(_Tenant(database, await new_tenant(address)))
        finally:
            await database.close()

    asyncio.run(run())


@pytest.fixture
def settings_(postgres: Any) -> Settings:
    return postgres.settings(pool_size=8)


def test_two_processes_are_one_store(settings_: Settings, address: DatabaseAddress) -> None:
    """Any calls, one after another, each in one of two processes with what it remembers."""

    @settings(
        max_examples=60,
        phases=PHASES,
        deadline=None,
        derandomize=True,
        suppress_health_check=EVERYTHING,
    )
    @given(steps)
    def histories(history: list[Step]) -> None:
        async def work(tenant: _Tenant) -> None:
            store = Store()
            for one in history:
                await tenant.one(store, one)
                await check(tenant.services[one.process], tenant.tenant, store)
            await tenant.settle(store)
            assert (await verify(tenant.database, [tenant.tenant])).differences == []

        with_tenant(settings_, address, work)

    histories()


# --- two calls at once -------------------------------------------------------------------------------------


async def meet(tenant: _Tenant, first: Step, second: Step, *, hold: bool) -> list[int | str]:
    """Makes two calls at once; the first one is held right before it stores until the other is done or waits."""
    reached, go_on = asyncio.Event(), asyncio.Event()
    judge = tenant.services[first.process]._judge
    ways = {name: getattr(judge, name) for name in ("quick_judgement", "_judgement")}

    def holding(judgement: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def held(*arguments: Any) -> Any:
            found = await judgement(*arguments)
            if not reached.is_set():
                reached.set()
                await go_on.wait()
            return found

        return held

    if hold:
        for name, judgement in ways.items():
            setattr(judge, name, holding(judgement))
    running = asyncio.ensure_future(tenant.made(first))
    if hold:
        await asyncio.wait([running, asyncio.ensure_future(reached.wait())], return_when="FIRST_COMPLETED")
        for name, judgement in ways.items():
            setattr(judge, name, judgement)
    other = asyncio.ensure_future(tenant.made(second))
    if hold:
        await waits(tenant.database, other)
    go_on.set()
    reached.set()
    return [version_of(await running), version_of(await other)]


async def waits(database: Database, running: "asyncio.Future[Any]") -> None:
    """Returns when a call is done, or waits for another transaction, or for its turn in the process."""
    asks = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    asked = 0
    while not running.done() and asked < ROUND_TRIPS:
        if (await database.fetch_without_tenant(asks))[0][0]:
            return
        asked += 1


#: After so many of another statement a call that has not got anywhere waits for its turn.
ROUND_TRIPS = 25


def test_two_calls_at_once_are_one_after_the_other(settings_: Settings, address: DatabaseAddress) -> None:
    """In one of the two orders: what both answer and what is stored then."""

    @settings(
        max_examples=60,
        phases=PHASES,
        deadline=None,
        derandomize=True,
        suppress_health_check=EVERYTHING,
    )
    @given(st.lists(step, max_size=4), st.lists(st.tuples(met, met, st.booleans()), min_size=1, max_size=4))
    def meetings(history: list[Step], pairs: list[tuple[Step, Step, bool]]) -> None:
        async def work(tenant: _Tenant) -> None:
            store = Store()
            for one in history:
                await tenant.one(store, one)
            for first, second, hold in pairs:
                answers = await meet(tenant, first, second, hold=hold)
                stores = []
                for order in ((0, 1), (1, 0)):
                    other = store.copy()
                    expected: dict[int, int | str] = {}
                    for place in order:
                        expected[place] = twin_outcome(other, (first, second)[place].call)
                    if [expected[0], expected[1]] == answers:
                        stores.append(other)
                assert stores, (first, second, answers)
                store = await fitting(tenant, stores)
            assert (await verify(tenant.database, [tenant.tenant])).differences == []

        with_tenant(settings_, address, work)

    meetings()


async def fitting(tenant: _Tenant, stores: list[Store]) -> Store:
    """Returns the store that equals what is stored; where both orders give the same answers they may differ."""
    for store in stores[:-1]:
        try:
            await check(tenant.services[0], tenant.tenant, store)
        except AssertionError:
            continue
        return store
    await check(tenant.services[0], tenant.tenant, stores[-1])
    return stores[-1]
