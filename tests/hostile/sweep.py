"""Every call with another tenant's ids: the answer is that for an id which nobody has, and holds nothing of theirs."""

import random
import re
import statistics
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import quote

from tests.hostile.address_attacks import path_of
from tests.hostile.api_document import Call
from tests.hostile.attacks import Attack
from tests.hostile.connection import Reply
from tests.hostile.planting import IDEMPOTENCY_KEY, NOBODY, SHARED, STEM, Planted
from tests.hostile.stage import MADE, Stage, renamed, valid

ORDER = ("GET", "PATCH", "PUT", "POST", "DELETE")
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
#: Pairs of calls that are timed in one round, and the rounds that a busy machine gets.
PAIRS = 20
ROUNDS = 6
#: The lower quartiles of both kinds of calls may differ by this much.
RATIO = 1.25
NOISE_S = 0.0003

_VOLATILE = re.compile(
    rb'"(?:request_id|instance|created_at|updated_at|analyzed_at|last_\w+_at|started_at|timestamp)":"[^"]*"'
    rb"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
)
_VOLATILE_HEADERS = frozenset({"x-request-id", "traceparent", "date", "content-length"})


class Swept(NamedTuple):
    """A row of the report."""

    call: str
    tried: int
    statuses: set[int]
    timing: float | None
    """The ratio of the lower quartiles, where it was measured."""


