"""What an import looks up before it stores. Every call runs inside a tenant's transaction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from chargewatch.server.db.connection import Connection

_READING_COUNTS: Final = """
SELECT external_id, reading_count FROM sessions WHERE tenant_id = $1 AND external_id = ANY ($2)
"""


async def reading_counts(
    connection: Connection, tenant_id: UUID, external_ids: Sequence[str]
) -> dict[str, int]:
    """Returns how many readings each of these sessions has; those that are not stored are left out."""
    rows = await connection.fetch(_READING_COUNTS, tenant_id, list(external_ids))
    return {row["external_id"]: row["reading_count"] for row in rows}


async def present(connection: Connection) -> datetime:
    """Returns the time that the database writes into what this transaction stores."""
    moment: datetime = await connection.fetchval("SELECT now()")
    return moment
