"""Meters: which quantities a station sends, how often, how exactly, and what gets lost on the way.

``observe`` turns the truth into the figures that a meter shows at its sampling instants.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from chargewatch.simulate.behaviour import Restrictions
from chargewatch.simulate.chargers import Charger
from chargewatch.simulate.electrics import (
    PLAIN_ELECTRICS,
    Electrics,
    pack_volts,
    phase_shares,
    phase_volts,
    sensor_temperatures,
    with_residuals,
)
from chargewatch.simulate.records import GRID_S, Floats, Integers, Kind
from chargewatch.simulate.truth import Truth

SAMPLINGS_S: Final = (10.0, 30.0, 60.0, 300.0, 900.0)
RESOLUTIONS_WH: Final = (1, 10, 100, 1000)
SLOWEST_FOR_POWER_ONLY_S: Final = 60.0
"""Samples of power alone, further apart than this, do not tell how much energy flowed."""

_NOISY_AGE: Final = 0.1
"""Counts older than that can rise, on paper, faster than ENERGY_SPIKE calls possible."""

_SAMPLING_SHARES: Final[dict[Kind, tuple[float, ...]]] = {
    "ac": (0.02, 0.06, 0.32, 0.28, 0.32),
    "dc": (0.22, 0.3, 0.42, 0.06, 0.0),
}
_RESOLUTION_SHARES: Final = (0.6, 0.22, 0.13, 0.05)
_SOC_SHARE: Final[dict[Kind, float]] = {"ac": 0.12, "dc": 0.88}


@dataclass(frozen=True, slots=True)
class Meter:
    """How a station measures and reports. It stays the same from session to session.

    Attributes:
        register: counts from 0 in each session, over the meter's lifetime, or is not sent.
        resolution_wh: step of the register.
        energy_unit, power_unit: ``Wh``/``kWh``, ``W``/``kW``.
        power: the total, one reading a phase, or not sent.
        offered: sent as current, as power, or not sent.
        begin_end: readings at Transaction.Begin and Transaction.End too.
        clock_aligned: samples at the full sampling interval of the clock, context Sample.Clock.
        terse: leaves out location and the context of periodic samples.
        noise: standard deviation of a power reading, relative.
        register_age: a count is taken up to this share of the shorter of the times to both neighbours too early.
        loss, late, repeated: share of the messages.
        electrics: how voltage, current and temperature are shown.
    """

    sampling_s: float
    register: Literal["session", "lifetime", "none"]
    resolution_wh: int
    energy_unit: Literal["Wh", "kWh"]
    power_unit: Literal["W", "kW"]
    power: Literal["total", "phases", "none"]
    soc: bool
    offered: Literal["current", "power", "none"]
    current: bool
    voltage: bool
    begin_end: bool
    clock_aligned: bool
    terse: bool
    noise: float
    loss: float
    late: float
    repeated: float
    electrics: Electrics = PLAIN_ELECTRICS
    register_age: float = 0.0

    def restrictions(self) -> Restrictions:
        """What an ordinary visit must keep to, so that these readings do not make it look like a fault."""
        resolution = self.resolution_wh / 1000.0 if self.register != "none" else 0.0
        return Restrictions(resolution, self.soc, self.offered != "none")


@dataclass(slots=True)
class Observed:
    """What the meter shows, in order of time. Every array has shape (n,); None: not sent.

    ``at_ms`` are milliseconds since plugging in. ``register_wh`` is a multiple of the resolution.
    ``phase_power_kw``, ``current_a``, ``voltage_v``: shape (k, n), a row a phase in the order in which cars use
    them, or one row on DC; the voltages are those against neutral. ``temperature_c``: by location.
    ``power_location``: where power is measured, when not at the outlet. ``held_back``: messages from one number
    to before another are sent after all that follow within the same time again.
    """

    at_ms: Integers
    contexts: list[str | None]
    register_wh: Integers | None
    power_kw: Floats | None
    phase_power_kw: Floats | None
    current_a: Floats | None
    voltage_v: Floats | None
    offered_kw: Floats
    offered_a: Floats
    soc: Floats | None
    energy_kwh: Floats
    exported_kwh: Floats
    export_kw: Floats
    extra: dict[str, Floats] = field(default_factory=dict)
    register_factor: Floats | None = None
    sends_export: bool = False
    temperature_c: dict[str, Floats] = field(default_factory=dict)
    power_location: str | None = None
    held_back: tuple[int, int] | None = None

    def at_s(self) -> Floats:
        """Seconds since plugging in."""
        return self.at_ms / 1000.0


def draw_meter(rng: np.random.Generator, charger: Charger) -> Meter:
    """Draws what a station of this kind sends."""
    kind = charger.kind
    sampling = float(rng.choice(SAMPLINGS_S, p=_SAMPLING_SHARES[kind]))
    resolution = int(rng.choice(RESOLUTIONS_WH, p=_RESOLUTION_SHARES))
    power = _draw_power(rng, charger)
    energy_only = power == "none"
    register: Literal["session", "lifetime", "none"] = "lifetime" if rng.random() < 0.6 else "session"
    if kind == "dc" and not energy_only and sampling <= SLOWEST_FOR_POWER_ONLY_S and rng.random() < 0.04:
        register = "none"
    clock_aligned = bool(sampling >= 300 and rng.random() < 0.4)
    blind = energy_only and resolution >= 1000  # 1 kWh steps alone cannot tell rest from slow charging
    return Meter(
        sampling_s=sampling,
        register=register,
        resolution_wh=resolution,
        energy_unit="kWh" if rng.random() < 0.35 else "Wh",
        power_unit="kW" if rng.random() < 0.3 else "W",
        power=power,
        soc=not energy_only and bool(rng.random() < _SOC_SHARE[kind]),
        offered="none" if blind else _draw_offered(rng),
        current=not energy_only and bool(rng.random() < 0.5),
        voltage=not energy_only and bool(rng.random() < 0.4),
        begin_end=clock_aligned or bool(rng.random() < 0.7),
        clock_aligned=clock_aligned,
        terse=bool(rng.random() < 0.35),
        noise=float(rng.uniform(0.002, 0.015)),
        loss=float(rng.choice((0.0, 0.003, 0.02), p=(0.5, 0.3, 0.2))),
        late=float(rng.choice((0.0, 0.01), p=(0.7, 0.3))),
        repeated=float(rng.choice((0.0, 0.01), p=(0.7, 0.3))),
    )


def _draw_power(rng: np.random.Generator, charger: Charger) -> Literal["total", "phases", "none"]:
    if charger.kind == "dc":
        return "total" if rng.random() < 0.94 else "none"
    drawn = rng.random()
    if drawn < 0.28:
        return "none"
    return "phases" if drawn < 0.42 and charger.phases == 3 else "total"


def _draw_offered(rng: np.random.Generator) -> Literal["current", "power", "none"]:
    drawn = rng.random()
    return "none" if drawn < 0.6 else "current" if drawn < 0.85 else "power"


def thinned(meter: Meter, readings: int, ended_s: float) -> Meter:
    """Returns the meter sampling so that ``readings`` instants fall within a session of ``ended_s`` seconds."""
    between = readings - (1.5 if meter.begin_end else 0.5)
    register = meter.register if meter.register != "none" else "session"
    sampling = max((ended_s - 2.0) / between, 2.0)
    return replace(meter, sampling_s=sampling, register=register, clock_aligned=False, loss=0.0)


def observe(
    truth: Truth,
    charger: Charger,
    meter: Meter,
    starts_at: datetime,
    base_wh: float,
    rng: np.random.Generator,
) -> Observed:
    """Returns what ``meter`` shows of ``truth``; a lifetime register stood at ``base_wh`` on arrival."""
    at_ms, contexts = _instants(truth.ended_s, meter, starts_at, rng)
    step = np.minimum(at_ms // int(GRID_S * 1000), len(truth.power_kw) - 1)
    edge = at_ms / (GRID_S * 1000)
    edges = np.arange(len(truth.energy_kwh))
    energy = np.interp(edge, edges, truth.energy_kwh)
    register = None
    if meter.register != "none":
        base = base_wh if meter.register == "lifetime" else 0.0
        counted = np.interp(_aged(edge, meter, rng), edges, truth.energy_kwh)
        register = _register(base + counted * 1000.0, meter.resolution_wh)
    power = truth.power_kw[step] * (1.0 + meter.noise * rng.standard_normal(len(step)))
    offered = truth.offered_kw[step]
    observed = Observed(
        at_ms=at_ms,
        contexts=contexts,
        register_wh=register,
        power_kw=_rounded_power(power, meter) if meter.power != "none" else None,
        phase_power_kw=None,
        current_a=None,
        voltage_v=None,
        offered_kw=np.round(offered, 3),
        offered_a=np.round(offered / charger.rated_kw * charger.current_a, 1),
        soc=np.round(truth.soc[np.minimum(np.round(edge).astype(np.int64), len(edges) - 1)])
        if meter.soc
        else None,
        energy_kwh=energy,
        exported_kwh=np.interp(edge, edges, truth.exported_kwh),
        export_kw=truth.export_kw[step],
    )
    _add_electrics(observed, power, truth, step, edge, charger, meter, rng)
    if meter.electrics.sensors:
        observed.temperature_c = sensor_temperatures(
            truth, observed.at_s(), energy, charger, meter.electrics, starts_at, rng
        )
    return observed


def _aged(edge: Floats, meter: Meter, rng: np.random.Generator) -> Floats:
    """Returns when the counts were taken, in steps of the grid."""
    if not meter.register_age or len(edge) < 2:
        return edge
    gaps = np.diff(edge)
    nearest = np.minimum(np.append(gaps, gaps[-1]), np.insert(gaps, 0, 0.0))
    taken: Floats = edge - rng.uniform(0.0, meter.register_age, size=len(edge)) * nearest
    return taken


def noisy(meter: Meter, noise: float) -> Meter:
    """Returns the meter with power readings that scatter by ``noise`` and counts up to a tenth of an interval old."""
    return replace(meter, noise=noise, register_age=_NOISY_AGE)


def _register(energy_wh: Floats, resolution_wh: int) -> Integers:
    """Returns the count as the meter shows it: cut, not rounded, so that it never runs ahead."""
    return np.floor(energy_wh / resolution_wh + 1e-9).astype(np.int64) * resolution_wh


def _rounded_power(power_kw: Floats, meter: Meter) -> Floats:
    return np.round(power_kw, 2 if meter.power_unit == "kW" else 3)


def _instants(
    ended_s: float, meter: Meter, starts_at: datetime, rng: np.random.Generator
) -> tuple[Integers, list[str | None]]:
    """Returns when readings are taken (ms since plugging in) and their contexts, losses left out."""
    sampling_ms, last = int(meter.sampling_s * 1000), int(ended_s * 1000)
    first = sampling_ms if meter.begin_end else 0
    if meter.clock_aligned:
        first = sampling_ms - int(starts_at.timestamp() * 1000) % sampling_ms
    at = np.arange(first, max(last - 2000, first), sampling_ms, dtype=np.int64)
    if not meter.clock_aligned:
        at[1:] += rng.integers(0, 900, size=len(at))[1:]
    lost = rng.random(len(at)) < meter.loss
    lost[:1] = lost[-1:] = False
    at = at[~lost]
    periodic = "Sample.Clock" if meter.clock_aligned else None if meter.terse else "Sample.Periodic"
    contexts: list[str | None] = [periodic] * len(at)
    if meter.begin_end or not len(at):
        at = np.concatenate(([0], at, [last]))
        contexts = ["Transaction.Begin", *contexts, "Transaction.End"]
    return at, contexts


def _add_electrics(
    observed: Observed,
    power_kw: Floats,
    truth: Truth,
    step: Integers,
    edge: Floats,
    charger: Charger,
    meter: Meter,
    rng: np.random.Generator,
) -> None:
    """Adds voltage, current and power by phase. P and V·I differ by up to 4 %, as real meters do."""
    if not (meter.current or meter.voltage or meter.power == "phases"):
        return
    electrics = meter.electrics
    if charger.kind == "dc":
        volts = pack_volts(truth, edge, charger)
        shares = np.ones((1, len(step)))
    else:
        volts = phase_volts(truth, step, charger, rng)
        rows = len(volts)
        uneven = 1.0 + electrics.imbalance * rng.uniform(-1, 1, size=rows) if electrics.imbalance else None
        shares = phase_shares(truth, step, rows, uneven)
        volts *= 1.0 - electrics.sag * 1000.0 * power_kw * shares / (charger.voltage_v * charger.current_a)
    offset = rng.uniform(0.97, 1.03)
    if meter.voltage:
        observed.voltage_v = np.round(volts, 1)
    if meter.current:
        amperes = 1000.0 * offset * power_kw[None, :] * shares / volts
        observed.current_a = np.round(with_residuals(amperes, electrics, rng), 2)
    if meter.power == "phases":
        observed.phase_power_kw = _rounded_power(power_kw[None, :] * shares, meter)
        observed.power_kw = observed.phase_power_kw.sum(axis=0)


def keep(observed: Observed, kept: NDArray[np.bool_]) -> Observed:
    """Returns the readings at the instants where ``kept`` (n,) is true."""

    def cut(values: Floats | None) -> Floats | None:
        return None if values is None else values[..., kept]

    return replace(
        observed,
        at_ms=observed.at_ms[kept],
        contexts=[c for c, wanted in zip(observed.contexts, kept.tolist(), strict=True) if wanted],
        register_wh=None if observed.register_wh is None else observed.register_wh[kept],
        power_kw=cut(observed.power_kw),
        phase_power_kw=cut(observed.phase_power_kw),
        current_a=cut(observed.current_a),
        voltage_v=cut(observed.voltage_v),
        offered_kw=observed.offered_kw[kept],
        offered_a=observed.offered_a[kept],
        soc=cut(observed.soc),
        energy_kwh=observed.energy_kwh[kept],
        exported_kwh=observed.exported_kwh[kept],
        export_kw=observed.export_kw[kept],
        extra={name: values[kept] for name, values in observed.extra.items()},
        register_factor=cut(observed.register_factor),
        temperature_c={sensor: values[kept] for sensor, values in observed.temperature_c.items()},
    )
