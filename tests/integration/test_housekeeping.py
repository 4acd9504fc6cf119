"""What the service does by itself: sessions that became over, overlaps, retention, counts, old answers."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from chargewatch.domain.data_quality import NoteCode
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
from chargewatch.server.sessions.service import SessionNotFound, SessionService
from chargewatch.server.tenants.service import NewKey, TenantError, TenantService
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.anyio

REGISTER = source_of(None, "Wh", None, None, None, None)
POWER = source_of("Power.Active.Import", "W", None, None, None, None)
UNCHANGED = Attributes(None, None, None, None, None)
START = datetime(2026, 2, 27, 10, tzinfo=UTC)


@pytest.fixture
def service(database: Database) -> SessionService:
    return SessionService(database, Analyser(), idle_s=6 * 3600)


@pytest.fixture
def housekeeping(database: Database, service: SessionService) -> Housekeeping:
    return Housekeeping(database, service, Idempotency(database, 86400, 60))


@pytest.fixture
def tenant(two_tenants: tuple[NewKey, NewKey]) -> UUID:
    return two_tenants[0].tenant_id


@pytest.fixture
def other(two_tenants: tuple[NewKey, NewKey]) -> UUID:
    return two_tenants[1].tenant_id


def register(
    values: Sequence[float], start: datetime, every: timedelta = timedelta(minutes=10)
) -> list[Reading]:
    return [Reading(microseconds(start + i * every), str(v), REGISTER) for i, v in enumerate(values)]


async def push(
    service: SessionService,
    tenant: UUID,
    readings: Sequence[Reading],
    session: str | None = None,
    station: str | None = None,
    connector: str | None = "1",
    attributes: Attributes = UNCHANGED,
) -> Stored:
    where = Whereabouts(station or f"CP-{uuid4()}", None, connector)
    return await service.append(tenant, session or f"s-{uuid4()}", where, attributes, readings)


def notes(stored: Stored) -> set[str]:
    return {code.value for code in NoteCode if stored.row.verdict and f'"{code.value}"' in stored.row.verdict}


async def execute(database: Database, tenant: UUID, statement: str, *arguments: object) -> str:
    async with database.tenant_transaction(tenant) as connection:
        return await connection.execute(statement, *arguments)


# --- sessions that became over -----------------------------------------------------------------------------


def stalled(now: datetime, idle: timedelta) -> list[Reading]:
    """A session that delivered next to nothing for as long as it is watched: an anomaly once it is over."""
    return register([0] * 4, now - idle - timedelta(minutes=31) + timedelta(minutes=1))


async def test_an_idle_session_is_judged_as_over(database: Database, tenant: UUID, other: UUID) -> None:
    idle_s = 2.0
    service = SessionService(database, Analyser(), idle_s=idle_s)
    housekeeping = Housekeeping(database, service, Idempotency(database, 86400, 60))
    last = datetime.now(UTC)
    live = await push(service, tenant, register([0] * 4, last - timedelta(minutes=30)))
    assert live.row.recheck_at is not None
    assert timedelta(0) <= live.row.recheck_at - last - timedelta(seconds=idle_s) <= timedelta(seconds=0.1)
    assert await housekeeping.judge_due(other) == 0
    assert (await service.get(tenant, live.row.external_id))[0] == live
    await asyncio.sleep(idle_s + 0.1)
    await housekeeping.judge_due(tenant)
    over, _ = await service.get(tenant, live.row.external_id)
    assert over.row.recheck_at is None
    assert over.row.analyzed_version == over.row.version
    told_at_once = await push(
        service,
        tenant,
        register([0] * 4, last - timedelta(minutes=30)),
        attributes=UNCHANGED._replace(ended_at=last + timedelta(seconds=1)),
    )
    assert over.row.is_anomaly == told_at_once.row.is_anomaly
    assert over.row.categories == told_at_once.row.categories
    changed = over.row.verdict != live.row.verdict
    assert over.row.version == live.row.version + changed
    assert await housekeeping.judge_due(tenant) == 0


async def test_a_late_reading_reopens_a_session(service: SessionService, tenant: UUID) -> None:
    now = datetime.now(UTC)
    old = await push(service, tenant, register([0, 900, 1800], now - timedelta(hours=9)))
    assert old.row.recheck_at is None, "it is over already"
    reopened = await service.append(
        tenant, old.row.external_id, None, UNCHANGED, register([1900], now - timedelta(minutes=1))
    )
    assert reopened.row.recheck_at is not None
    assert reopened.row.recheck_at > now


async def test_a_session_declared_over_is_not_looked_at_again(service: SessionService, tenant: UUID) -> None:
    now = datetime.now(UTC)
    ended = UNCHANGED._replace(ended_at=now)
    stored = await push(
        service, tenant, register([0, 900, 1800], now - timedelta(minutes=30)), attributes=ended
    )
    assert stored.row.recheck_at is None


# --- overlaps ----------------------------------------------------------------------------------------------


async def test_sessions_of_one_connector_at_the_same_time_are_noted(
    service: SessionService, housekeeping: Housekeeping, tenant: UUID, other: UUID
) -> None:
    station = f"CP-{uuid4()}"
    values = [0, 900, 1800, 2700]
    first = await push(service, tenant, register(values, START), station=station)
    await push(service, other, register(values, START), station=station)
    for apart in (
        await push(service, tenant, register(values, START), station=station, connector="2"),
        await push(service, tenant, register(values, START), station=station, connector=None),
        await push(service, tenant, register(values, START + timedelta(minutes=29)), station=station),
    ):
        assert "overlaps_session" not in notes(apart)
    assert "overlaps_session" not in notes(first)
    second = await push(service, tenant, register(values, START - timedelta(minutes=20)), station=station)
    assert "overlaps_session" in notes(second)
    assert not second.row.is_anomaly
    assert second.row.anomaly_confidence < first.row.anomaly_confidence
    assert await housekeeping.judge_due(tenant) == 1
    again, _ = await service.get(tenant, first.row.external_id)
    assert "overlaps_session" in notes(again)
    assert again.row.version == first.row.version + 1
    assert again.row.analyzed_version == again.row.version
    assert await housekeeping.judge_due(tenant) == 0
    await service.delete(tenant, second.row.external_id)
    assert await housekeeping.judge_due(tenant) == 1
    alone, _ = await service.get(tenant, first.row.external_id)
    assert "overlaps_session" not in notes(alone)


async def test_a_session_that_moves_leaves_one_overlap_for_another(
    service: SessionService, housekeeping: Housekeeping, tenant: UUID
) -> None:
    here, there = f"CP-{uuid4()}", f"CP-{uuid4()}"
    values = [0, 900, 1800]
    left = await push(service, tenant, register(values, START), station=here)
    met = await push(service, tenant, register(values, START), station=there)
    mover = await push(service, tenant, register(values, START), station=here)
    await housekeeping.judge_due(tenant)

    async def noted(stored: Stored) -> bool:
        return "overlaps_session" in notes((await service.get(tenant, stored.row.external_id))[0])

    assert (await noted(left), await noted(mover), await noted(met)) == (True, True, False)
    await push(service, tenant, [], session=mover.row.external_id, station=there)
    assert await housekeeping.judge_due(tenant) == 2
    assert (await noted(left), await noted(mover), await noted(met)) == (False, True, True)
    await service.append(
        tenant, mover.row.external_id, None, UNCHANGED, register([9000], START + timedelta(hours=3))
    )
    assert await housekeeping.judge_due(tenant) == 0, "the overlap is an old one"


async def test_an_overlap_is_noted_on_every_way_in(service: SessionService, tenant: UUID) -> None:
    """By a first push, by a push on a known session, and by one on a session of another process."""
    station = f"CP-{uuid4()}"
    values = [0, 900, 1800]
    await push(service, tenant, register(values, START), station=station)
    known = await push(service, tenant, register(values, START + timedelta(hours=2)), station=station)
    assert "overlaps_session" not in notes(known)
    early = register([0], START + timedelta(minutes=5))
    for process in (service, SessionService(service._database, Analyser(), idle_s=6 * 3600)):
        stored = await process.append(tenant, known.row.external_id, None, UNCHANGED, early)
        assert "overlaps_session" in notes(stored)
        stored = await process.change(
            tenant,
            known.row.external_id,
            UNCHANGED,
            register(values, START + timedelta(hours=2)),
            replace=True,
        )
        assert "overlaps_session" not in notes(stored)


# --- retention ---------------------------------------------------------------------------------------------


async def retain(address: DatabaseAddress, tenant: UUID, days: int | None) -> None:
    async with connected(address.owner) as owner:
        await TenantService(owner, address.roles).set_retention(tenant, days)


async def test_retention_erases_by_age(
    service: SessionService, housekeeping: Housekeeping, address: DatabaseAddress, other: UUID, tenant: UUID
) -> None:
    now = datetime.now(UTC)
    old = await push(service, other, register([0, 900, 1800], now - timedelta(days=11)))
    young = await push(service, other, register([0, 900, 1800], now - timedelta(days=9)))
    theirs = await push(service, tenant, register([0, 900, 1800], now - timedelta(days=11)))
    long = await push(service, other, register([0, 900, 1800], now - timedelta(days=20), timedelta(days=7)))
    assert await housekeeping.erase_old(other) == 0
    await retain(address, other, 10)
    await housekeeping.erase_old(other)
    with pytest.raises(SessionNotFound):
        await service.get(other, old.row.external_id)
    for kept, whose in ((young, other), (long, other), (theirs, tenant)):
        assert (await service.get(whose, kept.row.external_id))[0].row.external_id
    await retain(address, other, None)
    assert await housekeeping.erase_old(other) == 0


async def test_retention_forgets_what_ocpp_called_the_session(
    service: SessionService,
    housekeeping: Housekeeping,
    address: DatabaseAddress,
    database: Database,
    tenant: UUID,
) -> None:
    now = datetime.now(UTC)
    old = await push(service, tenant, register([0, 900, 1800], now - timedelta(days=41)))
    young = await push(service, tenant, register([0, 900, 1800], now - timedelta(days=39)))
    note = (
        "INSERT INTO ocpp_transactions (tenant_id, station, transaction_key, session, updated_at)"
        " VALUES ($1, 'CP-1', $2, $3, now() - $4::interval)"
    )
    for key, session, age in (
        ("gone", old.row.external_id, timedelta(days=41)),
        ("there", young.row.external_id, timedelta(days=41)),
        ("start:1", "", timedelta(days=41)),
        ("start:2", "", timedelta(days=1)),
    ):
        await execute(database, tenant, note, tenant, key, session, age)
    await retain(address, tenant, 40)
    assert await housekeeping.erase_old(tenant) >= 1
    await retain(address, tenant, None)
    async with database.tenant_transaction(tenant, reads=True) as connection:
        left = await connection.fetch("SELECT transaction_key FROM ocpp_transactions ORDER BY 1")
    assert [row[0] for row in left] == ["start:2", "there"]


@pytest.mark.parametrize("days", [0, -1, 36_501])
async def test_a_retention_out_of_range_is_refused(address: DatabaseAddress, tenant: UUID, days: int) -> None:
    with pytest.raises(TenantError, match="1 to 36500 days"):
        await retain(address, tenant, days)


# --- counts ------------------------------------------------------------------------------------------------


async def sums(database: Database, tenant: UUID, station: UUID) -> dict[tuple[str, str], int]:
    async with database.tenant_transaction(tenant) as connection:
        found = await connection.fetch(
            "SELECT connector_id, what, sum(amount)::integer AS amount FROM session_counts"
            " WHERE tenant_id = $1 AND station_id = $2 GROUP BY 1, 2 HAVING sum(amount) <> 0",
            tenant,
            station,
        )
    return {(row["connector_id"], row["what"]): row["amount"] for row in found}


async def test_counts_are_folded_and_stay_the_same(
    service: SessionService, housekeeping: Housekeeping, database: Database, tenant: UUID
) -> None:
    station = f"CP-{uuid4()}"
    for number in range(6):
        fallen = [0, 900, 100] if number % 3 == 0 else [0, 900, 1800]
        values = register(fallen, START + timedelta(days=number))
        stored = await push(service, tenant, values, station=station, connector=str(number % 2))
    before = await sums(database, tenant, stored.row.station_id)
    assert before == {
        ("0", "sessions"): 3,
        ("1", "sessions"): 3,
        ("0", "anomalous"): 1,
        ("1", "anomalous"): 1,
        ("0", "KWH_DECREASE"): 1,
        ("1", "KWH_DECREASE"): 1,
    }
    entries = "SELECT count(*) FROM session_counts WHERE tenant_id = $1 AND station_id = $2"
    async with database.tenant_transaction(tenant) as connection:
        assert await connection.fetchval(entries, tenant, stored.row.station_id) == 10
    await asyncio.gather(*(housekeeping.fold_counts(tenant, more_than=1) for _ in range(4)))
    assert await sums(database, tenant, stored.row.station_id) == before
    async with database.tenant_transaction(tenant) as connection:
        assert await connection.fetchval(entries, tenant, stored.row.station_id) == 6


async def test_counts_fold_while_sessions_arrive(
    service: SessionService, housekeeping: Housekeeping, database: Database, tenant: UUID
) -> None:
    station = f"CP-{uuid4()}"
    first = await push(service, tenant, register([0, 900, 1800], START), station=station)

    async def arrive(number: int) -> None:
        for n in range(8):
            await push(
                service,
                tenant,
                register([0, 900, 1800], START + timedelta(days=1 + 8 * number + n)),
                station=station,
            )

    async def fold() -> None:
        for _ in range(12):
            await housekeeping.fold_counts(tenant, more_than=1)

    await asyncio.gather(*(arrive(number) for number in range(4)), fold(), fold())
    assert await sums(database, tenant, first.row.station_id) == {("1", "sessions"): 33}


# --- the rounds --------------------------------------------------------------------------------------------


async def test_a_round_looks_after_every_tenant_and_survives_a_fault(
    service: SessionService,
    database: Database,
    housekeeping: Housekeeping,
    tenant: UUID,
    other: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[UUID] = []
    all_seen = asyncio.Event()

    async def judge_due(tenant_id: UUID) -> int:
        seen.append(tenant_id)
        if len(seen) == 1:
            raise RuntimeError("once")
        if {tenant, other} <= set(seen[1:]):
            all_seen.set()
        return 0

    monkeypatch.setattr(housekeeping, "judge_due", judge_due)
    rounds = asyncio.create_task(housekeeping.keep_house(0.01))
    async with asyncio.timeout(PATIENCE_S):
        await all_seen.wait()
    rounds.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rounds


async def test_the_app_role_learns_ids_of_tenants_and_nothing_else(database: Database, tenant: UUID) -> None:
    found = await database.fetch_without_tenant("SELECT * FROM all_tenants()")
    assert {tuple(row.keys()) for row in found} == {("tenant_id",)}
    assert tenant in {row["tenant_id"] for row in found}
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await execute(database, tenant, "UPDATE tenants SET settings = '{}'")
