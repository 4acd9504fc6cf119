"""The first tenant of an empty database, for installations that bring their API key along."""

from typing import Final

from chargewatch.server.db.address import RoleNames
from chargewatch.server.db.connection import Connection
from chargewatch.server.settings import Settings
from chargewatch.server.tenants.service import TenantService

FIRST_TENANT: Final = "default"


async def bootstrap(settings: Settings, owner: Connection, roles: RoleNames) -> bool:
    """Creates tenant ``default`` with the configured key when there is no tenant yet; whether it did."""
    if settings.bootstrap_api_key is None:
        return False
    service = TenantService(owner, roles)
    if await service.has_tenants():
        return False
    await service.create_tenant(FIRST_TENANT, api_key=settings.bootstrap_api_key)
    return True
