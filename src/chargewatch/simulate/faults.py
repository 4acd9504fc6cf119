"""Faults of delivery: pits, sessions without energy, charging that breaks off.

Written from the words of ``categories.md`` (version 1); each mechanism is one way in which stations
or cars are known to fail. Faults of the register are in ``register_faults``.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from chargewatch.simulate.meters import Observed
from chargewatch.simulate.plans import (
    FOREVER_S,
    Plan,
    event_at_s,
    lasting,
    longest_charge_s,
    on_grid,
    plain,
    shown_s,
    sides_s,
    with_charge,
)
from chargewatch.simulate.records import GRID_S, Span
from chargewatch.simulate.stations import Needs
from chargewatch.simulate.truth import Course

SHARE_SHOWN: Final = 0.8
"""Share of faults that are made long enough for their meter's sampling."""


class Mechanism(NamedTuple):
    """One way to fail, or to look like it: ``shape`` changes what happens, ``tamper`` what the meter says.

    ``tamper`` also returns when (seconds since plugging in). ``held_out``: kept out of training and tuning, so
    that what is measured on it is measured on shapes that nothing was fitted to. ``own_meter``: it brings a meter
    of its own, so a fleet, whose stations keep theirs, has none of it.
    """

    name: str
    needs: Needs
    shape: Callable[[Plan, np.random.Generator], Plan]
    tamper: Callable[[Plan, Observed, np.random.Generator], tuple[Observed, Span]] | None = None
    held_out: bool = False
    own_meter: bool = False


# --- pits -----------------------------------------------------------------------------------------


def pit_length_s(plan: Plan, rng: np.random.Generator, share_shown: float = SHARE_SHOWN) -> float:
    """Draws how long a pit lasts: 200 s to less than 2 h, in ``share_shown`` of all cases long enough to be shown."""
    sampling, dc = plan.sampling_s(), plan.station.charger.kind == "dc"
    longest = 900.0 if dc else 7200.0 - 2.0 * sampling - 120.0
    shortest = 200.0
    if rng.random() < share_shown:
        register_only = plan.station.meter.power == "none"
        shortest = shown_s(sampling, 180.0) + (5.0 * plan.steps_s() if register_only else 0.0)
    shortest = min(shortest, longest)
    upper = min(longest, max(4.0 * shortest, 3600.0))
    return on_grid(float(np.exp(rng.uniform(np.log(shortest), np.log(upper)))))


def pits(
    plan: Plan,
    rng: np.random.Generator,
    *,
    shares: tuple[float, float],
    recovery: tuple[float, float] = (1.0, 1.0),
    ramp_s: float = 0.0,
    times: int = 1,
    share_shown: float = SHARE_SHOWN,
) -> Plan:
    """Lets the power collapse to ``shares`` of its level and come back to ``recovery``, ``times`` times."""
    plan = plain(plan)
    before, after = sides_s(plan, rng)
    between = before if times == 1 else min(before, longest_charge_s(plan) / (times + 2))
    before, after = (before, after) if times == 1 else (between, min(after, between))
    plan = with_charge(plan, rng, before + between * (times - 1) + after)
    level, at = float(rng.uniform(*recovery)), event_at_s(plan, before)
    spans: list[Span] = []
    faults: list[Span] = []
    for _ in range(times):
        share, length = float(rng.uniform(*shares)) * level, pit_length_s(plan, rng, share_shown)
        end = at + ramp_s + length
        spans += [*_slope(at, ramp_s, 1.0, share), Span(at + ramp_s, end, share)]
        spans += [*_slope(end, ramp_s, share, level), Span(end + ramp_s, FOREVER_S, level)]
        faults.append(Span(at + ramp_s, end, share))
        at = on_grid(end + ramp_s + between)
    plan = lasting(plan, at - between + after + 60.0)
    return replace(plan, course=Course(acceptance=tuple(spans)), faults=tuple(faults))


