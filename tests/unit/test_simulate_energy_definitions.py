"""Frozen, disagreeing and jumping registers: their definitions, read slowly from the readings alone.

A visible fault must be found, its label must lie on it, and nothing else may be found; normal sessions,
near-misses and odd shapes must show nothing.
"""

from datetime import timedelta
from itertools import pairwise

import pytest

from chargewatch.domain.categories import Category
from chargewatch.simulate import (
    FAULTS,
    HELD_OUT,
    NEAR_MISSES,
    SimulatedSession,
    simulate_fleet,
    simulate_session,
)
from chargewatch.simulate.energy_near_misses import ENERGY_NEAR_MISSES
from tests.unit.test_simulate_definitions import Found, Seen, anomalies, falls, seen

ENERGY = (Category.METER_FROZEN, Category.POWER_ENERGY_MISMATCH, Category.ENERGY_SPIKE)
MECHANISMS = [(category, name) for category in ENERGY for name in FAULTS[category]]
ODD = FAULTS[Category.UNUSUAL_PROFILE]
REPAIRED_ELSEWHERE = {"begin_zero_placeholder", "begin_end_other_register", "unit_switch", "rounding"}


def phase_values(session: SimulatedSession, measurand: str) -> dict[object, dict[str, float]]:
    values: dict[object, dict[str, float]] = {}
    for r in session.readings:
        if r.measurand == measurand:
            values.setdefault(r.timestamp, {})[(r.phase or "")[:2]] = float(r.value)
    return values


def told_power(session: SimulatedSession, s: Seen) -> list[float] | None:
    """Power in kW as sent, else the sum over the phases of voltage times current."""
    if s.power is not None:
        return s.power
    amperes, volts = phase_values(session, "Current.Import"), phase_values(session, "Voltage")
    if not amperes or not volts:
        return None
    return [sum(amperes[t][p] * volts[t][p] for p in amperes[t]) / 1000 for t in sorted(amperes)]


def spikes(session: SimulatedSession, s: Seen) -> Found:
    """Rises over more than 1.15 times the rated power since the register last moved, plus 2 tol; or such powers."""
    limit = 1.15 * session.rated_power_kw if session.rated_power_known else 400.0
    tol, found, moved = max(s.step, 0.01), [], 0
    for i in range(1, len(s.at)):
        if not s.counted:
            break
        rise, hours = s.energy[i] - s.energy[i - 1], (s.at[i] - s.at[moved]) / 3600
        climbs_back = i >= 2 and max(s.energy[:i]) > s.energy[i - 1] + tol
        if rise > limit * hours + 2 * tol + 1e-9 and not climbs_back:
            found.append((Category.ENERGY_SPIKE, s.at[i - 1], s.at[i]))
        if rise != 0:
            moved = i
    charging = [i for i in range(len(s.at)) if s.power is not None and s.power[i] >= 1]
    for i in charging[1:]:  # the first may be an inrush
        if s.power[i] > limit:
            found.append((Category.ENERGY_SPIKE, s.at[i], s.at[i]))
    return found


def frozen(session: SimulatedSession, s: Seen) -> Found:
    """Ten minutes of the same count while every reading says 1 kW or more and more than 5 tol must have flowed."""
    power, tol, found = told_power(session, s), max(s.step, 0.01), []
    if power is None or not s.counted:
        return []
    i = 0
    while i < len(s.at) - 1:
        j, energy = i, 0.0
        while j + 1 < len(s.at) and s.energy[j + 1] == s.energy[i] and min(power[j], power[j + 1]) >= 1:
            energy += min(power[j], power[j + 1]) * (s.at[j + 1] - s.at[j]) / 3600
            j += 1
        if s.at[j] - s.at[i] >= 600 and energy > 5 * tol:
            found.append((Category.METER_FROZEN, s.at[i], s.at[j]))
        i = max(j, i + 1)
    return found


