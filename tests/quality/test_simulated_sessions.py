"""The rules against the simulator, which shares nothing with them but the definitions.

What was measured on five to ten times as many sessions stands beside each test.
``python -m tests.quality.test_simulated_sessions`` prints the figures that a run of this file rests on.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest

from chargewatch.domain.categories import Category
from chargewatch.domain.verdict import Anomaly, TimeRange, Verdict
from chargewatch.evaluate import columns
from chargewatch.simulate import FAULTS, NEAR_MISSES, Label, SimulatedSession, simulate_session
from tests.sessions import RULES_ONLY

NORMALS, NEAR_MISSES_EACH, FAULTS_EACH = 600, 20, 40
#: Of the quiet ones, as many as a run of the suite has time for; all of them in ``make soak``.
FEWER_NORMALS, FEWER_NEAR_MISSES_EACH = 300, 10
soak = pytest.mark.soak
NEAR_MISS_SEED, FAULT_SEED = 1_000_000, 2_000_000
#: Its label holds several stands of the register; what is found is one of them.
SEVERAL_IN_ONE = ("stuck_intermittently",)
#: A miscount is labelled from its first reading and found over the span that shows it best: most of the label.
BEST_SPAN, MOST = Category.POWER_ENERGY_MISMATCH, 0.9
#: Not all of these are found, and why; the share that is.
NOT_ALL_FOUND = {
    "two_of_three_lost": (
        0.75,
        "between readings over 60 s apart a switch to the first phase cannot be ruled out",
    ),
    "over_voltage": (0.95, "a voltage above 300 V without a phase is taken for that of a DC station"),
    "hot_cable": (0.95, "one of 40; not looked into yet"),
}
#: Of the categories that are defined; how many odd shapes are found is measured by the benchmark.
MECHANISMS = [
    (category, mechanism)
    for category in FAULTS
    for mechanism in FAULTS[category]
    if category is not Category.UNUSUAL_PROFILE
]


def reported(verdict: Verdict) -> list[Anomaly]:
    return [*verdict.anomalies, *verdict.past_anomalies]


def categories(verdict: Verdict) -> set[Category]:
    return {anomaly.category for anomaly in reported(verdict)}


def normals(count: int = NORMALS) -> list[SimulatedSession]:
    return [simulate_session(seed) for seed in range(count)]


def near_misses(name: str, count: int = NEAR_MISSES_EACH) -> list[SimulatedSession]:
    return [simulate_session(NEAR_MISS_SEED + i, near_miss=name) for i in range(count)]


def faulty(category: Category, mechanism: str, count: int = FAULTS_EACH) -> list[SimulatedSession]:
    return [simulate_session(FAULT_SEED + i, fault=category, mechanism=mechanism) for i in range(count)]


class Outcome(NamedTuple):
    """How the sessions of one mechanism were judged.

    Sessions with a visible fault, those found, and those of which another category is reported; the share of
    the labels whose beginning is in what was found, and how much of their time that covers on average.
    """

    visible: int
    found: int
    alien: int
    begun: float
    covered: float


def outcome(category: Category, sessions: Sequence[SimulatedSession]) -> Outcome:
    """Compares the verdicts on sessions of one category with their labels."""
    visible = found = alien = 0
    begun: list[bool] = []
    covered: list[float] = []
    for session, verdict in zip(sessions, judge(sessions), strict=True):
        alien += bool(categories(verdict) - {category})
        labels = [label for label in session.labels if label.visible]
        visible += bool(labels)
        found += bool(labels) and category in categories(verdict)
        spans = [a.time_range for a in reported(verdict) if a.category == category]
        for label in labels:
            begun.append(any(s.start_timestamp <= label.start <= s.end_timestamp for s in spans))
            covered.append(max((share_covered(label, s) for s in spans), default=0.0))
    return Outcome(visible, found, alien, float(np.mean(begun)), float(np.mean(covered)))


def judge(sessions: Sequence[SimulatedSession]) -> list[Verdict]:
    """The rules' verdicts: what the network adds is in ``test_odd_shapes.py``."""
    return columns.judge(sessions, RULES_ONLY)


def share_covered(label: Label, span: TimeRange) -> float:
    """How much of a label's time a span covers; a label of one instant has a second."""
    seconds = max((label.end - label.start).total_seconds(), 1.0)
    common = min(span.end_timestamp, label.end) - max(span.start_timestamp, label.start)
    return min(1.0, max(0.0, common.total_seconds() + 1.0) / seconds)


@pytest.mark.parametrize(
    "part", [pytest.param(p, marks=soak if p * 100 >= FEWER_NORMALS else ()) for p in range(NORMALS // 100)]
)
def test_normal_sessions_stay_quiet(part: int) -> None:
    """Measured: 0 of 6,000."""
    sessions = [simulate_session(seed) for seed in range(part * 100, part * 100 + 100)]
    alarms = [
        (s.session_id, categories(v)) for s, v in zip(sessions, judge(sessions), strict=True) if categories(v)
    ]
    assert alarms == []


@pytest.mark.parametrize("name", NEAR_MISSES)
@pytest.mark.parametrize("count", [FEWER_NEAR_MISSES_EACH, pytest.param(NEAR_MISSES_EACH, marks=soak)])
def test_near_misses_stay_quiet(name: str, count: int) -> None:
    """Measured: 0 of 200 of each kind."""
    sessions = near_misses(name, count)
    alarms = [
        (s.session_id, categories(v)) for s, v in zip(sessions, judge(sessions), strict=True) if categories(v)
    ]
    assert alarms == []


@pytest.mark.parametrize(("category", "mechanism"), MECHANISMS, ids=lambda value: str(value))
def test_visible_faults_are_found_where_they_are(category: Category, mechanism: str) -> None:
    """Every visible fault is found (but for those of ``NOT_ALL_FOUND``), and no other category beside it."""
    judged = outcome(category, faulty(category, mechanism))
    assert judged.visible >= FAULTS_EACH // 2
    found, _ = NOT_ALL_FOUND.get(mechanism, (1.0, ""))
    assert judged.found >= found * judged.visible
    assert judged.alien == 0
    if category is not BEST_SPAN:
        assert judged.begun >= 0.97 * found
    if mechanism not in SEVERAL_IN_ONE:
        assert judged.covered >= (MOST if category is BEST_SPAN else 0.97) * found


def print_figures(times: int) -> None:
    """Prints the figures on ``times`` as many sessions as the tests use."""
    alarms = sum(bool(categories(v)) for v in judge(normals(NORMALS * times)))
    print(f"normal: {alarms} false alarms of {NORMALS * times}")
    for name in NEAR_MISSES:
        counted = Counter(
            c for v in judge(near_misses(name, NEAR_MISSES_EACH * times)) for c in categories(v)
        )
        print(f"{name}: {dict(counted)} of {NEAR_MISSES_EACH * times}")
    for category, mechanism in MECHANISMS:
        judged = outcome(category, faulty(category, mechanism, FAULTS_EACH * times // 2))
        print(f"{category} {mechanism}: {judged}")


if __name__ == "__main__":
    print_figures(10)
