"""The hostile corpus of each call, sent to a served process, and the table of what came back."""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from tests.hostile import address_attacks, body_attacks, wire_attacks
from tests.hostile.address_attacks import path_of
from tests.hostile.api_document import Call, calls
from tests.hostile.attacks import Attack
from tests.hostile.connection import NoReply
from tests.hostile.fragments import CANARY
from tests.hostile.served import Served, settled
from tests.hostile.stage import Stage
from tests.hostile.verdicts import faults_of, log_faults

FEWEST_A_CALL = 500
MOST_GROWTH_BYTES = 64 * 1000 * 1000
#: Calls that are sent at once, each for a tenant of its own.
WORKERS = 4
WARM_UP = 25
_STEM = CANARY[:4].encode()


class Finding(NamedTuple):
    """Something that is not as it should be."""

    call: str
    attack: Attack
    fault: str

    def text(self) -> str:
        """One line, with what to send to see it again."""
        attack = self.attack
        sent = (
            f"{attack.method!r} {attack.target[:80]!r} {[*attack.headers][:3]!r:.200} {attack.body[:200]!r}"
        )
        return f"{self.call} | {attack.kind}: {attack.label} | {self.fault}\n      {sent}"


class Outcome(NamedTuple):
    """What a whole run showed."""

    counts: dict[tuple[str, str], Counter[int]]
    """(call, class of attack) -> how often each status came back; 0 is a connection that was just ended."""
    findings: list[Finding]
    other_faults: list[str]
    rss_before: int
    rss_after: int
    seconds: float


def corpus(call: Call, known: dict[str, str]) -> list[Attack]:
    """Every distinct hostile request of a call, in a fixed order, each with a word of its own."""
    bodies = [with_canary(call, body) for body in call.bodies()] or [None]
    target = path_of(call, known)
    found: list[Attack] = []
    for body in bodies[:1] if len(bodies) == 1 else bodies:
        if body is not None:
            found += body_attacks.field_attacks(call, target, body)
    first = bodies[0]
    if first is not None:
        largest = body_attacks.LARGEST_BATCH if call.path.endswith("/batch") else body_attacks.LARGEST_BODY
        found += body_attacks.document_attacks(call, target, first)
        found += body_attacks.encoding_attacks(call, target, first, largest)
    found += address_attacks.path_attacks(call, known, first)
    found += address_attacks.query_attacks(call, target, first)
    found += address_attacks.header_attacks(call, target, first)
    found += wire_attacks.wire_attacks(call, target, first)
    return [_marked(attack, number) for number, attack in enumerate(_distinct(found))]


def with_canary(call: Call, body: Any) -> Any:
    """The body with a word in its metadata, where it has any."""
    schema = call.body_schema() or {}
    takes_metadata = any("metadata" in one.get("properties", {}) for one in call.alternatives(schema))
    return {**body, "metadata": {CANARY: CANARY}} if takes_metadata and isinstance(body, dict) else body


def _distinct(attacks: Iterable[Attack]) -> Iterator[Attack]:
    seen = set()
    for attack in attacks:
        sent = (attack.method, attack.target, tuple(attack.headers), hash(attack.body))
        if sent not in seen:
            seen.add(sent)
            yield attack


def _marked(attack: Attack, number: int) -> Attack:
    """The attack with a word of its own instead of the placeholder."""
    common, word = CANARY.encode(), b"cnry%06d" % number
    headers = [(name.replace(common, word), value.replace(common, word)) for name, value in attack.headers]
    marked = attack._replace(
        target=attack.target.replace(common, word), headers=headers, body=attack.body.replace(common, word)
    )
    sent = marked.target + marked.body + b"".join(name + value for name, value in headers)
    return marked._replace(canary=word if word in sent else b"")


def chosen(attacks: Sequence[Attack], most: int, rng: random.Random) -> list[Attack]:
    """At most so many of them, of small classes all, of large ones as many as there is room for."""
    classes: dict[str, list[Attack]] = defaultdict(list)
    for attack in attacks:
        classes[attack.kind].append(attack)
    picked: list[Attack] = []
    for place, members in enumerate(sorted(classes.values(), key=len)):
        room = (most - len(picked)) // (len(classes) - place)
        picked += rng.sample(members, min(room, len(members)))
    rng.shuffle(picked)
    return picked


