"""No row crosses from one tenant to another: the catalogue (S3, S5, S6), the one door (S4), limits (S13)."""

import asyncio
import contextlib
import os
import pwd
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from chargewatch.server.db.address import DatabaseAddress, quoted
from chargewatch.server.db.connection import Connection, connected
from chargewatch.server.db.engine import Database
from chargewatch.server.db.errors import DatabaseError, DatabaseUnavailable
from chargewatch.server.db.fitness import violations
from chargewatch.server.db.tables import TENANT_TABLES
from chargewatch.server.db.tenancy import roll_back, tenant_transaction
from chargewatch.server.settings import Secret, Settings
from chargewatch.server.tenants.service import NewKey
from tests.integration.conftest import DatabaseServer
from tests.patience import PATIENCE_S
from tests.postgres_processes import frozen

pytestmark = pytest.mark.anyio

READABLE = sorted(table for table, privileges in TENANT_TABLES.items() if "SELECT" in privileges)

#: Uniqueness over all tenants, on purpose: who a name or a key belongs to is what they are for.
GLOBALLY_UNIQUE = {"tenants_name_key", "api_keys_hash"}


@pytest.fixture
async def administrator(postgres: DatabaseServer, address: DatabaseAddress) -> AsyncIterator[Connection]:
    async with postgres.as_administrator(address.app.database) as connection:
        yield connection


async def add_station(connection: Connection, tenant_id: UUID, external_id: str) -> UUID:
    station_id: UUID = await connection.fetchval(
        "INSERT INTO stations (tenant_id, external_id) VALUES ($1, $2) RETURNING station_id",
        tenant_id,
        external_id,
    )
    return station_id


# --- the catalogue ---------------------------------------------------------------------------------------


async def test_app_role_is_confined(address: DatabaseAddress) -> None:
    async with connected(address.app) as app:
        assert await violations(app) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("ALTER ROLE {app} BYPASSRLS", "superuser or a role with BYPASSRLS"),
        ("ALTER ROLE {app} SUPERUSER", "superuser or a role with BYPASSRLS"),
        ("CREATE ROLE loophole BYPASSRLS; GRANT loophole TO {app}", "superuser or a role with BYPASSRLS"),
        ("ALTER ROLE {app} CREATEROLE", "may make roles"),
        ("GRANT CREATE ON SCHEMA public TO {app}", "may create objects in schema public"),
        ("GRANT CREATE ON DATABASE {database} TO {app}", "may create schemas"),
        ("ALTER TABLE stations OWNER TO {app}", "owns stations"),
        ("GRANT {directory} TO {app}", "owns function find_api_key"),
        ("GRANT TRUNCATE ON sessions TO {app}", "may truncate sessions"),
        ("CREATE TABLE loose (tenant_id uuid)", "table loose is without forced row-level security"),
        ("ALTER TABLE stations NO FORCE ROW LEVEL SECURITY", "stations is without forced"),
        ("ALTER TABLE stations DISABLE ROW LEVEL SECURITY", "stations is without forced"),
        ("DROP POLICY tenant_isolation ON stations", "stations is not held by exactly the tenant policy"),
        ("CREATE POLICY hole ON stations USING (true)", "stations is not held by exactly the tenant policy"),
        ("ALTER POLICY tenant_isolation ON stations WITH CHECK (true)", "stations is not held by exactly"),
        ("CREATE VIEW seen AS SELECT * FROM stations", "view seen is not security_invoker"),
        (
            "CREATE MATERIALIZED VIEW kept AS SELECT 1; GRANT SELECT ON kept TO {app}",
            "materialized view kept can be read",
        ),
        ("SET LOCAL synchronous_commit = off", "synchronous_commit is off"),
    ],
)
async def test_each_breach_is_found(
    administrator: Connection, address: DatabaseAddress, change: str, found: str
) -> None:
    app, directory = quoted(address.roles.app), quoted(address.roles.directory)
    await administrator.execute("BEGIN")
    try:
        await administrator.execute(
            change.format(app=app, directory=directory, database=address.app.database)
        )
        await administrator.execute(f"SET LOCAL ROLE {app}")
        assert any(found in violation for violation in await violations(administrator))
    finally:
        await administrator.execute("ROLLBACK")


