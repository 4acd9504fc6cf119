"""The statements on tenants and API keys: administration as the owner, look-up as the app role.

What must be found before its tenant is known is read as the directory role; everything else runs with the
tenant set, by which the owner is bound as well. Each statement names the tenant all the same: on a server the
owner may be a superuser, whom no policy binds.
"""

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from uuid import UUID

from chargewatch.server.db.address import RoleNames, quoted
from chargewatch.server.db.connection import Connection, Row
from chargewatch.server.db.engine import Database
from chargewatch.server.db.tenancy import tenant_transaction, transaction

_KEY_COLUMNS = "tenant_id, key_id, name, hint, scopes, created_at, expires_at, revoked_at, last_used_at"


class TenantRepository:
    """Tenants and keys, over the owner's connection."""

    def __init__(self, owner: Connection, roles: RoleNames) -> None:
        self._owner = owner
        self._begin_as_directory = f"BEGIN;SET LOCAL ROLE {quoted(roles.directory)}"

    def within(self, tenant_id: UUID) -> AbstractAsyncContextManager[Connection]:
        """A transaction of that tenant."""
        return tenant_transaction(self._owner, tenant_id)

    async def any_tenant(self) -> bool:
        """Whether there is a tenant at all."""
        async with transaction(self._owner, self._begin_as_directory) as directory:
            return bool(await directory.fetchval("SELECT EXISTS (SELECT FROM tenants)"))

    async def tenant_id(self, name: str) -> UUID | None:
        """The tenant of this name."""
        async with transaction(self._owner, self._begin_as_directory) as directory:
            query = "SELECT tenant_id FROM tenants WHERE name = $1"
            found: UUID | None = await directory.fetchval(query, name)
            return found

    async def tenant_exists(self, tenant_id: UUID) -> bool:
        """Whether there is this tenant."""
        async with self.within(tenant_id) as tenant:
            query = "SELECT EXISTS (SELECT FROM tenants WHERE tenant_id = $1)"
            return bool(await tenant.fetchval(query, tenant_id))

    async def tenant_of_key(self, key_id: UUID) -> UUID | None:
        """Whose key this is."""
        async with transaction(self._owner, self._begin_as_directory) as directory:
            query = "SELECT tenant_id FROM api_keys WHERE key_id = $1"
            found: UUID | None = await directory.fetchval(query, key_id)
            return found

    async def keys(self, tenant_id: UUID) -> list[Row]:
        """The tenant's keys, oldest first."""
        async with self.within(tenant_id) as tenant:
            query = f"SELECT {_KEY_COLUMNS} FROM api_keys WHERE tenant_id = $1 ORDER BY created_at, key_id"
            return await tenant.fetch(query, tenant_id)

    async def revoke(self, tenant_id: UUID, key_id: UUID) -> None:
        """Ends a key now; one that is revoked stays as it is."""
        async with self.within(tenant_id) as tenant:
            await tenant.execute(
                "UPDATE api_keys SET revoked_at = now()"
                " WHERE tenant_id = $1 AND key_id = $2 AND revoked_at IS NULL",
                tenant_id,
                key_id,
            )


async def insert_tenant(tenant: Connection, tenant_id: UUID, name: str) -> None:
    """In a transaction of that tenant."""
    await tenant.execute("INSERT INTO tenants (tenant_id, name) VALUES ($1, $2)", tenant_id, name)


async def insert_key(
    tenant: Connection,
    tenant_id: UUID,
    *,
    key_hash: bytes,
    hint: str,
    scopes: list[str],
    expires_at: datetime | None,
    name: str | None,
) -> UUID:
    """In a transaction of that tenant; the new key's id."""
    key_id: UUID = await tenant.fetchval(
        "INSERT INTO api_keys (tenant_id, key_hash, hint, scopes, expires_at, name)"
        " VALUES ($1, $2, $3, $4, $5, $6) RETURNING key_id",
        tenant_id,
        key_hash,
        hint,
        scopes,
        expires_at,
        name,
    )
    return key_id


async def find_key(database: Database, key_hash: bytes) -> Row | None:
    """A live key by its hash: tenant_id, key_id, scopes, expires_in_s, is_touch_due."""
    rows = await database.fetch_without_tenant("SELECT * FROM find_api_key($1)", key_hash, reads=True)
    return rows[0] if rows else None


async def touch_key(database: Database, tenant_id: UUID, key_id: UUID) -> None:
    """Notes that the key was used, at most once a minute."""
    await database.fetch_without_tenant("SELECT touch_api_key($1, $2)", tenant_id, key_id)


async def set_retention(connection: Connection, tenant_id: UUID, days: int | None) -> None:
    """Sets for how many days the tenant's sessions are kept; None takes the limit away."""
    await connection.execute(
        "UPDATE tenants SET settings = jsonb_strip_nulls(settings || jsonb_build_object('retention_days', $2::integer))"
        " WHERE tenant_id = $1",
        tenant_id,
        days,
    )
