"""Batches in the hands of workers that die: nothing lost, nothing twice, and a poisonous session fails alone."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from chargewatch.server.batches import parts, processing, repository
from chargewatch.server.batches.parts import divide
from chargewatch.server.batches.schemas import BatchStatus
from chargewatch.server.batches.service import BatchNotFound
from chargewatch.server.db.engine import Database
from chargewatch.server.housekeeping.service import Housekeeping
from chargewatch.server.platform import jobs
from chargewatch.server.sessions import bulk
from chargewatch.server.settings import Settings
from chargewatch.server.tenants.service import NewKey
from chargewatch.server.wiring import Wiring, wire
from tests.integration.test_jobs import Death

pytestmark = pytest.mark.anyio

START = datetime(2026, 2, 27, 10, tzinfo=UTC)
LEASE_S = 0.2


@pytest.fixture
def wiring(settings: Settings, database: Database) -> Wiring:
    return wire(msgspec.structs.replace(settings, job_lease_s=LEASE_S, job_retry_s=0.001), database)


@pytest.fixture
def tenant(two_tenants: tuple[NewKey, NewKey]) -> UUID:
    return two_tenants[0].tenant_id


def session(name: str, *register: float, station: str = "CP-1") -> dict[str, Any]:
    return {
        "session_id": name,
        "charging_point_id": station,
        "meter_values": [
            {"timestamp": (START + timedelta(minutes=15 * i)).isoformat(), "value": v, "unit": "kWh"}
            for i, v in enumerate(register)
        ],
    }


async def accepted(wiring: Wiring, tenant: UUID, sessions: list[dict[str, Any]]) -> str:
    raw = [msgspec.Raw(json.dumps(one).encode()) for one in sessions]
    return (await wiring.batches.accept(tenant, divide(raw))).batch_id


async def finished(wiring: Wiring, tenant: UUID, batch_id: str) -> BatchStatus:
    """Works, through deaths, until the batch is finished; what is told of it only ever grows."""
    before = await wiring.batches.status(tenant, batch_id)
    async with asyncio.timeout(120):
        while True:
            try:
                worked = await wiring.jobs.run_one(lambda: False)
            except Death:
                worked = False
            status = await wiring.batches.status(tenant, batch_id)
            grown(before, status)
            if status.completed_at is not None:
                return status
            before = status
            if not worked:
                await asyncio.sleep(0.02)


ORDER = ("pending", "processing", "completed", "failed")


def grown(before: BatchStatus, after: BatchStatus) -> None:
    assert ORDER.index(after.status) >= ORDER.index(before.status)
    assert after.processed_sessions >= before.processed_sessions
    assert after.failed_sessions >= before.failed_sessions
    done = after.processed_sessions + after.failed_sessions
    assert [result.position for result in after.results] == [*range(done)]
    assert (after.completed_at is not None) == (done == after.total_sessions)
    assert list(after.results[: len(before.results)]) == list(before.results)


def dies(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: Callable[[int], bool]) -> None:
    """Has workers die after the calls of a function of which ``when`` says so; it is given their number, from 1."""
    real, calls = getattr(owner, name), 0

    async def deadly(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        result = await real(*args, **kwargs)
        if when(calls):
            raise Death
        return result

    monkeypatch.setattr(owner, name, deadly)


STEPS = [
    (processing.BatchProcessing, "_begin"),
    (bulk.BulkSessions, "prepare"),
    (bulk.BulkSessions, "store"),
    (repository, "advance"),
    (jobs, "finish"),
    (processing.BatchProcessing, "_store"),
]


@pytest.mark.parametrize(("owner", "name"), STEPS)
async def test_a_death_at_any_step_neither_loses_nor_doubles(
    wiring: Wiring, tenant: UUID, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    monkeypatch.setattr(parts, "LARGEST_PART", 7)
    tag = str(uuid4())
    # every third one is the same session as the one before, with other readings
    sessions = [
        session(f"{tag}-{n - (n % 3 == 2)}", 0, 5, 2 if n % 3 == 2 else 10 + n, station=f"{tag}-{n % 4}")
        for n in range(18)
    ]
    batch_id = await accepted(wiring, tenant, sessions)
    dies(monkeypatch, owner, name, lambda call: call in (1, 3))
    status = await finished(wiring, tenant, batch_id)
    assert (status.status, status.processed_sessions, status.failed_sessions) == ("completed", 18, 0)
    assert [result.session_id for result in status.results] == [one["session_id"] for one in sessions]
    assert [result.version for result in status.results] == [1, 1, 2] * 6, "each was stored once"
    assert [result.is_anomaly for result in status.results] == [False, False, True] * 6
    for one in sessions:
        stored, readings = await wiring.sessions.get(tenant, one["session_id"])
        assert (stored.row.version, len(readings)) == (2 if stored.row.is_anomaly else 1, 3)
    async with wiring.database.tenant_transaction(tenant) as connection:
        assert await connection.fetch("SELECT * FROM batch_parts") == []
        assert await connection.fetch("SELECT * FROM jobs WHERE kind = 'batch'") == []


async def test_a_session_that_kills_workers_fails_alone(
    wiring: Wiring, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = str(uuid4())
    names = [f"{tag}-{n}" for n in range(9)]
    batch_id = await accepted(wiring, tenant, [session(name, 0, 5, 10) for name in names])
    other = await accepted(wiring, tenant, [session(f"{tag}-other", 0, 5, 10, station="CP-2")])
    real = bulk.BulkSessions.prepare

    async def poisoned(self: bulk.BulkSessions, tenant_id: UUID, upserts: Any) -> Any:
        if any(upsert.external_id == names[4] for upsert in upserts):
            raise Death
        return await real(self, tenant_id, upserts)

    monkeypatch.setattr(bulk.BulkSessions, "prepare", poisoned)
    status = await finished(wiring, tenant, batch_id)
    assert (status.status, status.processed_sessions, status.failed_sessions) == ("completed", 8, 1)
    assert [result.status for result in status.results] == ["active"] * 4 + ["failed"] + ["active"] * 4
    error = status.results[4].error
    assert error is not None
    assert (status.results[4].session_id, error.code) == (names[4], "processing_failed")
    assert (await finished(wiring, tenant, other)).processed_sessions == 1


async def test_a_batch_that_cannot_be_processed_at_all_ends_visibly(
    wiring: Wiring, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = await accepted(wiring, tenant, [session(str(uuid4()), 0, 5, 10) for _ in range(3)])

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(processing.BatchProcessing, "_next", broken)
    status = await finished(wiring, tenant, batch_id)
    assert (status.status, status.processed_sessions, status.failed_sessions) == ("failed", 0, 3)
    assert {result.error.code for result in status.results if result.error} == {"batch_given_up"}


async def test_a_fault_of_one_session_is_its_own(
    wiring: Wiring, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement that fails for one session leaves the others of its transaction stored."""
    tag = str(uuid4())
    names = [f"{tag}-{n}" for n in range(5)]
    batch_id = await accepted(wiring, tenant, [session(name, 0, 5, 10) for name in names])
    real = bulk.SessionService.upsert_in

    async def failing(self: Any, connection: Any, tenant_id: UUID, external_id: str, *rest: Any) -> Any:
        stored = await real(self, connection, tenant_id, external_id, *rest)
        if external_id == names[2]:
            await connection.execute("SELECT 1 / 0")
        return stored

    async def no_group(*_: object) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(bulk.SessionService, "upsert_in", failing)
    monkeypatch.setattr(bulk.repository, "create_sessions", no_group)
    status = await finished(wiring, tenant, batch_id)
    assert [result.status for result in status.results] == ["active", "active", "failed", "active", "active"]
    error = status.results[2].error
    assert error is not None
    assert error.code == "internal_error"
    for number, name in enumerate(names):
        async with wiring.database.tenant_transaction(tenant) as connection:
            found = await connection.fetchval("SELECT count(*) FROM sessions WHERE external_id = $1", name)
        assert found == (number != 2)


