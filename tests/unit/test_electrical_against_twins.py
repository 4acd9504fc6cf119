"""SoC, phases, voltages and temperature: ``detect`` against its slow twins, and against itself without gates."""

from functools import cache
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings

from tests.nasty_electrical import electrical_sessions, nasty_electrical
from tests.reference.verdict import Twin
from tests.sessions import Session, judge, judge_all, twin_of
from tests.unit.test_detect_against_twins import assert_agree

SEEDS_A_TEST = 75


@cache
def seeded(seed: int) -> tuple[Session, Twin]:
    """A nasty session and what the twins say; both tests of them need it, and the twins are slow."""
    session = nasty_electrical(Random(seed))
    return session, twin_of(session)


@settings(
    derandomize=True, deadline=None, max_examples=200, suppress_health_check=list(HealthCheck), database=None
)
@given(electrical_sessions())
def test_drawn_sessions_are_judged_as_the_twins_judge_them(session: Session) -> None:
    verdict = judge(session)
    assert_agree(session, verdict)
    assert judge(session, gated=False) == verdict


@pytest.mark.parametrize("first_seed", range(0, 600, SEEDS_A_TEST))
def test_nasty_sessions_are_judged_as_the_twins_judge_them(first_seed: int) -> None:
    nasty = [seeded(seed) for seed in range(first_seed, first_seed + SEEDS_A_TEST)]
    verdicts = judge_all([session for session, _ in nasty])
    for (session, twins), verdict in zip(nasty, verdicts, strict=True):
        assert_agree(session, verdict, twins)


@pytest.mark.soak
@pytest.mark.parametrize("first_seed", range(10_000, 40_000, 1_000))
def test_many_nasty_sessions_are_judged_as_the_twins_judge_them(first_seed: int) -> None:
    nasty = [nasty_electrical(Random(seed)) for seed in range(first_seed, first_seed + 1_000)]
    for session, verdict in zip(nasty, judge_all(nasty), strict=True):
        assert_agree(session, verdict)


@pytest.mark.parametrize(
    "first_seed",
    [50_000, 50_250, *(pytest.param(s, marks=pytest.mark.soak) for s in range(50_500, 51_500, 250))],
)
def test_gates_and_neighbours_change_no_verdict(first_seed: int) -> None:
    """500 sessions, in soak 1,500, in batches of 250: gated, ungated and one by one, equal in every field."""
    nasty = [nasty_electrical(Random(seed)) for seed in range(first_seed, first_seed + 250)]
    gated = judge_all(nasty)
    assert gated == judge_all(nasty, gated=False)
    assert gated[::5] == [judge(session) for session in nasty[::5]]


def test_the_nasty_sessions_hold_every_category() -> None:
    """Without this the comparison could be one of silence with silence."""
    seen: dict[str, int] = {}
    for seed in range(600):
        for found in seeded(seed)[1].anomalies:
            seen[found.category] = seen.get(found.category, 0) + 1
    for category in ("SOC_DROP", "PHASE_LOSS", "VOLTAGE_OUT_OF_RANGE", "THERMAL_DERATING"):
        assert seen.get(category, 0) >= 10, seen
