"""Many sessions as columns: their channels, repaired registers and notes; draws the record of each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Final

import numpy as np

from chargewatch.domain.data_quality import DETAILS, DataQualityNote, NoteCode
from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS, Thresholds
from chargewatch.domain.vocabulary import MEASURAND_CODES
from chargewatch.features.flow import median
from chargewatch.features.phases import SideBySide, rows_of
from chargewatch.features.record import Curve, SessionRecord
from chargewatch.features.register import (
    WH_PER_KWH,
    falls,
    most_power_w,
    steady,
    tolerance_wh,
)
from chargewatch.features.resolution import resolution_wh
from chargewatch.ingest.channels import LOCATION_RANK, Channel
from chargewatch.ingest.columns import NO_TIME, Flags, Floats, ReadingColumns, SessionColumns, steps
from chargewatch.ingest.phases import Phases, Table, select_phases, select_temperatures
from chargewatch.ingest.repairs import RegisterReadings, foreign_ends, undo_unit_switches
from chargewatch.ingest.selection import Selection, Series, select

_REGISTER_CODE: Final = MEASURAND_CODES["energy.active.import.register"]
_DC_VOLTAGE_V: Final = 300.0
_AC_POWER_W: Final = 43_000.0
_CLOCK_INSTANTS: Final = 4  # so many clock-aligned readings, and no other, are no stray
NOMINAL_V: Final = 230.0


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
        self._places: dict[int, frozenset[int]] = {}  # of the registers that were drawn anew
        self.suspicious = self._suspicious_registers()
        for s in np.flatnonzero(self.suspicious):
            self._repair(int(s))

    def series(self, channel: Channel) -> Series:
        """Returns one channel of all sessions, before repairs."""
        return self.selection.series[channel]

    def curve(self, session: int, channel: Channel) -> Curve:
        """Returns one channel of one session, before repairs."""
        return _curve(self.series(channel), session)

    @property
    def repaired_registers(self) -> Mapping[int, Curve]:
        """The registers that were repaired (Wh), by session."""
        return self._registers

    @cached_property
    def most_w(self) -> Floats:
        """The most power that could be delivered, per session."""
        rated_w, limits = self.sessions.rated_power_w, self.thresholds
        any_w = limits.spike_any_power_kw * WH_PER_KWH
        most: Floats = np.where(np.isnan(rated_w), any_w, limits.spike_margin * rated_w)
        return most

    def _suspicious_registers(self) -> Flags:
        """Marks sessions whose register falls or rises by more than could be delivered."""
        register = self.series(Channel.REGISTER)
        owner = np.repeat(np.arange(self.readings.sessions), steps(register.offsets))
        step = steps(register.value)
        rise = self.most_w[owner[1:]] * steps(register.at_s) / 3600.0 + 20.0
        odd = ((step < 0) | (step > rise)) & (steps(owner) == 0)
        marked = np.zeros(self.readings.sessions, np.bool_)
        marked[owner[1:][odd]] = True
        return marked | self._suspicious_scales()

    def _suspicious_scales(self) -> Flags:
        """Marks sessions whose register and integrated power differ by a factor of about 1000."""
        if not len(self.series(Channel.POWER).at_s):
            return np.zeros(self.readings.sessions, np.bool_)
        ratio = self.register_rises_wh / np.maximum(self.power_integrals_wh, 1e-9)
        factor = np.where(ratio > 1, ratio, 1 / np.maximum(ratio, 1e-12))
        marked: Flags = (self.power_integrals_wh > 100.0) & (factor > 700.0) & (factor < 1400.0)
        return marked

    @cached_property
    def register_rises_wh(self) -> Floats:
        """The sum of the register's positive steps, per session."""
        series = self.series(Channel.REGISTER)
        step = np.concatenate(([0.0], np.maximum(steps(series.value), 0.0)))
        step[series.offsets[:-1][series.offsets[:-1] < len(step)]] = 0.0
        return per_session_sum(step[: len(series.value)], series)

    @cached_property
    def power_integrals_wh(self) -> Floats:
        """The integral of measured power (trapezoids), per session, in Wh."""
        power = self.series(Channel.POWER)
        if not len(power.at_s):
            return np.zeros(self.readings.sessions)
        value = np.maximum(power.value, 0.0)
        area = np.concatenate(([0.0], (value[1:] + value[:-1]) / 2 * steps(power.at_s) / 3600.0))
        area[power.offsets[:-1][power.offsets[:-1] < len(area)]] = 0.0
        return per_session_sum(area[: len(value)], power)

    @cached_property
    def phases(self) -> Phases:
        """Current, power and voltage of single phases."""
        return select_phases(self.readings, self.selection.first_us, self.now_us)

    @cached_property
    def temperatures(self) -> Table:
        """The station's temperatures by place."""
        return select_temperatures(self.readings, self.selection.first_us, self.now_us)

    def _repair(self, session: int) -> None:
        """Repairs one session's register and notes what was done."""
        notes = self._notes.setdefault(session, Counter())
        most_w = most_power_w(float(self.sessions.rated_power_w[session]), self.thresholds)
        tolerance = DEFAULT_THRESHOLDS.tolerance_kwh * WH_PER_KWH  # repairs are no matter of taste
        series = self.series(Channel.REGISTER)
        rows = slice(int(series.offsets[session]), int(series.offsets[session + 1]))
        register = RegisterReadings(
            series.at_s[rows].tolist(), series.value[rows].tolist(), series.context[rows].tolist()
        )
        elsewhere = self._elsewhere(session)
        if elsewhere.any():
            drawn = self._redrawn(session, elsewhere)
            notes[NoteCode.REGISTER_MIXED] += int(drawn != register)
            register = drawn
        foreign = foreign_ends(register, tolerance, most_w)
        notes.update(foreign.values())
        if foreign:
            contexts = sorted({register.context[i] for i in foreign})
            register = self._redrawn(session, elsewhere, contexts)
        wh, switches = undo_unit_switches(register.at_s, register.wh, tolerance, most_w)
        if switches:
            notes[NoteCode.UNIT_SWITCHED] = switches
        scale = self._scale(session, register.at_s, wh)
        if scale != 1.0:
            notes[NoteCode.UNIT_SCALE_SUSPECT] = len(wh)
            wh = [v * scale for v in wh]
        self._registers[session] = Curve(register.at_s, wh)

    def _elsewhere(self, session: int) -> Flags:
        """Marks one session's register readings from another location than the one whose register counts.

        That is the best location with at least half of the register's instants, else the one with the most.
        """
        rows = slice(int(self.readings.offsets[session]), int(self.readings.offsets[session + 1]))
        at, location = self.readings.at_us[rows], self.readings.location[rows]
        of_register: Flags = self.readings.measurand[rows] == _REGISTER_CODE
        ranks = LOCATION_RANK[location]
        places = np.unique(ranks[of_register]).tolist()
        if len(places) < 2:
            return np.zeros(len(at), np.bool_)
        instants = [len(np.unique(at[of_register & (ranks == place)])) for place in places]
        enough = [n >= len(np.unique(at[of_register])) / 2 for n in instants]
        best = places[enough.index(True) if any(enough) else instants.index(max(instants))]
        elsewhere: Flags = of_register & (ranks != best)
        return elsewhere

    def _redrawn(self, session: int, dropped: Flags, contexts: Sequence[int] = ()) -> RegisterReadings:
        """Draws one session's register anew without the marked readings and those of the given contexts."""
        single = one_session(self.readings, session)
        foreign = (single.measurand == _REGISTER_CODE) & np.isin(single.context, contexts)
        series = select(single, self.now_us, dropped | foreign).series[Channel.REGISTER]
        self._places[session] = _places(series, 0)
        return RegisterReadings(series.at_s.tolist(), series.value.tolist(), series.context.tolist())

    def _scale(self, session: int, at_s: list[float], wh: list[float]) -> float:
        """Returns 1000 or 1/1000 where the register's rise is off the integral of power by that factor."""
        integral = float(self.power_integrals_wh[session])
        if integral <= 100.0 or not wh:
            return 1.0
        tolerance = tolerance_wh(wh, resolution_wh(wh), DEFAULT_THRESHOLDS.tolerance_kwh * WH_PER_KWH)
        values = steady(at_s, wh, falls(at_s, wh, tolerance))[1]
        rise = sum(max(b - a, 0.0) for a, b in zip(values, values[1:], strict=False))
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
        drawn = power if power.at_s else _drawn_w(current, voltage)
        sends_power = bool(power.at_s)
        if not power.at_s and len(register.at_s) < 2 and not self.curve(session, Channel.INTERVAL).at_s:
            power = _product(current, voltage)
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
            drawn_w=Curve(drawn.at_s, [max(w, 0.0) for w in drawn.value]),
            soc=_sane_soc(soc),
            target_soc=_sane_soc(self.curve(session, Channel.TARGET_SOC)),
            offered_w=self._offered(session, voltage, counted, is_dc),
            export_w=self._export_w(session, power),
            export_register=self.curve(session, Channel.EXPORT_REGISTER),
            export_interval=self.curve(session, Channel.EXPORT_INTERVAL),
            phases=Curve([at for at, _ in counted], [n for _, n in counted]),
            current=current,
            voltage=voltage,
            side_by_side=SideBySide(
                current=rows_of(self.phases.current, session),
                power=rows_of(self.phases.power, session),
                voltage=rows_of(self.phases.voltage, session),
                temperature=rows_of(self.temperatures, session),
            ),
            is_dc=is_dc,
            sends_power=sends_power,
            metered_apart=self._metered_apart(session),
            thresholds=self.thresholds,
        )

    def _metered_apart(self, session: int) -> bool:
        """Tells whether the readings chosen for the register and for power come from more than one location."""
        places = self._places.get(session)
        if places is None:
            places = _places(self.series(Channel.REGISTER), session)
        return len(places | _places(self.series(Channel.POWER), session)) > 1

    def _export_w(self, session: int, power: Curve) -> Curve:
        """Returns power to the grid: the measured one and, where import is measured as negative, that."""
        export = self.curve(session, Channel.POWER_EXPORT)
        negative = [(at, -w) for at, w in zip(*power, strict=True) if w < 0]
        if not negative:
            return export
        pairs = sorted([*zip(*export, strict=True), *negative])
        return Curve([at for at, _ in pairs], [w for _, w in pairs])

    def connected_s(self, session: int) -> float:
        """Returns how long the vehicle was connected; clock-aligned strays do not make it longer."""
        selection, declared = self.selection, self.sessions
        first, last = int(selection.attended_first_us[session]), int(selection.attended_last_us[session])
        if first == last and int(selection.instants[session]) >= _CLOCK_INSTANTS and first == 0:
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
        volts = _usual_v(voltage)
        count = 1.0 if is_dc else max([n for _, n in phases] + [1.0])
        return Curve(current.at_s, [a * volts * count for a in current.value])

    def notes(self, session: int) -> tuple[DataQualityNote, ...]:
        """Returns the data-quality notes of one session, in the order of ``NoteCode``."""
        selection, declared = self.selection, self.sessions
        counts: dict[NoteCode, int] = {
            **self._notes.get(session, {}),
            NoteCode.UNIT_ASSUMED: int(selection.units_assumed[session]),
            NoteCode.DUPLICATE: int(declared.duplicates[session]),
            NoteCode.OUT_OF_ORDER: int(declared.out_of_order[session]),
            NoteCode.CLOCK_FAULT: int(selection.clock_faults[session]),
            NoteCode.PHASES_SUMMED: int(selection.phases_summed[session]),
            NoteCode.UNKNOWN_MEASURAND: int(selection.unknown[session]),
            NoteCode.NOT_NUMERIC: int(selection.not_numeric[session]),
            NoteCode.GAP: int(selection.gaps[session]),
            NoteCode.OVERLAPS_SESSION: int(declared.overlaps[session]),
        }
        if not any(counts.values()):
            return ()
        return tuple(
            DataQualityNote(code.value, count, DETAILS[code])
            for code in NoteCode
            if (count := counts.get(code, 0))
        )


