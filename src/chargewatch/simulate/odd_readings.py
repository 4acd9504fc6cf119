"""Odd courses of other quantities than power: battery, voltage, offer, register. None meets another definition."""

from dataclasses import replace
from typing import Final

import numpy as np

from chargewatch.simulate.charging import charging_stretch, counted, span_between
from chargewatch.simulate.faults import Mechanism
from chargewatch.simulate.meters import Observed
from chargewatch.simulate.odd_shapes import odd_length_s
from chargewatch.simulate.plans import Plan, event_at_s, on_grid, plain, with_charge
from chargewatch.simulate.records import Floats, Span
from chargewatch.simulate.stations import Needs
from chargewatch.simulate.truth import Course

_Tampered = tuple[Observed, Span]


def _usual(plan: Plan, rng: np.random.Generator) -> Plan:
    """Charges as usual for as long as an odd shape lasts."""
    plan = plain(plan)
    length = odd_length_s(plan, rng)
    plan = with_charge(plan, rng, length)
    at = event_at_s(plan, 0.0)
    visit = replace(plan.visit, stay_s=at + length + float(rng.uniform(30.0, 240.0)), leaves_after_s=None)
    return replace(plan, visit=visit, course=Course(), faults=(Span(at, at + length, 60.0),))


def _odd_span(observed: Observed, shown_at_s: float) -> Span:
    stretch = charging_stretch(observed)
    return span_between(observed, stretch.first, stretch.last)._replace(value=shown_at_s)


# --- the battery ----------------------------------------------------------------------------------


def _soc_too_slow(plan: Plan, rng: np.random.Generator) -> Plan:
    """The state of charge rises as if the battery held 250 to 600 kWh."""
    plan = _usual(plan, rng)
    efficiency = plan.vehicle.capacity_kwh / float(rng.uniform(250.0, 600.0))
    return replace(plan, vehicle=replace(plan.vehicle, efficiency=efficiency))


def _soc_stands_and_leaps(_plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """The state of charge stands for long and then leaps up to where it should be; it never falls."""
    assert observed.soc is not None
    leap = float(rng.integers(12, 21))
    low = float(observed.soc[0])
    observed.soc = np.minimum(low + np.floor((observed.soc - low) / leap) * leap, observed.soc)
    return observed, _odd_span(observed, 300.0)


# --- the supply -----------------------------------------------------------------------------------


def _voltage_wanders(_plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """The voltage drifts up and down by 6 to 8 % within a few minutes; the power stays as it was."""
    assert observed.voltage_v is not None
    at, usual = observed.at_s(), float(np.median(observed.voltage_v))
    period, depth = float(rng.uniform(300.0, 900.0)), float(rng.uniform(0.06, 0.08))
    wave = depth * np.sin(2.0 * np.pi * at / period + float(rng.uniform(0.0, 6.28)))
    volts = np.clip(observed.voltage_v * (1.0 + wave), 0.915 * usual, 1.085 * usual)
    if observed.current_a is not None:
        observed.current_a = np.round(observed.current_a * observed.voltage_v / volts, 2)
    observed.voltage_v = np.round(volts, 1)
    return observed, _odd_span(observed, period / 5.0)


def _offer_flaps(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """What is offered leaps between all and half every minute or two; the car does not follow."""
    toggles = rng.random(len(observed.at_ms)) < min(60.0, plan.sampling_s()) / 100.0
    low = np.cumsum(toggles) % 2 == 1
    share: Floats = np.where(low, float(rng.uniform(0.35, 0.6)), 1.0)
    observed.offered_kw = np.round(observed.offered_kw * share, 3)
    observed.offered_a = np.round(observed.offered_a * share, 1)
    return observed, _odd_span(observed, 60.0)


def _phases_trade(_plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """The three phases trade current among each other in a slow circle; their sum stays."""
    assert observed.current_a is not None
    period, depth = float(rng.uniform(300.0, 1200.0)), float(rng.uniform(0.3, 0.5))
    angle = 2.0 * np.pi * observed.at_s() / period
    share = 1.0 + depth * np.sin(angle[None, :] + 2.0 * np.pi / 3.0 * np.arange(3)[:, None])
    observed.current_a = np.round(observed.current_a * share, 2)
    if observed.phase_power_kw is not None:
        observed.phase_power_kw = np.round(observed.phase_power_kw * share, 3)
        observed.power_kw = observed.phase_power_kw.sum(axis=0)
    return observed, _odd_span(observed, period / 5.0)


def _three_phases(plan: Plan, rng: np.random.Generator) -> Plan:
    vehicle = replace(plan.vehicle, phases=3, current_a=16.0)
    return _usual(replace(plan, vehicle=vehicle), rng)


# --- the register ---------------------------------------------------------------------------------


def _register_beats(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """The register counts 15 to 18 % too fast and too slowly by turns; over the beat it is right."""
    register, at = counted(observed), observed.at_s()
    period, depth = float(rng.uniform(480.0, 1200.0)), float(rng.uniform(0.15, 0.18))
    gains = 1.0 + depth * np.sign(np.sin(2.0 * np.pi * (at[1:] + at[:-1]) / 2.0 / period))
    count = register[0] + np.concatenate(([0.0], np.cumsum(np.diff(observed.energy_kwh) * 1000.0 * gains)))
    resolution = plan.station.meter.resolution_wh
    observed.register_wh = np.floor(count / resolution + 1e-9).astype(np.int64) * resolution
    return observed, _odd_span(observed, period / 6.0)


# --- the beginning --------------------------------------------------------------------------------


def _slow_start(plan: Plan, rng: np.random.Generator) -> Plan:
    """It takes 40 to 80 minutes to reach full power, in a curve that saturates."""
    plan = plain(plan)
    rise = on_grid(float(rng.uniform(2400.0, 4800.0)))
    plan = with_charge(plan, rng, 1.3 * rise)
    at, steps = event_at_s(plan, 0.0), int(rise // 60.0)
    shares = 1.0 - float(rng.uniform(0.8, 0.9)) * np.exp(-4.0 * np.arange(steps) / steps)
    spans = tuple(Span(at + i * 60.0, at + (i + 1) * 60.0, s) for i, s in enumerate(shares.tolist()))
    stay = at + 1.3 * rise
    visit = replace(plan.visit, stay_s=stay, leaves_after_s=None)
    course = Course(acceptance=(Span(0.0, at, float(shares[0])), *spans))
    return replace(plan, visit=visit, course=course, faults=(Span(plan.visit.start_s, at + rise, 300.0),))


_SEEN: Final = Needs(managed=False, power=True, sampling_at_most_s=60.0)

READING_MECHANISMS: Final = (
    Mechanism("soc_too_slow", _SEEN._replace(soc=True), _soc_too_slow),
    Mechanism("offer_flaps", _SEEN._replace(offered=True), _usual, _offer_flaps),
    Mechanism("slow_start", _SEEN._replace(kind="ac"), _slow_start),
    Mechanism("soc_stands_and_leaps", _SEEN._replace(soc=True), _usual, _soc_stands_and_leaps, held_out=True),
    Mechanism(
        "voltage_wanders",
        _SEEN._replace(kind="ac", voltage="neutral"),
        _usual,
        _voltage_wanders,
        held_out=True,
    ),
    Mechanism(
        "phases_trade",
        _SEEN._replace(kind="ac", phases=3, current=True),
        _three_phases,
        _phases_trade,
        held_out=True,
    ),
    Mechanism(
        "register_beats",
        _SEEN._replace(register=True, resolution_at_most_wh=10),
        _usual,
        _register_beats,
        held_out=True,
    ),
)
