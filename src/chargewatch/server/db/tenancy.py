"""The one door to a tenant's rows: a transaction in which the tenant is set, and set for it alone.

The tenant is transaction-local state, so that it ends with COMMIT or ROLLBACK whatever happens, also behind a
pooler. Outside of such a transaction no tenant is set and row-level security shows no rows.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final
from uuid import UUID

import asyncpg

from chargewatch.server.db.connection import Connection, is_lost
from chargewatch.server.db.errors import DatabaseError

#: A server that does not even answer a ROLLBACK loses its connection instead.
ROLLBACK_TIMEOUT_S: Final = 1.0
#: On a connection that does not have the setting from its beginning: what is acknowledged is on disk.
BEGIN_DURABLY: Final = "BEGIN;SET LOCAL synchronous_commit = 'on'"


def begin_for(tenant_id: UUID, begin: str = "BEGIN") -> str:
    """The statements that begin a tenant's transaction, for one simple-protocol message.

    That protocol has no parameters, and a UUID, written from its 128 bits, needs none.
    """
    if not isinstance(tenant_id, UUID):
        raise TypeError(f"a tenant is named by its UUID, not by {type(tenant_id).__name__}")
    return f"{begin};SELECT set_config('app.tenant', '{tenant_id.int:032x}', true)"


def tenant_transaction(connection: Connection, tenant_id: UUID) -> AbstractAsyncContextManager[Connection]:
    """A transaction on this connection that sees and writes the rows of one tenant."""
    return transaction(connection, begin_for(tenant_id, BEGIN_DURABLY))


@asynccontextmanager
async def transaction(connection: Connection, begin: str = "BEGIN") -> AsyncIterator[Connection]:
    """A transaction: committed at the end, rolled back on any error, cancellation included."""
    try:
        await connection.execute(begin)
        yield connection
        await commit(connection)
    except BaseException:
        await roll_back(connection)
        raise


async def commit(connection: Connection) -> None:
    """Commits the transaction.

    Raises:
        DatabaseError: a statement in it had failed and nobody said so, so that COMMIT rolled back instead.
    """
    if await connection.execute("COMMIT") != "COMMIT":
        raise DatabaseError("the transaction had failed and was rolled back")


async def roll_back(connection: Connection) -> None:
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
