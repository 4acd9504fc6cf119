"""Who calls, and whether they may: one gate in front of every handler.

A route says in ``opt`` which scope its callers need. Routes under ``/v1`` and ``/ocpi`` without one do not start;
routes elsewhere (health, figures, documentation) need no key. The gate also refuses what no handler needs to see:
an ``Accept`` that excludes JSON, and parameters or a body for a call that takes none.

It is the application's ``before_request`` hook. (The framework's guards copy the handler on each call, which
costs as much as the rest of the way to it.)
"""

import asyncio
import base64
import functools
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol

from litestar import Request
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler

from chargewatch.server.platform.http import parameters
from chargewatch.server.platform.ocpi_envelope import OCPI, is_ocpi
from chargewatch.server.platform.problems import Problem, invalid_field
from chargewatch.server.platform.request_body import ClientDisconnected
from chargewatch.server.platform.request_context import context_in
from chargewatch.server.tenants.keys import Scope, is_plausible
from chargewatch.server.tenants.service import Principal

#: Everything under these needs a key.
PROTECTED: Final = ("/v1", OCPI)

Gate = Callable[[Request[Any, Any, Any]], Awaitable[None]]


class Authenticates(Protocol):
    """Tells whose key it is (`tenants.service.Authenticator`)."""

    async def authenticate(self, key: str) -> Principal | None:
        """The key's principal; None for a key that is not good."""
        ...


def make_gate(authenticator: Authenticates) -> Gate:
    """Returns the gate of all routes."""

    async def admit(request: Request[Any, Any, Any]) -> None:
        scope = request.scope
        handler = scope["route_handler"]
        needed = handler.opt.get("scope")
        if needed is None:
            return
        context = context_in(scope)
        header = context.headers.get(b"authorization")
        key = bearer_token(header)
        if not key and is_ocpi(scope["path"]):
            key = ocpi_token(header)
        principal = await authenticator.authenticate(key)
        if principal is None:
            raise unauthorized(scope["path"])
        context.principal = scope["auth"] = principal
        if needed not in principal.scopes:
            raise insufficient_scope(needed)
        accept = context.headers.get(b"accept")
        if accept is not None and accept != b"*/*" and not accepts_json(accept):
            raise Problem(406, "not_acceptable", "This address answers in JSON only, which Accept excludes.")
        if scope["query_string"]:
            _refuse_parameters(scope["query_string"], handler)
        if scope["method"] in _WITHOUT_BODY:
            await _refuse_body(request, handler)

    return admit


def bearer_token(header: bytes | None) -> str:
    """Returns the token of an ``Authorization`` header; empty when there is none that could be a key."""
    if header is None or header[:7].lower() != b"bearer ":
        return ""
    try:
        return header[7:].strip(b" ").decode("ascii")
    except UnicodeDecodeError:
        return ""


def ocpi_token(header: bytes | None) -> str:
    """Returns the key of ``Authorization: Token …`` (OCPI 2.2.1, 4.1.3): in base64, or plain as in older practice."""
    if header is None or header[:6].lower() != b"token ":
        return ""
    token = header[6:].strip(b" ")
    try:
        key = base64.b64decode(token + b"=" * (-len(token) % 4), validate=True).decode("ascii").strip()
    except ValueError:
        key = ""
    if is_plausible(key):
        return key
    try:
        return token.decode("ascii")
    except UnicodeDecodeError:
        return ""


def is_protected(path: str) -> bool:
    """Whether an address needs a key."""
    return any(path == prefix or path.startswith(prefix + "/") for prefix in PROTECTED)


def unauthorized(path: str = "/v1") -> Problem:
    """Returns the 401, the same for every reason, so that it tells nothing about a key."""
    word, key = ("Token", "the key in base64") if is_ocpi(path) else ("Bearer", "the key")
    return Problem(
        401,
        "unauthorized",
        f"This call needs a valid API key: send Authorization: {word} followed by {key}.",
        headers={"WWW-Authenticate": word},
    )


def insufficient_scope(needed: str) -> Problem:
    """Returns the 403."""
    return Problem(
        403,
        "insufficient_scope",
        f"This call needs a key with the scope {needed}.",
        headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{needed}"'},
    )


@functools.lru_cache(maxsize=256)
def accepts_json(accept: bytes) -> bool:
    """Whether an ``Accept`` header leaves room for ``application/json`` (RFC 9110, 12.5.1)."""
    best = (-1, 0.0)  # how exactly a range names JSON, and its weight
    for item in accept.decode("latin-1").lower().split(","):
        kind, _, rest = item.partition(";")
        exactness = _JSON_RANGES.get(kind.strip(), -1)
        best = max(best, (exactness, _weight(rest)))
    return best[0] >= 0 and best[1] > 0


_JSON_RANGES: Final = {"*/*": 0, "application/*": 1, "application/json": 2}


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 1.0
    return 1.0


def _refuse_parameters(query: bytes, handler: BaseRouteHandler) -> None:
    """A call that takes no parameters is not silently called without those that were sent."""
    operation = handler.opt.get("operation")
    if operation is not None and operation.query is None and parameters(query):
        raise invalid_field((), "This call takes no parameters.", "unknown_field")


#: Methods that change something and may take no body. (GET changes nothing, whatever comes behind it.)
_WITHOUT_BODY: Final = frozenset({"DELETE", "POST"})


async def _refuse_body(request: Request[Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Waits for the end of a request that has no body; what is cut off or broken must change nothing."""
    operation = handler.opt.get("operation")
    if operation is None or operation.request is not None:
        return
    try:
        async with asyncio.timeout(context_in(request.scope).body_share.limits.deadline_s):
            while True:
                message = await request.receive()
                if message["type"] != "http.request":
                    raise ClientDisconnected
                if message.get("body"):
                    raise invalid_field((), "This call takes no body.", "unknown_field")
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        raise Problem(408, "body_too_slow", "The end of the request did not arrive in time.") from None


def check_protection(handlers: Iterable[tuple[str, BaseRouteHandler]], gate: Gate) -> None:
    """Refuses to start with a route under ``/v1`` or ``/ocpi`` that anybody could call.

    Args:
        handlers: path and handler of every route, those for OPTIONS left out.
        gate: what must stand in front of each.

    Raises:
        RuntimeError: a route without a scope, or with one that no key can have, or beside the gate.
    """
    for path, handler in handlers:
        if not is_protected(path):
            continue
        name = f"{path} ({handler.handler_name})"
        if handler.opt.get("scope") not in set(Scope):
            raise RuntimeError(f"{name} names no scope; there are {', '.join(Scope)}")
        if not isinstance(handler, HTTPRouteHandler) or handler.resolve_before_request() is not gate:
            raise RuntimeError(f"{name} has a before_request of its own, which would replace authentication")
