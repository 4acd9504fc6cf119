"""A call that takes no body begins when its request has ended, so that what is broken changes nothing."""

from typing import Any

import pytest
from litestar import Router, delete, post
from litestar.types import ASGIApp

from chargewatch.server.platform.http import empty_response
from chargewatch.server.platform.openapi import Operation
from tests.asgi_driver import Driver, platform_app

pytestmark = pytest.mark.anyio

done: list[str] = []


@delete("/thing", status_code=200, opt={"scope": "write", "operation": Operation(summary="D", status=204)})
async def erase() -> ASGIApp:
    done.append("erased")
    return empty_response(204)


@post("/again", opt={"scope": "write", "operation": Operation(summary="A", status=204)})
async def again() -> ASGIApp:
    done.append("again")
    return empty_response(204)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def api() -> Driver:
    done.clear()
    return platform_app([Router("/v1", route_handlers=[erase, again])])


CALLS = [("DELETE", "/v1/thing"), ("POST", "/v1/again")]


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_without_a_body_it_is_done(api: Driver, method: str, path: str) -> None:
    assert (await api.call(method, path)).status == 204
    assert (await api.call(method, path, [b"", b""])).status == 204
    assert len(done) == 2


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize("body", [b"{}", [b"", b"x"]])
async def test_a_body_is_refused(api: Driver, method: str, path: str, body: Any) -> None:
    reply = await api.call(method, path, body)
    assert (reply.status, reply.json()["errors"][0]["type"]) == (422, "unknown_field")
    assert done == []


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_a_request_that_breaks_off_changes_nothing(api: Driver, method: str, path: str) -> None:
    messages = [{"type": "http.request", "body": b"", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    assert (await api.call(method, path, receive=receive)).status == 0, "there is nobody to answer"
    assert done == []


async def test_a_key_is_asked_for_first(api: Driver) -> None:
    assert (await api.call("DELETE", "/v1/thing", b"{}", key=None)).status == 401
