"""Which sessions of a batch the rules on metering need: ENERGY_SPIKE, METER_FROZEN, POWER_ENERGY_MISMATCH.

Necessary conditions, computed on all sessions at once. A register that rises by more than could be delivered
is looked for in ``SessionBatch.suspicious`` already.
"""

from typing import Final, NamedTuple

import numpy as np

from chargewatch.domain.thresholds import Thresholds
from chargewatch.features.batch import NOMINAL_V, SessionBatch
from chargewatch.features.register import WH_PER_KWH
from chargewatch.features.resolution import resolutions_mwh
from chargewatch.ingest.channels import Channel
from chargewatch.ingest.columns import Flags, Floats, Integers, steps
from chargewatch.ingest.selection import Series

_FAR_S: Final = 4e9
_MOST_WH: Final = 1e5  # of one step in a sum; far above every limit
_BLUR_WH: Final = 1.0
_MOST_MILLI: Final = 9e15  # exact as float and integer; what lies beyond is taken for one of the finest steps


class _Readings(NamedTuple):
    """Readings of some sessions, sorted by session and time; ``owner`` is the session of each."""

    owner: Integers
    at_s: Floats
    value: Floats


class _Delivered(NamedTuple):
    """Between neighbouring register readings: their rise, and what power allows for that time, in Wh.

    ``low_wh`` and ``high_wh`` are the sums that the rules draw, ``near_wh`` that of the lower of two
    neighbouring power readings where both say charging. 0 throughout where power is not known.
    """

    owner: Integers
    rise_wh: Floats
    low_wh: Floats
    high_wh: Floats
    near_wh: Floats


def may_misread(batch: SessionBatch) -> Flags:
    """Marks the sessions whose power is beyond belief or differs from what the register counts."""
    power, current = batch.series(Channel.POWER), batch.series(Channel.CURRENT)
    marked = np.zeros(batch.readings.sessions, np.bool_)
    if len(power.at_s):
        owner = _owners(power)
        marked[owner[power.value > batch.most_w[owner]]] = True
    lasting = _lasting(batch)
    with_power = lasting & (steps(power.offsets) >= 2)
    if with_power.any():
        delivered = _delivered(batch, with_power, _of(power, with_power))
        resolution_wh = _resolutions(batch, _suspects(batch.thresholds, delivered))
        marked |= _may_freeze(batch, delivered, resolution_wh) | _may_differ(batch, delivered, resolution_wh)
    with_current = lasting & (steps(power.offsets) == 0) & (steps(current.offsets) >= 2)
    if with_current.any():
        delivered = _delivered(batch, with_current, _drawn(batch, _of(current, with_current)))
        resolution_wh = _resolutions(batch, _suspects(batch.thresholds, delivered))
        marked |= _may_freeze(batch, delivered, resolution_wh)
    return marked


def _owners(series: Series) -> Integers:
    return np.repeat(np.arange(len(series.offsets) - 1), steps(series.offsets))


def _of(series: Series, sessions: Flags) -> _Readings:
    """Returns the readings of the marked sessions."""
    owner = _owners(series)
    if sessions.all():
        return _Readings(owner, series.at_s, series.value)
    kept = sessions[owner]
    return _Readings(owner[kept], series.at_s[kept], series.value[kept])


def _lasting(batch: SessionBatch) -> Flags:
    """Marks sessions whose register is read for long enough."""
    register = batch.series(Channel.REGISTER)
    lasting = steps(register.offsets) >= 2
    some = np.flatnonzero(lasting)
    span_s = register.at_s[register.offsets[1:][some] - 1] - register.at_s[register.offsets[:-1][some]]
    limits = batch.thresholds
    lasting[some] = span_s >= min(limits.frozen_shortest_s, limits.mismatch_shortest_s) - 1e-3
    return lasting


