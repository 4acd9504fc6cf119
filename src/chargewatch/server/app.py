"""The application: every slice's routes behind the platform's one layer."""

from collections.abc import Sequence
from typing import Final, cast

import msgspec
from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from chargewatch.server.batches.routes import batches_router
from chargewatch.server.ocpi.routes import ocpi_router
from chargewatch.server.ocpp.routes import ocpp_router
from chargewatch.server.platform.authentication import Authenticates, check_protection, make_gate
from chargewatch.server.platform.body_memory import BodyLimits
from chargewatch.server.platform.docs_page import docs_page
from chargewatch.server.platform.health import Draining, ReadinessChecks, health_routes
from chargewatch.server.platform.http import json_response
from chargewatch.server.platform.middleware import MOST_IN_FLIGHT, Platform
from chargewatch.server.platform.openapi import build_document, documentation_routes, routes_of
from chargewatch.server.platform.request_context import AsgiApp
from chargewatch.server.sessions.routes import sessions_router
from chargewatch.server.settings import Settings
from chargewatch.server.stations.routes import stations_router, statistics_router
from chargewatch.server.thresholds.routes import thresholds_router
from chargewatch.server.wiring import Wiring

#: THE place where a slice joins the API.
ROUTERS: Final[tuple[Router, ...]] = (
    sessions_router,
    batches_router,
    ocpp_router,
    ocpi_router,
    stations_router,
    statistics_router,
    thresholds_router,
)


def create_app(wiring: Wiring) -> Litestar:
    """Returns the application of a process.

    Raises:
        RuntimeError: a route that anybody could call, or that does not say what it does.
    """
    return assemble(
        ROUTERS,
        authenticator=wiring.authenticator,
        readiness=wiring.readiness,
        draining=wiring.draining,
        state={"wiring": wiring},
        body_limits=body_limits(wiring.settings),
    )


def body_limits(settings: Settings) -> BodyLimits:
    """Returns what the settings say about bodies."""
    return BodyLimits(
        deadline_s=settings.body_deadline_s,
        min_rate=settings.body_min_rate,
        memory_bytes=settings.body_memory_mb * 1024 * 1024,
        wait_s=settings.body_wait_s,
    )


def assemble(
    routes: Sequence[Router | HTTPRouteHandler],
    *,
    authenticator: Authenticates,
    readiness: ReadinessChecks,
    draining: Draining,
    state: dict[str, object] | None = None,
    most_in_flight: int = MOST_IN_FLIGHT,
    body_limits: BodyLimits | None = None,
) -> Litestar:
    """Puts routes behind the platform: documentation and health beside them, the one layer around them."""
    gate = make_gate(authenticator)
    app = Litestar(
        [*routes, *health_routes(readiness), *documentation_routes()],
        before_request=gate,
        state=State(state or {}),
        openapi_config=None,
        logging_config=None,
    )
    listed = routes_of(app)
    check_protection(((route.path, route.handler) for route in listed), gate)
    document = build_document(listed)
    app.state.openapi = json_response(msgspec.to_builtins(document))
    app.state.docs = docs_page(document)
    router = cast("AsgiApp", app.asgi_router)
    platform = Platform(
        router, is_draining=draining.is_begun, most_in_flight=most_in_flight, body_limits=body_limits
    )
    app.asgi_handler = cast("ASGIApp", platform)
    return app
