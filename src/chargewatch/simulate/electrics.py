"""The electrical side of a station: voltage, current by phase, temperature, and how they are sent.

Stations differ: some send the current of each phase, some the total or only that of L1; voltages
are sent against neutral, between lines, or for one phase. Each habit belongs to a station and stays.

A healthy station is healthy here by every definition of ``categories.md``: its voltage stays within
±10 % of the nominal one with sag and meter error together. Its temperature stays below 58 °C, but for
a few sessions in the summer sun, which go beyond 60 °C and whose power is steady until the car leaves.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

import numpy as np

from chargewatch.simulate.chargers import Charger, dc_voltage_v
from chargewatch.simulate.records import GRID_S, Floats, Integers

if TYPE_CHECKING:
    from datetime import datetime

    from chargewatch.simulate.truth import Truth

_T = TypeVar("_T")

CurrentForm: TypeAlias = Literal["phases", "total", "first"]
VoltageForm: TypeAlias = Literal["neutral", "phases", "first", "lines", "plain"]
Sensor: TypeAlias = Literal["Body", "Outlet", "Cable", "EV", "Inlet"]

CHARGER_SENSORS: Final[tuple[Sensor, ...]] = ("Body", "Outlet", "Cable")
CAR_SENSORS: Final[tuple[Sensor, ...]] = ("EV", "Inlet")
HEALTHY_MOST_C: Final = 57.5
_SUNNY_MOST_C: Final = 72.0
_SUMMER_AIR_C: Final = 20.0
_SUNNY_SHARE: Final = 0.5
"""Share of the steady sessions in summer air that stand in the sun."""

_SENSOR_SETS: Final[tuple[tuple[tuple[Sensor, ...], float], ...]] = (
    ((), 0.74),
    (("Body",), 0.1),
    (("Outlet",), 0.05),
    (("Cable",), 0.04),
    (("Body", "Cable"), 0.03),
    (("EV",), 0.02),
    (("Inlet",), 0.02),
)
_NOISE_V: Final = 0.6
_PHASE_NAMES: Final = ("L1", "L2", "L3")
_LINE_NAMES: Final = ("L1-L2", "L2-L3", "L3-L1")


@dataclass(frozen=True, slots=True)
class Electrics:
    """How a station's meter shows the electrical side.

    Attributes:
        current: a reading a phase, one of their sum without a phase, or that of L1 only.
        voltage: ``L1-N`` …, ``L1`` …, the first phase only, between lines (``L1-L2`` …), or one
            reading without a phase.
        rotation: by how many places the wiring rotates the phases; a one-phase car may load L2.
        sag: share by which the voltage falls at full load.
        imbalance: share by which the currents of the phases may differ.
        residual_a: what the meter shows on a phase that carries nothing, at most.
        sensors: where temperatures are taken.
        heats_k: rise of the temperature at full power.
        lag_s: time constant of the temperature.
        coarse_celsius: temperatures are sent in whole degrees.
    """

    current: CurrentForm = "phases"
    voltage: VoltageForm = "neutral"
    rotation: int = 0
    sag: float = 0.0
    imbalance: float = 0.0
    residual_a: float = 0.0
    sensors: tuple[Sensor, ...] = ()
    heats_k: float = 18.0
    lag_s: float = 900.0
    coarse_celsius: bool = False


PLAIN_ELECTRICS: Final = Electrics()
"""A reading a phase, and no faults of the meter."""


def draw_nominal_v(rng: np.random.Generator, phases: int, current_a: float) -> float:
    """Draws the nominal phase voltage of an AC station: mostly 230 V, as in Europe."""
    drawn = rng.random()
    if phases == 3:
        return 230.0 if drawn < 0.92 else 240.0 if drawn < 0.97 else 277.0
    if drawn < 0.7:
        return 230.0
    if drawn < 0.88:
        return 240.0
    if drawn < 0.95:
        return 208.0
    return 277.0 if drawn < 0.98 or current_a > 16.0 else 120.0


def draw_electrics(rng: np.random.Generator, charger: Charger) -> Electrics:
    """Draws the habits of a station."""
    three = charger.phases == 3
    voltages: tuple[VoltageForm, ...] = (
        ("neutral", "phases", "first", "lines", "plain") if three else ("neutral", "phases", "plain")
    )
    shares = (0.6, 0.22, 0.08, 0.05, 0.05) if three else (0.45, 0.25, 0.3)
    currents: tuple[CurrentForm, ...] = ("phases", "total", "first")
    drawn = float(rng.random())
    sensors = _SENSOR_SETS[int(np.searchsorted(np.cumsum([s for _, s in _SENSOR_SETS[:-1]]), drawn))][0]
    return Electrics(
        current=_chosen(rng, currents, (0.7, 0.18, 0.12) if three else (0.6, 0.4, 0.0)),
        voltage=_chosen(rng, voltages, shares),
        rotation=int(rng.integers(0, 3)) if three and rng.random() < 0.3 else 0,
        sag=float(rng.uniform(0.0, 0.025)),
        imbalance=float(rng.uniform(0.0, 0.015)),
        residual_a=float(rng.uniform(0.05, 0.25)) if rng.random() < 0.3 else 0.0,
        sensors=sensors,
        heats_k=float(rng.uniform(10.0, 24.0)),
        lag_s=float(rng.uniform(400.0, 1800.0)),
        coarse_celsius=bool(rng.random() < 0.6),
    )


def _chosen(rng: np.random.Generator, options: tuple[_T, ...], shares: tuple[float, ...]) -> _T:
    place = int(np.searchsorted(np.cumsum(shares), rng.random(), side="right"))
    return options[min(place, len(options) - 1)]


def fitting(electrics: Electrics, phases: int) -> bool:
    """Says whether a station with so many phases can have these habits."""
    return phases == 3 or (electrics.voltage not in ("lines", "first") and electrics.current != "first")


# --- what the meter shows -------------------------------------------------------------------------


def phase_volts(truth: "Truth", step: Integers, charger: Charger, rng: np.random.Generator) -> Floats:
    """Returns the site's voltage against neutral at each reading, without load, shape (phases, n)."""
    size = (max(charger.phases, 1), len(step))
    volts: Floats = charger.voltage_v * rng.uniform(0.97, 1.03) + rng.normal(0.0, _NOISE_V, size=size)
    if truth.volts is not None:
        volts = volts * truth.volts[: size[0], step]
    return volts


