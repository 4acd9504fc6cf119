"""API keys against a real database (S1): wrong, revoked, expired, two at once; what a look-up costs."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from chargewatch.server.db.address import DatabaseAddress
from chargewatch.server.db.bootstrap import bootstrap
from chargewatch.server.db.connection import Connection, Row, connected
from chargewatch.server.db.engine import Database
from chargewatch.server.db.errors import DatabaseUnavailable
from chargewatch.server.settings import Secret, Settings
from chargewatch.server.tenants.keys import DEFAULT_SCOPES, RANDOM_LENGTH, Scope, checksum, key_hash, new_key
from chargewatch.server.tenants.service import Authenticator, NewKey, Principal, TenantError, TenantService
from tests.integration.conftest import DatabaseServer

pytestmark = pytest.mark.anyio


class CountingDatabase(Database):
    """Counts the queries outside of a tenant, and can be told to fail on some."""

    queries = 0
    failing = ""

    async def fetch_without_tenant(self, query: str, *args: object, reads: bool = False) -> list[Row]:
        self.queries += 1
        if self.failing and self.failing in query:
            raise DatabaseUnavailable("disk full")
        return await super().fetch_without_tenant(query, *args, reads=reads)


@pytest.fixture
async def counting(settings: Settings, address: DatabaseAddress) -> AsyncIterator[CountingDatabase]:
    database = await CountingDatabase.open(settings, address)
    database.queries = 0
    yield database
    await database.close()


@pytest.fixture
async def owner(address: DatabaseAddress) -> AsyncIterator[Connection]:
    async with connected(address.owner) as connection:
        yield connection


@pytest.fixture
def service(owner: Connection, address: DatabaseAddress) -> TenantService:
    return TenantService(owner, address.roles)


def principal_of(key: NewKey) -> Principal:
    return Principal(key.tenant_id, key.key_id, frozenset(key.scopes))


async def test_a_key_names_its_tenant(counting: Database, two_tenants: tuple[NewKey, NewKey]) -> None:
    authenticator = Authenticator(counting)
    for key in two_tenants:
        assert await authenticator.authenticate(key.api_key.reveal()) == principal_of(key)
    assert principal_of(two_tenants[0]).scopes == {"read", "write", "models"}


async def test_a_mistyped_key_costs_no_query(
    counting: CountingDatabase, two_tenants: tuple[NewKey, NewKey]
) -> None:
    authenticator = Authenticator(counting)
    key = two_tenants[0].api_key.reveal()
    upper, mistyped = key[:3] + key[3:].upper(), key[:10] + ("x" if key[10] != "x" else "y") + key[11:]
    for wrong in ("", "x", "cw_", key[:-1], key + "0", upper, mistyped, key + "\n", "ключ" * 10, "\ud800"):
        assert await authenticator.authenticate(wrong) is None
    assert counting.queries == 0


async def test_an_unknown_key_costs_one_query_and_is_forgotten(counting: CountingDatabase) -> None:
    authenticator = Authenticator(counting)
    for number in range(1, 4):
        assert await authenticator.authenticate(new_key()) is None
        assert counting.queries == number
    unknown = new_key()
    assert await authenticator.authenticate(unknown) is None
    assert await authenticator.authenticate(unknown) is None
    assert counting.queries == 5
    assert not authenticator._remembered


async def test_a_known_key_is_looked_up_once_a_second(
    counting: CountingDatabase, two_tenants: tuple[NewKey, NewKey]
) -> None:
    clock = [1000.0]
    authenticator = Authenticator(counting, cache_s=1.0, clock=lambda: clock[0])
    key = two_tenants[0].api_key.reveal()
    await authenticator.authenticate(key)
    first = counting.queries
    for clock[0] in (1000.1, 1000.5, 1000.99):
        assert await authenticator.authenticate(key)
    assert counting.queries == first
    clock[0] = 1001.0
    assert await authenticator.authenticate(key)
    assert counting.queries == first + 1


async def test_calls_at_the_same_moment_share_a_look_up(
    counting: CountingDatabase, service: TenantService
) -> None:
    tenant = await service.create_tenant("crowd")
    key = tenant.api_key.reveal()
    await Authenticator(counting).authenticate(key)  # its use is noted, which costs a query of its own
    authenticator = Authenticator(counting, cache_s=0)
    before = counting.queries
    calls = [asyncio.create_task(authenticator.authenticate(key)) for _ in range(50)]
    await asyncio.sleep(0)
    calls[0].cancel()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert found[1:] == [principal_of(tenant)] * 49
    assert isinstance(found[0], asyncio.CancelledError)
    assert counting.queries == before + 1
    counting.failing = "find_api_key"
    failed = await asyncio.gather(
        *(authenticator.authenticate(key) for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(problem, DatabaseUnavailable) for problem in failed)
    counting.failing = ""
    assert await authenticator.authenticate(key) == principal_of(tenant)


async def test_the_memory_is_bounded(
    counting: Database, service: TenantService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chargewatch.server.tenants.service.CACHED_KEYS", 3)
    tenant = await service.create_tenant(f"many keys {uuid4()}")
    authenticator = Authenticator(counting)
    for _ in range(5):
        key = await service.create_key(tenant.tenant_id)
        assert await authenticator.authenticate(key.api_key.reveal())
    assert len(authenticator._remembered) == 3


async def test_two_live_keys_and_a_revoked_one(database: Database, service: TenantService) -> None:
    first = await service.create_tenant(f"rotating {uuid4()}")
    second = await service.create_key(first.tenant_id, frozenset({Scope.READ}), name="new backend")
    for key in (first, second):
        assert await Authenticator(database).authenticate(key.api_key.reveal()) == principal_of(key)
    await service.revoke_key(first.key_id)
    await service.revoke_key(first.key_id)
    assert await Authenticator(database).authenticate(first.api_key.reveal()) is None
    assert await Authenticator(database).authenticate(second.api_key.reveal()) == principal_of(second)
    records = await service.list_keys(first.tenant_id)
    assert [record.key_id for record in records] == [first.key_id, second.key_id]
    assert [record.revoked_at is None for record in records] == [False, True]
    assert [record.name for record in records] == ["first key", "new backend"]
    assert records[1].scopes == ["read"]
    assert records[1].hint == second.api_key.reveal()[:7] + "…"


async def test_an_expired_key_is_refused_also_from_memory(
    database: Database, service: TenantService, owner: Connection
) -> None:
    """However long keys are trusted, one with an end is trusted until then."""
    tenant = await service.create_tenant(f"expiring {uuid4()}")
    key = await service.create_key(tenant.tenant_id, expires_at=datetime.now(UTC) + timedelta(hours=1))
    clock = [1000.0]
    authenticator = Authenticator(database, cache_s=7200, clock=lambda: clock[0])
    assert await authenticator.authenticate(key.api_key.reveal()) == principal_of(key)
    await owner.execute("UPDATE api_keys SET expires_at = now() WHERE key_id = $1", key.key_id)
    clock[0] += 3600
    assert await authenticator.authenticate(key.api_key.reveal()) is None
    assert await Authenticator(database).authenticate(key.api_key.reveal()) is None


async def test_revocation_reaches_every_process_within_two_seconds(
    settings: Settings, address: DatabaseAddress, service: TenantService
) -> None:
    tenant = await service.create_tenant(f"revoked {uuid4()}")
    key = tenant.api_key.reveal()
    assert settings.key_cache_s <= 1, "the other second is for the look-up"
    clock = [1000.0]
    databases = [await Database.open(settings, address) for _ in range(2)]
    try:
        processes = [
            Authenticator(database, settings.key_cache_s, clock=lambda: clock[0]) for database in databases
        ]
        assert all([await process.authenticate(key) for process in processes])
        await service.revoke_key(tenant.key_id)
        clock[0] += settings.key_cache_s
        assert [await process.authenticate(key) for process in processes] == [None, None]
    finally:
        for database in databases:
            await database.close()


async def test_last_use_is_noted_at_most_once_a_minute(
    counting: CountingDatabase, service: TenantService, owner: Connection, postgres: DatabaseServer
) -> None:
    tenant = await service.create_tenant(f"used {uuid4()}")

    async def last_used() -> datetime | None:
        return (await service.list_keys(tenant.tenant_id))[0].last_used_at

    async def authenticate() -> int:
        before = counting.queries
        assert await Authenticator(counting).authenticate(tenant.api_key.reveal())
        return counting.queries - before

    assert await last_used() is None
    assert await authenticate() == 2
    first = await last_used()
    assert first is not None
    assert await authenticate() == 1
    assert await last_used() == first
    database = await owner.fetchval("SELECT current_database()")
    async with postgres.as_administrator(database) as administrator:
        await administrator.execute(
            "UPDATE api_keys SET last_used_at = now() - interval '61 seconds' WHERE key_id = $1",
            tenant.key_id,
        )
    assert await authenticate() == 2
    assert (await last_used() or first) > first


async def test_a_full_disk_keeps_no_reader_out(counting: CountingDatabase, service: TenantService) -> None:
    tenant = await service.create_tenant(f"disk full {uuid4()}")
    counting.failing = "touch_api_key"
    assert await Authenticator(counting).authenticate(tenant.api_key.reveal()) == principal_of(tenant)
    counting.failing = "find_api_key"
    with pytest.raises(DatabaseUnavailable):
        await Authenticator(counting).authenticate(tenant.api_key.reveal())


async def test_only_the_hash_is_stored(service: TenantService, owner: Connection) -> None:
    tenant = await service.create_tenant(f"hashed {uuid4()}")
    await owner.execute(f"BEGIN;SELECT set_config('app.tenant', '{tenant.tenant_id}', true)")
    stored = await owner.fetchrow("SELECT * FROM api_keys WHERE key_id = $1", tenant.key_id)
    await owner.execute("ROLLBACK")
    assert stored is not None
    assert stored["key_hash"] == key_hash(tenant.api_key.reveal())
    assert tenant.api_key.reveal()[7:] not in str(list(stored.values()))


async def test_what_cannot_be_done_is_said_in_one_line(service: TenantService) -> None:
    name = f"taken {uuid4()}"
    tenant = await service.create_tenant(name)
    with pytest.raises(TenantError, match="already in use"):
        await service.create_tenant(name)
    with pytest.raises(TenantError, match="this API key is already in use"):
        await service.create_tenant(f"other {uuid4()}", tenant.api_key)
    with pytest.raises(TenantError, match="there is no tenant 'nobody'"):
        await service.create_key("nobody")
    with pytest.raises(TenantError, match="there is no tenant"):
        await service.list_keys(uuid4())
    with pytest.raises(TenantError, match="expired already"):
        await service.create_key(name, expires_at=datetime.now(UTC))
    with pytest.raises(TenantError, match="there is no key"):
        await service.revoke_key(uuid4())
    for bad in ("", " ", " x", "x\n", "x" * 201):
        with pytest.raises(TenantError, match="a tenant's name"):
            await service.create_tenant(bad)
    assert (await service.create_key(name)).tenant_id == tenant.tenant_id
    assert (await service.create_key(str(tenant.tenant_id))).tenant_id == tenant.tenant_id


@pytest.mark.parametrize(
    "own_key",
    ["cw_" + "B" * RANDOM_LENGTH + checksum("B" * RANDOM_LENGTH), "an-operators-own-key_0123456789-ABC"],
    ids=["with a checksum", "an operator's own"],
)
async def test_bootstrap_makes_the_default_tenant_once(postgres: DatabaseServer, own_key: str) -> None:
    address = await asyncio.to_thread(postgres.fresh)
    settings = postgres.settings(bootstrap_api_key=own_key)
    async with connected(address.owner) as owner:
        assert not await bootstrap(postgres.settings(), owner, address.roles)
        assert await bootstrap(settings, owner, address.roles)
        assert not await bootstrap(postgres.settings(bootstrap_api_key=new_key()), owner, address.roles)
        made = (await TenantService(owner, address.roles).list_keys("default"))[0]
    database = await Database.open(settings, address)
    try:
        found = await Authenticator(database).authenticate(own_key)
        assert found == Principal(made.tenant_id, made.key_id, frozenset(DEFAULT_SCOPES))
    finally:
        await database.close()


async def test_bootstrap_leaves_a_database_with_tenants_alone(
    two_tenants: tuple[NewKey, NewKey], owner: Connection, address: DatabaseAddress, postgres: DatabaseServer
) -> None:
    settings = postgres.settings(bootstrap_api_key=new_key())
    assert not await bootstrap(settings, owner, address.roles)
    with pytest.raises(TenantError):
        await TenantService(owner, address.roles).list_keys("default")


async def test_the_look_up_answers_for_one_hash_and_lists_nothing(
    database: Database, service: TenantService, two_tenants: tuple[NewKey, NewKey]
) -> None:
    assert await database.fetch_without_tenant("SELECT * FROM find_api_key($1)", b"\0" * 32) == []
    assert await database.fetch_without_tenant("SELECT * FROM find_api_key(NULL)") == []
    untouched = await service.create_tenant(f"untouched {uuid4()}")
    await database.fetch_without_tenant(
        "SELECT touch_api_key($1, $2)", two_tenants[0].tenant_id, untouched.key_id
    )
    assert (await service.list_keys(untouched.tenant_id))[0].last_used_at is None


def test_secrets_do_not_show(two_tenants: tuple[NewKey, NewKey]) -> None:
    key = two_tenants[0]
    assert key.api_key.reveal() not in f"{key!r} {key} {key.api_key} {key.api_key!r}"
    assert isinstance(key.api_key, Secret)
    assert isinstance(key.key_id, UUID)
