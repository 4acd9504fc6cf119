"""What is known about the call being answered: its ids, its trace, and who calls.

A context belongs to one call. The middleware makes it, the guard adds the caller, and log lines written
anywhere during the call carry its ids, because `current_context` finds it.
"""

import os
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, Final, cast

from chargewatch.server.platform.body_memory import BodyShare
from chargewatch.server.tenants.service import Principal

AsgiScope = MutableMapping[str, Any]
AsgiMessage = MutableMapping[str, Any]
AsgiReceive = Callable[[], Awaitable[AsgiMessage]]
AsgiSend = Callable[[AsgiMessage], Awaitable[None]]
AsgiApp = Callable[[AsgiScope, AsgiReceive, AsgiSend], Awaitable[None]]

#: Where the context lies in an ASGI scope.
SCOPE_KEY: Final = "chargewatch.context"

_SANE_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_TRACEPARENT: Final = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = b"0" * 16

_current: ContextVar["RequestContext | None"] = ContextVar("chargewatch_request", default=None)


class RequestContext:
    """One call."""

    __slots__ = (
        "body_digest",
        "body_share",
        "headers",
        "principal",
        "request_id",
        "span_id",
        "trace_flags",
        "trace_id",
    )

    body_share: BodyShare
    """What its body may cost, and what it holds."""

    def __init__(self, headers: dict[bytes, bytes]) -> None:
        self.headers = headers
        """The request's headers by lower-case name; of a repeated one the last."""
        self.principal: Principal | None = None
        self.body_digest: bytes | None = None
        """SHA-256 of the inflated body, for calls with an ``Idempotency-Key``."""
        chance = os.urandom(40).hex()
        sent_id = headers.get(b"x-request-id")
        sane = sent_id is not None and _SANE_ID.fullmatch(sent_id)
        self.request_id = sent_id.decode("ascii") if sent_id is not None and sane else chance[:32]
        self.trace_id, self.trace_flags = _trace(headers.get(b"traceparent")) or (chance[32:64], "00")
        self.span_id = chance[64:80]

    @property
    def traceparent(self) -> str:
        """The header for what this call causes elsewhere (W3C Trace Context)."""
        return f"00-{self.trace_id}-{self.span_id}-{self.trace_flags}"


def _trace(header: bytes | None) -> tuple[str, str] | None:
    """Returns the trace id and flags of a ``traceparent``, None for one that must be ignored."""
    if header is None:
        return None
    found = _TRACEPARENT.fullmatch(header)
    if found is None or (found[1] == b"00" and found[5] is not None):
        return None
    trace_id = found[2].decode("ascii")
    if trace_id == _NO_TRACE or found[3] == _NO_SPAN:
        return None
    return trace_id, "01" if int(found[4], 16) & 1 else "00"


def new_request_id() -> str:
    """Returns an id for what has no context."""
    return os.urandom(16).hex()


def begin_context(scope: AsgiScope) -> RequestContext:
    """Makes the context of a call and makes it current."""
    context = RequestContext(dict(scope["headers"]))
    scope[SCOPE_KEY] = context
    _current.set(context)
    return context


def current_context() -> RequestContext | None:
    """Returns the context of the call being answered; None outside of calls."""
    return _current.get()


def context_in(scope: Mapping[str, object]) -> RequestContext:
    """Returns the context of the call with this ASGI scope."""
    return cast("RequestContext", scope[SCOPE_KEY])
