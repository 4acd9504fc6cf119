"""What processes know of thresholds: in force everywhere within two seconds, without a read for each push."""

import asyncio
from uuid import UUID

import pytest

from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS
from chargewatch.server.analysis.service import Analyser
from chargewatch.server.db.address import DatabaseAddress
from chargewatch.server.db.connection import connected
from chargewatch.server.db.engine import Database
from chargewatch.server.sessions.service import SessionService
from chargewatch.server.tenants.service import NewKey, TenantService
from chargewatch.server.thresholds import memory, repository
from chargewatch.server.thresholds.memory import TRUSTED_S, KnownThresholds
from chargewatch.server.thresholds.service import ThresholdService
from chargewatch.server.verification.service import verify

pytestmark = pytest.mark.anyio

KEY = UUID(int=7)


class Clock:
    """A clock that stands still until it is set on."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Reads:
    """Counts the reads of `KnownThresholds`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tenants: list[UUID] = []

        async def counted(database: Database, tenant_id: UUID) -> str | None:
            self.tenants.append(tenant_id)
            return await repository_newest_changes(database, tenant_id)

        repository_newest_changes = repository.newest_changes
        monkeypatch.setattr(memory.repository, "newest_changes", counted)


async def reset(database: Database, tenant_id: UUID) -> None:
    values = dict.fromkeys(DEFAULT_THRESHOLDS._fields)
    await ThresholdService(database, KnownThresholds(database)).change(tenant_id, values, KEY)


@pytest.fixture(autouse=True)
async def defaults(database: Database, two_tenants: tuple[NewKey, NewKey]) -> None:
    for made in two_tenants:
        await reset(database, made.tenant_id)


