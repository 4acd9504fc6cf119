"""Looks through everything that is stored of a tenant."""

from uuid import UUID

from chargewatch.server.db.engine import Database
from chargewatch.server.db.tables import TENANT_TABLES


async def rows_that_hold(database: Database, tenant_id: UUID, *texts: str) -> list[str]:
    """Returns ``table: text`` for each row of the tenant in which a text occurs, in whatever column."""
    found = []
    async with database.tenant_transaction(tenant_id, reads=True) as connection:
        for table, privileges in TENANT_TABLES.items():
            if "SELECT" not in privileges:
                continue
            rows = await connection.fetch(f"SELECT * FROM {table}")
            for row in rows:
                kept = " ".join(
                    bytes(v).decode("latin-1") if isinstance(v, bytes) else str(v) for v in row.values()
                )
                found += [f"{table}: {text}" for text in texts if text in kept]
    return found
