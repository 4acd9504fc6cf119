"""A tenant full of marked words: every text that a call takes bears its place and a stem that nobody else has."""

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.hostile.address_attacks import path_of
from tests.hostile.api_document import Call, Place
from tests.hostile.attacks import Attack
from tests.hostile.body_attacks import JSON, with_fragment
from tests.hostile.stage import Stage

#: Begins every word of the tenant whose data must not be seen.
STEM = "cnrya"
#: Of the same length: begins what nobody has.
NOBODY = "nobdy"
#: The key under which the marked tenant's calls can be repeated.
IDEMPOTENCY_KEY = f"{STEM}-idempotency-key"

#: Path parameters whose values are not a tenant's own.
SHARED = frozenset({"country_code", "party_id"})

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Planted:
    """What a tenant holds after every writing call was made with as many marked texts as it takes."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.marks: set[str] = set()

    @property
    def known(self) -> dict[str, str]:
        """Path parameter -> the marked id that stands for it."""
        return self._stage.known

    async def plant(self) -> None:
        """Makes every call that stores something, with all the marked texts that it accepts."""
        for call in self._stage.calls:
            if call.method not in ("POST", "PUT", "PATCH"):
                continue
            for body in call.bodies():
                await self._plant(call, body)
        await self._stage.look()

    async def _plant(self, call: Call, body: Any) -> None:
        assert await self._is_taken(call, json.dumps(body).encode()), f"{call.name} refuses its own example"
        for place, schema in call.fields(body):
            mark = f"{STEM}-{'-'.join(map(str, place))}"
            for value in (mark, {mark: mark}):
                if _is_text(call, body, place, schema) == isinstance(value, str):
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
        return reply.status < 300

    def visible(self) -> set[str]:
        """The marks that the tenant itself sees, in all it can read."""
        everything = b"".join(self._stage.seen).decode()
        return {mark for mark in self.marks if mark in everything}

    def seen(self) -> list[bytes]:
        """All that the tenant can read."""
        return self._stage.seen

    def is_marked(self, name: str) -> bool:
        """Whether what stands for a path parameter is a word of this tenant alone."""
        return STEM in self.known[name] or name in SHARED

    def uuids(self) -> list[str]:
        """The internal ids that the tenant sees."""
        return sorted(set(_UUID.findall(b"".join(self._stage.seen).decode())))


def _is_text(call: Call, body: Any, place: Place, schema: Mapping[str, Any]) -> bool:
    """Whether a text belongs there; else an object may."""
    for step in place:
        try:
            body = body[step]
        except (KeyError, IndexError, TypeError):
            break
    else:
        return isinstance(body, str)
    kinds = [kind for one in call.alternatives(schema) for kind in _listed(one.get("type", "string"))]
    return "object" not in kinds


def _listed(kind: str | list[str]) -> list[str]:
    return [kind] if isinstance(kind, str) else kind