def per_session_sum(values: Floats, series: Series) -> Floats:
    """Sums ``values``, aligned with ``series``, per session, each as if it were alone."""
    sessions = len(series.offsets) - 1
    owner = np.repeat(np.arange(sessions), steps(series.offsets))
    sums: Floats = np.bincount(owner, weights=values, minlength=sessions).astype(np.float64, copy=False)
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


def _places(series: Series, session: int) -> frozenset[int]:
    """Returns the codes of the locations at which one session's readings of a channel were taken."""
    cut = slice(int(series.offsets[session]), int(series.offsets[session + 1]))
    return frozenset(series.location[cut].tolist())


def _sane_soc(soc: Curve) -> Curve:
    pairs = [(at, v) for at, v in zip(*soc, strict=True) if 0.0 < v <= 100.0]
    return Curve([at for at, _ in pairs], [v for _, v in pairs])


def _drawn_w(current: Curve, voltage: Curve) -> Curve:
    """Returns the power that current says: times the voltage at that instant, else the session's usual one."""
    volts = dict(zip(*voltage, strict=True))
    usual = _usual_v(voltage)
    return Curve(current.at_s, [a * volts.get(at, usual) for at, a in zip(*current, strict=True)])


def _usual_v(voltage: Curve) -> float:
    measured = [v for v in voltage.value if v > 90.0]
    return median(measured) if measured else NOMINAL_V


def _product(current: Curve, voltage: Curve) -> Curve:
    volts = dict(zip(*voltage, strict=True))
    pairs = [(at, a * volts[at]) for at, a in zip(*current, strict=True) if at in volts]
    return Curve([at for at, _ in pairs], [w for _, w in pairs])
