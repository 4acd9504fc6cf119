"""The energy register of one session: its tolerance, where it falls, and its course without drop-outs."""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, Literal, NamedTuple

from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS, Thresholds

WH_PER_KWH: Final = 1000.0

_ANY_POWER_W: Final = DEFAULT_THRESHOLDS.spike_any_power_kw * WH_PER_KWH
_COARSE_WH: Final = 100.0
_TELLING_VALUES: Final = 6

FallKind = Literal["drop_out", "wrap", "reset", "rollback"]
_WRAPS: Final = tuple(2.0**bits * scale for bits in (16, 31, 32) for scale in (1.0, WH_PER_KWH))


class Fall(NamedTuple):
    """A fall of the register: positions of the last reading before, the first and last low reading.

    ``back`` is the position at which a drop-out has come back, None for the other kinds.
    """

    before: int
    low: int
    end: int
    back: int | None
    kind: FallKind


def tolerance_wh(values: Sequence[float], resolution: float, least_wh: float) -> float:
    """Returns ``tol`` of the definitions; so few values that they may be round by chance show no coarse meter."""
    if resolution > _COARSE_WH and len(set(values)) < _TELLING_VALUES:
        resolution = _COARSE_WH
    return max(resolution, least_wh)


def most_power_w(rated_power_w: float, limits: Thresholds = DEFAULT_THRESHOLDS) -> float:
    """Returns the most power that could be delivered; NaN as rated power means unknown."""
    if math.isnan(rated_power_w):
        return limits.spike_any_power_kw * WH_PER_KWH
    return limits.spike_margin * rated_power_w


def falls(
    at_s: Sequence[float], wh: Sequence[float], tolerance_wh: float, most_w: float = _ANY_POWER_W
) -> list[Fall]:
    """Finds where the register (``wh`` at ``at_s``, in order of time) falls by more than ``tolerance_wh``.

    ``most_w`` is the most power that could be delivered.
    """
    if all(a <= b for a, b in zip(wh, wh[1:], strict=False)):
        return []
    found: list[Fall] = []
    highest_from = list(accumulate(reversed(wh), max))[::-1]
    paces = [(wh[i] - wh[i - 1]) / (at_s[i] - at_s[i - 1]) for i in range(1, len(wh))]
    fastest = list(accumulate(paces, max, initial=0.0))
    begin = peak = 0
    position = 1
    while position < len(wh):
        if wh[position] >= wh[peak]:
            peak = position
        elif wh[position] < wh[peak] - tolerance_wh:
            back = None
            if highest_from[position] >= wh[peak] - tolerance_wh:
                back = _comes_back(at_s, wh, (begin, peak, position), tolerance_wh)
            if back is not None:
                fall = Fall(peak, position, back - 1, back, "drop_out")
            else:
                fall = _lasting(at_s, wh, peak, position, tolerance_wh, most_w, fastest[peak])
            found.append(fall)
            begin = peak = position = fall.end if fall.back is None else fall.back
        position += 1
    return found


def _lasting(
    at_s: Sequence[float],
    wh: Sequence[float],
    peak: int,
    low: int,
    tolerance_wh: float,
    most_w: float,
    fastest: float,
) -> Fall:
    """Describes a fall after which the register does not come back; ``fastest`` is its highest pace before."""
    end = low
    while end + 1 < len(wh) and wh[end + 1] < wh[end] - tolerance_wh:
        end += 1
    seconds = at_s[end] - at_s[peak]
    could_rise = 1.5 * fastest * seconds if fastest > 0 else most_w * seconds / 3600.0
    could_rise += tolerance_wh
    if any(wrap / 2 <= wh[peak] < wrap and 0.0 <= wh[end] + wrap - wh[peak] <= could_rise for wrap in _WRAPS):
        return Fall(peak, low, end, None, "wrap")
    near_zero = wh[end] <= min(WH_PER_KWH, 0.5 * wh[peak])
    return Fall(peak, low, end, None, "reset" if near_zero else "rollback")


def _comes_back(
    at_s: Sequence[float], wh: Sequence[float], fall: tuple[int, int, int], tolerance_wh: float
) -> int | None:
    """Returns where the register is back at its old level in one step of at least half the drop.

    ``fall`` are the first reading since the last fall, the highest one, and the first low one. A step that
    charging explains, at the pace before the fall, brings nothing back.
    """
    begin, peak, low = fall
    lowest = wh[low]
    for position in range(low + 1, len(wh)):
        if wh[position] >= wh[peak] - tolerance_wh:
            step = wh[position] - wh[position - 1]
            pace = (wh[peak] - wh[begin]) / (at_s[peak] - at_s[begin]) if peak > begin else 0.0
            gone_on = wh[peak] + pace * (at_s[position] - at_s[peak])
            charged_wh = pace * (at_s[position] - at_s[position - 1])
            jumps = step >= 0.5 * (wh[peak] - lowest) and (
                step > 1.5 * charged_wh + tolerance_wh
                or abs(wh[position] - gone_on) <= abs(step - charged_wh)
            )
            return position if jumps else None
        lowest = min(lowest, wh[position])
    return None


def steady(
    at_s: Sequence[float], wh: Sequence[float], found: Sequence[Fall]
) -> tuple[list[float], list[float]]:
    """Returns the register without its drop-outs and without rounding: it goes down only where it falls."""
    dropped = {i for fall in found if fall.back is not None for i in range(fall.low, fall.end + 1)}
    fallen = {i for fall in found if fall.back is None for i in range(fall.low, fall.end + 1)}
    kept = [i for i in range(len(wh)) if i not in dropped]
    values: list[float] = []
    for i in kept:
        values.append(wh[i] if not values or i in fallen else max(wh[i], values[-1]))
    return [at_s[i] for i in kept], values
