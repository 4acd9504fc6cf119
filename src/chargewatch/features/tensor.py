"""The one tensor record of each session: its analysed window as buckets, for the network.

A window of at most six hours becomes ``BUCKETS`` buckets of one width that end at the session's last reading. The
width is the smallest of ``WIDTHS_MS`` into which the window fits, readings fall and a coarse register moves.
The rows are those of `features.channel_table`; a masked place is 0. Delivery counts relative to the session's peak, so
neither a lifetime register nor its unit matters.

Sums run over integers (milliwatt-hours, watts, milliseconds): a session's figures do not depend on what else is
in the batch. The slow twin is ``tests/reference/tensor.py``.
"""

from collections.abc import Mapping
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
_EXPORTING_W: Final = 100.0  # less is the noise of a meter at rest
_EXPORTED_WH: Final = 10.0
_SOC_HOLDS_MS: Final = 1_200_000
_SOC_STEPS: Final = 1_000_000  # of 100 %
_MS_PER_H: Final = 3_600_000.0
_WIDTHS: Final = np.array(WIDTHS_MS)
_BACK: Final = np.arange(BUCKETS, -1, -1)[None]
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
    """One channel of all sessions: ``owner`` and ``at_ms`` of each row, ``amount`` its value or running sum.

    ``counts`` is how many rows each session has.
    """

    offsets: Integers
    counts: Integers
    owner: Integers
    at_ms: Integers
    amount: Integers

    def keys(self) -> Integers:
        return (self.owner << _SESSION_BITS) + self.at_ms


class _Grid(NamedTuple):
    """The buckets of all sessions: their ``edges_ms`` have shape (S, buckets + 1).

    ``sessions`` (S, 1) is each session's part of a key, ``begun`` marks buckets that end after the first reading.
    """

    width_ms: Integers
    end_ms: Integers
    edges_ms: Integers
    sessions: Integers
    begun: Flags


class _Delivery(NamedTuple):
    """What one channel shows of delivery: ``power_w``, ``known``, ``gap_ms`` and ``energy_wh`` by bucket."""

    power_w: Floats
    known: Flags
    gap_ms: Floats
    energy_wh: Floats


class _Made:
    """The tensors while they are made: what is not put stays 0 and masked."""

    def __init__(self, sessions: int) -> None:
        self.values = np.zeros((sessions, len(CHANNELS), BUCKETS), np.float32)
        self.masks = np.zeros((sessions, len(CHANNELS), BUCKETS), np.bool_)

    def put(self, place: Place, value: Floats, known: Flags) -> None:
        """Puts one channel, once."""
        np.copyto(self.values[:, place], value, where=known, casting="same_kind")
        self.masks[:, place] = known


def session_tensors(batch: SessionBatch) -> SessionTensors:
    """Returns the tensors of every session of a batch."""
    register, power = _register_rows(batch), _power_rows(batch)
    energy = _running(register)
    integral = _integrals(power)
    spacing_ms = _spacing_ms(batch)
    resolution_mwh = _resolutions(register)
    grid = _grid(batch, spacing_ms, _slowest_ms(energy, integral, resolution_mwh))
    by_register = _delivery(energy, grid, 1e-3)
    by_power = _delivery(integral, grid, 1.0 / (2.0 * _MS_PER_H))
    peak_w = _peaks(len(spacing_ms), by_register, by_power)
    made = _Made(batch.readings.sessions)
    share = peak_w[:, None]
    is_dc = _is_dc(batch)
    shown = _put_delivery(made, grid, share, by_register, by_power)
    _put_readings(made, grid, share, register, power)
    _put_levels(batch, grid, share, is_dc, made)
    _put_progress(made, grid, _energies_wh(register, by_register, by_power))
    context = _context(batch, grid, is_dc, peak_w, resolution_mwh, spacing_ms)
    return SessionTensors(made.values, made.masks, context, grid.width_ms, grid.end_ms, peak_w, shown)


