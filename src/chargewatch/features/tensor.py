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

from chargewatch.features.batch import SessionBatch
from chargewatch.features.channel_table import BUCKETS, CONTEXT, WIDTHS_MS, Place
from chargewatch.features.grid import SESSION_BITS, Grid, Made, Singles, in_ms, owners
from chargewatch.features.levels import are_dc, put_levels
from chargewatch.features.record import Curve
from chargewatch.features.resolution import resolutions_mwh
from chargewatch.ingest.channels import Channel
from chargewatch.ingest.columns import Flags, Floats, Integers, steps
from chargewatch.ingest.selection import Series

#: Sessions whose peak is lower are measured against this: standby is no shape.
LEAST_PEAK_W: Final = 500.0
_MOST_POWER_W: Final = 2e6
_MOST_STEP_MWH: Final = 10**10
_REGISTER_STEPS: Final = 4  # a bucket holds so many steps of a register without measured power
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
        return (self.owner << SESSION_BITS) + self.at_ms


class _Delivery(NamedTuple):
    """What one channel shows of delivery: ``power_w``, ``known``, ``gap_ms`` and ``energy_wh`` by bucket."""

    power_w: Floats
    known: Flags
    gap_ms: Floats
    energy_wh: Floats


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
    made = Made(batch.readings.sessions)
    share = peak_w[:, None]
    is_dc = are_dc(batch)
    shown = _put_delivery(made, grid, share, by_register, by_power)
    _put_readings(made, grid, share, register, power)
    put_levels(batch, grid, share, is_dc, made)
    _put_progress(made, grid, _energies_wh(register, by_register, by_power))
    context = _context(batch, grid, is_dc, peak_w, resolution_mwh, spacing_ms)
    return SessionTensors(made.values, made.masks, context, grid.width_ms, grid.end_ms, peak_w, shown)


def _put_delivery(
    made: Made, grid: Grid, share: Floats, by_register: _Delivery | None, by_power: _Delivery | None
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


def _put_readings(made: Made, grid: Grid, share: Floats, register: _Rows, power: _Rows) -> None:
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


def _put_progress(made: Made, grid: Grid, energy_wh: Floats) -> None:
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
    return _Rows(series.offsets, counts, owners(counts), in_ms(series.at_s), amount)


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
        at_ms.append(in_ms(np.array(at_s)))
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


def _grid(batch: SessionBatch, spacing_ms: Integers, slowest_ms: Integers) -> Grid:
    selection = batch.selection
    end_ms = (selection.last_us - selection.first_us + 500) // 1000
    window_ms = end_ms - (selection.window_us - selection.first_us + 500) // 1000
    least = np.maximum(-(-window_ms // BUCKETS), np.maximum(spacing_ms, slowest_ms))
    width_ms = _WIDTHS[np.minimum(_WIDTHS.searchsorted(least), len(_WIDTHS) - 1)]
    edges_ms = end_ms[:, None] - _BACK * width_ms[:, None]
    sessions = np.arange(len(width_ms), dtype=np.int64)[:, None] << SESSION_BITS
    return Grid(width_ms, end_ms, edges_ms, sessions, edges_ms[:, 1:] > 0)


def _delivery(rows: _Rows, grid: Grid, wh: float) -> _Delivery | None:
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


def _places(rows: _Rows, grid: Grid) -> tuple[Integers, Flags | None]:
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


def _counted(rows: _Rows, grid: Grid) -> Integers:
    """How many readings each bucket holds."""
    counts: Integers = np.bincount(_places(rows, grid)[0], minlength=len(grid.width_ms) * BUCKETS)
    return counts.reshape(-1, BUCKETS)


def _within(rows: _Rows, grid: Grid) -> _Within:
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


def _context(
    batch: SessionBatch,
    grid: Grid,
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
