"""Brings a backup back into an empty database, whole or not at all.

The schema is made as it was when the backup was taken, the rows come back in one transaction, and then the
database is migrated as any other. A restore that was killed left a database without rows, on which the next one
begins anew, or one with all of them, which ``migrate`` (or ``serve``) finishes.
"""

from collections.abc import AsyncIterator
from typing import Final

import asyncpg

from chargewatch.server.db.access import ensure_owner_login, prepare_database
from chargewatch.server.db.address import DatabaseAddress
from chargewatch.server.db.backups.archive import Archive, BackupError, Progress, SequenceEntry, TableEntry
from chargewatch.server.db.backups.contents import Table, drop_everything, list_tables
from chargewatch.server.db.backups.take import TEXT_FORMAT, UNLIMITED
from chargewatch.server.db.connection import Connection, connected
from chargewatch.server.db.engine import Database
from chargewatch.server.db.errors import DatabaseError, DatabaseUnavailable, SchemaMismatch, one_line
from chargewatch.server.db.migrations.runner import (
    check_not_newer,
    known_versions,
    migrate,
    only_starter,
    schema_version,
)
from chargewatch.server.db.roles import ensure_roles
from chargewatch.server.db.tenancy import transaction
from chargewatch.server.settings import Settings
from chargewatch.server.tenants.service import TenantService

#: In the transaction that fills the tables no other one sees them: they are locked until its end. So row-level
#: security, which binds the owner and forbids COPY, is lifted for it, and back when it ends, however it ends.
_OPEN: Final = "ALTER TABLE {} NO FORCE ROW LEVEL SECURITY, DISABLE TRIGGER USER"
_CLOSE: Final = "ALTER TABLE {} FORCE ROW LEVEL SECURITY, ENABLE TRIGGER USER"


def check_known(archive: Archive) -> None:
    """Raises SchemaMismatch when the backup was taken by a newer program."""
    manifest, known = archive.manifest, known_versions()
    if manifest.schema not in known:
        raise SchemaMismatch(
            f"the backup is at schema {manifest.schema}, but this chargewatch knows up to {known[-1]}:"
            f" restore it with chargewatch {manifest.chargewatch} or newer"
        )


async def restore_backup(
    settings: Settings, address: DatabaseAddress, archive: Archive, progress: Progress
) -> str:
    """Fills an empty database from a backup that was verified; returns the schema that it is then at.

    Raises:
        DatabaseError: the database is not empty, not ours to change, or does not answer.
        BackupError: the backup does not fit its own schema.
    """
    check_known(archive)
    await ensure_owner_login(address)
    try:
        async with only_starter(address) as owner:
            if not address.embedded:
                await ensure_roles(owner, address)
            await _make_schema(owner, address, archive.manifest.schema)
            await _fill(owner, archive, progress)
    except asyncpg.PostgresError as problem:
        raise DatabaseError(f"cannot restore the backup: {one_line(problem)}") from problem
    except DatabaseUnavailable as problem:
        raise DatabaseUnavailable(
            f"the restore did not finish: {problem}; run it again when the database is well"
        ) from problem
    try:
        return await _make_ready(settings, address, progress)
    except (asyncpg.PostgresError, DatabaseError) as problem:
        raise DatabaseError(
            f"all rows are back, but the database is not ready yet: {one_line(problem)};"
            " see to that and run chargewatch migrate"
        ) from problem


async def _make_ready(settings: Settings, address: DatabaseAddress, progress: Progress) -> str:
    """From here on the database is like any other of its schema."""
    progress("migrating", 0)
    result = await prepare_database(settings, address, may_migrate=True)
    await _analyse(address, progress)
    await check_restored(settings, address)
    return result.after


async def check_restored(settings: Settings, address: DatabaseAddress) -> None:
    """Opens the database as the service does, which checks schema, grants, roles and row-level security."""
    await (await Database.open(settings, address)).close()


async def _make_schema(owner: Connection, address: DatabaseAddress, schema: str) -> None:
    """An empty database becomes one of this schema, whichever it was at."""
    version = await schema_version(owner)
    check_not_newer(version)
    if version is not None and await TenantService(owner, address.roles).has_tenants():
        raise _not_empty()
    if version not in (None, schema):
        async with transaction(owner):
            await drop_everything(owner, address.roles)
    await migrate(owner, address.roles, schema)


def _not_empty() -> DatabaseError:
    return DatabaseError(
        "the database is not empty, and a backup is restored into an empty one only: choose a new"
        " CHARGEWATCH_DATA_DIR, or give CHARGEWATCH_DATABASE_URL a new database"
    )


async def _fill(owner: Connection, archive: Archive, progress: Progress) -> None:
    manifest = archive.manifest
    await owner.execute(UNLIMITED)
    for name, value in TEXT_FORMAT.items():
        await owner.execute("SELECT set_config($1, $2, false)", name, value)
    async with transaction(owner):
        tables = await list_tables(owner)
        _check_fit(archive, tables)
        for table in tables:
            await owner.execute(_OPEN.format(table.qualified))
            if await owner.fetchval(f"SELECT EXISTS (SELECT FROM {table.qualified})"):  # noqa: S608
                raise _not_empty()
        by_name = {table.name: table for table in tables}
        for entry in manifest.tables:
            await _copy(owner, by_name[entry.name], entry, archive, progress)
        for sequence in manifest.sequences:
            await _set(owner, sequence)
        await owner.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in tables:
            await owner.execute(_CLOSE.format(table.qualified))


def _check_fit(archive: Archive, tables: tuple[Table, ...]) -> None:
    """Its checksums are right, so this is a file that somebody has edited, or a database."""
    held = {entry.name: set(entry.columns) for entry in archive.manifest.tables}
    if held != {table.name: set(table.columns) for table in tables}:
        raise BackupError(
            f"{archive.path} does not hold the tables of schema {archive.manifest.schema}; nothing was restored"
        )


async def _copy(
    owner: Connection, table: Table, entry: TableEntry, archive: Archive, progress: Progress
) -> None:
    async def rows() -> AsyncIterator[bytes]:
        for piece in archive.rows_of(entry):
            yield piece
            progress(f"writing {table.name}", len(piece))

    tag = await owner.copy_to_table(
        table.name, source=rows(), columns=entry.columns, schema_name="public", format="text"
    )
    if int(tag.removeprefix("COPY ")) != entry.rows:
        raise BackupError(f"{archive.path} holds another number of rows of {table.name} than it says")


async def _set(owner: Connection, sequence: SequenceEntry) -> None:
    """The next number is one that was never given."""
    await owner.execute(
        "SELECT setval(format('public.%I', $1::text)::regclass, $2, $3)",
        sequence.name,
        sequence.last_value,
        sequence.is_called,
    )


async def _analyse(address: DatabaseAddress, progress: Progress) -> None:
    """Plans made without statistics would read whole tables, and be kept."""
    async with connected(address.owner) as owner:
        for table in await list_tables(owner):
            progress(f"analysing {table.name}", 0)
            await owner.execute(f"ANALYZE {table.qualified}")
