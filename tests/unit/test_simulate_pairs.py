"""Two faults at once, sessions of few readings, sessions longer than six hours."""

from datetime import timedelta

import pytest

from chargewatch.domain.categories import Category
from chargewatch.simulate import simulate_session
from chargewatch.simulate.pairs import FIRST, SECOND, common_needs
from chargewatch.simulate.stations import Needs
from tests.unit.test_simulate_definitions import pits, rests, seen
from tests.unit.test_simulate_energy_definitions import falls, frozen, spikes

PAIRS = [(first, second) for first in FIRST for second in SECOND]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_both_faults_are_in_the_readings_at_different_times(first: Category, second: Category) -> None:
    both = 0
    for seed in range(8):
        session = simulate_session(seed, fault=first, second_fault=second)
        assert {label.category for label in session.labels} in ({first, second}, {first})
        if len(session.labels) == 1:
            continue
        assert all(label.visible for label in session.labels)
        both += 1
        s = seen(session)
        found = {
            Category.ENERGY_PIT: pits(s),
            Category.CHARGING_EXPECTED: rests(s),
            Category.KWH_DECREASE: falls(s),
            Category.ENERGY_SPIKE: spikes(session, s),
            Category.METER_FROZEN: frozen(session, s),
        }
        for label in session.labels:
            start, end = ((t - session.started_at) / timedelta(seconds=1) for t in (label.start, label.end))
            assert any(a <= end and start <= b for _, a, b in found[label.category]), (seed, label)
        ordered = sorted(session.labels, key=lambda label: label.start)
        assert all(a.end < b.start for a, b in zip(ordered, ordered[1:], strict=False))
    assert both >= 4


def test_faults_that_cannot_be_together_are_refused() -> None:
    with pytest.raises(ValueError, match="second fault is one of"):
        simulate_session(1, fault=Category.ZERO_SESSION, second_fault=Category.KWH_DECREASE)
    with pytest.raises(ValueError, match="second fault is one of"):
        simulate_session(1, second_fault=Category.KWH_DECREASE)
    with pytest.raises(ValueError, match="second fault is one of"):
        simulate_session(1, fault=Category.ENERGY_PIT, second_fault=Category.ZERO_SESSION)
    with pytest.raises(ValueError, match="exclude each other"):
        common_needs(Needs(kind="ac"), Needs(kind="dc"))


def test_needs_of_both_are_met() -> None:
    needs = common_needs(Needs(sampling_at_most_s=60.0, soc=True), Needs(sampling_at_most_s=30.0, kind="ac"))
    assert (needs.sampling_at_most_s, needs.soc, needs.kind, needs.power) == (30.0, True, "ac", True)


@pytest.mark.parametrize("readings", [3, 5, 12, 20])
def test_a_session_has_as_many_readings_as_asked_for(readings: int) -> None:
    for seed in range(8):
        fault = (None, Category.KWH_DECREASE, Category.ENERGY_SPIKE, Category.ENERGY_PIT)[seed % 4]
        session = simulate_session(seed, fault=fault, readings=readings)
        times = {r.timestamp for r in session.readings}
        assert len(times) == readings
        for label in session.labels:
            assert not label.visible or {label.start, label.end} <= times


def test_thin_sessions_hide_pits_that_dense_ones_show() -> None:
    shown = [
        sum(
            simulate_session(seed, fault=Category.ENERGY_PIT, readings=n).labels[0].visible
            for seed in range(12)
        )
        for n in (3, 20)
    ]
    assert shown[0] == 0
    assert shown[1] >= 6


def test_sessions_longer_than_six_hours() -> None:
    for fault in (None, Category.ENERGY_PIT, Category.METER_FROZEN):
        session = simulate_session(4, fault=fault, stay_s=8 * 3600.0)
        assert session.ended_at - session.started_at >= timedelta(hours=8) - timedelta(seconds=11)
        assert [label.category for label in session.labels] == ([] if fault is None else [fault])


def test_a_near_miss_keeps_its_own_sampling() -> None:
    with pytest.raises(ValueError, match="near-miss rests"):
        simulate_session(1, near_miss="short_dip", readings=5)
    with pytest.raises(ValueError, match="3 to 200"):
        simulate_session(1, readings=2)
