"""Processes a batch: part by part, each with its sessions, results and counts in one transaction.

So a part is there wholly or not at all, and whoever takes over goes on behind the last one. Where a worker died over a
part, its sessions are done one by one; one over which workers keep dying fails alone.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from chargewatch.domain.ids import session_external_id
from chargewatch.server.batches import repository
from chargewatch.server.batches.parts import sessions_of
from chargewatch.server.batches.repository import Result
from chargewatch.server.batches.schemas import BatchError, BatchResult
from chargewatch.server.db.connection import Connection, Row
from chargewatch.server.db.engine import Database
from chargewatch.server.platform import jobs
from chargewatch.server.platform.jobs import Job, JobQueue, Pausing
from chargewatch.server.platform.problems import Problem, invalid_field
from chargewatch.server.platform.strict_json import validation_problem
from chargewatch.server.sessions import payloads
from chargewatch.server.sessions.bulk import BulkSessions, Prepared, Refusal, Upsert
from chargewatch.server.sessions.payloads import InvalidField
from chargewatch.server.sessions.rows import Stored
from chargewatch.server.sessions.schemas import SessionIn
from chargewatch.server.sessions.states import session_state

#: A session over which workers died, or failed, so often in a row is given up.
FATAL_ATTEMPTS: Final = 4

_GIVEN_UP: Final = BatchError(
    code="processing_failed", detail="Processing this session broke off several times; it was given up."
)
_NOT_ANALYSED: Final = BatchError(
    code="analysis_failed", detail="The session is stored, but its analysis failed on our side."
)

_session_in: Final = msgspec.json.Decoder(SessionIn).decode
_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class _Step(NamedTuple):
    """The sessions to do next, as they were sent: the rest of a part; when care is needed, one."""

    position: int
    sent: Sequence[msgspec.Raw]


class BatchProcessing:
    """The handler of the jobs that process batches."""

    def __init__(self, database: Database, queue: JobQueue, bulk: BulkSessions) -> None:
        self._database = database
        self._queue = queue
        self._bulk = bulk

    async def run(self, job: Job, pausing: Pausing) -> bool:
        """Processes a batch until it is finished (True) or to pause (`jobs.Handler`)."""
        await self._begin(job)
        doomed = job.attempts > FATAL_ATTEMPTS
        while True:
            step = await self._next(job)
            if step is None:
                return await self._finish(job)
            if await self._do(job, step, doomed=doomed):
                return True
            doomed = False
            if pausing():
                return False

    async def give_up(self, connection: Connection, job: Job, reason: str) -> None:
        """Fails all that is left of a batch (`jobs.Handler`)."""
        row = await repository.find(connection, job.tenant_id, job.subject)
        if row is None or row["completed_at"] is not None:
            return
        position = _position(row)
        error = BatchError(code="batch_given_up", detail=f"The batch could not be processed: {reason}.")
        left = [_failure(place, None, error) for place in range(position, row["total_sessions"])]
        await repository.advance(connection, job.tenant_id, job.subject, position, _rows(left), len(left))

    async def _begin(self, job: Job) -> None:
        """Notes that the batch is in hand; where an earlier attempt came to nothing, that care is needed."""

        async def work(connection: Connection) -> None:
            await self._queue.hold_fast(connection, job)
            row = await repository.find(connection, job.tenant_id, job.subject)
            careful_until = 0
            if row is not None and job.attempts > 1:
                part = await repository.part_at(connection, job.tenant_id, job.subject, _position(row))
                careful_until = 0 if part is None else part.first + part.session_count
            await repository.start(connection, job.tenant_id, job.subject, careful_until)

        await self._database.in_tenant_transaction(job.tenant_id, work)

    async def _next(self, job: Job) -> _Step | None:
        """Returns what is to be done next; None when there is nothing left to do."""
        async with self._database.tenant_transaction(job.tenant_id, reads=True) as connection:
            row = await repository.find(connection, job.tenant_id, job.subject)
            if row is None or row["completed_at"] is not None:
                return None
            position = _position(row)
            part = await repository.part_at(connection, job.tenant_id, job.subject, position)
        if part is None or position >= part.first + part.session_count:
            raise LookupError("a part of the batch is gone")
        rest = sessions_of(part.payload)[position - part.first :]
        return _Step(position, rest[:1] if position < row["careful_until"] else rest)

    async def _do(self, job: Job, step: _Step, *, doomed: bool) -> bool:
        """Does a step; returns whether the batch is finished with it."""
        if doomed:
            return await self._store(job, step._replace(sent=step.sent[:1]), [_GIVEN_UP], [])
        read = [_read(sent) for sent in step.sent]
        upserts = [one for one in read if isinstance(one, Upsert)]
        prepared = await self._bulk.prepare(job.tenant_id, upserts)
        return await self._store(job, step, read, prepared)

    async def _store(
        self, job: Job, step: _Step, read: Sequence[Upsert | BatchError], prepared: Sequence[Prepared]
    ) -> bool:
        async def work(connection: Connection) -> bool:
            await self._queue.hold_fast(connection, job, gets_on=True)
            stored = iter(await self._bulk.store(connection, job.tenant_id, prepared))
            results = [
                _failure(place, _sent_id(sent), one)
                if isinstance(one, BatchError)
                else _result(place, one.external_id, next(stored))
                for place, (sent, one) in enumerate(zip(step.sent, read, strict=True), step.position)
            ]
            failed = sum(result.error is not None for result in results)
            done = await repository.advance(
                connection, job.tenant_id, job.subject, step.position, _rows(results), failed
            )
            if done:
                await jobs.finish(connection, job)
            return done

        return await self._database.in_tenant_transaction(job.tenant_id, work)

    async def _finish(self, job: Job) -> bool:
        """Ends a job that has nothing left to do."""
        async with self._database.tenant_transaction(job.tenant_id) as connection:
            await jobs.finish(connection, job)
        return True


def _position(row: Row) -> int:
    done: int = row["processed_sessions"] + row["failed_sessions"]
    return done


def _read(sent: msgspec.Raw) -> Upsert | BatchError:
    """Returns what a session's JSON says, or what is wrong with it."""
    try:
        body = _session_in(sent)
        external_id, where = payloads.session_id(body), payloads.location(body)
        return Upsert(external_id, where, payloads.attributes(body), payloads.readings(body.meter_values))
    except msgspec.ValidationError as error:
        return _error(validation_problem(error, SessionIn, "session"))
    except InvalidField as error:
        return _error(invalid_field(error.place, error.message, error.kind))