def mismatches(s: Seen) -> Found:
    """Half an hour or more in which the rise lies a fifth and 0.5 kWh outside all that the powers allow."""
    if s.power is None or not s.counted:
        return []
    tol = max(s.step, 0.01)
    low, high = [0.0], [0.0]
    for i in range(1, len(s.at)):
        hours = (s.at[i] - s.at[i - 1]) / 3600
        low.append(low[-1] + min(s.power[i - 1 : i + 1]) * hours)
        high.append(high[-1] + max(s.power[i - 1 : i + 1]) * hours)
    found, places = [], range(0, len(s.at), max(len(s.at) // 25, 1))
    for i in places:
        for j in places:
            if s.at[j] - s.at[i] < 1800:
                continue
            rise, least, most = s.energy[j] - s.energy[i], low[j] - low[i], high[j] - high[i]
            slow = least - (rise + tol) > max(0.2 * least, 0.5)
            fast = (rise - tol) - most > max(0.2 * (rise - tol), 0.5)
            if slow or fast:
                found.append((Category.POWER_ENERGY_MISMATCH, s.at[i], s.at[j]))
    return found


def energy_anomalies(session: SimulatedSession) -> Found:
    """By the precedence: what falls or jumps is not frozen as well, and what is frozen does not disagree."""
    s = seen(session)
    if fallen := falls(s):
        return fallen
    return spikes(session, s) or frozen(session, s) or mismatches(s)


def seconds(session: SimulatedSession) -> list[tuple[float, float]]:
    return [
        tuple((t - session.started_at) / timedelta(seconds=1) for t in (label.start, label.end))
        for label in session.labels
    ]


@pytest.mark.parametrize(("category", "mechanism"), MECHANISMS)
@pytest.mark.parametrize("seeds", [range(4), pytest.param(range(4, 12), marks=pytest.mark.soak)], ids=len)
def test_a_visible_fault_is_what_its_definition_says(
    category: Category, mechanism: str, seeds: range
) -> None:
    visible = 0
    for seed in seeds:
        session = simulate_session(seed, fault=category, mechanism=mechanism)
        found = energy_anomalies(session)
        assert {c for c, _, _ in found} <= {category}, (seed, found[:3])
        assert len(session.labels) == 1 or mechanism == "several_jumps"
        for label, (start, end) in zip(session.labels, seconds(session), strict=True):
            assert (label.category, label.mechanism) == (category, mechanism)
            assert start <= end
            if label.visible:
                assert {label.start, label.end} <= {r.timestamp for r in session.readings}
                assert any(a <= end and start <= b for _, a, b in found), (seed, start, end, found[:3])
        visible += any(label.visible for label in session.labels)
    assert visible >= len(seeds) * 5 // 8


def test_each_of_several_jumps_has_its_label() -> None:
    """A jump is shown by the readings before and after it; between two jumps nothing is wrong."""
    several = 0
    for seed in range(12):
        session = simulate_session(seed, fault=Category.ENERGY_SPIKE, mechanism="several_jumps")
        s, spans = seen(session), seconds(session)
        jumps = [(a, b) for _, a, b in spikes(session, s)]
        assert all(any(start <= a and b <= end for start, end in spans) for a, b in jumps), seed
        assert all(a < b for (_, a), (b, _) in pairwise(spans))
        assert sum(sum(start <= at <= end for at in s.at) for start, end in spans) <= 2 * len(jumps)
        several += len(spans) > 1
    assert several >= 6


@pytest.mark.parametrize(("category", "mechanism"), MECHANISMS)
def test_charging_itself_was_ordinary(category: Category, mechanism: str) -> None:
    """The truth at the outlet has none of it: energy below what the station delivers, a car that charges on."""
    for seed in range(20, 22):
        session = simulate_session(seed, fault=category, mechanism=mechanism)
        hours = (session.ended_at - session.started_at) / timedelta(hours=1)
        assert 0.4 < session.energy_kwh <= session.rated_power_kw * hours
        assert session.max_power_kw <= session.rated_power_kw * 1.01


@pytest.mark.parametrize("name", [m.name for m in ENERGY_NEAR_MISSES])
@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(3, 9), marks=pytest.mark.soak)], ids=len)
def test_near_misses_show_nothing(name: str, seeds: range) -> None:
    for seed in seeds:
        session = simulate_session(seed, near_miss=name)
        assert session.labels == []
        assert energy_anomalies(session) == [], seed


@pytest.mark.parametrize("name", sorted(set(NEAR_MISSES) - {m.name for m in ENERGY_NEAR_MISSES}))
def test_other_near_misses_show_none_of_these(name: str) -> None:
    for seed in range(2):
        session = simulate_session(seed, near_miss=name)
        if name not in REPAIRED_ELSEWHERE:
            assert energy_anomalies(session) == [], seed


def test_normal_sessions_show_nothing() -> None:
    checked = 0
    for session in simulate_fleet(stations=14, days=2, seed=21, anomaly_share=0.0, near_miss_share=0.0):
        assert energy_anomalies(session) == [], session.session_id
        checked += 1
    assert checked > 100


@pytest.mark.parametrize("mechanism", ODD)
def test_odd_shapes_meet_no_definition(mechanism: str) -> None:
    visible = 0
    for seed in range(6):
        session = simulate_session(seed, fault=Category.UNUSUAL_PROFILE, mechanism=mechanism)
        assert not session.managed
        assert energy_anomalies(session) == [], seed
        assert anomalies(seen(session)) == [], seed
        (label,), ((start, end),) = session.labels, seconds(session)
        visible += label.visible
        assert end - start >= 240 or not label.visible
    assert visible >= 3


def test_a_drop_out_that_comes_back_is_a_decrease_and_no_spike() -> None:
    for seed in range(8):
        session = simulate_session(seed, fault=Category.KWH_DECREASE, mechanism="drop_out")
        assert {label.category for label in session.labels} == {Category.KWH_DECREASE}
        assert spikes(session, seen(session)) == []


def test_about_half_is_held_out_and_shapes_are_many() -> None:
    for category in ENERGY:
        assert len(FAULTS[category]) >= 6
        assert 0.35 <= len(HELD_OUT[category]) / len(FAULTS[category]) <= 0.6
    held_out = HELD_OUT[Category.UNUSUAL_PROFILE]
    assert len(held_out) >= 8
    assert len(ODD) - len(held_out) >= 8
    assert 0.4 <= sum(m.held_out for m in ENERGY_NEAR_MISSES) / len(ENERGY_NEAR_MISSES) <= 0.6


def test_a_fault_that_the_readings_hide_is_not_visible() -> None:
    hidden = [
        label
        for seed in range(30)
        for label in simulate_session(seed, fault=Category.ENERGY_SPIKE, mechanism="jump_that_stays").labels
        if not label.visible
    ]
    assert hidden
    assert all(label.start <= label.end for label in hidden)
