"""Odd shapes by another author: no definition is met, nothing of the normal list explains them, and they show.

The definitions are those of ``categories.md``, read slowly from the readings alone; figures stand beside them.
"""

from datetime import timedelta
from itertools import groupby

import pytest

from chargewatch.cli.training_data import Amounts, chunks
from chargewatch.domain.categories import Category
from chargewatch.evaluate.suite import SuiteSize, suite, training
from chargewatch.simulate import (
    FAULTS,
    NEAR_MISSES,
    UNSEEN,
    SimulatedSession,
    simulate_fleet,
    simulate_session,
)
from chargewatch.simulate.catalogue import MECHANISMS, UNSEEN_MECHANISMS
from tests.odd_signs import SIGNS
from tests.unit.test_simulate_definitions import anomalies, seen
from tests.unit.test_simulate_electrical import electrical, total
from tests.unit.test_simulate_energy_definitions import energy_anomalies

ODD = Category.UNUSUAL_PROFILE
SEEDS = range(41_000, 41_012)
STOPS = {"contactor_chatters", "restarts_over_and_over"}
BEGUN = timedelta(seconds=120)  # a plain car starts within 60 s, and its ramp takes 40 s


def sessions(kind: str) -> list[SimulatedSession]:
    return [simulate_session(seed, fault=ODD, mechanism=kind) for seed in SEEDS]


def values(session: SimulatedSession, measurand: str) -> list[list[float]]:
    """Each row of a measurand as sent, in order of time, once charging has begun."""
    rows: dict[tuple[str | None, str | None], list[float]] = {}
    begun = session.started_at + BEGUN
    for r in sorted(session.readings, key=lambda r: r.timestamp):
        if r.measurand == measurand and begun <= r.timestamp < session.ended_at:
            rows.setdefault((r.phase, r.location), []).append(float(r.value))
    return list(rows.values())


def longest_low_s(session: SimulatedSession) -> float:
    """How long readings of power span at most that say a quarter or less of the usual power."""
    power = total(session, "Power.Active.Import")
    usual = max(power.values(), default=0.0)
    begun = [item for item in power.items() if item[0] >= session.started_at + BEGUN]
    runs = (list(run) for low, run in groupby(begun, lambda item: item[1] <= 0.25 * usual) if low)
    return max(((run[-1][0] - run[0][0]).total_seconds() for run in runs), default=0.0)


@pytest.mark.parametrize("kind", UNSEEN)
def test_no_definition_is_met(kind: str) -> None:
    for session in sessions(kind):
        assert [label.category for label in session.labels] == [ODD]
        assert anomalies(seen(session)) == []
        assert energy_anomalies(session) == []
        assert electrical(session) == {}


@pytest.mark.parametrize("kind", UNSEEN)
def test_the_figures_stay_clear_of_the_limits(kind: str) -> None:
    for session in sessions(kind):
        assert longest_low_s(session) < 180.0  # ENERGY_PIT
        assert session.energy_kwh > 0.5  # ZERO_SESSION, CHARGING_EXPECTED
        for register in values(session, "Energy.Active.Import.Register"):
            assert register == sorted(register)  # KWH_DECREASE
        for soc in values(session, "SoC"):
            assert max(max(soc[:i]) - soc[i] for i in range(1, len(soc))) <= 2  # SOC_DROP
        power = total(session, "Power.Active.Import")
        assert max(power.values(), default=0.0) <= 1.15 * session.rated_power_kw  # ENERGY_SPIKE
        for amperes in values(session, "Current.Import"):
            assert max(amperes) < 1.0 or min(amperes) >= 3.0 or kind in STOPS  # PHASE_LOSS
        for celsius in values(session, "Temperature"):
            assert max(celsius) < 60.0  # THERMAL_DERATING


@pytest.mark.parametrize("kind", UNSEEN)
def test_nothing_of_the_normal_list_explains_them(kind: str) -> None:
    """No load management, sharing or solar surplus, no taper or full car, no timer, no export, no late reading."""
    for session in sessions(kind):
        assert not session.managed
        for offered in (*values(session, "Current.Offered"), *values(session, "Power.Offered")):
            assert len(set(offered)) == 1 or kind == "offer_obeyed_late"
        true_soc = [] if kind == "soc_rushes_then_stalls" else values(session, "SoC")
        assert all(max(soc) <= 93 for soc in true_soc)
        for power in values(session, "Power.Active.Import"):
            assert kind in STOPS or max(power) < 0.01 or min(power) > 0.2 * max(power)
        assert not any("Export" in r.measurand for r in session.readings)


@pytest.mark.parametrize("kind", UNSEEN)
def test_the_readings_show_it(kind: str) -> None:
    drawn = [session for session in sessions(kind) if session.labels[0].visible]
    assert len(drawn) >= len(SEEDS) - 2
    assert sum(SIGNS[kind](session) for session in drawn) >= len(drawn) - 2


def test_a_sign_is_not_born_by_ordinary_sessions() -> None:
    """A plain session of the same length shows none of the signs of the power."""
    plain = simulate_session(3, fault=ODD, mechanism="current_hunts")
    assert SIGNS["current_hunts"](plain)
    borne = {kind for kind in UNSEEN[:9] if SIGNS[kind](plain)}
    assert borne == set()


def test_they_are_made_by_name_alone() -> None:
    names = set(UNSEEN)
    assert len(names) == len(UNSEEN) == len(SIGNS) >= 12
    assert names == set(SIGNS)
    assert all(mechanism.held_out for mechanism in UNSEEN_MECHANISMS)
    assert not names & ({m for mechanisms in FAULTS.values() for m in mechanisms} | set(NEAR_MISSES))
    assert not names & {m.name for mechanisms in MECHANISMS.values() for m in mechanisms}
    assert not names & {one.odd for one in chunks(1, Amounts().times(0.01))}


def test_no_fleet_suite_or_training_draws_them() -> None:
    size = SuiteSize.scaled(0.01)
    drawn = [case.session for cases in (suite(0, size), training(0, size)) for case in cases]
    drawn += simulate_fleet(stations=10, days=2, seed=3, anomaly_share=0.9, near_miss_share=0.0)
    drawn += [simulate_session(seed, fault=ODD) for seed in range(20)]
    odd = {label.mechanism for session in drawn for label in session.labels if label.category is ODD}
    assert odd
    assert not odd & set(UNSEEN)
