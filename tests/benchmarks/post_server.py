"""The service with one more endpoint: the bare one that a push is compared with.

The bare endpoint reads and validates the same body in the same server, and stores it with one INSERT through the same
pool. Run as a process of its own by ``bench_post``: prints the API key and the URL, serves until it is ended.
"""

import asyncio
import socket
import sys
from pathlib import Path

from litestar import Router, post
from litestar.types import ASGIApp

from chargewatch.server import app as application
from chargewatch.server.db.access import database_for_service, prepare_database
from chargewatch.server.db.address import DatabaseAddress
from chargewatch.server.db.connection import connected
from chargewatch.server.platform import strict_json
from chargewatch.server.platform.http import ApiRequest, json_response
from chargewatch.server.platform.logging import configure_logging, secrets_of
from chargewatch.server.platform.openapi import Operation
from chargewatch.server.platform.request_body import LARGEST_BODY, read_body
from chargewatch.server.process import GracefulServer, StopTimes, listen, loop_factory, url_of
from chargewatch.server.sessions import payloads
from chargewatch.server.sessions.routes import PROBLEMS, sessions_router
from chargewatch.server.sessions.schemas import SessionIn
from chargewatch.server.settings import Settings, load_settings
from chargewatch.server.tenants.service import TenantService
from chargewatch.server.wiring import open_wiring, services


@post(
    "/",
    status_code=200,
    opt={
        "scope": "write",
        "operation": Operation(summary="Bare", request=SessionIn, response=dict[str, str]),
        "problems": PROBLEMS,
    },
)
async def bare(request: ApiRequest) -> ASGIApp:
    """Validates a session's body as the real call does and stores it with one INSERT."""
    raw = await read_body(request, LARGEST_BODY)
    body = strict_json.decode(raw, SessionIn)
    name = payloads.session_id(body)
    payloads.location(body)
    payloads.attributes(body)
    payloads.readings(body.meter_values)
    await services(request).database.fetch_without_tenant("INSERT INTO bench_bodies (body) VALUES ($1)", raw)
    return json_response({"session_id": name})


async def prepare(settings: Settings, address: DatabaseAddress) -> str:
    """Makes a tenant; returns its key."""
    await prepare_database(settings, address, may_migrate=False)
    async with connected(address.owner) as owner:
        return (await TenantService(owner, address.roles).create_tenant("bench")).api_key.reveal()


def main() -> None:
    """Serves on a free port."""
    settings = load_settings({"data_dir": Path(sys.argv[1]), "log_level": "warning"}, environ={}, dotenv=None)
    with listen("127.0.0.1", 0) as listener, database_for_service(settings) as address:
        key = asyncio.run(prepare(settings, address))
        configure_logging(settings.log_level, secrets_of(settings))
        print(key, url_of(listener), flush=True)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(serve(settings, address, listener))


async def make_bare_table(address: DatabaseAddress) -> None:
    """Makes the table of the bare endpoint."""
    async with connected(address.owner) as owner:
        await owner.execute("CREATE TABLE bench_bodies (id bigserial PRIMARY KEY, body bytea NOT NULL)")
        await owner.execute(f"GRANT INSERT ON bench_bodies TO {address.app.user}")
        await owner.execute(f"GRANT USAGE ON SEQUENCE bench_bodies_id_seq TO {address.app.user}")


async def serve(settings: Settings, address: DatabaseAddress, listener: socket.socket) -> None:
    """Serves the real calls and the bare one."""
    routers = (sessions_router, Router(path="/v1/bare", route_handlers=[bare]))
    async with open_wiring(settings, address) as wiring:
        # Only now: the service refuses to start beside a table without tenants.
        await make_bare_table(address)
        app = application.assemble(
            routers,
            authenticator=wiring.authenticator,
            readiness=wiring.readiness,
            draining=wiring.draining,
            state={"wiring": wiring},
        )
        await GracefulServer(app, wiring.draining, lambda: None, StopTimes()).serve([listener])


if __name__ == "__main__":
    main()