def _put_delivery(
    made: _Made, grid: _Grid, share: Floats, by_register: _Delivery | None, by_power: _Delivery | None
) -> Integers:
    """Puts what the register and measured power show, and how they differ; returns how many buckets show delivery."""
    width = grid.width_ms[:, None].astype(np.float64)
    for delivery, power, gap in (
        (by_register, Place.REGISTER_POWER, Place.REGISTER_GAP),
        (by_power, Place.MEASURED_POWER, Place.MEASURED_GAP),
    ):
        if delivery is not None:
            made.put(power, np.minimum(delivery.power_w / share, 3.0), delivery.known)
            made.put(gap, np.log1p(delivery.gap_ms / width), delivery.known)
    if by_register is None or by_power is None:
        known = by_register or by_power
        return np.zeros(len(share), np.int64) if known is None else known.known.sum(axis=1)
    apart = (by_register.power_w - by_power.power_w) / share
    made.put(Place.DIVERGENCE, np.minimum(np.maximum(apart, -3.0), 3.0), by_register.known & by_power.known)
    shown: Integers = (by_register.known | by_power.known).sum(axis=1)
    return shown


def _put_readings(made: _Made, grid: _Grid, share: Floats, register: _Rows, power: _Rows) -> None:
    """Puts how restless power is within the buckets, and how many readings they hold."""
    count: Integers | int = 0
    if len(power.amount):
        spread_w, travel_w, count = _within(power, grid)
        seen = count > 0
        made.put(Place.MEASURED_RANGE, np.minimum(spread_w / share, 3.0), seen)
        made.put(Place.MEASURED_TRAVEL, np.minimum(np.log1p(travel_w / share), 3.0), seen)
    measured = power.counts > 0
    if not measured.all():
        count = np.where(measured[:, None], count, _counted(register, grid))
    made.put(Place.READINGS, np.log1p(count) / 3.0, grid.begun)


def _put_progress(made: _Made, grid: _Grid, energy_wh: Floats) -> None:
    """Puts the time and the energy since the first reading."""
    hours = np.maximum(grid.edges_ms[:, 1:], 0) / _MS_PER_H
    made.put(Place.ELAPSED, np.log1p(hours), grid.begun)
    made.put(Place.ENERGY, np.log1p(energy_wh / 1000.0) / 4.0, grid.begun)


def _energies_wh(register: _Rows, by_register: _Delivery | None, by_power: _Delivery | None) -> Floats:
    """The energy at the end of each bucket: by the register of sessions that have one."""
    if by_register is not None and by_power is not None:
        return np.where((register.counts >= 2)[:, None], by_register.energy_wh, by_power.energy_wh)
    known = by_register or by_power
    return np.zeros((len(register.counts), BUCKETS)) if known is None else known.energy_wh


# ------------------------------------------------------------------------------------------ the channels' rows


def _rows(series: Series, amount: Integers) -> _Rows:
    counts = steps(series.offsets)
    return _Rows(series.offsets, counts, _owners(counts), _ms(series.at_s), amount)