def _slope(begin_s: float, length_s: float, first: float, last: float) -> list[Span]:
    steps = int(length_s // GRID_S)
    values = np.linspace(first, last, steps + 2)[1:-1].tolist()
    return [Span(begin_s + i * GRID_S, begin_s + (i + 1) * GRID_S, value) for i, value in enumerate(values)]


def _collapse_to_zero(plan: Plan, rng: np.random.Generator) -> Plan:
    return pits(plan, rng, shares=(0.0, 0.0))


def _collapse_to_trickle(plan: Plan, rng: np.random.Generator) -> Plan:
    return pits(plan, rng, shares=(0.05, 0.2))


def _weak_recovery(plan: Plan, rng: np.random.Generator) -> Plan:
    return pits(plan, rng, shares=(0.0, 0.15), recovery=(0.6, 0.85))


def _sloping_edges(plan: Plan, rng: np.random.Generator) -> Plan:
    return pits(plan, rng, shares=(0.0, 0.1), ramp_s=on_grid(float(rng.uniform(20, 80))))


def _repeated_collapse(plan: Plan, rng: np.random.Generator) -> Plan:
    return pits(plan, rng, shares=(0.0, 0.12), times=int(rng.integers(2, 4)))


# --- sessions without energy ----------------------------------------------------------------------

_ZERO_KWH: Final = 0.06


def without_charge(
    plan: Plan, stay_s: float, afterwards: tuple[Span, ...] = (), standby_kw: float = 0.0
) -> Plan:
    """Returns the plan of a car that is plugged in for ``stay_s`` and never charges."""
    visit = replace(plan.visit, stay_s=stay_s, warm_up=None, afterwards=afterwards, standby_kw=standby_kw)
    course = Course(acceptance=(Span(0.0, FOREVER_S, 0.0),))
    return replace(plan, visit=visit, course=course, faults=(Span(0.0, stay_s, 0.0),))


def _zero_stay_s(plan: Plan, rng: np.random.Generator) -> float:
    least = shown_s(plan.sampling_s(), 300.0) if rng.random() < SHARE_SHOWN else 320.0
    longest = 3000.0 if plan.station.charger.kind == "dc" else 36000.0
    return float(np.exp(rng.uniform(np.log(least), np.log(max(longest, 2 * least)))))


def _never_starts(plan: Plan, rng: np.random.Generator) -> Plan:
    return without_charge(_less_than_full(plan, rng), _zero_stay_s(plan, rng))


def _standby_draw(plan: Plan, rng: np.random.Generator) -> Plan:
    stay = _zero_stay_s(plan, rng)
    standby = min(float(rng.uniform(0.004, 0.06)), _ZERO_KWH * 3600.0 / stay)
    return without_charge(_less_than_full(plan, rng), stay, standby_kw=standby)


def _auxiliaries_only(plan: Plan, rng: np.random.Generator) -> Plan:
    stay, power = _zero_stay_s(plan, rng), float(rng.uniform(0.08, 0.25))
    seconds = min(float(rng.uniform(60, 900)), stay / 2, 3600.0 * _ZERO_KWH / power)
    return without_charge(_less_than_full(plan, rng), stay, afterwards=(Span(20.0, 20.0 + seconds, power),))


def _handshake_loop(plan: Plan, rng: np.random.Generator) -> Plan:
    stay, power, pause = _zero_stay_s(plan, rng), float(rng.uniform(0.1, 0.25)), float(rng.uniform(120, 600))
    most = int(3600.0 * _ZERO_KWH / (power * 30.0))
    begins = np.arange(30.0, stay - 60.0, pause)[:most].tolist()
    return without_charge(
        _less_than_full(plan, rng), stay, afterwards=tuple(Span(b, b + 20.0, power) for b in begins)
    )


def _less_than_full(plan: Plan, rng: np.random.Generator) -> Plan:
    return replace(plan, visit=replace(plan.visit, arrival_soc=float(rng.uniform(8, 90))))


# --- charging that breaks off ---------------------------------------------------------------------


def stop_after(
    plan: Plan, rng: np.random.Generator, kwh: float, rest_s: float, *, resumes_s: float = 0.0
) -> Plan:
    """Lets charging break off after ``kwh``; after ``rest_s`` the car goes, or charges ``resumes_s`` more."""
    plan = plain(plan)
    seconds = 3600.0 * kwh / plan.power_kw()
    plan = with_charge(plan, rng, seconds + resumes_s, highest_soc=74.0)
    at = event_at_s(plan, max(seconds - 2.0 * GRID_S, GRID_S))
    spans = (Span(at, at + rest_s if resumes_s else FOREVER_S, 0.0),)
    visit = replace(plan.visit, stay_s=at + rest_s + resumes_s, leaves_after_s=None)
    course = Course(acceptance=spans)
    return replace(plan, visit=visit, course=course, faults=spans)


def rest_s(plan: Plan, rng: np.random.Generator, least_s: float, most_s: float) -> float:
    """Draws how long a car rests: more than ``least_s``, and mostly enough for the readings to show it."""
    shown = shown_s(plan.sampling_s(), least_s) if rng.random() < SHARE_SHOWN else least_s + 20.0
    return on_grid(float(rng.uniform(shown, max(most_s, shown + 600.0))))


def _some_kwh(plan: Plan, rng: np.random.Generator) -> float:
    """Draws an energy that the register shows and that leaves the battery below 74 %."""
    restrictions = plan.station.meter.restrictions()
    least = 0.7 + 2.0 * restrictions.resolution_kwh
    return float(rng.uniform(least, max(0.5 * plan.vehicle.capacity_kwh, least + 1.0)))


def _soc_stop(plan: Plan, rng: np.random.Generator) -> Plan:
    most = 5400.0 if plan.station.charger.kind == "dc" else 21600.0
    return stop_after(plan, rng, _some_kwh(plan, rng), rest_s(plan, rng, 1800.0, most))


def _soc_stop_standby(plan: Plan, rng: np.random.Generator) -> Plan:
    stopped = _soc_stop(plan, rng)
    return replace(stopped, visit=replace(stopped.visit, standby_kw=float(rng.uniform(0.003, 0.008))))


def _soc_stop_resumes_late(plan: Plan, rng: np.random.Generator) -> Plan:
    rest = on_grid(shown_s(plan.sampling_s(), 7200.0) + float(rng.uniform(0.0, 7200.0)))
    resumes = max(3.0 * plan.sampling_s(), 600.0)
    kwh = min(_some_kwh(plan, rng), 0.25 * plan.vehicle.capacity_kwh)
    return stop_after(plan, rng, kwh, rest, resumes_s=min(resumes, 0.4 * longest_charge_s(plan)))


def _offer_unused(plan: Plan, rng: np.random.Generator) -> Plan:
    kwh = float(rng.uniform(0.7, 2.6))
    return stop_after(plan, rng, kwh, rest_s(plan, rng, 1800.0, 21600.0))


def _early_stop(plan: Plan, rng: np.random.Generator) -> Plan:
    return stop_after(plan, rng, float(rng.uniform(0.18, 0.36)), rest_s(plan, rng, 3600.0, 28800.0))


UNMANAGED: Final = Needs(managed=False)
FINE: Final = Needs(resolution_at_most_wh=10)
KNOWN_SOC: Final = Needs(managed=False, soc=True, power=True)

PIT_MECHANISMS: Final = (
    Mechanism("collapse_to_zero", UNMANAGED, _collapse_to_zero),
    Mechanism("collapse_to_trickle", UNMANAGED, _collapse_to_trickle),
    Mechanism("weak_recovery", UNMANAGED, _weak_recovery, held_out=True),
    Mechanism("sloping_edges", UNMANAGED, _sloping_edges),
    Mechanism("repeated_collapse", UNMANAGED, _repeated_collapse, held_out=True),
)
ZERO_MECHANISMS: Final = (
    Mechanism("never_starts", Needs(), _never_starts),
    Mechanism("standby_draw", FINE, _standby_draw),
    Mechanism("auxiliaries_only", FINE, _auxiliaries_only, held_out=True),
    Mechanism("handshake_loop", FINE, _handshake_loop, held_out=True),
)
EXPECTED_MECHANISMS: Final = (
    Mechanism("soc_stop", KNOWN_SOC, _soc_stop),
    Mechanism("soc_stop_standby", KNOWN_SOC, _soc_stop_standby),
    Mechanism("soc_stop_resumes_late", KNOWN_SOC._replace(kind="ac"), _soc_stop_resumes_late, held_out=True),
    Mechanism(
        "offer_unused",
        Needs(kind="ac", managed=False, soc=False, offered=True, resolution_at_most_wh=100),
        _offer_unused,
    ),
    Mechanism(
        "early_stop", Needs(kind="ac", managed=False, resolution_at_most_wh=10), _early_stop, held_out=True
    ),
)
