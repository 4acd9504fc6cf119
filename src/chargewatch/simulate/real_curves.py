"""Faults injected into measured DC sessions, and cars whose curves were measured.

Files are the caller's; none is part of the project. Curves of sessions: rows with ``session_id``,
``timestamp``, ``measurand`` (SoC, Voltage, Current.Import, Power.Active.Import), ``unit`` and
``value``. A register is added from the integral of power. Curves of cars: rows with ``vehicle``,
``usable_kwh``, ``soc`` and ``power_kw``.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from chargewatch.domain.categories import Category
from chargewatch.simulate.catalogue import MECHANISMS
from chargewatch.simulate.chargers import Charger
from chargewatch.simulate.faults import Mechanism
from chargewatch.simulate.labels import label_faults
from chargewatch.simulate.meters import Meter, Observed
from chargewatch.simulate.plans import Plan, draw_plan
from chargewatch.simulate.records import Floats, Label, SimulatedSession, Span
from chargewatch.simulate.sending import send
from chargewatch.simulate.stations import Station
from chargewatch.simulate.vehicles import CURVE_POINTS, Vehicle

PIT: Final = "curve_pit"
BREAK_OFF: Final = "curve_breaks_off"
NO_ENERGY: Final = "curve_never_starts"

_REGISTER_FAULTS: Final = (
    Category.KWH_DECREASE,
    Category.METER_FROZEN,
    Category.POWER_ENERGY_MISMATCH,
    Category.ENERGY_SPIKE,
)
INJECTABLE: Final = (
    *_REGISTER_FAULTS,
    Category.ENERGY_PIT,
    Category.CHARGING_EXPECTED,
    Category.ZERO_SESSION,
)
"""Categories that a DC curve of one power, with a register, can show."""

_RATINGS_KW: Final = (50.0, 75.0, 100.0, 120.0, 150.0, 200.0, 300.0, 400.0)
_EFFICIENCY: Final = 0.95


class Curve(NamedTuple):
    """One measured session. Arrays have shape (n,): seconds since its first reading, per cent, V, A, kW."""

    session_id: str
    station_id: str
    starts_at: datetime
    at_s: Floats
    soc: Floats
    voltage_v: Floats
    current_a: Floats
    power_kw: Floats


def read_curves(path: Path) -> list[Curve]:
    """Reads the measured sessions of a Parquet file, those with all four quantities at four instants or more.

    Raises:
        ValueError: the file has none.
    """
    columns = ["session_id", "station_id", "timestamp", "measurand", "unit", "value"]
    rows: dict[str, dict[str, dict[datetime, float]]] = {}
    stations: dict[str, str] = {}
    table = pq.read_table(path, columns=columns)
    for name, station, at, measurand, unit, value in zip(
        *(table.column(c).to_pylist() for c in columns), strict=True
    ):
        stations[name] = station
        scaled = float(value) / 1000.0 if unit == "W" else float(value)
        rows.setdefault(name, {}).setdefault(measurand, {})[at] = scaled
    curves = [c for name, found in rows.items() if (c := _curve(name, stations[name], found)) is not None]
    if not curves:
        raise ValueError(f"{path}: no session with SoC, Voltage, Current.Import and Power.Active.Import")
    return curves


def _curve(name: str, station: str, found: dict[str, dict[datetime, float]]) -> Curve | None:
    wanted = [found.get(m, {}) for m in ("SoC", "Voltage", "Current.Import", "Power.Active.Import")]
    times = sorted(set.intersection(*(set(column) for column in wanted)))
    if len(times) < 4:
        return None
    at = np.array([(t - times[0]).total_seconds() for t in times])
    soc, volts, amperes, power = (np.array([column[t] for t in times]) for column in wanted)
    return Curve(name, station, times[0], at, soc, volts, amperes, power)


def inject(
    path: Path, seed: int, *, faulty_share: float = 0.5, categories: Sequence[Category] = INJECTABLE
) -> Iterator[SimulatedSession]:
    """Yields each measured session of ``path`` once, a share of them with a fault, labelled like a simulated one.

    The same arguments give the same sessions. A fault that a curve cannot carry (too short, say) is
    labelled as not visible.

    Raises:
        ValueError: a category that is not in ``INJECTABLE``, or no session in the file.
    """
    if not set(categories) <= set(INJECTABLE):
        raise ValueError(f"only these can be injected: {', '.join(INJECTABLE)}")
    for number, curve in enumerate(read_curves(path)):
        rng = np.random.default_rng((seed, number))
        category = None
        if rng.random() < faulty_share:
            category = categories[int(rng.integers(len(categories)))]
        yield _session(curve, category, rng)


def _session(curve: Curve, category: Category | None, rng: np.random.Generator) -> SimulatedSession:
    plan = _plan(curve, rng)
    observed = _observed(curve, plan)
    labels: list[Label] = []
    if category in _REGISTER_FAULTS:
        assert category is not None
        observed, labels = _tampered(plan, observed, category, rng)
    elif category is not None:
        curve, span, mechanism = _changed(curve, category, rng)
        observed = _observed(curve, plan)
        labels = label_faults(category, mechanism, plan, observed, span)
    charger, meter = plan.station.charger, plan.station.meter
    last = float(observed.at_s()[-1])
    return SimulatedSession(
        session_id=curve.session_id,
        station_id=curve.station_id,
        connector_id="1",
        kind="dc",
        rated_power_kw=charger.rated_kw,
        managed=False,
        started_at=curve.starts_at,
        ended_at=curve.starts_at + (_at(curve, last) - _at(curve, 0.0)),
        readings=send(observed, charger, meter, curve.starts_at, rng),
        labels=labels,
        near_miss=None,
        sampling_s=meter.sampling_s,
        energy_kwh=float(observed.energy_kwh[-1]),
        max_power_kw=float(curve.power_kw.max()),
    )


def _at(curve: Curve, seconds: float) -> datetime:
    return datetime.fromtimestamp(curve.starts_at.timestamp() + seconds, tz=curve.starts_at.tzinfo)


def _plan(curve: Curve, rng: np.random.Generator) -> Plan:
    """A plan that stands for the measured session: its station's rating and how it is sampled."""
    highest = float(curve.power_kw.max())
    rated = next((r for r in _RATINGS_KW if r >= highest), highest)
    meter = Meter(
        sampling_s=float(np.median(np.diff(curve.at_s))),
        register="lifetime",
        resolution_wh=int(rng.choice((1, 10))),
        energy_unit="Wh",
        power_unit="W",
        power="total",
        soc=True,
        offered="none",
        current=True,
        voltage=True,
        begin_end=False,
        clock_aligned=False,
        terse=False,
        noise=0.0,
        loss=0.0,
        late=0.0,
        repeated=0.0,
    )
    station = Station(Charger("dc", rated, 0, 500.0, False), meter)
    plan = draw_plan(rng, station, curve.starts_at, float(rng.integers(10**6, 10**8)))
    visit = replace(plan.visit, start_s=0.0, stay_s=float(curve.at_s[-1]))
    return replace(plan, visit=visit, faults=(Span(0.0, float(curve.at_s[-1]) + 1.0, 0.0),))


