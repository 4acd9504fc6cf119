"""The resolution of an energy register: the largest step that its values show, of one session or of many.

Meters count in steps of their own: pulses per kWh times the ratio of a transformer. Whoever takes a register in steps
of 0.5 kWh for one of 0.1 kWh sees it stand still where it only has not reached its next step.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from chargewatch.ingest.columns import Integers, steps

_MWH_PER_WH: Final = 1000
#: The steps that are looked for, in hundredths of a power of ten: common pulse constants and transformer ratios.
_HUNDREDTHS: Final = (100, 120, 125, 150, 200, 250, 300, 400, 500, 600, 800)
_FINEST_MWH: Final = _MWH_PER_WH
_COARSEST_MWH: Final = 1000 * _MWH_PER_WH
#: From 1 Wh to 1 kWh, ascending, in mWh.
STEPS_MWH: Final = (
    *(n * decade for decade in (10, 100, 1000) for n in _HUNDREDTHS),
    _COARSEST_MWH,
)
_DECADES_MWH: Final = (1_000, 10_000, 100_000, 1_000_000)
_TELLING: Final = 12  # readings that tell of most sessions that no step is shown
_SINGLE_BITS: Final = 24  # of the significand of a number in single precision
_CLOSE: Final = 20  # a value within this part of a roundness may stand for the round one


def resolution_wh(values: Sequence[float], coarsest_wh: float = 1000.0) -> float:
    """Returns the resolution (in Wh, from 1 Wh to ``coarsest_wh``) that a register's values in Wh show.

    It is the largest power of ten that divides every value or, if that is more, the step by multiples of which the
    readings between the first and the last differ: a register may have begun at any value, and a Begin or End may be
    of another precision. Two of the rises must differ by just that much: one that rises as much at every reading
    shows how evenly is charged, and no step.
    """
    return _resolution_mwh([round(v * _MWH_PER_WH) for v in values], coarsest_wh * _MWH_PER_WH) / _MWH_PER_WH


def _resolution_mwh(mwh: Sequence[int], coarsest_mwh: float) -> int:
    divisor = math.gcd(*mwh)
    if divisor % _MWH_PER_WH:
        mwh = [_denoised(m) for m in mwh]
        divisor = math.gcd(*mwh)
    decimal = _largest(_DECADES_MWH, divisor, coarsest_mwh)
    between = mwh[1:-1]
    for moves in (_steps(between[:_TELLING]), _steps(between)):
        divisor = math.gcd(*moves)
        step = decimal if divisor == decimal else _largest(STEPS_MWH, divisor, coarsest_mwh)
        if step <= decimal:
            return decimal
    rises = sorted({m for m in moves if m >= 0})
    apart = min(_steps(rises), default=0)
    return step if apart and apart == divisor else decimal


def _steps(values: Sequence[int]) -> list[int]:
    return [b - a for a, b in pairwise(values)]


def _largest(sizes_mwh: Sequence[int], divisor_mwh: int, coarsest_mwh: float) -> int:
    """Returns the largest of some sizes that divides the divisor; the finest where none does."""
    for size in reversed(sizes_mwh):
        if size <= coarsest_mwh and divisor_mwh % size == 0:
            return size
    return _FINEST_MWH


def _denoised(mwh: int) -> int:
    """Returns the roundest value that a value with fractions of a Wh may stand for in single precision."""
    if mwh % _MWH_PER_WH == 0:
        return mwh
    noise = abs(mwh) >> _SINGLE_BITS
    for size in reversed(_DECADES_MWH):
        nearest = (mwh + size // 2) // size * size
        if abs(mwh - nearest) <= min(noise, size // _CLOSE):
            return nearest
    return mwh


def resolutions_mwh(mwh: Integers, offsets: Integers, coarsest_mwh: int = _COARSEST_MWH) -> Integers:
    """Returns what ``resolution_wh`` says of each of S sessions, in mWh; shape (S,).

    The register of session s are the values ``offsets[s]:offsets[s + 1]`` of ``mwh``, in order of time, each within
    ±4e18. Without a value it is ``coarsest_mwh``.
    """
    if len(offsets) == 2:
        return np.array([_resolution_mwh(mwh.tolist(), coarsest_mwh)])
    milli = _all_denoised(mwh)
    resolution = _decimals(milli, offsets, coarsest_mwh)
    every = np.arange(len(resolution))
    owner, moves = _moves(milli, offsets, every, _TELLING)
    at_most = _all_largest(STEPS_MWH, _divisors(moves, owner, len(every)), coarsest_mwh)
    owner, moves = _moves(milli, offsets, np.flatnonzero(at_most > resolution), len(milli))
    divisor = _divisors(moves, owner, len(every))
    rises = moves >= 0
    shown = (_least_apart(moves[rises], owner[rises], len(every)) == divisor) & (divisor > 0)
    by_moves = np.where(shown, _all_largest(STEPS_MWH, divisor, coarsest_mwh), _FINEST_MWH)
    return np.maximum(resolution, by_moves)


def _decimals(milli: Integers, offsets: Integers, coarsest_mwh: int) -> Integers:
    """Returns the largest power of ten that divides all values of each session."""
    some = steps(offsets) > 0
    resolution = np.full(len(some), _FINEST_MWH, np.int64)
    starts = offsets[:-1][some]
    for size in _DECADES_MWH:
        if size <= coarsest_mwh:
            odd = np.logical_or.reduceat(milli % size != 0, starts) if len(starts) else np.zeros(0, np.bool_)
            resolution[~some] = size
            resolution[np.flatnonzero(some)[~odd]] = size
    return resolution


def _moves(milli: Integers, offsets: Integers, sessions: Integers, most: int) -> tuple[Integers, Integers]:
    """Returns owner and size of the moves between the readings of some sessions, the first and the last left out.

    Of each session up to ``most`` readings are looked at.
    """
    count = np.minimum(np.maximum(steps(offsets)[sessions] - 2, 0), most)
    owner = np.repeat(sessions, count)
    begin = np.repeat(offsets[:-1][sessions] + 1 - (np.cumsum(count) - count), count)
    values = milli[begin + np.arange(len(owner))]
    together = steps(owner) == 0
    return owner[1:][together], steps(values)[together]


def _divisors(values: Integers, owner: Integers, sessions: int) -> Integers:
    """Returns the greatest common divisor of each session's values; ``owner`` is ascending. 0 without any."""
    divisor = np.zeros(sessions, np.int64)
    if len(values):
        starts = np.flatnonzero(np.append(True, steps(owner) != 0))
        divisor[owner[starts]] = np.gcd.reduceat(np.abs(values), starts)
    return divisor


