"""Backups on real PostgreSQL: round trips between owners of every kind, under load, from older programs."""

import asyncio
import os
from collections import Counter
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from chargewatch.server.analysis.service import Analyser
from chargewatch.server.db.access import prepare_database
from chargewatch.server.db.address import DatabaseAddress
from chargewatch.server.db.backups.archive import (
    open_archive,
)
from chargewatch.server.db.backups.contents import drop_everything, list_tables
from chargewatch.server.db.backups.restore import restore_backup
from chargewatch.server.db.connection import connected
from chargewatch.server.db.engine import Database
from chargewatch.server.db.errors import SchemaMismatch
from chargewatch.server.db.migrations.runner import known_versions, schema_version
from chargewatch.server.db.tables import TENANT_TABLES
from chargewatch.server.sessions import chunks
from chargewatch.server.sessions.payloads import Whereabouts
from chargewatch.server.sessions.service import SessionService
from chargewatch.server.tenants.service import Authenticator
from tests.integration.backups import (
    COUNTED,
    RECOUNTED,
    SESSIONS,
    Filled,
    app_violations,
    bring_back,
    counts,
    everything,
    fill,
    old_database,
    ordinary_source,
    take,
    with_manifest,
)
from tests.integration.conftest import DatabaseServer
from tests.integration.test_migrations import empty, owned_by
from tests.integration.test_session_service import START, UNCHANGED, readings

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


# --- round trips -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", ["superuser", "ordinary"])
async def test_every_row_comes_back(
    postgres: DatabaseServer, source: Filled, taken: Path, owner: str
) -> None:
    settings, address = await (owned_by(postgres, "CREATEROLE") if owner == "ordinary" else empty(postgres))
    assert await bring_back(settings, address, taken) == NEWEST
    rows = await everything(postgres, address)
    assert rows == await everything(postgres, source.address)
    assert rows["sessions"].total() == 2 * (SESSIONS - 1)
    assert await counts(postgres, address, COUNTED) == await counts(postgres, address, RECOUNTED)
    assert await app_violations(address) == []


async def test_a_superusers_backup_is_the_same(
    postgres: DatabaseServer, source: Filled, tmp_path: Path
) -> None:
    """A superuser, whom no policy binds, takes every row once."""
    name = source.address.roles.app.removesuffix("_app")
    settings = postgres.settings(database_url=postgres.url_of(name))
    administrator = msgspec.structs.replace(
        source.address,
        owner=msgspec.structs.replace(source.address.owner, user=None, password=None, database=name),
    )
    manifests = [
        await take(settings, address, tmp_path / "again") for address in (administrator, source.address)
    ]
    assert manifests[0].tables == manifests[1].tables


async def test_the_service_goes_on_with_it(postgres: DatabaseServer, source: Filled, taken: Path) -> None:
    settings, address = await empty(postgres)
    await bring_back(settings, address, taken)
    async with connected(address.owner) as owner:
        known = await owner.fetch("SELECT DISTINCT tablename FROM pg_stats WHERE schemaname = 'public'")
    assert {"sessions", "reading_chunks", "session_counts"} <= {row[0] for row in known}, "analysed"
    database = await Database.open(settings, address)
    service = SessionService(database, Analyser(), idle_s=6 * 3600)
    for number, key in enumerate(source.keys):
        principal = await Authenticator(database).authenticate(key.api_key.reveal())
        assert principal is not None
        assert principal.tenant_id == key.tenant_id
        stored, kept = await service.get(key.tenant_id, "s-4")
        assert [r.text for r in kept] == ["0", str(5 + number), "10", "2", "13.25", "14"]
        assert stored.row.version == 2
        pushed = await service.append(
            key.tenant_id, "s-4", None, UNCHANGED, readings([15], START + timedelta(hours=15))
        )
        assert pushed.row.version == 3
        await service.upsert(
            key.tenant_id, "new", Whereabouts("CP-9", None, None), UNCHANGED, readings([1, 2, 3])
        )
    await database.close()
    assert await counts(postgres, address, COUNTED) == await counts(postgres, address, RECOUNTED)


async def test_backups_of_backups(postgres: DatabaseServer, taken: Path, tmp_path: Path) -> None:
    settings, address = await empty(postgres)
    await bring_back(settings, address, taken)
    again = await take(settings, address, tmp_path / "again")
    with open_archive(taken) as archive:
        first = archive.manifest
    assert again.rows() == first.rows()
    assert again.sequences == first.sequences
    assert [table.bytes for table in again.tables] == [table.bytes for table in first.tables]


