"""Healthy sessions whose power is restless: what is rare, but no oddity, of management, of cars and of batteries.

Load management that regulates finely and by the sun, power shared by modules, curves in stairs, balancing at the top,
air-conditioning that switches. They are near-misses of ``UNUSUAL_PROFILE``.
"""

from array import array
from dataclasses import replace
from typing import Final

import numpy as np

from chargewatch.simulate.behaviour import FULL_SOC
from chargewatch.simulate.faults import Mechanism
from chargewatch.simulate.plans import (
    Plan,
    event_at_s,
    lasting,
    longest_charge_s,
    on_grid,
    plain,
    with_charge,
)
from chargewatch.simulate.records import Floats, Span
from chargewatch.simulate.stations import Needs
from chargewatch.simulate.truth import Course
from chargewatch.simulate.vehicles import CURVE_POINTS

_LONGEST_S: Final = 10_800.0
_SUN_STEP_S: Final = 60.0


def _charging(plan: Plan, rng: np.random.Generator) -> tuple[Plan, float, float]:
    """Returns a plan that charges all along, when it begins and for how long at full power."""
    plan = plain(plan)
    dc = plan.station.charger.kind == "dc"
    longest = min(0.8 * longest_charge_s(plan), 2400.0 if dc else _LONGEST_S)
    length = on_grid(float(rng.uniform(0.4, 1.0)) * longest)
    return with_charge(plan, rng, length), event_at_s(plan, 0.0), length


def _spans(at_s: float, step_s: float, values: Floats) -> tuple[Span, ...]:
    return tuple(
        Span(at_s + step_s * i, at_s + step_s * (i + 1), value) for i, value in enumerate(values.tolist())
    )


def _walk(rng: np.random.Generator, steps: int, pace: float, pull: float) -> Floats:
    """Returns a random walk that is pulled back to 0, about 1 wide, shape (steps,)."""
    at, course = float(rng.normal()), np.empty(steps)
    for step in range(steps):
        at += pace * float(rng.normal()) - pull * at
        course[step] = at
    return course


