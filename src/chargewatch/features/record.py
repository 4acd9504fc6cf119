"""The record of one session: every channel as a curve, repaired, with what is declared about the session.

``SessionBatch`` holds the channels of many sessions as columns; ``record(s)`` draws the record of one.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from chargewatch.domain.categories import Thresholds
from chargewatch.domain.data_quality import DETAILS, DataQualityNote, NoteCode
from chargewatch.domain.vocabulary import MEASURAND_CODES
from chargewatch.features import flow as flows
from chargewatch.features.flow import Step
from chargewatch.features.register import WH_PER_KWH, Fall, falls, resolution_wh, without_drop_outs
from chargewatch.ingest.channels import Channel
from chargewatch.ingest.columns import NO_TIME, Flags, Floats, ReadingColumns, SessionColumns, steps
from chargewatch.ingest.repairs import RegisterReadings, foreign_ends, undo_unit_switches
from chargewatch.ingest.selection import Selection, Series, select

_REGISTER_CODE: Final = MEASURAND_CODES["energy.active.import.register"]
_DC_VOLTAGE_V: Final = 300.0
_AC_POWER_W: Final = 43_000.0
_NOMINAL_V: Final = 230.0


class Curve(NamedTuple):
    """A channel of one session: ``value`` at ``at_s`` seconds after its first sane reading."""

    at_s: list[float]
    value: list[float]

    def last_before(self, at_s: float) -> float | None:
        """Returns the newest value at or before ``at_s``, None where there is none."""
        newest = None
        for at, value in zip(self.at_s, self.value, strict=True):
            if at > at_s + 1e-6:
                break
            newest = value
        return newest

    def between(self, start_s: float, end_s: float) -> list[float]:
        """Returns the values from ``start_s`` to ``end_s``, both inclusive."""
        pairs = zip(self.at_s, self.value, strict=True)
        return [v for at, v in pairs if start_s - 1e-6 <= at <= end_s + 1e-6]


@dataclass(frozen=True)
class SessionRecord:
    """One session. Energies in Wh, powers in W, SoC in per cent, times in seconds since ``first_us``.

    ``connected_s`` is how long the vehicle was connected as far as readings and declared times show;
    ``register`` is repaired but still falls where the meter fell. ``offered_w`` is the power on offer.
    """

    first_us: int
    last_s: float
    instants: int
    connected_s: float
    over: bool
    managed: bool
    rated_power_w: float
    register: Curve
    interval: Curve
    power: Curve
    soc: Curve
    offered_w: Curve
    export_w: Curve
    phases: Curve
    is_dc: bool
    thresholds: Thresholds

    @cached_property
    def resolution_wh(self) -> float:
        """The resolution of the register as seen in its values, at least 1 Wh."""
        coarsest = self.thresholds.coarsest_resolution_kwh * WH_PER_KWH
        return resolution_wh(self.register.value, coarsest)

    @cached_property
    def tolerance_wh(self) -> float:
        """``tol`` of the definitions: the meter's resolution, at least 0.01 kWh."""
        return max(self.resolution_wh, self.thresholds.tolerance_kwh * WH_PER_KWH)

    @cached_property
    def falls(self) -> list[Fall]:
        """Where the register falls; positions are those in ``register``."""
        return falls(self.register.at_s, self.register.value, self.tolerance_wh, self.rated_power_w)

    @cached_property
    def steady_register(self) -> Curve:
        """The register without its drop-outs."""
        kept = without_drop_outs(len(self.register.at_s), self.falls)
        return Curve([self.register.at_s[i] for i in kept], [self.register.value[i] for i in kept])

    @cached_property
    def flow_source(self) -> str | None:
        """What the flow is drawn from: ``power``, ``register``, ``interval`` or None."""
        power, register, interval = len(self.power.at_s), len(self.register.at_s), len(self.interval.at_s)
        if power >= 2 and 2 * power >= register:
            return "power"
        if register >= 2:
            return "register"
        if interval >= 2:
            return "interval"
        return "power" if power >= 2 else None

    @cached_property
    def flow(self) -> list[Step]:
        """The delivery as steps, in order of time; gaps are where nothing is known."""
        if self.flow_source == "power":
            steps = flows.power_steps(self.power.at_s, self.power.value)
            return flows.bridge_gaps(steps, self.steady_register.at_s, self.steady_register.value)
        if self.flow_source == "register":
            curve = self.steady_register
            return flows.register_steps(curve.at_s, curve.value, self.resolution_wh)
        if self.flow_source == "interval":
            return flows.interval_steps(self.interval.at_s, self.interval.value)
        return []

    @cached_property
    def flow_readings(self) -> int:
        """How many readings the flow is drawn from."""
        curves = {"power": self.power, "register": self.register, "interval": self.interval}
        return len(curves[self.flow_source].at_s) if self.flow_source else 0

    @cached_property
    def imported_wh(self) -> float | None:
        """The energy of the session (contract, section 2, ``energy_kwh``)."""
        return self.imported_until(self.last_s)

    @cached_property
    def energy_source(self) -> str | None:
        """Which channel the energy comes from."""
        if len(self.register.at_s) >= 2:
            return "register"
        if self.interval.at_s:
            return "interval"
        return "power" if len(self.power.at_s) >= 2 else None

    def imported_until(self, at_s: float) -> float | None:
        """Returns the energy imported up to ``at_s``: register steps, else intervals, else the integral of power."""
        if self.energy_source == "register":
            curve = self.steady_register
            pairs = zip(curve.value, curve.value[1:], curve.at_s[1:], strict=False)
            return sum(max(b - a, 0.0) for a, b, at in pairs if at <= at_s + 1e-6)
        if self.energy_source == "interval":
            return sum(v for at, v in zip(*self.interval, strict=True) if at <= at_s + 1e-6)
        if self.energy_source == "power":
            at, power = self.power
            return sum(
                (power[i] + power[i - 1]) / 2 * (at[i] - at[i - 1]) / 3600.0
                for i in range(1, len(at))
                if at[i] <= at_s + 1e-6
            )
        return None

    def register_rise_wh(self, start_s: float, end_s: float) -> float | None:
        """Returns how much the register rose between its readings within two times, None with fewer than two."""
        values = self.steady_register.between(start_s, end_s)
        if len(values) < 2:
            return None
        return sum(max(b - a, 0.0) for a, b in zip(values, values[1:], strict=False))