async def test_a_database_without_tenants(postgres: DatabaseServer, tmp_path: Path) -> None:
    address = await asyncio.to_thread(postgres.fresh)
    manifest = await take(postgres.settings(), address, tmp_path / "none")
    assert set(manifest.rows().values()) == {0}
    settings, target = await empty(postgres)
    assert await bring_back(settings, target, tmp_path / "none") == NEWEST


# --- under load --------------------------------------------------------------------------------------------


async def test_a_backup_is_one_moment_of_a_busy_database(postgres: DatabaseServer, tmp_path: Path) -> None:
    settings, address = await empty(postgres)
    await prepare_database(settings, address, may_migrate=True)
    source = await fill(settings, address)
    database = await Database.open(settings, address)
    service = SessionService(database, Analyser(), idle_s=6 * 3600)
    pushed = Counter[UUID]()
    busy = asyncio.Event()

    async def push(tenant_id: UUID, client: int) -> None:
        for n in range(10_000):
            start = START + timedelta(hours=100 + client, seconds=10 * n)
            where = Whereabouts(f"CP-{n % 3}", None, "1")
            await service.append(tenant_id, f"busy-{client}", where, UNCHANGED, readings([n, n], start, 5))
            pushed[tenant_id] += 1
            if pushed.total() % 20 == 0:
                busy.set()

    pushers = [asyncio.create_task(push(key.tenant_id, n)) for key in source.keys for n in range(3)]
    paths = [tmp_path / str(n) for n in range(3)]
    for path in paths:
        busy.clear()
        await busy.wait()
        await take(settings, address, path)
    for pusher in pushers:
        pusher.cancel()
    await asyncio.gather(*pushers, return_exceptions=True)
    await database.close()
    assert set(pushed) == {key.tenant_id for key in source.keys}
    for path in paths:
        await _check_one_moment(postgres, path)


async def _check_one_moment(postgres: DatabaseServer, path: Path) -> None:
    settings, address = await empty(postgres)
    await bring_back(settings, address, path)
    async with postgres.as_administrator(address.roles.app.removesuffix("_app")) as administrator:
        sessions = await administrator.fetch("SELECT session_id, reading_count, version FROM sessions")
        stored = await administrator.fetch(
            "SELECT session_id, sequence, encoding, payload FROM reading_chunks"
        )
    decoded: Counter[UUID] = Counter()
    newest: dict[UUID, int] = {}
    for chunk in stored:
        decoded[chunk["session_id"]] += len(chunks.decode(chunk["encoding"], chunk["payload"]))
        newest[chunk["session_id"]] = max(newest.get(chunk["session_id"], 0), chunk["sequence"])
    assert len(sessions) >= 2 * (SESSIONS - 1) + 6
    for session in sessions:
        assert session["reading_count"] == decoded[session["session_id"]]
        assert session["version"] >= newest[session["session_id"]]
    assert await counts(postgres, address, COUNTED) == await counts(postgres, address, RECOUNTED)


async def test_a_backup_sees_a_table_before_or_after_a_migration(
    postgres: DatabaseServer, source: Filled, tmp_path: Path
) -> None:
    address = await asyncio.to_thread(postgres.fresh)
    async with connected(address.owner) as other:
        await other.execute("BEGIN; ALTER TABLE sessions ADD COLUMN new_one text")
        backup = asyncio.create_task(take(postgres.settings(), address, tmp_path / "late"))
        await asyncio.sleep(0.3)
        assert not backup.done(), "it waits for the migration"
        await other.execute("COMMIT")
    sessions = {table.name: table for table in (await backup).tables}["sessions"]
    assert "new_one" in sessions.columns


# --- from older and newer programs -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "target"),
    [
        *((schema, "ordinary and migrated") for schema in known_versions()[:-1]),
        (known_versions()[0], "empty"),
        (known_versions()[-2], "migrated"),
    ],
)
async def test_an_older_backup_comes_back_and_is_migrated(
    postgres: DatabaseServer, tmp_path: Path, schema: str, target: str
) -> None:
    old_settings, old = await old_database(postgres, schema)
    assert (await take(old_settings, old, tmp_path / "old")).schema == schema
    settings, address = await (owned_by(postgres, "CREATEROLE") if "ordinary" in target else empty(postgres))
    if "migrated" in target:
        await prepare_database(settings, address, may_migrate=True)
    assert await bring_back(settings, address, tmp_path / "old") == NEWEST
    async with connected(address.owner) as owner:
        assert await schema_version(owner) == NEWEST
    assert (await everything(postgres, address))["sessions"].total() == 18
    recounted = await counts(postgres, address, RECOUNTED)
    assert await counts(postgres, address, COUNTED) == recounted
    assert sum(row[-1] for row in recounted if row[-2] == "sessions") == 18


