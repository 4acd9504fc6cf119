"""What is not backed up and not restored, and what a restore that failed leaves behind."""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from chargewatch.server.db.access import prepare_database
from chargewatch.server.db.backups import restore
from chargewatch.server.db.backups.archive import BackupError, TableEntry, open_archive
from chargewatch.server.db.backups.contents import list_tables
from chargewatch.server.db.backups.restore import restore_backup
from chargewatch.server.db.connection import connected
from chargewatch.server.db.errors import DatabaseError, DatabaseUnavailable, SchemaMismatch
from chargewatch.server.db.migrations.runner import known_versions, schema_version
from chargewatch.server.db.tables import TENANT_TABLES
from tests.integration.backups import (
    COUNTED,
    RECOUNTED,
    Filled,
    app_violations,
    bring_back,
    counts,
    everything,
    old_database,
    ordinary_source,
    take,
    with_manifest,
)
from tests.integration.conftest import DatabaseServer
from tests.integration.test_migrations import empty, owned_by

pytestmark = pytest.mark.anyio

NEWEST = known_versions()[-1]


@pytest.fixture(scope="module")
def source(postgres: DatabaseServer) -> Filled:
    """Of an ordinary owner, whom row-level security binds."""
    return asyncio.run(ordinary_source(postgres))


