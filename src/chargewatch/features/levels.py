"""What holds from reading to reading, in buckets: state of charge, offer, voltage, current and phases."""

from typing import Final, NamedTuple

import numpy as np

from chargewatch.features.batch import SessionBatch
from chargewatch.features.channel_table import BUCKETS, Place
from chargewatch.features.grid import SESSION_BITS, Grid, Made, in_ms, owners
from chargewatch.ingest.channels import Channel
from chargewatch.ingest.columns import Flags, Floats, Integers, steps
from chargewatch.ingest.selection import Series, lower_medians

_DC_VOLTAGE_V: Final = 300.0
_AC_POWER_W: Final = 43_000.0
_NOMINAL_V: Final = 230.0
_LIVE_A: Final = 1.0
_EXPORTING_W: Final = 100.0  # less is the noise of a meter at rest
_EXPORTED_WH: Final = 10.0
_SOC_HOLDS_MS: Final = 1_200_000
_SOC_STEPS: Final = 1_000_000  # of 100 %


def highest_of(series: Series, value: Floats) -> Floats:
    """The highest value of each session, 0 without any."""
    highest = np.zeros(len(series.offsets) - 1)
    if len(value):
        some = steps(series.offsets) > 0
        highest[some] = np.maximum.reduceat(value, series.offsets[:-1][some])
    return highest


class _Levels(NamedTuple):
    """Values that hold until the next one: rows ``offsets[s]:offsets[s + 1]`` of session s, in order of time."""

    offsets: Integers
    at_s: Floats
    value: Floats

    def kept(self, rows: Flags) -> "_Levels":
        """Returns the marked rows only."""
        if rows.all():
            return self
        running = np.concatenate(([0], np.cumsum(rows)))
        return _Levels(running[self.offsets], self.at_s[rows], self.value[rows])


class _Holder:
    """Looks up, for the end of each bucket, the newest reading; channels that are read together only once."""

    def __init__(self, grid: Grid) -> None:
        self._begun = grid.edges_ms[:, 1:] >= 0
        self._sessions = grid.sessions
        self._ends = grid.sessions + np.maximum(grid.edges_ms[:, 1:], 0)
        self._found: dict[bytes, tuple[Integers, Flags]] = {}

    def held(self, levels: _Levels) -> tuple[Floats, Flags]:
        """The newest value at the end of each bucket, and where there is one."""
        key = levels.offsets.tobytes() + levels.at_s.tobytes()
        if key not in self._found:
            self._found[key] = self._place(levels)
        place, known = self._found[key]
        if not len(levels.value):
            return np.zeros(known.shape), known
        return levels.value[place], known

    def held_for(self, levels: _Levels, most_ms: int) -> tuple[Floats, Flags]:
        """The same, where that value is at most so old."""
        level, known = self.held(levels)
        if not len(levels.value):
            return level, known
        place, _ = self._found[levels.offsets.tobytes() + levels.at_s.tobytes()]
        age_ms = self._ends - self._sessions - in_ms(levels.at_s)[place]
        return level, known & (age_ms <= most_ms)

    def _place(self, levels: _Levels) -> tuple[Integers, Flags]:
        owner = owners(steps(levels.offsets))
        keys = (owner << SESSION_BITS) + in_ms(levels.at_s)
        place = keys.searchsorted(self._ends, side="right") - 1
        known = (place >= levels.offsets[:-1, None]) & self._begun
        return np.maximum(place, 0), known


def _levels(series: Series) -> _Levels:
    return _Levels(series.offsets, series.at_s, series.value)


def _between(value: Floats, least: float, most: float) -> Floats:
    """``np.clip`` of finite values, at half of its cost on a few."""
    return np.minimum(np.maximum(value, least), most)


def put_levels(batch: SessionBatch, grid: Grid, share: Floats, is_dc: Flags, made: Made) -> None:
    """Puts state of charge, offer, voltage, current and phases: what holds from reading to reading."""
    holder = _Holder(grid)
    _put_charge(batch, holder, made)
    _put_offers(batch, holder, share, is_dc, made)
    for channel, place in ((Channel.VOLTAGE, Place.VOLTAGE), (Channel.CURRENT, Place.CURRENT)):
        series = batch.series(channel)
        if len(series.value):
            level, known = holder.held(_levels(series))
            highest = np.maximum(highest_of(series, series.value), 1.0)[:, None]
            made.put(place, _between(level / highest, 0.0, 1.0), known)
    _put_first_phase(batch, holder, made)
    current = batch.series(Channel.CURRENT)
    if len(current.value) and (current.phases >= 0).any():
        level, known = holder.held(_Levels(current.offsets, current.at_s, current.phases.astype(np.float64)))
        made.put(Place.PHASES, level / 3.0, known & (level >= 0))