class Campaign:
    """Attacks on every call of a service."""

    def __init__(self, service: Served, seed: int, per_call: int) -> None:
        self._service = service
        self._seed = seed
        self._per_call = per_call
        self._counts: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
        self._findings: list[Finding] = []

    def run(self) -> Outcome:
        """Sends everything."""
        service = self._service
        listed = calls(service.document(), ("/v1", "/ocpi"))
        keys = [service.create_tenant(f"attacked {number}") for number in range(WORKERS)]
        stages = [Stage(service.port, key, listed) for key in keys]
        began = time.perf_counter()
        before = asyncio.run(self._run(stages, listed))
        seconds = time.perf_counter() - began
        settled(0.5)
        after = service.rss_bytes()
        faults = list(log_faults(service.log_file.read_bytes(), _STEM))
        if not service.is_running():
            faults.append("the server has ended")
        if after - before > MOST_GROWTH_BYTES:
            faults.append(f"the server has grown by {(after - before) / 1e6:.0f} MB")
        return Outcome(self._counts, self._findings, faults, before, after, seconds)

    async def _run(self, stages: list[Stage], listed: list[Call]) -> int:
        for stage in stages:
            await stage.set()
        for _ in range(WARM_UP):
            await asyncio.gather(*(stage.changes() for stage in stages))
        before = self._service.rss_bytes()
        for call in listed:
            parts = [
                self._attacks_on(call, stage)[number :: len(stages)] for number, stage in enumerate(stages)
            ]
            await asyncio.gather(
                *(self._attack(stage, call, part) for stage, part in zip(stages, parts, strict=True))
            )
        for stage in stages:
            healthy = await stage.get(b"/readyz")
            assert healthy.status == 200, healthy
            await stage.close()
        return before

    def _attacks_on(self, call: Call, stage: Stage) -> list[Attack]:
        """The same attacks on every stage, but for ids that the service made."""
        attacks = corpus(call, stage.known)
        if call.writes and len(attacks) < FEWEST_A_CALL:
            raise AssertionError(f"only {len(attacks)} attacks on {call.name}")
        if not self._per_call:
            return attacks
        return chosen(attacks, self._per_call, random.Random(f"{self._seed} {call.name}"))

    async def _attack(self, stage: Stage, call: Call, attacks: Sequence[Attack]) -> None:
        for attack in attacks:
            try:
                reply = await stage.send(call, attack)
            except (NoReply, TimeoutError) as error:
                self._counts[call.name, attack.kind][0] += 1
                self._findings.append(Finding(call.name, attack, f"no answer ({type(error).__name__})"))
                continue
            self._counts[call.name, attack.kind][reply.status] += 1
            self._findings += [Finding(call.name, attack, fault) for fault in faults_of(call, attack, reply)]
            changes = await stage.changes()
            if reply.status >= 400 and changes:
                fault = f"refused with {reply.status}, and changed {changes}"
                self._findings.append(Finding(call.name, attack, fault))
            if changes and (reply.status >= 400 or call.method == "DELETE"):
                await stage.set()


def table(outcome: Outcome) -> str:
    """The outcome as text."""
    statuses = sorted({status for counter in outcome.counts.values() for status in counter})
    width = max(len(call) for call, _ in outcome.counts)
    lines = [
        f"{'call':{width}}  {'class of attack':15}  {'sent':>6}"
        + "".join(f"{status:>6}" for status in statuses)
    ]
    for (call, kind), counter in sorted(outcome.counts.items()):
        lines.append(_row(call, kind, counter, statuses, width))
    for call in sorted({call for call, _ in outcome.counts}):
        of_call = [counter for (name, _), counter in outcome.counts.items() if name == call]
        lines.append(_row(call, "all", sum(of_call, Counter()), statuses, width))
    lines.append(_row("all", "", sum(outcome.counts.values(), Counter()), statuses, width))
    growth = (outcome.rss_after - outcome.rss_before) / 1e6
    lines.append(
        f"server: {outcome.rss_before / 1e6:.0f} MB before, {outcome.rss_after / 1e6:.0f} MB after "
        f"({growth:+.0f}, at most +{MOST_GROWTH_BYTES / 1e6:.0f}); {outcome.seconds:.0f} s"
    )
    return "\n".join(lines)


def _row(call: str, kind: str, counter: Counter[int], statuses: Sequence[int], width: int) -> str:
    cells = "".join(f"{counter[status] or '':>6}" for status in statuses)
    return f"{call:{width}}  {kind:15}  {counter.total():>6}{cells}"