def _drawn(batch: SessionBatch, current: _Readings) -> _Readings:
    """Returns the most power that current may stand for: at the session's highest voltage."""
    voltage = batch.series(Channel.VOLTAGE)
    highest = np.full(batch.readings.sessions, NOMINAL_V)
    np.maximum.at(highest, _owners(voltage), voltage.value)
    return current._replace(value=current.value * highest[current.owner])


def _delivered(batch: SessionBatch, sessions: Flags, power: _Readings) -> _Delivered:
    """Compares the register of the marked sessions with their power."""
    register = _of(batch.series(Channel.REGISTER), sessions)
    place, known = _places(register, power)
    value = np.maximum(power.value, 0.0)
    together = steps(power.owner) == 0
    before, after = value.copy(), value.copy()
    before[1:] = np.where(together, value[:-1], value[1:])
    after[:-1] = np.where(together, value[1:], value[:-1])
    beyond = after.copy()
    beyond[:-1] = np.where(together, after[1:], after[:-1])
    near = np.minimum(value, after)
    near = np.where(near >= batch.thresholds.frozen_power_kw * WH_PER_KWH, near, 0.0)
    low = np.minimum(np.minimum(before, value), np.minimum(after, beyond))
    high = np.maximum(np.maximum(before, value), np.maximum(after, beyond))
    seconds = np.append(np.where(together, steps(power.at_s), 0.0), 0.0)
    beside_s = register.at_s - power.at_s[place]
    step_known = known[1:] & known[:-1] & (steps(register.owner) == 0)

    def between(rate_w: Floats) -> Floats:
        step_wh = np.minimum(rate_w * seconds / 3600.0, 1e7)
        total = np.cumsum(step_wh) - step_wh
        at_register = total[place] + rate_w[place] * beside_s / 3600.0
        return np.where(step_known, steps(at_register), 0.0)

    rise = np.where(step_known, steps(register.value), 0.0)
    return _Delivered(register.owner[1:], rise, between(low), between(high), between(near))


def _places(register: _Readings, power: _Readings) -> tuple[Integers, Flags]:
    """Returns the last power reading at or before each register reading, and whether power is known then."""
    if np.array_equal(register.at_s, power.at_s) and np.array_equal(register.owner, power.owner):
        return np.arange(len(power.at_s)), np.ones(len(power.at_s), np.bool_)
    key = power.owner * _FAR_S + power.at_s
    place = np.searchsorted(key, register.owner * _FAR_S + register.at_s, side="right") - 1
    place = np.maximum(place, 0)
    last = np.searchsorted(power.owner, register.owner, side="right") - 1
    known = (power.owner[place] == register.owner) & (register.at_s <= power.at_s[last] + 0.01)
    return place, known


def _stands(delivered: _Delivered) -> tuple[Integers, Floats]:
    """Returns, of each run of register readings without a move, the session and what ``near_wh`` shows."""
    breaks = np.ones(len(delivered.owner), np.bool_)
    still = delivered.rise_wh == 0
    breaks[1:] = (steps(delivered.owner) != 0) | ~(still[1:] & still[:-1])
    starts = np.flatnonzero(breaks)
    shown = np.add.reduceat(np.where(still, delivered.near_wh, 0.0), starts)
    return delivered.owner[starts], shown


def _suspects(limits: Thresholds, delivered: _Delivered) -> Integers:
    """Returns the sessions that differ if their register counts in the finest steps."""
    if not len(delivered.owner):
        return np.zeros(0, np.int64)
    owner, shown_wh = _stands(delivered)
    least_wh = limits.tolerance_kwh * WH_PER_KWH
    suspects = [owner[shown_wh >= limits.frozen_tolerances * least_wh - _BLUR_WH]]
    apart_wh = limits.mismatch_energy_kwh * WH_PER_KWH + least_wh - _BLUR_WH
    for beyond_wh in (delivered.low_wh - delivered.rise_wh, delivered.rise_wh - delivered.high_wh):
        suspects.append(delivered.owner[_climbs(beyond_wh, delivered.owner) > apart_wh])
    return np.unique(np.concatenate(suspects))


