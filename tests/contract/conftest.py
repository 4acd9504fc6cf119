"""The API in process, on real PostgreSQL, with a client for each of two tenants."""

from collections.abc import AsyncIterator

import httpx
import pytest

from chargewatch.client import NO_RETRY, AsyncClient
from chargewatch.server.app import create_app
from chargewatch.server.db.engine import Database
from chargewatch.server.settings import Settings
from chargewatch.server.tenants.service import NewKey
from chargewatch.server.wiring import wire
from tests.integration.conftest import (  # noqa: F401
    address,
    anyio_backend,
    cluster_folder,
    database,
    embedded_cluster,
    postgres,
    settings,
    two_tenants,
)

BASE = "http://chargewatch.test"


@pytest.fixture
async def transport(settings: Settings, database: Database) -> httpx.ASGITransport:  # noqa: F811
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
