"""The history of a run and its checker: what clients sent and were told, against what is stored in the end.

Clients log every call (`Call`). After the run the state is read once more (`FinalState`). `check` is pure: it returns
what cannot be explained by any order of the calls that agrees with real time. Every invariant is one function in
`INVARIANTS`; a later slice adds its own with `register` (deliveries, batches), and only what is registered is listed
as checked. The invariants:

I1 every reading of an acknowledged call is readable afterwards, exactly once, unless a later call replaced it.
I2 a version grows by one with each effective change and is nobody else's; a result names the version it belongs to.
I3 summaries equal their recomputation.
I5 no answer holds a byte of another tenant.
I7 a call without an answer is wholly applied or not at all; a refused one is not.
I8 no 5xx but 503 and 504, and those with Retry-After.
"""

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec

from tests.faults import states

Readings = tuple[tuple[str, str], ...]
Place = tuple[str, str]
"""Tenant and session."""
Outcome = Literal["acknowledged", "refused", "unknown"]
BUSY: Final = (503, 504)


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer says about a session. ``readings``: (instant, value), None where the answer has none."""

    version: int
    analyzed_version: int | None = None
    verdict: tuple[object, ...] = ()
    readings: Readings | None = None


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a client. Times are seconds of one monotonic clock; ``status`` is None without an answer."""

    id: int
    tenant: str
    session: str
    method: str
    started: float
    finished: float
    status: int | None
    sent: Readings = ()
    """(instant, value) of each reading, every instant once."""
    shown: Shown | None = None
    retry_after: str | None = None
    canaries: frozenset[str] = frozenset()
    """The canaries of any tenant that the answer held."""

    @property
    def outcome(self) -> Outcome:
        """What the client knows about the call afterwards."""
        if self.status is None or self.status >= 500:
            return "unknown"
        return "acknowledged" if self.status < 300 else "refused"

    @property
    def writes(self) -> bool:
        """Whether the call may change a session."""
        return self.method in {"POST", "PUT", "PATCH"}

    @property
    def replaces(self) -> bool:
        """Whether the call's readings take the place of the stored ones."""
        return self.method in {"POST", "PUT"} and bool(self.sent)

    @property
    def place(self) -> Place:
        """Whose session it is about."""
        return self.tenant, self.session


class Summary(msgspec.Struct, frozen=True):
    """A figure that the service keeps, beside what it is when recomputed from the base."""

    name: str
    shown: object
    recomputed: object


