"""From an empty database to a served one (O3): migrations, roles, and everything that must be refused."""

import asyncio
import re

import msgspec
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from chargewatch.server.db.access import prepare_database
from chargewatch.server.db.address import DatabaseAddress, quoted, role_names, server_address
from chargewatch.server.db.connection import Login, connected
from chargewatch.server.db.engine import Database
from chargewatch.server.db.errors import DatabaseError, DatabaseUnavailable, SchemaMismatch
from chargewatch.server.db.migrations import runner
from chargewatch.server.db.migrations.runner import (
    FOLDER,
    MigrationResult,
    known_versions,
    only_starter,
    schema_is_current,
    schema_version,
)
from chargewatch.server.db.secret_key import load_secret_key
from chargewatch.server.settings import Secret, Settings
from tests.integration.conftest import DatabaseServer

pytestmark = pytest.mark.anyio

NEWEST = known_versions()[-1]


async def empty(postgres: DatabaseServer) -> tuple[Settings, DatabaseAddress]:
    return await asyncio.to_thread(postgres.empty)


async def fresh(postgres: DatabaseServer) -> DatabaseAddress:
    return await asyncio.to_thread(postgres.fresh)


def test_the_versions_are_those_of_alembic() -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    revisions = list(ScriptDirectory.from_config(config).walk_revisions())
    assert [revision.revision for revision in reversed(revisions)] == list(known_versions())
    for revision in revisions:
        assert revision.path.rpartition("/")[2].startswith(f"v{revision.revision}_")


async def test_from_empty_and_then_nothing_to_do(postgres: DatabaseServer) -> None:
    settings, address = await empty(postgres)
    assert await prepare_database(settings, address, may_migrate=True) == MigrationResult(None, NEWEST)
    assert await prepare_database(settings, address, may_migrate=True) == MigrationResult(NEWEST, NEWEST)
    database = await Database.open(settings, address)
    assert await database.schema_is_current()
    await database.close()


async def test_concurrent_starters_migrate_once(postgres: DatabaseServer) -> None:
    settings, address = await empty(postgres)
    results = await asyncio.gather(*(prepare_database(settings, address, may_migrate=True) for _ in range(6)))
    assert sorted(result.before or "" for result in results) == ["", *[NEWEST] * 5]
    assert {result.after for result in results} == {NEWEST}


async def test_a_service_does_not_migrate_a_server(postgres: DatabaseServer) -> None:
    settings, address = await empty(postgres)
    with pytest.raises(SchemaMismatch, match=r"the database is empty, .*: run chargewatch migrate"):
        await prepare_database(settings, address, may_migrate=False)
    async with connected(address.owner) as owner:
        assert await schema_version(owner) is None
        assert not await schema_is_current(owner)


async def test_a_newer_schema_is_refused(postgres: DatabaseServer) -> None:
    address = await fresh(postgres)
    settings = postgres.settings()
    async with connected(address.owner) as owner:
        await owner.execute("UPDATE alembic_version SET version_num = '9999'")
    for may_migrate in (True, False):
        with pytest.raises(
            SchemaMismatch, match=f"at schema 9999, but this chargewatch knows up to {NEWEST}"
        ):
            await prepare_database(settings, address, may_migrate=may_migrate)
    with pytest.raises(SchemaMismatch, match="use the newer chargewatch"):
        await Database.open(settings, address)


async def test_a_failing_migration_leaves_nothing_behind(postgres: DatabaseServer) -> None:
    settings, address = await empty(postgres)
    async with connected(address.owner) as owner:
        await owner.execute("CREATE TABLE sessions (in_the_way integer)")
        with pytest.raises(DatabaseError, match=r'cannot migrate the database: relation "sessions" already'):
            await prepare_database(settings, address, may_migrate=True)
        assert await owner.fetchval("SELECT to_regclass('tenants')") is None
        assert await schema_version(owner) is None
        await owner.execute("DROP TABLE sessions")
    assert (await prepare_database(settings, address, may_migrate=True)).after == NEWEST