def _offer_in_fine_steps(plan: Plan, rng: np.random.Generator) -> Plan:
    """Every 10 s to 4 min the offer moves by a little, whole amperes or less, and power follows."""
    plan, at, length = _charging(plan, rng)
    charger = plan.station.charger
    step = on_grid(float(np.exp(rng.uniform(np.log(10.0), np.log(240.0)))))
    lasts = 1.6 * length
    pace = float(rng.uniform(0.1, 0.5))
    walk = _walk(rng, int(lasts // step), pace, 0.5 * pace * pace)
    share = float(rng.uniform(0.5, 0.8)) + float(rng.uniform(0.1, 0.3)) * walk
    if charger.kind == "ac":
        share = np.round(share * charger.current_a) / charger.current_a
    share = np.clip(share, charger.lowest_share(), 1.0)
    return replace(lasting(plan, at + lasts + 60.0), course=Course(offer=_spans(at, step, share)))


def _offer_follows_the_sun(plan: Plan, rng: np.random.Generator) -> Plan:
    """The offer is what the roof yields: a slow hill and clouds; below what a car can follow it is the least or 0."""
    plan, at, length = _charging(plan, rng)
    lowest = plan.station.charger.lowest_share()
    steps = int(1.8 * length // _SUN_STEP_S)
    hill = np.sin(np.linspace(float(rng.uniform(0.5, 1.2)), float(rng.uniform(1.6, 2.6)), steps))
    pace = float(rng.uniform(0.15, 0.7))
    clouds = 1.0 / (1.0 + np.exp(-2.0 * _walk(rng, steps, pace, 0.5 * pace * pace)))
    depth = float(rng.uniform(0.1, 0.7))
    share = float(rng.uniform(0.7, 1.1)) * hill * (1.0 - depth * clouds)
    least = 0.0 if rng.random() < 0.3 else lowest
    share = np.where(share < lowest, least, np.minimum(share, 1.0))
    return replace(lasting(plan, at + 1.8 * length), course=Course(offer=_spans(at, _SUN_STEP_S, share)))


def _power_by_modules(plan: Plan, rng: np.random.Generator) -> Plan:
    """The cabinet gives and takes whole power modules as other cars come and go: levels for minutes each."""
    plan, at, length = _charging(plan, rng)
    modules = int(rng.integers(3, 9))
    count, begin, spans = int(rng.integers(2, modules + 1)), at, []
    while begin < at + length:
        lasts = on_grid(float(rng.uniform(90.0, 900.0)))
        spans.append(Span(begin, begin + lasts, plan.power_kw() * max(count / modules, 0.34)))
        count = int(np.clip(count + rng.integers(-2, 3), 1, modules))
        begin += lasts
    return replace(lasting(plan, at + length), course=Course(cap_kw=tuple(spans)))


def _curve_in_stairs(plan: Plan, rng: np.random.Generator) -> Plan:
    """The battery takes less in steps, some of them small, as its state of charge rises."""
    plan, at, length = _charging(plan, rng)
    first = min(plan.visit.arrival_soc + float(rng.uniform(2.0, 15.0)), 85.0)
    last = min(first + plan.power_kw() * length / 3600.0 * plan.vehicle.soc_per_kwh() + 5.0, 96.0)
    edges = np.sort(rng.uniform(first, last, int(rng.integers(2, 9))))
    levels = np.concatenate(([1.0], np.cumprod(rng.uniform(0.72, 0.97, len(edges)))))
    soc = np.linspace(0.0, 100.0, CURVE_POINTS)
    share = np.maximum(levels[np.searchsorted(edges, soc)], 0.1)
    vehicle = replace(plan.vehicle, curve_kw=array("d", plan.power_kw() * share))
    target = float(rng.choice((80.5, 90.0, 95.0)))
    visit = replace(plan.visit, target_soc=max(target, plan.visit.target_soc))
    return lasting(replace(plan, vehicle=vehicle, visit=visit), at + 1.5 * length)


def _balancing(plan: Plan, rng: np.random.Generator) -> Plan:
    """At the top the car takes power in pulses: its cells are balanced one after the other."""
    plan, at, length = _charging(plan, rng)
    period = on_grid(max(float(rng.uniform(60.0, 900.0)), 4.0 * plan.sampling_s()))
    duty, low = float(rng.uniform(0.2, 0.7)), float(rng.choice((0.0, 0.1, 0.4)))
    lead = min(length, 2400.0)
    full = min(float(rng.uniform(95.8, 97.0)), 96.5)
    arrival = full - plan.power_kw() * lead / 3600.0 * plan.vehicle.soc_per_kwh()
    pulses = []
    begin = at + lead
    while begin < at + lead + 3600.0:
        pulses.append(Span(begin, begin + on_grid((1.0 - duty) * period), low))
        begin += period
    visit = replace(plan.visit, arrival_soc=max(arrival, 1.0), target_soc=FULL_SOC, leaves_after_s=None)
    plan = lasting(replace(plan, visit=visit), begin + float(rng.uniform(0.0, 1800.0)))
    return replace(plan, course=Course(acceptance=tuple(pulses)))


def _climate_by_turns(plan: Plan, rng: np.random.Generator) -> Plan:
    """After its fill the car heats or cools itself with less than 1 kW, on and off, in no strict beat."""
    plan, at, length = _charging(plan, rng)
    target = float(rng.choice((80.5, 90.0, FULL_SOC)))
    arrival = target - plan.power_kw() * 0.7 * length / 3600.0 * plan.vehicle.soc_per_kwh()
    on, off = (float(x) for x in np.exp(rng.uniform(np.log(90.0), np.log(1500.0), 2)))
    draw, begin, turns = float(rng.uniform(0.3, 0.95)), float(rng.uniform(0.0, 1800.0)), []
    until = begin + float(rng.uniform(1800.0, 7200.0))
    while begin < until:
        lasts = on_grid(on * float(rng.uniform(0.6, 1.4)))
        turns.append(Span(begin, begin + lasts, draw * float(rng.uniform(0.85, 1.0))))
        begin += lasts + on_grid(off * float(rng.uniform(0.6, 1.4)))
    visit = replace(
        plan.visit,
        arrival_soc=max(arrival, 1.0),
        target_soc=target,
        leaves_after_s=None,
        afterwards=tuple(turns),
    )
    return lasting(replace(plan, visit=visit), at + length + begin)


_SHOWN: Final = Needs(power=True, sampling_at_most_s=300.0)

RESTLESS_NORMALS: Final = (
    Mechanism("offer_in_fine_steps", Needs(offered=True), _offer_in_fine_steps),
    Mechanism("offer_follows_the_sun", Needs(kind="ac", offered=True), _offer_follows_the_sun),
    Mechanism("power_by_modules", _SHOWN._replace(kind="dc", managed=False), _power_by_modules),
    Mechanism("curve_in_stairs", _SHOWN._replace(managed=False), _curve_in_stairs),
    Mechanism("balancing", _SHOWN._replace(kind="ac", managed=False, soc=True), _balancing),
    Mechanism("climate_by_turns", _SHOWN._replace(kind="ac", managed=False), _climate_by_turns),
)