class History(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What happened: the calls, and the canary of each tenant."""

    calls: tuple[Call, ...]
    canaries: Mapping[str, str] = {}


class FinalState(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What is stored afterwards; a session that is not found is None."""

    sessions: Mapping[Place, Shown | None]
    summaries: tuple[Summary, ...] = ()


class Violation(msgspec.Struct, frozen=True):
    """Something that no order of the calls explains."""

    invariant: str
    text: str
    place: Place | None = None
    read: int | None = None
    """The call that saw it; None for what is so in the end."""

    def __str__(self) -> str:
        where = "" if self.place is None else f" {self.place[0]}/{self.place[1]}"
        when = "" if self.read is None else f" (seen by call {self.read})"
        return f"{self.invariant}{where}: {self.text}{when}"


Check = Callable[[History, FinalState], Iterable[Violation]]
INVARIANTS: Final[dict[str, Check]] = {}


def register(name: str) -> Callable[[Check], Check]:
    """Makes a function the check of an invariant."""

    def add(function: Check) -> Check:
        if name in INVARIANTS:
            raise ValueError(f"{name} has a check")
        INVARIANTS[name] = function
        return function

    return add


def check(
    history: History, final: FinalState, invariants: Mapping[str, Check] = INVARIANTS
) -> list[Violation]:
    """Returns every violation of the invariants."""
    return [violation for function in invariants.values() for violation in function(history, final)]


def by_place(history: History) -> dict[Place, list[Call]]:
    """The calls on each session."""
    found = defaultdict(list)
    for call in history.calls:
        if call.session:
            found[call.place].append(call)
    return found


@functools.lru_cache(maxsize=1)  # three invariants read it
def _unexplained(history: History, final: FinalState) -> tuple[Violation, ...]:
    """What is wrong with the final state of each session and with every state that a reader saw."""
    calls = by_place(history)
    found = []
    for place in calls.keys() | final.sessions.keys():
        here = calls.get(place, [])
        writes = states.Writes([call for call in here if call.writes])
        if place in final.sessions:
            faults = _final_faults(here, writes, final.sessions[place])
            found += [Violation(fault.invariant, fault.text, place) for fault in faults]
        for call in here:
            if call.shown is not None and call.shown.readings is not None:
                faults = writes.unexplained(call.shown, call.finished)
                if faults:  # the first one tells enough of a state that was read
                    text = f"{faults[0].text} ({len(faults)} faults)"
                    found.append(Violation(faults[0].invariant, text, place, call.id))
    return tuple(found)


def _final_faults(calls: Sequence[Call], writes: states.Writes, shown: Shown | None) -> list[states.Fault]:
    if shown is not None:
        return writes.unexplained(shown, states.NEVER)
    known = any(call.shown is not None for call in calls)
    return [states.Fault("I1", "an acknowledged session is gone")] if known else []


def _states(history: History, final: FinalState, invariant: str) -> list[Violation]:
    return [violation for violation in _unexplained(history, final) if violation.invariant == invariant]


@register("I1")
def readings_are_kept(history: History, final: FinalState) -> Iterator[Violation]:
    """Acknowledged readings are there, once, in the final state and in each state that was read."""
    yield from _states(history, final, "I1")


@register("I2")
def versions_count_changes(history: History, final: FinalState) -> Iterator[Violation]:
    """Versions are unique, grow by one in real time's order, and results belong to them."""
    yield from _states(history, final, "I2")
    calls = by_place(history)
    for place in calls.keys() | final.sessions.keys():
        here = calls.get(place, [])
        shown = final.sessions.get(place)
        told = [call for call in here if call.shown is not None]
        answers = [call.shown for call in told if call.shown is not None] + ([shown] if shown else [])
        texts = [*_shared_versions(here), *_backward_versions(here), *_results(answers)]
        if shown is not None and told:
            newest = max(answer.version for answer in answers)
            if shown.version < newest:
                texts.append(f"version {newest} was acknowledged, {shown.version} is stored")
        yield from (Violation("I2", text, place) for text in texts)


def _shared_versions(calls: Sequence[Call]) -> Iterator[str]:
    """Two acknowledged changes at one version."""
    owners: dict[int, Call] = {}
    for call in states.certain_changes(call for call in calls if call.writes):
        if call.outcome == "acknowledged" and call.shown is not None:
            other = owners.setdefault(call.shown.version, call)
            if other is not call:
                yield f"calls {other.id} and {call.id} both made version {call.shown.version}"


def _backward_versions(calls: Sequence[Call]) -> Iterator[str]:
    """A version lower than one that had been told before the call began."""
    changes = {call.id for call in states.certain_changes(call for call in calls if call.writes)}
    told = [call for call in calls if call.shown is not None]
    finished = iter(sorted(told, key=lambda call: call.finished))
    newest, upcoming = 0, next(finished, None)
    for call in sorted(told, key=lambda call: call.started):
        while upcoming is not None and upcoming.finished < call.started:
            newest = max(newest, states.version_of(upcoming))
            upcoming = next(finished, None)
        version = states.version_of(call)
        if version < newest or (version == newest and call.id in changes):
            yield f"call {call.id} was told version {version} after version {newest} had been told"
    made = min((call.started for call in calls if call.method == "POST"), default=states.NEVER)
    if any(call.finished < made for call in told):
        yield "the session was there before a POST began"


def _results(answers: Sequence[Shown]) -> Iterator[str]:
    """A result of another version, two results of one version, two sets of readings of one version."""
    verdicts: dict[int, tuple[object, ...]] = {}
    readings: dict[int, frozenset[tuple[str, str]]] = {}
    for shown in answers:
        if shown.version < 1:
            yield f"version {shown.version} was told"
        if shown.analyzed_version not in (None, shown.version):
            yield f"version {shown.version} shows the result of version {shown.analyzed_version}"
        if verdicts.setdefault(shown.version, shown.verdict) != shown.verdict:
            yield f"version {shown.version} has two results: {verdicts[shown.version]} and {shown.verdict}"
        if shown.readings is not None:
            held = frozenset(shown.readings)
            if readings.setdefault(shown.version, held) != held:
                yield f"version {shown.version} was read with two sets of readings"


@register("I3")
def summaries_are_exact(history: History, final: FinalState) -> Iterator[Violation]:
    """Each kept figure is what recomputation gives."""
    for summary in final.summaries:
        if summary.shown != summary.recomputed:
            yield Violation("I3", f"{summary.name} is {summary.shown!r}, recomputed {summary.recomputed!r}")


@register("I5")
def tenants_are_apart(history: History, final: FinalState) -> Iterator[Violation]:
    """No answer holds another tenant's canary."""
    for call in history.calls:
        foreign = call.canaries - {history.canaries.get(call.tenant, "")}
        if foreign:
            yield Violation(
                "I5", f"the answer of call {call.id} holds {', '.join(sorted(foreign))}", call.place
            )


@register("I7")
def calls_are_whole(history: History, final: FinalState) -> Iterator[Violation]:
    """Calls without an answer are wholly applied or not at all, refused ones not at all."""
    yield from _states(history, final, "I7")


@register("I8")
def failures_are_announced(history: History, final: FinalState) -> Iterator[Violation]:
    """A failure says when to try again."""
    for call in history.calls:
        if call.status is not None and call.status >= 500:
            if call.status not in BUSY:
                yield Violation(
                    "I8", f"call {call.id} ({call.method}) was answered {call.status}", call.place
                )
            elif not call.retry_after:
                yield Violation("I8", f"call {call.id}: {call.status} without Retry-After", call.place)
