"""UNUSUAL_PROFILE: the autoencoder cannot reconstruct the shape (``docs/categories.md``).

Whether, says the p-value of the network's score; where and against what, the reconstruction.
"""

import math
from bisect import bisect_left, bisect_right
from typing import Final

import numpy as np

from chargewatch.csar2.physics.finding import Fact, Finding
from chargewatch.csar2.shape_model import Outlook
from chargewatch.domain.categories import Category, Severity
from chargewatch.domain.verdict import DECISION_THRESHOLD
from chargewatch.features.channel_table import BUCKETS, RECONSTRUCTED, Place
from chargewatch.features.record import SessionRecord
from chargewatch.features.register import WH_PER_KWH
from chargewatch.features.tensor import SessionTensors, Singles

_MOST_FACTS: Final = 5
_CLEAREST: Final = 10.0
_HIGHEST_SCORE: Final = 0.5499  # what a definition proves scores 0.55 or more
_HIGHEST_NORMAL: Final = 0.4999
_SAME_MOMENT_S: Final = 1e-3


def score_of(p: float, limit: float) -> float:
    """Returns the score of a session by how rare it is: 0.5 at the limit, rising as ``p`` falls.

    ``limit`` is the share of normal sessions that may be reported.
    """
    if p >= 1.0:
        return 0.0
    score = DECISION_THRESHOLD * math.log(max(p, 1e-30)) / math.log(limit)
    if p > limit:
        return round(min(score, _HIGHEST_NORMAL), 4)
    return round(min(max(score, DECISION_THRESHOLD), _HIGHEST_SCORE), 4)


def find(
    record: SessionRecord, tensors: SessionTensors, outlook: Outlook, row: int, limit: float
) -> list[Finding]:
    """Reports a session whose shape at most a share ``limit`` of the normal ones shows, and where."""
    p = float(outlook.p[row])
    place = Place.MEASURED_POWER if tensors.masks[row, Place.MEASURED_POWER].any() else Place.REGISTER_POWER
    known = tensors.masks[row, place]
    observed = tensors.values[row, place]
    centre, width = _expected(outlook.expected[row], place)
    apart = np.where(known, np.abs(observed - centre) / width, 0.0)
    first, last = _clearest_run(np.minimum(apart, _CLEAREST), known)
    at_s = (record.power if place is Place.MEASURED_POWER else record.register).at_s or record.interval.at_s
    width_s, end_s = int(tensors.width_ms[row]) / 1000.0, int(tensors.end_ms[row]) / 1000.0
    edges = [end_s - (BUCKETS - k) * width_s for k in range(BUCKETS + 1)]
    start_s, stop_s = _readings_around(at_s, edges[first], edges[last + 1])
    peak_kw = float(tensors.peak_w[row]) / WH_PER_KWH
    shown = sorted(range(first, last + 1), key=lambda k: -apart[k])[:_MOST_FACTS]
    facts = [
        Fact(
            "mean power of a bucket",
            "kW",
            float(observed[k]) * peak_kw,
            max(float(centre[k]), 0.0) * peak_kw,
            _reading_at(at_s, edges[k + 1]),
        )
        for k in sorted(shown)
        if known[k]
    ]
    rare = Fact("normal sessions in 1,000 that look as unusual", "count", 1000.0 * p, 1000.0 * limit)
    return [
        Finding(
            category=Category.UNUSUAL_PROFILE,
            start_s=start_s,
            end_s=stop_s,
            severity=Severity.INFO,
            strength=0.0,
            facts=(rare, *facts),
            score=score_of(p, limit),
        )
    ]


def _expected(expected: Singles, place: Place) -> tuple[Singles, Singles]:
    """Returns the centre and the width of what was expected of one channel."""
    number = RECONSTRUCTED.index(place)
    width: Singles = np.exp(expected[len(RECONSTRUCTED) + number])
    return expected[number], width


def _clearest_run(
    apart: "np.typing.NDArray[np.floating[np.typing.NBitBase]]", known: "np.typing.NDArray[np.bool_]"
) -> tuple[int, int]:
    """Returns the run of buckets that lies furthest above the mean distance (the largest sum)."""
    over = np.where(known, apart - apart[known].mean(), 0.0).tolist()
    best, run, first, span = -1.0, 0.0, 0, (int(np.argmax(apart)), int(np.argmax(apart)))
    for k, value in enumerate(over):
        if run <= 0.0:
            run, first = 0.0, k
        run += value
        if run > best and value > 0.0:
            best, span = run, (first, k)
    return span


def _readings_around(at_s: list[float], start_s: float, end_s: float) -> tuple[float, float]:
    """Returns the first and the last reading of a time; the nearest ones where there is none."""
    first = min(bisect_left(at_s, start_s - _SAME_MOMENT_S), len(at_s) - 1)
    last = max(bisect_right(at_s, end_s + _SAME_MOMENT_S) - 1, first)
    return at_s[first], at_s[last]


def _reading_at(at_s: list[float], end_s: float) -> float:
    """Returns the last reading of a bucket; the one before it where it has none."""
    return at_s[max(bisect_right(at_s, end_s + _SAME_MOMENT_S) - 1, 0)]
