"""Which sessions of a batch need the rules at all: necessary conditions, computed on all sessions at once.

A session that no gate lets through cannot have an anomaly (``tests/unit/test_gates.py`` compares with the
rules run on every session); most normal sessions end here, which is what makes a batch fast.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from chargewatch.csar2.physics.electrical_gates import need_electrical_rules
from chargewatch.csar2.physics.energy_pit import FEWEST_READINGS
from chargewatch.csar2.physics.metering_gates import may_misread
from chargewatch.features.batch import SessionBatch, per_session_sum
from chargewatch.features.flow import GAP
from chargewatch.features.register import WH_PER_KWH
from chargewatch.ingest.channels import Channel
from chargewatch.ingest.columns import NO_TIME, Flags, Floats, Integers, steps
from chargewatch.ingest.selection import Series, lower_medians

_FAR_W: Final = 1e9
_FAR_S: Final = 4e9
_BLUR_S: Final = 0.25  # of times beside _FAR_S in a large batch
_MOST_WH: Final = 1e7  # of one reading in a sum over all sessions: the sum stays exact to a hundredth of a Wh
_SLACK_WH: Final = 200.0


def need_rules(batch: SessionBatch) -> Flags:
    """Marks the sessions of which a rule could report something."""
    marked = batch.suspicious | _may_be_zero(batch) | need_electrical_rules(batch)
    for channel, energy_of, power_of in _DELIVERY:
        series = batch.series(channel)
        if len(series.at_s):
            marked |= _may_idle(batch, series, energy_of(series))
            marked |= _may_dip(batch, series, power_of(series))
    return marked | _bridged(batch) | _only_current(batch) | may_misread(batch)


def _owners(series: Series) -> Integers:
    return np.repeat(np.arange(len(series.offsets) - 1), steps(series.offsets))


def _step_seconds(series: Series) -> Floats:
    """Seconds since the reading before, infinite for the first of a session."""
    seconds = np.full(len(series.at_s), np.inf)
    inside = steps(_owners(series)) == 0
    seconds[1:][inside] = steps(series.at_s)[inside]
    return seconds


def _step_power(series: Series) -> Floats:
    """Mean power of each register step; the first reading of a session takes that of the step after it."""
    step = np.concatenate((series.value[:1], steps(series.value)))
    power: Floats = np.maximum(step, 0.0) * 3600.0 / _step_seconds(series)
    return power


def _interval_power(series: Series) -> Floats:
    power: Floats = np.maximum(series.value, 0.0) * 3600.0 / _step_seconds(series)
    return power


def _integrated(power: Series) -> Floats:
    """Energy since the first power reading, running through all sessions.

    So far beyond what can be delivered, readings are cut, lest one session blurs the sums of others.
    """
    value = np.maximum(power.value, 0.0)
    seconds = _step_seconds(power)
    seconds[np.isinf(seconds)] = 0.0
    before = np.concatenate((value[:1], value[:-1]))
    total: Floats = np.cumsum(np.minimum((value + before) / 2 * seconds / 3600.0, _MOST_WH))
    return total


def _accumulated(interval: Series) -> Floats:
    total: Floats = np.cumsum(np.clip(interval.value, 0.0, _MOST_WH))
    return total


def _values(series: Series) -> Floats:
    return series.value


#: The channels that show delivery, each with its running energy (Wh) and its power (W).
_DELIVERY: Final[tuple[tuple[Channel, Callable[[Series], Floats], Callable[[Series], Floats]], ...]] = (
    (Channel.REGISTER, _values, _step_power),
    (Channel.POWER, _integrated, _values),
    (Channel.INTERVAL, _accumulated, _interval_power),
)


def _may_dip(batch: SessionBatch, series: Series, power_w: Floats) -> Flags:
    """Marks sessions with a low between two highs."""
    limits = batch.thresholds
    sessions = batch.readings.sessions
    enough = steps(series.offsets) >= FEWEST_READINGS
    marked = np.zeros(sessions, np.bool_)
    if not enough.any():
        return marked
    owner = _owners(series)
    value = np.clip(power_w, 0.0, _FAR_W / 10)
    before = np.maximum.accumulate(value + owner * _FAR_W) - owner * _FAR_W
    after = (
        np.maximum.accumulate((value + (sessions - owner) * _FAR_W)[::-1])[::-1] - (sessions - owner) * _FAR_W
    )
    level = np.minimum(before, after)
    low = (level >= 0.99 * limits.pit_level_kw * WH_PER_KWH) & (value <= 1.01 * limits.pit_depth * level)
    marked[owner[low]] = True
    return marked & enough & ~batch.sessions.managed


def _may_idle(batch: SessionBatch, series: Series, energy_wh: Floats) -> Flags:
    """Marks sessions with hardly any energy over the last half hour or over two hours in the middle.

    A reading counts from half-way to the one before it, which is how early its flow step can begin.
    """
    limits = batch.thresholds
    marked = np.zeros(batch.readings.sessions, np.bool_)
    owner = _owners(series)
    before_s = _step_seconds(series)
    before_s[np.isinf(before_s)] = 0.0
    begin_s = series.at_s - before_s / 2
    last = series.offsets[1:][owner] - 1
    idle_w = limits.zero_power_kw * WH_PER_KWH
    lasts_s = series.at_s[last] - begin_s + 1e-3
    tail_wh = energy_wh[last] - energy_wh
    idle_wh = idle_w * (series.at_s[last] - series.at_s) / 3600.0 + _SLACK_WH
    marked[owner[(lasts_s >= limits.expected_idle_s) & (tail_wh <= idle_wh)]] = True
    key = owner * _FAR_S + begin_s
    within = np.searchsorted(key, key + limits.expected_resume_s - _BLUR_S, side="right") - 1
    within = np.minimum(within, last)
    idle_wh = idle_w * (series.at_s[within] - series.at_s) / 3600.0 + _SLACK_WH
    still = (lasts_s >= limits.expected_resume_s) & (energy_wh[within] - energy_wh <= idle_wh)
    marked[owner[still]] = True
    return marked


def _bridged(batch: SessionBatch) -> Flags:
    """Marks sessions whose flow from power may take steps from the register: over gaps, and where it shows more."""
    power, register = batch.series(Channel.POWER), batch.series(Channel.REGISTER)
    sessions = batch.readings.sessions
    marked = np.zeros(sessions, np.bool_)
    if not len(power.at_s) or not len(register.at_s):
        return marked
    owner = _owners(power)
    known = _owners(register) * _FAR_S + register.at_s
    key = owner * _FAR_S + power.at_s
    place = np.minimum(np.searchsorted(known, key - _BLUR_S / 2), len(known) - 1)
    register_wh = np.where(np.abs(known[place] - key) < _BLUR_S, register.value[place], np.nan)
    inside = steps(owner) == 0
    gap_s, owner = steps(power.at_s)[inside], owner[1:][inside]
    usual_s = lower_medians(gap_s, owner, sessions)
    more_w = steps(register_wh)[inside] * 3600.0 / gap_s
    higher_w = np.maximum(power.value[1:], power.value[:-1])[inside]
    marked[owner[(gap_s > GAP * usual_s[owner]) | (more_w > 1.2 * np.maximum(higher_w, 0.0) + 290.0)]] = True
    return marked & (steps(register.offsets) >= 2)


def _may_be_zero(batch: SessionBatch) -> Flags:
    """Marks sessions that imported next to nothing."""
    register, power = batch.series(Channel.REGISTER), batch.series(Channel.POWER)
    interval = batch.series(Channel.INTERVAL)
    with_register = steps(register.offsets) >= 2
    with_interval = steps(interval.offsets) >= 1
    energy_wh = np.where(
        with_register,
        batch.register_rises_wh,
        np.where(with_interval, per_session_sum(interval.value, interval), batch.power_integrals_wh),
    )
    known = with_register | with_interval | (steps(power.offsets) >= 2)
    span_us = batch.selection.last_us - batch.selection.first_us
    declared = (batch.sessions.started_us != NO_TIME) | (batch.sessions.ended_us != NO_TIME)
    limits = batch.thresholds
    lasting = declared | (span_us >= limits.zero_connected_s * 1e6)
    marked: Flags = known & lasting & (energy_wh < 1.01 * limits.zero_energy_kwh * WH_PER_KWH)
    return marked


def _only_current(batch: SessionBatch) -> Flags:
    """Marks sessions whose power follows from current and voltage alone."""
    without = steps(batch.series(Channel.POWER).offsets) == 0
    without &= steps(batch.series(Channel.REGISTER).offsets) < 2
    without &= steps(batch.series(Channel.INTERVAL).offsets) == 0
    marked: Flags = without & (steps(batch.series(Channel.CURRENT).offsets) > 0)
    return marked
