"""Background jobs on real PostgreSQL: in their data's transaction, one worker at a time, taken over, held."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest

from chargewatch.server.db.connection import Connection
from chargewatch.server.db.engine import Database
from chargewatch.server.db.errors import DatabaseUnavailable
from chargewatch.server.platform import jobs
from chargewatch.server.platform.jobs import MOST_ATTEMPTS, Job, JobQueue, JobRunner, LeaseLost, Pausing
from chargewatch.server.tenants.service import NewKey

pytestmark = pytest.mark.anyio

LEASE_S = 0.3
NEVER_S = 3600.0

Work = Callable[[Job, Pausing], Awaitable[bool]]


class Death(BaseException):
    """A worker that is gone from one moment to the next: nothing of what it would still do is done."""


class Recorder:
    """A handler that does what a test says and notes what it was given."""

    def __init__(self, database: Database, work: Work | None = None) -> None:
        self._database = database
        self._work = work
        self.begun: list[tuple[UUID, int]] = []
        self.given_up: list[tuple[UUID, str]] = []

    async def run(self, job: Job, pausing: Pausing) -> bool:
        self.begun.append((job.subject, job.attempts))
        if self._work is not None and not await self._work(job, pausing):
            return False
        async with self._database.tenant_transaction(job.tenant_id) as connection:
            await jobs.finish(connection, job)
        return True

    async def give_up(self, connection: Connection, job: Job, reason: str) -> None:
        self.given_up.append((job.subject, reason))


class Bench(NamedTuple):
    """A kind of job of its own, so that tests leave each other alone."""

    database: Database
    tenant_id: UUID
    kind: str

    async def add(self, tenant_id: UUID | None = None) -> UUID:
        subject, owner = uuid4(), tenant_id or self.tenant_id
        async with self.database.tenant_transaction(owner) as connection:
            await jobs.enqueue(connection, owner, self.kind, subject)
        return subject

    def queue(self, lease_s: float = NEVER_S, retry_s: float = 0.001) -> JobQueue:
        return JobQueue(self.database, lease_s, retry_s)

    def runner(self, handler: jobs.Handler, lease_s: float = NEVER_S) -> JobRunner:
        return JobRunner(self.queue(lease_s), {self.kind: handler}, 0.01)

    async def left(self) -> list[tuple[str, int, str | None]]:
        async with self.database.tenant_transaction(self.tenant_id) as connection:
            rows = await connection.fetch(
                "SELECT state, attempts, reason FROM jobs WHERE tenant_id = $1 AND kind = $2 ORDER BY created_at",
                self.tenant_id,
                self.kind,
            )
        return [(row[0], row[1], row[2]) for row in rows]


@pytest.fixture
def bench(database: Database, two_tenants: tuple[NewKey, NewKey]) -> Bench:
    return Bench(database, two_tenants[0].tenant_id, f"kind-{uuid4()}")


async def claimed(queue: JobQueue, kind: str) -> Job:
    """Claims a job as soon as there is one."""
    for _ in range(1500):
        job = await queue.claim([kind])
        if job is not None:
            return job
        await asyncio.sleep(0.02)
    raise TimeoutError


async def test_a_job_is_there_with_its_data_or_not_at_all(bench: Bench) -> None:
    async def fail_after_adding() -> None:
        async with bench.database.tenant_transaction(bench.tenant_id) as connection:
            await jobs.enqueue(connection, bench.tenant_id, bench.kind, uuid4())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_after_adding()
    assert await bench.queue().next_s([bench.kind]) is None
    subject = await bench.add()
    seconds = await bench.queue().next_s([bench.kind])
    assert seconds is not None
    assert seconds <= 0
    handler = Recorder(bench.database)
    await bench.runner(handler).run_until_idle()
    assert handler.begun == [(subject, 1)]
    assert await bench.left() == []


async def test_nobody_sees_jobs_but_by_claiming_them(
    bench: Bench, two_tenants: tuple[NewKey, NewKey]
) -> None:
    await bench.add()
    other = two_tenants[1].tenant_id
    async with bench.database.tenant_transaction(other) as connection:
        assert await connection.fetch("SELECT * FROM jobs WHERE kind = $1", bench.kind) == []
    assert await bench.database.fetch_without_tenant("SELECT * FROM jobs", reads=True) == []
    job = await bench.queue().claim([bench.kind])
    assert job is not None
    assert await bench.queue().claim([bench.kind]) is None


async def test_two_workers_on_one_queue_do_each_job_once(
    bench: Bench, two_tenants: tuple[NewKey, NewKey]
) -> None:
    tenants = [key.tenant_id for key in two_tenants]
    added = [await bench.add(tenants[number % 2]) for number in range(20)]
    handler = Recorder(bench.database)
    await asyncio.gather(*(bench.runner(handler).run_until_idle() for _ in range(4)))
    assert sorted(handler.begun) == sorted((subject, 1) for subject in added)


async def test_a_worker_that_died_is_followed_by_another_one(bench: Bench) -> None:
    subject = await bench.add()

    async def die(_job: Job, _pausing: Pausing) -> bool:
        raise Death

    with pytest.raises(Death):
        await bench.runner(Recorder(bench.database, die), LEASE_S).run_one(lambda: False)
    handler = Recorder(bench.database)
    for _ in range(1500):
        if await bench.runner(handler).run_one(lambda: False):
            break
        await asyncio.sleep(0.02)
    assert handler.begun == [(subject, 2)], "the attempt that died counts"
    assert await bench.left() == []


async def test_who_has_lost_the_lease_can_do_nothing_more(bench: Bench) -> None:
    await bench.add()
    queue = bench.queue(LEASE_S)
    stale = await claimed(queue, bench.kind)
    current = await claimed(bench.queue(), bench.kind)
    assert current.subject == stale.subject
    with pytest.raises(LeaseLost):
        async with bench.database.tenant_transaction(bench.tenant_id) as connection:
            await queue.hold_fast(connection, stale)
    await queue.put_back(stale)
    await queue.try_later(stale, "stale", counts=True)
    async with bench.database.tenant_transaction(bench.tenant_id) as connection:
        await jobs.finish(connection, stale)
    assert await bench.left() == [("running", 2, None)]
    async with bench.database.tenant_transaction(bench.tenant_id) as connection:
        await queue.hold_fast(connection, current)


async def test_a_job_in_hand_is_not_taken_over_however_long_it_takes(bench: Bench) -> None:
    await bench.add()
    over = asyncio.Event()

    async def wait(_job: Job, _pausing: Pausing) -> bool:
        await over.wait()
        return True

    lease_s = 1.5
    working = asyncio.create_task(
        bench.runner(Recorder(bench.database, wait), lease_s).run_one(lambda: False)
    )
    await asyncio.sleep(2 * lease_s)
    assert await bench.queue().claim([bench.kind]) is None
    over.set()
    assert await working
    assert await bench.left() == []


async def test_a_job_that_keeps_failing_is_held_and_others_go_on(bench: Bench) -> None:
    poison = await bench.add()
    good = [await bench.add() for _ in range(3)]

    async def fail(job: Job, _pausing: Pausing) -> bool:
        if job.subject == poison:
            raise ZeroDivisionError("a secret of the tenant")
        return True

    handler = Recorder(bench.database, fail)
    runner = bench.runner(handler)
    async with asyncio.timeout(60):
        while not handler.given_up:
            await runner.run_until_idle()
            await asyncio.sleep(0.01)
    assert [attempts for subject, attempts in handler.begun if subject == poison] == [
        *range(1, MOST_ATTEMPTS + 1)
    ]
    assert {subject for subject, _ in handler.begun[:5]} >= set(good), "they did not wait for it"
    reason = f"begun {MOST_ATTEMPTS} times without getting on"
    assert handler.given_up == [(poison, reason)]
    assert await bench.left() == [("held", MOST_ATTEMPTS + 1, reason)]
    assert not await runner.run_one(lambda: False)


async def test_an_outage_of_the_database_does_not_count_against_a_job(bench: Bench) -> None:
    await bench.add()

    async def fail(_job: Job, _pausing: Pausing) -> bool:
        raise DatabaseUnavailable("away")

    with pytest.raises(DatabaseUnavailable):
        await bench.runner(Recorder(bench.database, fail)).run_one(lambda: False)
    assert await bench.left() == [("queued", 0, "the database did not answer")]


async def test_a_long_job_lets_others_have_their_turn(
    bench: Bench, two_tenants: tuple[NewKey, NewKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "TURN_S", 0.0)
    long, short = await bench.add(), await bench.add(two_tenants[1].tenant_id)
    parts: list[UUID] = []

    async def work(job: Job, pausing: Pausing) -> bool:
        parts.append(job.subject)
        assert pausing()
        return job.subject == short or parts.count(long) == 3

    await bench.runner(Recorder(bench.database, work)).run_until_idle()
    assert parts == [long, short, long, long]
    assert await bench.left() == []


async def test_a_worker_that_is_stopped_gives_its_job_back(bench: Bench) -> None:
    await bench.add()
    stop, begun = asyncio.Event(), asyncio.Event()

    async def work(_job: Job, pausing: Pausing) -> bool:
        begun.set()
        while not pausing():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.01)
        return False

    working = asyncio.create_task(bench.runner(Recorder(bench.database, work)).run(stop))
    await begun.wait()
    stop.set()
    async with asyncio.timeout(30):
        await working
    assert await bench.left() == [("queued", 0, None)]


async def test_an_idle_worker_ends_where_it_is_told_to(bench: Bench) -> None:
    async with asyncio.timeout(30):
        await bench.runner(Recorder(bench.database)).run(asyncio.Event(), idle_s=0.05)
