"""Each mechanism does to the readings what its name says, seen in the readings alone."""

from datetime import timedelta
from itertools import pairwise

import pytest

from chargewatch.domain.categories import Category
from chargewatch.simulate import (
    FAULTS,
    HELD_OUT,
    HELD_OUT_NEAR_MISSES,
    NEAR_MISSES,
    Label,
    SimulatedSession,
    simulate_session,
)
from tests.unit.test_simulate_definitions import REGISTER, Seen, seen, still_runs

SEEDS = range(40, 48)


def sessions(category: Category, mechanism: str) -> list[SimulatedSession]:
    return [simulate_session(seed, fault=category, mechanism=mechanism) for seed in SEEDS]


def visible(category: Category, mechanism: str) -> list[tuple[SimulatedSession, Seen, Label]]:
    """Sessions whose first label is visible, with what was seen and that label."""
    found = [(s, seen(s), s.labels[0]) for s in sessions(category, mechanism) if s.labels[0].visible]
    assert len(found) >= 4
    return found


def within(session: SimulatedSession, s: Seen, label: Label) -> list[int]:
    """Positions of the readings that the label spans."""
    start, end = ((t - session.started_at) / timedelta(seconds=1) for t in (label.start, label.end))
    return [i for i, at in enumerate(s.at) if start <= at <= end]


def test_there_are_at_least_three_mechanisms_of_each_category() -> None:
    assert {
        Category.KWH_DECREASE,
        Category.ENERGY_PIT,
        Category.ZERO_SESSION,
        Category.CHARGING_EXPECTED,
        Category.SOC_DROP,
        Category.PHASE_LOSS,
        Category.VOLTAGE_OUT_OF_RANGE,
        Category.THERMAL_DERATING,
        Category.METER_FROZEN,
        Category.POWER_ENERGY_MISMATCH,
        Category.ENERGY_SPIKE,
        Category.UNUSUAL_PROFILE,
    } <= set(FAULTS)
    assert all(len(set(names)) == len(names) >= 3 for names in FAULTS.values())


# --- the register falls ---------------------------------------------------------------------------


def fall(s: Seen) -> tuple[int, float, float]:
    """Position, height before and height after the first fall."""
    i = next(i for i in range(1, len(s.energy)) if s.energy[i] < s.energy[i - 1])
    return i, s.energy[i - 1], s.energy[i]


def test_a_reset_counts_from_zero_again() -> None:
    for _, s, _ in visible(Category.KWH_DECREASE, "reset_to_zero"):
        i, before, after = fall(s)
        assert before > 0.2
        assert after == 0
        assert s.energy[i:] == sorted(s.energy[i:])


def test_a_rollback_goes_on_from_an_older_count() -> None:
    for _, s, _ in visible(Category.KWH_DECREASE, "rollback"):
        i, before, after = fall(s)
        assert s.energy[0] - 1e-6 <= after < before - max(0.01, s.step)
        assert s.energy[i:] == sorted(s.energy[i:])


@pytest.mark.parametrize("power_of_two", [16, 31, 32])
def test_a_wrap_passes_a_power_of_two(power_of_two: int) -> None:
    limit_kwh = 2**power_of_two / 1000
    for _, s, _ in visible(Category.KWH_DECREASE, f"wrap_2_{power_of_two}"):
        i, before, after = fall(s)
        assert before < limit_kwh
        assert limit_kwh - before < 30
        assert 0 <= after < 30
        assert s.energy[:i] == sorted(s.energy[:i])
        assert s.energy[i:] == sorted(s.energy[i:])


@pytest.mark.parametrize("mechanism", ["drop_out", "stale_count"])
def test_a_drop_out_comes_back(mechanism: str) -> None:
    for session, s, label in visible(Category.KWH_DECREASE, mechanism):
        i, before, _ = fall(s)
        last_good, *low = within(session, s, label)
        assert last_good == i - 1
        assert low == list(range(i, i + len(low)))
        assert 1 <= len(low) <= 4
        assert len({s.energy[k] for k in low}) == 1
        assert s.energy[low[-1] + 1] >= before
        if mechanism == "drop_out":
            assert s.energy[i] == 0
        else:
            assert s.energy[i] in s.energy[:i]


@pytest.mark.parametrize("mechanism", ["reset_to_zero", "rollback", "wrap_2_16", "wrap_2_31", "wrap_2_32"])
def test_a_fall_that_stays_is_shown_by_the_readings_around_it(mechanism: str) -> None:
    """The readings after it count on as they should: they show no fall."""
    for session, s, label in visible(Category.KWH_DECREASE, mechanism):
        i, _, _ = fall(s)
        assert within(session, s, label) == [i - 1, i]
        assert i + 1 < len(s.at)


def test_the_fall_is_neither_at_the_first_nor_at_the_last_readings() -> None:
    for mechanism in FAULTS[Category.KWH_DECREASE]:
        for _, s, _ in visible(Category.KWH_DECREASE, mechanism):
            assert 2 <= fall(s)[0] <= len(s.at) - 3


# --- pits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", FAULTS[Category.ENERGY_PIT])
def test_a_pit_is_deep_long_enough_and_recovers(mechanism: str) -> None:
    for session, s, label in visible(Category.ENERGY_PIT, mechanism):
        low = within(session, s, label)
        assert 180 <= s.at[low[-1]] - s.at[low[0]] <= 7200
        assert not session.managed
        assert s.soc is None or max(s.soc[i] for i in low) < 95
        assert s.offered is None or len(set(s.offered)) == 1
        if s.power is not None:
            before, after = max(s.power[: low[0]]), max(s.power[low[-1] + 1 :])
            assert max(s.power[i] for i in low) <= 0.25 * min(before, after)
            assert after >= max(1.0, 0.5 * before)


