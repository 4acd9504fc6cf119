"""The one tensor record of each session: its analysed window as buckets, for the network.

A window of at most six hours becomes ``BUCKETS`` buckets of one width that end at the session's last reading. The
width is the smallest of ``WIDTHS_MS`` into which the window fits, readings fall and a coarse register moves.
The rows are those of `features.channel_table`; a masked place is 0. Delivery counts relative to the session's peak, so
neither a lifetime register nor its unit matters.

Sums run over integers (milliwatt-hours, watts, milliseconds): a session's figures do not depend on what else is
in the batch. The slow twin is ``tests/reference/tensor.py``.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from chargewatch.features.batch import SessionBatch
from chargewatch.features.channel_table import BUCKETS, CHANNELS, CONTEXT, WIDTHS_MS, Place
from chargewatch.features.record import Curve
from chargewatch.features.resolution import resolutions_mwh
from chargewatch.ingest.channels import Channel
from chargewatch.ingest.columns import Flags, Floats, Integers, steps
from chargewatch.ingest.selection import Series, lower_medians

Singles = npt.NDArray[np.float32]
_Put = Callable[[Place, Floats, Flags], None]

#: Sessions whose peak is lower are measured against this: standby is no shape.
LEAST_PEAK_W: Final = 500.0
_MOST_POWER_W: Final = 2e6
_MOST_STEP_MWH: Final = 10**10
_REGISTER_STEPS: Final = 4  # a bucket holds so many steps of a register without measured power
_SESSION_BITS: Final = 42  # of milliseconds within a session, in a key over all sessions
_DC_VOLTAGE_V: Final = 300.0
_AC_POWER_W: Final = 43_000.0
_NOMINAL_V: Final = 230.0
_LIVE_A: Final = 1.0
_MS_PER_H: Final = 3_600_000.0
_FINEST_MWH: Final = 1000


class SessionTensors(NamedTuple):
    """S sessions. ``values`` and ``masks``: shape (S, channels, buckets); ``context``: (S, figures).

    ``width_ms`` is the width of the buckets, ``end_ms`` where the last one ends (milliseconds since the session's
    first sane reading), ``peak_w`` what powers are shares of, ``shown`` how many buckets show delivery.
    """

    values: Singles
    masks: Flags
    context: Singles
    width_ms: Integers
    end_ms: Integers
    peak_w: Floats
    shown: Integers

    def of(self, rows: Flags | Integers) -> "SessionTensors":
        """Returns some sessions, marked or by position."""
        return SessionTensors(
            self.values[rows],
            self.masks[rows],
            self.context[rows],
            self.width_ms[rows],
            self.end_ms[rows],
            self.peak_w[rows],
            self.shown[rows],
        )


class _Rows(NamedTuple):
    """One channel of all sessions: ``owner`` and ``at_ms`` of each row, ``amount`` its value or running sum."""

    offsets: Integers
    owner: Integers
    at_ms: Integers
    amount: Integers

    @property
    def counts(self) -> Integers:
        return steps(self.offsets)

    def keys(self) -> Integers:
        return (self.owner << _SESSION_BITS) + self.at_ms


class _Grid(NamedTuple):
    """The buckets of all sessions: their ``edges_ms`` have shape (S, buckets + 1)."""

    width_ms: Integers
    end_ms: Integers
    edges_ms: Integers


class _Delivery(NamedTuple):
    """What one channel shows of delivery: ``power_w``, ``known``, ``gap_ms`` and ``energy_wh`` by bucket."""

    power_w: Floats
    known: Flags
    gap_ms: Floats
    energy_wh: Floats


def session_tensors(batch: SessionBatch) -> SessionTensors:
    """Returns the tensors of every session of a batch."""
    sessions = batch.readings.sessions
    register, power = _register_rows(batch), _power_rows(batch)
    energy = _running(register)
    integral = _integrals(power)
    spacing_ms = _spacing_ms(batch)
    resolution_mwh = _resolutions(register)
    grid = _grid(batch, spacing_ms, _slowest_ms(energy, integral, resolution_mwh))
    by_register = _delivery(energy, grid, 1e-3)
    by_power = _delivery(integral, grid, 1.0 / (2.0 * _MS_PER_H))
    peak_w = _peaks(by_register, by_power)
    values = np.zeros((sessions, len(CHANNELS), BUCKETS), np.float32)
    masks = np.zeros((sessions, len(CHANNELS), BUCKETS), np.bool_)

    def put(place: Place, value: Floats, known: Flags) -> None:
        values[:, place] = np.where(known, value, 0.0)
        masks[:, place] = known

    share = peak_w[:, None]
    width = grid.width_ms[:, None].astype(np.float64)
    put(Place.REGISTER_POWER, np.minimum(by_register.power_w / share, 3.0), by_register.known)
    put(Place.MEASURED_POWER, np.minimum(by_power.power_w / share, 3.0), by_power.known)
    put(Place.REGISTER_GAP, np.log1p(by_register.gap_ms / width), by_register.known)
    put(Place.MEASURED_GAP, np.log1p(by_power.gap_ms / width), by_power.known)
    apart_w = by_register.power_w - by_power.power_w
    put(Place.DIVERGENCE, np.clip(apart_w / share, -3.0, 3.0), by_register.known & by_power.known)
    spread_w, travel_w, count = _within(power, grid)
    seen = count > 0
    put(Place.MEASURED_RANGE, np.minimum(spread_w / share, 3.0), seen)
    put(Place.MEASURED_TRAVEL, np.minimum(np.log1p(travel_w / share), 3.0), seen)
    is_dc = _is_dc(batch)
    _put_levels(batch, grid, share, is_dc, put)
    inside = grid.edges_ms[:, 1:] > 0
    measured = power.counts > 0
    if not measured.all():
        count = np.where(measured[:, None], count, _within(register, grid).readings)
    put(Place.READINGS, np.log1p(count) / 3.0, inside)
    put(Place.ELAPSED, np.log1p(np.maximum(grid.edges_ms[:, 1:], 0) / _MS_PER_H), inside)
    has_register = (register.counts >= 2)[:, None]
    energy_wh = np.where(has_register, by_register.energy_wh, by_power.energy_wh)
    put(Place.ENERGY, np.log1p(energy_wh / 1000.0) / 4.0, inside)
    context = _context(batch, grid, is_dc, peak_w, resolution_mwh, spacing_ms)
    shown = (by_register.known | by_power.known).sum(axis=1)
    return SessionTensors(values, masks, context, grid.width_ms, grid.end_ms, peak_w, shown)


# ------------------------------------------------------------------------------------------ the channels' rows


def _rows(series: Series, amount: Integers) -> _Rows:
    owner = np.repeat(np.arange(len(series.offsets) - 1), steps(series.offsets))
    return _Rows(series.offsets, owner, _ms(series.at_s), amount)


def _ms(at_s: Floats) -> Integers:
    at_ms: Integers = np.rint(at_s * 1000.0).astype(np.int64)
    return at_ms


def _integers(value: Floats, most: float) -> Integers:
    whole: Integers = np.rint(np.minimum(np.maximum(value, -most), most)).astype(np.int64)
    return whole


def _register_rows(batch: SessionBatch) -> _Rows:
    """The register in mWh, repaired where it was; of sessions without one the sum of their intervals."""
    series = batch.series(Channel.REGISTER)
    rows = _rows(series, _integers(series.value * 1000.0, 9e17))
    replaced = dict(batch.repaired_registers)
    few = rows.counts < 2
    interval = batch.series(Channel.INTERVAL)
    for s in np.flatnonzero(few & (steps(interval.offsets) >= 2)).tolist():
        curve = batch.curve(s, Channel.INTERVAL)
        replaced[s] = curve._replace(value=np.cumsum(np.maximum(curve.value, 0.0)).tolist())
    return _replaced(rows, replaced) if replaced else rows


def _replaced(rows: _Rows, replaced: Mapping[int, Curve]) -> _Rows:
    """Puts the given registers (seconds, Wh) in the place of those sessions' own."""
    kept = ~np.isin(rows.owner, list(replaced))
    owner, at_ms, amount = [rows.owner[kept]], [rows.at_ms[kept]], [rows.amount[kept]]
    for session, (at_s, wh) in replaced.items():
        owner.append(np.full(len(at_s), session))
        at_ms.append(_ms(np.array(at_s)))
        amount.append(_integers(np.array(wh) * 1000.0, 9e17))
    owners = np.concatenate(owner)
    order = np.argsort(owners, kind="stable")
    owners = owners[order]
    offsets = np.searchsorted(owners, np.arange(len(rows.offsets)))
    return _Rows(offsets, owners, np.concatenate(at_ms)[order], np.concatenate(amount)[order])