async def test_service_refuses_to_start_on_a_breach(
    postgres: DatabaseServer, settings: Settings, address: DatabaseAddress
) -> None:
    async with postgres.as_administrator(address.app.database) as administrator:
        await administrator.execute("CREATE TABLE loose (tenant_id uuid)")
        with pytest.raises(DatabaseError, match="not fit for service: table loose is without forced"):
            await Database.open(settings, address)
        await administrator.execute("DROP TABLE loose")


async def test_the_table_of_tables_is_complete(administrator: Connection, address: DatabaseAddress) -> None:
    rows = await administrator.fetch(
        """SELECT relname, array_agg(privilege_type::text) FILTER (WHERE grantee = $1::regrole) AS granted
             FROM pg_class LEFT JOIN LATERAL aclexplode(relacl) ON true
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
            GROUP BY relname""",
        quoted(address.roles.app),
    )
    granted = {row["relname"]: sorted(row["granted"] or []) for row in rows}
    assert granted.pop("alembic_version") == ["SELECT"]
    assert granted == {table: sorted(privileges) for table, privileges in TENANT_TABLES.items()}


async def test_keys_and_foreign_keys_begin_with_the_tenant(administrator: Connection) -> None:
    rows = await administrator.fetch(
        """SELECT c.relname AS name, a.attname AS first
             FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
            WHERE c.relnamespace = 'public'::regnamespace AND i.indisunique
           UNION ALL
           SELECT k.conname, a.attname FROM pg_constraint k
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
            WHERE k.connamespace = 'public'::regnamespace AND k.contype = 'f'"""
    )
    others = {row["name"] for row in rows if row["first"] != "tenant_id"}
    assert len(rows) > 8
    assert others == GLOBALLY_UNIQUE | {"alembic_version_pkc"}


async def test_no_views_bypass_the_policies(administrator: Connection) -> None:
    views = await administrator.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm')"
    )
    assert views == []


async def test_functions_with_the_owners_rights_are_closed(
    administrator: Connection, address: DatabaseAddress
) -> None:
    functions = await administrator.fetch(
        """SELECT proname, proconfig, pg_get_userbyid(proowner) AS owner, rolcanlogin, rolsuper, rolbypassrls,
                  array(SELECT DISTINCT coalesce(nullif(grantee, 0)::regrole::text, 'PUBLIC')
                          FROM aclexplode(proacl) WHERE grantee <> proowner) AS grantees
             FROM pg_proc JOIN pg_roles r ON r.oid = proowner
            WHERE pronamespace = 'public'::regnamespace AND prosecdef ORDER BY proname"""
    )
    assert [row["proname"] for row in functions] == [
        "all_tenants", "claim_job", "find_api_key", "next_job_s", "touch_api_key",
    ]  # fmt: skip
    for row in functions:
        assert row["owner"] == address.roles.directory
        assert (row["rolcanlogin"], row["rolsuper"], row["rolbypassrls"]) == (False, False, False)
        assert row["proconfig"] == ["search_path=pg_catalog, pg_temp"]
        assert row["grantees"] == [address.roles.app]


# --- the one door ----------------------------------------------------------------------------------------


async def test_without_a_tenant_there_are_no_rows(
    database: Database, two_tenants: tuple[NewKey, NewKey]
) -> None:
    tenant_id = two_tenants[0].tenant_id
    async with database.tenant_transaction(tenant_id) as connection:
        await add_station(connection, tenant_id, f"seen-{uuid4()}")
    for table in READABLE:
        rows = await database.fetch_without_tenant(f"SELECT count(*) FROM {table}")
        assert rows[0][0] == 0, table


async def test_keys_cannot_be_read_at_all(database: Database, two_tenants: tuple[NewKey, NewKey]) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with database.tenant_transaction(two_tenants[0].tenant_id) as connection:
            await connection.fetch("SELECT * FROM api_keys")


async def test_a_tenant_sees_its_own_rows_only(
    database: Database, two_tenants: tuple[NewKey, NewKey]
) -> None:
    north, south = (key.tenant_id for key in two_tenants)
    for tenant_id in (north, south):
        async with database.tenant_transaction(tenant_id) as connection:
            await add_station(connection, tenant_id, "CP-1")  # the same external id in both
    for tenant_id in (north, south):
        async with database.tenant_transaction(tenant_id) as connection:
            seen = await connection.fetch(
                "SELECT tenant_id FROM stations UNION SELECT tenant_id FROM tenants"
            )
            assert [row[0] for row in seen] == [tenant_id]


