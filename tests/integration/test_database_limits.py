"""What a call meets in the database and what becomes of it: time limits (S13), other transactions (R14), reading
that must not write, and a server that does not keep what it acknowledges (R6)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from chargewatch.server.db import contention, embedded
from chargewatch.server.db.access import prepare_database
from chargewatch.server.db.address import DatabaseAddress, embedded_address, quoted, state_folder
from chargewatch.server.db.connection import Connection, connected
from chargewatch.server.db.contention import ATTEMPTS
from chargewatch.server.db.embedded import EmbeddedPostgres
from chargewatch.server.db.engine import Database
from chargewatch.server.db.errors import Contention, DatabaseError, DatabaseUnavailable
from chargewatch.server.db.secret_key import load_secret_key
from chargewatch.server.platform.problems import problem_for
from chargewatch.server.settings import load_settings
from chargewatch.server.tenants.service import NewKey
from tests.integration.conftest import DatabaseServer
from tests.patience import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def tenant(two_tenants: tuple[NewKey, NewKey]) -> UUID:
    return two_tenants[0].tenant_id


@asynccontextmanager
async def altered(postgres: DatabaseServer, address: DatabaseAddress, setting: str) -> AsyncIterator[None]:
    """A default of the database's new sessions."""
    async with postgres.as_administrator(address.app.database) as administrator:
        name = quoted(await administrator.fetchval("SELECT current_database()"))
        await administrator.execute(f"ALTER DATABASE {name} SET {setting}")
        try:
            yield
        finally:
            await administrator.execute(f"ALTER DATABASE {name} RESET {setting.split()[0]}")


def assert_is_503(problem: BaseException) -> None:
    assert isinstance(problem, Exception)
    answer = problem_for(problem)
    assert (answer.status, answer.code) == (503, "database_unavailable")
    assert answer.headers == {"Retry-After": "1"}


# --- time limits


async def backend_of(database: Database, tenant: UUID) -> int:
    async with database.tenant_transaction(tenant) as connection:
        return int(await connection.fetchval("SELECT pg_backend_pid()"))


@pytest.fixture
async def hasty(postgres: DatabaseServer, address: DatabaseAddress) -> AsyncIterator[Database]:
    """With one connection, and limits that a test can reach."""
    limits = postgres.settings(statement_timeout_s=0.5, idle_in_transaction_timeout_s=0.5, pool_size=1)
    database = await Database.open(limits, address)
    yield database
    await database.close()


async def test_the_limits_are_those_of_the_settings(database: Database, tenant: UUID) -> None:
    async with database.tenant_transaction(tenant) as connection:
        assert await connection.fetchval("SHOW statement_timeout") == "15s"
        assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "10s"


async def test_a_statement_that_takes_too_long(hasty: Database, tenant: UUID) -> None:
    """Its connection is as good as before."""
    before = await backend_of(hasty, tenant)
    with pytest.raises(DatabaseUnavailable) as refused:
        async with hasty.tenant_transaction(tenant) as connection:
            await connection.execute("SELECT pg_sleep(60)")
    assert_is_503(refused.value)
    assert await backend_of(hasty, tenant) == before
    with pytest.raises(DatabaseUnavailable) as refused:
        await hasty.fetch_without_tenant("SELECT pg_sleep(60)")
    assert_is_503(refused.value)
    assert await backend_of(hasty, tenant) == before


async def test_a_transaction_that_does_nothing_for_too_long(
    hasty: Database, database: Database, tenant: UUID
) -> None:
    """The server ends the session; the next call gets a new one."""
    before = await backend_of(hasty, tenant)

    async def has_gone() -> bool:
        found = await database.fetch_without_tenant(f"SELECT 1 FROM pg_stat_activity WHERE pid = {before}")
        return not found

    async def idle() -> None:
        async with hasty.tenant_transaction(tenant) as connection:
            await until(has_gone)
            await connection.execute("SELECT 1")

    with pytest.raises(DatabaseUnavailable) as refused:
        await idle()
    assert_is_503(refused.value)
    assert await backend_of(hasty, tenant) != before


# --- other transactions


@pytest.fixture
async def quick_to_see(postgres: DatabaseServer, address: DatabaseAddress) -> AsyncIterator[Database]:
    """A database whose server notices a deadlock at once."""
    async with altered(postgres, address, "deadlock_timeout = '10ms'"):
        database = await Database.open(postgres.settings(), address)
        yield database
        await database.close()


async def add_stations(database: Database, tenant: UUID, count: int) -> list[UUID]:
    async with database.tenant_transaction(tenant) as connection:
        return [
            await connection.fetchval(
                "INSERT INTO stations (tenant_id, station_id, external_id) VALUES ($1, $2, $3) RETURNING station_id",
                tenant,
                uuid4(),
                str(uuid4()),
            )
            for _ in range(count)
        ]


async def touch(connection: Connection, tenant: UUID, station: UUID) -> None:
    statement = (
        "UPDATE stations SET rated_power_kw = coalesce(rated_power_kw, 0) + 1"
        " WHERE tenant_id = $1 AND station_id = $2"
    )
    await connection.execute(statement, tenant, station)


async def touched(database: Database, tenant: UUID, stations: list[UUID]) -> list[float | None]:
    async with database.tenant_transaction(tenant, reads=True) as connection:
        query = "SELECT rated_power_kw FROM stations WHERE tenant_id = $1 AND station_id = $2"
        return [await connection.fetchval(query, tenant, station) for station in stations]