def _power_rows(batch: SessionBatch) -> _Rows:
    """Measured power in W, import only."""
    series = batch.series(Channel.POWER)
    return _rows(series, _integers(np.maximum(series.value, 0.0), _MOST_POWER_W))


def _first_rows(rows: _Rows) -> Integers:
    """Positions of the first row of every session that has one."""
    return rows.offsets[:-1][rows.counts > 0]


def _running(register: _Rows) -> _Rows:
    """The register as energy that only rises: the running sum of its rises. Wraps, which differences undo."""
    rise = np.zeros(len(register.amount), np.int64)
    rise[1:] = np.minimum(np.maximum(steps(register.amount), 0), _MOST_STEP_MWH)
    rise[_first_rows(register)] = 0
    return register._replace(amount=np.cumsum(rise))


def _integrals(power: _Rows) -> _Rows:
    """Twice the running integral of power by trapezoids, in W·ms."""
    area = np.zeros(len(power.amount), np.int64)
    area[1:] = (power.amount[1:] + power.amount[:-1]) * steps(power.at_ms)
    area[_first_rows(power)] = 0
    return power._replace(amount=np.cumsum(area))


# ------------------------------------------------------------------------------------------ the buckets


def _spacing_ms(batch: SessionBatch) -> Integers:
    """The mean time between instants."""
    selection = batch.selection
    spacing: Integers = (
        (selection.last_us - selection.first_us) // 1000 // np.maximum(selection.instants - 1, 1)
    )
    return spacing


