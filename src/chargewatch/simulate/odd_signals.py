"""Odd courses of other quantities by another author: battery, offer, phases, register. None meets another definition.

Written after the base model, from the definitions alone, and never learnt from (``catalogue.UNSEEN``).
"""

from dataclasses import replace
from typing import Final

import numpy as np

from chargewatch.simulate.charging import counted
from chargewatch.simulate.faults import Mechanism
from chargewatch.simulate.meters import Observed
from chargewatch.simulate.odd_control import (
    REGISTER_ONLY,
    accepting,
    charging_plainly,
    linear_shares,
    long_enough_s,
)
from chargewatch.simulate.plans import FOREVER_S, Plan, with_charge
from chargewatch.simulate.records import Floats, Span
from chargewatch.simulate.stations import Needs
from chargewatch.simulate.truth import Course
from chargewatch.simulate.vehicles import PHASE_VOLTAGE_KV, ac_curve

_Tampered = tuple[Observed, Span]


def _plainly(plan: Plan, rng: np.random.Generator) -> Plan:
    return charging_plainly(plan, rng, shown_s=60.0)


def _with_room(plan: Plan, rng: np.random.Generator) -> Plan:
    """Charges at 70 % of the rated power at most: a count or a current half as high again is possible."""
    plan = charging_plainly(plan, rng, shown_s=60.0)
    cap = Span(0.0, FOREVER_S, 0.7 * plan.station.charger.rated_kw)
    return replace(plan, course=Course(cap_kw=(cap,)))


def _during(plan: Plan, at_s: Floats) -> Floats:
    """1 while the oddity lasts, else 0: shape (n,)."""
    (odd,) = plan.faults
    return ((at_s >= odd.start_s) & (at_s < odd.end_s)).astype(np.float64)


def _held(edges_s: list[float], values: list[float], at_s: Floats) -> Floats:
    """The value that holds at each reading; ``values[i]`` holds from ``edges_s[i]`` on."""
    return np.array(values)[np.searchsorted(np.array(edges_s), at_s, side="right") - 1]


# --- the battery ----------------------------------------------------------------------------------