def _resolutions(batch: SessionBatch, sessions: Integers) -> Floats:
    """Returns the resolution of the suspects' registers, infinite for all other sessions."""
    register = batch.series(Channel.REGISTER)
    resolution_wh = np.full(batch.readings.sessions, np.inf)
    if not len(sessions):
        return resolution_wh
    chosen = np.zeros(batch.readings.sessions, np.bool_)
    chosen[sessions] = True
    readings = _of(register, chosen)
    milli = np.round(readings.value * 1000.0)
    absurd = np.abs(milli) > _MOST_MILLI
    milli[absurd] = 0.0
    offsets = np.append(0, np.cumsum(steps(register.offsets)[sessions]))
    coarsest_wh = batch.thresholds.coarsest_resolution_kwh * WH_PER_KWH
    resolutions = resolutions_mwh(milli.astype(np.int64), offsets, round(coarsest_wh * 1000.0))
    resolution_wh[sessions] = resolutions / 1000.0
    resolution_wh[readings.owner[absurd]] = 1.0
    return resolution_wh


def _climbs(values: Floats, owner: Integers) -> Floats:
    """Returns the greatest sum of neighbouring values that ends at each, within its session."""
    clipped = np.clip(values, -_MOST_WH, _MOST_WH)
    total = np.cumsum(clipped)
    far = 2.0 * _MOST_WH * (int(np.bincount(owner).max(initial=0)) + 1)
    # A later session lies so far below the one before that no minimum reaches across.
    shifted = total - total[np.searchsorted(owner, owner)] - owner * far
    before = np.concatenate((shifted[:1] - clipped[:1], shifted[:-1]))
    fresh = np.append(True, steps(owner) != 0)
    before[fresh] = -owner[fresh] * far - clipped[fresh]
    climbs: Floats = shifted - np.minimum.accumulate(before)
    return climbs


def _may_freeze(batch: SessionBatch, delivered: _Delivered, resolution_wh: Floats) -> Flags:
    """Marks sessions whose register stands while power is drawn."""
    marked = np.zeros(batch.readings.sessions, np.bool_)
    if not len(delivered.owner):
        return marked
    limits = batch.thresholds
    owner, shown_wh = _stands(delivered)
    least_wh = limits.frozen_tolerances * limits.tolerance_kwh * WH_PER_KWH
    needed_wh = np.maximum(limits.frozen_steps * resolution_wh, least_wh)
    marked[owner[shown_wh >= needed_wh[owner] - _BLUR_WH]] = True
    return marked


def _may_differ(batch: SessionBatch, delivered: _Delivered, resolution_wh: Floats) -> Flags:
    """Marks sessions with a time over which the register counts less or more than power allows."""
    marked = np.zeros(batch.readings.sessions, np.bool_)
    limits, owner = batch.thresholds, delivered.owner
    if not len(owner) or not np.isfinite(resolution_wh).any():
        return marked
    grain_wh = np.maximum(resolution_wh, limits.tolerance_kwh * WH_PER_KWH)[owner] - _BLUR_WH
    apart_wh = limits.mismatch_energy_kwh * WH_PER_KWH + grain_wh
    sides = (
        (delivered.low_wh - delivered.rise_wh, delivered.low_wh),
        (delivered.rise_wh - delivered.high_wh, delivered.high_wh),
    )
    for beyond_wh, bound_wh in sides:
        apart = np.zeros(len(marked), np.bool_)
        apart[owner[_climbs(beyond_wh, owner) > apart_wh]] = True
        far = np.zeros(len(marked), np.bool_)
        excess_wh = beyond_wh - limits.mismatch_share * bound_wh
        far[owner[_climbs(excess_wh, owner) > grain_wh]] = True
        marked |= apart & far
    return marked