def pack_volts(truth: "Truth", edge: Floats, charger: Charger) -> Floats:
    """Returns the battery's voltage at each reading of a DC session, shape (1, n): it rises with the charge."""
    pack = dc_voltage_v(charger.rated_kw)
    soc = np.interp(edge, np.arange(len(truth.soc)), truth.soc)
    volts: Floats = pack * (0.93 + 0.0016 * soc) if truth.pack_v is None else np.interp(soc, *truth.pack_v)
    return volts[None, :]


def phase_shares(truth: "Truth", step: Integers, rows: int, imbalance: Floats | None) -> Floats:
    """Returns which share of the power each phase carries at each reading, shape (phases, n)."""
    used = (np.arange(rows)[:, None] < truth.phases[step][None, :]).astype(np.float64)
    if truth.lost is not None:
        used *= (truth.lost[step][None, :] >> np.arange(rows)[:, None]) & 1 == 0
    if imbalance is not None:
        used *= imbalance[:, None]
    shares: Floats = used / np.maximum(used.sum(axis=0), 1e-9)
    return shares


def with_residuals(amperes: Floats, electrics: Electrics, rng: np.random.Generator) -> Floats:
    """Returns the currents (phases, n) with the small figures that some meters show on an idle phase."""
    if electrics.residual_a <= 0:
        return amperes
    idle = amperes < 0.01
    return np.where(idle, rng.uniform(0.0, electrics.residual_a, size=amperes.shape), amperes)


def sensor_temperatures(
    truth: "Truth",
    at_s: Floats,
    energy_kwh: Floats,
    charger: Charger,
    electrics: Electrics,
    starts_at: "datetime",
    rng: np.random.Generator,
) -> dict[str, Floats]:
    """Returns what each sensor shows (°C) at each reading; a scripted course holds for the first sensor."""
    shown: dict[str, Floats] = {}
    air = _air_c(starts_at, rng)
    sun = _sun_k(truth, at_s, air, rng)
    for place, sensor in enumerate(electrics.sensors):
        if truth.celsius is not None and place == 0:
            values = np.interp(at_s, *truth.celsius)
        else:
            values = _course_c(at_s, energy_kwh, air, sun, sensor, charger, electrics)
        values = values + rng.normal(0.0, 0.15, size=len(at_s))
        shown[sensor] = np.round(values, 0 if electrics.coarse_celsius else 1)
    return shown


