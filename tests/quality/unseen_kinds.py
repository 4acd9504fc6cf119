"""How many odd shapes of kinds by another author are found, by kind: ``python -m tests.quality.unseen_kinds``.

The kinds (``chargewatch.simulate.UNSEEN``) were written after the base model by somebody who had not seen the detector.
Every second session has its station's own sampling, the others go through all at which the kind can be seen. What
counts is seen: the label is visible, and the readings bear the sign of the kind (``tests.odd_signs``).

A second table says how often normal behaviour with unusual figures is reported (``UNSEEN_NORMALS``, same author).
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from chargewatch.domain.categories import Category
from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS
from chargewatch.domain.verdict import Verdict
from chargewatch.evaluate.columns import judge
from chargewatch.simulate import UNSEEN, UNSEEN_NORMALS, SimulatedSession, simulate_session
from chargewatch.simulate.catalogue import fault_named
from chargewatch.simulate.meters import SAMPLINGS_S
from chargewatch.simulate.records import Kind
from tests.odd_signs import SIGNS

SEED, NORMAL_SEED = 64_000_000, 65_000_000
EACH = 80
RATES = (1.0, 2.0)
"""Normal sessions in 1,000 that may be reported: the default, and twice as many."""

STEADY = {
    "pack_voltage_swings",
    "pack_voltage_falls",
    "soc_oscillates",
    "soc_rushes_then_stalls",
    "current_hunts",
    "temperature_zigzags",
    "register_limps",
}
"""Kinds in which the power that is sent is as usual, and another quantity is odd."""

SLOWEST_DC_S = 300.0
ODD = Category.UNUSUAL_PROFILE


class Found(NamedTuple):
    """What became of the sessions of one kind.

    Attributes:
        kind: the kind of odd shape.
        sessions: those that show it.
        found: how many are reported as unusual, by rate.
        placed: how many of those found at the first rate are reported at a time that overlaps the label's.
        others: which other categories are reported, and how often.
        by_sampling: sessions, and those found at the first rate, by sampling (s).
    """

    kind: str
    sessions: int
    found: tuple[int, ...]
    placed: int
    others: Counter[str]
    by_sampling: dict[float, tuple[int, int]]


def drawn(kind: str, number: int, each: int) -> Iterator[SimulatedSession]:
    """Yields the sessions of a kind that show it; ``number`` is that of the kind, for its seeds."""
    needs = fault_named(ODD, kind).needs
    slowest = needs.sampling_at_most_s or max(SAMPLINGS_S)
    possible = [s for s in SAMPLINGS_S if s <= slowest and (needs.kind != "dc" or s <= SLOWEST_DC_S)]
    for place in range(each):
        sampling = possible[place // 2 % len(possible)] if place % 2 else None
        ac_only: Kind | None = "ac" if (sampling or 0.0) > SLOWEST_DC_S else needs.kind
        seed = SEED + 10_000 * number + place
        session = simulate_session(seed, fault=ODD, mechanism=kind, sampling_s=sampling, kind=ac_only)
        if session.labels[0].visible and SIGNS[kind](session):
            yield session


def measured(kind: str, each: int = EACH) -> Found:
    """Simulates a kind and judges it at each of the rates."""
    sessions = list(drawn(kind, UNSEEN.index(kind), each))
    verdicts = [
        judge(sessions, DEFAULT_THRESHOLDS._replace(unusual_per_thousand=per_thousand))
        for per_thousand in RATES
    ]
    hits = [[unusual(verdict) for verdict in at_rate] for at_rate in verdicts]
    samplings = sorted({s.sampling_s for s in sessions})
    return Found(
        kind,
        len(sessions),
        tuple(sum(at_rate) for at_rate in hits),
        sum(overlaps(s, v) for s, v in zip(sessions, verdicts[0], strict=True)),
        Counter(str(c) for v in verdicts[0] for c in {a.category for a in v.anomalies} if c is not ODD),
        {
            at: (
                sum(s.sampling_s == at for s in sessions),
                sum(hit for s, hit in zip(sessions, hits[0], strict=True) if s.sampling_s == at),
            )
            for at in samplings
        },
    )


def unusual(verdict: Verdict) -> bool:
    """Whether a verdict reports an unusual profile."""
    return any(anomaly.category is ODD for anomaly in verdict.anomalies)


def overlaps(session: SimulatedSession, verdict: Verdict) -> bool:
    """Whether an unusual profile is reported at the time of the label."""
    (label,) = session.labels
    return any(
        a.category is ODD
        and a.time_range.start_timestamp <= label.end
        and label.start <= a.time_range.end_timestamp
        for a in verdict.anomalies
    )


def table(rows: Sequence[Found]) -> str:
    """Returns the table of kinds (Markdown), with the sums below."""
    head = [
        "| kind | sessions | found at 1 in 1,000 | at 2 in 1,000 | in place | found, by sampling in s | others |",
        "|---|---|---|---|---|---|---|",
    ]
    lines = [
        f"| `{r.kind}` | {r.sessions} | {share(r.found[0], r.sessions)} | {share(r.found[1], r.sessions)} "
        f"| {share(r.placed, r.sessions)} | {_samplings(r)} | {_others(r)} |"
        for r in rows
    ]
    lines += [
        _sums("all in which the power is odd", [r for r in rows if r.kind not in STEADY]),
        _sums("all in which the power is steady", [r for r in rows if r.kind in STEADY]),
        _sums("all", rows),
    ]
    return "\n".join([*head, *lines])


def _sums(name: str, rows: Sequence[Found]) -> str:
    sessions = sum(r.sessions for r in rows)
    sums = [share(sum(r.found[place] for r in rows), sessions) for place in range(len(RATES))]
    placed, others = sum(r.placed for r in rows), sum(sum(r.others.values()) for r in rows)
    return f"| {name} | {sessions} | {' | '.join(sums)} | {share(placed, sessions)} | | {others or ''} |"


def share(part: int, whole: int) -> str:
    """Returns a share as a table shows it."""
    return f"{part / whole:.2f}".removeprefix("0") if whole else "-"


def _samplings(row: Found) -> str:
    return ", ".join(f"{at:.0f}: {hits}/{count}" for at, (count, hits) in row.by_sampling.items())


def _others(row: "Found | Quiet") -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(row.others.items()))


class Quiet(NamedTuple):
    """What was reported of normal behaviour: sessions with UNUSUAL_PROFILE by rate, and other categories."""

    name: str
    sessions: int
    unusual: tuple[int, ...]
    others: Counter[str]


def quietness(name: str, each: int = EACH) -> Quiet:
    """Simulates normal behaviour with unusual figures and judges it at each of the rates."""
    first = NORMAL_SEED + 10_000 * UNSEEN_NORMALS.index(name)
    sessions = [simulate_session(first + place, near_miss=name) for place in range(each)]
    verdicts = [
        judge(sessions, DEFAULT_THRESHOLDS._replace(unusual_per_thousand=per_thousand))
        for per_thousand in RATES
    ]
    others = Counter(str(c) for v in verdicts[0] for c in {a.category for a in v.anomalies} if c is not ODD)
    return Quiet(name, each, tuple(sum(map(unusual, at_rate)) for at_rate in verdicts), others)


def quiet_table(rows: Sequence[Quiet]) -> str:
    """Returns the table of false alarms (Markdown), with the sums below."""
    head = [
        "| normal behaviour | sessions | unusual at 1 in 1,000 | at 2 in 1,000 | others |",
        "|---|---|---|---|---|",
    ]
    lines = [f"| `{r.name}` | {r.sessions} | {r.unusual[0]} | {r.unusual[1]} | {_others(r)} |" for r in rows]
    sums = [sum(r.unusual[place] for r in rows) for place in range(len(RATES))]
    others = sum(sum(r.others.values()) for r in rows)
    lines.append(f"| all | {sum(r.sessions for r in rows)} | {sums[0]} | {sums[1]} | {others or ''} |")
    return "\n".join([*head, *lines])


if __name__ == "__main__":
    kinds, normals = map(measured, UNSEEN), map(quietness, UNSEEN_NORMALS)
    sys.stdout.write(f"{table(list(kinds))}\n\n{quiet_table(list(normals))}\n")
