"""What is due, tenant by tenant. Every statement but the first runs inside a tenant's transaction."""

from datetime import datetime
from typing import Final
from uuid import UUID

from chargewatch.server.db.connection import Connection
from chargewatch.server.db.engine import Database
from chargewatch.server.platform.idempotency import erase_answers
from chargewatch.server.sessions.states import ERASE_RESULTS, beginning_of_state

_DUE: Final = """
SELECT recheck_at, session_id FROM sessions
 WHERE tenant_id = $1 AND recheck_at <= now() AND recheck_at >= $2 AND (recheck_at, session_id) > ($2, $3)
 ORDER BY recheck_at, session_id LIMIT $4
"""
_ASKED_FOR: Final = """
SELECT session_id FROM session_rechecks WHERE tenant_id = $1 AND session_id > $2 ORDER BY session_id LIMIT $3
"""
_TAKE: Final = """
DELETE FROM session_rechecks WHERE tenant_id = $1 AND session_id = (
    SELECT session_id FROM session_rechecks WHERE tenant_id = $1 AND session_id = $2 FOR UPDATE SKIP LOCKED)
RETURNING session_id
"""
_RETENTION: Final = "SELECT (settings ->> 'retention_days')::integer FROM tenants WHERE tenant_id = $1"

# By age means by begin, and of those only what has ended since: a session that still runs is not old.
_ERASE: Final = """
DELETE FROM sessions WHERE tenant_id = $1 AND session_id = ANY (ARRAY(
    SELECT session_id FROM sessions
     WHERE tenant_id = $1 AND begins_at < now() - make_interval(days => $2)
       AND coalesce(ended_at, last_reading_at, begins_at) < now() - make_interval(days => $2)
     ORDER BY begins_at LIMIT $3 FOR UPDATE SKIP LOCKED))
RETURNING external_id
"""

# What OCPP called the sessions that are gone, and starts that nothing ever followed.
_FORGET_TRANSACTIONS: Final = """
DELETE FROM ocpp_transactions t
 WHERE t.tenant_id = $1 AND t.updated_at < now() - make_interval(days => $2)
   AND NOT EXISTS (SELECT FROM sessions s WHERE s.tenant_id = $1 AND s.external_id = t.session)
"""

# Many entries become one. Who reads meanwhile sees either all of them or their sum; two folders at once each fold what
# they deleted themselves.
_FOLD: Final = """
WITH crowded AS (
    SELECT station_id, evse_id, connector_id, what FROM session_counts
     WHERE tenant_id = $1 GROUP BY 1, 2, 3, 4 HAVING count(*) > $2
), gone AS (
    DELETE FROM session_counts c USING crowded d
     WHERE c.tenant_id = $1 AND c.station_id = d.station_id AND c.evse_id = d.evse_id
       AND c.connector_id = d.connector_id AND c.what = d.what
    RETURNING c.station_id, c.evse_id, c.connector_id, c.what, c.amount
)
INSERT INTO session_counts (tenant_id, station_id, evse_id, connector_id, what, amount)
SELECT $1, station_id, evse_id, connector_id, what, sum(amount) FROM gone
 GROUP BY station_id, evse_id, connector_id, what HAVING sum(amount) <> 0
"""


async def all_tenants(database: Database) -> list[UUID]:
    """Returns the ids of all tenants."""
    return [row[0] for row in await database.fetch_without_tenant("SELECT * FROM all_tenants()", reads=True)]


async def due_sessions(
    connection: Connection, tenant_id: UUID, after: tuple[datetime, UUID], most: int
) -> list[tuple[datetime, UUID]]:
    """Returns sessions that are over for want of readings, with the time since when, those that wait longest first."""
    return [(row[0], row[1]) for row in await connection.fetch(_DUE, tenant_id, *after, most)]


async def asked_rechecks(connection: Connection, tenant_id: UUID, after: UUID, most: int) -> list[UUID]:
    """Returns sessions that are to be judged again, in the order of their UUIDs."""
    return [row[0] for row in await connection.fetch(_ASKED_FOR, tenant_id, after, most)]


async def take_recheck(connection: Connection, tenant_id: UUID, session_id: UUID) -> bool:
    """Crosses a session off that list; False: somebody else does, or asks for it once more at the moment."""
    return await connection.fetchval(_TAKE, tenant_id, session_id) is not None


async def retention_days(connection: Connection, tenant_id: UUID) -> int | None:
    """Returns for how long a tenant's sessions are kept; None: for ever."""
    days: int | None = await connection.fetchval(_RETENTION, tenant_id)
    return days


async def erase_old(connection: Connection, tenant_id: UUID, days: int, most: int) -> int:
    """Erases sessions that began, and ended, more than this many days ago; returns how many."""
    erased = await connection.fetch(_ERASE, tenant_id, days, most)
    if erased:
        names = [row["external_id"] for row in erased]
        await erase_answers(connection, tenant_id, [beginning_of_state(name) for name in names])
        await connection.execute(ERASE_RESULTS, tenant_id, names)
    return len(erased)


async def forget_transactions(connection: Connection, tenant_id: UUID, days: int) -> None:
    """Forgets OCPP transactions whose sessions are gone, if nothing was heard of them for so many days."""
    await connection.execute(_FORGET_TRANSACTIONS, tenant_id, days)


async def fold_counts(connection: Connection, tenant_id: UUID, more_than: int) -> None:
    """Folds the entries of those counts that have more than so many."""
    await connection.execute(_FOLD, tenant_id, more_than)
