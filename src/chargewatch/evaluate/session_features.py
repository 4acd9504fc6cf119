"""Plain features of sessions for peers that learn from tables. Independent of the detector's own.

One row a session, drawn from the readings as they were sent: sorted by time, phases summed, units converted.
NaN where a session does not send what a feature needs.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from chargewatch.domain.vocabulary import MEASURAND_CODES, Measurand
from chargewatch.evaluate.columns import Columns
from chargewatch.evaluate.metrics import Flags, Floats
from chargewatch.ingest.channels import FACTOR_OF_UNIT, OFFSET_OF_UNIT
from chargewatch.ingest.columns import Codes

_DC_KW: Final = 43.0
_IDLE_KW: Final = 0.3
_LIVE_KW: Final = 1.0
_LOW_SHARE: Final = 0.25
_PHASE_A: Final = 1.0
_HOUR_S: Final = 3600.0


class Signal(NamedTuple):
    """Values of one measurand at ``at_h`` hours after the session's first reading, in order of time."""

    at_h: Floats
    value: Floats

    def __len__(self) -> int:
        return len(self.at_h)


class Signals(NamedTuple):
    """What a session sends. Energies in kWh, powers in kW, currents in A, voltages in V; shape (n,) each.

    ``rated_kw`` is NaN where it is not declared.
    ``currents`` and ``voltages``: one a phase that is sent.
    """

    instants_h: Floats
    rated_kw: float
    managed: bool
    register: Signal
    power: Signal
    soc: Signal
    offered: Signal
    currents: tuple[Signal, ...]
    voltages: tuple[Signal, ...]
    temperature: Signal


def _times(s: Signals) -> dict[str, float]:
    gaps = np.diff(s.instants_h)
    usual = float(np.median(gaps)) if len(gaps) else np.nan
    return {
        "duration_h": float(s.instants_h[-1]) if len(s.instants_h) else 0.0,
        "instants": float(len(s.instants_h)),
        "usual_gap_s": usual * _HOUR_S,
        "largest_gap": _most(gaps) / usual if usual > 0 else np.nan,
        "gap_variation": _variation(gaps),
        "rated_kw": s.rated_kw,
        "dc": np.nan if np.isnan(s.rated_kw) else float(s.rated_kw > _DC_KW),
        "managed": float(s.managed),
    }


def _register(s: Signals) -> dict[str, float]:
    at, value = s.register
    if len(at) < 2:
        return dict.fromkeys(_REGISTER_NAMES, np.nan)
    steps, hours = np.diff(value), np.maximum(np.diff(at), 1.0 / _HOUR_S)
    rises = np.flatnonzero(steps > 0)
    mean_kw = np.maximum(steps, 0.0) / hours
    live = mean_kw[rises[0] : rises[-1] + 1] if len(rises) else np.zeros(0)
    figures = (
        value[-1] - value[0],
        np.maximum(steps, 0.0).sum(),
        float((steps < -0.005).sum()),
        max(-float(steps.min()), 0.0),
        float(mean_kw.max()),
        float(mean_kw.max()) / s.rated_kw if s.rated_kw > 0 else np.nan,
        float((steps <= 0).mean()),
        _longest(at, steps <= 0),
        _longest(at[rises[0] : rises[-1] + 2], steps[rises[0] : rises[-1] + 1] <= 0) if len(rises) else 0.0,
        float(at[rises[0]] - at[0]) if len(rises) else float(at[-1] - at[0]),
        float(at[-1] - at[rises[-1] + 1]) if len(rises) else float(at[-1] - at[0]),
        _variation(live),
        float(np.log10(_least_positive(steps))),
    )
    return dict(zip(_REGISTER_NAMES, map(float, figures), strict=True))


_REGISTER_NAMES: Final = (
    "register_gain_kwh",
    "register_rise_kwh",
    "register_falls",
    "register_largest_fall_kwh",
    "register_peak_kw",
    "register_peak_of_rated",
    "register_still_share",
    "register_still_h",
    "register_still_between_h",
    "register_first_rise_h",
    "register_after_last_rise_h",
    "register_power_variation",
    "register_step_log10_kwh",
)


