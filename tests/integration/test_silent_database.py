"""A database that hangs or is gone, under an open `Database` (R3): calls end soon, and go on when it is back.

The embedded server's processes are stopped and killed with real signals.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import pytest
import structlog

from chargewatch.server.db.access import database_for_service, prepare_database
from chargewatch.server.db.address import DatabaseAddress, state_folder
from chargewatch.server.db.connection import connected
from chargewatch.server.db.engine import Database
from chargewatch.server.db.errors import DatabaseUnavailable
from chargewatch.server.platform.problems import problem_for
from chargewatch.server.settings import Settings, load_settings
from chargewatch.server.tenants.service import Authenticator, NewKey, TenantService
from tests.patience import PATIENCE_S, until
from tests.postgres_processes import frozen, postmaster, postmasters, stopped

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes by their working folder"),
]

SILENCE_S = 0.4
#: Nothing but the silence ends a call as soon as this.
ENDED_WITHIN_S = 15.0
LATER_S = 60.0


class Place:
    """A service's database, with a tenant."""

    def __init__(self, settings: Settings, address: DatabaseAddress, key: NewKey) -> None:
        self.settings, self.address, self.key = settings, address, key
        self.folder = state_folder(settings)
        self.tenant: UUID = key.tenant_id

    def settings_with(self, **flags: float) -> Settings:
        patient = {"pool_timeout_s": LATER_S, "statement_timeout_s": LATER_S}
        flags = {"database_silence_s": SILENCE_S, **patient, **flags}
        return load_settings({"data_dir": self.settings.data_dir, **flags}, environ={}, dotenv=None)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("silent")
    settings = load_settings({"data_dir": folder}, environ={}, dotenv=None)
    with database_for_service(settings) as address:
        key = asyncio.run(_prepare(settings, address))
        yield Place(settings, address, key)


async def _prepare(settings: Settings, address: DatabaseAddress) -> NewKey:
    await prepare_database(settings, address, may_migrate=False)
    async with connected(address.owner) as owner:
        return await TenantService(owner, address.roles).create_tenant("north")


