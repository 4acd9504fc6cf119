"""The statements on the thresholds of a tenant."""

from typing import Final
from uuid import UUID

import msgspec

from chargewatch.server.db.connection import Connection, Row
from chargewatch.server.db.engine import Database

_NEWEST: Final = """
SELECT version, changes, changed_by, changed_at FROM tenant_thresholds
 WHERE tenant_id = $1 ORDER BY version DESC LIMIT 1
"""
_INSERT: Final = """
INSERT INTO tenant_thresholds (tenant_id, version, changes, changed_by) VALUES ($1, $2, $3, $4)
RETURNING version, changes, changed_by, changed_at
"""
# Changes come one after another: each is made of the one before. There may be no row yet that one could lock.
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('tenant_thresholds'), hashtext($1::text))"


async def lock(connection: Connection, tenant_id: UUID) -> None:
    """Keeps others from changing the tenant's thresholds until the transaction ends."""
    await connection.execute(_LOCK, str(tenant_id))


async def newest(connection: Connection, tenant_id: UUID) -> Row | None:
    """Returns what is in force: version, changes, changed_by, changed_at; None when nothing was ever changed."""
    return await connection.fetchrow(_NEWEST, tenant_id)


async def insert(
    connection: Connection, tenant_id: UUID, version: int, changes: dict[str, float], changed_by: UUID | None
) -> Row:
    """Stores a version; returns it as `newest` does."""
    stored = await connection.fetchrow(
        _INSERT, tenant_id, version, msgspec.json.encode(changes).decode(), changed_by
    )
    assert stored is not None
    return stored


async def newest_changes(database: Database, tenant_id: UUID) -> str | None:
    """Returns the changes in force as JSON, in one round trip, in a transaction of its own."""
    rows = await database.fetch_without_tenant("SELECT newest_thresholds($1)", tenant_id, reads=True)
    changes: str | None = rows[0][0]
    return changes