def _all_largest(sizes_mwh: Sequence[int], divisor_mwh: Integers, coarsest_mwh: int) -> Integers:
    """Returns what ``_largest`` says, in mWh."""
    largest = np.full(len(divisor_mwh), _FINEST_MWH, np.int64)
    for size in sizes_mwh:
        if size <= coarsest_mwh:
            largest[divisor_mwh % size == 0] = size
    return largest


def _least_apart(values: Integers, owner: Integers, sessions: int) -> Integers:
    """Returns by how much two different values of a session differ at least; 0 where there are not two."""
    least = np.zeros(sessions, np.int64)
    order = np.lexsort((values, owner))
    values, owner = values[order], owner[order]
    different = (steps(owner) == 0) & (steps(values) != 0)
    owner, apart = owner[1:][different], steps(values)[different]
    if len(apart):
        starts = np.flatnonzero(np.append(True, steps(owner) != 0))
        least[owner[starts]] = np.minimum.reduceat(apart, starts)
    return least


def _all_denoised(mwh: Integers) -> Integers:
    odd = np.flatnonzero(mwh % _MWH_PER_WH)
    if not len(odd):
        return mwh
    value = mwh[odd]
    noise = np.abs(value) >> _SINGLE_BITS
    clean = value.copy()
    for size in _DECADES_MWH:
        nearest = (value + size // 2) // size * size
        close = np.abs(value - nearest) <= np.minimum(noise, size // _CLOSE)
        clean[close] = nearest[close]
    denoised = mwh.copy()
    denoised[odd] = clean
    return denoised
