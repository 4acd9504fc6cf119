"""A tenant that is attacked: what exists in it, and a watch that notices whether anything has changed."""

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tests.hostile.address_attacks import path_of
from tests.hostile.api_document import Call
from tests.hostile.attacks import Attack
from tests.hostile.body_attacks import JSON
from tests.hostile.connection import Connection, Reply

#: Path parameters that no example body names. A new one fails the run until it stands here.
PLACES: Mapping[str, str] = {"batch_id": f"batch-{0:032x}"}
#: Those whose ids the service makes: the stage learns them when it makes the thing.
MADE: Mapping[str, str] = {"POST /v1/sessions/batch": "batch_id"}
#: Parameters that make a list show all there is.
SHOW_ALL: Mapping[str, str] = {"/v1/sessions": "status=all&page_size=1"}
#: For what workers do after an answer.
PATIENCE_S = 60.0
#: When an answer was made, which OCPI has at the end of each envelope.
_MOMENT = re.compile(rb',"timestamp":"[^"]+"}$')


class UnknownPlace(Exception):
    """A call has a path parameter of which nobody has said what stands there."""


def known_places(calls: Iterable[Call]) -> dict[str, str]:
    """What stands in each path parameter, as the examples of the writing calls name it."""
    found = dict(PLACES)
    listed = list(calls)
    for call in listed:
        for body in call.bodies():
            if isinstance(body, Mapping):
                found |= {
                    name: text for name, text in body.items() if isinstance(text, str) and name not in found
                }
    names = {parameter.name for call in listed for parameter in call.parameters("path")}
    if missing := names - found.keys():
        raise UnknownPlace(f"say in tests/hostile/stage.py what stands in {', '.join(sorted(missing))}")
    return {name: found[name] for name in names}


class Stage:
    """A tenant's key, what exists in it, and two connections: one for attacks, one to watch."""

    def __init__(self, port: int, key: str, calls: list[Call], known: dict[str, str] | None = None) -> None:
        self._port = port
        self._key = key
        self.calls = calls
        self.known = known or known_places(calls)
        self._attacks = Connection(port)
        self._watch = Connection(port)
        self.seen: list[bytes] = []

    async def set(self) -> None:
        """Makes everything that the examples make, and looks at it."""
        for call in self.calls:
            if call.method not in ("POST", "PUT"):
                continue
            for body in call.bodies():
                reply = await self.send(call, valid(call, self.known, body))
                assert 200 <= reply.status < 300, f"{call.name} refuses its own example: {reply.body!r}"
        await self.look()

    async def look(self) -> None:
        """Sees everything that there is now."""
        self.seen = await self._look()

    async def send(self, call: Call, attack: Attack) -> Reply:
        """Sends a request with the tenant's key."""
        authorization = f"{call.scheme()} {self._key}".encode()
        try:
            reply = await self._attacks.exchange(attack.wire(self._port, authorization), method=attack.method)
            if call.name in MADE and attack.method == b"POST" and reply.status == 200:
                await self._made(MADE[call.name], reply)
            return reply
        finally:
            if attack.framed:  # what comes next could be taken for the rest of its body
                await self._attacks.close()

    async def _made(self, name: str, reply: Reply) -> None:
        """Notes the id of what was made, and waits until the service has finished with it."""
        self.known[name] = msgspec.json.decode(reply.body)[name]
        location = reply.header("location")
        assert location is not None
        async with asyncio.timeout(PATIENCE_S):
            while (await self.get(location.encode())).header("retry-after") is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # another process works on it

    def watched(self) -> list[bytes]:
        """Everything that can be read here."""
        return [
            path_of(call, self.known)
            + (b"?" + SHOW_ALL[call.path].encode() if call.path in SHOW_ALL else b"")
            for call in self.calls
            if call.method == "GET" and call.is_protected
        ]

    async def _look(self) -> list[bytes]:
        return [_MOMENT.sub(b"}", (await self.get(target)).body) for target in self.watched()]

    async def get(self, target: bytes) -> Reply:
        """Reads an address with the tenant's key."""
        attack = Attack("watch", "", b"GET", target)
        return await self._watch.exchange(attack.wire(self._port, f"Bearer {self._key}".encode()))

    async def changes(self) -> list[str]:
        """What is different from what was seen last, address by address."""
        before, self.seen = self.seen, await self._look()
        return [
            f"{target.decode()}: {old[:1000]!r} -> {new[:1000]!r}"
            for target, old, new in zip(self.watched(), before, self.seen, strict=True)
            if old != new
        ]

    async def close(self) -> None:
        """Ends the connections."""
        await self._attacks.close()
        await self._watch.close()


def renamed(body: Any, names: Mapping[str, str]) -> Any:
    """The same body with other texts in place of some."""
    if isinstance(body, Mapping):
        return {name: renamed(inner, names) for name, inner in body.items()}
    if isinstance(body, list):
        return [renamed(inner, names) for inner in body]
    return names.get(body, body) if isinstance(body, str) else body


def valid(call: Call, known: Mapping[str, str], body: Any) -> Attack:
    """A request that is right in every way."""
    sent = msgspec.json.encode(body)
    return Attack("valid", "", call.method.encode(), path_of(call, known), JSON, sent)