def _power(s: Signals) -> dict[str, float]:
    at, value = s.power
    if len(at) < 2:
        return dict.fromkeys(_POWER_NAMES, np.nan)
    peak = max(float(value.max()), 1e-3)
    live = np.flatnonzero(value >= _LIVE_KW)
    inner = slice(int(live[0]), int(live[-1]) + 1) if len(live) else slice(0, 0)
    within = value[inner]
    steps = np.diff(value)
    figures = (
        float(value.max()),
        float(value.mean()),
        _variation(within),
        float(within.min()) / peak if len(within) else np.nan,
        max(-float(steps.min()), 0.0) / peak,
        float((steps < -0.5 * peak).sum()),
        float((value < _IDLE_KW).mean()),
        _longest(at[inner], within[:-1] < _LOW_SHARE * peak) if len(within) > 1 else 0.0,
        float(at[-1] - at[live[-1]]) if len(live) else float(at[-1] - at[0]),
        float(np.trapezoid(value, at)),
        float(np.std(np.diff(steps))) / peak if len(steps) > 1 else np.nan,
        float(value[-1]) / peak,
        peak / s.rated_kw if s.rated_kw > 0 else np.nan,
    )
    return dict(zip(_POWER_NAMES, map(float, figures), strict=True))


_POWER_NAMES: Final = (
    "power_peak_kw",
    "power_mean_kw",
    "power_variation",
    "power_lowest_between",
    "power_largest_fall",
    "power_large_falls",
    "power_idle_share",
    "power_low_between_h",
    "power_idle_at_end_h",
    "power_integral_kwh",
    "power_roughness",
    "power_last",
    "power_peak_of_rated",
)


def _agreement(s: Signals) -> dict[str, float]:
    """Register against power."""
    names = ("register_less_power_kwh", "register_of_power", "frozen_h")
    if len(s.register) < 2 or len(s.power) < 2:
        return dict.fromkeys(names, np.nan)
    rise = float(np.maximum(np.diff(s.register.value), 0.0).sum())
    integral = float(np.trapezoid(s.power.value, s.power.at_h))
    power = np.interp(s.register.at_h, *s.power)
    frozen = (np.diff(s.register.value) <= 0) & (np.minimum(power[1:], power[:-1]) >= _LIVE_KW)
    figures = (rise - integral, rise / max(integral, 0.05), _longest(s.register.at_h, frozen))
    return dict(zip(names, figures, strict=True))


def _battery_and_offer(s: Signals) -> dict[str, float]:
    soc, offer = s.soc.value, s.offered.value
    power = np.interp(s.offered.at_h, *s.power) if len(s.power) > 1 else np.full(len(offer), np.nan)
    return {
        "soc_first": float(soc[0]) if len(soc) else np.nan,
        "soc_last": float(soc[-1]) if len(soc) else np.nan,
        "soc_largest": _most(soc),
        "soc_largest_fall": max(-_least(np.diff(soc)), 0.0) if len(soc) > 1 else np.nan,
        "offer_largest": _most(offer),
        "offer_least_share": _least(offer) / max(_most(offer), 1e-3) if len(offer) else np.nan,
        "offer_unused_share": float((power < _IDLE_KW).mean()) if len(offer) else np.nan,
    }


def _electrics(s: Signals) -> dict[str, float]:
    peaks = np.array([_most(c.value) for c in s.currents])
    used = [c for c, peak in zip(s.currents, peaks, strict=True) if peak > _PHASE_A]
    length = min((len(c) for c in used), default=0)
    together = np.array([c.value[:length] for c in used]).reshape(len(used), length)
    flows = together[:, together.max(axis=0) > _PHASE_A] if len(used) else together
    volts = np.concatenate([v.value for v in s.voltages]) if s.voltages else np.zeros(0)
    usual = float(np.median(volts)) if len(volts) else np.nan
    heat = s.temperature
    at_hottest = (
        np.interp(heat.at_h, *s.power) if len(heat) and len(s.power) > 1 else np.full(len(heat), np.nan)
    )
    return {
        "phases_used": float(len(used)) if s.currents else np.nan,
        "phase_least_share": float((flows.min(axis=0) / flows.max(axis=0)).min()) if flows.size else np.nan,
        "voltage_usual": usual,
        "voltage_least": _least(volts) / usual if usual > 0 else np.nan,
        "voltage_largest": _most(volts) / usual if usual > 0 else np.nan,
        "temperature_largest": _most(heat.value),
        "power_when_hottest": float(at_hottest[int(heat.value.argmax())]) if len(heat) else np.nan,
    }