class Sweep:
    """One tenant asks for what another one has."""

    def __init__(self, theirs: Planted, ours: Stage, seed: int) -> None:
        self._theirs = theirs
        self._ours = ours
        self._rng = random.Random(seed)
        self.rows: list[Swept] = []
        self.faults: list[str] = []

    async def run(self) -> None:
        """Asks for everything: lists first, while there is nothing of theirs that we have named ourselves."""
        for call in self._ours.calls:
            if call.method == "GET" and call.is_protected and not call.parameters("path"):
                await self._list(call)
        for call in self._ours.calls:
            if call.parameters("header") and call.bodies():
                await self._repeat(call)
        paths = dict.fromkeys(call.path for call in self._ours.calls if call.parameters("path"))
        for path in paths:
            await self._other_methods(path)
        # first those that cannot make something of that name of our own; at the end what would end it
        for call in sorted(self._ours.calls, key=lambda call: ORDER.index(call.method)):
            if call.is_protected and call.parameters("path"):
                await self._ask(call)

    def _foreign(self, name: str) -> Iterator[tuple[str, str]]:
        """Yields their ids, each with one of the same form that nobody has."""
        if name in MADE.values():
            yield self._theirs.known[name], f"batch-{self._rng.getrandbits(128):032x}"
            marks = [f"{STEM}-metadata"]
        else:
            marks = [mark for mark in sorted(self._theirs.marks) if mark.endswith(name)]
        for mark in marks or [self._theirs.known.get(name, f"{STEM}-metadata")]:
            yield mark, mark.replace(STEM, NOBODY)
        for found in self._theirs.uuids():
            yield found, str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    async def _list(self, call: Call) -> None:
        path = path_of(call, self._ours.known)
        replies = [await self._ours.get(path)]
        for parameter in call.parameters("query"):
            for pair in self._foreign(parameter.name):
                queries = [f"{parameter.name}={quote(text, safe='')}".encode() for text in pair]
                found, missing = [await self._ours.get(path + b"?" + query) for query in queries]
                replies.append(found)
                self._compare(f"{call.name}?{queries[0].decode()}", found, missing, *pair)
        for cursor in self._cursors():
            replies.append(await self._ours.get(path + b"?cursor=" + cursor))
        for reply in replies:
            self._check(call.name, reply)
        self._note(call, replies)

    def _cursors(self) -> list[bytes]:
        """Their places in lists."""
        return re.findall(rb'"next_cursor":"([^"]+)"', b"".join(self._theirs.seen()))

    async def _repeat(self, call: Call) -> None:
        """Sends a call of ours under their idempotency key."""
        headers = [(b"Idempotency-Key", IDEMPOTENCY_KEY.encode())]
        request = valid(call, self._ours.known, call.bodies()[0])
        reply = await self._ours.send(call, request._replace(headers=[*request.headers, *headers]))
        self._check(call.name, reply)
        if reply.header("idempotent-replayed") is not None:
            self.faults.append(f"{call.name}: answered with what another tenant's call got")

    async def _ask(self, call: Call) -> None:
        body = next(iter(call.bodies()), None)
        replies = []
        for parameter in call.parameters("path"):
            name = parameter.name
            for pair in () if name in SHARED else self._foreign(name):
                found, missing = [
                    await self._ours.send(call, self._request(call, {name: text}, body)) for text in pair
                ]
                replies.append(found)
                label = f"{call.name} with {name} {pair[0]}"
                self._compare(label, found, missing, *pair)
                self._check(label, found, pair[0])
                if call.method in ("GET", "DELETE", "PATCH") and found.status not in (404, 422):
                    self.faults.append(f"{label}: answered {found.status}")
        names = [parameter.name for parameter in call.parameters("path")]
        self._note(call, replies, await self._timing(call, names[-1], body))

    def _request(self, call: Call, other: dict[str, str], body: object) -> Attack:
        known = {**self._ours.known, **other}
        body = renamed(body, {self._ours.known[name]: text for name, text in other.items()})
        if body is None:
            return Attack("sweep", "", call.method.encode(), path_of(call, known))
        return valid(call, known, body)

    async def _timing(self, call: Call, name: str, body: object) -> float:
        """Returns how much longer calls with their ids take; looks again when a round says too much."""
        pairs = list(self._foreign(name))
        ratio = 0.0
        for _ in range(ROUNDS):
            times: tuple[list[float], list[float]] = ([], [])
            for number in range(PAIRS):
                order = (0, 1) if number % 2 else (1, 0)
                for which in order:
                    request = self._request(call, {name: pairs[number % len(pairs)][which]}, body)
                    began = time.perf_counter()
                    await self._ours.send(call, request)
                    times[which].append(time.perf_counter() - began)
            ratio = quartile(times[0]) / quartile(times[1])
            if same_class(*times):
                return ratio
        self.faults.append(f"{call.name}: another tenant's id takes {ratio:.2f} times as long as nobody's")
        return ratio

    async def _other_methods(self, path: str) -> None:
        """Sends methods that the document does not name; they too must not tell what exists."""
        named = {call.method for call in self._ours.calls if call.path == path}
        (call, *_) = [call for call in self._ours.calls if call.path == path]
        name = call.parameters("path")[-1].name
        for method in METHODS:
            if method in named:
                continue
            for pair in self._foreign(name):
                found, missing = [
                    await self._ours.send(
                        call,
                        Attack("sweep", "", method.encode(), path_of(call, {**self._ours.known, name: text})),
                    )
                    for text in pair
                ]
                label = f"{method} {path} with {pair[0]}"
                self._compare(label, found, missing, *pair)
                self._check(label, found)

    def _compare(self, label: str, found: Reply, missing: Reply, theirs: str, nobodys: str) -> None:
        if normal(found, theirs) != normal(missing, nobodys):
            self.faults.append(
                f"{label}: {normal(found, theirs)} but for nobody's {normal(missing, nobodys)}"
            )

    def _check(self, label: str, reply: Reply, own: str = "") -> None:
        """Nothing of theirs may be in an answer, but for the id that we sent with a call that was done."""
        text = " ".join([reply.body.decode(), *(value for _, value in reply.headers)])
        if own and reply.status < 300:
            text = text.replace(own, "")
        if STEM in text or any(found in text for found in self._theirs.uuids()):
            self.faults.append(f"{label}: something of another tenant in {text[:300]}")

    def _note(self, call: Call, replies: Sequence[Reply], timing: float | None = None) -> None:
        self.rows.append(Swept(call.name, len(replies), {reply.status for reply in replies}, timing))


def normal(reply: Reply, own: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """What is the same in two answers that say the same of two ids."""
    headers = [(name, value) for name, value in reply.headers if name not in _VOLATILE_HEADERS]
    return reply.status, sorted(headers), _VOLATILE.sub(b"", reply.body.replace(own.encode(), b""))


def quartile(times: Sequence[float]) -> float:
    """The lower quartile: what a call takes when nothing else is going on."""
    return statistics.quantiles(times, n=4)[0]


def same_class(theirs: Sequence[float], nobodys: Sequence[float]) -> bool:
    """Whether two kinds of calls take equally long, as far as noise lets one tell."""
    a, b = quartile(theirs), quartile(nobodys)
    return abs(a - b) <= NOISE_S or max(a, b) / min(a, b) <= RATIO