async def test_nothing_is_written_into_another_tenant(
    database: Database, two_tenants: tuple[NewKey, NewKey]
) -> None:
    north, south = (key.tenant_id for key in two_tenants)
    async with database.tenant_transaction(south) as connection:
        theirs = await add_station(connection, south, "untouched")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        async with database.tenant_transaction(north) as connection:
            await add_station(connection, south, "smuggled")
    async with database.tenant_transaction(north) as connection:
        await add_station(connection, north, "moving")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        async with database.tenant_transaction(north) as connection:
            await connection.execute("UPDATE stations SET tenant_id = $1 WHERE external_id = 'moving'", south)
    async with database.tenant_transaction(north) as connection:
        changed = await connection.execute("UPDATE stations SET country = 'XX' WHERE station_id = $1", theirs)
        assert changed == "UPDATE 0"


async def test_a_foreign_key_cannot_point_into_another_tenant(
    database: Database, two_tenants: tuple[NewKey, NewKey]
) -> None:
    north, south = (key.tenant_id for key in two_tenants)
    async with database.tenant_transaction(south) as connection:
        theirs = await add_station(connection, south, "pointed-at")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        async with database.tenant_transaction(north) as connection:
            await connection.execute(
                "INSERT INTO sessions (tenant_id, external_id, station_id, begins_at) VALUES ($1, 's', $2, now())",
                north,
                theirs,
            )


async def test_the_tenant_must_be_a_uuid(database: Database) -> None:
    with pytest.raises(TypeError, match="by its UUID, not by str"):
        async with database.tenant_transaction("x', true); DROP TABLE tenants; --"):  # type: ignore[arg-type]
            pass


async def test_a_transaction_costs_two_round_trips(
    address: DatabaseAddress, two_tenants: tuple[NewKey, NewKey]
) -> None:
    sent: list[str] = []
    raw = await asyncpg.connect(**address.app.arguments())
    try:
        with raw.query_logger(lambda record: sent.append(record.query)):
            async with tenant_transaction(raw, two_tenants[0].tenant_id):
                pass
    finally:
        await raw.close()
    assert len(sent) == 2
    assert sent[0].startswith("BEGIN;")
    assert "SELECT set_config('app.tenant'" in sent[0]
    assert sent[1] == "COMMIT"


async def test_jsonb_comes_and_goes_as_text(database: Database, two_tenants: tuple[NewKey, NewKey]) -> None:
    tenant_id = two_tenants[0].tenant_id
    async with database.tenant_transaction(tenant_id) as connection:
        station_id = await add_station(connection, tenant_id, f"json-{uuid4()}")
        await connection.execute(
            "UPDATE stations SET metadata = $2 WHERE station_id = $1", station_id, '{"a": [1, "x"]}'
        )
        stored = await connection.fetchval("SELECT metadata FROM stations WHERE station_id = $1", station_id)
    assert stored == '{"a": [1, "x"]}'


# --- errors, cancellations, timeouts ----------------------------------------------------------------------


async def test_a_swallowed_error_does_not_pass_for_a_commit(
    database: Database, two_tenants: tuple[NewKey, NewKey]
) -> None:
    tenant_id = two_tenants[0].tenant_id

    async def careless() -> None:
        async with database.tenant_transaction(tenant_id) as connection:
            await add_station(connection, tenant_id, "lost")
            with contextlib.suppress(asyncpg.DivisionByZeroError):
                await connection.execute("SELECT 1/0")

    with pytest.raises(DatabaseError, match="was rolled back"):
        await careless()
    async with database.tenant_transaction(tenant_id) as connection:
        assert not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM stations WHERE external_id = 'lost')"
        )


async def test_a_lost_connection_is_an_outage_and_is_replaced(
    postgres: DatabaseServer, address: DatabaseAddress, two_tenants: tuple[NewKey, NewKey]
) -> None:
    tenant_id = two_tenants[0].tenant_id
    database = await Database.open(postgres.settings(pool_size=1), address)

    async def cut_off() -> None:
        async with database.tenant_transaction(tenant_id) as connection:
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            async with postgres.as_administrator() as administrator:
                await administrator.execute(f"SELECT pg_terminate_backend({pid}, 1000)")
            await connection.execute("SELECT 1")

    try:
        with pytest.raises(DatabaseUnavailable):
            await cut_off()
        assert await database.schema_is_current()
    finally:
        await database.close()


