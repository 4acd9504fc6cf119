"""Background jobs: what a call leaves to workers, done once in effect, whatever happens to them.

A job is a row, written in the transaction that holds what the job is about (`enqueue`), so that both are there or
neither. A worker claims it for a while (the lease), prolongs the lease as long as it lives, and takes its own hold on
the job first in every transaction that does a part of the work (`hold_fast`). Whoever has lost the lease therefore
cannot commit, and who takes over goes on behind the last part that was committed. `finish` deletes the job in the
transaction of the last part. Why not a ready-made queue: ``docs/decisions/0014-own-job-queue.md``.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple, Protocol
from uuid import UUID, uuid4

import structlog

from chargewatch.server.db.connection import Connection
from chargewatch.server.db.engine import Database
from chargewatch.server.db.errors import DatabaseUnavailable

#: A job that was begun so often without getting on is held, with the reason; others go on.
MOST_ATTEMPTS: Final = 10
#: For so long a job is worked on before others that wait have their turn.
TURN_S: Final = 5.0
#: The longest pause before a job is tried again, in multiples of the first one.
LONGEST_PAUSE: Final = 64
#: Parts of a lease after which it is prolonged.
BEATS: Final = 4

_ENQUEUE: Final = "INSERT INTO jobs (tenant_id, kind, subject) VALUES ($1, $2, $3)"
_CLAIM: Final = "SELECT * FROM claim_job($1, $2, $3)"
_NEXT: Final = "SELECT next_job_s($1)"
_HOLD: Final = """
UPDATE jobs SET due_at = now() + make_interval(secs => $4), updated_at = now(),
                attempts = CASE WHEN $5 THEN 1 ELSE attempts END
 WHERE tenant_id = $1 AND job_id = $2 AND claim = $3 AND state = 'running'
RETURNING job_id
"""
_FINISH: Final = "DELETE FROM jobs WHERE tenant_id = $1 AND job_id = $2 AND claim = $3"
_PUT_BACK: Final = """
UPDATE jobs SET state = 'queued', claim = NULL, due_at = now() + make_interval(secs => $4), attempts = $5,
                reason = $6, updated_at = now()
 WHERE tenant_id = $1 AND job_id = $2 AND claim = $3 AND state = 'running'
"""
_HELD: Final = """
UPDATE jobs SET state = 'held', claim = NULL, reason = $4, updated_at = now()
 WHERE tenant_id = $1 AND job_id = $2 AND claim = $3
