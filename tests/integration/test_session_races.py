"""Calls on sessions that meet at the worst moment; each test holds one of them there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from chargewatch.domain.data_quality import NoteCode
from chargewatch.ingest.readings import Reading, source_of, text_bytes
from chargewatch.server.analysis.service import Analyser
from chargewatch.server.clock import microseconds
from chargewatch.server.db.address import DatabaseAddress
from chargewatch.server.db.connection import Connection, connected
from chargewatch.server.db.engine import Database
from chargewatch.server.db.errors import DatabaseUnavailable
from chargewatch.server.housekeeping.service import Housekeeping
from chargewatch.server.platform.idempotency import Idempotency
from chargewatch.server.sessions import repository
from chargewatch.server.sessions import service as sessions_service
from chargewatch.server.sessions.payloads import Attributes, Whereabouts
from chargewatch.server.sessions.rows import Stored
from chargewatch.server.sessions.service import SessionNotFound, SessionService
from chargewatch.server.tenants.service import NewKey
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.anyio

REGISTER = source_of(None, "Wh", None, None, None, None)
UNCHANGED = Attributes(None, None, None, None, None)
START = datetime(2026, 2, 27, 10, tzinfo=UTC)
IDLE_S = 6 * 3600


def at(minute: float, wh: float, start: datetime = START) -> Reading:
    return Reading(microseconds(start + timedelta(minutes=minute)), str(wh), REGISTER)


SOUND = [at(0, 0), at(10, 900), at(20, 1800)]


@pytest.fixture
def tenant(two_tenants: tuple[NewKey, NewKey]) -> UUID:
    return two_tenants[0].tenant_id


@pytest.fixture
def processes(database: Database) -> tuple[SessionService, SessionService]:
    first, second = (SessionService(database, Analyser(), IDLE_S) for _ in range(2))
    return first, second


def new_where(connector: str | None = "1") -> Whereabouts:
    return Whereabouts(f"CP-{uuid4()}", None, connector)


def new_id() -> str:
    return f"s-{uuid4()}"


@asynccontextmanager
async def held_open(call: Callable[[Any], Awaitable[Stored]]) -> AsyncIterator[None]:
    """Runs a call up to its COMMIT before the block, and to its end after it."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_: Connection, __: Stored) -> None:
        reached.set()
        await go_on.wait()

    running = asyncio.ensure_future(call(hold))
    await reached.wait()
    try:
        yield
    finally:
        go_on.set()
        await running


async def waits_for_lock(database: Database, running: "asyncio.Future[Any]") -> None:
    """Returns when the call waits for another transaction, or is done."""
    asks = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    while not running.done():
        if (await database.fetch_without_tenant(asks))[0][0]:
            return


@pytest.mark.parametrize("kind", ["patch", "put", "delete", "recheck", "append"])
async def test_who_waits_while_a_session_moves_finds_it(
    database: Database, processes: tuple[SessionService, SessionService], tenant: UUID, kind: str
) -> None:
    """A station that is made in the moving call is not there yet for a statement that began before its end."""
    first, second = processes
    stored = await first.upsert(tenant, name := new_id(), new_where(), UNCHANGED, SOUND)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "patch": lambda: second.change(tenant, name, UNCHANGED, [at(30, 2700)], replace=False),
        "put": lambda: second.change(tenant, name, UNCHANGED, SOUND[:2], replace=True),
        "append": lambda: first.append(tenant, name, None, UNCHANGED, [at(30, 2700)]),
        "delete": lambda: second.delete(tenant, name),
        "recheck": lambda: second.recheck(tenant, stored.row.session_id),
    }
    elsewhere = new_where()
    async with held_open(lambda hold: first.upsert(tenant, name, elsewhere, UNCHANGED, [], None, hold)):
        waiting = asyncio.ensure_future(calls[kind]())
        await waits_for_lock(database, waiting)
    await waiting
    if kind == "delete":
        with pytest.raises(SessionNotFound):
            await first.get(tenant, name)
        return
    after, readings = await first.get(tenant, name)
    assert after.station == elsewhere.station
    assert (after.row.version, len(readings)) == {"recheck": (2, 3), "put": (3, 2)}.get(kind, (3, 4))