class Pair:
    """Two pieces of work that lock the same two rows in opposite orders, and meet for certain at first."""

    def __init__(self, tenant: UUID, stations: list[UUID]) -> None:
        self._tenant, self._stations = tenant, stations
        self._both_hold_one = asyncio.Barrier(2)
        self.attempts = [0, 0]

    async def work(self, number: int, connection: Connection) -> int:
        self.attempts[number] += 1
        first, second = self._stations if number == 0 else reversed(self._stations)
        await touch(connection, self._tenant, first)
        if self.attempts[number] == 1:
            await self._both_hold_one.wait()
        await touch(connection, self._tenant, second)
        return number


@pytest.mark.parametrize("seed", range(3))
async def test_a_deadlock_is_not_seen_by_the_caller(quick_to_see: Database, tenant: UUID, seed: int) -> None:
    stations = await add_stations(quick_to_see, tenant, 2)
    pair = Pair(tenant, stations)
    done = await asyncio.gather(
        quick_to_see.in_tenant_transaction(tenant, lambda connection: pair.work(0, connection)),
        quick_to_see.in_tenant_transaction(tenant, lambda connection: pair.work(1, connection)),
    )
    assert done == [0, 1]
    # one of the two is ended and begins anew; where it is quicker than the other one wakes up, they meet once more
    assert 3 <= sum(pair.attempts) <= 2 * ATTEMPTS
    assert max(pair.attempts) > 1
    assert await touched(quick_to_see, tenant, stations) == [2, 2], "each was applied once"


async def test_many_that_are_in_each_others_way(quick_to_see: Database, tenant: UUID) -> None:
    stations = await add_stations(quick_to_see, tenant, 2)

    async def both(first: UUID, second: UUID) -> None:
        async def work(connection: Connection) -> None:
            await touch(connection, tenant, first)
            await asyncio.sleep(0)
            await touch(connection, tenant, second)

        await quick_to_see.in_tenant_transaction(tenant, work)

    orders = [stations, stations[::-1]] * 4
    await asyncio.gather(*(both(*order) for order in orders))
    assert await touched(quick_to_see, tenant, stations) == [8, 8]


async def test_a_serialization_failure_is_not_seen_either(
    postgres: DatabaseServer, address: DatabaseAddress, database: Database, tenant: UUID
) -> None:
    (station,) = await add_stations(database, tenant, 1)
    attempts = 0

    async def work(connection: Connection) -> None:
        nonlocal attempts
        attempts += 1
        await connection.fetchval("SELECT count(*) FROM stations")
        if attempts == 1:  # somebody else changes the row after this one has looked
            async with database.tenant_transaction(tenant) as other:
                await touch(other, tenant, station)
        await touch(connection, tenant, station)

    async with altered(postgres, address, "default_transaction_isolation = 'repeatable read'"):
        strict = await Database.open(postgres.settings(), address)
        await strict.in_tenant_transaction(tenant, work)
        await strict.close()
    assert attempts == 2
    assert await touched(database, tenant, [station]) == [2]


@pytest.mark.parametrize("code", ["40001", "40P01", "55P03"])
async def test_attempts_are_bounded(
    database: Database, tenant: UUID, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contention, "FIRST_PAUSE_S", 0.0001)
    attempts = 0

    async def in_the_way(connection: Connection) -> None:
        nonlocal attempts
        attempts += 1
        await connection.execute(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$")

    with pytest.raises(Contention) as refused:
        await database.in_tenant_transaction(tenant, in_the_way)
    assert attempts == contention.ATTEMPTS
    assert_is_503(refused.value)


async def test_other_failures_are_not_repeated(database: Database, tenant: UUID) -> None:
    attempts = 0

    async def wrong(connection: Connection) -> None:
        nonlocal attempts
        attempts += 1
        await connection.execute("SELECT 1/0")

    with pytest.raises(asyncpg.DivisionByZeroError):
        await database.in_tenant_transaction(tenant, wrong)
    assert attempts == 1


# --- reading


async def test_a_transaction_that_reads_cannot_write(database: Database, tenant: UUID) -> None:
    (station,) = await add_stations(database, tenant, 1)
    with pytest.raises(DatabaseError, match="told to write") as refused:
        async with database.tenant_transaction(tenant, reads=True) as connection:
            await touch(connection, tenant, station)
    assert problem_for(refused.value).status == 500, "a fault of the program, not an outage"
    assert await touched(database, tenant, [station]) == [None]


# --- durability


@pytest.fixture
def careless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The settings of a server, to be changed before it is started."""
    changed = dict(embedded.SERVER_SETTINGS)
    monkeypatch.setattr(embedded, "SERVER_SETTINGS", changed)
    return changed


@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
async def test_a_server_that_may_lose_what_it_acknowledged_is_refused(
    tmp_path: Path, careless: dict[str, str], name: str
) -> None:
    careless[name] = "off"
    settings = load_settings({"data_dir": tmp_path}, environ={}, dotenv=None)
    server = EmbeddedPostgres(state_folder(settings))
    server.start()
    try:
        address = embedded_address(server.dsn(), load_secret_key(settings))
        await prepare_database(settings, address, may_migrate=False)
        with pytest.raises(DatabaseError, match=f"{name} is off.*set {name} = on on the server"):
            await Database.open(settings, address)
    finally:
        server.stop()


async def test_commits_wait_for_the_disk_whatever_the_servers_default_is(
    postgres: DatabaseServer, address: DatabaseAddress, tenant: UUID
) -> None:
    async with altered(postgres, address, "synchronous_commit = off"):
        async with connected(address.app) as plain:
            assert await plain.fetchval("SHOW synchronous_commit") == "off"
        database = await Database.open(postgres.settings(), address)
        async with database.tenant_transaction(tenant) as connection:
            assert await connection.fetchval("SHOW synchronous_commit") == "on"
        await database.close()
