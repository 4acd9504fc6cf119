"""Faults of the electrical side: state of charge, phases, voltage, temperature.

Written from the words of ``categories.md`` (version 1). The car charges until it is unplugged, so
that what is seen is the fault and not the end of charging.
"""

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from chargewatch.simulate.faults import Mechanism
from chargewatch.simulate.meters import Observed
from chargewatch.simulate.plans import (
    START_RAMP_S,
    Plan,
    event_at_s,
    longest_charge_s,
    on_grid,
    plain,
    sides_s,
    with_charge,
)
from chargewatch.simulate.records import GRID_S, Floats, Span
from chargewatch.simulate.stations import Needs
from chargewatch.simulate.truth import Course, Points, Volts
from chargewatch.simulate.vehicles import PHASE_VOLTAGE_KV, ac_curve


def charging_through(plan: Plan, rng: np.random.Generator) -> tuple[Plan, Span]:
    """Returns a plan that charges from start to unplugging, and a span in its middle of four readings or more."""
    plan = plain(plan)
    before, after = sides_s(plan, rng)
    plan = with_charge(
        plan, rng, before + after, highest_soc=86.0 if plan.station.charger.kind == "ac" else None
    )
    at = event_at_s(plan, max(before, 2.5 * plan.sampling_s()))
    end = on_grid(at + 4.0 * plan.sampling_s() + float(rng.uniform(20.0, max(after, 60.0))))
    stay = end + 4.0 * plan.sampling_s() + 120.0
    return replace(plan, visit=replace(plan.visit, stay_s=stay, leaves_after_s=60.0)), Span(at, end, 0.0)


class Turns(NamedTuple):
    """Equal spans, equally far apart: where each begins, and how long it and what follows it last."""

    begins: tuple[float, ...]
    length_s: float
    gap_s: float


