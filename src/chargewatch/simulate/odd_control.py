"""Odd courses of the power by another author: control loops, power modules, contactors, heat.

Written after the base model, from the definitions alone, and never learnt from (``catalogue.UNSEEN``). None meets
another definition: nobody manages the station, what it offers stands, the power stays above a quarter of its level
or is below it for less than three minutes, and the battery is far from full.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from chargewatch.simulate.behaviour import FULL_SOC
from chargewatch.simulate.faults import Mechanism
from chargewatch.simulate.plans import Plan, event_at_s, longest_charge_s, on_grid, plain, with_charge
from chargewatch.simulate.records import GRID_S, Span
from chargewatch.simulate.stations import Needs

Shares = Iterator[tuple[float, float]]
"""How long (s) which share of the power flows, without end."""

_HOURS: Final = {"ac": (2.0, 5.0), "dc": (0.4, 1.0)}
_LONG_HOURS: Final = {"ac": (3.5, 8.0), "dc": (0.5, 1.0)}
_LATEST_BEGIN: Final = 0.25
_LEAST_S: Final = 1500.0
"""Charging that is no longer than this is odd from its beginning on."""


def charging_plainly(
    plan: Plan, rng: np.random.Generator, *, shown_s: float, mean_share: float = 1.0, long: bool = False
) -> Plan:
    """Returns the plan of a car with nothing special about it that charges at ``mean_share`` of its power.

    ``faults``: the oddity, the last three quarters of the charging at least, visible in readings each ``shown_s``.
    """
    plan = plain(plan)
    plan = replace(plan, visit=replace(plan.visit, target_soc=FULL_SOC))
    low, high = (_LONG_HOURS if long else _HOURS)[plan.station.charger.kind]
    length = min(3600.0 * float(rng.uniform(low, high)), 0.95 * longest_charge_s(plan) / mean_share)
    plan = with_charge(plan, rng, mean_share * length)
    at = event_at_s(plan, 0.0)
    spare = max(length - _LEAST_S, 0.0)
    begin, end = on_grid(at + float(rng.uniform(0.0, _LATEST_BEGIN)) * spare), on_grid(at + length)
    visit = replace(plan.visit, stay_s=end + float(rng.uniform(30.0, 240.0)), leaves_after_s=None)
    return replace(plan, visit=visit, faults=(Span(begin, end, shown_s),))


def accepting(plan: Plan, shares: Shares) -> Plan:
    """Lets the power follow ``shares`` of itself while the oddity lasts."""
    (odd,) = plan.faults
    spans, at = [], odd.start_s
    for length, share in shares:
        spans.append(Span(at, min(at + length, odd.end_s), share))
        at += length
        if at >= odd.end_s:
            break
    return replace(plan, course=replace(plan.course, acceptance=tuple(spans)))


def _waving(wave: Callable[[float], float]) -> Shares:
    """A share for each step of the true course."""
    at = 0.0
    while True:
        yield GRID_S, wave(at)
        at += GRID_S


def long_enough_s(
    plan: Plan, rng: np.random.Generator, low_s: float, high_s: float, readings: float
) -> float:
    """Draws a time, or so many of the meter's intervals where that is longer."""
    return on_grid(max(float(rng.uniform(low_s, high_s)), readings * plan.sampling_s()))


# --- power modules and heat -----------------------------------------------------------------------


