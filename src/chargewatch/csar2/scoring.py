"""Scores a stream of sessions, in this process or in several, and returns the results as Arrow tables.

The columns are those of ``chargewatch score`` (``interfaces.md``); their values are the very ones that the API
gives for the same readings.
"""

import os
import threading
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from signal import SIG_IGN, SIGINT, signal
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from chargewatch.csar2.detect import detect
from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS, Thresholds
from chargewatch.domain.verdict import Verdict
from chargewatch.ingest.table_slices import SessionSlice

#: With fewer stored readings a session has no verdict (contract, section 3).
FEWEST_READINGS: Final = 3
#: Slices that wait for each worker, so that none of them ever waits.
_AHEAD: Final = 2

_FIELDS: Final[list["pa.Field[Any]"]] = [
    pa.field("session_id", pa.string(), nullable=False),
    pa.field("is_anomaly", pa.bool_()),
    pa.field("anomaly_score", pa.float64()),
    pa.field("anomaly_confidence", pa.float64()),
    pa.field("sequence_length", pa.int32(), nullable=False),
    pa.field("categories", pa.list_(pa.string()), nullable=False),
    pa.field("anomalies", pa.string(), nullable=False),
    pa.field("data_quality", pa.string(), nullable=False),
]
RESULTS: Final = pa.schema(_FIELDS)

_encode: Final = msgspec.json.Encoder().encode


class Results(NamedTuple):
    """The results for a slice of sessions, one row each (schema ``RESULTS``), and the readings behind them."""

    rows: pa.RecordBatch
    readings: int


def available_cores() -> int:
    """Returns how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def score(part: SessionSlice, now_us: int, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> Results:
    """Scores a slice of sessions; ``now_us`` is the present in microseconds since 1970."""
    verdicts = detect(part.readings, part.declared, now_us=now_us, thresholds=thresholds)
    judged = (np.diff(part.readings.offsets) >= FEWEST_READINGS).tolist()
    shown = [v if enough else None for v, enough in zip(verdicts, judged, strict=True)]
    columns = [
        pa.array(part.ids, pa.string()),
        pa.array([None if v is None else v.is_anomaly for v in shown], pa.bool_()),
        pa.array([None if v is None else v.score for v in shown], pa.float64()),
        pa.array([None if v is None else v.confidence for v in shown], pa.float64()),
        pa.array([v.sequence_length for v in verdicts], pa.int32()),
        pa.array([[] if v is None else _categories(v) for v in shown], pa.list_(pa.string())),
        pa.array(["[]" if v is None else _json(v.anomalies) for v in shown], pa.string()),
        pa.array([_json(v.data_quality) for v in verdicts], pa.string()),
    ]
    return Results(pa.record_batch(columns, schema=RESULTS), len(part.readings.at_us))


def _categories(verdict: Verdict) -> list[str]:
    """Returns the categories of a verdict, each once, in the order of its anomalies."""
    return list(dict.fromkeys(anomaly.category.value for anomaly in verdict.anomalies))


def _json(items: tuple[msgspec.Struct, ...]) -> str:
    return _encode(items).decode() if items else "[]"


def score_all(
    parts: Iterable[SessionSlice], now_us: int, workers: int, thresholds: Thresholds = DEFAULT_THRESHOLDS
) -> Generator[Results]:
    """Scores slices in their order, with ``workers`` processes (1: in this one).

    At any time only a few slices for each worker are in memory.

    Raises:
        concurrent.futures.process.BrokenProcessPool: a worker was killed.
    """
    if workers == 1:
        yield from (score(part, now_us, thresholds) for part in parts)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin_worker)
    waiting: deque[Future[Results]] = deque()
    try:
        for part in parts:
            waiting.append(pool.submit(score, part, now_us, thresholds))
            if len(waiting) > workers * (1 + _AHEAD):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    """Leaves Ctrl-C to the parent, and ends with it even when it is killed."""
    signal(SIGINT, SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(parent: int) -> None:
    from multiprocessing.connection import wait

    wait([parent])
    os._exit(1)
