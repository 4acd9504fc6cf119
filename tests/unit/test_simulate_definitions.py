"""The definitions of ``categories.md``, read slowly from the readings alone, and what the simulator makes of them.

Nothing of the simulator but its public records is used here: each definition is a small loop over
what was sent. A visible fault must be found, a normal session must show nothing.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from math import gcd

import pytest

from chargewatch.domain.categories import Category
from chargewatch.simulate import FAULTS, NEAR_MISSES, SimulatedSession, simulate_fleet, simulate_session

FACTORS = {"Wh": 0.001, "kWh": 1.0, "W": 0.001, "kW": 1.0, "A": 1.0, "V": 1.0, "Percent": 1.0, "Celsius": 1.0}
REGISTER = "Energy.Active.Import.Register"
INTERVAL = "Energy.Active.Import.Interval"
POWER = "Power.Active.Import"
WINDOWS_S = (100, 300, 1000, 1900, 2750)  # over which a register proves a level


@dataclass
class Seen:
    """A session's readings by instant, in order of time. Units: s, kWh, kW, A, per cent. None: not sent."""

    at: list[float]
    contexts: list[str | None]
    energy: list[float] | None  # the register, or the running sum of intervals
    step: float
    power: list[float] | None
    soc: list[float] | None
    offered: list[float] | None
    phases: list[int] | None
    target: float | None
    managed: bool
    counted: bool  # energy comes from a register

    def __post_init__(self) -> None:
        self.flow = [0.0]
        for i in range(1, len(self.at)):
            if self.energy is not None:
                rise = max(self.energy[i] - self.energy[i - 1], 0.0)
            else:
                rise = (self.power[i] + self.power[i - 1]) / 2 * (self.at[i] - self.at[i - 1]) / 3600
            self.flow.append(self.flow[-1] + rise)

    def delivered(self, first: int, last: int) -> float:
        return self.flow[last] - self.flow[first]


def seen(session: SimulatedSession, *, only_samples: bool = False) -> Seen:
    columns: dict[tuple[str, str | None], dict[datetime, float]] = {}
    contexts, register_wh = {}, []
    for r in session.readings:
        if only_samples and (r.context or "").startswith("Transaction."):
            continue
        contexts[r.timestamp] = r.context
        columns.setdefault((r.measurand, r.phase), {})[r.timestamp] = float(r.value) * FACTORS[r.unit]
        if r.measurand == REGISTER:
            register_wh.append(Decimal(r.value) * (1000 if r.unit == "kWh" else 1))
    times = sorted(contexts)

    def series(measurand: str) -> list[float] | None:
        phases = [column for (name, _), column in columns.items() if name == measurand]
        return [sum(column[t] for column in phases) for t in times] if phases else None

    offered = series("Power.Offered")
    if offered is None and (amperes := series("Current.Offered")) is not None:
        offered = [a * session.rated_power_kw / max(_offer_a(session), 1e-9) for a in amperes]
    currents = [column for (name, p), column in columns.items() if name == "Current.Import" and p]
    phases = [sum(column[t] > 1 for column in currents) for t in times] if len(currents) > 1 else None
    energy, intervals, target = series(REGISTER), series(INTERVAL), series("Display.TargetSOC")
    if energy is None and intervals is not None:
        energy = [sum(intervals[: i + 1]) for i in range(len(intervals))]
    return Seen(
        at=[(t - session.started_at) / timedelta(seconds=1) for t in times],
        contexts=[contexts[t] for t in times],
        energy=energy,
        step=resolution_kwh(register_wh),
        power=series(POWER),
        soc=_known_soc(series("SoC")),
        offered=offered,
        phases=phases,
        target=target[-1] if target else None,
        managed=session.managed,
        counted=intervals is None and energy is not None,
    )


def _known_soc(soc: list[float] | None) -> list[float] | None:
    """What is no state of charge (0, above 100) counts as the first one that is."""
    if soc is None:
        return None
    first = next((value for value in soc if 0 < value <= 100), 0.0)
    return [value if 0 < value <= 100 else first for value in soc]


def _offer_a(session: SimulatedSession) -> float:
    """Amperes that stand for the rated power: 16 or 32 on AC, at the battery's voltage on DC."""
    if session.kind == "dc":
        return 1000 * session.rated_power_kw / (360 if session.rated_power_kw < 120 else 680)
    return 16 if session.rated_power_kw in (1.9, 3.3, 3.7, 3.8, 4.4, 11.0, 11.5, 13.3) else 32