def _observed(curve: Curve, plan: Plan) -> Observed:
    """The readings of a curve, with a register counted from the integral of power."""
    meter, count = plan.station.meter, len(curve.at_s)
    flows = (curve.power_kw[1:] + curve.power_kw[:-1]) / 2.0 * np.diff(curve.at_s) / 3600.0
    energy = np.concatenate(([0.0], np.cumsum(flows)))
    register = np.floor((plan.base_wh + energy * 1000.0) / meter.resolution_wh + 1e-9).astype(np.int64)
    return Observed(
        at_ms=np.round(curve.at_s * 1000.0).astype(np.int64),
        contexts=["Sample.Periodic"] * count,
        register_wh=register * meter.resolution_wh,
        power_kw=np.round(curve.power_kw, 3),
        phase_power_kw=None,
        current_a=curve.current_a[None, :].copy(),
        voltage_v=curve.voltage_v[None, :].copy(),
        offered_kw=np.full(count, plan.station.charger.rated_kw),
        offered_a=np.full(count, 500.0),
        soc=curve.soc.copy(),
        energy_kwh=energy,
        exported_kwh=np.zeros(count),
        export_kw=np.zeros(count),
    )


def _tampered(
    plan: Plan, observed: Observed, category: Category, rng: np.random.Generator
) -> tuple[Observed, list[Label]]:
    mechanism = _suitable(category)[int(rng.integers(len(_suitable(category))))]
    assert mechanism.tamper is not None
    observed, span = mechanism.tamper(plan, observed, rng)
    return observed, label_faults(category, mechanism.name, plan, observed, span)


def _suitable(category: Category) -> list[Mechanism]:
    """Mechanisms that need neither AC, nor another way of sending, nor a change of what happens."""
    changes_more = {
        "counts_too_fast",
        "jump_without_rating",
        "stuck_without_power",
        "stuck_until_end_reading",
    }
    return [
        m
        for m in MECHANISMS[category]
        if m.tamper is not None and m.needs.kind != "ac" and m.name not in changes_more
    ]