def test_each_repeated_collapse_has_its_label() -> None:
    for session in sessions(Category.ENERGY_PIT, "repeated_collapse"):
        assert len(session.labels) >= 2
        assert all(a.end < b.start for a, b in pairwise(session.labels))


def test_a_weak_recovery_is_weak() -> None:
    for session, s, label in visible(Category.ENERGY_PIT, "weak_recovery"):
        if s.power is not None:
            end = within(session, s, label)[-1]
            assert 0.5 * max(s.power) <= max(s.power[end + 1 :]) <= 0.9 * max(s.power)


# --- no energy ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", FAULTS[Category.ZERO_SESSION])
def test_a_zero_session_is_without_energy_to_its_end(mechanism: str) -> None:
    for session, s, label in visible(Category.ZERO_SESSION, mechanism):
        assert (label.start, label.end) == (
            min(r.timestamp for r in session.readings),
            max(r.timestamp for r in session.readings),
        )
        assert s.at[-1] - s.at[0] >= 300
        assert s.delivered(0, len(s.at) - 1) < 0.1
        assert s.power is None or max(s.power) <= 0.3
        assert s.soc is None or s.soc[0] < 95
        assert session.energy_kwh < 0.1


def test_standby_and_nothing_differ() -> None:
    assert max(s.energy_kwh for s in sessions(Category.ZERO_SESSION, "never_starts")) == 0
    assert min(s.energy_kwh for s in sessions(Category.ZERO_SESSION, "standby_draw")) > 0


# --- charging breaks off --------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", FAULTS[Category.CHARGING_EXPECTED])
def test_charging_breaks_off_after_some_energy(mechanism: str) -> None:
    for session, s, label in visible(Category.CHARGING_EXPECTED, mechanism):
        rest = within(session, s, label)
        assert s.delivered(0, rest[0]) >= 0.1
        assert s.delivered(rest[0], rest[-1]) <= max(0.1, s.step) + 1e-6
        assert s.at[rest[-1]] - s.at[rest[0]] >= 1800
        ends = rest[-1] == len(s.at) - 1
        assert ends != (mechanism == "soc_stop_resumes_late")


@pytest.mark.parametrize("mechanism", ["soc_stop", "soc_stop_standby", "soc_stop_resumes_late"])
def test_a_known_state_of_charge_stays_low(mechanism: str) -> None:
    for session, s, label in visible(Category.CHARGING_EXPECTED, mechanism):
        assert max(s.soc[i] for i in within(session, s, label)) < 80


def test_late_resumption_takes_more_than_two_hours() -> None:
    for session, s, label in visible(Category.CHARGING_EXPECTED, "soc_stop_resumes_late"):
        rest = within(session, s, label)
        assert s.at[rest[-1]] - s.at[rest[0]] > 7200
        assert s.delivered(rest[-1], len(s.at) - 1) > 0.1


def test_an_unused_offer_stands() -> None:
    for session, s, label in visible(Category.CHARGING_EXPECTED, "offer_unused"):
        rest = within(session, s, label)
        assert s.soc is None
        assert s.delivered(0, rest[0]) < 3
        assert min(s.offered[i] for i in rest) >= 1.4


def test_an_early_stop_lasts_an_hour() -> None:
    for _, s, _ in visible(Category.CHARGING_EXPECTED, "early_stop"):
        i, j = still_runs(s)[-1]
        assert 0.1 <= s.delivered(0, i) < 0.5
        assert s.at[j] - s.at[i] >= 3600


# --- what cannot be seen --------------------------------------------------------------------------


def test_a_fault_between_two_readings_is_not_visible() -> None:
    hidden = [
        label
        for seed in range(60)
        for label in simulate_session(seed, fault=Category.ENERGY_PIT, sampling_s=900.0).labels
        if not label.visible
    ]
    assert hidden
    assert all(label.start <= label.end for label in hidden)


def test_faults_and_kinds_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="on ac only"):
        simulate_session(1, fault=Category.CHARGING_EXPECTED, mechanism="early_stop", kind="dc")
    with pytest.raises(ValueError, match="no mechanism 'sulks'"):
        simulate_session(1, fault=Category.ENERGY_PIT, mechanism="sulks")
    with pytest.raises(ValueError, match="of which fault"):
        simulate_session(1, mechanism="drop_out")
    with pytest.raises(ValueError, match="has no fault"):
        simulate_session(1, near_miss="short_dip", fault=Category.ENERGY_PIT)
    with pytest.raises(ValueError, match="no near-miss"):
        simulate_session(1, near_miss="sulks")
    with pytest.raises(ValueError, match="each 30 s"):
        simulate_session(1, near_miss="short_dip", sampling_s=300.0)


def test_every_mechanism_needs_a_register_where_it_fails() -> None:
    for mechanism in FAULTS[Category.KWH_DECREASE]:
        for session in sessions(Category.KWH_DECREASE, mechanism):
            assert any(r.measurand == REGISTER for r in session.readings)


def test_a_part_of_each_category_is_held_out() -> None:
    assert set(HELD_OUT) == set(FAULTS)
    for category, names in HELD_OUT.items():
        assert set(names) < set(FAULTS[category])
        assert 0.25 <= len(names) / len(FAULTS[category]) <= 0.6
    assert set(HELD_OUT_NEAR_MISSES) < set(NEAR_MISSES)
    assert 0.4 <= len(HELD_OUT_NEAR_MISSES) / len(NEAR_MISSES) <= 0.6
