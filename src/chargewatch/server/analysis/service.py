"""Runs CSAR-2 on sessions for the other slices.

Calls that wait for a verdict in the same turn of the event loop are judged as one batch: most of what judging one
session costs is paid once a batch, so that a busy service spends a fraction of what single calls would. Nobody
waits for a batch to fill: a call alone is judged in the next turn.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

import numpy as np

from chargewatch.csar2.detect import detect
from chargewatch.csar2.shape_model import base_artefact
from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS, Thresholds
from chargewatch.domain.verdict import Verdict
from chargewatch.ingest.columns import NO_TIME, SessionColumns
from chargewatch.ingest.readings import ReadingSet, columns_of
from chargewatch.server.clock import microseconds

#: Fewer stored readings than this are not analysed (contract, section 3).
FEWEST_READINGS: Final = 3
#: A session with more readings is loaded and judged in a thread, so that other calls go on meanwhile.
LARGE_SESSION: Final = 5_000

T = TypeVar("T")


class Declared(NamedTuple):
    """What is declared about a session and its station, beside the readings."""

    managed: bool
    rated_power_kw: float | None
    started_at: datetime | None
    ended_at: datetime | None
    over: bool
    duplicates: int
    out_of_order: int
    overlaps: int = 0


class Case(NamedTuple):
    """One session to judge, by the thresholds of its tenant."""

    readings: ReadingSet
    declared: Declared
    thresholds: Thresholds = DEFAULT_THRESHOLDS


def judge(cases: Sequence[Case], now: datetime) -> list[Verdict]:
    """Judges sessions, those with the same thresholds as one batch."""
    batches: dict[Thresholds, list[int]] = {}
    for place, case in enumerate(cases):
        batches.setdefault(case.thresholds, []).append(place)
    verdicts: dict[int, Verdict] = {}
    for thresholds, places in batches.items():
        judged = _judge_batch([cases[place] for place in places], thresholds, now)
        verdicts.update(zip(places, judged, strict=True))
    return [verdicts[place] for place in range(len(cases))]


def _judge_batch(cases: Sequence[Case], thresholds: Thresholds, now: datetime) -> list[Verdict]:
    declared = [case.declared for case in cases]
    rated_w = [np.nan if d.rated_power_kw is None else d.rated_power_kw * 1000.0 for d in declared]
    sessions = SessionColumns(
        managed=np.array([d.managed for d in declared]),
        over=np.array([d.over for d in declared]),
        rated_power_w=np.array(rated_w),
        started_us=np.array([_moment(d.started_at) for d in declared]),
        ended_us=np.array([_moment(d.ended_at) for d in declared]),
        duplicates=np.array([d.duplicates for d in declared]),
        out_of_order=np.array([d.out_of_order for d in declared]),
        overlaps=np.array([d.overlaps for d in declared]),
    )
    readings = columns_of([case.readings for case in cases])
    return detect(readings, sessions, now_us=microseconds(now), thresholds=thresholds)


def _moment(at: datetime | None) -> int:
    return int(NO_TIME) if at is None else microseconds(at)


async def aside_if_large(readings: int, work: Callable[[], T]) -> T:
    """Returns what the work on so many readings returns, done in a thread where that would hold other calls up."""
    return await asyncio.to_thread(work) if readings >= LARGE_SESSION else work()


class Analyser:
    """Judges sessions for the calls of one process."""

    def __init__(self) -> None:
        """Raises ArtefactError where the base model does not fit this version: at the start, not at the first push."""
        base_artefact()
        self._waiting: list[tuple[Case, asyncio.Future[Verdict]]] = []

    async def verdict(self, case: Case, now: datetime) -> Verdict:
        """Judges one session, together with those that are waiting at the moment.

        Raises:
            Exception: whatever the analysis of this session raises; the others of its batch are not touched.
        """
        if len(case.readings) >= LARGE_SESSION:
            return await aside_if_large(len(case.readings), lambda: judge([case], now)[0])
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Verdict] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._judge_waiting, now)
        self._waiting.append((case, answer))
        return await answer

    def _judge_waiting(self, now: datetime) -> None:
        batch, self._waiting = self._waiting, []
        batch = [(case, answer) for case, answer in batch if not answer.done()]
        try:
            verdicts = judge([case for case, _ in batch], now) if batch else []
        except Exception:  # noqa: BLE001 - one of them is at fault: find out which
            for case, answer in batch:
                _judge_alone(case, now, answer)
        else:
            for (_, answer), verdict in zip(batch, verdicts, strict=True):
                answer.set_result(verdict)


def _judge_alone(case: Case, now: datetime, answer: "asyncio.Future[Verdict]") -> None:
    try:
        answer.set_result(judge([case], now)[0])
    except Exception as fault:  # noqa: BLE001 - raised where the verdict is waited for
        answer.set_exception(fault)
