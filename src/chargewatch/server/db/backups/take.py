"""Takes a backup: one snapshot of all tenants' rows, beside whatever else goes on in the database.

Readers hold up no writer. The rows are read as any owner may read them, tenant by tenant, because forced
row-level security binds the owner too and lifting it would be seen by the service (decision 10).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import asyncpg

from chargewatch import __version__
from chargewatch.server.db.access import ensure_owner_login
from chargewatch.server.db.address import DatabaseAddress, quoted
from chargewatch.server.db.backups.archive import Manifest, NewArchive, Progress, TableEntry
from chargewatch.server.db.backups.contents import TENANT_COLUMN, Table, list_sequences, list_tables
from chargewatch.server.db.connection import Connection, connected
from chargewatch.server.db.errors import DatabaseError, one_line
from chargewatch.server.db.migrations.runner import check_not_newer, schema_version
from chargewatch.server.db.secret_key import SecretKey
from chargewatch.server.db.tenancy import transaction

#: A migration is waited for at most this long.
LOCK_TIMEOUT: Final = "30s"

#: Nothing cuts a long read off, whatever the server's own limits are.
UNLIMITED: Final = """
SELECT set_config(name, '0', false) FROM pg_settings
 WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')
"""

#: How values become text and are read again, wherever that is.
TEXT_FORMAT: Final = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "iso_8601",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}


async def take_backup(
    address: DatabaseAddress,
    archive: NewArchive,
    key: SecretKey,
    progress: Progress,
    *,
    with_secret_key: bool = False,
) -> Manifest:
    """Writes all rows, as they are at one moment, into an archive.

    Args:
        address: where the database is.
        archive: where the rows go.
        key: the installation's secret key; the archive holds it only when that is asked for.
        progress: told about every piece.
        with_secret_key: put the secret key into the archive.

    Raises:
        DatabaseError: the database is empty, newer than this program, or does not answer.
        BackupError: the archive cannot be written.
    """
    await ensure_owner_login(address)
    settings = {"lock_timeout": LOCK_TIMEOUT, **TEXT_FORMAT}
    try:
        async with connected(address.owner, settings) as owner:
            await owner.execute(UNLIMITED)
            async with _snapshot(owner) as tables:
                manifest = await _take(owner, address, tables, archive, key, progress, with_secret_key)
    except asyncpg.PostgresError as problem:
        raise DatabaseError(f"cannot back up the database: {one_line(problem)}") from problem
    archive.finish(manifest, key.reveal() if with_secret_key else None)
    return manifest


async def _take(
    owner: Connection,
    address: DatabaseAddress,
    tables: tuple[Table, ...],
    archive: NewArchive,
    key: SecretKey,
    progress: Progress,
    with_secret_key: bool,
) -> Manifest:
    schema = await schema_version(owner)
    if schema is None:
        raise DatabaseError("there is nothing to back up: the database is empty")
    check_not_newer(schema)
    tenants = await _tenants(owner, address)
    entries = [await _copy(owner, table, tenants, archive, progress) for table in tables]
    return Manifest(
        chargewatch=__version__,
        schema=schema,
        postgresql=await owner.fetchval("SHOW server_version"),
        created_at=await owner.fetchval("SELECT now()"),
        secret_key_fingerprint=key.fingerprint(),
        has_secret_key=with_secret_key,
        tables=tuple(entries),
        sequences=await list_sequences(owner),
    )


@asynccontextmanager
async def _snapshot(owner: Connection) -> AsyncIterator[tuple[Table, ...]]:
    """The tables, in a transaction that sees one moment of them.

    They are locked (against changes of their columns only) before the snapshot is taken, as LOCK takes none; a
    migration that was faster shows in it, and then everything begins again.
    """
    while True:
        known = await list_tables(owner)
        async with transaction(owner, _begin(known)):
            tables = await list_tables(owner)
            if tables == known:
                yield tables
                return


def _begin(tables: tuple[Table, ...]) -> str:
    begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    names = ", ".join(table.qualified for table in tables)
    return f"{begin};LOCK TABLE {names} IN ACCESS SHARE MODE" if names else begin


async def _tenants(owner: Connection, address: DatabaseAddress) -> list[UUID]:
    await owner.execute(f"SET LOCAL ROLE {quoted(address.roles.directory)}")
    rows = await owner.fetch("SELECT tenant_id FROM public.tenants ORDER BY tenant_id")
    await owner.execute("RESET ROLE")
    return [row[0] for row in rows]


async def _copy(
    owner: Connection, table: Table, tenants: list[UUID], archive: NewArchive, progress: Progress
) -> TableEntry:
    """All tenants' rows of a table, one tenant after another."""
    rows = 0
    with archive.table(table.name) as member:

        async def keep(piece: bytes) -> None:
            member.write(piece)
            progress(f"reading {table.name}", len(piece))

        for tenant_id in tenants:
            await owner.execute(f"SELECT set_config('app.tenant', '{tenant_id.int:032x}', true)")
            tag = await owner.copy_from_query(_query(table, tenant_id), output=keep, format="text")
            rows += int(tag.removeprefix("COPY "))
        return TableEntry(
            name=table.name, columns=table.columns, rows=rows, bytes=member.bytes, sha256=member.sha256
        )


def _query(table: Table, tenant_id: UUID) -> str:
    """The tenant is named although the policy does so too: a superuser is bound by no policy."""
    return f"SELECT {table.column_list} FROM {table.qualified} WHERE {TENANT_COLUMN} = '{tenant_id.int:032x}'"  # noqa: S608
