"""``detect`` gives exactly what the slow twins of ``tests/reference`` give, on realistic but nasty sessions."""

from functools import cache
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings

from chargewatch.domain.verdict import Anomaly, Verdict
from tests.nasty_sessions import nasty_session, sessions
from tests.reference.verdict import Found, Twin
from tests.sessions import START, START_US, Session, charging, judge_all, twin_of

REPAIRS = {"begin_zero_placeholder", "register_mixed", "unit_switched", "unit_scale_suspect"}
SEEDS_A_TEST = 100


def microseconds(at) -> int:
    return START_US + round((at - START).total_seconds() * 1e6)


def as_found(anomaly: Anomaly, *, past: bool = False) -> Found:
    span, units = anomaly.time_range, anomaly.bucket_range
    return Found(
        anomaly.category.value,
        microseconds(span.start_timestamp),
        microseconds(span.end_timestamp),
        str(anomaly.severity),
        None if past else units.start_unit,
        None if past else units.end_unit,
    )


def as_twin(verdict: Verdict) -> Twin:
    """The verdict in the twin's words."""
    return Twin(
        [as_found(a) for a in verdict.anomalies],
        [as_found(a, past=True) for a in verdict.past_anomalies],
        verdict.sequence_length,
        None if verdict.energy_kwh is None else verdict.energy_kwh * 1000.0,
        {note.code for note in verdict.data_quality} & REPAIRS,
    )


@cache
def seeded(seed: int) -> tuple[Session, Twin]:
    """A nasty session and what the twins say; both tests of them need it, and the twins are slow."""
    session = nasty_session(Random(seed))
    return session, twin_of(session)


def assert_agree(session: Session, verdict: Verdict, twins: Twin | None = None) -> None:
    ours, twins = as_twin(verdict), twins or twin_of(session)
    assert ours._replace(energy_wh=None) == twins._replace(energy_wh=None), session
    if twins.energy_wh is None:
        assert ours.energy_wh is None, session
    else:
        assert ours.energy_wh == pytest.approx(twins.energy_wh, rel=1e-9, abs=2e-3), session
    assert verdict.is_anomaly == bool(twins.anomalies) == (verdict.score >= 0.5)


@settings(
    derandomize=True, deadline=None, max_examples=300, suppress_health_check=list(HealthCheck), database=None
)
@given(sessions())
def test_drawn_sessions_are_judged_as_the_twins_judge_them(session: Session) -> None:
    assert_agree(session, judge_all([session])[0])


@pytest.mark.parametrize("first_seed", range(0, 900, SEEDS_A_TEST))
def test_nasty_sessions_are_judged_as_the_twins_judge_them(first_seed: int) -> None:
    nasty = [seeded(seed) for seed in range(first_seed, first_seed + SEEDS_A_TEST)]
    verdicts = judge_all([session for session, _ in nasty])
    for (session, twins), verdict in zip(nasty, verdicts, strict=True):
        assert_agree(session, verdict, twins)


@pytest.mark.soak
@pytest.mark.parametrize("first_seed", range(10_000, 40_000, 1_000))
def test_many_nasty_sessions_are_judged_as_the_twins_judge_them(first_seed: int) -> None:
    nasty = [nasty_session(Random(seed)) for seed in range(first_seed, first_seed + 1_000)]
    for session, verdict in zip(nasty, judge_all(nasty), strict=True):
        assert_agree(session, verdict)


def test_the_nasty_sessions_hold_every_category_and_severity() -> None:
    """Without this the comparison could be one of silence with silence."""
    seen = {(found.category, found.severity) for seed in range(900) for found in seeded(seed)[1].anomalies}
    assert seen == {
        ("KWH_DECREASE", "critical"),
        ("KWH_DECREASE", "warning"),
        ("ENERGY_PIT", "warning"),
        ("ZERO_SESSION", "warning"),
        ("ZERO_SESSION", "info"),
        ("CHARGING_EXPECTED", "warning"),
        ("ENERGY_SPIKE", "critical"),
        ("METER_FROZEN", "critical"),
        ("POWER_ENERGY_MISMATCH", "warning"),
    }


def test_no_reading_at_all() -> None:
    assert_agree(charging((10, 11.0)), judge_all([charging((10, 11.0))])[0])