def _resolutions(register: _Rows) -> Integers:
    """The resolution of each session's register in mWh, the finest where there is none."""
    return np.where(register.counts > 0, resolutions_mwh(register.amount, register.offsets), _FINEST_MWH)


def _totals(rows: _Rows) -> Integers:
    """The last less the first amount of each session."""
    total = np.zeros(len(rows.offsets) - 1, np.int64)
    some = rows.counts > 0
    total[some] = rows.amount[rows.offsets[1:][some] - 1] - rows.amount[rows.offsets[:-1][some]]
    return total


def _spans(rows: _Rows) -> Integers:
    """The last less the first time of each session."""
    return _totals(rows._replace(amount=rows.at_ms))


def _slowest_ms(energy: _Rows, integral: _Rows, resolution_mwh: Integers) -> Integers:
    """How long a register without measured power takes for some steps, at its mean pace."""
    total, span = _totals(energy), _spans(energy)
    pace = np.maximum(total // np.maximum(resolution_mwh, 1), 1)
    return np.where(integral.counts >= 2, 0, _REGISTER_STEPS * span // pace)


def _grid(batch: SessionBatch, spacing_ms: Integers, slowest_ms: Integers) -> _Grid:
    selection = batch.selection
    end_ms = (selection.last_us - selection.first_us + 500) // 1000
    window_ms = end_ms - (selection.window_us - selection.first_us + 500) // 1000
    least = np.maximum(-(-window_ms // BUCKETS), np.maximum(spacing_ms, slowest_ms))
    widths = np.array(WIDTHS_MS)
    width_ms = widths[np.minimum(np.searchsorted(widths, least), len(widths) - 1)]
    back = np.arange(BUCKETS, -1, -1)
    return _Grid(width_ms, end_ms, end_ms[:, None] - back[None, :] * width_ms[:, None])


def _delivery(rows: _Rows, grid: _Grid, wh: float) -> _Delivery:
    """Mean power of the buckets from a running energy (``wh``: Wh of one unit of it), linear between readings.

    A bucket is known where readings span at least half of it.
    """
    shape = (len(grid.width_ms), BUCKETS)
    known = np.zeros(shape, np.bool_)
    two = rows.counts >= 2
    if not two.any():
        return _Delivery(np.zeros(shape), known, np.zeros(shape), np.zeros(shape))
    first = np.where(two, rows.offsets[:-1], 0)[:, None]
    last = np.where(two, rows.offsets[1:] - 1, 1)[:, None]
    at = np.minimum(np.maximum(grid.edges_ms, rows.at_ms[first]), rows.at_ms[last])
    session = np.arange(shape[0], dtype=np.int64)[:, None] << _SESSION_BITS
    before = np.searchsorted(rows.keys(), session + at, side="right") - 1
    before = np.minimum(np.maximum(before, first), last - 1)
    after = before + 1
    gap_ms = (rows.at_ms[after] - rows.at_ms[before]).astype(np.float64)
    done = (at - rows.at_ms[before]) / np.maximum(gap_ms, 1.0)
    rise = rows.amount[after] - rows.amount[before]
    # Whole units stay integers: only what is between two readings is a fraction.
    whole = rows.amount[before] - rows.amount[first]
    energy_wh = (whole + rise * done) * wh
    lasts_ms = at[:, 1:] - at[:, :-1]
    known = two[:, None] & (2 * lasts_ms >= grid.width_ms[:, None])
    power_w = np.maximum(energy_wh[:, 1:] - energy_wh[:, :-1], 0.0) * _MS_PER_H / np.maximum(lasts_ms, 1)
    so_far_wh = np.where(two[:, None], np.maximum(energy_wh[:, 1:], 0.0), 0.0)
    return _Delivery(np.where(known, power_w, 0.0), known, gap_ms[:, 1:], so_far_wh)


def _peaks(by_register: _Delivery, by_power: _Delivery) -> Floats:
    """The highest power of a bucket, as measured, else by the register."""
    measured = by_power.known.any(axis=1)
    peak = np.where(measured, by_power.power_w.max(axis=1), by_register.power_w.max(axis=1))
    peaks: Floats = np.maximum(peak, LEAST_PEAK_W)
    return peaks


class _Within(NamedTuple):
    spread: Floats
    travel: Floats
    readings: Integers


def _within(rows: _Rows, grid: _Grid) -> _Within:
    """The spread of a channel's readings within each bucket, the sum of their moves, and their count."""
    size = len(grid.width_ms) * BUCKETS
    spread, travel = np.zeros(size), np.zeros(size)
    width, end = grid.width_ms[rows.owner], grid.end_ms[rows.owner]
    back = (end - rows.at_ms) // width
    back -= (back == BUCKETS) & ((end - rows.at_ms) == BUCKETS * width)
    within = (back < BUCKETS) & (back >= 0)
    place = (rows.owner * BUCKETS + BUCKETS - 1 - back)[within]
    count = np.bincount(place, minlength=size)
    if len(place):
        move = np.zeros(len(rows.amount), np.int64)
        move[1:] = np.abs(steps(rows.amount))
        move[_first_rows(rows)] = 0
        starts = np.flatnonzero(np.concatenate(([True], steps(place) != 0)))
        amount = rows.amount[within]
        spread[place[starts]] = np.maximum.reduceat(amount, starts) - np.minimum.reduceat(amount, starts)
        travel[place[starts]] = np.add.reduceat(move[within], starts)
    shape = (len(grid.width_ms), BUCKETS)
    return _Within(spread.reshape(shape), travel.reshape(shape), count.reshape(shape))


# ------------------------------------------------------------------------------------------ levels


class _Levels(NamedTuple):
    """Values that hold until the next one: rows ``offsets[s]:offsets[s + 1]`` of session s, in order of time."""

    offsets: Integers
    at_s: Floats
    value: Floats

    def kept(self, rows: Flags) -> "_Levels":
        """Returns the marked rows only."""
        running = np.concatenate(([0], np.cumsum(rows)))
        return _Levels(running[self.offsets], self.at_s[rows], self.value[rows])


def _levels(series: Series) -> _Levels:
    return _Levels(series.offsets, series.at_s, series.value)


def _held(levels: _Levels, grid: _Grid) -> tuple[Floats, Flags]:
    """The newest value at the end of each bucket, and where there is one."""
    sessions = np.arange(len(grid.width_ms), dtype=np.int64)
    keys = (np.repeat(sessions, steps(levels.offsets)) << _SESSION_BITS) + _ms(levels.at_s)
    ends = (sessions[:, None] << _SESSION_BITS) + np.maximum(grid.edges_ms[:, 1:], 0)
    place = np.searchsorted(keys, ends, side="right") - 1
    known = (place >= levels.offsets[:-1, None]) & (grid.edges_ms[:, 1:] >= 0)
    if not len(levels.value):
        return np.zeros(known.shape), known
    return levels.value[np.maximum(place, 0)], known


def _highest(series: Series, value: Floats) -> Floats:
    """The highest value of each session, 0 without any."""
    highest = np.zeros(len(series.offsets) - 1)
    some = steps(series.offsets) > 0
    if some.any():
        highest[some] = np.maximum.reduceat(value, series.offsets[:-1][some])
    return highest


def _put_levels(batch: SessionBatch, grid: _Grid, share: Floats, is_dc: Flags, put: _Put) -> None:
    """Puts state of charge, offer, voltage, current and phases: what holds from reading to reading."""
    soc = batch.series(Channel.SOC)
    if len(soc.value):
        sane = (soc.value > 0.0) & (soc.value <= 100.0)  # 0 and 65535 are placeholders
        level, known = _held(_levels(soc).kept(sane), grid)
        put(Place.SOC, level / 100.0, known)
    offered = batch.series(Channel.POWER_OFFERED)
    by_power = (steps(offered.offsets) > 0)[:, None]
    if len(offered.value):
        level, known = _held(_levels(offered), grid)
        put(Place.OFFERED, np.clip(level / share, 0.0, 4.0), known)
    current_offered = batch.series(Channel.CURRENT_OFFERED)
    if len(current_offered.value):
        level, known = _held(_levels(current_offered), grid)
        watts = np.clip(level * _volts_offered(batch, is_dc)[:, None] / share, 0.0, 4.0)
        if len(offered.value):
            own = _held(_levels(offered), grid)
            watts = np.where(by_power, np.clip(own[0] / share, 0.0, 4.0), watts)
            known = np.where(by_power, own[1], known)
        put(Place.OFFERED, watts, known)
    for channel, place in ((Channel.VOLTAGE, Place.VOLTAGE), (Channel.CURRENT, Place.CURRENT)):
        series = batch.series(channel)
        if len(series.value):
            level, known = _held(_levels(series), grid)
            highest = np.maximum(_highest(series, series.value), 1.0)[:, None]
            put(place, np.clip(level / highest, 0.0, 1.0), known)
    current = batch.series(Channel.CURRENT)
    _put_first_phase(batch, grid, put)
    if np.any(current.phases >= 0):
        level, known = _held(_Levels(current.offsets, current.at_s, current.phases.astype(np.float64)), grid)
        put(Place.PHASES, level / 3.0, known & (level >= 0))


def _put_first_phase(batch: SessionBatch, grid: _Grid, put: _Put) -> None:
    """Puts the share of L1 in the current, at the instants that have two phases or more and 1 A in all."""
    table = batch.phases.current
    if not len(table.at_s):
        return
    amperes = np.maximum(np.nan_to_num(table.value), 0.0)
    total = amperes[:, 0] + amperes[:, 1] + amperes[:, 2]
    several = (~np.isnan(table.value)).sum(axis=1) >= 2
    share = amperes[:, 0] / np.maximum(total, _LIVE_A)
    shares = _Levels(table.offsets, table.at_s, share).kept(several & (total >= _LIVE_A))
    level, known = _held(shares, grid)
    put(Place.FIRST_PHASE, level, known)


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
    phases = np.maximum(_highest(current, current.phases.astype(np.float64)), 1.0)
    return volts * np.where(is_dc, 1.0, phases)


def _is_dc(batch: SessionBatch) -> Flags:
    """What `SessionRecord.is_dc` says, for all sessions."""
    voltage, power = batch.series(Channel.VOLTAGE), batch.series(Channel.POWER)
    readings = batch.readings
    phased = np.zeros(readings.sessions, np.bool_)
    if np.any(readings.phase > 0):
        running = np.concatenate(([0], np.cumsum(readings.phase > 0)))
        phased = running[readings.offsets[1:]] > running[readings.offsets[:-1]]
    rated = np.nan_to_num(batch.sessions.rated_power_w)
    strong = (rated > _AC_POWER_W) | (_highest(power, power.value) > _AC_POWER_W)
    is_dc: Flags = strong | ((_highest(voltage, voltage.value) > _DC_VOLTAGE_V) & ~phased)
    return is_dc


def _context(
    batch: SessionBatch,
    grid: _Grid,
    is_dc: Flags,
    peak_w: Floats,
    resolution_mwh: Integers,
    spacing_ms: Integers,
) -> Singles:
    declared, selection = batch.sessions, batch.selection
    rated = declared.rated_power_w
    width = grid.width_ms.astype(np.float64)
    before_h = (selection.window_us - selection.first_us) / 1000.0 / _MS_PER_H
    columns = (
        is_dc,
        declared.managed,
        np.log1p(resolution_mwh / 1000.0 / (peak_w * width / _MS_PER_H)),
        np.log2(width / WIDTHS_MS[0]) / 4.0,
        np.log1p(spacing_ms / width),
        np.log1p(peak_w / 1000.0) / 5.0,
        rated > 0,
        np.minimum(np.where(rated > 0, peak_w / np.where(rated > 0, rated, 1.0), 0.0), 2.0),
        np.log1p(before_h),
    )
    assert len(columns) == len(CONTEXT)
    context = np.empty((len(width), len(CONTEXT)), np.float32)
    for place, column in enumerate(columns):
        context[:, place] = column
    return context
