"""The one layer around every call: ids, problems, headers, the log line and the figures.

It is the outermost application, in the place of the framework's own exception layer, so that answers to
unknown addresses and unexpected failures pass through it like all others. It adds about 20 µs to a call.
"""

import asyncio
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Final
from urllib.parse import unquote_to_bytes

import structlog
from litestar.exceptions import MethodNotAllowedException

from chargewatch.server.db.errors import DatabaseUnavailable
from chargewatch.server.platform import problems
from chargewatch.server.platform.authentication import is_protected
from chargewatch.server.platform.body_memory import BodyLimits, BodyMemory
from chargewatch.server.platform.metrics import IN_FLIGHT, UNMATCHED, observe_request
from chargewatch.server.platform.ocpi_envelope import correlation_id, http_status, is_ocpi, problem_body
from chargewatch.server.platform.problems import Problem, problem_for
from chargewatch.server.platform.request_body import ClientDisconnected
from chargewatch.server.platform.request_context import (
    AsgiApp,
    AsgiMessage,
    AsgiReceive,
    AsgiScope,
    AsgiSend,
    RequestContext,
    begin_context,
)

#: Calls that are answered at once in one process; more are asked to come back.
MOST_IN_FLIGHT: Final = 1000
#: What is logged for a call whose client went away (nothing is sent).
CLIENT_CLOSED: Final = 499


class Platform:
    """The application around the router."""

    def __init__(
        self,
        router: AsgiApp,
        *,
        is_draining: Callable[[], bool] = lambda: False,
        most_in_flight: int = MOST_IN_FLIGHT,
        body_limits: BodyLimits | None = None,
    ) -> None:
        self._router = router
        self._is_draining = is_draining
        self._most_in_flight = most_in_flight
        self._in_flight = 0
        self._bodies = BodyMemory(body_limits or BodyLimits())
        self._log = structlog.get_logger().bind()

    async def __call__(self, scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        """Answers one call."""
        if scope["type"] != "http":
            await self._router(scope, receive, send)
            return
        started_at = perf_counter()
        context = begin_context(scope)
        context.body_share = self._bodies.share()
        exchange = _Exchange(scope, context, send, closes=self._is_draining())
        self._in_flight += 1
        IN_FLIGHT.inc()
        try:
            await self._answer(exchange, receive)
        finally:
            self._in_flight -= 1
            IN_FLIGHT.dec()
            context.body_share.release()
            self._note(exchange, perf_counter() - started_at)

    async def _answer(self, exchange: "_Exchange", receive: AsgiReceive) -> None:
        try:
            if exchange.protected and self._in_flight > self._most_in_flight:
                raise problems.unavailable("Too many calls at once; repeat the call.", "overloaded")
            check_path(exchange.scope)
            await self._router(exchange.routed, receive, exchange.send)
        except MethodNotAllowedException as error:
            await exchange.send_allowed(error)
        except ClientDisconnected:
            exchange.status = CLIENT_CLOSED
        except asyncio.CancelledError:  # the process ends and waits no longer
            if not exchange.status:
                await exchange.send_problem(problems.unavailable("The service is stopping; repeat the call."))
            raise
        except Exception as error:
            if exchange.status:  # half an answer is out: only cutting the connection can say so
                raise
            await exchange.send_problem(self._problem_of(error, exchange.routed))

    def _problem_of(self, error: Exception, scope: AsgiScope) -> Problem:
        handler = scope.get("route_handler")
        problem = problem_for(error, handler.opt.get("problems") if handler is not None else None)
        if isinstance(error, DatabaseUnavailable):
            self._log.warning("database_unavailable", reason=str(error))
        elif problem.status >= 500 and not isinstance(error, Problem):
            self._log.error("request_failed", code=problem.code, exc_info=error)
        return problem

    def _note(self, exchange: "_Exchange", seconds: float) -> None:
        """Counts the call and writes its line; an answer that broke off counts as a failure of ours."""
        route = exchange.routed.get("path_template", UNMATCHED)
        status = exchange.status or 500
        observe_request(exchange.method, route, status, seconds)
        duration_ms = round(seconds * 1000, 3)
        self._log.info("request", method=exchange.method, route=route, status=status, duration_ms=duration_ms)


#: HEAD is GET without the body. OPTIONS is asked of the router as a method that nobody has: its refusal lists
#: the methods of the address (the framework's own handler for OPTIONS lists only some of them).
_ROUTED_AS: Final = {"HEAD": "GET", "OPTIONS": "?"}


class _Exchange:
    """One call and its answer."""

    __slots__ = (
        "_closes",
        "_send",
        "context",
        "method",
        "protected",
        "routed",
        "scope",
        "speaks_ocpi",
        "status",
    )

    def __init__(self, scope: AsgiScope, context: RequestContext, send: AsgiSend, *, closes: bool) -> None:
        self.scope = scope
        self.context = context
        self.status = 0
        self.protected = is_protected(scope["path"])
        self.speaks_ocpi = is_ocpi(scope["path"])
        self.method = scope["method"]
        instead = _ROUTED_AS.get(self.method)
        self.routed = {**scope, "method": instead} if instead else scope
        """What the router sees (the server goes on seeing the method that was sent)."""
        self._send = send
        self._closes = closes

    async def send(self, message: AsgiMessage) -> None:
        """Sends a part of the answer, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": self._headers(message["headers"])}
        elif self.method == "HEAD":
            message = {**message, "body": b""}
        await self._send(message)

    def _headers(self, given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        context = self.context
        headers = [
            *given,
            (b"x-request-id", context.request_id.encode("ascii")),
            (b"traceparent", context.traceparent.encode("ascii")),
        ]
        if self.protected:
            headers.append((b"cache-control", b"no-store"))
        if self.speaks_ocpi and (correlation := correlation_id(context.headers)) is not None:
            headers.append((b"x-correlation-id", correlation))
        if self._closes and not any(name == b"connection" for name, _ in headers):
            headers.append((b"connection", b"close"))
        return headers

    async def send_allowed(self, error: MethodNotAllowedException) -> None:
        """Says which methods there are: to OPTIONS as an answer, to others as a problem."""
        problem = problem_for(error)
        if self.method != "OPTIONS":
            await self.send_problem(problem)
            return
        headers = [(b"allow", problem.headers["Allow"].encode("ascii"))]
        await self.send({"type": "http.response.start", "status": 204, "headers": headers})
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def send_problem(self, problem: Problem) -> None:
        """Sends an error answer."""
        status, content_type = problem.status, problems.CONTENT_TYPE
        if self.speaks_ocpi:
            status, content_type = http_status(status), "application/json"
            body = problem_body(problem)
        else:
            body = problem.document(self.context.request_id)
        fields = {
            "content-type": content_type,
            "content-length": str(len(body)),
            **{name.lower(): value for name, value in problem.headers.items()},
        }
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})


def check_path(scope: AsgiScope) -> None:
    """Refuses paths in which one step could be taken for another.

    The server decodes a path as a whole, so that an encoded slash would become a border between steps, and
    what is no UTF-8 would become a replacement character; the router ignores empty steps. No resource has
    such a name.

    Raises:
        Problem: 404.
    """
    path = scope["path"]
    if "//" in path or (path.endswith("/") and path != "/"):
        raise problems.not_found()
    raw = scope.get("raw_path") or b""
    if b"%" not in raw:
        return
    if b"%2f" in raw.lower():
        raise problems.not_found()
    try:
        unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise problems.not_found() from None