@pytest.fixture(scope="module")
def taken(source: Filled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its backup."""
    path = tmp_path_factory.mktemp("backups") / "taken"
    asyncio.run(take(source.settings, source.address, path))
    return path


# --- what is refused ---------------------------------------------------------------------------------------


async def test_an_empty_database_is_not_backed_up(postgres: DatabaseServer, tmp_path: Path) -> None:
    settings, address = await empty(postgres)
    with pytest.raises(DatabaseError, match="nothing to back up: the database is empty"):
        await take(settings, address, tmp_path / "none")
    assert not any(os.scandir(tmp_path))


async def test_a_table_of_somebody_else_is_told(postgres: DatabaseServer, tmp_path: Path) -> None:
    address = await asyncio.to_thread(postgres.fresh)
    async with connected(address.owner) as owner:
        await owner.execute("CREATE TABLE notes (line text)")
    with pytest.raises(DatabaseError, match="table notes has no column tenant_id: it is not chargewatch's"):
        await take(postgres.settings(), address, tmp_path / "foreign")


async def test_a_database_with_rows_is_left_alone(
    postgres: DatabaseServer, source: Filled, taken: Path
) -> None:
    before = await everything(postgres, source.address)
    with pytest.raises(
        DatabaseError, match=r"the database is not empty, .*: choose a new CHARGEWATCH_DATA_DIR"
    ):
        await bring_back(source.settings, source.address, taken)
    assert await everything(postgres, source.address) == before


async def test_a_newer_database_is_left_alone(postgres: DatabaseServer, taken: Path) -> None:
    address = await asyncio.to_thread(postgres.fresh)
    async with connected(address.owner) as owner:
        await owner.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatch, match="use the newer chargewatch"):
        await bring_back(postgres.settings(), address, taken)
    async with connected(address.owner) as owner:
        assert await schema_version(owner) == "9999"
        assert len(await list_tables(owner)) == len(TENANT_TABLES)


async def test_rows_without_a_tenant_are_seen_too(postgres: DatabaseServer, taken: Path) -> None:
    address = await asyncio.to_thread(postgres.fresh)
    async with connected(address.owner) as owner:
        await owner.execute("ALTER TABLE session_counts NO FORCE ROW LEVEL SECURITY")
        await owner.execute(
            "INSERT INTO session_counts (tenant_id, station_id, evse_id, connector_id, what, amount)"
            " VALUES (gen_random_uuid(), gen_random_uuid(), '', '', 'sessions', 1)"
        )
        await owner.execute("ALTER TABLE session_counts FORCE ROW LEVEL SECURITY")
    with pytest.raises(DatabaseError, match="the database is not empty"):
        await bring_back(postgres.settings(), address, taken)
    assert await app_violations(address) == []


@pytest.mark.parametrize("change", ["a table less", "another column", "another count"])
async def test_a_manifest_that_does_not_fit(postgres: DatabaseServer, taken: Path, change: str) -> None:
    with open_archive(taken) as archive:
        tables = list(archive.manifest.tables)
    changed: dict[str, Sequence[TableEntry]] = {
        "a table less": tables[:-1],
        "another column": [*tables[:-1], msgspec.structs.replace(tables[-1], columns=("x", "y"))],
        "another count": [*tables[:-1], msgspec.structs.replace(tables[-1], rows=1_000_000)],
    }
    address = await asyncio.to_thread(postgres.fresh)
    said = "another number of rows" if change == "another count" else "does not hold the tables of schema"
    with (
        with_manifest(taken, tables=tuple(changed[change])) as archive,
        pytest.raises(BackupError, match=said),
    ):
        await restore_backup(postgres.settings(), address, archive, lambda what, more: None)
    assert not any((await everything(postgres, address)).values())


# --- a restore that fails ----------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


async def test_a_failed_restore_leaves_an_empty_database_for_the_next(
    postgres: DatabaseServer, source: Filled, taken: Path
) -> None:
    settings, address = await owned_by(postgres, "CREATEROLE")

    def fail_late(what: str, more: int) -> None:
        if what == "writing reading_chunks":
            raise Interrupted

    with open_archive(taken) as archive, pytest.raises(Interrupted):
        await restore_backup(settings, address, archive, fail_late)
    assert not any((await everything(postgres, address)).values())
    async with postgres.as_administrator(address.roles.app.removesuffix("_app")) as administrator:
        unprotected = await administrator.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
            " AND relname <> 'alembic_version' AND NOT (relrowsecurity AND relforcerowsecurity)"
        )
        assert unprotected == []
    assert await bring_back(settings, address, taken) == NEWEST
    assert await everything(postgres, address) == await everything(postgres, source.address)


async def test_a_restore_whose_server_went_away_is_told(postgres: DatabaseServer, taken: Path) -> None:
    settings, address = await empty(postgres)
    name = address.roles.app.removesuffix("_app")

    async def end_copy() -> None:
        async with postgres.as_administrator() as administrator:
            ended = await administrator.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND query LIKE 'COPY%'",
                name,
            )
            assert len(ended) == 1

    def fail_late(what: str, more: int) -> None:
        if what == "writing reading_chunks":  # here and now, hence on another loop
            with ThreadPoolExecutor() as elsewhere:
                elsewhere.submit(asyncio.run, end_copy()).result()

    with (
        open_archive(taken) as archive,
        pytest.raises(DatabaseUnavailable, match=r"the restore did not finish: .*; run it again"),
    ):
        await restore_backup(settings, address, archive, fail_late)
    assert await bring_back(settings, address, taken) == NEWEST


async def test_a_restore_that_ends_before_the_migration_is_finished_by_it(
    postgres: DatabaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = known_versions()[0]
    await take(*await old_database(postgres, schema), tmp_path / "old")
    settings, address = await empty(postgres)

    async def go_away(*arguments: object, **options: object) -> None:
        raise DatabaseUnavailable("the connection to the database was lost")

    monkeypatch.setattr(restore, "prepare_database", go_away)
    said = r"all rows are back, but .* was lost; see to that and run chargewatch migrate"
    with pytest.raises(DatabaseError, match=said):
        await bring_back(settings, address, tmp_path / "old")
    with pytest.raises(DatabaseError, match="the database is not empty"):
        await bring_back(settings, address, tmp_path / "old")
    result = await prepare_database(settings, address, may_migrate=True)
    assert (result.before, result.after) == (schema, NEWEST)
    assert await counts(postgres, address, COUNTED) == await counts(postgres, address, RECOUNTED)
    assert (await everything(postgres, address))["sessions"].total() == 18
