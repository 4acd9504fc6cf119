"""``chargewatch verify``: checks every summary against what it is made from."""

import asyncio
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import msgspec
import typer

from chargewatch.cli.administration import AsJson, DataDir, reports_errors, settings_from

if TYPE_CHECKING:
    from chargewatch.server.db.address import DatabaseAddress
    from chargewatch.server.settings import Settings
    from chargewatch.server.verification.service import Verification

MOST_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Adds the command to the program's."""
    app.command()(verify)


@reports_errors
def verify(
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="A tenant's name or id; all of them by default.")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Checks every count, version and verdict against the stored sessions and readings; changes nothing."""
    from chargewatch.server.db.access import database_for_command

    settings = settings_from(data_dir)
    with database_for_command(settings) as address:
        found = asyncio.run(verify_database(settings, address, tenant))
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        print_differences(found)
    if found.differences:
        raise typer.Exit(1)


async def verify_database(
    settings: "Settings", address: "DatabaseAddress", tenant: str | None = None
) -> "Verification":
    """Checks one tenant's rows, or everybody's."""
    from chargewatch.server.db.connection import connected
    from chargewatch.server.db.engine import Database
    from chargewatch.server.housekeeping.repository import all_tenants
    from chargewatch.server.tenants.service import TenantService
    from chargewatch.server.verification.service import verify

    database = await Database.open(settings, address)
    try:
        tenants: list[UUID] = await all_tenants(database)
        if tenant is not None:
            async with connected(address.owner) as owner:
                tenants = [await TenantService(owner, address.roles).find_tenant(tenant)]
        return await verify(database, tenants)
    finally:
        await database.close()


def print_differences(found: "Verification") -> None:
    """Says what was looked at, and the first of what was found."""
    for one in found.differences[:MOST_SHOWN]:
        typer.echo(
            f"{one.where} (tenant {one.tenant_id}): {one.what} is {one.stored}, should be {one.recomputed}"
        )
    if len(found.differences) > MOST_SHOWN:
        typer.echo(f"... and {len(found.differences) - MOST_SHOWN} more")
    result = f"{len(found.differences)} differences" if found.differences else "all equal"
    typer.echo(f"{found.tenants} tenants, {found.sessions} sessions, {found.readings} readings: {result}")