def _put_charge(batch: SessionBatch, holder: _Holder, made: Made) -> None:
    """Puts the highest state of charge so far, where one was read lately.

    Falls are no shape of charging: they belong to SOC_DROP, recalibration, and cars that give energy back. Of those
    nothing is put.
    """
    soc = batch.series(Channel.SOC)
    if not len(soc.value):
        return
    sane = (soc.value > 0.0) & (soc.value <= 100.0)  # 0 and 65535 are placeholders
    levels = _levels(soc).kept(sane & ~np.repeat(_gives_back(batch), steps(soc.offsets)))
    before = 2 * _SOC_STEPS * owners(steps(levels.offsets))  # so that no session's reaches into the next
    units = np.rint(levels.value * (_SOC_STEPS / 100.0)).astype(np.int64)
    highest = (np.maximum.accumulate(units + before) - before) / _SOC_STEPS
    level, known = holder.held_for(levels._replace(value=highest), _SOC_HOLDS_MS)
    made.put(Place.SOC, level, known)


def _gives_back(batch: SessionBatch) -> Flags:
    """Which sessions show energy going to the grid (`SessionRecord.exported`)."""
    power, export = batch.series(Channel.POWER), batch.series(Channel.POWER_EXPORT)
    register, interval = batch.series(Channel.EXPORT_REGISTER), batch.series(Channel.EXPORT_INTERVAL)
    back: Flags = (highest_of(power, -power.value) >= _EXPORTING_W) | (
        highest_of(export, export.value) >= _EXPORTING_W
    )
    if len(register.value):
        some = np.flatnonzero(steps(register.offsets))
        last, first = register.offsets[1:][some] - 1, register.offsets[:-1][some]
        back[some] |= register.value[last] - register.value[first] > _EXPORTED_WH
    if len(interval.value):
        some = np.flatnonzero(steps(interval.offsets))
        back[some] |= np.add.reduceat(interval.value, interval.offsets[:-1][some]) > _EXPORTED_WH
    return back


def _put_offers(batch: SessionBatch, holder: _Holder, share: Floats, is_dc: Flags, made: Made) -> None:
    """Puts the power on offer: as sent, of other sessions what the current on offer stands for."""
    offered, current = batch.series(Channel.POWER_OFFERED), batch.series(Channel.CURRENT_OFFERED)
    if not len(offered.value) and not len(current.value):
        return
    known = np.zeros((len(share), BUCKETS), np.bool_)
    watts = np.zeros(known.shape)
    if len(current.value):
        level, known = holder.held(_levels(current))
        watts = level * _volts_offered(batch, is_dc)[:, None]
    if len(offered.value):
        by_power = (steps(offered.offsets) > 0)[:, None]
        level, sent = holder.held(_levels(offered))
        watts, known = np.where(by_power, level, watts), np.where(by_power, sent, known)
    made.put(Place.OFFERED, _between(watts / share, 0.0, 4.0), known)


def _put_first_phase(batch: SessionBatch, holder: _Holder, made: Made) -> None:
    """Puts the share of L1 in the current, at the instants that have two phases or more and 1 A in all."""
    table = batch.phases.current
    if not len(table.at_s):
        return
    amperes = np.maximum(np.nan_to_num(table.value), 0.0)
    total = amperes[:, 0] + amperes[:, 1] + amperes[:, 2]
    several = (~np.isnan(table.value)).sum(axis=1) >= 2
    share = amperes[:, 0] / np.maximum(total, _LIVE_A)
    shares = _Levels(table.offsets, table.at_s, share).kept(several & (total >= _LIVE_A))
    level, known = holder.held(shares)
    made.put(Place.FIRST_PHASE, level, known)


def _volts_offered(batch: SessionBatch, is_dc: Flags) -> Floats:
    """What an ampere on offer is in W: the usual voltage times the phases in use (`SessionRecord.offered_w`)."""
    sessions = batch.readings.sessions
    voltage, current = batch.series(Channel.VOLTAGE), batch.series(Channel.CURRENT)
    volts = np.full(sessions, _NOMINAL_V)
    if len(voltage.value):
        owner = np.repeat(np.arange(sessions), steps(voltage.offsets))
        live = voltage.value > 90.0
        usual = lower_medians(voltage.value[live], owner[live], sessions)
        volts = np.where(usual > 0, usual, _NOMINAL_V)
    phases = np.maximum(highest_of(current, current.phases.astype(np.float64)), 1.0)
    return volts * np.where(is_dc, 1.0, phases)


def are_dc(batch: SessionBatch) -> Flags:
    """What `SessionRecord.is_dc` says, for all sessions."""
    voltage, power = batch.series(Channel.VOLTAGE), batch.series(Channel.POWER)
    is_dc: Flags = batch.sessions.rated_power_w > _AC_POWER_W  # an unknown one (NaN) is not
    if len(power.value):
        is_dc |= highest_of(power, power.value) > _AC_POWER_W
    if not len(voltage.value):
        return is_dc
    high = highest_of(voltage, voltage.value) > _DC_VOLTAGE_V
    if high.any():
        readings = batch.readings
        running = np.concatenate(([0], np.cumsum(readings.phase > 0)))
        phased = running[readings.offsets[1:]] > running[readings.offsets[:-1]]
        is_dc |= high & ~phased
    return is_dc
