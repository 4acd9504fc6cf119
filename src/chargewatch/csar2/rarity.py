"""How rare a network's score is among normal sessions of its kind: split-conformal p-values by stratum.

A session's p-value is the share of normal calibration sessions of its stratum that score at least as high (itself
counted among them). The calibration sessions come from stations and seeds that nothing was fitted on. A stratum with
too few of them borrows those of the next coarser one, which its name in the manifest says.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Final

import numpy as np

from chargewatch.artefacts.manifest import Stratum
from chargewatch.features.channel_table import CONTEXT, Place
from chargewatch.features.tensor import SessionTensors
from chargewatch.ingest.columns import Floats, Integers

#: Fewer normal sessions than this do not tell what one in a thousand looks like.
FEWEST_SESSIONS: Final = 2000
_LEVELS: Final = (
    1.0,
    0.8,
    0.6,
    0.4,
    0.3,
    0.2,
    0.1,
    0.05,
    0.03,
    0.02,
    0.01,
    0.007,
    0.005,
    0.003,
    0.002,
    0.001,
    0.0005,
)
_SHORT_BUCKETS: Final = 20
_KINDS: Final = (("ac", "dc"), ("unmanaged", "managed"), ("register", "measured"), ("short", "long"))
_NAMES: Final = tuple("/".join(names) for names in product(*_KINDS))
STRATA: Final = len(_NAMES)
_PLACES: Final = {row.name: place for place, row in enumerate(CONTEXT)}
#: Of the four marks of a stratum, how many a coarser one still tells apart: kind and management come first.
_COARSER: Final = (4, 3, 2, 1, 0)


def strata_of(tensors: SessionTensors) -> Integers:
    """Returns the stratum of each session, a position in the manifest's ``strata``."""
    marks = (
        tensors.context[:, _PLACES["is_dc"]] > 0.5,
        tensors.context[:, _PLACES["managed"]] > 0.5,
        tensors.masks[:, Place.MEASURED_POWER].any(axis=1),
        tensors.shown >= _SHORT_BUCKETS,
    )
    stratum = np.zeros(len(tensors.shown), np.int64)
    for mark in marks:
        stratum = 2 * stratum + mark
    return stratum


def calibrate(scores: Floats, stratum: Integers) -> tuple[Stratum, ...]:
    """Measures how normal sessions score, in every stratum.

    Args:
        scores: the network's scores of normal sessions that it did not learn from, shape (N,).
        stratum: their strata, shape (N,).
    """
    return tuple(_calibrated(scores, stratum, number) for number in range(len(_NAMES)))


def _calibrated(scores: Floats, stratum: Integers, number: int) -> Stratum:
    for kept in _COARSER:
        shift = len(_KINDS) - kept
        own = np.sort(scores[stratum >> shift == number >> shift])
        if len(own) >= FEWEST_SESSIONS or kept == 0:
            break
    borrowed = "" if kept == len(_KINDS) else f" (from {'/'.join(_NAMES[number].split('/')[:kept]) or 'all'})"
    levels = [level for level in _LEVELS if level * (len(own) + 1) >= 1.0]
    ranks = [max(math.ceil((len(own) + 1) * (1.0 - level)), 1) for level in levels]
    return Stratum(
        _NAMES[number] + borrowed,
        len(own),
        tuple(levels),
        tuple(round(float(own[min(rank, len(own)) - 1]), 4) for rank in ranks),
    )


def p_values(strata: Sequence[Stratum], stratum: Integers, scores: Floats) -> Floats:
    """Returns how rare each score is in its stratum, between 0 and 1.

    Between the levels that were measured its logarithm is interpolated; beyond the last one it falls by e for each
    unit of the score, which only serves the order of the rarest.
    """
    p = np.ones(len(scores))
    for number in sorted(set(stratum.tolist())):
        rows = stratum == number
        known, log_levels = _curve(strata[number].scores, strata[number].levels)
        own = scores[rows]
        p[rows] = np.exp(np.interp(own, known, log_levels) - np.maximum(own - known[-1], 0.0))
    return p


@lru_cache(maxsize=4 * STRATA)
def _curve(scores: tuple[float, ...], levels: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Returns what was measured of a stratum as arrays: scores, and logarithms of their levels."""
    return np.array(scores), np.log(levels)


def uncalibrated() -> tuple[Stratum, ...]:
    """Returns strata that call nothing rare, for a model that has not been calibrated yet."""
    return tuple(Stratum(name, 0, (1.0, 0.5), (0.0, 1e9)) for name in _NAMES)