def _pack_voltage_swings(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """Voltage and current of a DC session swing against each other by 6 to 14 %; their product stays."""
    assert observed.voltage_v is not None
    assert observed.current_a is not None
    at, depth = observed.at_s(), float(rng.uniform(0.06, 0.14))
    period = long_enough_s(plan, rng, 120.0, 420.0, 4.0)
    share = 1.0 + depth * _during(plan, at) * np.sin(2.0 * np.pi * (at - plan.faults[0].start_s) / period)
    observed.voltage_v = np.round(observed.voltage_v * share, 1)
    observed.current_a = np.round(observed.current_a / share, 2)
    return observed, plan.faults[0]


def _pack_voltage_falls(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """The voltage of a battery that is being charged falls by 12 to 25 %, and its current rises against it."""
    assert observed.voltage_v is not None
    assert observed.current_a is not None
    (odd,) = plan.faults
    done = np.clip((observed.at_s() - odd.start_s) / (odd.end_s - odd.start_s), 0.0, 1.0)
    share = (1.0 - float(rng.uniform(0.12, 0.25)) * done) * observed.voltage_v[0, 0] / observed.voltage_v
    observed.voltage_v = np.round(observed.voltage_v * share, 1)
    observed.current_a = np.round(observed.current_a / share, 2)
    return observed, odd


def _soc_oscillates(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """The state of charge goes up, but back by 2 points and forth again each 1 to 4 minutes; never by 3."""
    assert observed.soc is not None
    (odd,) = plan.faults
    edges, values = [0.0], [0.0]
    at = odd.start_s
    while at < odd.end_s:
        edges.append(at)
        values.append(2.0 - values[-1])
        at += long_enough_s(plan, rng, 60.0, 240.0, 1.0)
    observed.soc = np.maximum(
        observed.soc - _held(edges, values, observed.at_s()), np.minimum(observed.soc, 1.0)
    )
    return observed, odd


def _half_empty(plan: Plan, rng: np.random.Generator) -> Plan:
    """Charges plainly to 60 % at most."""
    plan = charging_plainly(plan, rng, shown_s=300.0)
    (odd,) = plan.faults
    return with_charge(plan, rng, odd.end_s - plan.visit.start_s, highest_soc=60.0)


def _soc_rushes_then_stalls(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """The state of charge is at 78 to 92 % after a third or half of the energy and stands; the power stays full."""
    assert observed.soc is not None
    first, last = float(observed.soc[0]), float(observed.soc[-1])
    stands_at = float(rng.uniform(78.0, 92.0))
    gain = (stands_at - first) / max(float(rng.uniform(0.3, 0.55)) * (last - first), 1.0)
    observed.soc = np.minimum(np.floor(first + gain * (observed.soc - first)), np.floor(stands_at))
    return observed, plan.faults[0]._replace(start_s=plan.visit.start_s)


# --- the supply -----------------------------------------------------------------------------------


def _three_phases(plan: Plan, rng: np.random.Generator) -> Plan:
    """One of three phases wanders between 35 and 100 % of its current; the other two stand, the sum follows."""
    peak = 3 * 16.0 * PHASE_VOLTAGE_KV
    curve = ac_curve(peak, knee_soc=97.0)
    vehicle = replace(plan.vehicle, phases=3, current_a=16.0, peak_kw=peak, curve_kw=curve)
    plan = charging_plainly(replace(plan, vehicle=vehicle), rng, shown_s=300.0, mean_share=0.9)
    low = float(rng.uniform(0.35, 0.55))
    return accepting(plan, linear_shares(plan, rng, ((2.0 + low) / 3.0, 1.0), (4.0, 14.0)))


def _one_phase_wanders(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """Puts what is missing of the power on one phase."""
    assert observed.current_a is not None
    spans = plan.course.acceptance
    edges, values = [0.0, *(s.start_s for s in spans), spans[-1].end_s], [1.0, *(s.value for s in spans), 1.0]
    total = _held(edges, values, observed.at_s())
    shares = np.ones((3, len(total))) / total
    shares[int(rng.integers(3))] = (3.0 * total - 2.0) / total
    observed.current_a = np.round(observed.current_a * shares, 2)
    if observed.phase_power_kw is not None:
        observed.phase_power_kw = np.round(observed.phase_power_kw * shares, 3)
        observed.power_kw = observed.phase_power_kw.sum(axis=0)
    return observed, plan.faults[0]


def _follows_steps(plan: Plan, rng: np.random.Generator) -> Plan:
    """The power goes in steps between 40 and 100 %, 5 to 14 minutes each."""
    plan = charging_plainly(plan, rng, shown_s=60.0, mean_share=0.7)
    (odd,) = plan.faults
    spans: list[Span] = []
    at = odd.start_s
    while at < odd.end_s:
        end = at + long_enough_s(plan, rng, 300.0, 840.0, 2.0)
        before = spans[-1].value if spans else 1.0
        share = float(rng.uniform(0.4, 0.6) if before > 0.7 else rng.uniform(0.8, 1.0))
        spans.append(Span(at, min(end, odd.end_s), share))
        at = end
    return replace(plan, course=Course(acceptance=tuple(spans)))


def _offer_obeyed_late(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """The offer went in the same steps 2.5 to 4.5 minutes before: now the car takes too much, now too little."""
    charger, spans = plan.station.charger, plan.course.acceptance
    lag = long_enough_s(plan, rng, 150.0, 270.0, 2.0)
    edges, values = [-FOREVER_S, *(s.start_s for s in spans)], [1.0, *(s.value for s in spans)]
    share = _held(edges, values, observed.at_s() + lag)
    amperes = min(charger.current_a, plan.vehicle.current_a) * share
    observed.offered_a = np.round(amperes, 1)
    observed.offered_kw = np.round(charger.rated_kw * amperes / charger.current_a, 3)
    return observed, plan.faults[0]


def _current_hunts(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """Reactive current comes and goes: the current swings by 30 to 60 % above what the power needs, which stays."""
    assert observed.current_a is not None
    at, depth = observed.at_s(), float(rng.uniform(0.3, 0.6))
    period = long_enough_s(plan, rng, 120.0, 600.0, 4.0)
    swing: Floats = 0.5 - 0.5 * np.cos(2.0 * np.pi * (at - plan.faults[0].start_s) / period)
    observed.current_a = np.round(observed.current_a * (1.0 + depth * _during(plan, at) * swing), 2)
    return observed, plan.faults[0]


def _temperature_zigzags(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """A loose sensor: up and down by 12 to 24 K within minutes, below 57 °C, while nothing else moves."""
    sensor = plan.station.meter.electrics.sensors[0]
    at, depth = observed.at_s(), float(rng.uniform(12.0, 24.0))
    turn = long_enough_s(plan, rng, 120.0, 360.0, 4.0)
    zigzag = np.abs((at - plan.faults[0].start_s) / turn % 1.0 - 0.5) * 2.0 - 0.5
    celsius: Floats = observed.temperature_c[sensor] + depth * _during(plan, at) * zigzag
    observed.temperature_c[sensor] = np.minimum(celsius, 57.0).round(1)
    return observed, plan.faults[0]


# --- the register ---------------------------------------------------------------------------------


def _count(plan: Plan, observed: Observed, gains: Floats) -> None:
    """Lets the register count ``gains`` (n - 1,) times what flows between readings."""
    register = counted(observed)
    flows = np.diff(observed.energy_kwh) * 1000.0 * gains
    count = register[0] + np.concatenate(([0.0], np.cumsum(flows)))
    resolution = plan.station.meter.resolution_wh
    observed.register_wh = np.floor(count / resolution + 1e-9).astype(np.int64) * resolution


def _by_turns(
    plan: Plan, observed: Observed, rng: np.random.Generator, slow: float, dwell_s: tuple[float, float]
) -> Floats:
    """Gains between readings: ``slow`` and as much too fast, each for the same time; shape (n - 1,)."""
    (odd,) = plan.faults
    edges, values, at = [-FOREVER_S], [1.0], odd.start_s
    while at < odd.end_s:
        dwell = long_enough_s(plan, rng, *dwell_s, 2.0)
        edges += [at, at + dwell]
        values += [slow, 2.0 - slow]
        at += 2.0 * dwell
    middle = 0.5 * (observed.at_s()[1:] + observed.at_s()[:-1])
    return np.where(middle < odd.end_s, _held(edges, values, middle), 1.0)


def _register_limps(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """The register counts 55 to 70 % of what flows for 2 to 5 minutes, then makes up for it; the power is flat."""
    _count(plan, observed, _by_turns(plan, observed, rng, float(rng.uniform(0.55, 0.7)), (120.0, 300.0)))
    return observed, plan.faults[0]


def _counts_in_gulps(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """A register that is all there is to read counts slowly and in gulps by turns, 60 and 140 %."""
    slow = float(rng.uniform(0.55, 0.7))
    _count(plan, observed, _by_turns(plan, observed, rng, slow, (120.0, 600.0)))
    return observed, plan.faults[0]._replace(value=300.0)


_SEEN: Final = Needs(managed=False, power=True, sampling_at_most_s=60.0)
_DC_PAIR: Final = _SEEN._replace(kind="dc", voltage="outlet", current=True)

SIGNAL_MECHANISMS: Final = (
    Mechanism("pack_voltage_swings", _DC_PAIR, _plainly, _pack_voltage_swings, held_out=True),
    Mechanism(
        "pack_voltage_falls", _DC_PAIR._replace(soc=True), _plainly, _pack_voltage_falls, held_out=True
    ),
    Mechanism(
        "soc_oscillates", _SEEN._replace(kind="ac", soc=True), _plainly, _soc_oscillates, held_out=True
    ),
    Mechanism(
        "soc_rushes_then_stalls",
        _SEEN._replace(soc=True, sampling_at_most_s=300.0),
        _half_empty,
        _soc_rushes_then_stalls,
        held_out=True,
    ),
    Mechanism(
        "one_phase_wanders",
        _SEEN._replace(kind="ac", phases=3, current=True, sampling_at_most_s=300.0),
        _three_phases,
        _one_phase_wanders,
        held_out=True,
    ),
    Mechanism(
        "offer_obeyed_late",
        _SEEN._replace(kind="ac", offered=True),
        _follows_steps,
        _offer_obeyed_late,
        held_out=True,
    ),
    Mechanism(
        "current_hunts", _SEEN._replace(kind="ac", current=True), _with_room, _current_hunts, held_out=True
    ),
    Mechanism(
        "temperature_zigzags",
        _SEEN._replace(temperature="charger"),
        _plainly,
        _temperature_zigzags,
        held_out=True,
    ),
    Mechanism(
        "register_limps",
        _SEEN._replace(register=True, resolution_at_most_wh=10),
        _with_room,
        _register_limps,
        held_out=True,
    ),
    Mechanism(
        "counts_in_gulps",
        REGISTER_ONLY._replace(sampling_at_most_s=300.0),
        _with_room,
        _counts_in_gulps,
        held_out=True,
    ),
)