class SessionBatch:
    """S sessions as columns: their channels, what is declared about them, and their data-quality notes."""

    def __init__(
        self,
        readings: ReadingColumns,
        sessions: SessionColumns,
        now_us: int,
        thresholds: Thresholds,
    ) -> None:
        self.readings = readings
        self.sessions = sessions
        self.thresholds = thresholds
        self.now_us = now_us
        self.selection: Selection = select(readings, now_us)
        self._notes: dict[int, Counter[NoteCode]] = {}
        self._registers: dict[int, Curve] = {}
        self.suspicious = self._suspicious_registers()
        for s in np.flatnonzero(self.suspicious):
            self._repair(int(s))

    def series(self, channel: Channel) -> Series:
        """Returns one channel of all sessions, before repairs."""
        return self.selection.series[channel]

    def curve(self, session: int, channel: Channel) -> Curve:
        """Returns one channel of one session, before repairs."""
        return _curve(self.series(channel), session)

    def _suspicious_registers(self) -> Flags:
        """Marks sessions whose register falls or rises by more than could be delivered."""
        register = self.series(Channel.REGISTER)
        owner = np.repeat(np.arange(self.readings.sessions), steps(register.offsets))
        step = steps(register.value)
        rated = self.sessions.rated_power_w[owner[1:]]
        limit_w = np.where(np.isnan(rated), 400_000.0, 1.15 * rated)
        rise = limit_w * steps(register.at_s) / 3600.0 + 20.0
        odd = ((step < -1e-3) | (step > rise)) & (steps(owner) == 0)
        marked = np.zeros(self.readings.sessions, np.bool_)
        marked[owner[1:][odd]] = True
        return marked | self._suspicious_scales()

    def _suspicious_scales(self) -> Flags:
        """Marks sessions whose register and integrated power differ by a factor of about 1000."""
        ratio = self.rises(Channel.REGISTER) / np.maximum(self.power_integrals_wh, 1e-9)
        factor = np.where(ratio > 1, ratio, 1 / np.maximum(ratio, 1e-12))
        marked: Flags = (self.power_integrals_wh > 100.0) & (factor > 700.0) & (factor < 1400.0)
        return marked

    def rises(self, channel: Channel) -> Floats:
        """Returns the sum of the positive steps of a channel, per session."""
        series = self.series(channel)
        step = np.concatenate(([0.0], np.maximum(steps(series.value), 0.0)))
        step[series.offsets[:-1][series.offsets[:-1] < len(step)]] = 0.0
        return per_session_sum(step[: len(series.value)], series)

    @cached_property
    def power_integrals_wh(self) -> Floats:
        """The integral of measured power (trapezoids), per session, in Wh."""
        power = self.series(Channel.POWER)
        value = np.maximum(power.value, 0.0)
        area = np.concatenate(([0.0], (value[1:] + value[:-1]) / 2 * steps(power.at_s) / 3600.0))
        area[power.offsets[:-1][power.offsets[:-1] < len(area)]] = 0.0
        return per_session_sum(area[: len(value)], power)

    def _repair(self, session: int) -> None:
        """Repairs one session's register and notes what was done."""
        notes = self._notes.setdefault(session, Counter())
        rated_w = 1.15 * float(self.sessions.rated_power_w[session])
        tolerance = self.thresholds.tolerance_kwh * WH_PER_KWH
        series = self.series(Channel.REGISTER)
        rows = slice(int(series.offsets[session]), int(series.offsets[session + 1]))
        context = series.context[rows].tolist()
        curve = Curve(series.at_s[rows].tolist(), series.value[rows].tolist())
        foreign = foreign_ends(RegisterReadings(*curve, context), tolerance, rated_w)
        notes.update(foreign.values())
        if foreign:
            curve = self._without_contexts(session, {context[i] for i in foreign}, curve)
        scale = self._scale(session, curve)
        if scale != 1.0:
            notes[NoteCode.UNIT_SCALE_SUSPECT] = len(curve.value)
            curve = Curve(curve.at_s, [v * scale for v in curve.value])
        wh, switches = undo_unit_switches(curve.at_s, curve.value, tolerance, rated_w)
        if switches:
            notes[NoteCode.UNIT_SWITCHED] = switches
        self._registers[session] = Curve(curve.at_s, wh)

    def _without_contexts(self, session: int, contexts: set[int], before: Curve) -> Curve:
        """Draws one session's register anew without its readings of the given contexts."""
        single = one_session(self.readings, session)
        dropped = (single.measurand == _REGISTER_CODE) & np.isin(single.context, sorted(contexts))
        again = select(single, self.now_us, dropped)
        shift_s = (int(again.first_us[0]) - int(self.selection.first_us[session])) / 1e6
        curve = _curve(again.series[Channel.REGISTER], 0)
        return Curve([at + shift_s for at in curve.at_s], curve.value) if curve.at_s else before

    def _scale(self, session: int, curve: Curve) -> float:
        """Returns 1000 or 1/1000 where the register's rise is off the integral of power by that factor."""
        integral = float(self.power_integrals_wh[session])
        rise = sum(max(b - a, 0.0) for a, b in zip(curve.value, curve.value[1:], strict=False))
        if integral <= 100.0 or rise <= 0:
            return 1.0
        for scale in (WH_PER_KWH, 1 / WH_PER_KWH):
            if 0.7 <= rise * scale / integral <= 1.4:
                return scale
        return 1.0

    def record(self, session: int) -> SessionRecord:
        """Draws the record of one session."""
        selection, declared = self.selection, self.sessions
        register = self._registers.get(session) or self.curve(session, Channel.REGISTER)
        voltage = self.curve(session, Channel.VOLTAGE)
        current = self.curve(session, Channel.CURRENT)
        soc = self.curve(session, Channel.SOC)
        is_dc = self._is_dc(session, voltage)
        power = self.curve(session, Channel.POWER)
        if not power.at_s and len(register.at_s) < 2 and not self.curve(session, Channel.INTERVAL).at_s:
            power = _product(current, voltage)
        export = self.curve(session, Channel.POWER_EXPORT)
        if any(w < 0 for w in power.value):
            export = Curve(export.at_s + power.at_s, export.value + [max(-w, 0.0) for w in power.value])
        rows = self.series(Channel.CURRENT)
        cut = slice(int(rows.offsets[session]), int(rows.offsets[session + 1]))
        counted = [
            (at, float(n)) for at, n in zip(current.at_s, rows.phases[cut].tolist(), strict=True) if n >= 0
        ]
        return SessionRecord(
            first_us=int(selection.first_us[session]),
            last_s=(int(selection.last_us[session]) - int(selection.first_us[session])) / 1e6,
            instants=int(selection.instants[session]),
            connected_s=self.connected_s(session),
            over=bool(declared.over[session]),
            managed=bool(declared.managed[session]),
            rated_power_w=float(declared.rated_power_w[session]),
            register=register,
            interval=self.curve(session, Channel.INTERVAL),
            power=Curve(power.at_s, [max(w, 0.0) for w in power.value]),
            soc=_sane_soc(soc),
            offered_w=self._offered(session, voltage, counted, is_dc),
            export_w=export,
            phases=Curve([at for at, _ in counted], [n for _, n in counted]),
            is_dc=is_dc,
            thresholds=self.thresholds,
        )

    def first_reading_from(self, session: int, at_s: float) -> float:
        """Returns the time of the first analysed reading at or after ``at_s``, over all channels."""
        times = []
        for series in self.selection.series:
            at = series.at_s[int(series.offsets[session]) : int(series.offsets[session + 1])]
            position = int(np.searchsorted(at, at_s - 1e-6))
            if position < len(at):
                times.append(float(at[position]))
        return min(times)

    def connected_s(self, session: int) -> float:
        """Returns how long the vehicle was connected; clock-aligned strays do not make it longer."""
        selection, declared = self.selection, self.sessions
        first, last = int(selection.attended_first_us[session]), int(selection.attended_last_us[session])
        if first == last and int(selection.instants[session]) >= 3 and first == 0:
            first, last = int(selection.first_us[session]), int(selection.last_us[session])
        started, ended = int(declared.started_us[session]), int(declared.ended_us[session])
        if started != NO_TIME and first:
            first = min(first, started)
        if ended != NO_TIME and last:
            last = max(last, ended)
        return (last - first) / 1e6

    def _is_dc(self, session: int, voltage: Curve) -> bool:
        rated = float(self.sessions.rated_power_w[session])
        power = self.curve(session, Channel.POWER).value
        if voltage.value and max(voltage.value) > _DC_VOLTAGE_V and not self._phased(session):
            return True
        return rated > _AC_POWER_W or (bool(power) and max(power) > _AC_POWER_W)

    def _phased(self, session: int) -> bool:
        rows = slice(int(self.readings.offsets[session]), int(self.readings.offsets[session + 1]))
        return bool(np.any(self.readings.phase[rows] > 0))

    def _offered(
        self, session: int, voltage: Curve, phases: Sequence[tuple[float, float]], is_dc: bool
    ) -> Curve:
        power = self.curve(session, Channel.POWER_OFFERED)
        if power.at_s:
            return power
        current = self.curve(session, Channel.CURRENT_OFFERED)
        if not current.at_s:
            return current
        measured = [v for v in voltage.value if v > 90.0]
        volts = flows.median(measured) if measured else _NOMINAL_V
        count = 1.0 if is_dc else max([n for _, n in phases] + [1.0])
        return Curve(current.at_s, [a * volts * count for a in current.value])

    def notes(self, session: int) -> tuple[DataQualityNote, ...]:
        """Returns the data-quality notes of one session, in the order of ``NoteCode``."""
        selection = self.selection
        counts = Counter(self._notes.get(session, Counter()))
        counts[NoteCode.UNIT_ASSUMED] = int(selection.units_assumed[session])
        counts[NoteCode.DUPLICATE] = int(self.sessions.duplicates[session])
        counts[NoteCode.OUT_OF_ORDER] = int(self.sessions.out_of_order[session])
        counts[NoteCode.CLOCK_FAULT] = int(selection.clock_faults[session])
        counts[NoteCode.PHASES_SUMMED] = int(selection.phases_summed[session])
        counts[NoteCode.UNKNOWN_MEASURAND] = int(selection.unknown[session])
        counts[NoteCode.NOT_NUMERIC] = int(selection.not_numeric[session])
        counts[NoteCode.GAP] = int(selection.gaps[session])
        return tuple(
            DataQualityNote(code.value, counts[code], DETAILS[code]) for code in NoteCode if counts[code]
        )


