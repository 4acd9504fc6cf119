"""Two processes on one database against a slow twin of the store, one call after another and two at once."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
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


def _call(session: str) -> st.SearchStrategy[Call]:
    shapes = sorted(SHAPES) if session != "c" else SOUND
    return st.builds(
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


calls = st.sampled_from(["a", "b", "c"]).flatmap(_call)
processes = st.integers(0, 1)
#: (process, by UUID, call); None is a round of housekeeping.
step = st.tuples(processes, st.booleans(), st.one_of(calls, calls, calls, st.none()))
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
    if call.kind == "post":
        return await service.upsert(tenant, call.session, where, attributes, readings, call.expected)
    if call.kind == "append":
        return await service.append(tenant, call.session, where, attributes, readings)
    if call.kind == "delete":
        await service.delete(tenant, name, call.expected)
        return None
    replaces = call.kind == "put" and bool(readings)
    return await service.change(
        tenant, name, attributes, readings, replace=replaces, expected_version=call.expected
    )


def normal(call: Call) -> Call:
    """What the ways in cannot express: an append has no If-Match, a PUT has readings."""
    if call.kind == "append":
        return replace(call, expected=None)
    return replace(call, kind="patch") if call.kind == "put" and not call.readings else call


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

    async def one(self, store: Store, step: tuple[int, bool, Call | None]) -> None:
        """One step, on both."""
        process, by_uuid, call = step
        if call is None:
            await self.settle(store)
            return
        call = normal(call)
        name = self.uuids.get(call.session, call.session) if by_uuid else call.session
        gone = by_uuid and name != call.session and call.session not in store.sessions
        answer = await outcome(self.services[process], self.tenant, call, name)
        assert version_of(answer) == twin_outcome(store, call), (call, gone)
        if isinstance(answer, Stored):
            self.uuids[call.session] = str(answer.row.session_id)
            stored, _ = await self.services[1 - process].get(self.tenant, call.session)
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
    def histories(history: list[Any]) -> None:
        async def work(tenant: _Tenant) -> None:
            store = Store()
            for step in history:
                await tenant.one(store, step)
                await check(tenant.services[step[0]], tenant.tenant, store)
            await tenant.settle(store)
            assert (await verify(tenant.database, [tenant.tenant])).differences == []

        with_tenant(settings_, address, work)

    histories()