@pytest.mark.parametrize("change", ["put", "delete"])
async def test_what_is_read_is_of_one_moment(
    processes: tuple[SessionService, SessionService],
    tenant: UUID,
    change: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The session changes after its row was read and before its readings are."""
    first, second = processes
    before = await first.upsert(tenant, name := new_id(), new_where(), UNCHANGED, SOUND)
    load = repository.load_readings

    async def change_first(*arguments: Any) -> list[Reading]:
        monkeypatch.setattr(sessions_service.repository, "load_readings", load)
        if change == "put":
            await second.change(tenant, name, UNCHANGED, SOUND[:1], replace=True)
        else:
            await second.delete(tenant, name)
        return await load(*arguments)

    monkeypatch.setattr(sessions_service.repository, "load_readings", change_first)
    assert await first.get(tenant, name) == (before, SOUND)


def housekeeping_of(database: Database, service: SessionService) -> Housekeeping:
    return Housekeeping(database, service, Idempotency(database, 86400, 60))


def overlaps(stored: Stored) -> bool:
    return NoteCode.OVERLAPS_SESSION.value in (stored.row.verdict or "")


async def test_a_second_request_to_judge_anew_is_not_crossed_off_with_the_first(
    database: Database, processes: tuple[SessionService, SessionService], tenant: UUID
) -> None:
    first, second = processes
    where, name = new_where(), new_id()
    stored = await first.upsert(tenant, name, where, UNCHANGED, SOUND)
    async with database.tenant_transaction(tenant) as connection:
        await repository.ask_for_rechecks(connection, tenant, [stored.row.session_id])
    housekeeping = housekeeping_of(database, second)
    # another session overlaps it, and asks for it too, in a transaction that is not over when it is judged
    async with held_open(lambda hold: first.upsert(tenant, new_id(), where, UNCHANGED, SOUND, None, hold)):
        await housekeeping.judge_due(tenant)
        assert not overlaps((await first.get(tenant, name))[0])
    await housekeeping.judge_due(tenant)
    assert overlaps((await first.get(tenant, name))[0])


@pytest.mark.parametrize("how", ["move", "post", "put", "delete", "delete before it is told"])
async def test_an_overlap_that_ends_is_forgotten(
    database: Database, processes: tuple[SessionService, SessionService], tenant: UUID, how: str
) -> None:
    first, second = processes
    where, name, other = new_where(), new_id(), new_id()
    await first.upsert(tenant, name, where, UNCHANGED, SOUND)
    assert overlaps(await second.upsert(tenant, other, where, UNCHANGED, SOUND))
    housekeeping = housekeeping_of(database, second)
    if how == "delete":
        await housekeeping.judge_due(tenant)
    if how.startswith("delete"):
        await first.delete(tenant, name)
    elif how == "put":
        await first.change(tenant, name, UNCHANGED, [at(300, 0), at(310, 900), at(320, 1800)], replace=True)
    else:
        way = first.append if how == "move" else first.upsert
        await way(tenant, name, where._replace(connector_id="2"), UNCHANGED, [])
    await housekeeping.judge_due(tenant)
    assert not overlaps((await first.get(tenant, other))[0])


async def test_a_third_session_learns_that_it_is_overlapped(
    database: Database, processes: tuple[SessionService, SessionService], tenant: UUID
) -> None:
    """By one that overlapped another one before, and went on."""
    first, second = processes
    where, name, third = new_where(), new_id(), new_id()
    await first.upsert(tenant, new_id(), where, UNCHANGED, SOUND)
    later = [at(60, 0), at(70, 900), at(80, 1800)]
    await first.upsert(tenant, third, where, UNCHANGED, later)
    assert overlaps(await first.upsert(tenant, name, where, UNCHANGED, SOUND))
    await first.change(tenant, name, UNCHANGED, [at(70, 5400)], replace=False)
    await housekeeping_of(database, second).judge_due(tenant)
    assert overlaps((await first.get(tenant, third))[0])


# --- the rounds --------------------------------------------------------------------------------------------


async def test_a_session_at_fault_does_not_keep_the_others_waiting(
    database: Database,
    processes: tuple[SessionService, SessionService],
    tenant: UUID,
    address: DatabaseAddress,
) -> None:
    """One that a newer version stored, with an encoding that this one does not know."""
    first, second = processes
    where, names = new_where(), [new_id() for _ in range(3)]
    for name in names:
        await first.upsert(tenant, name, where, UNCHANGED, SOUND)
    faulty = (await first.get(tenant, names[0]))[0].row.session_id
    async with connected(address.owner) as owner:
        await owner.execute(
            f"BEGIN; SELECT set_config('app.tenant', '{tenant}', true);"
            f" UPDATE reading_chunks SET encoding = 99 WHERE session_id = '{faulty}'; COMMIT"
        )
    assert await housekeeping_of(database, second).judge_due(tenant) >= 1
    assert overlaps((await first.get(tenant, names[1]))[0])
    async with database.tenant_transaction(tenant) as connection:
        kept = await connection.fetch("SELECT session_id FROM session_rechecks WHERE session_id = $1", faulty)
        await connection.execute("DELETE FROM sessions WHERE session_id = $1", faulty)
    assert kept, "it is tried again in the next round"


async def test_a_clock_that_is_behind_the_database_does_not_judge_without_end(
    database: Database, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle_s = 0.24
    service = SessionService(database, Analyser(), idle_s)
    now = datetime.now(UTC)
    names = [new_id() for _ in range(4)]
    running = [at(-i, 900 - 10 * i, now) for i in range(3)]
    for name in names:
        await service.upsert(tenant, name, new_where(None), UNCHANGED, running)
    monkeypatch.setattr(sessions_service, "utc_now", lambda: now)
    monkeypatch.setattr("chargewatch.server.housekeeping.service.STEP_SESSIONS", 2)
    await asyncio.sleep(2 * idle_s)
    async with asyncio.timeout(PATIENCE_S):
        await housekeeping_of(database, service).judge_due(tenant)
    for name in names:
        assert (await service.get(tenant, name))[0].row.recheck_at is not None, "not over by this clock"
    monkeypatch.undo()
    await housekeeping_of(database, service).judge_due(tenant)
    for name in names:
        assert (await service.get(tenant, name))[0].row.recheck_at is None


async def test_a_verdict_that_stays_leaves_the_session_as_it_was(
    processes: tuple[SessionService, SessionService], tenant: UUID
) -> None:
    first, second = processes
    stored = await first.upsert(tenant, name := new_id(), new_where(), UNCHANGED, SOUND)
    assert not await second.recheck(tenant, stored.row.session_id)
    assert (await first.get(tenant, name))[0] == stored
    again = await first.change(tenant, name, UNCHANGED, [at(30, 2700)], replace=False)
    assert again.row.version == 2


# --- calls that are cut off --------------------------------------------------------------------------------


class _Cut:
    """Cancels a task at its n-th visit to the event loop."""

    def __init__(self, at_visit: int) -> None:
        self._left = at_visit

    async def run(self, work: Awaitable[Any]) -> bool:
        """Returns whether the work was cut off."""
        task = asyncio.ensure_future(work)
        while not task.done():
            if self._left == 0:
                task.cancel()
            self._left -= 1
            await asyncio.sleep(0)
        return task.cancelled()


@pytest.mark.parametrize("replaces", [False, True])
async def test_what_is_remembered_was_committed_wherever_a_call_was_cut_off(
    database: Database, processes: tuple[SessionService, SessionService], tenant: UUID, replaces: bool
) -> None:
    """Cut at its first, second, … visit to the event loop, until it comes through; the next call must be right."""
    first, second = processes
    name, where = new_id(), new_where()
    await first.upsert(tenant, name, where, UNCHANGED, SOUND)
    visit, was_cut = 0, True
    while was_cut:
        readings = [*SOUND, at(30, 2700 + visit)] if replaces else [at(30 + visit, 2700 + 90 * visit)]
        work = first.change(tenant, name, UNCHANGED, readings, replace=replaces)
        was_cut = await _Cut(visit).run(work)
        known, _ = first._sessions._sessions.get((tenant, name), (None, 0))
        stored, kept = await second.get(tenant, name)
        if known is not None:
            assert (known.stored, known.readings.ordered()) == (stored, kept)
            assert known.text_bytes >= text_bytes(kept)
        assert first._sessions._turns == {}
        expected = stored.row.version + 1
        follow = await first.change(tenant, name, UNCHANGED, [at(-5, visit)], replace=False)
        assert follow.row.version == expected
        visit += 1
    assert visit > 3, "there were places to cut"


async def test_who_waits_for_a_turn_and_leaves_passes_it_on(
    processes: tuple[SessionService, SessionService], tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = processes
    await first.upsert(tenant, name := new_id(), new_where(), UNCHANGED, SOUND)
    reached, go_on = asyncio.Event(), asyncio.Event()
    change = repository.change_session

    async def hold(*arguments: Any, **named: Any) -> Any:
        reached.set()
        await go_on.wait()
        return await change(*arguments, **named)

    monkeypatch.setattr(sessions_service.repository, "change_session", hold)
    calls = [
        asyncio.ensure_future(
            first.change(tenant, name, UNCHANGED, [at(30 + i, 2700 + 90 * i)], replace=False)
        )
        for i in range(4)
    ]
    await reached.wait()
    calls[1].cancel()
    calls[0].cancel()  # the one whose turn it is
    go_on.set()
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in done] == [True, True, False, False]
    assert {one.row.version for one in done[2:]} == {2, 3}
    assert first._sessions._turns == {}


async def test_a_killed_backend_leaves_nothing_in_memory_that_is_not_stored(
    database: Database, processes: tuple[SessionService, SessionService], tenant: UUID
) -> None:
    first, second = processes
    await first.upsert(tenant, name := new_id(), new_where(), UNCHANGED, SOUND)
    async with held_open(
        lambda hold: second.change(tenant, name, UNCHANGED, [at(30, 2700)], replace=False, sealing=hold)
    ):
        waiting = asyncio.ensure_future(first.change(tenant, name, UNCHANGED, [at(40, 3600)], replace=False))
        await waits_for_lock(database, waiting)
        await database.fetch_without_tenant(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        with pytest.raises(DatabaseUnavailable):
            await waiting
    assert first._sessions._turns == {}
    after = await first.change(tenant, name, UNCHANGED, [at(40, 3600)], replace=False)
    assert (after.row.version, after.row.reading_count) == (3, 5)
    assert (await second.get(tenant, name))[1] == [*SOUND, at(30, 2700), at(40, 3600)]


# --- odd times ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("started", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)])
async def test_the_first_and_the_last_day_of_time(
    database: Database,
    processes: tuple[SessionService, SessionService],
    tenant: UUID,
    started: datetime,
) -> None:
    first, second = processes
    fallen = [at(0, 0), at(10, 900), at(20, 100)]
    attributes = UNCHANGED._replace(started_at=started)
    stored = await first.upsert(tenant, name := new_id(), new_where(), attributes, fallen)
    assert stored.row.is_anomaly is True
    await second.change(tenant, name, UNCHANGED, [at(30, 200)], replace=False)
    await second.recheck(tenant, stored.row.session_id)
    assert (await first.get(tenant, name))[0].row.begins_at == started


# --- stations whose attributes change ----------------------------------------------------------------------


async def test_a_verdict_is_on_the_station_as_it_is(
    database: Database, processes: tuple[SessionService, SessionService], tenant: UUID
) -> None:
    """What a process remembers of a station is compared: a flat hour is an anomaly unless the operator manages it."""
    where = new_where()
    flat = [at(0, 0), at(10, 2000), at(20, 4000), at(30, 6000)]
    flat += [*(at(m, 6000) for m in range(40, 100, 10)), at(110, 8000), at(120, 10_000)]
    ended = UNCHANGED._replace(ended_at=START + timedelta(minutes=125))
    for managed in (True, False, True):
        async with database.tenant_transaction(tenant) as connection:
            await connection.execute(
                "INSERT INTO stations (tenant_id, external_id, managed) VALUES ($1, $2, $3)"
                " ON CONFLICT (tenant_id, external_id) DO UPDATE SET managed = excluded.managed",
                tenant,
                where.station,
                managed,
            )
        verdicts = []
        for process in (*processes, *processes):
            elsewhere = where._replace(connector_id=f"c-{uuid4()}")
            stored = await process.upsert(tenant, name := new_id(), elsewhere, UNCHANGED, flat[:3])
            stored = await process.change(tenant, name, ended, flat, replace=False)
            assert not await processes[0].recheck(tenant, stored.row.session_id)
            verdicts.append(stored.row.is_anomaly)
        assert verdicts == [not managed] * 4


async def test_a_station_that_changes_between_two_pushes_is_looked_up(
    database: Database, processes: tuple[SessionService, SessionService], tenant: UUID
) -> None:
    where, name = new_where(), new_id()
    first, _ = processes
    await first.upsert(tenant, name, where, UNCHANGED, SOUND)
    async with database.tenant_transaction(tenant) as connection:
        await connection.execute(
            "UPDATE stations SET rated_power_kw = 3 WHERE external_id = $1", where.station
        )
    stored = await first.change(tenant, name, UNCHANGED, [at(30, 2700)], replace=False)
    known, _ = first._sessions._sessions[(tenant, name)]
    assert (stored.row.version, known.facts.rated_power_kw) == (2, 3)
