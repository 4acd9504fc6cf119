"""Charging stations: rated power, phases, what they offer, and load management."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from chargewatch.simulate.records import Kind, Span
from chargewatch.simulate.vehicles import PHASE_VOLTAGE_KV, Vehicle

NOMINAL_V: Final = (120.0, 208.0, 230.0, 240.0, 277.0)
"""Nominal voltages between phase and neutral, or at a one-phase outlet."""

LOWEST_CURRENT_A: Final = 6.0
"""IEC 61851-1: a car may draw nothing when less than 6 A are offered."""

# phases, amperes per phase, share of stations
_AC_RATINGS: Final = ((1, 16.0, 0.06), (1, 32.0, 0.2), (3, 16.0, 0.39), (3, 32.0, 0.35))
_DC_RATINGS: Final = ((50.0, 0.2), (75.0, 0.1), (100.0, 0.1), (150.0, 0.35), (300.0, 0.25))
_MANAGED_SHARE: Final = {"ac": 0.2, "dc": 0.06}


@dataclass(frozen=True, slots=True)
class Charger:
    """A station's hardware. DC: ``phases`` is 0 and ``current_a`` the DC cable's limit.

    ``voltage_v`` is the nominal one of a phase (AC).
    ``rated_known``: the operator declares the rated power.
    """

    kind: Kind
    rated_kw: float
    phases: int
    current_a: float
    managed: bool
    voltage_v: float = 1000.0 * PHASE_VOLTAGE_KV
    rated_known: bool = True

    def lowest_share(self) -> float:
        """The lowest share of the rated power that a car can follow."""
        return LOWEST_CURRENT_A / self.current_a if self.kind == "ac" else 0.2

    def phases_with(self, vehicle: Vehicle) -> int:
        """Phases in use with ``vehicle`` (0 on DC)."""
        return min(self.phases, vehicle.phases) if self.kind == "ac" else 0

    def power_with(self, vehicle: Vehicle) -> float:
        """The highest power (kW) with ``vehicle`` when everything is offered."""
        if self.kind == "dc":
            return min(self.rated_kw, vehicle.peak_kw)
        phases = self.phases_with(vehicle)
        by_current = phases * min(self.current_a, vehicle.current_a) * self.voltage_v / 1000.0
        return min(by_current, vehicle.peak_kw * phases / vehicle.phases)


def draw_charger(rng: np.random.Generator, kind: Kind) -> Charger:
    """Draws a station's hardware."""
    managed = bool(rng.random() < _MANAGED_SHARE[kind])
    if kind == "dc":
        shares = np.cumsum([share for _, share in _DC_RATINGS])
        rated = _DC_RATINGS[int(np.searchsorted(shares, rng.random(), side="right"))][0]
        return Charger(kind, rated, 0, 1000.0 * rated / dc_voltage_v(rated), managed)
    shares = np.cumsum([share for _, _, share in _AC_RATINGS])
    phases, current, _ = _AC_RATINGS[int(np.searchsorted(shares, rng.random(), side="right"))]
    return ac_charger(phases, current, managed=managed)


def dc_voltage_v(rated_kw: float) -> float:
    """The battery voltage that a DC station of this power usually meets."""
    return 360.0 if rated_kw < 120 else 680.0


def ac_charger(
    phases: int, current_a: float, *, managed: bool, voltage_v: float = 1000.0 * PHASE_VOLTAGE_KV
) -> Charger:
    """An AC station with ``current_a`` on each of ``phases``."""
    rated_kw = round(phases * current_a * voltage_v / 1000.0, 1)
    return Charger("ac", rated_kw, phases, current_a, managed, voltage_v)


def managed_offers(
    rng: np.random.Generator, charger: Charger, stay_s: float, longest_pause_s: float
) -> tuple[Span, ...]:
    """Load management: what share of the rated power is offered when, in steps of 5 to 40 minutes.

    Pauses (an offer of 0) come now and then, last at most ``longest_pause_s`` and are never the last
    step, so that the car is served in the end.
    """
    spans: list[Span] = []
    at = float(rng.uniform(0, 1800))
    while at < stay_s and len(spans) < 60:
        paused = rng.random() < 0.12 and at > 600 and (not spans or spans[-1].value > 0)
        length = float(rng.uniform(240, longest_pause_s) if paused else rng.uniform(300, 2400))
        share = 0.0 if paused else float(rng.uniform(charger.lowest_share(), 1.0))
        if paused and at + length + 900 > stay_s:
            break
        spans.append(Span(at, at + length, share))
        at += length
    return tuple(spans)
