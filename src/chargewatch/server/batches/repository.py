"""Batches in PostgreSQL. Every call runs inside a tenant's transaction."""

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from chargewatch.server.batches.parts import Part
from chargewatch.server.db.connection import Connection, Row

_INSERT: Final = "INSERT INTO batches (tenant_id, total_sessions) VALUES ($1, $2) RETURNING batch_id"
_INSERT_PARTS: Final = """
INSERT INTO batch_parts (tenant_id, batch_id, first, session_count, payload)
SELECT $1, $2, * FROM unnest($3::integer[], $4::integer[], $5::bytea[])
"""
_FIND: Final = "SELECT * FROM batches WHERE tenant_id = $1 AND batch_id = $2"
_RESULTS: Final = "SELECT result FROM batch_results WHERE tenant_id = $1 AND batch_id = $2 ORDER BY position"
_PART_AT: Final = """
SELECT first, session_count, payload FROM batch_parts
 WHERE tenant_id = $1 AND batch_id = $2 AND first <= $3 ORDER BY first DESC LIMIT 1
"""
_DELETE_PARTS: Final = """
DELETE FROM batch_parts WHERE tenant_id = $1 AND batch_id = $2 AND first + session_count <= $3
"""
_INSERT_RESULTS: Final = """
INSERT INTO batch_results (tenant_id, batch_id, position, external_id, result)
SELECT $1, $2, position, external_id, result::json
  FROM unnest($3::integer[], $4::text[], $5::text[]) AS new (position, external_id, result)
"""
_START: Final = """
UPDATE batches SET status = 'processing', careful_until = greatest(careful_until, $3)
 WHERE tenant_id = $1 AND batch_id = $2 AND status IN ('pending', 'processing')
"""
# It goes on only from where it is: whoever is behind changes nothing.
_ADVANCE: Final = """
UPDATE batches
   SET processed_sessions = processed_sessions + $4, failed_sessions = failed_sessions + $5,
       status = CASE WHEN $3 + $4 + $5 < total_sessions THEN 'processing'
                     WHEN processed_sessions + $4 > 0 THEN 'completed' ELSE 'failed' END,
       completed_at = CASE WHEN $3 + $4 + $5 < total_sessions THEN NULL ELSE now() END
 WHERE tenant_id = $1 AND batch_id = $2 AND completed_at IS NULL AND processed_sessions + failed_sessions = $3
RETURNING completed_at IS NOT NULL
"""
_FORGET: Final = """
DELETE FROM batches
 WHERE tenant_id = $1 AND completed_at IS NOT NULL AND completed_at <= now() - make_interval(secs => $2)
"""


class Result(NamedTuple):
    """The result of one session, as JSON."""

    position: int
    external_id: str | None
    document: str


async def insert(connection: Connection, tenant_id: UUID, parts: Sequence[Part]) -> UUID:
    """Stores a new batch; returns its id."""
    total = sum(part.session_count for part in parts)
    batch_id: UUID = await connection.fetchval(_INSERT, tenant_id, total)
    await connection.execute(_INSERT_PARTS, tenant_id, batch_id, *map(list, zip(*parts, strict=True)))
    return batch_id


async def find(connection: Connection, tenant_id: UUID, batch_id: UUID) -> Row | None:
    """Returns a batch."""
    return await connection.fetchrow(_FIND, tenant_id, batch_id)


async def results(connection: Connection, tenant_id: UUID, batch_id: UUID) -> list[str]:
    """Returns the results that there are, as JSON, in the request's order."""
    return [row[0] for row in await connection.fetch(_RESULTS, tenant_id, batch_id)]


async def part_at(connection: Connection, tenant_id: UUID, batch_id: UUID, position: int) -> Part | None:
    """Returns the part that holds this session; None when there is none any more."""
    row = await connection.fetchrow(_PART_AT, tenant_id, batch_id, position)
    return None if row is None else Part(*row.values())


async def start(connection: Connection, tenant_id: UUID, batch_id: UUID, careful_until: int) -> None:
    """Notes that a batch is being processed, and up to where one by one."""
    await connection.execute(_START, tenant_id, batch_id, careful_until)


async def advance(
    connection: Connection,
    tenant_id: UUID,
    batch_id: UUID,
    position: int,
    results: Sequence[Result],
    failed: int,
) -> bool:
    """Stores the results of the sessions from this position on; returns whether they were the last ones.

    Raises:
        LookupError: the batch is not at this position.
    """
    done: bool | None = await connection.fetchval(
        _ADVANCE, tenant_id, batch_id, position, len(results) - failed, failed
    )
    if done is None:
        raise LookupError("the batch is not where it was")
    await connection.execute(_INSERT_RESULTS, tenant_id, batch_id, *map(list, zip(*results, strict=True)))
    await connection.execute(_DELETE_PARTS, tenant_id, batch_id, position + len(results))
    return done


async def forget_old(connection: Connection, tenant_id: UUID, kept_s: float) -> None:
    """Deletes batches that were finished so long ago, with their results."""
    await connection.execute(_FORGET, tenant_id, kept_s)