async def test_the_migrations_can_begin_anew(postgres: DatabaseServer) -> None:
    settings, address = await owned_by(postgres, "CREATEROLE")
    await prepare_database(settings, address, may_migrate=True)
    async with connected(address.owner) as owner:
        await drop_everything(owner, address.roles)
        left = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        assert await owner.fetch(left) == []
        left = "SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        assert await owner.fetch(left) == []
    assert (await prepare_database(settings, address, may_migrate=True)).before is None


async def test_a_newer_backup_is_refused(postgres: DatabaseServer, taken: Path) -> None:
    settings, address = await empty(postgres)
    with (
        with_manifest(taken, schema="9999", chargewatch="9.1.0") as archive,
        pytest.raises(
            SchemaMismatch,
            match=rf"at schema 9999, .* up to {NEWEST}: restore it with chargewatch 9\.1\.0 or newer",
        ),
    ):
        await restore_backup(settings, address, archive, lambda what, more: None)
    async with connected(address.owner) as owner:
        assert await schema_version(owner) is None


async def test_a_newer_database_is_not_backed_up(postgres: DatabaseServer, tmp_path: Path) -> None:
    address = await asyncio.to_thread(postgres.fresh)
    async with connected(address.owner) as owner:
        await owner.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatch, match="use the newer chargewatch"):
        await take(postgres.settings(), address, tmp_path / "new")
    assert not any(os.scandir(tmp_path))


# --- sequences and triggers --------------------------------------------------------------------------------


async def test_no_number_is_given_twice(postgres: DatabaseServer, source: Filled, taken: Path) -> None:
    settings, address = await empty(postgres)
    await bring_back(settings, address, taken)

    async def state(of: DatabaseAddress) -> tuple[int, bool]:
        async with postgres.as_administrator(of.roles.app.removesuffix("_app")) as administrator:
            row = await administrator.fetchrow("SELECT last_value, is_called FROM session_counts_entry_seq")
            assert row is not None
            return row[0], row[1]

    assert await state(address) == await state(source.address)
    async with postgres.as_administrator(address.roles.app.removesuffix("_app")) as administrator:
        newest = await administrator.fetchval("SELECT max(entry) FROM session_counts")
        following = await administrator.fetchval("SELECT nextval('session_counts_entry_seq')")
    assert following > newest


async def test_an_untouched_sequence_begins_at_its_start(postgres: DatabaseServer, tmp_path: Path) -> None:
    address = await asyncio.to_thread(postgres.fresh)
    await take(postgres.settings(), address, tmp_path / "none")
    settings, target = await empty(postgres)
    await bring_back(settings, target, tmp_path / "none")
    async with connected(target.owner) as owner:
        assert await owner.fetchval("SELECT nextval('session_counts_entry_seq')") == 1


async def test_triggers_rest_meanwhile_and_work_again_afterwards(
    postgres: DatabaseServer, source: Filled, taken: Path
) -> None:
    settings, address = await empty(postgres)
    await bring_back(settings, address, taken)
    async with connected(address.owner) as owner:
        disabled = await owner.fetch("SELECT tgname FROM pg_trigger WHERE tgenabled <> 'O'")
    assert disabled == []


# --- the catalogue -----------------------------------------------------------------------------------------


async def test_parents_come_before_children(postgres: DatabaseServer) -> None:
    address = await asyncio.to_thread(postgres.fresh)
    async with connected(address.owner) as owner:
        names = [table.name for table in await list_tables(owner)]
    assert sorted(names) == sorted(TENANT_TABLES)
    for parent, child in [("tenants", "stations"), ("stations", "sessions"), ("sessions", "reading_chunks")]:
        assert names.index(parent) < names.index(child)


async def test_generated_columns_and_partitions_are_not_copied_themselves(postgres: DatabaseServer) -> None:
    address = await asyncio.to_thread(postgres.fresh)
    async with connected(address.owner) as owner:
        await owner.execute(
            "CREATE TABLE parts (tenant_id uuid, n integer, twice integer GENERATED ALWAYS AS (2 * n) STORED)"
            " PARTITION BY LIST (n); CREATE TABLE part_one PARTITION OF parts FOR VALUES IN (1)"
        )
        tables = {table.name: table.columns for table in await list_tables(owner)}
    assert tables["parts"] == ("tenant_id", "n")
    assert "part_one" not in tables
