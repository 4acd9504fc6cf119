"""A planned session: who charges where, and what will go wrong, before it happens.

Faults and near-misses are changes of a plan. What they share stands here: a car with nothing
special about it, enough charging before and after an event, and times that the sampling can show.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil
from typing import Final

import numpy as np

from chargewatch.simulate.behaviour import Visit, draw_visit
from chargewatch.simulate.chargers import managed_offers
from chargewatch.simulate.records import GRID_S, Span
from chargewatch.simulate.stations import Station
from chargewatch.simulate.truth import Course
from chargewatch.simulate.vehicles import Vehicle, draw_vehicle

FOREVER_S: Final = 1e7
START_RAMP_S: Final = 4 * GRID_S
_HIGHEST_SOC: Final = {"ac": 92.0, "dc": 62.0}
"""Up to here power does not depend on the state of charge, or hardly."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A session before it happens. ``faults``: when what goes wrong is fully developed."""

    station: Station
    vehicle: Vehicle
    visit: Visit
    course: Course
    starts_at: datetime
    base_wh: float
    faults: tuple[Span, ...] = ()

    def power_kw(self) -> float:
        """The power while nothing limits it."""
        return self.station.charger.power_with(self.vehicle)

    def sampling_s(self) -> float:
        """The meter's sampling interval."""
        return self.station.meter.sampling_s

    def steps_s(self) -> float:
        """How long the register needs for one step at this power."""
        return 3600.0 * self.station.meter.restrictions().resolution_kwh / self.power_kw()


def draw_plan(
    rng: np.random.Generator,
    station: Station,
    starts_at: datetime,
    base_wh: float,
    vehicle: Vehicle | None = None,
) -> Plan:
    """Plans an ordinary session, of a drawn car unless one is given."""
    charger = station.charger
    vehicle = vehicle or draw_vehicle(rng, charger.kind)
    visit = draw_visit(rng, charger, vehicle, station.meter.restrictions())
    course = Course()
    if charger.managed:
        longest = 300.0 if charger.kind == "dc" else 5400.0 if station.meter.offered != "none" else 1400.0
        course = Course(offer=managed_offers(rng, charger, visit.stay_s, longest))
    return Plan(station, vehicle, visit, course, starts_at, base_wh)


def plain(plan: Plan) -> Plan:
    """Returns the plan without timers, cold battery, air-conditioning and load management."""
    visit = replace(plan.visit, start_s=min(plan.visit.start_s, 60.0), warm_up=None, afterwards=())
    return replace(plan, visit=visit, course=Course())


def longest_charge_s(plan: Plan) -> float:
    """How long this car could charge at full power."""
    highest = _HIGHEST_SOC[plan.station.charger.kind]
    return 3600.0 * plan.vehicle.kwh_between(5.0, highest) / plan.power_kw()


def with_charge(
    plan: Plan, rng: np.random.Generator, seconds: float, highest_soc: float | None = None
) -> Plan:
    """Returns the plan with a car empty enough to charge for ``seconds`` at full power.

    The car also lacks what an ordinary one must take before it may rest. ``highest_soc``: the state of
    charge must not be above it after ``seconds``.
    """
    restrictions, per_kwh = plan.station.meter.restrictions(), plan.vehicle.soc_per_kwh()
    kwh = plan.power_kw() * seconds / 3600.0
    highest = _HIGHEST_SOC[plan.station.charger.kind] if highest_soc is None else highest_soc
    target = max(plan.visit.target_soc, 80.5)
    highest = min(highest, target - 1.0)
    arrival = min(highest - kwh * per_kwh, target - (restrictions.resting_kwh() + 0.5) * per_kwh)
    arrival = float(rng.uniform(min(8.0, arrival), min(arrival, 60.0)))
    return replace(plan, visit=replace(plan.visit, arrival_soc=max(arrival, 1.0), target_soc=target))


def lasting(plan: Plan, until_s: float) -> Plan:
    """Returns the plan with a car that stays at least until ``until_s`` after plugging in."""
    return replace(plan, visit=replace(plan.visit, stay_s=max(plan.visit.stay_s, until_s)))


def on_grid(at_s: float) -> float:
    """Rounds up to the grid of the truth."""
    return ceil(at_s / GRID_S) * GRID_S


def shown_s(sampling_s: float, seconds: float) -> float:
    """How long something must last for readings that span ``seconds`` to fall into it for certain."""
    return (ceil((seconds + 2.0) / sampling_s) + 1) * sampling_s + 20.0


def sides_s(plan: Plan, rng: np.random.Generator) -> tuple[float, float]:
    """Draws for how long the car charges before and after an event, so that both levels are shown."""
    least = max(shown_s(plan.sampling_s(), 240.0), 4.0 * plan.steps_s(), 300.0)
    half = 0.48 * longest_charge_s(plan)
    if half <= least:
        return half, half
    before = float(rng.uniform(least, min(max(2.0 * least, 7200.0), half)))
    return before, float(rng.uniform(least, min(2.0 * least, half)))


def event_at_s(plan: Plan, before_s: float) -> float:
    """When an event begins that follows ``before_s`` of charging."""
    return on_grid(plan.visit.start_s + START_RAMP_S + before_s)
