"""UNUSUAL_PROFILE: the autoencoder cannot reconstruct the shape (``docs/categories.md``).

Whether, says the p-value of the network's score; where and against what, the reconstruction: of the channels that
were reconstructed the one that lies furthest from what was expected, in widths of its distribution.
"""

import math
from bisect import bisect_left, bisect_right
from typing import Final, NamedTuple

import numpy as np

from chargewatch.csar2.physics.finding import Fact, Finding
from chargewatch.csar2.shape_model import Outlook
from chargewatch.domain.categories import Category, Severity
from chargewatch.domain.verdict import DECISION_THRESHOLD
from chargewatch.features.channel_table import BUCKETS, CONTEXT, OF_THE_BATTERY, RECONSTRUCTED, Place
from chargewatch.features.record import SessionRecord
from chargewatch.features.register import WH_PER_KWH
from chargewatch.features.tensor import SessionTensors
from chargewatch.ingest.columns import Flags, Floats

_MOST_FACTS: Final = 5
_CLEAREST: Final = 10.0
_HIGHEST_SCORE: Final = 0.5499  # what a definition proves scores 0.55 or more
_HIGHEST_NORMAL: Final = 0.4999
_IS_DC: Final = [row.name for row in CONTEXT].index("is_dc")
_SAME_MOMENT_S: Final = 1e-3


class _Shown(NamedTuple):
    """How a channel is shown as evidence: in ``unit``, times ``scale`` and, of powers, the session's peak."""

    what: str
    unit: str
    scale: float
    of_peak: bool


_SHOWN: Final = {
    Place.REGISTER_POWER: _Shown("mean power by the register", "kW", 1.0 / WH_PER_KWH, True),
    Place.MEASURED_POWER: _Shown("mean power", "kW", 1.0 / WH_PER_KWH, True),
    Place.MEASURED_TRAVEL: _Shown("restlessness of power", "log", 1.0, False),
    Place.SOC: _Shown("state of charge", "%", 100.0, False),
    Place.OFFERED: _Shown("power on offer", "kW", 1.0 / WH_PER_KWH, True),
    Place.VOLTAGE: _Shown("voltage as a share of its highest", "%", 100.0, False),
    Place.FIRST_PHASE: _Shown("share of L1 in the current", "%", 100.0, False),
    Place.DIVERGENCE: _Shown("register less measured power", "kW", 1.0 / WH_PER_KWH, True),
}


class _Surprise(NamedTuple):
    """One channel of a session against its reconstruction; each of shape (buckets,)."""

    place: Place
    known: Flags
    observed: Floats
    expected: Floats
    apart: Floats


def score_of(p: float, limit: float) -> float:
    """Returns the score of a session by how rare it is: 0.5 at the limit, rising as ``p`` falls.

    ``limit`` is the share of normal sessions that may be reported, less than 1.
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
    is_dc = bool(tensors.context[row, _IS_DC])
    judged = [place for place in RECONSTRUCTED if not (is_dc and place in OF_THE_BATTERY)]
    surprise = max(
        (_surprise(tensors, outlook, row, place) for place in judged),
        key=lambda one: float(one.apart.sum()) / max(int(one.known.sum()), 1),
    )
    first, last = _clearest_run(surprise)
    width_s, end_s = int(tensors.width_ms[row]) / 1000.0, int(tensors.end_ms[row]) / 1000.0
    edges = [end_s - (BUCKETS - k) * width_s for k in range(BUCKETS + 1)]
    at_s = _times(record)
    start_s, stop_s = _readings_around(at_s, edges[first], edges[last + 1])
    rare = Fact("normal sessions in 1,000 that look as unusual", "count", 1000.0 * p, 1000.0 * limit)
    return [
        Finding(
            category=Category.UNUSUAL_PROFILE,
            start_s=start_s,
            end_s=stop_s,
            severity=Severity.INFO,
            strength=0.0,
            facts=(rare, *_facts(surprise, (first, last), float(tensors.peak_w[row]), edges, at_s)),
            score=score_of(p, limit),
        )
    ]


def _surprise(tensors: SessionTensors, outlook: Outlook, row: int, place: Place) -> _Surprise:
    number = RECONSTRUCTED.index(place)
    known: Flags = tensors.masks[row, place]
    observed = tensors.values[row, place].astype(np.float64)
    expected = outlook.expected[row, number].astype(np.float64)
    width = np.exp(outlook.expected[row, len(RECONSTRUCTED) + number].astype(np.float64))
    apart: Floats = np.where(known, np.minimum(np.abs(observed - expected) / width, _CLEAREST), 0.0)
    return _Surprise(place, known, observed, expected, apart)


def _facts(
    surprise: _Surprise, run: tuple[int, int], peak_w: float, edges: list[float], at_s: list[float]
) -> list[Fact]:
    """Returns the most surprising buckets of a run, in order of time, each at its last reading."""
    shown = _SHOWN[surprise.place]
    scale = shown.scale * (peak_w if shown.of_peak else 1.0)
    buckets = [k for k in range(run[0], run[1] + 1) if surprise.known[k]]
    clearest = sorted(sorted(buckets, key=lambda k: -float(surprise.apart[k]))[:_MOST_FACTS])
    return [
        Fact(
            shown.what,
            shown.unit,
            float(surprise.observed[k]) * scale,
            float(surprise.expected[k]) * scale,
            at_s[max(bisect_right(at_s, edges[k + 1] + _SAME_MOMENT_S) - 1, 0)],
        )
        for k in clearest
    ]


def _clearest_run(surprise: _Surprise) -> tuple[int, int]:
    """Returns the run of buckets that lies furthest above the mean distance (the largest sum)."""
    mean = float(surprise.apart.sum()) / max(int(surprise.known.sum()), 1)
    highest = int(np.argmax(surprise.apart))
    best, best_run, run, first = 0.0, (highest, highest), 0.0, 0
    for k, apart in enumerate(surprise.apart.tolist()):
        if run <= 0.0:
            run, first = 0.0, k
        run += apart - mean if surprise.known[k] else 0.0
        if run > best:
            best, best_run = run, (first, k)
    return best_run


def _times(record: SessionRecord) -> list[float]:
    """Returns the times of the readings that show delivery: of the channel with the most of them."""
    return max((record.power.at_s, record.register.at_s, record.interval.at_s), key=len)


def _readings_around(at_s: list[float], start_s: float, end_s: float) -> tuple[float, float]:
    """Returns the first and the last reading of a time; the nearest ones where there is none."""
    first = min(bisect_left(at_s, start_s - _SAME_MOMENT_S), len(at_s) - 1)
    last = max(bisect_right(at_s, end_s + _SAME_MOMENT_S) - 1, first)
    return at_s[first], at_s[last]
