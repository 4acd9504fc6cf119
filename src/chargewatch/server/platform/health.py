"""``/healthz``, ``/readyz`` and ``/metrics``: for the machines that look after this one. No key is needed.

``/healthz`` says that the process answers and touches nothing else: restart it when it does not. ``/readyz``
says whether calls should be sent here, with the reasons why not, within two seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, Literal, Protocol

import msgspec
import structlog
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from chargewatch.server.db.disk import is_short
from chargewatch.server.platform import metrics
from chargewatch.server.platform.http import json_response, raw_response
from chargewatch.server.platform.openapi import Operation
from chargewatch.server.platform.problems import Problem, is_outage

DEADLINE_S: Final = 2.0

#: Returns what is wrong, in words for an operator, or None.
Check = Callable[[], Awaitable[str | None]]

_log = structlog.get_logger(__name__)


class Health(msgspec.Struct):
    """Answer of GET /healthz."""

    status: Literal["ok"] = "ok"


class Readiness(msgspec.Struct):
    """Answer of GET /readyz when calls may be sent here."""

    checks: dict[str, str]
    status: Literal["ready"] = "ready"


class Draining:
    """Whether this process is on its way out: it answers, but wants no new clients."""

    def __init__(self) -> None:
        self.begun = False

    def begin(self) -> None:
        """Starts it; there is no way back."""
        self.begun = True

    def is_begun(self) -> bool:
        """Whether it has started."""
        return self.begun

    async def check(self) -> str | None:
        """The check of readiness."""
        return "the process is stopping" if self.begun else None


class ReadinessChecks:
    """Runs the checks together, once at a time however many ask: asking must not cost the database."""

    def __init__(self, checks: Mapping[str, Check], deadline_s: float = DEADLINE_S) -> None:
        self._checks = dict(checks)
        self._deadline_s = deadline_s
        self._running: asyncio.Task[dict[str, str | None]] | None = None

    async def failures(self) -> dict[str, str | None]:
        """Returns what is wrong by the name of its check, None for what is well."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await asyncio.shield(self._running)

    async def _run(self) -> dict[str, str | None]:
        results = await asyncio.gather(*map(self._bounded, self._checks.values()))
        return dict(zip(self._checks, results, strict=True))

    async def _bounded(self, check: Check) -> str | None:
        try:
            async with asyncio.timeout(self._deadline_s):
                return await check()
        except TimeoutError:
            return f"no answer within {self._deadline_s:g} seconds"
        except Exception as error:  # noqa: BLE001 - a check that breaks is a check that fails
            if not is_outage(error):
                _log.exception("readiness_check_failed")
            return "no answer"


class TellsSchema(Protocol):
    """The part of the database that readiness asks (`db.engine.Database`)."""

    async def schema_is_current(self) -> bool:
        """Whether it answers and is at this program's schema."""
        ...


def database_check(database: TellsSchema) -> Check:
    """Returns the check that the database answers."""

    async def check() -> str | None:
        await database.schema_is_current()
        return None

    return check


def schema_check(database: TellsSchema) -> Check:
    """Returns the check that the database is at this program's schema."""

    async def check() -> str | None:
        return None if await database.schema_is_current() else "the database is at another schema"

    return check


def disk_check(folder: Path, reserve_percent: float) -> Check:
    """Returns the check that the disk of a folder has room left (`db.disk`)."""

    async def check() -> str | None:
        short = await asyncio.to_thread(is_short, folder, reserve_percent)
        return "the disk of the data folder is nearly full" if short else None

    return check


def models_check(are_loaded: Callable[[], bool]) -> Check:
    """Returns the check that the models can be asked."""

    async def check() -> str | None:
        return None if are_loaded() else "the models are not loaded yet"

    return check


def health_routes(checks: ReadinessChecks) -> list[HTTPRouteHandler]:
    """Returns the three routes; ``checks`` is what readiness depends on."""

    @get("/healthz", opt={"operation": _HEALTH})
    async def healthz() -> ASGIApp:
        return _ALIVE

    @get("/readyz", opt={"operation": _READY})
    async def readyz() -> ASGIApp:
        results = await checks.failures()
        failures = {name: reason for name, reason in results.items() if reason is not None}
        shown = {name: reason or "ok" for name, reason in results.items()}
        if failures:
            detail = "Not ready: " + "; ".join(f"{name}: {reason}" for name, reason in failures.items()) + "."
            raise Problem(503, "not_ready", detail, headers={"Retry-After": "1"}, extra={"checks": shown})
        return json_response(Readiness(shown))

    @get("/metrics", opt={"operation": _METRICS})
    async def figures() -> ASGIApp:
        return raw_response(metrics.render(), metrics.CONTENT_TYPE)

    return [healthz, readyz, figures]


_ALIVE: Final = json_response(Health())
_HEALTH: Final = Operation(
    operation_id="get_health",
    tag="Operation",
    summary="Whether the process answers",
    description="Touches nothing else, the database least of all.",
    response=Health,
)
_READY: Final = Operation(
    operation_id="get_readiness",
    tag="Operation",
    summary="Whether calls should be sent here",
    description="Database, schema, disk, models, and that the process is not stopping; the answer takes at"
    " most two seconds. When not, the problem names each check in `checks`.",
    response=Readiness,
    errors=(503,),
)
_METRICS: Final = Operation(
    operation_id="get_metrics",
    tag="Operation",
    summary="Figures for Prometheus",
    response=str,
    media_type="text/plain",
)
