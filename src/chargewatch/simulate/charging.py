"""Charging that goes on long enough for a fault of the meter to show, and where in the readings it is."""

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from chargewatch.simulate.behaviour import FULL_SOC
from chargewatch.simulate.meters import Observed
from chargewatch.simulate.plans import FOREVER_S, Plan, lasting, longest_charge_s, plain, with_charge
from chargewatch.simulate.records import Floats, Integers, Span
from chargewatch.simulate.truth import Course

CHARGING_KW: Final = 1.2
"""Above this mean power a car charges, with some room to the 1 kW of the definitions."""


class Stretch(NamedTuple):
    """Positions of the first and the last reading between which the car charges."""

    first: int
    last: int


def charging_for(
    plan: Plan, rng: np.random.Generator, seconds: float, *, cap_kw: float | None = None
) -> Plan:
    """Returns the plan of a car that charges for ``seconds`` (on DC: to the full battery, if need be).

    ``cap_kw`` limits the power on the car's side.
    """
    plan = plain(plan)
    if cap_kw is not None:
        plan = replace(plan, course=Course(cap_kw=(Span(0.0, FOREVER_S, cap_kw),)))
    longest = longest_charge_s(plan)
    if seconds > longest:
        visit = replace(
            plan.visit, arrival_soc=float(rng.uniform(3.0, 8.0)), target_soc=FULL_SOC, leaves_after_s=60.0
        )
        plan = replace(plan, visit=visit)
    else:
        plan = with_charge(plan, rng, seconds)
    until = plan.visit.start_s + seconds + 90.0
    return replace(lasting(plan, until), faults=(Span(0.0, FOREVER_S, 0.0),))


def counted(observed: Observed) -> Integers:
    """Returns a copy of the register (Wh). Raises ValueError when none is sent."""
    if observed.register_wh is None:
        raise ValueError("a fault of the register needs a register")
    return observed.register_wh.copy()


def mean_power_kw(observed: Observed) -> Floats:
    """Returns the true mean power (kW) between readings: shape (n - 1,)."""
    hours = np.maximum(np.diff(observed.at_s()), 1e-3) / 3600.0
    return np.diff(observed.energy_kwh) / hours


def charging_stretch(observed: Observed) -> Stretch:
    """Returns the longest stretch of readings between which the car charges; of no length when there is none."""
    active = np.concatenate(([False], mean_power_kw(observed) >= CHARGING_KW, [False]))
    edges = np.flatnonzero(np.diff(active.astype(np.int8)))
    begins, ends = edges[::2], edges[1::2]
    if not len(begins):
        return Stretch(0, 0)
    at = observed.at_s()
    longest = int(np.argmax(at[ends] - at[begins]))
    return Stretch(int(begins[longest]), int(ends[longest]))


def span_between(observed: Observed, first: int, last: int) -> Span:
    """The time from one reading to another, both included."""
    at = observed.at_s()
    return Span(float(at[first]), float(at[last]) + 0.001, 0.0)


def position_after(observed: Observed, first: int, seconds: float) -> int:
    """The first reading that is at least ``seconds`` later than reading ``first``, or the last one."""
    at = observed.at_s()
    return min(int(np.searchsorted(at, at[first] + seconds)), len(at) - 1)
