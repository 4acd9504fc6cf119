"""The API in process, on real PostgreSQL, with a client for each of two tenants."""

from collections.abc import AsyncIterator

import httpx
import pytest

from chargewatch.client import NO_RETRY, AsyncClient
from chargewatch.server.app import create_app
from chargewatch.server.db.address import DatabaseAddress
from chargewatch.server.db.engine import Database
from chargewatch.server.settings import Settings
from chargewatch.server.tenants.service import NewKey
from chargewatch.server.wiring import wire
from tests.integration.conftest import (  # noqa: F401
    DatabaseServer,
    address,
    anyio_backend,
    cluster_folder,
    embedded_cluster,
    embedded_server,
    postgres,
    server_by_url,
    two_tenants,
)

BASE = "http://chargewatch.test"


@pytest.fixture(scope="module")
def settings(postgres: DatabaseServer) -> Settings:  # noqa: F811
    """As in service, but patient: the largest sessions take a slow machine longer than a transaction may rest."""
    return postgres.settings(
        pool_timeout_s=30.0, statement_timeout_s=300.0, idle_in_transaction_timeout_s=300.0
    )


@pytest.fixture(scope="module")
async def database(settings: Settings, address: DatabaseAddress) -> AsyncIterator[Database]:  # noqa: F811
    """The module's database, open as the service has it, for all of its tests."""
    database = await Database.open(settings, address)
    yield database
    await database.close()


@pytest.fixture(scope="module")
async def transport(settings: Settings, database: Database) -> httpx.ASGITransport:
    """The module's application: making one takes longer than a call."""
    return httpx.ASGITransport(create_app(wire(settings, database)))


def client_of(transport: httpx.ASGITransport, key: str | None) -> httpx.AsyncClient:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers)


@pytest.fixture
async def api(
    transport: httpx.ASGITransport,
    two_tenants: tuple[NewKey, NewKey],  # noqa: F811
) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the first tenant's key."""
    async with client_of(transport, two_tenants[0].api_key.reveal()) as client:
        yield client


@pytest.fixture
async def other_api(
    transport: httpx.ASGITransport,
    two_tenants: tuple[NewKey, NewKey],  # noqa: F811
) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the second tenant's key."""
    async with client_of(transport, two_tenants[1].api_key.reveal()) as client:
        yield client


def python_client(transport: httpx.ASGITransport, key: str) -> AsyncClient:
    """The Python client, which sends every call once: a test shall see what goes wrong."""
    return AsyncClient(BASE, key, transport=transport, retry=NO_RETRY)


@pytest.fixture
async def client(
    transport: httpx.ASGITransport,
    two_tenants: tuple[NewKey, NewKey],  # noqa: F811
) -> AsyncIterator[AsyncClient]:
    """The Python client with the first tenant's key."""
    async with python_client(transport, two_tenants[0].api_key.reveal()) as client:
        yield client


@pytest.fixture
async def other_client(
    transport: httpx.ASGITransport,
    two_tenants: tuple[NewKey, NewKey],  # noqa: F811
) -> AsyncIterator[AsyncClient]:
    """The Python client with the second tenant's key."""
    async with python_client(transport, two_tenants[1].api_key.reveal()) as client:
        yield client


@pytest.fixture
async def anonymous(transport: httpx.ASGITransport) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key."""
    async with client_of(transport, None) as client:
        yield client