def resolution_kwh(register_wh: list[Decimal]) -> float:
    """The coarsest decimal step that all counts are multiples of; or the step between the ends, if one is seen."""
    if not register_wh:
        return 0.0
    steps = (step for step in (1000, 100, 10) if all(v % step == 0 for v in register_wh))
    between = sorted(register_wh)[1:-1]
    rises = {int(b - a) for a, b in pairwise(between)}
    seen_step = gcd(*rises) if 0 in rises and gcd(*rises) in rises else 0
    return max(next(steps, 1), min(seen_step, 1000)) / 1000


# --- the definitions ------------------------------------------------------------------------------

Found = list[tuple[Category, float, float]]


def falls(s: Seen) -> Found:
    if not s.counted:
        return []
    tol, highest, low = max(0.01, s.step) + 1e-6, s.energy[0], []
    for at, value in zip(s.at, s.energy, strict=True):
        highest = max(highest, value)
        if highest - value > tol:
            low.append(at)
    return [(Category.KWH_DECREASE, low[0], low[-1])] if low else []


def pits(s: Seen) -> Found:
    if s.managed:
        return []
    return [(Category.ENERGY_PIT, s.at[i], s.at[j]) for i, j in pit_shapes(s) if not _pit_excused(s, i, j)]


def pit_shapes(s: Seen) -> list[tuple[int, int]]:
    """Collapses between two levels, whatever excuses them: positions of the first and last low reading."""
    if len(s.at) < 4:
        return []
    found, i, highest = [], 1, max(_rate(s, k) for k in range(1, len(s.at)))
    while i < len(s.at) - 1:
        j = None if _rate(s, i + 1) > 0.25 * highest else _low_run_end(s, i)
        if j is None:
            i += 1
            continue
        found.append((i, j))
        i = j + 1
    return found


def _low_run_end(s: Seen, i: int) -> int | None:
    """The last j so that readings i to j are a pit: deep, long, between levels of 1 kW and more."""
    before, peak = _level_before(s, i), 0.0
    if before < 1.0 or _rate(s, i) <= 0.25 * before:
        return None
    for j in range(i, len(s.at) - 1):
        lasts = s.at[j] - s.at[i]
        peak = s.power[j] if s.power is not None and s.power[j] > peak else peak
        if lasts > 7200 or peak > 0.25 * before:
            return None
        if lasts < 180 or _rate(s, j + 2 if s.power is not None else j + 1) <= 0.25 * before:
            continue
        after = _level_after(s, j)
        deepest = peak if s.power is not None else _mean_at_most(s, i, j)
        if after >= 1.0 and after >= 0.5 * before and deepest <= 0.25 * min(before, after):
            return j
    return None


def _rate(s: Seen, i: int) -> float:
    """The power just before reading i: that of the reading before, or the mean since it."""
    if s.power is not None:
        return s.power[i - 1]
    return s.delivered(i - 1, i) / (s.at[i] - s.at[i - 1]) * 3600


def _level_before(s: Seen, i: int) -> float:
    """The highest of the last readings of power, or the highest mean that the register proves within 30 min."""
    if s.power is not None:
        return max(s.power[max(i - 3, 0) : i])
    starts = {max(bisect_left(s.at, s.at[i - 1] - w), 0) for w in WINDOWS_S}
    return max((_mean_at_least(s, a, i - 1) for a in starts if a < i - 1), default=0.0)


def _level_after(s: Seen, j: int) -> float:
    if s.power is not None:
        return max(s.power[j + 1 : j + 13])
    ends = {bisect_right(s.at, s.at[j + 1] + w) - 1 for w in WINDOWS_S}
    return max((_mean_at_least(s, j + 1, b) for b in ends if b > j + 1), default=0.0)


def _mean_at_least(s: Seen, first: int, last: int) -> float:
    return (s.delivered(first, last) - s.step) / (s.at[last] - s.at[first]) * 3600


def _mean_at_most(s: Seen, first: int, last: int) -> float:
    return (s.delivered(first, last) + s.step) / (s.at[last] - s.at[first]) * 3600


def _pit_excused(s: Seen, i: int, j: int) -> bool:
    offer_fell = s.offered is not None and min(s.offered[i : j + 1]) <= 0.75 * s.offered[i - 1]
    nearly_full = s.soc is not None and max(s.soc[i : j + 1]) >= 95
    switched = s.phases is not None and max(s.phases[max(i - 3, 0) : i]) != max(s.phases[j + 1 : j + 4])
    return offer_fell or nearly_full or switched


