"""Real PostgreSQL for the integration tests: the embedded one, and a server by URL where there is one.

Every worker of pytest-xdist has an embedded cluster of its own. A test module gets a fresh database, cloned
from a migrated one in a few hundredths of a second. ``CHARGEWATCH_TEST_DATABASE_URL`` names a server (15 or
newer, a user that may create databases and roles) on which the same tests run once more.
"""

import asyncio
import itertools
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec
import pytest

from chargewatch.server.db.access import prepare_database
from chargewatch.server.db.address import DatabaseAddress, embedded_address, quoted, server_address
from chargewatch.server.db.connection import Connection, Login, connected
from chargewatch.server.db.embedded import EmbeddedPostgres
from chargewatch.server.db.engine import Database
from chargewatch.server.db.secret_key import load_secret_key
from chargewatch.server.settings import Secret, Settings, load_settings
from chargewatch.server.tenants.service import NewKey, TenantService

SERVER_URL = "CHARGEWATCH_TEST_DATABASE_URL"
ROOMY_BYTES = 4 * 2**30


class DatabaseServer:
    """A PostgreSQL server with a migrated database to clone."""

    def __init__(self, url: str, data_dir: Path, address: DatabaseAddress | None) -> None:
        """``address`` is that of the embedded database; a server gets a template of its own."""
        self.url = url
        self.embedded = address is not None
        self._data_dir = data_dir
        self._names = (f"cw_test_{secrets.token_hex(4)}_{number}" for number in itertools.count())
        self._made: list[str] = []
        if address is None:
            settings, self._template = self.empty()
        else:
            settings, self._template = self.settings(), address
        asyncio.run(prepare_database(settings, self._template, may_migrate=True))
        self._template_name = address.owner.database if address else self._made[0]

    def settings(self, **flags: str | int | float) -> Settings:
        """Settings that see nothing of this machine's environment."""
        return load_settings({"data_dir": self._data_dir, **flags}, environ={}, dotenv=None)

    def as_administrator(self, database: str | None = None) -> AbstractAsyncContextManager[Connection]:
        """A connection of the user that may do everything."""
        return connected(Login(address=Secret(self.url), database=database))

    def url_of(self, database: str) -> str:
        """The administrator's URL of a database."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{database}"))

    def empty(self) -> tuple[Settings, DatabaseAddress]:
        """An empty database, as ``CHARGEWATCH_DATABASE_URL`` would name it."""
        name = self._create()
        settings = self.settings(database_url=self.url_of(name))
        return settings, server_address(settings, load_secret_key(settings))

    def fresh(self) -> DatabaseAddress:
        """A migrated database without any rows."""
        name = self._create(f" TEMPLATE {self._template_name}")
        return msgspec.structs.replace(
            self._template,
            owner=msgspec.structs.replace(self._template.owner, database=name),
            app=msgspec.structs.replace(self._template.app, database=name),
        )

    def close(self) -> None:
        """Takes away what was made here; an embedded cluster goes as a whole."""
        if not self.embedded:
            asyncio.run(self._drop_everything())

    def _create(self, template: str = "") -> str:
        name = next(self._names)
        owner = self._template.owner.user if template and self.embedded else None
        ownership = f" OWNER {owner}" if owner else ""
        asyncio.run(self._execute(f"CREATE DATABASE {name}{ownership}{template}"))
        self._made.append(name)
        return name

    async def _execute(self, statement: str) -> None:
        async with self.as_administrator() as connection:
            await connection.execute(statement)

    async def _drop_everything(self) -> None:
        async with self.as_administrator() as connection:
            for name in self._made:
                await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            roles = await connection.fetch(
                "SELECT rolname FROM pg_roles WHERE rolname LIKE ANY ($1)",
                [name.replace("_", r"\_") + "%" for name in self._made],
            )
            for role in roles:
                await connection.execute(f"DROP ROLE {quoted(role['rolname'])}")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def cluster_folder() -> Iterator[Path]:
    """A folder with a short name (a socket's path must fit into 107 bytes), in memory where there is plenty:
    every commit waits for an fsync, and a busy disk would make the tests crawl."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOMY_BYTES
    folder = Path(tempfile.mkdtemp(prefix="cw-", dir=memory if roomy else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def embedded_cluster(cluster_folder: Path) -> Iterator[EmbeddedPostgres]:
    postgres = EmbeddedPostgres(cluster_folder / "postgres")
    postgres.start()
    yield postgres
    postgres.stop()


@pytest.fixture(scope="session")
def embedded_server(embedded_cluster: EmbeddedPostgres, cluster_folder: Path) -> Iterator[DatabaseServer]:
    superuser = embedded_cluster.dsn()
    settings = load_settings({"data_dir": cluster_folder}, environ={}, dotenv=None)
    server = DatabaseServer(superuser, cluster_folder, embedded_address(superuser, load_secret_key(settings)))
    yield server
    server.close()


@pytest.fixture(scope="session")
def server_by_url(cluster_folder: Path) -> Iterator[DatabaseServer]:
    url = os.environ.get(SERVER_URL)
    if not url:
        pytest.skip(f"no PostgreSQL server: {SERVER_URL} is not set")
    server = DatabaseServer(url, cluster_folder, None)
    yield server
    server.close()


@pytest.fixture(scope="session", params=["embedded", "server"])
def postgres(request: pytest.FixtureRequest) -> DatabaseServer:
    """The database server; every test that uses it runs on each kind. Going from one to the other costs nothing."""
    name = {"embedded": "embedded_server", "server": "server_by_url"}[request.param]
    server: DatabaseServer = request.getfixturevalue(name)
    return server


@pytest.fixture(scope="module")
def address(postgres: DatabaseServer) -> DatabaseAddress:
    """A fresh database for the tests of a module."""
    return postgres.fresh()


@pytest.fixture(scope="module")
def settings(postgres: DatabaseServer) -> Settings:
    """As in service, but patient: a busy machine must not look like a fault."""
    return postgres.settings(pool_timeout_s=30.0)


@pytest.fixture
async def database(settings: Settings, address: DatabaseAddress) -> AsyncIterator[Database]:
    """The module's database, open as the service has it."""
    database = await Database.open(settings, address)
    yield database
    await database.close()


@pytest.fixture(scope="module")
def two_tenants(address: DatabaseAddress) -> tuple[NewKey, NewKey]:
    """Two tenants, each with a key."""
    return asyncio.run(_make_tenants(address))


async def _make_tenants(address: DatabaseAddress) -> tuple[NewKey, NewKey]:
    async with connected(address.owner) as owner:
        service = TenantService(owner, address.roles)
        return await service.create_tenant("north"), await service.create_tenant("south")
