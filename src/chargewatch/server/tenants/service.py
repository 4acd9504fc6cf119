"""Making tenants and keys (as the owner), and telling who calls (as the app role)."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextvars import Context
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import msgspec
import structlog

from chargewatch.server.db.address import RoleNames
from chargewatch.server.db.connection import Connection
from chargewatch.server.db.engine import Database
from chargewatch.server.db.errors import DatabaseError
from chargewatch.server.db.patience import counted
from chargewatch.server.settings import Secret
from chargewatch.server.tenants import repository
from chargewatch.server.tenants.keys import DEFAULT_SCOPES, Scope, is_plausible, key_hash, key_hint, new_key
from chargewatch.server.tenants.repository import TenantRepository
from chargewatch.server.thresholds import service as thresholds
from chargewatch.server.thresholds.service import StoredThresholds

#: Principals that are remembered at once; the one used longest ago goes first.
CACHED_KEYS: Final = 10_000
LONGEST_NAME: Final = 200
LONGEST_RETENTION_DAYS: Final = 36_500

_log = structlog.get_logger(__name__)


class TenantError(Exception):
    """What was asked about a tenant or key cannot be done; the text is one line for the operator."""


class Principal(msgspec.Struct, frozen=True):
    """Who calls, as their key says."""

    tenant_id: UUID
    key_id: UUID
    scopes: frozenset[str]


class NewKey(msgspec.Struct, frozen=True):
    """A key just made; this is the only time that it is shown."""

    tenant_id: UUID
    key_id: UUID
    api_key: Secret
    scopes: tuple[str, ...]


class KeyRecord(msgspec.Struct, frozen=True):
    """What is known of a key."""

    tenant_id: UUID
    key_id: UUID
    name: str | None
    hint: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class TenantService:
    """Administration, over the owner's connection (see ``db.access``)."""

    def __init__(self, owner: Connection, roles: RoleNames) -> None:
        self._repository = TenantRepository(owner, roles)

    async def has_tenants(self) -> bool:
        """Whether anything was set up yet."""
        return await self._repository.any_tenant()

    async def create_tenant(self, name: str, api_key: Secret | None = None) -> NewKey:
        """A tenant with its first key (a new one unless it is given), of the default scopes.

        Raises:
            TenantError: the name is taken or no name; the key is in use or no key.
        """
        _check_name(name)
        key = api_key or Secret(new_key())
        tenant_id = uuid4()
        try:
            async with self._repository.within(tenant_id) as tenant:
                await repository.insert_tenant(tenant, tenant_id, name)
                return await _insert_key(tenant, tenant_id, key, DEFAULT_SCOPES, name="first key")
        except asyncpg.UniqueViolationError as problem:
            taken = "this API key" if problem.table_name == "api_keys" else f"the tenant name {name!r}"
            raise TenantError(f"{taken} is already in use") from None

    async def set_retention(self, tenant: str | UUID, days: int | None) -> UUID:
        """Has sessions erased that began and ended more than so many days ago; None keeps them for ever.

        Raises:
            TenantError: no such tenant, or days out of range.
        """
        if days is not None and not 1 <= days <= LONGEST_RETENTION_DAYS:
            raise TenantError(f"the retention must be 1 to {LONGEST_RETENTION_DAYS} days, or off")
        tenant_id = await self.find_tenant(tenant)
        async with self._repository.within(tenant_id) as connection:
            await repository.set_retention(connection, tenant_id, days)
        return tenant_id

    async def thresholds(self, tenant: str | UUID) -> StoredThresholds:
        """The thresholds that a tenant's sessions are judged by.

        Raises:
            TenantError: no such tenant.
        """
        tenant_id = await self.find_tenant(tenant)
        async with self._repository.within(tenant_id) as connection:
            return await thresholds.read(connection, tenant_id)

    async def change_thresholds(
        self, tenant: str | UUID, values: Mapping[str, float | None]
    ) -> StoredThresholds:
        """Gives limits of a tenant other values, in every process within two seconds; None means the default.

        Raises:
            TenantError: no such tenant.
            ThresholdError: no such limit, or it cannot have the value.
        """
        tenant_id = await self.find_tenant(tenant)
        async with self._repository.within(tenant_id) as connection:
            return await thresholds.change(connection, tenant_id, values, None)

    async def create_key(
        self,
        tenant: str | UUID,
        scopes: frozenset[Scope] = DEFAULT_SCOPES,
        expires_at: datetime | None = None,
        name: str | None = None,
    ) -> NewKey:
        """One more key; the others stay valid, so that a client can change over.

        Raises:
            TenantError: no such tenant, or a key that would have expired already.
        """
        if expires_at is not None and expires_at <= datetime.now(UTC):
            raise TenantError("the key would have expired already")
        tenant_id = await self.find_tenant(tenant)
        async with self._repository.within(tenant_id) as connection:
            key = Secret(new_key())
            return await _insert_key(connection, tenant_id, key, scopes, expires_at=expires_at, name=name)

    async def list_keys(self, tenant: str | UUID) -> list[KeyRecord]:
        """The tenant's keys, oldest first, revoked and expired ones too.

        Raises:
            TenantError: no such tenant.
        """
        rows = await self._repository.keys(await self.find_tenant(tenant))
        return [KeyRecord(*row.values()) for row in rows]

    async def revoke_key(self, key_id: UUID) -> None:
        """Ends a key, in every process within two seconds.

        Raises:
            TenantError: no such key.
        """
        tenant_id = await self._repository.tenant_of_key(key_id)
        if tenant_id is None:
            raise TenantError(f"there is no key {key_id}")
        await self._repository.revoke(tenant_id, key_id)

    async def find_tenant(self, tenant: str | UUID) -> UUID:
        """A tenant by its name, else by its id.

        Raises:
            TenantError: no such tenant.
        """
        found = await self._repository.tenant_id(tenant) if isinstance(tenant, str) else None
        if found is not None:
            return found
        try:
            tenant_id = tenant if isinstance(tenant, UUID) else UUID(tenant)
        except ValueError:
            raise TenantError(f"there is no tenant {tenant!r}") from None
        if not await self._repository.tenant_exists(tenant_id):
            raise TenantError(f"there is no tenant {tenant_id}")
        return tenant_id