def _modules_come_and_go(plan: Plan, rng: np.random.Generator) -> Plan:
    """A cabinet of three to six modules loses some and gets them back, at irregular times; half of them stay."""
    modules = int(rng.integers(3, 7))
    least = -(-modules // 2)

    def shares() -> Shares:
        working = modules
        while True:
            working = int(rng.choice([n for n in range(least, modules + 1) if n != working]))
            yield long_enough_s(plan, rng, 60.0, 360.0, 1.0), working / modules

    return accepting(charging_plainly(plan, rng, shown_s=60.0, mean_share=0.8), shares())


def _throttles_in_stairs(plan: Plan, rng: np.random.Generator) -> Plan:
    """It is too hot: three to five stairs down to 42 to 65 %, then all at once again, and so on."""
    lowest, stairs = float(rng.uniform(0.42, 0.65)), int(rng.integers(3, 6))

    def shares() -> Shares:
        while True:
            yield long_enough_s(plan, rng, 300.0, 900.0, 2.0), 1.0
            for share in np.linspace(1.0, lowest, stairs + 1)[1:].tolist():
                yield long_enough_s(plan, rng, 120.0, 420.0, 2.0), share

    return accepting(charging_plainly(plan, rng, shown_s=300.0, mean_share=0.8, long=True), shares())


def _module_trips_by_turns(plan: Plan, rng: np.random.Generator) -> Plan:
    """One of the two modules of an onboard charger trips, cools down and comes back, at about even times."""
    low, dwell = float(rng.uniform(0.42, 0.6)), float(rng.uniform(2.0, 4.0)) * max(plan.sampling_s(), 420.0)

    def shares() -> Shares:
        while True:
            yield on_grid(dwell * float(rng.uniform(0.85, 1.15))), low
            yield on_grid(dwell * float(rng.uniform(0.85, 1.15))), 1.0

    return accepting(charging_plainly(plan, rng, shown_s=900.0, mean_share=0.75, long=True), shares())


def _slow_saw(plan: Plan, rng: np.random.Generator) -> Plan:
    """The power sinks to 42 to 62 % for 45 to 100 minutes, is back at once, and sinks again."""
    low, fall = float(rng.uniform(0.42, 0.62)), on_grid(float(rng.uniform(2700.0, 6000.0)))

    def share(at_s: float) -> float:
        return 1.0 - (1.0 - low) * (at_s % fall) / fall

    return accepting(charging_plainly(plan, rng, shown_s=900.0, mean_share=0.78, long=True), _waving(share))


# --- contactors and restarts ----------------------------------------------------------------------


def _contactor_chatters(plan: Plan, rng: np.random.Generator) -> Plan:
    """Each 5 to 12 minutes the contactor opens three to five times in a row, for 10 to 30 s each."""

    def shares() -> Shares:
        while True:
            yield on_grid(float(rng.uniform(300.0, 720.0))), 1.0
            for _ in range(int(rng.integers(3, 6))):
                yield on_grid(float(rng.uniform(5.0, 30.0))), 0.0
                yield GRID_S, 0.5
                yield on_grid(float(rng.uniform(5.0, 40.0))), 1.0

    return accepting(charging_plainly(plan, rng, shown_s=30.0), shares())


def _restarts_over_and_over(plan: Plan, rng: np.random.Generator) -> Plan:
    """Each 3 to 6 minutes it stops for 40 to 90 s, starts anew and takes 1 to 2.5 minutes to its power."""

    def shares() -> Shares:
        while True:
            yield on_grid(float(rng.uniform(180.0, 360.0))), 1.0
            yield on_grid(float(rng.uniform(40.0, 90.0))), 0.0
            steps = int(rng.integers(6, 16))
            for step in range(steps):
                yield GRID_S, (step + 1.0) / (steps + 1.0)

    return accepting(charging_plainly(plan, rng, shown_s=30.0, mean_share=0.75), shares())


# --- control loops --------------------------------------------------------------------------------


def _rings_and_settles(plan: Plan, rng: np.random.Generator) -> Plan:
    """Every few minutes something excites a badly damped loop: the power rings by 15 to 30 % and settles."""
    depth, base = float(rng.uniform(0.15, 0.3)), float(rng.uniform(0.65, 0.72))
    period, damping = long_enough_s(plan, rng, 60.0, 120.0, 3.0), float(rng.uniform(90.0, 200.0))

    def shares() -> Shares:
        while True:
            for at in np.arange(0.0, float(rng.uniform(240.0, 540.0)), GRID_S).tolist():
                yield GRID_S, base + depth * np.exp(-at / damping) * np.sin(2.0 * np.pi * at / period)

    return accepting(charging_plainly(plan, rng, shown_s=30.0, mean_share=base), shares())


def _fallback_notches(plan: Plan, rng: np.random.Generator) -> Plan:
    """Each 5, 10 or 15 minutes, to the second, a safe current of 40 to 62 % holds for 2 to 4 minutes."""
    every, low = float(rng.choice((300.0, 600.0, 900.0))), float(rng.uniform(0.4, 0.62))
    notch = long_enough_s(plan, rng, 120.0, 240.0, 2.0)

    def shares() -> Shares:
        while True:
            yield every - notch, 1.0
            yield notch, low

    return accepting(charging_plainly(plan, rng, shown_s=60.0, mean_share=0.85), shares())


def _two_loops_beat(plan: Plan, rng: np.random.Generator) -> Plan:
    """Two loops of nearly the same speed work against each other: a swing swells to 32 to 60 % and dies down."""
    depth, period = float(rng.uniform(0.1, 0.17)), long_enough_s(plan, rng, 60.0, 150.0, 3.5)
    other = period * float(rng.uniform(1.12, 1.25))

    def share(at_s: float) -> float:
        both = np.sin(2.0 * np.pi * at_s / period) + np.sin(2.0 * np.pi * at_s / other)
        return float(1.0 + depth * (both - 2.0))

    return accepting(charging_plainly(plan, rng, shown_s=30.0, mean_share=0.75), _waving(share))


def linear_shares(
    plan: Plan, rng: np.random.Generator, lows: tuple[float, float], minutes: tuple[float, float]
) -> Shares:
    """Straight courses between shares drawn from ``lows`` to 1, each for so many minutes (at least two readings)."""
    share = 1.0
    while True:
        steps = int(long_enough_s(plan, rng, 60.0 * minutes[0], 60.0 * minutes[1], 2.0) // GRID_S)
        goal = float(rng.uniform(*lows))
        for value in np.linspace(share, goal, steps + 1)[1:].tolist():
            yield GRID_S, value
        share = goal


_FINE: Final = Needs(managed=False, power=True, sampling_at_most_s=30.0)
_SEEN: Final = Needs(managed=False, power=True, sampling_at_most_s=60.0)
REGISTER_ONLY: Final = Needs(
    kind="ac",
    managed=False,
    register=True,
    power=False,
    soc=False,
    current=False,
    voltage=False,
    resolution_at_most_wh=10,
)
"""Readings of the register and nothing else (but perhaps the offer): its slope is all there is of the power."""

CONTROL_MECHANISMS: Final = (
    Mechanism("modules_come_and_go", _SEEN._replace(kind="dc"), _modules_come_and_go, held_out=True),
    Mechanism(
        "throttles_in_stairs",
        _SEEN._replace(kind="ac", sampling_at_most_s=300.0),
        _throttles_in_stairs,
        held_out=True,
    ),
    Mechanism("module_trips_by_turns", REGISTER_ONLY, _module_trips_by_turns, held_out=True),
    Mechanism("slow_saw", REGISTER_ONLY, _slow_saw, held_out=True),
    Mechanism("contactor_chatters", _FINE._replace(kind="ac"), _contactor_chatters, held_out=True),
    Mechanism("restarts_over_and_over", _FINE._replace(kind="dc"), _restarts_over_and_over, held_out=True),
    Mechanism("rings_and_settles", _FINE._replace(kind="dc"), _rings_and_settles, held_out=True),
    Mechanism("fallback_notches", _SEEN._replace(kind="ac"), _fallback_notches, held_out=True),
    Mechanism("two_loops_beat", _FINE._replace(kind="ac"), _two_loops_beat, held_out=True),
)