async def test_many_pushes_one_read(
    database: Database, two_tenants: tuple[NewKey, NewKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    north, south = (made.tenant_id for made in two_tenants)
    reads, clock = Reads(monkeypatch), Clock()
    known = KnownThresholds(database, clock)
    found = await asyncio.gather(*(known.of(tenant) for tenant in [north, south] * 50))
    assert set(found) == {DEFAULT_THRESHOLDS}
    assert sorted(reads.tenants) == sorted([north, south])
    clock.now += TRUSTED_S - 0.01
    await known.of(north)
    assert len(reads.tenants) == 2
    clock.now += 0.02
    await known.of(north)
    assert reads.tenants[2:] == [north]


async def test_another_process_knows_within_two_seconds(
    database: Database, two_tenants: tuple[NewKey, NewKey]
) -> None:
    north, south = (made.tenant_id for made in two_tenants)
    clock = Clock()
    here, there = KnownThresholds(database, clock), KnownThresholds(database, clock)
    for known in (here, there):
        assert await known.of(north) == await known.of(south) == DEFAULT_THRESHOLDS
    await ThresholdService(database, here).change(north, {"pit_depth": 0.2}, KEY)
    assert (await here.of(north)).pit_depth == 0.2
    assert (await there.of(north)).pit_depth == 0.25
    assert TRUSTED_S < 2
    clock.now += TRUSTED_S
    assert (await there.of(north)).pit_depth == 0.2
    assert (await here.of(south)) == (await there.of(south)) == DEFAULT_THRESHOLDS


async def test_within_a_transaction_its_own_connection_reads(
    database: Database, two_tenants: tuple[NewKey, NewKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else all connections could be held by calls that wait for one more."""
    tenant = two_tenants[0].tenant_id
    await ThresholdService(database, KnownThresholds(database)).change(tenant, {"pit_depth": 0.3}, KEY)
    reads, clock = Reads(monkeypatch), Clock()
    known = KnownThresholds(database, clock)
    async with database.tenant_transaction(tenant) as connection:
        assert (await known.of(tenant, connection)).pit_depth == 0.3
    assert (await known.of(tenant)).pit_depth == 0.3
    assert reads.tenants == [], "what was read there is known everywhere"
    await reset(database, tenant)
    clock.now += TRUSTED_S
    async with database.tenant_transaction(tenant) as connection:
        assert await known.of(tenant, connection) == DEFAULT_THRESHOLDS
    assert reads.tenants == []


async def test_a_tenant_never_gets_what_another_one_set(
    database: Database, two_tenants: tuple[NewKey, NewKey]
) -> None:
    north, south = (made.tenant_id for made in two_tenants)
    await ThresholdService(database, KnownThresholds(database)).change(north, {"pit_depth": 0.3}, KEY)
    known = KnownThresholds(database)
    async with database.tenant_transaction(south) as connection:
        assert await repository.newest(connection, north) is None
    found = await asyncio.gather(*(known.of(tenant) for tenant in (north, south, UUID(int=1))))
    assert [thresholds.pit_depth for thresholds in found] == [0.3, 0.25, 0.25]


async def test_the_memory_is_bounded(
    database: Database, two_tenants: tuple[NewKey, NewKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "MOST_TENANTS", 1)
    reads, clock = Reads(monkeypatch), Clock()
    known = KnownThresholds(database, clock)
    for tenant in [made.tenant_id for made in two_tenants] * 2:
        await known.of(tenant)
    assert len(reads.tenants) == 4


async def test_a_reader_that_gives_up_does_not_end_the_reading_of_others(
    database: Database, two_tenants: tuple[NewKey, NewKey]
) -> None:
    known = KnownThresholds(database)
    gone, stays = (asyncio.create_task(known.of(two_tenants[0].tenant_id)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == DEFAULT_THRESHOLDS
    assert gone.cancelled() or gone.cancelling()


async def test_the_command_line_changes_them_and_every_change_is_kept(
    database: Database, address: DatabaseAddress, two_tenants: tuple[NewKey, NewKey]
) -> None:
    tenant = two_tenants[0].tenant_id
    service = ThresholdService(database, KnownThresholds(database))
    first = await service.change(tenant, {"pit_depth": 0.2}, KEY)
    async with connected(address.owner) as owner:
        second = await TenantService(owner, address.roles).change_thresholds("north", {"pit_depth": None})
        assert await TenantService(owner, address.roles).thresholds("north") == second
        assert (await TenantService(owner, address.roles).thresholds("south")).changes == {}
    assert (first.changes, first.changed_by, second.changes, second.changed_by) == (
        {"pit_depth": 0.2},
        KEY,
        {},
        None,
    )
    async with database.tenant_transaction(tenant) as connection:
        history = await connection.fetch(
            "SELECT version, changed_at FROM tenant_thresholds ORDER BY version DESC"
        )
    assert [row["version"] for row in history] == list(range(second.version, 1, -1))
    assert [row["changed_at"] for row in history[:2]] == [second.changed_at, first.changed_at]


async def test_what_another_release_stored_stays_and_verify_tells_of_it(
    database: Database, two_tenants: tuple[NewKey, NewKey]
) -> None:
    tenant = two_tenants[1].tenant_id
    foreign = {"of_tomorrow": 3.0, "pit_depth": 0.9}
    async with database.tenant_transaction(tenant) as connection:
        row = await repository.newest(connection, tenant)
        version = 2 if row is None else row["version"] + 1
        await repository.insert(connection, tenant, version, foreign, None)
    assert (await KnownThresholds(database).of(tenant)).pit_depth == 0.4, "the bound of this release"
    found = await verify(database, [made.tenant_id for made in two_tenants])
    assert {(one.where, one.what, one.stored, one.recomputed) for one in found.differences} == {
        ("thresholds", "of_tomorrow", "3.0", "a limit of this program"),
        ("thresholds", "pit_depth", "0.9", "0.4"),
    }
    service = ThresholdService(database, KnownThresholds(database))
    stored = await service.change(tenant, {"pit_depth": 0.3}, KEY)
    assert stored.changes == {"of_tomorrow": 3.0, "pit_depth": 0.3}
    async with database.tenant_transaction(tenant) as connection:
        await repository.insert(connection, tenant, stored.version + 1, {}, None)
    assert (await verify(database, [tenant])).differences == []


async def test_they_go_with_their_tenant(address: DatabaseAddress, database: Database) -> None:
    async with connected(address.owner) as owner:
        service = TenantService(owner, address.roles)
        gone = (await service.create_tenant("gone")).tenant_id
        await service.change_thresholds("gone", {"pit_depth": 0.2})
        async with service._repository.within(gone) as connection:
            await connection.execute("DELETE FROM tenants WHERE tenant_id = $1", gone)
            kept = "SELECT count(*) FROM tenant_thresholds WHERE tenant_id = $1"
            assert await connection.fetchval(kept, gone) == 0


async def test_each_process_has_one_memory_for_judging_and_changing(database: Database) -> None:
    sessions = SessionService(database, Analyser(), 3600)
    assert isinstance(sessions.thresholds, KnownThresholds)