# --- changes of what happens ----------------------------------------------------------------------


def _changed(curve: Curve, category: Category, rng: np.random.Generator) -> tuple[Curve, Span, str]:
    if category is Category.ENERGY_PIT:
        return _with_pit(curve, rng)
    if category is Category.CHARGING_EXPECTED:
        return _breaking_off(curve, rng)
    nothing = np.zeros(len(curve.at_s))
    still = curve._replace(
        power_kw=nothing, current_a=nothing, soc=np.full(len(nothing), min(float(curve.soc[0]), 90.0))
    )
    return still, Span(0.0, float(curve.at_s[-1]) + 1.0, 0.0), NO_ENERGY


def _rested(curve: Curve, at: int, length_s: float, share: float) -> Curve:
    """Inserts a rest at reading ``at``: what was measured after it follows that much later."""
    step = float(np.median(np.diff(curve.at_s)))
    count = max(int(length_s // step), 2)
    begin = float(curve.at_s[at - 1])
    times = begin + step * np.arange(1, count + 1)

    def spliced(values: Floats, rest: Floats) -> Floats:
        return np.concatenate((values[:at], rest, values[at:]))

    later = np.concatenate((curve.at_s[:at], times, curve.at_s[at:] + (times[-1] - begin)))
    rest_kw = np.full(count, share * float(curve.power_kw[at - 1]))
    return curve._replace(
        at_s=later,
        power_kw=spliced(curve.power_kw, rest_kw),
        current_a=spliced(curve.current_a, np.full(count, share * float(curve.current_a[at - 1]))),
        voltage_v=spliced(curve.voltage_v, np.full(count, float(curve.voltage_v[at - 1]))),
        soc=spliced(curve.soc, np.full(count, float(curve.soc[at - 1]))),
    )


def _with_pit(curve: Curve, rng: np.random.Generator) -> tuple[Curve, Span, str]:
    """Power collapses for 4 to 20 min at a state of charge below 85 %, then takes its measured course."""
    highest = max(int(np.searchsorted(curve.soc, 85.0)), 3)
    at = int(rng.integers(2, min(highest, len(curve.at_s) - 2) + 1))
    share = float(rng.choice((0.0, 0.05, 0.15)))
    longer = _rested(curve, at, float(rng.uniform(270.0, 1200.0)), share)
    added = len(longer.at_s) - len(curve.at_s)
    return longer, Span(float(longer.at_s[at]), float(longer.at_s[at + added - 1]) + 0.001, 0.0), PIT


def _breaking_off(curve: Curve, rng: np.random.Generator) -> tuple[Curve, Span, str]:
    """Charging ends for good below 75 %, and the car stays for 35 to 90 min."""
    highest = max(int(np.searchsorted(curve.soc, 75.0)), 3)
    at = int(rng.integers(2, min(highest, len(curve.at_s) - 1) + 1))
    longer = _rested(curve, at, float(rng.uniform(2200.0, 5400.0)), 0.0)
    end = at + len(longer.at_s) - len(curve.at_s)
    kept = {f: getattr(longer, f)[:end] for f in ("at_s", "soc", "voltage_v", "current_a", "power_kw")}
    cut = longer._replace(**kept)
    return cut, Span(float(cut.at_s[at]), float(cut.at_s[-1]) + 0.001, 0.0), BREAK_OFF


# --- cars -----------------------------------------------------------------------------------------


def read_vehicles(path: Path) -> list[Vehicle]:
    """Reads DC cars from a Parquet file of measured curves, one of each vehicle.

    Raises:
        ValueError: the file has no curve of two points or more.
    """
    columns = ["vehicle", "usable_kwh", "soc", "power_kw"]
    table = pq.read_table(path, columns=columns)
    points: dict[tuple[str, float], dict[float, float]] = {}
    for name, capacity, soc, power in zip(*(table.column(c).to_pylist() for c in columns), strict=True):
        points.setdefault((name, capacity), {})[soc] = power
    vehicles = [_vehicle(capacity, curve) for (_, capacity), curve in points.items() if len(curve) > 1]
    if not vehicles:
        raise ValueError(f"{path}: no curve of a car")
    return vehicles


def _vehicle(capacity_kwh: float, curve: dict[float, float]) -> Vehicle:
    soc = sorted(curve)
    power = np.interp(np.linspace(0.0, 100.0, CURVE_POINTS), soc, [curve[s] for s in soc])
    peak = float(power.max())
    return Vehicle(capacity_kwh, 3, 16.0, peak, _EFFICIENCY, array("d", power))
