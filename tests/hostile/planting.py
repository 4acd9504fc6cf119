"""A tenant full of marked words: every text that a call takes bears its place and a stem that nobody else has."""

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from tests.hostile.address_attacks import path_of
from tests.hostile.api_document import Call, Place
from tests.hostile.attacks import Attack
from tests.hostile.body_attacks import JSON, with_fragment
from tests.hostile.stage import MADE, Stage, renamed

#: Begins every word of the tenant whose data must not be seen.
STEM = "cnrya"
#: Of the same length: begins what nobody has.
NOBODY = "nobdy"
#: The key under which the marked tenant's calls can be repeated.
IDEMPOTENCY_KEY = f"{STEM}-idempotency-key"

#: Path parameters whose values are not a tenant's own.
SHARED = frozenset({"country_code", "party_id"})

_NOT_TAKEN = ("refused", "ignored")

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Planted:
    """What a tenant holds after every writing call was made with as many marked texts as it takes."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._plain = dict(stage.known)
        self.marks: set[str] = set()

    @property
    def known(self) -> dict[str, str]:
        """Path parameter -> the marked id that stands for it."""
        return self._stage.known

    async def plant(self) -> None:
        """Makes every call that stores something, with all the marked texts that it accepts."""
        # what makes an id comes before what takes it
        for call in sorted(self._stage.calls, key=lambda call: len(call.parameters("path"))):
            if call.method not in ("POST", "PUT", "PATCH"):
                continue
            names = {plain: self.known[name] for name, plain in self._plain.items()}
            for body in call.bodies():
                await self._plant(call, renamed(body, names))
        await self._stage.look()

    async def _plant(self, call: Call, body: Any) -> None:
        assert await self._is_taken(call, json.dumps(body).encode()), f"{call.name} refuses its own example"
        for place, schema in call.fields(body):
            mark = f"{STEM}-{'-'.join(map(str, place))}"
            value = _marked(call, body, place, schema, mark)
            if value is None:
                continue
            changed = with_fragment(call, body, place, json.dumps(value).encode())
            if await self._is_taken(call, changed):
                body = json.loads(changed)
                self.marks.add(mark)
        keyed = json.dumps(body).encode()
        assert await self._is_taken(call, keyed, [(b"Idempotency-Key", IDEMPOTENCY_KEY.encode())])
        if isinstance(body, Mapping):
            self.known.update({name: body[name] for name in self.known if isinstance(body.get(name), str)})

    async def _is_taken(
        self, call: Call, sent: bytes, headers: list[tuple[bytes, bytes]] | None = None
    ) -> bool:
        target = path_of(call, self.known)
        reply = await self._stage.send(
            call, Attack("plant", "", call.method.encode(), target, [*JSON, *(headers or [])], sent)
        )
        assert reply.status < 500, (call.name, reply)
        if reply.status >= 300:
            return False
        answer = msgspec.json.decode(reply.body)
        if call.name in MADE:  # what a worker made of it
            location = reply.header("location")
            assert location is not None
            return not msgspec.json.decode((await self._stage.get(location.encode())).body)["failed_sessions"]
        # frames of OCPP have a result each
        return not any(answer.get(word) for word in _NOT_TAKEN)

    def visible(self) -> set[str]:
        """The marks that the tenant itself sees, in all it can read."""
        everything = b"".join(self._stage.seen).decode()
        return {mark for mark in self.marks if mark in everything}

    def seen(self) -> list[bytes]:
        """All that the tenant can read."""
        return self._stage.seen

    def is_marked(self, name: str) -> bool:
        """Whether what stands for a path parameter is a word of this tenant alone."""
        return STEM in self.known[name] or name in SHARED or name in MADE.values()

    def uuids(self) -> list[str]:
        """The internal ids that the tenant sees."""
        return sorted(set(_UUID.findall(b"".join(self._stage.seen).decode())))


def _marked(call: Call, body: Any, place: Place, schema: Mapping[str, Any], mark: str) -> Any:
    """What bears the mark at a place: a text, or an object where anything may be in it; None for another place."""
    try:
        for step in place:
            body = body[step]
    except (KeyError, IndexError):
        kinds = [kind for one in call.alternatives(schema) for kind in _listed(one.get("type", "string"))]
        return {mark: mark} if "object" in kinds else mark
    except TypeError:
        return None
    return mark if isinstance(body, str) else None


def _listed(kind: str | list[str]) -> list[str]:
    return [kind] if isinstance(kind, str) else kind
