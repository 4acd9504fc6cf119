"""Drives an ASGI application in this process, as a server would, without a socket."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import msgspec

from chargewatch.server.app import assemble
from chargewatch.server.platform.health import Check, Draining, ReadinessChecks
from chargewatch.server.tenants.service import Principal

TENANT = UUID("11111111-1111-4111-8111-111111111111")
OTHER_TENANT = UUID("22222222-2222-4222-8222-222222222222")
KEYS = {
    "key-all": Principal(TENANT, UUID(int=1), frozenset({"read", "write", "models", "admin"})),
    "key-read": Principal(TENANT, UUID(int=2), frozenset({"read"})),
    "key-other": Principal(OTHER_TENANT, UUID(int=3), frozenset({"read", "write"})),
}


class FakeAuthenticator:
    """Knows the keys above, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def authenticate(self, key: str) -> Principal | None:
        self.asked += 1
        return KEYS.get(key)


class Reply(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Driver:
    """Calls one application."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def call(
        self,
        method: str,
        target: str,
        body: bytes | Sequence[bytes] = b"",
        *,
        key: str | None = "key-all",
        headers: Mapping[str, str] | None = None,
        json: object = None,
        receive: Callable[[], Awaitable[dict[str, Any]]] | None = None,
    ) -> Reply:
        path, _, query = target.partition("?")
        sent = {"host": "test", **{name.lower(): value for name, value in (headers or {}).items()}}
        if key is not None:
            sent.setdefault("authorization", f"Bearer {key}")
        if json is not None:
            body = msgspec.json.encode(json)
        if body and "content-type" not in sent:
            sent["content-type"] = "application/json"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode("ascii"),
            "query_string": query.encode("ascii"),
            "root_path": "",
            "headers": [(n.encode(), v.encode("latin-1")) for n, v in sent.items() if v is not None],
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1),
            "state": {},
        }
        messages: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)

        await self.app(scope, receive or _body_of(body), send)
        return _reply(messages)


def _body_of(body: bytes | Sequence[bytes]) -> Callable[[], Awaitable[dict[str, Any]]]:
    chunks = [body] if isinstance(body, bytes) else list(body)

    async def receive() -> dict[str, Any]:
        if not chunks:
            return {"type": "http.disconnect"}
        chunk = chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    return receive


def _reply(messages: list[dict[str, Any]]) -> Reply:
    if not messages:
        return Reply(0, {}, b"")
    start, *parts = messages
    assert start["type"] == "http.response.start"
    assert not parts or not parts[-1].get("more_body", False)
    names = [name.decode() for name, _ in start["headers"]]
    assert len(names) == len(set(names)), f"a header twice: {names}"
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return Reply(start["status"], headers, b"".join(part["body"] for part in parts))


def platform_app(
    routes: Sequence[Any],
    *,
    checks: Mapping[str, Check] | None = None,
    draining: Draining | None = None,
    authenticator: Any = None,
    **options: Any,
) -> Driver:
    """The platform around a test's own routes."""
    return Driver(
        assemble(
            routes,
            authenticator=authenticator or FakeAuthenticator(),
            readiness=ReadinessChecks(checks or {}, deadline_s=0.05),
            draining=draining or Draining(),
            **options,
        )
    )
