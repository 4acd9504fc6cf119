"""Calls that wait at the same time are judged as one batch, each with its own verdict."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from chargewatch.domain.verdict import Verdict
from chargewatch.ingest.readings import Reading, ReadingSet, source_of
from chargewatch.server.analysis import service
from chargewatch.server.analysis.service import LARGE_SESSION, Analyser, Case, Declared, judge
from chargewatch.server.clock import microseconds

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 2, 28, tzinfo=UTC)
START = microseconds(NOW - timedelta(hours=6))
REGISTER = source_of(None, "kWh", None, None, None, None)
NOTHING = Declared(False, None, None, None, True, 0, 0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def case(*values: float, every_s: int = 900) -> Case:
    readings = [Reading(START + i * every_s * 1_000_000, str(v), REGISTER) for i, v in enumerate(values)]
    return Case(ReadingSet(readings), NOTHING)


async def test_each_call_gets_its_own_verdict_of_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def counted(cases: list[Case], now: datetime) -> list[Verdict]:
        sizes.append(len(cases))
        return judge(cases, now)

    monkeypatch.setattr(service, "judge", counted)
    analyser = Analyser()
    cases = [case(0, 5, 10), case(0, 5, 1), case(3, 3, 3), case(0, 1, 2)]
    together = await asyncio.gather(*(analyser.verdict(c, NOW) for c in cases))
    assert sizes == [4]
    assert together == [judge([c], NOW)[0] for c in cases]
    assert [v.is_anomaly for v in together] == [False, True, True, False]


async def test_a_fault_stays_with_the_call_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = case(6, 6, 6)

    def faulty(cases: list[Case], now: datetime) -> list[Verdict]:
        if bad in cases:
            raise ArithmeticError
        return judge(cases, now)

    monkeypatch.setattr(service, "judge", faulty)
    analyser = Analyser()
    good, failed = await asyncio.gather(
        analyser.verdict(case(0, 1, 2), NOW), analyser.verdict(bad, NOW), return_exceptions=True
    )
    assert isinstance(good, Verdict)
    assert isinstance(failed, ArithmeticError)


async def test_a_call_that_is_given_up_does_not_disturb_the_others() -> None:
    analyser = Analyser()
    gone = asyncio.create_task(analyser.verdict(case(0, 1, 2), NOW))
    stays = asyncio.create_task(analyser.verdict(case(0, 5, 1), NOW))
    await asyncio.sleep(0)
    gone.cancel()
    assert (await stays).is_anomaly
    assert gone.cancelled() or gone.cancelling()


async def test_a_large_session_is_judged_beside_the_event_loop() -> None:
    large = case(*range(LARGE_SESSION), every_s=1)
    verdict = await Analyser().verdict(large, NOW)
    assert verdict == judge([large], NOW)[0]
