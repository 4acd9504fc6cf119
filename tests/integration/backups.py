"""Databases to back up, backups of them, and what is in both."""

import contextlib
import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec

from chargewatch.server.analysis.service import Analyser
from chargewatch.server.db.access import prepare_database
from chargewatch.server.db.address import DatabaseAddress
from chargewatch.server.db.backups.archive import (
    Archive,
    Manifest,
    new_archive,
    open_archive,
)
from chargewatch.server.db.backups.restore import restore_backup
from chargewatch.server.db.backups.take import take_backup
from chargewatch.server.db.connection import connected
from chargewatch.server.db.engine import Database
from chargewatch.server.db.fitness import violations
from chargewatch.server.db.migrations.runner import migrate, only_starter
from chargewatch.server.db.roles import ensure_roles
from chargewatch.server.db.secret_key import load_secret_key
from chargewatch.server.db.tables import TENANT_TABLES
from chargewatch.server.sessions.payloads import Whereabouts
from chargewatch.server.sessions.service import SessionService
from chargewatch.server.settings import Settings
from chargewatch.server.tenants.service import NewKey, TenantService
from tests.integration.conftest import DatabaseServer
from tests.integration.test_migrations import empty, owned_by
from tests.integration.test_session_service import START, UNCHANGED, readings

SESSIONS = 12


class Filled(NamedTuple):
    """A database with two tenants' sessions."""

    settings: Settings
    address: DatabaseAddress
    keys: tuple[NewKey, NewKey]


async def fill(settings: Settings, address: DatabaseAddress) -> Filled:
    """Two tenants with the same session ids but other values; some anomalous, one erased, keys of every kind."""
    async with connected(address.owner) as owner:
        tenants = TenantService(owner, address.roles)
        keys = await tenants.create_tenant("north"), await tenants.create_tenant('sou\\th "1"')
        spare = await tenants.create_key(keys[0].tenant_id, name="a\nb")
        await tenants.revoke_key(spare.key_id)
    database = await Database.open(settings, address)
    service = SessionService(database, Analyser(), idle_s=6 * 3600)
    for number, key in enumerate(keys):
        for n in range(SESSIONS):
            values = [0, 5 + number, 10, 2 if n % 4 == 0 else 12, 13.250]
            start = START + timedelta(hours=3 * n)
            attributes = UNCHANGED._replace(
                metadata=json.dumps({"driver": f"Ü\\n\t{n}"}, ensure_ascii=n % 2 == 0)
            )
            where = Whereabouts(f"CP-{n % 3}", None if n % 2 else "1", "ü" if n % 3 else None)
            await service.upsert(key.tenant_id, f"s-{n}", where, attributes, readings(values, start))
            await service.append(
                key.tenant_id, f"s-{n}", None, UNCHANGED, readings([14], start + timedelta(hours=2))
            )
        await service.delete(key.tenant_id, "s-1")
    await database.close()
    return Filled(settings, address, keys)


async def take(settings: Settings, address: DatabaseAddress, path: Path) -> Manifest:
    with new_archive(path) as archive:
        return await take_backup(address, archive, load_secret_key(settings), lambda what, more: None)


async def bring_back(settings: Settings, address: DatabaseAddress, path: Path) -> str:
    with open_archive(path) as archive:
        archive.verify(lambda what, more: None)
        return await restore_backup(settings, address, archive, lambda what, more: None)


async def everything(postgres: DatabaseServer, address: DatabaseAddress) -> dict[str, Counter[str]]:
    """All rows of all tables, as text, seen by a superuser."""
    name = address.roles.app.removesuffix("_app")
    async with postgres.as_administrator(name) as administrator:
        return {
            table: Counter(row[0] for row in await administrator.fetch(f"SELECT t::text FROM {table} t"))
            for table in TENANT_TABLES
        }


COUNTED = """
SELECT tenant_id, station_id, evse_id, connector_id, what, sum(amount)
  FROM session_counts GROUP BY 1, 2, 3, 4, 5 HAVING sum(amount) <> 0
"""
RECOUNTED = """
SELECT tenant_id, station_id, coalesce(evse_id, ''), coalesce(connector_id, ''), what, count(*)
  FROM sessions, unnest(CASE WHEN is_anomaly THEN '{sessions,anomalous}' || categories ELSE '{sessions}' END) AS what
 GROUP BY 1, 2, 3, 4, 5
"""


async def counts(postgres: DatabaseServer, address: DatabaseAddress, query: str) -> set[tuple[object, ...]]:
    async with postgres.as_administrator(address.roles.app.removesuffix("_app")) as administrator:
        return {tuple(row.values()) for row in await administrator.fetch(query)}


async def app_violations(address: DatabaseAddress) -> list[str]:
    async with connected(address.app) as app:
        return await violations(app)


async def ordinary_source(postgres: DatabaseServer) -> Filled:
    settings, address = await owned_by(postgres, "CREATEROLE")
    await prepare_database(settings, address, may_migrate=True)
    return await fill(settings, address)


def with_manifest(path: Path, **changes: object) -> "contextlib.AbstractContextManager[Archive]":
    """The backup as if it said something else of itself."""

    @contextlib.contextmanager
    def changed() -> "contextlib.Iterator[Archive]":
        with open_archive(path) as archive:
            archive.manifest = msgspec.structs.replace(archive.manifest, **changes)
            yield archive

    return changed()


async def old_database(postgres: DatabaseServer, schema: str) -> tuple[Settings, DatabaseAddress]:
    """A database as an earlier chargewatch left it."""
    settings, address = await empty(postgres)
    async with only_starter(address) as owner:
        await ensure_roles(owner, address)
        await migrate(owner, address.roles, schema)
        tenants = TenantService(owner, address.roles)
        for name in ("north", "south"):
            key = await tenants.create_tenant(name)
            await owner.execute(f"BEGIN; SELECT set_config('app.tenant', '{key.tenant_id}', true)")
            await owner.execute(
                "WITH made AS (INSERT INTO stations (tenant_id, external_id) VALUES ($1, 'CP-1') RETURNING *)"
                " INSERT INTO sessions (tenant_id, external_id, station_id, begins_at, is_anomaly, categories)"
                " SELECT $1, 's-' || n, station_id, now(), n % 3 = 0, '{ENERGY_PIT}'"
                " FROM made, generate_series(1, 9) AS n",
                key.tenant_id,
            )
            await owner.execute("COMMIT")
    return settings, address
