"""The one door to a tenant's rows: a transaction in which the tenant is set, and set for it alone.

The tenant is transaction-local state, so that it ends with COMMIT or ROLLBACK whatever happens, also behind a
pooler. Outside of such a transaction no tenant is set and row-level security shows no rows.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import asyncpg

from chargewatch.server.db.connection import Connection, is_lost
from chargewatch.server.db.errors import DatabaseError

#: A server that does not even answer a ROLLBACK loses its connection instead.
ROLLBACK_TIMEOUT_S: Final = 1.0


@asynccontextmanager
async def tenant_transaction(
    connection: Connection, tenant_id: UUID, begin: str = "BEGIN"
) -> AsyncIterator[Connection]:
    """A transaction on this connection that sees and writes the rows of one tenant.

    BEGIN and the tenant travel together, as one simple-protocol message; that protocol has no parameters, and
    a UUID, written from its 128 bits, needs none.
    """
    if not isinstance(tenant_id, UUID):
        raise TypeError(f"a tenant is named by its UUID, not by {type(tenant_id).__name__}")
    set_tenant = f"SELECT set_config('app.tenant', '{UUID(int=tenant_id.int)}', true)"
    async with transaction(connection, f"{begin};{set_tenant}"):
        yield connection


@asynccontextmanager
async def transaction(connection: Connection, begin: str = "BEGIN") -> AsyncIterator[Connection]:
    """A transaction: committed at the end, rolled back on any error, cancellation included.

    Raises:
        DatabaseError: a statement in it had failed and nobody said so, so that COMMIT rolled back instead.
    """
    try:
        await connection.execute(begin)
        yield connection
        if await connection.execute("COMMIT") != "COMMIT":
            raise DatabaseError("the transaction had failed and was rolled back")
    except BaseException:
        await _roll_back(connection)
        raise


async def _roll_back(connection: Connection) -> None:
    """Leaves the connection outside of any transaction, or closed; also when cancelled once more."""
    if is_lost(connection):
        return
    try:
        async with asyncio.timeout(ROLLBACK_TIMEOUT_S):
            await connection.execute("ROLLBACK")
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        pass  # what counts is the state that the finally clause looks at
    finally:
        if not is_lost(connection) and connection.is_in_transaction():
            connection.terminate()