def in_turns(plan: Plan, rng: np.random.Generator, most: int, readings: float = 3.0) -> tuple[Plan, Turns]:
    """Returns a plan that charges throughout, with room for two to ``most`` events one after the other.

    Each event and each span between two shows in ``readings`` or more.
    """
    plan, span = charging_through(plan, rng)
    length = on_grid(readings * plan.sampling_s() + float(rng.uniform(30.0, 240.0)))
    gap = on_grid(readings * plan.sampling_s() + float(rng.uniform(30.0, 240.0)))
    room = int((longest_charge_s(plan) - span.start_s) // (length + gap))
    times = min(max(room, 2), int(rng.integers(2, most + 1)))
    begins = tuple(span.start_s + number * (length + gap) for number in range(times))
    stay = begins[-1] + length + gap
    highest = 86.0 if plan.station.charger.kind == "ac" else None
    plan = with_charge(plan, rng, stay - plan.visit.start_s, highest_soc=highest)
    return replace(plan, visit=replace(plan.visit, stay_s=stay)), Turns(begins, length, gap)


def _uneventful(plan: Plan, rng: np.random.Generator) -> Plan:
    plan, span = charging_through(plan, rng)
    return replace(plan, faults=(span,))


# --- the state of charge falls --------------------------------------------------------------------


def _soc_window(plan: Plan, observed: Observed) -> tuple[int, int]:
    first, last = np.searchsorted(observed.at_s(), (plan.faults[0].start_s, plan.faults[0].end_s))
    return int(first), int(last)


def _with_soc(plan: Plan, observed: Observed, fall: Floats) -> tuple[Observed, Span]:
    assert observed.soc is not None
    observed.soc = np.clip(np.round(observed.soc - fall), 1.0, 100.0)
    return observed, plan.faults[0]


def _soc_steps_down(plan: Plan, observed: Observed, rng: np.random.Generator) -> tuple[Observed, Span]:
    """One correction by several points; the count goes on from there."""
    first, _ = _soc_window(plan, observed)
    fallen: Floats = (np.arange(len(observed.at_ms)) >= first) * np.float64(rng.integers(5, 20))
    return _with_soc(plan, observed, fallen)


def _soc_dips(plan: Plan, observed: Observed, rng: np.random.Generator) -> tuple[Observed, Span]:
    """Too low for a few readings, then right again."""
    first, last = _soc_window(plan, observed)
    place = np.arange(len(observed.at_ms))
    fallen: Floats = ((place >= first) & (place < last)) * np.float64(rng.integers(5, 20))
    return _with_soc(plan, observed, fallen)


def _soc_slides(plan: Plan, observed: Observed, rng: np.random.Generator) -> tuple[Observed, Span]:
    """It falls point by point while the battery is charged."""
    first, last = _soc_window(plan, observed)
    assert observed.soc is not None
    risen = observed.soc[min(last, len(observed.soc) - 1)] - observed.soc[first]
    depth = risen + float(rng.integers(6, 16))
    fall = np.interp(np.arange(len(observed.at_ms)), (first, max(last, first + 1)), (0.0, depth))
    return _with_soc(plan, observed, fall)


def _soc_of_another(plan: Plan, observed: Observed, rng: np.random.Generator) -> tuple[Observed, Span]:
    """From some reading on a stale low figure is sent."""
    first, _ = _soc_window(plan, observed)
    assert observed.soc is not None
    stale = max(float(observed.soc[:first].max(initial=20.0)) - float(rng.integers(5, 30)), 2.0)
    fall = np.where(np.arange(len(observed.at_ms)) >= first, observed.soc - stale, 0.0)
    return _with_soc(plan, observed, fall)


def _soc_saw_tooth(plan: Plan, observed: Observed, rng: np.random.Generator) -> tuple[Observed, Span]:
    """It falls, climbs too fast back to the true figure, and falls again, until the end."""
    first, _ = _soc_window(plan, observed)
    teeth, depth = int(rng.integers(2, 6)), float(rng.integers(5, 16))
    since: Floats = np.arange(len(observed.at_ms)) - np.float64(first)
    fall = np.where(since >= 0, depth * (1.0 - (since % teeth) / teeth), 0.0)
    return _with_soc(plan, observed, fall)


_SOC: Final = Needs(soc=True, power=True, managed=False, sampling_at_most_s=300.0)
SOC_MECHANISMS: Final = (
    Mechanism("soc_steps_down", _SOC, _uneventful, _soc_steps_down),
    Mechanism("soc_dips", _SOC, _uneventful, _soc_dips),
    Mechanism("soc_slides", _SOC, _uneventful, _soc_slides, held_out=True),
    Mechanism("soc_of_another", _SOC, _uneventful, _soc_of_another, held_out=True),
    Mechanism("soc_saw_tooth", _SOC, _uneventful, _soc_saw_tooth, held_out=True),
)


# --- a phase is lost ------------------------------------------------------------------------------


def with_phases(plan: Plan, phases: int) -> Plan:
    """Returns the plan with a car that charges on ``phases`` at up to 16 A."""
    peak = phases * 16.0 * PHASE_VOLTAGE_KV
    curve = ac_curve(peak, knee_soc=97.5)
    car = replace(plan.vehicle, phases=phases, current_a=16.0, peak_kw=peak, curve_kw=curve)
    return replace(plan, vehicle=car)


def _loses(plan: Plan, rng: np.random.Generator, phases: int, bits: int, *, returns: bool) -> Plan:
    plan, span = charging_through(with_phases(plan, phases), rng)
    end = span.end_s if returns else plan.visit.stay_s
    lost = Span(span.start_s, end, float(bits))
    return replace(plan, course=Course(lost=(lost,)), faults=(lost,))


def _one_of_three(plan: Plan, rng: np.random.Generator) -> Plan:
    return _loses(plan, rng, 3, 1 << int(rng.integers(3)), returns=False)


def _one_of_two(plan: Plan, rng: np.random.Generator) -> Plan:
    return _loses(plan, rng, 2, 1 << int(rng.integers(2)), returns=False)


def _two_of_three(plan: Plan, rng: np.random.Generator) -> Plan:
    return _loses(plan, rng, 3, 7 - (1 << int(rng.integers(3))), returns=False)


def _lost_and_back(plan: Plan, rng: np.random.Generator) -> Plan:
    return _loses(plan, rng, 3, 1 << int(rng.integers(3)), returns=True)


def _comes_and_goes(plan: Plan, rng: np.random.Generator) -> Plan:
    """A loose contact: the same phase is lost and back, again and again."""
    plan, turns = in_turns(with_phases(plan, 3), rng, 4)
    bits = float(1 << int(rng.integers(3)))
    lost = tuple(Span(at, at + turns.length_s, bits) for at in turns.begins)
    return replace(plan, course=Course(lost=lost), faults=lost)


def _one_then_another(plan: Plan, rng: np.random.Generator) -> Plan:
    """One phase is lost and back; later another one is, and stays away."""
    plan, turns = in_turns(with_phases(plan, 3), rng, 2)
    one, other = (float(1 << int(place)) for place in rng.permutation(3)[:2])
    first, second = turns.begins
    lost = (Span(first, first + turns.length_s, one), Span(second, plan.visit.stay_s, other))
    return replace(plan, course=Course(lost=lost), faults=lost)


_PHASES: Final = Needs(kind="ac", phases=3, managed=False, current=True, sampling_at_most_s=300.0)
PHASE_MECHANISMS: Final = (
    Mechanism("one_of_three_lost", _PHASES, _one_of_three),
    Mechanism("one_of_two_lost", _PHASES, _one_of_two),
    Mechanism("two_of_three_lost", _PHASES, _two_of_three, held_out=True),
    Mechanism("lost_and_back", _PHASES, _lost_and_back, held_out=True),
    Mechanism("phase_comes_and_goes", _PHASES, _comes_and_goes),
    Mechanism("one_phase_then_another", _PHASES, _one_then_another, held_out=True),
)


# --- the voltage is out of range ------------------------------------------------------------------


def with_volts(plan: Plan, rng: np.random.Generator, shares: tuple[float, float, float]) -> tuple[Plan, Span]:
    """Returns a plan with other voltages for a while, in the order in which cars use the phases."""
    plan, span = charging_through(plan, rng)
    end = min(span.end_s, span.start_s + 0.6 * (span.start_s - plan.visit.start_s) + 3.0 * plan.sampling_s())
    span = span._replace(end_s=on_grid(end))
    return replace(plan, course=Course(volts=(Volts(span.start_s, span.end_s, shares),))), span


def _over(plan: Plan, rng: np.random.Generator) -> Plan:
    share = float(rng.uniform(1.2, 1.3))
    plan, span = with_volts(plan, rng, (share, share, share))
    return replace(plan, faults=(span,))


def _under(plan: Plan, rng: np.random.Generator) -> Plan:
    share = float(rng.uniform(0.68, 0.8))
    plan, span = with_volts(plan, rng, (share, share, share))
    return replace(plan, faults=(span,))


def _one_phase_low(plan: Plan, rng: np.random.Generator) -> Plan:
    shares = np.ones(3)
    shares[int(rng.integers(3))] = float(rng.uniform(0.65, 0.8))
    plan, span = with_volts(plan, rng, (float(shares[0]), float(shares[1]), float(shares[2])))
    return replace(plan, faults=(span,))


def _neutral_fault(plan: Plan, rng: np.random.Generator) -> Plan:
    """The star point moves: one phase too high, one too low."""
    high, low = float(rng.uniform(1.2, 1.4)), float(rng.uniform(0.6, 0.8))
    shares = rng.permutation((high, low, float(rng.uniform(0.97, 1.03))))
    plan, span = with_volts(plan, rng, (float(shares[0]), float(shares[1]), float(shares[2])))
    return replace(plan, faults=(span,))


def _sags_under_load(plan: Plan, rng: np.random.Generator) -> Plan:
    """A weak supply: nominal while the car waits for its timer, too low on the phases that it loads."""
    plan, _ = charging_through(plan, rng)
    charge_s = plan.visit.stay_s - plan.visit.start_s
    start = on_grid(plan.visit.start_s + 1.3 * charge_s + 2.0 * plan.sampling_s())
    loaded = Span(start + START_RAMP_S, start + charge_s, 0.0)
    shares = np.ones(3)
    shares[: plan.station.charger.phases_with(plan.vehicle)] = float(rng.uniform(0.68, 0.8))
    volts = Volts(loaded.start_s, loaded.end_s, (float(shares[0]), float(shares[1]), float(shares[2])))
    visit = replace(plan.visit, start_s=start, stay_s=start + charge_s)
    return replace(plan, visit=visit, course=Course(volts=(volts,)), faults=(loaded,))


def _drifts(plan: Plan, rng: np.random.Generator) -> Plan:
    """The voltage leaves its usual level little by little, and the band with it, until the car leaves."""
    plan = plain(plan)
    charge_s = min(0.9 * longest_charge_s(plan), float(rng.uniform(5000.0, 14000.0)))
    plan = with_charge(plan, rng, charge_s, highest_soc=86.0)
    stay = on_grid(plan.visit.start_s + charge_s)
    begin, end = on_grid(0.52 * stay), on_grid(0.86 * stay)
    last = float(rng.uniform(0.7, 0.78) if rng.random() < 0.5 else rng.uniform(1.22, 1.3))
    steps = np.linspace(1.0, last, int((end - begin) // GRID_S) + 1).tolist()
    volts = [
        Volts(begin + place * GRID_S, begin + (place + 1) * GRID_S, (share, share, share))
        for place, share in enumerate(steps)
    ]
    volts.append(Volts(end, stay, (last, last, last)))
    visit = replace(plan.visit, stay_s=stay, leaves_after_s=60.0)
    return replace(plan, visit=visit, course=Course(volts=tuple(volts)), faults=(Span(begin, stay, 0.0),))


VOLTAGE: Final = Needs(kind="ac", managed=False, voltage="neutral", sampling_at_most_s=300.0)
VOLTAGE_MECHANISMS: Final = (
    Mechanism("over_voltage", VOLTAGE, _over),
    Mechanism("under_voltage", VOLTAGE, _under),
    Mechanism("one_phase_low", VOLTAGE._replace(phases=3), _one_phase_low, held_out=True),
    Mechanism("neutral_fault", VOLTAGE._replace(phases=3), _neutral_fault, held_out=True),
    Mechanism("sag_under_load", VOLTAGE, _sags_under_load),
    Mechanism("voltage_drifts_away", VOLTAGE, _drifts, held_out=True),
)


# --- power falls because the charger is hot -------------------------------------------------------


def heated(plan: Plan, at_s: float, peak_c: float, rng: np.random.Generator, cools_k: float = 8.0) -> Points:
    """The first sensor's course: up to ``peak_c`` at ``at_s``, which the reading before it shows, then down."""
    begins, held = float(rng.uniform(18.0, 34.0)), at_s - plan.sampling_s() - 30.0
    ready = max(held, 1.0)
    points: tuple[tuple[float, float], ...] = (
        (0.0, begins),
        (0.5 * ready, begins + 0.7 * (peak_c - begins)),
        (ready, peak_c),
    )
    points += ((max(at_s, ready + 1.0), peak_c), (at_s + 1200.0, peak_c - cools_k))
    return Points(tuple(p[0] for p in points), tuple(p[1] for p in points))


def lowest_level(plan: Plan) -> float:
    """The lowest share of its power at which this car goes on."""
    charger = plan.station.charger
    return 0.08 if charger.kind == "dc" else 6.0 / min(charger.current_a, plan.vehicle.current_a)


def _derates(
    plan: Plan, rng: np.random.Generator, levels: tuple[float, float], *, recovers: bool = False
) -> Plan:
    plan, span = charging_through(plan, rng)
    low = max(float(rng.uniform(*levels)), lowest_level(plan))
    end = span.end_s if recovers else plan.visit.stay_s
    cut = Span(span.start_s, end, low)
    course = Course(
        acceptance=(cut,), celsius=heated(plan, span.start_s, float(rng.uniform(63.0, 85.0)), rng)
    )
    return replace(plan, course=course, faults=(cut,))


def _one_step(plan: Plan, rng: np.random.Generator) -> Plan:
    return _derates(plan, rng, (0.35, 0.62))


def _step_and_recovery(plan: Plan, rng: np.random.Generator) -> Plan:
    return _derates(plan, rng, (0.38, 0.62), recovers=True)


def _deep_step(plan: Plan, rng: np.random.Generator) -> Plan:
    return _derates(plan, rng, (0.08, 0.24))


def _staircase(plan: Plan, rng: np.random.Generator) -> Plan:
    """Two steps; the temperature stays at its high between them."""
    plan, span = charging_through(plan, rng)
    first = max(float(rng.uniform(0.5, 0.62)), lowest_level(plan))
    second = max(first * float(rng.uniform(0.5, 0.65)), lowest_level(plan))
    middle = on_grid((span.start_s + span.end_s) / 2.0)
    peak = float(rng.uniform(63.0, 85.0))
    rising = heated(plan, span.start_s, peak, rng)
    celsius = Points((*rising.at[:3], middle, middle + 1200.0), (*rising.values[:3], peak, peak - 8.0))
    spans = (Span(span.start_s, middle, first), Span(middle, plan.visit.stay_s, second))
    fault = Span(span.start_s, plan.visit.stay_s, first)
    return replace(plan, course=Course(acceptance=spans, celsius=celsius), faults=(fault,))


def _cycles(plan: Plan, rng: np.random.Generator) -> Plan:
    """Down when hot, up again when cooler, down again when as hot as before."""
    plan, turns = in_turns(plan, rng, 4)
    low = max(float(rng.uniform(0.35, 0.6)), lowest_level(plan))
    peak, cools = float(rng.uniform(63.0, 85.0)), float(rng.uniform(4.0, 9.0))
    first = heated(plan, turns.begins[0], peak, rng)
    at, values = [*first.at[:4]], [*first.values[:4]]
    for begin in turns.begins[1:]:
        at += [begin - turns.gap_s, max(begin - plan.sampling_s() - 30.0, begin - 0.8 * turns.gap_s), begin]
        values += [peak - cools, peak, peak]
    at.append(turns.begins[-1] + turns.length_s)
    values.append(peak - cools)
    cuts = tuple(Span(begin, begin + turns.length_s, low) for begin in turns.begins)
    course = Course(acceptance=cuts, celsius=Points(tuple(at), tuple(values)))
    return replace(plan, course=course, faults=cuts)


HOT: Final = Needs(managed=False, power=True, temperature="charger", sampling_at_most_s=300.0)
THERMAL_MECHANISMS: Final = (
    Mechanism("hot_step", HOT, _one_step),
    Mechanism("hot_step_and_recovery", HOT, _step_and_recovery),
    Mechanism("hot_deep_step", HOT, _deep_step, held_out=True),
    Mechanism("hot_staircase", HOT, _staircase, held_out=True),
    Mechanism("hot_cycles", HOT, _cycles, held_out=True),
    Mechanism("hot_outlet", HOT._replace(kind="ac", temperature="Outlet"), _one_step),
    Mechanism("hot_cable", HOT._replace(kind="dc", temperature="Cable"), _step_and_recovery),
)