"""

_log = structlog.get_logger(__name__)

#: Tells a handler to come to an end after the part that it is at.
Pausing = Callable[[], bool]


class LeaseLost(Exception):
    """Another worker has taken the job over: nothing more may be done for it here."""


class Job(NamedTuple):
    """A job in the hands of this worker. ``attempts`` counts this one; 1 unless an earlier one did not get on."""

    tenant_id: UUID
    job_id: UUID
    kind: str
    subject: UUID
    attempts: int
    claim: UUID


class Handler(Protocol):
    """Does the jobs of one kind."""

    async def run(self, job: Job, pausing: Pausing) -> bool:
        """Works until the job is finished (True) or it is to pause (False), part by part.

        Raises:
            LeaseLost: another worker has it now.
        """
        ...

    async def give_up(self, connection: Connection, job: Job, reason: str) -> None:
        """Brings what the job is about to an end that can be seen, in the transaction that holds the job."""


async def enqueue(connection: Connection, tenant_id: UUID, kind: str, subject: UUID) -> None:
    """Adds a job in the transaction of what it is about; there is one for each subject."""
    await connection.execute(_ENQUEUE, tenant_id, kind, subject)


async def finish(connection: Connection, job: Job) -> None:
    """Ends a job, in the transaction of its last part."""
    await connection.execute(_FINISH, job.tenant_id, job.job_id, job.claim)


class JobQueue:
    """The jobs of all tenants, as one worker sees them."""

    def __init__(self, database: Database, lease_s: float, retry_s: float) -> None:
        self._database = database
        self._lease_s = lease_s
        self._retry_s = retry_s

    async def claim(self, kinds: list[str]) -> Job | None:
        """Takes the job that has been due for longest; None when nothing is due."""
        claim = uuid4()
        rows = await self._database.fetch_without_tenant(_CLAIM, kinds, claim, self._lease_s)
        if not rows:
            return None
        row = rows[0]
        return Job(row["tenant_id"], row["job_id"], row["kind"], row["subject"], row["attempts"], claim)

    async def next_s(self, kinds: list[str]) -> float | None:
        """Returns in how many seconds a job is due (0 or less: now); None when there is none."""
        (row,) = await self._database.fetch_without_tenant(_NEXT, kinds, reads=True)
        seconds: float | None = row[0]
        return seconds

    async def hold_fast(self, connection: Connection, job: Job, *, gets_on: bool = False) -> None:
        """Makes sure that the job is this worker's until the transaction ends, and for a lease from now.

        Args:
            connection: a transaction of the job's tenant.
            job: the job.
            gets_on: this transaction does a part of it, so that the count of attempts begins anew.

        Raises:
            LeaseLost: another worker has it now.
        """
        held = await connection.fetchval(_HOLD, job.tenant_id, job.job_id, job.claim, self._lease_s, gets_on)
        if held is None:
            raise LeaseLost

    async def keep(self, job: Job) -> None:
        """Prolongs the lease until cancelled, or until it is lost."""
        while True:
            await asyncio.sleep(self._lease_s / BEATS)
            try:
                async with self._database.tenant_transaction(job.tenant_id) as connection:
                    await self.hold_fast(connection, job)
            except LeaseLost:
                return
            except DatabaseUnavailable as problem:
                _log.warning("lease_not_prolonged", reason=str(problem))

    async def put_back(self, job: Job) -> None:
        """Gives a job that got on to whoever comes next."""
        await self._put_back(job, 0.0, 0, None)

    async def try_later(self, job: Job, reason: str, *, counts: bool) -> None:
        """Gives a job back that did not get on.

        Args:
            job: the job.
            reason: a word for the operator.
            counts: the job may be at fault itself.
        """
        pause_s = self._retry_s * min(2 ** (job.attempts - 1), LONGEST_PAUSE)
        await self._put_back(job, pause_s, job.attempts - (not counts), reason)

    async def _put_back(self, job: Job, pause_s: float, attempts: int, reason: str | None) -> None:
        async with self._database.tenant_transaction(job.tenant_id) as connection:
            await connection.execute(
                _PUT_BACK, job.tenant_id, job.job_id, job.claim, pause_s, attempts, reason
            )

    async def hold(self, job: Job, handler: Handler, reason: str) -> None:
        """Sets a job aside for good."""

        async def work(connection: Connection) -> None:
            await self.hold_fast(connection, job)
            await handler.give_up(connection, job, reason)
            await connection.execute(_HELD, job.tenant_id, job.job_id, job.claim, reason)

        await self._database.in_tenant_transaction(job.tenant_id, work)


class JobRunner:
    """Does jobs, one at a time: what they do fills a processor, and more of them are more processes."""

    def __init__(self, queue: JobQueue, handlers: Mapping[str, Handler], poll_s: float) -> None:
        self._queue = queue
        self._handlers = handlers
        self._kinds = list(handlers)
        self._poll_s = poll_s

    async def run(self, stop: asyncio.Event, idle_s: float | None = None) -> None:
        """Does jobs until told to stop; the part of a job that it is at is finished, and the job put back.

        Args:
            stop: set to stop.
            idle_s: stop by itself when there was nothing to do for so long.
        """
        loop = asyncio.get_running_loop()
        last_work = loop.time()
        while not stop.is_set():
            try:
                if await self.run_one(stop.is_set):
                    last_work = loop.time()
                    continue
            except DatabaseUnavailable as problem:
                _log.warning("worker_waits", reason=str(problem))
            if idle_s is not None and loop.time() - last_work >= idle_s:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await stop.wait()

    async def run_until_idle(self) -> None:
        """Does everything that is due."""
        while await self.run_one(lambda: False):
            pass

    async def next_s(self) -> float | None:
        """Returns in how many seconds a job is due; None when there is none."""
        return await self._queue.next_s(self._kinds)

    async def run_one(self, stopped: Callable[[], bool]) -> bool:
        """Does one job, or as much of it as its turn takes; False when nothing is due.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        job = await self._queue.claim(self._kinds)
        if job is None:
            return False
        handler = self._handlers[job.kind]
        log = _log.bind(job=str(job.job_id), kind=job.kind, attempt=job.attempts)
        keeping = asyncio.create_task(self._queue.keep(job))
        try:
            if job.attempts > MOST_ATTEMPTS:
                log.error("job_held")
                await self._queue.hold(job, handler, f"begun {MOST_ATTEMPTS} times without getting on")
            elif not await handler.run(job, _turn(stopped)):
                await self._queue.put_back(job)
        except LeaseLost:
            log.warning("job_taken_over")
        except DatabaseUnavailable:
            with suppress(DatabaseUnavailable):  # else the lease ends by itself
                await self._queue.try_later(job, "the database did not answer", counts=False)
            raise
        except Exception as fault:
            log.exception("job_failed")
            await self._queue.try_later(job, type(fault).__name__, counts=True)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        return True


def _turn(stopped: Callable[[], bool]) -> Pausing:
    """Returns what tells a handler that its turn is over, from now on."""
    loop = asyncio.get_running_loop()
    until = loop.time() + TURN_S
    return lambda: stopped() or loop.time() >= until
