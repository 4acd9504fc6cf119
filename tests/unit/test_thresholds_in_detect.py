"""A tenant's thresholds in the detector: they decide, gates change nothing, and batches are not mixed."""

import asyncio
from datetime import UTC, datetime
from random import Random

import msgspec
import numpy as np
import pytest

from chargewatch.csar2.detect import detect
from chargewatch.domain.limits import LIMITS, thresholds_with
from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS, Thresholds
from chargewatch.domain.verdict import Verdict
from chargewatch.ingest.readings import Reading, ReadingSet, source_of
from chargewatch.server.analysis.service import Analyser, Case, Declared, judge
from chargewatch.server.clock import microseconds
from tests.nasty_sessions import nasty_session
from tests.sessions import NOW_US, Session, charging, columns_of, declared_of

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 2, 28, tzinfo=UTC)
POWER = source_of("Power.Active.Import", "kW", None, None, None, None)
NOTHING = Declared(False, None, None, None, True, 0, 0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def drawn(rng: Random) -> Thresholds:
    """Any thresholds that a tenant may have: some at their bounds, some between, most at the default."""
    values = {}
    for name, limit in LIMITS.items():
        choice = rng.random()
        if choice < 0.2:
            values[name] = rng.choice([limit.least, limit.most])
        elif choice < 0.5:
            values[name] = rng.uniform(limit.least, limit.most)
    return thresholds_with(values)


def verdicts(sessions: list[Session], thresholds: Thresholds, *, gated: bool = True) -> list[Verdict]:
    return detect(
        columns_of(sessions), declared_of(sessions), now_us=NOW_US, thresholds=thresholds, gated=gated
    )


@pytest.mark.parametrize("seed", range(16))
def test_gates_change_no_verdict_whatever_the_thresholds(seed: int) -> None:
    rng = Random(seed)
    thresholds = drawn(rng)
    nasty = [nasty_session(Random(rng.randrange(10**6))) for _ in range(60)]
    for session, with_gates, without in zip(
        nasty, verdicts(nasty, thresholds), verdicts(nasty, thresholds, gated=False), strict=True
    ):
        assert msgspec.to_builtins(with_gates) == msgspec.to_builtins(without), (thresholds, session)


def test_thresholds_decide() -> None:
    dip = charging((30, 11.0), (10, 2.4), (30, 11.0)).register(every_s=60).power(every_s=60)
    assert [a.category.value for a in verdicts([dip], DEFAULT_THRESHOLDS)[0].anomalies] == ["ENERGY_PIT"]
    assert not verdicts([dip], thresholds_with({"pit_depth": 0.2}))[0].anomalies
    assert not verdicts([dip], thresholds_with({"pit_shortest_s": 900}))[0].anomalies


def dipping(low_kw: float) -> ReadingSet:
    """Power of 11 kW for half an hour, then of ``low_kw`` for ten minutes, then as before."""
    start = microseconds(NOW) - 5 * 3_600_000_000
    powers = np.repeat([11.0, low_kw, 11.0], [30, 10, 30])
    return ReadingSet(Reading(start + i * 60_000_000, str(kw), POWER) for i, kw in enumerate(powers))


async def test_cases_of_tenants_with_other_thresholds_wait_together_and_are_judged_apart() -> None:
    strict, lenient = thresholds_with({"pit_depth": 0.4}), thresholds_with({"pit_depth": 0.1})
    wanted = [(strict, 3.5, True), (DEFAULT_THRESHOLDS, 3.5, False), (lenient, 2.4, False)]
    wanted += [(DEFAULT_THRESHOLDS, 2.4, True), (strict, 5.0, False), (lenient, 1.0, True)]
    cases = [Case(dipping(low_kw), NOTHING, thresholds) for thresholds, low_kw, _ in wanted]
    analyser = Analyser()
    found = await asyncio.gather(*(analyser.verdict(case, NOW) for case in cases))
    assert [verdict.is_anomaly for verdict in found] == [is_anomaly for _, _, is_anomaly in wanted]
    assert found == [judge([case], NOW)[0] for case in cases]
    assert judge([], NOW) == []