async def test_two_workers_finish_batches_of_two_tenants(
    wiring: Wiring, settings: Settings, database: Database, two_tenants: tuple[NewKey, NewKey]
) -> None:
    owners = [two_tenants[number % 2].tenant_id for number in range(6)]
    tag = str(uuid4())
    ids = [
        await accepted(wiring, owner, [session(f"{tag}-{n}", 0, number, 2 * number) for n in range(10)])
        for number, owner in enumerate(owners)
    ]
    workers = [wire(settings, database).jobs for _ in range(2)]
    await asyncio.gather(*(worker.run_until_idle() for worker in workers))
    for owner, batch_id in zip(owners, ids, strict=True):
        status = await wiring.batches.status(owner, batch_id)
        assert (status.status, status.processed_sessions) == ("completed", 10)
    for key in two_tenants:
        stored, _ = await wiring.sessions.get(key.tenant_id, f"{tag}-0")
        assert stored.row.version == 3, "three batches of each tenant"


async def test_old_batches_are_forgotten(wiring: Wiring, tenant: UUID) -> None:
    done = await accepted(wiring, tenant, [session(str(uuid4()), 0, 5, 10)])
    await finished(wiring, tenant, done)
    waiting = await accepted(wiring, tenant, [session(str(uuid4()), 0, 5, 10)])
    keeps = Housekeeping(wiring.database, wiring.sessions, wiring.idempotency, 3600.0)
    await keeps.round()
    assert (await wiring.batches.status(tenant, done)).processed_sessions == 1
    await Housekeeping(wiring.database, wiring.sessions, wiring.idempotency, 0.0).round()
    assert (await wiring.batches.status(tenant, waiting)).status == "pending"
    with pytest.raises(BatchNotFound):
        await wiring.batches.status(tenant, done)


async def test_parts_hold_every_session_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "LARGEST_PART", 3)
    monkeypatch.setattr(parts, "LARGEST_PART_BYTES", 40)
    sent = [msgspec.Raw(b'{"n": %s}' % (b"1" * (n % 4 * 9 + 1))) for n in range(20)]
    found = divide(sent)
    assert [one for part in found for one in parts.sessions_of(part.payload)] == sent
    assert [part.first for part in found] == [
        sum(part.session_count for part in found[:n]) for n in range(len(found))
    ]
    assert max(part.session_count for part in found) <= 3