async def _insert_key(
    connection: Connection,
    tenant_id: UUID,
    key: Secret,
    scopes: frozenset[Scope],
    *,
    expires_at: datetime | None = None,
    name: str | None = None,
) -> NewKey:
    text = key.reveal()
    if not is_plausible(text):
        raise TenantError("this is no API key: its length, its characters or its checksum are wrong")
    words = tuple(scope for scope in Scope if scope in scopes)
    key_id = await repository.insert_key(
        connection,
        tenant_id,
        key_hash=key_hash(text),
        hint=key_hint(text),
        scopes=list(words),
        expires_at=expires_at,
        name=name,
    )
    return NewKey(tenant_id, key_id, key, words)


def _check_name(name: str) -> None:
    if not name.strip() or name != name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise TenantError(f"a tenant's name is 1 to {LONGEST_NAME} printable characters, no spaces around it")


class _Remembered(msgspec.Struct, frozen=True):
    principal: Principal
    until: float
    """Monotonic seconds."""


class Authenticator:
    """Tells whose key it is, from memory where the key was looked up less than a second ago.

    Calls with a key that is just being looked up wait for that: when the database is slow, looking up must not be
    what keeps it busy. Wrong keys are not remembered: what a caller makes up must not fill the memory.
    """

    def __init__(
        self, database: Database, cache_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._cache_s = cache_s
        self._clock = clock
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._under_way: dict[bytes, asyncio.Task[Principal | None]] = {}

    async def authenticate(self, key: str) -> Principal | None:
        """The key's principal; None for a key that is unknown, revoked, expired or none at all.

        Raises:
            DatabaseUnavailable: it cannot be looked up now.
        """
        if not is_plausible(key):
            return None
        digest = key_hash(key)
        remembered = self._remembered.get(digest)
        if remembered is not None and self._clock() < remembered.until:
            return remembered.principal
        look_up = self._under_way.get(digest)
        if look_up is None:
            # in a context of its own: it is no part of the call that happens to begin it
            look_up = asyncio.create_task(self._look_up(digest), context=Context())
            self._under_way[digest] = look_up
            look_up.add_done_callback(lambda _: self._under_way.pop(digest))
        with counted():
            return await asyncio.shield(look_up)  # a call that ends meanwhile does not end it for the others

    async def _look_up(self, digest: bytes) -> Principal | None:
        asked_at = self._clock()
        self._remembered.pop(digest, None)
        row = await repository.find_key(self._database, digest)
        if row is None:
            return None
        principal = Principal(row["tenant_id"], row["key_id"], frozenset(row["scopes"]))
        lifetime = row["expires_in_s"]
        trusted_s = self._cache_s if lifetime is None else min(self._cache_s, lifetime)
        self._remember(digest, _Remembered(principal, asked_at + trusted_s))
        if row["is_touch_due"]:
            await self._touch(principal)
        return principal

    def _remember(self, digest: bytes, entry: _Remembered) -> None:
        self._remembered[digest] = entry
        while len(self._remembered) > CACHED_KEYS:
            self._remembered.popitem(last=False)

    async def _touch(self, principal: Principal) -> None:
        """A full disk must not keep readers out, so this may fail."""
        try:
            await repository.touch_key(self._database, principal.tenant_id, principal.key_id)
        except (DatabaseError, asyncpg.PostgresError) as problem:
            _log.warning("key_touch_failed", key_id=str(principal.key_id), reason=type(problem).__name__)