_PARTS: Final[tuple[Callable[[Signals], dict[str, float]], ...]] = (
    _times,
    _register,
    _power,
    _agreement,
    _battery_and_offer,
    _electrics,
)


def features_of(columns: Columns) -> Floats:
    """Returns the features, shape (sessions, len(FEATURES)); NaN where unknown."""
    table = np.full((columns.readings.sessions, len(FEATURES)), np.nan)
    for session in range(columns.readings.sessions):
        signals = signals_of(columns, session)
        table[session] = [value for part in _PARTS for value in part(signals).values()]
    return table


def signals_of(columns: Columns, session: int) -> Signals:
    """Returns what one session sends."""
    readings, declared = columns.readings, columns.declared
    rows = slice(int(readings.offsets[session]), int(readings.offsets[session + 1]))
    at_us, unit = readings.at_us[rows], readings.unit[rows]
    value = readings.value[rows] * FACTOR_OF_UNIT[unit] + OFFSET_OF_UNIT[unit]
    measurand, phase = readings.measurand[rows], readings.phase[rows]
    hours = (at_us - at_us.min()) / (1e6 * _HOUR_S) if len(at_us) else np.zeros(0)

    def signal(*measurands: Measurand, scale: float = 1.0, of_phase: int | None = None) -> Signal:
        wanted = np.isin(measurand, [_code(m) for m in measurands])
        if of_phase is not None:
            wanted &= phase == of_phase
        return _summed(hours[wanted], value[wanted] * scale, phase[wanted])

    def by_phase(of: Measurand) -> tuple[Signal, ...]:
        return tuple(signal(of, of_phase=p) for p in np.unique(phase[measurand == _code(of)]).tolist())

    return Signals(
        instants_h=np.unique(hours),
        rated_kw=float(declared.rated_power_w[session]) / 1000.0,
        managed=bool(declared.managed[session]),
        register=signal(Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, scale=1e-3),
        power=signal(Measurand.POWER_ACTIVE_IMPORT, scale=1e-3),
        soc=signal(Measurand.SOC),
        offered=signal(Measurand.CURRENT_OFFERED, Measurand.POWER_OFFERED),
        currents=by_phase(Measurand.CURRENT_IMPORT),
        voltages=by_phase(Measurand.VOLTAGE),
        temperature=signal(Measurand.TEMPERATURE),
    )


def _code(measurand: Measurand) -> int:
    return MEASURAND_CODES[measurand.value.casefold()]


def _summed(hours: Floats, value: Floats, phase: Codes) -> Signal:
    """Returns a signal in order of time: of repeats one counts, phases of one instant are summed."""
    _, first = np.unique(np.stack((hours, phase)), axis=1, return_index=True) if len(hours) else (0, slice(0))
    at, place = np.unique(hours[first], return_inverse=True)
    return Signal(at, np.bincount(place, value[first], len(at)).astype(np.float64))


def _most(values: Floats) -> float:
    return float(values.max()) if len(values) else np.nan


def _least(values: Floats) -> float:
    return float(values.min()) if len(values) else np.nan


def _variation(values: Floats) -> float:
    mean = float(values.mean()) if len(values) else 0.0
    return float(values.std()) / mean if mean > 0 else np.nan


def _least_positive(values: Floats) -> float:
    positive = values[values > 0]
    return max(float(positive.min()), 1e-3) if len(positive) else 1e-3


def _longest(at_h: Floats, low: Flags) -> float:
    """Returns the hours of the longest run of marked steps; step i lasts from reading i to i + 1."""
    if not low.any():
        return 0.0
    edges = np.flatnonzero(np.diff(np.concatenate(([False], low, [False])).astype(np.int8)))
    return float((at_h[edges[1::2]] - at_h[edges[::2]]).max())


_NONE: Final = Signal(np.zeros(0), np.zeros(0))
FEATURES: Final = tuple(
    name
    for part in _PARTS
    for name in part(Signals(np.zeros(0), 0.0, False, _NONE, _NONE, _NONE, _NONE, (), (), _NONE))
)
"""The names of the columns."""