def per_session_sum(values: Floats, series: Series) -> Floats:
    """Sums ``values``, aligned with ``series``, per session."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    sums: Floats = total[series.offsets[1:]] - total[series.offsets[:-1]]
    return sums


def one_session(readings: ReadingColumns, session: int) -> ReadingColumns:
    """Returns the readings of one session as a batch of one."""
    cut = slice(int(readings.offsets[session]), int(readings.offsets[session + 1]))
    return ReadingColumns(
        offsets=np.array([0, cut.stop - cut.start]),
        at_us=readings.at_us[cut],
        value=readings.value[cut],
        measurand=readings.measurand[cut],
        unit=readings.unit[cut],
        phase=readings.phase[cut],
        location=readings.location[cut],
        context=readings.context[cut],
        unit_assumed=readings.unit_assumed[cut],
        signed=readings.signed[cut],
    )


def _curve(series: Series, session: int) -> Curve:
    cut = slice(int(series.offsets[session]), int(series.offsets[session + 1]))
    return Curve(series.at_s[cut].tolist(), series.value[cut].tolist())


def _sane_soc(soc: Curve) -> Curve:
    pairs = [(at, v) for at, v in zip(*soc, strict=True) if 0.0 < v <= 100.0]
    return Curve([at for at, _ in pairs], [v for _, v in pairs])


def _product(current: Curve, voltage: Curve) -> Curve:
    volts = dict(zip(*voltage, strict=True))
    pairs = [(at, a * volts[at]) for at, a in zip(*current, strict=True) if at in volts]
    return Curve([at for at, _ in pairs], [w for _, w in pairs])