def _air_c(starts_at: "datetime", rng: np.random.Generator) -> float:
    """The air's temperature by season and hour."""
    year = np.cos(2 * np.pi * (starts_at.timetuple().tm_yday - 200) / 365.0)
    day = np.cos(2 * np.pi * (starts_at.hour - 15) / 24.0)
    return float(11.0 + 9.0 * year + 4.0 * day + rng.normal(0.0, 2.5))


def _sun_k(truth: "Truth", at_s: Floats, air_c: float, rng: np.random.Generator) -> float:
    """What the sun adds (K), mostly 0. Never where the power falls while the readings go on: that would be a fault."""
    drawn, added = float(rng.random()), float(rng.uniform(24.0, 36.0))
    if drawn >= _SUNNY_SHARE or air_c < _SUMMER_AIR_C or truth.celsius is not None:
        return 0.0
    step = np.minimum((at_s / GRID_S).astype(np.int64), len(truth.power_kw) - 1)
    power = truth.power_kw[step]
    high = power >= 0.8 * max(float(power.max()), 1.0)
    steady = bool(high.any()) and bool(high[int(np.argmax(high)) :].all())
    return added if steady else 0.0


def _course_c(
    at_s: Floats,
    energy_kwh: Floats,
    air_c: float,
    sun_k: float,
    sensor: Sensor,
    charger: Charger,
    electrics: Electrics,
) -> Floats:
    """Follows the power with a lag: towards the air's temperature plus a rise that grows with it, and the sun's."""
    spans = np.maximum(np.diff(at_s), 1e-3)
    share = np.diff(energy_kwh) * 3600.0 / spans / charger.rated_kw
    most = _SUNNY_MOST_C if sun_k > 0 else HEALTHY_MOST_C
    begins = air_c + sun_k + (8.0 if sensor in CAR_SENSORS else 4.0)
    goals = np.minimum(begins + electrics.heats_k * share, most)
    celsius, course = min(begins, most), [min(begins, most)]
    for goal, kept in zip(goals.tolist(), np.exp(-spans / electrics.lag_s).tolist(), strict=True):
        celsius = goal + (celsius - goal) * kept
        course.append(celsius)
    return np.array(course)


# --- how it is sent -------------------------------------------------------------------------------


def current_rows(amperes: Floats, charger: Charger, electrics: Electrics) -> list[tuple[str | None, Floats]]:
    """Returns the currents as sent: phase (None: without one) and values (n,)."""
    if charger.kind == "dc":
        return [(None, amperes[0])]
    if electrics.current == "total":
        return [(None, amperes.sum(axis=0))]
    rows = _in_order(phase_names(charger, electrics), amperes)
    return rows[:1] if electrics.current == "first" else rows


def voltage_rows(volts: Floats, charger: Charger, electrics: Electrics) -> list[tuple[str | None, Floats]]:
    """Returns the voltages as sent: phase (None: without one) and values (n,)."""
    if charger.kind == "dc":
        return [(None, volts[0])]
    if electrics.voltage == "plain":
        return [(None, volts.mean(axis=0))]
    if electrics.voltage == "lines" and len(volts) == 3:
        lines = [np.sqrt(a**2 + b**2 + a * b) for a, b in zip(volts, np.roll(volts, -1, axis=0), strict=True)]
        return list(zip(_LINE_NAMES, lines, strict=True))
    suffix = "" if electrics.voltage == "phases" else "-N"
    rows = _in_order(tuple(f"{name}{suffix}" for name in phase_names(charger, electrics)), volts)
    return rows[:1] if electrics.voltage == "first" else rows


def phase_power_rows(
    power_kw: Floats, charger: Charger, electrics: Electrics
) -> list[tuple[str | None, Floats]]:
    """Returns the power of each phase as sent: phase and values (n,)."""
    return _in_order(phase_names(charger, electrics), power_kw)


def _in_order(names: tuple[str, ...], rows: Floats) -> list[tuple[str | None, Floats]]:
    """Pairs phases with their values, in the order of their names."""
    return [(names[place], rows[place]) for place in sorted(range(len(rows)), key=names.__getitem__)]


def phase_names(charger: Charger, electrics: Electrics) -> tuple[str, ...]:
    """The names of the phases in the order in which cars use them."""
    if charger.phases < 3:
        return _PHASE_NAMES[: max(charger.phases, 1)]
    return tuple(_PHASE_NAMES[(i + electrics.rotation) % 3] for i in range(3))
