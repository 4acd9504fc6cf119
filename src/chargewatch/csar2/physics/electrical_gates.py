"""Which sessions need the rules of SoC, phases, voltages and temperature: necessary conditions on all at once."""

from typing import Final

import numpy as np

from chargewatch.csar2.physics.phase_loss import NOMINAL_V
from chargewatch.csar2.physics.voltage_out_of_range import NOMINALS_V
from chargewatch.features.batch import SessionBatch
from chargewatch.ingest.channels import Channel
from chargewatch.ingest.columns import Flags, Floats, Integers, steps
from chargewatch.ingest.phases import Table

_FULL: Final = 100.0
_APART: Final = 1000.0  # beyond any SoC, so that each session's running maximum starts anew
_BLUR: Final = 1e-3
_DC_VOLTAGE_V: Final = 300.0
_NOMINALS: Final = np.array(NOMINALS_V)


def need_electrical_rules(batch: SessionBatch) -> Flags:
    """Marks the sessions of which one of these rules could report something."""
    return _soc_may_drop(batch) | _may_lose_phase(batch) | _voltage_may_stray(batch) | _hot(batch)


def _none(batch: SessionBatch) -> Flags:
    return np.zeros(batch.readings.sessions, np.bool_)


def _owners(offsets: Integers) -> Integers:
    return np.repeat(np.arange(len(offsets) - 1), steps(offsets))


def _soc_may_drop(batch: SessionBatch) -> Flags:
    marked = _none(batch)
    series = batch.series(Channel.SOC)
    if not len(series.value):
        return marked
    sane = (series.value > 0.0) & (series.value <= _FULL)
    owner, soc = _owners(series.offsets)[sane], series.value[sane]
    highest = np.maximum.accumulate(soc + owner * _APART) - owner * _APART
    marked[owner[highest - soc >= batch.thresholds.soc_drop_points - _BLUR]] = True
    return marked


def _may_lose_phase(batch: SessionBatch) -> Flags:
    """Marks sessions in which a phase that carries current at some time carries none while others do."""
    limits = batch.thresholds
    marked = _none(batch)
    by_current = _none(batch)
    for table, volts in ((batch.phases.current, 1.0), (batch.phases.power, NOMINAL_V)):
        if not np.any((steps(table.offsets) > 0) & ~by_current):
            continue
        owner = _owners(table.offsets)
        carried = np.zeros((batch.readings.sessions, table.value.shape[1]), np.bool_)
        instant, phase = np.nonzero(table.value >= limits.phase_carried_a * volts * 0.999)
        carried[owner[instant], phase] = True
        dead = carried[owner] & (table.value <= limits.phase_lost_a * volts * 1.001)
        rest = np.where(dead, 0.0, np.nan_to_num(table.value)).sum(axis=1)
        # The others, each of which carried enough, go on at their share.
        least = limits.phase_others * limits.phase_carried_a * volts * 0.999
        marked[owner[dead.any(axis=1) & (rest >= least)]] = True
        by_current[owner[np.count_nonzero(~np.isnan(table.value), axis=1) >= 2]] = True
    return marked


def _voltage_may_stray(batch: SessionBatch) -> Flags:
    """Marks sessions with a voltage beyond the range of the nominal nearest to any of them."""
    table = batch.phases.voltage
    marked = _none(batch)
    with_phases = steps(table.offsets) > 0
    if len(table.at_s):
        instant, column = np.nonzero(~np.isnan(table.value))
        marked |= _strays(batch, _owners(table.offsets)[instant], table.value[instant, column])
    series = batch.series(Channel.VOLTAGE)
    if len(series.value):
        owner = _owners(series.offsets)
        phased = np.zeros(batch.readings.sessions, np.bool_)
        phased[
            np.searchsorted(batch.readings.offsets, np.flatnonzero(batch.readings.phase > 0), side="right")
            - 1
        ] = True
        highest = _highest(series.value, owner, batch.readings.sessions)
        alone = ~with_phases & ~((highest > _DC_VOLTAGE_V) & ~phased)
        if alone.any():
            own = alone[owner]
            marked |= _strays(batch, owner[own], series.value[own])
    return marked


def _strays(batch: SessionBatch, owner: Integers, volts: Floats) -> Flags:
    """Marks sessions with a value outside the narrowest range that any nominal near its values allows."""
    limits, sessions = batch.thresholds, batch.readings.sessions
    on = volts >= limits.voltage_off_v
    marked = _none(batch)
    marked[owner[~on]] = True  # near zero: the rule looks whether current flows
    marked &= steps(batch.series(Channel.CURRENT).offsets) > 0
    owner, volts = owner[on], volts[on]
    highest = _highest(volts, owner, sessions)
    lowest = -_highest(-volts, owner, sessions)
    some = np.isfinite(highest)
    off = limits.voltage_deviation + limits.voltage_offset
    marked[some] |= lowest[some] < (1.0 - off) * _nearest(highest[some]) + _BLUR
    marked[some] |= highest[some] > (1.0 + off) * _nearest(lowest[some]) - _BLUR
    return marked


def _highest(values: Floats, owner: Integers, sessions: int) -> Floats:
    """Returns the highest value of each session, -inf without any."""
    highest = np.full(sessions, -np.inf)
    if len(values):
        starts = np.flatnonzero(np.concatenate(([1], steps(owner))))
        highest[owner[starts]] = np.maximum.reduceat(values, starts)
    return highest


def _nearest(volts: Floats) -> Floats:
    """Returns the nominal nearest to each voltage, as a share of it."""
    nearest: Floats = _NOMINALS[np.argmin(np.abs(volts[:, None] / _NOMINALS - 1.0), axis=1)]
    return nearest


def _hot(batch: SessionBatch) -> Flags:
    """Marks sessions in which the station was hot."""
    marked = _none(batch)
    table: Table = batch.temperatures
    if len(table.at_s):
        hot = (table.value >= batch.thresholds.thermal_celsius).any(axis=1)
        marked[_owners(table.offsets)[hot]] = True
    return marked