@pytest.mark.parametrize("postgres", ["embedded"], indirect=True)  # its processes can be stopped from here
async def test_a_server_that_hangs_is_an_outage(
    postgres: DatabaseServer, address: DatabaseAddress, two_tenants: tuple[NewKey, NewKey]
) -> None:
    settings = postgres.settings(pool_size=1, pool_timeout_s=0.1, statement_timeout_s=1.0)
    database = await Database.open(settings, address)
    (row,) = await database.fetch_without_tenant("SELECT pg_backend_pid()")
    with frozen(row[0]):
        first = asyncio.create_task(database.schema_is_current())
        await asyncio.sleep(0)
        with pytest.raises(DatabaseUnavailable, match="no database connection is free"):
            async with database.tenant_transaction(two_tenants[0].tenant_id):
                pass
        with pytest.raises(DatabaseUnavailable, match="the database takes too long"):
            await first
    assert await database.schema_is_current()
    await database.close()


class DeafConnection:
    """In a transaction, and never answers."""

    terminated = False

    async def execute(self, query: str) -> str:
        await asyncio.sleep(60)
        return query

    def is_in_transaction(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self.terminated

    def terminate(self) -> None:
        self.terminated = True


async def test_a_transaction_that_cannot_be_rolled_back_takes_its_connection_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cancelled, timed_out = DeafConnection(), DeafConnection()
    task = asyncio.create_task(roll_back(cast("Connection", cancelled)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.terminated
    monkeypatch.setattr("chargewatch.server.db.tenancy.ROLLBACK_TIMEOUT_S", 0.01)
    await roll_back(cast("Connection", timed_out))
    assert timed_out.terminated


async def test_waiting_for_a_connection_ends(
    postgres: DatabaseServer, address: DatabaseAddress, two_tenants: tuple[NewKey, NewKey]
) -> None:
    database = await Database.open(postgres.settings(pool_size=1, pool_timeout_s=0.05), address)
    try:
        async with database.tenant_transaction(two_tenants[0].tenant_id):
            with pytest.raises(DatabaseUnavailable, match="no database connection is free"):
                await database.schema_is_current()
    finally:
        await database.close()


MISHAPS = ("none", "none", "none", "error", "failed statement", "cancel", "timeout", "cancel early")


class Mishap(Exception):
    """What a caller may raise inside a transaction."""


async def _visit(database: Database, tenant_id: UUID, mishap: str, chance: random.Random) -> bool:
    """One transaction that looks for its canary and leaves a mark; whether it was acknowledged."""
    async with asyncio.timeout(chance.uniform(0.001, 0.01) if mishap == "timeout" else PATIENCE_S):
        async with database.tenant_transaction(tenant_id) as connection:
            rows = await connection.fetch("SELECT tenant_id, external_id FROM stations ORDER BY external_id")
            assert [(row[0], row[1]) for row in rows] == [(tenant_id, f"canary {tenant_id}")]
            await add_station(connection, tenant_id, f"mark {tenant_id}")
            if mishap == "error":
                raise Mishap
            if mishap == "failed statement":
                await connection.execute("SELECT 1/0")
            if mishap in ("cancel", "timeout"):
                await connection.execute("SELECT pg_sleep(5)")
    return True


async def _visit_with_mishap(database: Database, tenant_id: UUID, chance: random.Random) -> bool | None:
    """Whether the visit was acknowledged; None when its outcome is not known."""
    mishap = chance.choice(MISHAPS)
    task = asyncio.create_task(_visit(database, tenant_id, mishap, chance))
    if mishap.startswith("cancel"):
        await asyncio.sleep(chance.uniform(0, 0.004 if mishap == "cancel early" else 0.02))
        task.cancel()
    try:
        return await task
    except (Mishap, asyncpg.DivisionByZeroError, TimeoutError, DatabaseUnavailable):
        return False
    except asyncio.CancelledError:
        return None


async def send_visitors(
    database: Database, administrator: Connection, tenant_count: int, chance: random.Random
) -> None:
    """Visits that many tenants, eight at once, with mishaps, and checks who saw and left what."""
    made = await administrator.fetch(
        f"""WITH made AS (INSERT INTO tenants (name) SELECT 't' || g FROM generate_series(1, {tenant_count}) g
                          RETURNING tenant_id)
            INSERT INTO stations (tenant_id, external_id)
            SELECT tenant_id, 'canary ' || tenant_id FROM made RETURNING tenant_id"""
    )
    lanes = asyncio.Semaphore(8)

    async def visit(tenant_id: UUID) -> bool | None:
        async with lanes:
            outcome = await _visit_with_mishap(database, tenant_id, chance)
            assert (await database.fetch_without_tenant("SELECT FROM stations")) == []
            return outcome

    tenants = [row[0] for row in made]
    outcomes = dict(zip(tenants, await asyncio.gather(*map(visit, tenants)), strict=True))
    rows = await administrator.fetch("SELECT tenant_id, external_id FROM stations")
    assert all(row[1].split()[1] == str(row[0]) for row in rows)
    marked = {row[0] for row in rows if row[1].startswith("mark")}
    for tenant_id, outcome in outcomes.items():
        assert outcome is None or outcome == (tenant_id in marked)
    assert sum(outcome is True for outcome in outcomes.values()) > tenant_count / 5


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_canary_never_crosses_on_a_pool_of_one(
    postgres: DatabaseServer, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    address = await asyncio.to_thread(postgres.fresh)
    database = await Database.open(postgres.settings(pool_size=1, pool_timeout_s=30), address)
    try:
        async with postgres.as_administrator(address.app.database) as administrator:
            await send_visitors(database, administrator, 1_000, random.Random(seed))
    finally:
        await database.close()
    assert not caplog.records, "asyncpg found a transaction left open"


# --- behind a pooler --------------------------------------------------------------------------------------

POOLER = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
logfile = {folder}/log
pool_mode = transaction
default_pool_size = {connections}
"""


def _account(host: str) -> tuple[int, int]:
    """An account that reaches the server: the owner of its socket, else nobody in particular."""
    if host.startswith("/"):
        owner = Path(host).stat()
        return owner.st_uid, owner.st_gid
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


@pytest.fixture
def pooler(
    postgres: DatabaseServer, address: DatabaseAddress, request: pytest.FixtureRequest
) -> Iterator[Path]:
    """pgbouncer in transaction mode, with so many connections to the server for all; its socket's folder."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    parts = urlsplit(postgres.url)
    query = dict(parse_qsl(parts.query))
    host, port = query.get("host") or parts.hostname or "", query.get("port") or parts.port or 5432
    folder = Path(tempfile.mkdtemp(prefix="cw-"))
    assert address.app.password is not None
    (folder / "users").write_text(f'"{address.app.user}" "{address.app.password.reveal()}"\n')
    (folder / "ini").write_text(POOLER.format(host=host, port=port, folder=folder, connections=request.param))
    # pgbouncer will not run as root, and must reach the server's socket
    user, group = _account(host) if os.geteuid() == 0 else (None, None)
    if user is not None and group is not None:
        for path in (folder, folder / "users", folder / "ini"):
            os.chown(path, user, group)
    process = subprocess.Popen([program, "--quiet", folder / "ini"], cwd="/", user=user, group=group)
    try:
        while not (folder / ".s.PGSQL.6432").exists():
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.01)
        yield folder
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "postgres", ["server"], indirect=True
)  # nobody puts one before the embedded database
@pytest.mark.parametrize("pooler", [1, 3], indirect=True, ids=["1 connection", "3 connections"])
async def test_a_canary_never_crosses_behind_a_pooler(
    postgres: DatabaseServer, address: DatabaseAddress, pooler: Path
) -> None:
    address = await asyncio.to_thread(postgres.fresh)
    settings = msgspec.structs.replace(
        postgres.settings(pool_size=4, pool_timeout_s=30, statement_timeout_s=8), database_pooler=True
    )
    through = msgspec.structs.replace(address.app, address=Secret(f"postgresql:///?host={pooler}&port=6432"))
    database = await Database.open(settings, msgspec.structs.replace(address, app=through))
    try:
        async with postgres.as_administrator(address.app.database) as administrator:
            await send_visitors(database, administrator, 300, random.Random(1))
        async with database.tenant_transaction(uuid4()) as connection:
            assert await connection.fetchval("SHOW statement_timeout") == "8s"
            assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "10s"
    finally:
        await database.close()
