"""Gates change nothing but the time it takes, and the other sessions of a batch change nothing at all."""

from dataclasses import replace
from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chargewatch.csar2.physics import gates
from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS
from chargewatch.domain.verdict import Verdict
from chargewatch.features.batch import SessionBatch
from tests.nasty_sessions import nasty_session, sessions
from tests.sessions import (
    NOW_US,
    POWER,
    REGISTER,
    Session,
    charging,
    columns_of,
    declared_of,
    judge,
    judge_all,
)

BATCH = 250


def in_detail(verdict: Verdict) -> object:
    """Every field, as plain values."""
    return msgspec.to_builtins(verdict)


@settings(
    derandomize=True, deadline=None, max_examples=200, suppress_health_check=list(HealthCheck), database=None
)
@given(st.lists(sessions(), min_size=1, max_size=4))
def test_gates_change_no_verdict_on_drawn_sessions(drawn: list[Session]) -> None:
    assert judge_all(drawn) == judge_all(drawn, gated=False)


@pytest.mark.parametrize(
    "first_seed",
    [
        *range(50_000, 51_000, BATCH),
        *(pytest.param(s, marks=pytest.mark.soak) for s in range(51_000, 52_500, BATCH)),
    ],
)
def test_gates_and_neighbours_change_no_verdict_on_seeded_sessions(first_seed: int) -> None:
    """1,000 sessions, in soak 2,500, in batches of 250: gated, ungated and one by one, equal in every field."""
    nasty = [nasty_session(Random(seed)) for seed in range(first_seed, first_seed + BATCH)]
    gated = judge_all(nasty)
    ungated = judge_all(nasty, gated=False)
    for i, session in enumerate(nasty):
        assert in_detail(gated[i]) == in_detail(ungated[i]), first_seed + i
        if i % 4 == 0:
            assert in_detail(judge(session)) == in_detail(gated[i]), first_seed + i


def test_a_normal_session_passes_no_gate() -> None:
    """What makes a batch fast: the rules are not run at all on most sessions (here: in vain)."""
    normal = charging((60, 11.0)).register(every_s=60).power(every_s=60)
    batch = SessionBatch(columns_of([normal]), declared_of([normal]), NOW_US, DEFAULT_THRESHOLDS)
    assert not gates.need_rules(batch).any()


PIT = charging((30, 11.0), (10, 0.0), (30, 11.0)).register(every_s=60).power(every_s=60)
IDLE = charging((30, 11.0), (45, 0.0)).power(every_s=60).soc((0, 40), (75, 50))
ZERO = charging((20, 0.0)).register(every_s=60)
FALL = (
    charging((30, 11.0)).register(every_s=60).altered(REGISTER, lambda at, wh: wh if at < 15 else wh - 2_000)
)


@pytest.mark.parametrize("absurd", [1e300, -1e300, 1.7e308, 1e15, 9e14, float("inf"), float("nan")])
@pytest.mark.parametrize("measurand", [POWER, REGISTER, "Energy.Active.Import.Interval"])
def test_absurd_values_in_one_session_do_not_touch_the_others(absurd: float, measurand: str) -> None:
    poisoned = charging((30, 11.0)).register(every_s=60).power(every_s=60).intervals(every_s=60)
    poisoned = poisoned.altered(measurand, lambda at, value: absurd if at == 7 else value)
    alone = [judge(session) for session in (PIT, IDLE, ZERO, FALL)]
    together = judge_all([poisoned, PIT, poisoned, IDLE, poisoned, ZERO, poisoned, FALL, poisoned])
    assert together[1::2] == alone
    assert [v.is_anomaly for v in together[1::2]] == [True] * 4


@pytest.mark.parametrize("kwh", [1e15, 999_999_999_999_999.0, -1e15, 1e12])
def test_a_register_at_an_absurd_value_may_stand_still(kwh: float) -> None:
    frozen = charging((30, 11.0)).register(every_s=60, unit="kWh").power(every_s=60)
    frozen = frozen.altered(REGISTER, lambda at, value: kwh)
    together = judge_all([PIT, frozen, IDLE])
    assert together[::2] == [judge(PIT), judge(IDLE)]
    assert together[1] == judge(frozen, gated=False)
    assert together[1].is_anomaly


def test_a_session_many_years_long_does_not_touch_the_others() -> None:
    endless = charging((30, 11.0)).register(every_s=60).power(every_s=60)
    endless = replace(endless, sent=((946_771_200_000_000, 5.0, POWER, "W", None, None, None), *endless.sent))
    together = judge_all([endless, PIT, endless, IDLE, endless])
    assert together[1::2] == [judge(PIT), judge(IDLE)]
    assert together[0] == judge_all([endless], gated=False)[0]


def test_the_place_in_a_large_batch_does_not_matter() -> None:
    batch = [charging((30, 11.0)).register(every_s=300)] * 3_000 + [PIT, IDLE, ZERO, FALL]
    assert judge_all(batch)[-4:] == [judge(PIT), judge(IDLE), judge(ZERO), judge(FALL)]


def test_an_empty_batch_and_sessions_without_readings() -> None:
    assert judge_all([]) == []
    empty = charging((10, 11.0))
    first, second, third = judge_all([empty, PIT, empty])
    assert first == third
    assert second == judge(PIT)
    assert (first.sequence_length, first.is_anomaly, first.energy_kwh) == (0, False, None)
    assert first.confidence <= 0.5