def zero(s: Seen) -> Found:
    last = len(s.at) - 1
    if last < 1 or s.at[last] - s.at[0] < 300 or s.delivered(0, last) >= 0.1:
        return []
    if s.power is not None and max(s.power) > 0.3:
        return []
    stray = all(c == "Sample.Clock" for c in s.contexts)
    full = s.soc is not None and s.soc[0] >= 95
    return [] if stray or full else [(Category.ZERO_SESSION, s.at[0], s.at[last])]


def rests(s: Seen) -> Found:
    last = len(s.at) - 1
    return [
        (Category.CHARGING_EXPECTED, s.at[i], s.at[j])
        for i, j in still_runs(s)
        if _expected(s, i, j) and (j == last or s.at[j] - s.at[i] > 7200)
    ]


def still_runs(s: Seen) -> list[tuple[int, int]]:
    """Runs of readings, after the first, between which no energy flows."""
    found, i, last = [], 1, len(s.at) - 1
    while i < last:
        j = i
        while j < last and _still(s, i, j + 1):
            j += 1
        found.append((i, j))
        i = j + 1
    return found


def _still(s: Seen, i: int, j: int) -> bool:
    """Readings i to j bring no more than one step of the register and a standby of 10 W."""
    if s.power is not None and max(s.power[i], s.power[j]) >= 0.1:
        return False
    return s.delivered(i, j) <= max(s.step, 0.02) + 0.01 * (s.at[j] - s.at[i]) / 3600 + 1e-6


def _expected(s: Seen, i: int, j: int) -> bool:
    lasts, delivered = s.at[j] - s.at[i], s.delivered(0, i)
    if delivered < 0.1 or lasts < 1800:
        return False
    if s.offered is not None and min(s.offered[i : j + 1]) < 1.4:
        return False
    if s.soc is not None:
        low = max(s.soc[i : j + 1]) < 80
        return low and (s.target is None or s.soc[j] < s.target)
    offer_unused = s.offered is not None and delivered < 3 and _abrupt(s, i)
    return offer_unused or (delivered < 0.5 and lasts >= 3600)


def _abrupt(s: Seen, i: int) -> bool:
    if s.power is not None:
        return s.power[i - 1] >= 0.5 * max(s.power[:i])
    means = [s.delivered(k, k + 1) / (s.at[k + 1] - s.at[k]) for k in range(i)]
    return max(means[-2:]) >= 0.5 * max(means)


def anomalies(s: Seen) -> Found:
    found = [*falls(s), *zero(s)]
    return found + ([] if falls(s) else pits(s)) + ([] if zero(s) else rests(s))


# --- what the simulator must make of them ---------------------------------------------------------

DEFINED_HERE = (Category.KWH_DECREASE, Category.ENERGY_PIT, Category.ZERO_SESSION, Category.CHARGING_EXPECTED)
MECHANISMS = [(category, name) for category in DEFINED_HERE for name in FAULTS[category]]
REPAIRED_ELSEWHERE = {"begin_zero_placeholder", "begin_end_other_register", "unit_switch"}


@pytest.mark.parametrize(("category", "mechanism"), MECHANISMS)
def test_a_visible_fault_is_what_its_definition_says(category: Category, mechanism: str) -> None:
    visible = 0
    for seed in range(8):
        session = simulate_session(seed, fault=category, mechanism=mechanism)
        found = anomalies(seen(session))
        assert {c for c, _, _ in found} <= {category}, (seed, found)
        for label in session.labels:
            assert (label.category, label.mechanism) == (category, mechanism)
            start, end = ((t - session.started_at) / timedelta(seconds=1) for t in (label.start, label.end))
            assert start <= end
            if label.visible:
                visible += 1
                assert any(a <= end and start <= b for _, a, b in found), (seed, start, end, found)
    assert visible >= 5


def test_normal_sessions_show_nothing() -> None:
    checked = 0
    fleet = simulate_fleet(stations=40, days=3, seed=20, anomaly_share=0.0, near_miss_share=0.0)
    for session in fleet:
        assert session.labels == []
        assert anomalies(seen(session)) == [], session.session_id
        checked += 1
    assert checked > 400


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_near_misses_show_nothing(name: str) -> None:
    for seed in range(8):
        session = simulate_session(seed, near_miss=name)
        assert session.labels == []
        assert session.near_miss == name
        if name not in REPAIRED_ELSEWHERE:
            assert anomalies(seen(session)) == [], seed


def test_labels_name_readings_that_were_sent() -> None:
    for category, mechanism in MECHANISMS:
        session = simulate_session(3, fault=category, mechanism=mechanism)
        times = {r.timestamp for r in session.readings}
        for label in session.labels:
            assert label.start.tzinfo is UTC
            if label.visible:
                assert {label.start, label.end} <= times