def _owners(counts: Integers) -> Integers:
    """The session of each row, by how many rows each session has."""
    if len(counts) == 1:
        return np.zeros(int(counts[0]), np.int64)
    return np.repeat(np.arange(len(counts)), counts)


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
    interval = batch.series(Channel.INTERVAL)
    if len(interval.value):
        for s in np.flatnonzero((rows.counts < 2) & (steps(interval.offsets) >= 2)).tolist():
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
    return _Rows(offsets, steps(offsets), owners, np.concatenate(at_ms)[order], np.concatenate(amount)[order])


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
    unmeasured = integral.counts < 2
    if not unmeasured.any():
        return np.zeros(len(resolution_mwh), np.int64)
    total, span = _totals(energy), _spans(energy)
    pace = np.maximum(total // resolution_mwh, 1)
    return np.where(unmeasured, _REGISTER_STEPS * span // pace, 0)


def _grid(batch: SessionBatch, spacing_ms: Integers, slowest_ms: Integers) -> _Grid:
    selection = batch.selection
    end_ms = (selection.last_us - selection.first_us + 500) // 1000
    window_ms = end_ms - (selection.window_us - selection.first_us + 500) // 1000
    least = np.maximum(-(-window_ms // BUCKETS), np.maximum(spacing_ms, slowest_ms))
    width_ms = _WIDTHS[np.minimum(_WIDTHS.searchsorted(least), len(_WIDTHS) - 1)]
    edges_ms = end_ms[:, None] - _BACK * width_ms[:, None]
    sessions = np.arange(len(width_ms), dtype=np.int64)[:, None] << _SESSION_BITS
    return _Grid(width_ms, end_ms, edges_ms, sessions, edges_ms[:, 1:] > 0)


def _delivery(rows: _Rows, grid: _Grid, wh: float) -> _Delivery | None:
    """Mean power of the buckets from a running energy (``wh``: Wh of one unit of it), linear between readings.

    A bucket is known where readings span at least half of it. None where no session has two readings.
    """
    two = rows.counts >= 2
    if not two.any():
        return None
    all_two = bool(two.all())
    first = (rows.offsets[:-1] if all_two else np.where(two, rows.offsets[:-1], 0))[:, None]
    last = (rows.offsets[1:] - 1 if all_two else np.where(two, rows.offsets[1:] - 1, 1))[:, None]
    at = np.minimum(np.maximum(grid.edges_ms, rows.at_ms[first]), rows.at_ms[last])
    before = rows.keys().searchsorted(grid.sessions + at, side="right") - 1
    before = np.minimum(np.maximum(before, first), last - 1)
    after = before + 1
    at_before, amount_before = rows.at_ms[before], rows.amount[before]
    gap_ms = (rows.at_ms[after] - at_before).astype(np.float64)
    done = (at - at_before) / np.maximum(gap_ms, 1.0)
    rise = rows.amount[after] - amount_before
    # Whole units stay integers: only what is between two readings is a fraction.
    whole = amount_before - rows.amount[first]
    energy_wh = (whole + rise * done) * wh
    lasts_ms = at[:, 1:] - at[:, :-1]
    known = 2 * lasts_ms >= grid.width_ms[:, None]
    so_far_wh = np.maximum(energy_wh[:, 1:], 0.0)
    if not all_two:
        known &= two[:, None]
        so_far_wh = np.where(two[:, None], so_far_wh, 0.0)
    power_w = np.maximum(energy_wh[:, 1:] - energy_wh[:, :-1], 0.0) * _MS_PER_H / np.maximum(lasts_ms, 1)
    return _Delivery(np.where(known, power_w, 0.0), known, gap_ms[:, 1:], so_far_wh)


def _peaks(sessions: int, by_register: _Delivery | None, by_power: _Delivery | None) -> Floats:
    """The highest power of a bucket, as measured, else by the register."""
    if by_register is None or by_power is None:
        only = by_register or by_power
        if only is None:
            return np.full(sessions, LEAST_PEAK_W)
        alone: Floats = np.maximum(only.power_w.max(axis=1), LEAST_PEAK_W)
        return alone
    measured = by_power.known.any(axis=1)
    peak = np.where(measured, by_power.power_w.max(axis=1), by_register.power_w.max(axis=1))
    peaks: Floats = np.maximum(peak, LEAST_PEAK_W)
    return peaks


class _Within(NamedTuple):
    spread: Floats
    travel: Floats
    readings: Integers


def _places(rows: _Rows, grid: _Grid) -> tuple[Integers, Flags | None]:
    """Returns the bucket of each row within the window (counted through all sessions), and the mark of those rows.

    None as mark: all are.
    """
    since_ms = grid.end_ms[rows.owner] - rows.at_ms
    width = grid.width_ms[rows.owner]
    back = since_ms // width
    back -= (back == BUCKETS) & (since_ms == BUCKETS * width)
    place = rows.owner * BUCKETS + (BUCKETS - 1) - back
    within = (back < BUCKETS) & (back >= 0)
    return (place, None) if within.all() else (place[within], within)


def _counted(rows: _Rows, grid: _Grid) -> Integers:
    """How many readings each bucket holds."""
    counts: Integers = np.bincount(_places(rows, grid)[0], minlength=len(grid.width_ms) * BUCKETS)
    return counts.reshape(-1, BUCKETS)


def _within(rows: _Rows, grid: _Grid) -> _Within:
    """The spread of a channel's readings within each bucket, the sum of their moves, and their count."""
    size = len(grid.width_ms) * BUCKETS
    spread, travel = np.zeros(size), np.zeros(size)
    place, within = _places(rows, grid)
    if len(place):
        move = np.zeros(len(rows.amount), np.int64)
        move[1:] = np.abs(steps(rows.amount))
        move[_first_rows(rows)] = 0
        fresh = np.ones(len(place), np.bool_)
        np.not_equal(place[1:], place[:-1], out=fresh[1:])
        starts = fresh.nonzero()[0]
        amount = rows.amount if within is None else rows.amount[within]
        move = move if within is None else move[within]
        put = place[starts]
        spread[put] = np.maximum.reduceat(amount, starts) - np.minimum.reduceat(amount, starts)
        travel[put] = np.add.reduceat(move, starts)
    shape = (len(grid.width_ms), BUCKETS)
    count = np.bincount(place, minlength=size)
    return _Within(spread.reshape(shape), travel.reshape(shape), count.reshape(shape))


# ------------------------------------------------------------------------------------------ levels


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

    def __init__(self, grid: _Grid) -> None:
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
        age_ms = self._ends - self._sessions - _ms(levels.at_s)[place]
        return level, known & (age_ms <= most_ms)

    def _place(self, levels: _Levels) -> tuple[Integers, Flags]:
        owner = _owners(steps(levels.offsets))
        keys = (owner << _SESSION_BITS) + _ms(levels.at_s)
        place = keys.searchsorted(self._ends, side="right") - 1
        known = (place >= levels.offsets[:-1, None]) & self._begun
        return np.maximum(place, 0), known


def _levels(series: Series) -> _Levels:
    return _Levels(series.offsets, series.at_s, series.value)


def _highest(series: Series, value: Floats) -> Floats:
    """The highest value of each session, 0 without any."""
    highest = np.zeros(len(series.offsets) - 1)
    if len(value):
        some = steps(series.offsets) > 0
        highest[some] = np.maximum.reduceat(value, series.offsets[:-1][some])
    return highest


def _between(value: Floats, least: float, most: float) -> Floats:
    """``np.clip`` of finite values, at half of its cost on a few."""
    return np.minimum(np.maximum(value, least), most)


def _put_levels(batch: SessionBatch, grid: _Grid, share: Floats, is_dc: Flags, made: _Made) -> None:
    """Puts state of charge, offer, voltage, current and phases: what holds from reading to reading."""
    holder = _Holder(grid)
    _put_charge(batch, holder, made)
    _put_offers(batch, holder, share, is_dc, made)
    for channel, place in ((Channel.VOLTAGE, Place.VOLTAGE), (Channel.CURRENT, Place.CURRENT)):
        series = batch.series(channel)
        if len(series.value):
            level, known = holder.held(_levels(series))
            highest = np.maximum(_highest(series, series.value), 1.0)[:, None]
            made.put(place, _between(level / highest, 0.0, 1.0), known)
    _put_first_phase(batch, holder, made)
    current = batch.series(Channel.CURRENT)
    if len(current.value) and (current.phases >= 0).any():
        level, known = holder.held(_Levels(current.offsets, current.at_s, current.phases.astype(np.float64)))
        made.put(Place.PHASES, level / 3.0, known & (level >= 0))


def _put_charge(batch: SessionBatch, holder: _Holder, made: _Made) -> None:
    """Puts the highest state of charge so far, where one was read lately.

    Falls are no shape of charging: they belong to SOC_DROP, recalibration, and cars that give energy back. Of those
    nothing is put.
    """
    soc = batch.series(Channel.SOC)
    if not len(soc.value):
        return
    sane = (soc.value > 0.0) & (soc.value <= 100.0)  # 0 and 65535 are placeholders
    levels = _levels(soc).kept(sane & ~np.repeat(_gives_back(batch), steps(soc.offsets)))
    before = 2 * _SOC_STEPS * _owners(steps(levels.offsets))  # so that no session's reaches into the next
    units = np.rint(levels.value * (_SOC_STEPS / 100.0)).astype(np.int64)
    highest = (np.maximum.accumulate(units + before) - before) / _SOC_STEPS
    level, known = holder.held_for(levels._replace(value=highest), _SOC_HOLDS_MS)
    made.put(Place.SOC, level, known)


def _gives_back(batch: SessionBatch) -> Flags:
    """Which sessions show energy going to the grid (`SessionRecord.exported`)."""
    power, export = batch.series(Channel.POWER), batch.series(Channel.POWER_EXPORT)
    register, interval = batch.series(Channel.EXPORT_REGISTER), batch.series(Channel.EXPORT_INTERVAL)
    back: Flags = (_highest(power, -power.value) >= _EXPORTING_W) | (
        _highest(export, export.value) >= _EXPORTING_W
    )
    if len(register.value):
        some = np.flatnonzero(steps(register.offsets))
        last, first = register.offsets[1:][some] - 1, register.offsets[:-1][some]
        back[some] |= register.value[last] - register.value[first] > _EXPORTED_WH
    if len(interval.value):
        some = np.flatnonzero(steps(interval.offsets))
        back[some] |= np.add.reduceat(interval.value, interval.offsets[:-1][some]) > _EXPORTED_WH
    return back


def _put_offers(batch: SessionBatch, holder: _Holder, share: Floats, is_dc: Flags, made: _Made) -> None:
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


def _put_first_phase(batch: SessionBatch, holder: _Holder, made: _Made) -> None:
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
    phases = np.maximum(_highest(current, current.phases.astype(np.float64)), 1.0)
    return volts * np.where(is_dc, 1.0, phases)


def _is_dc(batch: SessionBatch) -> Flags:
    """What `SessionRecord.is_dc` says, for all sessions."""
    voltage, power = batch.series(Channel.VOLTAGE), batch.series(Channel.POWER)
    is_dc: Flags = batch.sessions.rated_power_w > _AC_POWER_W  # an unknown one (NaN) is not
    if len(power.value):
        is_dc |= _highest(power, power.value) > _AC_POWER_W
    if not len(voltage.value):
        return is_dc
    high = _highest(voltage, voltage.value) > _DC_VOLTAGE_V
    if high.any():
        readings = batch.readings
        running = np.concatenate(([0], np.cumsum(readings.phase > 0)))
        phased = running[readings.offsets[1:]] > running[readings.offsets[:-1]]
        is_dc |= high & ~phased
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
    rated_known = rated > 0
    width = grid.width_ms.astype(np.float64)
    resolution, spacing, peak, before_h = np.log1p(
        (
            resolution_mwh / 1000.0 / (peak_w * width / _MS_PER_H),
            spacing_ms / width,
            peak_w / 1000.0,
            (selection.window_us - selection.first_us) / 1000.0 / _MS_PER_H,
        )
    )
    columns = (
        is_dc,
        declared.managed,
        resolution,
        np.log2(width / WIDTHS_MS[0]) / 4.0,
        spacing,
        peak / 5.0,
        rated_known,
        np.minimum(np.where(rated_known, peak_w / np.where(rated_known, rated, 1.0), 0.0), 2.0),
        before_h,
    )
    assert len(columns) == len(CONTEXT)
    context = np.empty((len(width), len(CONTEXT)), np.float32)
    for place, column in enumerate(columns):
        context[:, place] = column
    return context