@contextlib.asynccontextmanager
async def opened(place: Place, **flags: float) -> AsyncIterator[Database]:
    database = await Database.open(place.settings_with(**flags), place.address)
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
def log() -> Iterator[list[dict[str, object]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines  # type: ignore[misc]


async def answers(database: Database, tenant: UUID) -> bool:
    try:
        async with database.tenant_transaction(tenant) as connection:
            return bool(await connection.fetchval("SELECT 1") == 1)
    except DatabaseUnavailable as problem:
        answer = problem_for(problem)
    assert answer.status == 503
    assert "Retry-After" in answer.headers
    return False


async def back(database: Database, tenant: UUID) -> float:
    """How long it takes until a call is answered."""
    began = time.monotonic()
    while not await answers(database, tenant):
        assert time.monotonic() - began < PATIENCE_S
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def refused_after(call: "asyncio.Task[bool]") -> float:
    began = time.monotonic()
    assert await call is False
    return time.monotonic() - began


@pytest.mark.parametrize("pool_size", [1, 4])
async def test_a_hanging_server_keeps_no_call(
    place: Place, pool_size: int, log: list[dict[str, object]]
) -> None:
    """Calls that are under way, that wait for a connection, and new ones."""
    async with opened(place, pool_size=pool_size) as database:
        assert await answers(database, place.tenant)
        with stopped(place.folder):
            calls = [asyncio.create_task(answers(database, place.tenant)) for _ in range(12)]
            calls.append(asyncio.create_task(_look_up(database)))
            ended = await asyncio.gather(*map(refused_after, calls))
            assert max(ended) < ENDED_WITHIN_S
            began = time.monotonic()
            for _ in range(10):
                assert not await answers(database, place.tenant)
                assert not await _look_up(database)
            assert time.monotonic() - began < 20 * SILENCE_S, "known to be silent: no call waits again"
        after_s = await back(database, place.tenant)
        print(f"answers {after_s:.2f} s after it goes on")
        assert all(await asyncio.gather(*(answers(database, place.tenant) for _ in range(12))))
    assert [line["event"] for line in log] == ["database_silent", "database_back"]


async def _look_up(database: Database) -> bool:
    try:
        await database.fetch_without_tenant("SELECT 1")
    except DatabaseUnavailable:
        return False
    return True


async def test_closing_does_not_wait_for_a_hanging_server(place: Place) -> None:
    database = await Database.open(place.settings_with(), place.address)
    with stopped(place.folder):
        assert not await answers(database, place.tenant)
        began = time.monotonic()
        await database.close()
        assert time.monotonic() - began < ENDED_WITHIN_S


async def test_a_server_that_hangs_and_is_killed(place: Place) -> None:
    async with opened(place) as database:
        with stopped(place.folder):
            assert not await answers(database, place.tenant)
            os.kill(postmaster(place.folder), signal.SIGKILL)
        await back(database, place.tenant)


async def test_a_server_that_dies_is_missed_at_once(place: Place, log: list[dict[str, object]]) -> None:
    async with opened(place) as database:
        assert await answers(database, place.tenant)
        dead = postmaster(place.folder)
        os.kill(dead, signal.SIGKILL)
        began = time.monotonic()
        while await answers(database, place.tenant) and dead in postmasters(place.folder):
            assert time.monotonic() - began < ENDED_WITHIN_S
        began = time.monotonic()
        await answers(database, place.tenant)
        assert time.monotonic() - began < ENDED_WITHIN_S
        await back(database, place.tenant)
        # no connection of the dead server is left in the pool
        assert all(await asyncio.gather(*(answers(database, place.tenant) for _ in range(20))))


@pytest.mark.parametrize("seed", range(2))
async def test_a_killed_backend_costs_calls_but_no_restart(place: Place, seed: int) -> None:
    """PostgreSQL itself ends all sessions and starts over under the same postmaster."""
    before = postmaster(place.folder)
    async with opened(place, pool_size=2) as database:
        (row,) = await database.fetch_without_tenant("SELECT pg_backend_pid()")
        os.kill(row[0], signal.SIGKILL)
        await back(database, place.tenant)
    assert postmaster(place.folder) == before


async def test_an_unreachable_database_makes_no_key_invalid(place: Place) -> None:
    key = place.key.api_key.reveal()
    async with opened(place) as database:
        authenticator = Authenticator(database, cache_s=0)
        assert await authenticator.authenticate(key) is not None
        with stopped(place.folder):
            for _ in range(2):  # when it is not known to be silent yet, and when it is
                with pytest.raises(DatabaseUnavailable):
                    await authenticator.authenticate(key)
        await back(database, place.tenant)
        assert await authenticator.authenticate(key) is not None
        os.kill(postmaster(place.folder), signal.SIGKILL)
        began = time.monotonic()
        while time.monotonic() - began < 0.2:
            with contextlib.suppress(DatabaseUnavailable):
                assert await authenticator.authenticate(key) is not None
            await asyncio.sleep(0)
        await back(database, place.tenant)


# --- no false alarms


async def test_an_event_loop_that_is_late_is_no_silence(place: Place, log: list[dict[str, object]]) -> None:
    async with opened(place) as database:
        for _ in range(6):
            time.sleep(SILENCE_S * 1.5)  # noqa: ASYNC251 - the loop shall be held up
            await asyncio.sleep(0.001)
        for _ in range(30):
            time.sleep(SILENCE_S / 4)  # noqa: ASYNC251
            await asyncio.sleep(0)
        assert await answers(database, place.tenant)
    assert log == []


async def test_a_stuck_connection_of_the_pulse_is_no_silence(
    place: Place, log: list[dict[str, object]]
) -> None:
    async with opened(place) as database:
        pulse = (
            "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT 1' AND application_name = 'chargewatch'"
        )

        async def has(pulses: str) -> bool:
            return len(await database.fetch_without_tenant(pulses)) == 1

        await until(lambda: has(pulse))
        (row,) = await database.fetch_without_tenant(pulse)
        with frozen(row[0]):
            began = time.monotonic()
            while time.monotonic() - began < SILENCE_S * 3:
                assert await answers(database, place.tenant)
            await until(lambda: has(f"{pulse} AND pid <> {row[0]}"))
    assert log == []


@pytest.fixture
def hogs(request: pytest.FixtureRequest) -> Iterator[None]:
    """A machine with more to do than processors for it: so many processes for each that never rest."""
    with contextlib.ExitStack() as busy:
        for _ in range(request.param * (os.cpu_count() or 1)):
            process = busy.enter_context(subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]))
            busy.callback(process.kill)
        yield


@pytest.mark.parametrize(
    ("hogs", "seconds"), [(1, 1.0), pytest.param(2, 10.0, marks=pytest.mark.soak)], indirect=["hogs"]
)
async def test_no_call_fails_under_full_load(
    place: Place, hogs: None, seconds: float, log: list[dict[str, object]]
) -> None:
    """With the limit that the service has by default."""
    over = time.monotonic() + seconds
    count = 0

    async def keep_calling(database: Database) -> None:
        nonlocal count
        while time.monotonic() < over:
            async with database.tenant_transaction(place.tenant) as connection:
                await connection.fetchval("SELECT count(*) FROM generate_series(1, 1000)")
            count += 1

    limit_s = Settings(data_dir=Path()).database_silence_s
    async with opened(place, database_silence_s=limit_s) as database:
        await asyncio.gather(*(keep_calling(database) for _ in range(64)))
    print(f"{count} calls")
    assert count > 64
    assert log == []