async def test_a_migration_waits_for_a_lock_briefly_and_tries_again(
    postgres: DatabaseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LOCK_TIMEOUT", "50ms")
    settings, address = await empty(postgres)
    async with connected(address.owner) as other:
        await other.execute("BEGIN; CREATE TABLE stations (in_the_way integer)")
        migration = asyncio.create_task(prepare_database(settings, address, may_migrate=True))
        await asyncio.sleep(0.2)
        assert not migration.done()
        await other.execute("ROLLBACK")
        assert (await migration).after == NEWEST


async def test_a_migration_gives_up_on_a_lock(
    postgres: DatabaseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LOCK_TIMEOUT", "10ms")
    monkeypatch.setattr(runner, "LOCK_ATTEMPTS", 2)
    settings, address = await empty(postgres)
    async with connected(address.owner) as other:
        await other.execute("BEGIN; CREATE TABLE stations (in_the_way integer)")
        with pytest.raises(DatabaseError, match="its tables are locked"):
            await prepare_database(settings, address, may_migrate=True)


async def test_a_starter_does_not_wait_for_ever(
    postgres: DatabaseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "WAIT_FOR_OTHERS_S", 0.1)
    _, address = await empty(postgres)
    async with only_starter(address):
        with pytest.raises(DatabaseError, match="migrating this database for too long"):
            async with only_starter(address):
                pass


async def test_migrations_have_timeouts(postgres: DatabaseServer) -> None:
    _, address = await empty(postgres)
    async with only_starter(address) as owner:
        assert await owner.fetchval("SHOW lock_timeout") == "2s"
        assert await owner.fetchval("SHOW statement_timeout") == "10min"


# --- roles on a server -----------------------------------------------------------------------------------


async def owned_by(postgres: DatabaseServer, rights: str) -> tuple[Settings, DatabaseAddress]:
    """An empty database of an ordinary user with these rights, as a managed server gives one."""
    settings, address = await empty(postgres)
    name = address.roles.app.removesuffix("_app")
    user = Login(address=Secret(postgres.url), user=f"{name}_user", password=Secret("pw"), database=name)
    async with postgres.as_administrator() as administrator:
        await administrator.execute(f"CREATE ROLE {name}_user LOGIN {rights} PASSWORD 'pw'")
        await administrator.execute(f"ALTER DATABASE {name} OWNER TO {name}_user")
    return settings, msgspec.structs.replace(address, owner=user)


async def test_an_ordinary_owner_that_may_create_roles(postgres: DatabaseServer) -> None:
    settings, address = await owned_by(postgres, "CREATEROLE")
    assert (await prepare_database(settings, address, may_migrate=True)).after == NEWEST
    await (await Database.open(settings, address)).close()


async def test_without_the_right_the_sql_for_the_administrator_is_told(postgres: DatabaseServer) -> None:
    settings, address = await owned_by(postgres, "")
    with pytest.raises(DatabaseError, match="an administrator must run: ") as refused:
        await prepare_database(settings, address, may_migrate=True)
    message = str(refused.value)
    assert "\n" not in message
    assert address.app.password is not None
    assert address.app.password.reveal() not in message
    async with postgres.as_administrator() as administrator:
        await administrator.execute(message.partition("must run: ")[2])
    assert (await prepare_database(settings, address, may_migrate=True)).after == NEWEST
    await (await Database.open(settings, address)).close()


async def test_another_secret_key_is_noticed(postgres: DatabaseServer) -> None:
    settings, address = await empty(postgres)
    await prepare_database(settings, address, may_migrate=True)
    name = address.roles.app.removesuffix("_app")
    other = postgres.settings(database_url=postgres.url_of(name), secret_key="x" * 32)
    elsewhere = server_address(other, load_secret_key(other))
    with pytest.raises(DatabaseError, match="set up with another CHARGEWATCH_SECRET_KEY") as refused:
        await Database.open(other, elsewhere)
    assert "x" * 32 not in str(refused.value)
    with pytest.raises(DatabaseError, match="set up with another CHARGEWATCH_SECRET_KEY"):
        await prepare_database(other, elsewhere, may_migrate=True)
    await prepare_database(other, elsewhere, may_migrate=True, reset_app_password=True)
    await (await Database.open(other, elsewhere)).close()


async def test_an_own_app_role_gets_its_grants(postgres: DatabaseServer) -> None:
    settings, address = await empty(postgres)
    await prepare_database(settings, address, may_migrate=True)
    name = address.roles.app.removesuffix("_app")
    async with postgres.as_administrator() as administrator:
        await administrator.execute(f"CREATE ROLE {name}_own LOGIN PASSWORD 'own'")
    app_url = re.sub("//[^/@]*@", f"//{name}_own:own@", postgres.url_of(name))
    own = postgres.settings(database_url=postgres.url_of(name), database_app_url=app_url)
    own_address = server_address(own, load_secret_key(own))
    assert own_address.roles.app == f"{name}_own"
    lacking = f"role {name}_own lacks rights on the database: run chargewatch migrate"
    with pytest.raises(DatabaseError, match=lacking):
        await Database.open(own, own_address)
    await prepare_database(own, own_address, may_migrate=True)
    await (await Database.open(own, own_address)).close()
    async with connected(own_address.owner) as owner:
        await owner.execute(f"REVOKE INSERT ON sessions FROM {name}_own")
    with pytest.raises(DatabaseError, match=lacking):
        await Database.open(own, own_address)


async def test_a_missing_own_app_role_is_told(postgres: DatabaseServer) -> None:
    _, address = await empty(postgres)
    name = address.roles.app.removesuffix("_app")
    app_url = re.sub("//[^/@]*@", "//nobody_here:own@", postgres.url_of(name))
    own = postgres.settings(database_url=postgres.url_of(name), database_app_url=app_url)
    with pytest.raises(
        DatabaseError, match="user nobody_here of CHARGEWATCH_DATABASE_APP_URL does not exist"
    ):
        await prepare_database(own, server_address(own, load_secret_key(own)), may_migrate=True)


async def test_wrong_addresses_are_told_in_one_line(postgres: DatabaseServer) -> None:
    settings = postgres.settings(database_url=postgres.url_of("no_such_database"))
    address = server_address(settings, load_secret_key(settings))
    with pytest.raises(DatabaseError, match='cannot open the database: database "no_such_database" does not'):
        await prepare_database(settings, address, may_migrate=True)
    settings = postgres.settings(database_url="postgresql://me:hidden@127.0.0.1:9/chargewatch")
    address = server_address(settings, load_secret_key(settings))
    with pytest.raises(DatabaseUnavailable, match="the database does not answer") as refused:
        await prepare_database(settings, address, may_migrate=True)
    with pytest.raises(DatabaseUnavailable, match="cannot connect"):
        await Database.open(settings, address)
    assert "hidden" not in str(refused.value)


async def test_passwords_reach_the_server_as_verifiers_only(postgres: DatabaseServer) -> None:
    settings, address = await empty(postgres)
    await prepare_database(settings, address, may_migrate=True)
    async with postgres.as_administrator() as administrator:
        stored = await administrator.fetchval(
            "SELECT rolpassword FROM pg_authid WHERE rolname = $1", address.roles.app
        )
    assert stored.startswith("SCRAM-SHA-256$4096:")


@pytest.mark.parametrize("database", ["x" * 63, "ü" * 31, "Ladesäulen & Co", 'quo"ted'])
async def test_any_database_name_has_its_roles(postgres: DatabaseServer, database: str) -> None:
    roles = role_names(database)
    assert len(roles.app.encode()) <= 63
    assert len(roles.directory.encode()) <= 63
    assert roles != role_names(database[:-1])
    async with postgres.as_administrator() as administrator:
        await administrator.execute(f"BEGIN; CREATE ROLE {quoted(roles.app)}")
        names = await administrator.fetch("SELECT rolname FROM pg_roles WHERE rolname = $1", roles.app)
        await administrator.execute("ROLLBACK")
    assert len(names) == 1
