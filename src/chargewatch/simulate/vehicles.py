"""Cars: what a battery accepts at each state of charge, on AC and on DC.

DC: full power up to a knee, then less and less. The knees are placed so that the taper *seen* in the
readings (the last reading within 5 % of the plateau, stations' own limits included) begins where it
was measured on real sessions: median 71 %, quartiles 68 and 79 %. AC: the onboard charger's constant power on one, two
or three phases, then a taper close to full.
"""

from array import array
from dataclasses import dataclass
from typing import Final

import numpy as np

from chargewatch.simulate.records import Kind

PHASE_VOLTAGE_KV: Final = 0.23
POINTS_PER_SOC: Final = 10
CURVE_POINTS: Final = 100 * POINTS_PER_SOC + 1
"""Points of a curve: one each 0.1 % of SoC, both ends included."""

_KNEE_SOC: Final = ((0.0, 0.25, 0.5, 0.75, 1.0), (54.0, 65.5, 67.5, 73.0, 84.0))
_CAPACITY_KWH: Final = ((0.0, 0.25, 0.5, 0.75, 1.0), (35.0, 50.0, 64.0, 77.0, 108.0))
_DC_PEAK_KW: Final = ((0.0, 0.25, 0.5, 0.75, 1.0), (45.0, 80.0, 110.0, 160.0, 250.0))
# phases, amperes per phase, share of cars: 3.7, 7.4, 7.4, 11 and 22 kW
_ONBOARD: Final = ((1, 16.0, 0.12), (1, 32.0, 0.18), (2, 16.0, 0.08), (3, 16.0, 0.54), (3, 32.0, 0.08))


@dataclass(frozen=True, slots=True)
class Vehicle:
    """A car. ``curve_kw`` is what its battery accepts at 0, 0.1, … 100 % SoC, at the outlet."""

    capacity_kwh: float
    phases: int
    current_a: float
    peak_kw: float
    efficiency: float
    curve_kw: "array[float]"

    def soc_per_kwh(self) -> float:
        """Points of SoC that one kWh at the outlet brings."""
        return 100.0 * self.efficiency / self.capacity_kwh

    def kwh_between(self, low_soc: float, high_soc: float) -> float:
        """Energy at the outlet that lifts the battery from ``low_soc`` to ``high_soc`` per cent."""
        return (high_soc - low_soc) / self.soc_per_kwh()


def draw_vehicle(rng: np.random.Generator, kind: Kind) -> Vehicle:
    """Draws a car that charges on ``kind``."""
    capacity = float(np.interp(rng.random(), *_CAPACITY_KWH))
    phases, current = draw_onboard_charger(rng)
    if kind == "ac":
        peak = phases * current * PHASE_VOLTAGE_KV
        curve = ac_curve(peak, knee_soc=float(rng.uniform(95.5, 98.5)))
        return Vehicle(capacity, phases, current, peak, float(rng.uniform(0.86, 0.92)), curve)
    peak = min(float(np.interp(rng.random(), *_DC_PEAK_KW)), 2.6 * capacity)
    return Vehicle(capacity, phases, current, peak, float(rng.uniform(0.93, 0.97)), draw_dc_curve(rng, peak))


def draw_onboard_charger(rng: np.random.Generator) -> tuple[int, float]:
    """Draws phases and amperes per phase of an AC onboard charger."""
    shares = np.cumsum([share for _, _, share in _ONBOARD])
    phases, current, _ = _ONBOARD[int(np.searchsorted(shares, rng.random() * shares[-1], side="right"))]
    return phases, current


def ac_curve(peak_kw: float, *, knee_soc: float) -> "array[float]":
    """Constant power, then (from ``knee_soc``) the constant-voltage phase down to a trickle at 100 %."""
    soc = np.linspace(0.0, 100.0, CURVE_POINTS)
    share = np.where(soc < knee_soc, 1.0, np.exp(-2.1 * (soc - knee_soc) / (100.0 - knee_soc)))
    return array("d", peak_kw * share)


def draw_dc_curve(rng: np.random.Generator, peak_kw: float) -> "array[float]":
    """A DC curve: nearly flat to the knee, then falling steadily, or in one step and then steadily."""
    knee = float(np.interp(rng.random(), *_KNEE_SOC))
    at_zero, at_full = float(rng.uniform(0.8, 1.0)), float(rng.uniform(0.08, 0.25))
    soc, share = [0.0, 8.0, knee, 100.0], [at_zero, 1.0, float(rng.uniform(0.97, 1.0)), at_full]
    if rng.random() < 0.3:
        step = float(rng.uniform(0.6, 0.8))
        soc, share = [0.0, 8.0, knee, knee + 0.8, 100.0], [at_zero, 1.0, 1.0, step, at_full]
    return array("d", peak_kw * np.interp(np.linspace(0.0, 100.0, CURVE_POINTS), soc, share))
