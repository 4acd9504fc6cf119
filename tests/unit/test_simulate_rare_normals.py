"""Normal behaviour with unusual figures: in the list of the definitions, no definition is met, and it looks unusual."""

from itertools import pairwise

import pytest

from chargewatch.evaluate.suite import SuiteSize, suite, training
from chargewatch.simulate import (
    NEAR_MISSES,
    UNSEEN_NORMALS,
    SimulatedSession,
    simulate_fleet,
    simulate_session,
)
from chargewatch.simulate.mechanisms import NORMAL_BEHAVIOUR
from tests.unit.test_simulate_definitions import anomalies, seen
from tests.unit.test_simulate_electrical import electrical, total
from tests.unit.test_simulate_energy_definitions import energy_anomalies

POWER, EXPORT = "Power.Active.Import", "Power.Active.Export"

#: In which words of the closing list of the definitions each is.
LISTED = {
    "cold_ramp": "cold batteries that start low",
    "cold_start_ac": "cold batteries that start low",
    "early_long_taper": "end-of-charge taper and balancing tail",
    "two_step_taper": "end-of-charge taper and balancing tail",
    "stair_curve": "end-of-charge taper and balancing tail",
    "balancing_pulses": "end-of-charge taper and balancing tail",
    "climate_by_thermostat": "climate draw after full",
    "departure_preheating": "climate draw after full",
    "full_car_stays": "full cars plugged in",
    "counts_on_for_a_day": "registers that move on by a few Wh after the end",
    "waits_for_tariff": "scheduled and tariff charging",
    "price_led_pauses": "scheduled and tariff charging",
    "fine_management": "load management in steps",
    "silent_management": "load management in steps",
    "shared_by_modules": "DC power shared between two outlets",
    "solar_clouds": "1p/3p switching on solar surplus",
    "one_phase_all_night": "one- and two-phase cars on three-phase sockets",
    "feeds_by_turns": "V2G export",
    "late_and_repeated": "late and repeated readings",
    "coarse_quarter_hours": "energy-only readings every 15 minutes",
}


def sessions(name: str) -> list[SimulatedSession]:
    return [simulate_session(seed, near_miss=name) for seed in range(52_000, 52_010)]


def powers(session: SimulatedSession) -> list[float]:
    return list(total(session, POWER).values())


def leaps(session: SimulatedSession, share: float) -> int:
    """How often the power, between two readings, goes by so much of its highest."""
    power = powers(session)
    return sum(abs(b - a) > share * max(power) for a, b in pairwise(power))


LOOKS = {
    "cold_ramp": lambda s: powers(s)[4] < 0.75 * max(powers(s)),
    "climate_by_thermostat": lambda s: leaps(s, 0.05) >= 4,
    "price_led_pauses": lambda s: not powers(s) or leaps(s, 0.5) >= 3,
    "fine_management": lambda s: leaps(s, 0.05) >= 8,
    "shared_by_modules": lambda s: leaps(s, 0.1) >= 2,
    "solar_clouds": lambda s: leaps(s, 0.02) >= 20,
    "feeds_by_turns": lambda s: max(total(s, EXPORT).values(), default=0.0) > 1.0,
    "one_phase_all_night": lambda s: s.max_power_kw < 2.0 and s.energy_kwh > 8.0,
    "waits_for_tariff": lambda s: (s.ended_at - s.started_at).total_seconds() > 4 * 3600,
}


def test_each_is_in_the_list_of_the_definitions() -> None:
    assert set(LISTED) == set(UNSEEN_NORMALS)
    assert len(LISTED) == 20
    items = {behaviour.item for behaviour in NORMAL_BEHAVIOUR}
    for words in LISTED.values():
        assert words in items


@pytest.mark.parametrize("name", UNSEEN_NORMALS)
def test_no_definition_is_met(name: str) -> None:
    for session in sessions(name):
        assert (session.labels, session.near_miss) == ([], name)
        assert anomalies(seen(session)) == []
        assert energy_anomalies(session) == []
        assert electrical(session) == {}


@pytest.mark.parametrize("name", LOOKS)
def test_it_looks_unusual(name: str) -> None:
    assert sum(map(LOOKS[name], sessions(name))) >= 7


def test_they_are_made_by_name_alone() -> None:
    size = SuiteSize.scaled(0.01)
    drawn = [case.session for cases in (suite(0, size), training(0, size)) for case in cases]
    drawn += simulate_fleet(stations=10, days=2, seed=3, anomaly_share=0.0, near_miss_share=0.9)
    looked_alike = {session.near_miss for session in drawn}
    assert looked_alike & set(NEAR_MISSES)
    assert not (looked_alike | set(NEAR_MISSES)) & set(UNSEEN_NORMALS)
