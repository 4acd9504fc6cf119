"""Histories of one session for tests: drawn from the obvious server, and ways to spoil them."""

import random
from collections.abc import Sequence

import msgspec

from tests.faults.history import Call, Readings, Shown
from tests.reference.one_session import SequentialSession

TENANT, SESSION = "north", "s-1"
INSTANTS = "abcde"


def call(number: int, method: str, started: float, finished: float, **more: object) -> Call:
    """A call of the one session; ``more`` are fields of `Call`."""
    fields = {"status": 200, "tenant": TENANT, "session": SESSION} | more
    return msgspec.convert(
        {"id": number, "method": method, "started": started, "finished": finished, **fields},
        Call,
        strict=False,
    )


def history(rng: random.Random, length: int, *, silence: float, repeats: float) -> tuple[list[Call], Shown]:
    """Draws overlapping calls on a session and its final state; each call happens at a moment within its time.

    Args:
        rng: the source of every choice.
        length: how many calls, the first one a POST that makes the session.
        silence: the share of writing calls without an answer, which may happen later or never.
        repeats: the share of writing calls that send what an earlier one sent.
    """
    drafts: list[Call] = [_draft(rng, 0, (), "POST", -2.0)]
    moments: list[float | None] = [-1.5]
    for number in range(1, length):
        draft = _draft(rng, number, drafts if rng.random() < repeats else (), None, rng.uniform(0, 10))
        silent = draft.writes and rng.random() < silence
        drafts.append(msgspec.structs.replace(draft, status=None) if silent else draft)
        moments.append(
            rng.choice([None, rng.uniform(draft.started, 18)])
            if silent
            else rng.uniform(draft.started, draft.finished)
        )
    session = SequentialSession()
    for moment, draft in sorted((m, d.id) for m, d in zip(moments, drafts, strict=True) if m is not None):
        assert moment is not None
        done = drafts[draft]
        assert session.apply(done.method, done.sent)
        if done.status is not None:
            drafts[draft] = msgspec.structs.replace(done, shown=session.shown(readings=done.method == "GET"))
    return drafts, session.shown(readings=True)


def _draft(
    rng: random.Random, number: int, earlier: Sequence[Call], method: str | None, started: float
) -> Call:
    method = method or rng.choice(["PATCH"] * 4 + ["PUT"] * 2 + ["POST"] + ["GET"] * 2)
    sent: Readings = ()
    if method != "GET":
        fewest = 1 if method == "PUT" else 0
        instants = rng.sample(INSTANTS, rng.randint(fewest, 3))
        sent = tuple((instant, f"{number}{place}") for place, instant in enumerate(instants))
        repeated = [call.sent for call in earlier if len(call.sent) >= fewest and call.writes]
        sent = rng.choice(repeated) if repeated else sent
    return Call(
        id=number,
        tenant=TENANT,
        session=SESSION,
        method=method,
        started=started,
        finished=started + (1.0 if number == 0 else rng.uniform(0.1, 5)),
        status=200,
        sent=sent,
    )


def spoiled(rng: random.Random, calls: list[Call], final: Shown) -> tuple[list[Call], Shown]:
    """Changes one thing that was told: a version, a stored reading, a time."""
    replace = msgspec.structs.replace
    place = rng.choice([n for n, call in enumerate(calls) if call.shown is not None])
    told = calls[place]
    assert told.shown is not None
    kind = rng.choice(["lost", "other value", "version", "told version", "read lost", "later"])
    if kind in {"lost", "other value"}:
        final = replace(final, readings=_other_readings(rng, calls, final.readings or (), kind))
    elif kind == "version":
        final = replace(final, version=final.version + rng.choice([-1, 1]))
    elif kind == "told version":
        told = replace(told, shown=replace(told.shown, version=told.shown.version + rng.choice([-1, 1])))
    elif kind == "read lost" and told.shown.readings:
        readings = _other_readings(rng, calls, told.shown.readings, "lost")
        told = replace(told, shown=replace(told.shown, readings=readings))
    elif kind == "later":
        told = replace(told, started=told.started + 5, finished=told.finished + 5)
    return [*calls[:place], told, *calls[place + 1 :]], final


def _other_readings(rng: random.Random, calls: list[Call], readings: Readings, kind: str) -> Readings:
    values = dict(readings)
    if kind == "lost" and values:
        del values[rng.choice(sorted(values))]
    elif kind == "other value":
        values.update([rng.choice([pair for call in calls for pair in call.sent] or [("z", "nobody's")])])
    return tuple(sorted(values.items()))


def without_results(calls: Sequence[Call], final: Shown) -> tuple[list[Call], Shown]:
    """The same without analysis, which a spoiled reading would contradict by itself."""

    def bare(shown: Shown) -> Shown:
        return msgspec.structs.replace(shown, analyzed_version=None, verdict=())

    return [
        msgspec.structs.replace(call, shown=bare(call.shown)) if call.shown else call for call in calls
    ], bare(final)