def _error(problem: Problem) -> BatchError:
    return BatchError(
        code=problem.code, detail=problem.detail, errors=[one.document() for one in problem.errors]
    )


def _sent_id(sent: msgspec.Raw) -> str | None:
    """Returns the id that a session at fault was sent with, where it can be one."""
    try:
        return session_external_id(msgspec.json.decode(_object(sent)["session_id"], type=str))
    except (KeyError, ValueError):  # msgspec's errors are ValueErrors
        return None


def _failure(position: int, session_id: str | None, error: BatchError) -> BatchResult:
    return BatchResult(session_id=session_id, position=position, status="failed", error=error)


def _result(position: int, external_id: str, stored: Stored | Refusal) -> BatchResult:
    if isinstance(stored, Refusal):
        return _failure(position, external_id, BatchError(code=stored.code, detail=stored.detail))
    state = session_state(stored)
    return BatchResult(
        session_id=state.session_id,
        position=position,
        status=state.status,
        is_anomaly=state.is_anomaly,
        anomaly_score=state.anomaly_score,
        anomaly_confidence=state.anomaly_confidence,
        sequence_length=state.sequence_length,
        anomalies=state.anomalies,
        version=state.version,
        error=_NOT_ANALYSED if state.status == "failed" else None,
    )


def _rows(results: Sequence[BatchResult]) -> list[Result]:
    return [Result(one.position, one.session_id, msgspec.json.encode(one).decode()) for one in results]
