"""Near-misses of the electrical side: healthy sessions that look like a fault and, by the definitions, are none.

Each one carries in its readings (or declares) the evidence that excuses it, in the words of the
column "it is not this" of ``categories.md``.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from chargewatch.simulate.behaviour import FULL_SOC
from chargewatch.simulate.electrical_faults import (
    HOT,
    VOLTAGE,
    charging_through,
    heated,
    lowest_level,
    with_phases,
    with_volts,
)
from chargewatch.simulate.faults import Mechanism
from chargewatch.simulate.meters import Observed
from chargewatch.simulate.plans import FOREVER_S, Plan, event_at_s, plain
from chargewatch.simulate.records import Span
from chargewatch.simulate.stations import Needs
from chargewatch.simulate.truth import Course, Points
from chargewatch.simulate.vehicles import ac_curve

_Tampered = tuple[Observed, Span]
_NOWHERE: Final = Span(0.0, 0.0, 0.0)


def _quiet(plan: Plan, rng: np.random.Generator) -> Plan:
    return charging_through(plan, rng)[0]


# --- like a falling state of charge ---------------------------------------------------------------


def _two_points(_plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """The count is corrected by two points, once; then it rises from there."""
    assert observed.soc is not None
    at = int(rng.integers(1, max(len(observed.soc) - 1, 2)))
    fall = 2.0 + observed.soc[at] - observed.soc[at - 1]
    observed.soc[at:] = np.maximum(observed.soc[at:] - fall, 1.0)
    return observed, _NOWHERE


def _to_the_top(plan: Plan, _rng: np.random.Generator) -> Plan:
    """A car that charges the last points, slowly, up to full."""
    plan = plain(plan)
    curve = ac_curve(min(plan.power_kw(), 11.0), knee_soc=97.5)
    vehicle = replace(plan.vehicle, curve_kw=curve)
    visit = replace(plan.visit, arrival_soc=88.0, target_soc=FULL_SOC, stay_s=8 * 3600.0, leaves_after_s=None)
    return replace(plan, vehicle=vehicle, visit=visit)


def _recalibrated(_plan: Plan, observed: Observed, _rng: np.random.Generator) -> _Tampered:
    """At the top the count falls from 100 to 97 per cent and climbs again."""
    assert observed.soc is not None
    full = np.flatnonzero(observed.soc >= 100.0)
    if len(full):
        observed.soc[full[1 : 1 + max(len(full) // 2, 1)]] = 97.0
    return observed, _NOWHERE


def _placeholders(_plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """What is no state of charge stands in its place now and then."""
    assert observed.soc is not None
    chosen = rng.random(len(observed.soc)) < 0.15
    chosen[0] = True
    observed.soc[chosen] = rng.choice((0.0, 65535.0, 255.0), size=int(chosen.sum()))
    return observed, _NOWHERE


# --- like a lost phase ----------------------------------------------------------------------------


def _one_phase_car(plan: Plan, rng: np.random.Generator) -> Plan:
    return _quiet(with_phases(plan, 1), rng)


def _two_phase_car(plan: Plan, rng: np.random.Generator) -> Plan:
    return _quiet(with_phases(plan, 2), rng)


def _switch_through_zero(plan: Plan, rng: np.random.Generator) -> Plan:
    """From three phases to one; all of them pass through zero together, and the readings show it."""
    plan, span = charging_through(with_phases(plan, 3), rng)
    zero = Span(span.start_s, span.start_s + 2.0 * plan.sampling_s() + 20.0, 0.0)
    course = Course(acceptance=(zero,), phases=(Span(span.start_s, FOREVER_S, 1.0),))
    return replace(plan, course=course)


def _drop_when_nearly_full(plan: Plan, rng: np.random.Generator) -> Plan:
    """With more than 90 % the car goes on with one phase."""
    plan, span = charging_through(with_phases(plan, 3), rng)
    gained = plan.power_kw() * (span.start_s - plan.visit.start_s) / 3600.0 * plan.vehicle.soc_per_kwh()
    visit = replace(plan.visit, arrival_soc=max(92.5 - gained, 1.0), target_soc=FULL_SOC)
    charged = 92.5 - visit.arrival_soc
    at = event_at_s(plan, 3600.0 * charged / plan.vehicle.soc_per_kwh() / plan.power_kw())
    visit = replace(visit, stay_s=at + 4.0 * plan.sampling_s() + 300.0)
    return replace(plan, visit=visit, course=Course(phases=(Span(at, FOREVER_S, 1.0),)))


# --- like a voltage out of range ------------------------------------------------------------------


def _within_the_band(plan: Plan, rng: np.random.Generator) -> Plan:
    share = float(rng.choice((0.95, 1.05)))  # with the site's ±3 % still within ±10 %
    return with_volts(plan, rng, (share, share, share))[0]


def _one_reading_out(_plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """A single reading is out of range."""
    assert observed.voltage_v is not None
    at = int(rng.integers(1, max(len(observed.at_ms) - 1, 2)))
    observed.voltage_v[:, at] = np.round(observed.voltage_v[:, at] * float(rng.choice((0.7, 1.3))), 1)
    return observed, _NOWHERE


def _offset_meter(plan: Plan, observed: Observed, _rng: np.random.Generator) -> _Tampered:
    """The meter reads up to 0.5 % beyond the band, on a phase that is otherwise at its nominal voltage."""
    assert observed.voltage_v is not None
    nominal, at = plan.station.charger.voltage_v, observed.at_s()
    observed.voltage_v *= nominal / float(np.median(observed.voltage_v))
    high = slice(*np.searchsorted(at, (0.6 * at[-1], 0.6 * at[-1] + 3.0 * plan.sampling_s())).tolist())
    observed.voltage_v[:, high] = np.round(1.104 * nominal, 1)
    observed.voltage_v = np.round(observed.voltage_v, 1)
    return observed, _NOWHERE


def _wide_pack(plan: Plan, rng: np.random.Generator) -> Plan:
    """The battery's voltage on DC rises by more than a tenth during the session."""
    plan = _quiet(plan, rng)
    low, high = (300.0, 430.0) if plan.station.charger.rated_kw < 120 else (560.0, 890.0)
    return replace(plan, course=Course(pack_v=Points((0.0, 100.0), (low, high))))


# --- like a charger that derates ------------------------------------------------------------------


def _step(plan: Plan, rng: np.random.Generator, share: float, peak_c: float | None) -> Plan:
    plan, span = charging_through(plan, rng)
    celsius = None if peak_c is None else heated(plan, span.start_s, peak_c, rng)
    cut = Span(span.start_s, FOREVER_S, max(share, lowest_level(plan)))
    return replace(plan, course=Course(acceptance=(cut,), celsius=celsius))


def _ev_side_hot(plan: Plan, rng: np.random.Generator) -> Plan:
    return _step(plan, rng, float(rng.uniform(0.35, 0.6)), float(rng.uniform(62.0, 75.0)))


def _small_step(plan: Plan, rng: np.random.Generator) -> Plan:
    return _step(plan, rng, float(rng.uniform(0.79, 0.83)), float(rng.uniform(63.0, 80.0)))


def _warm_step(plan: Plan, rng: np.random.Generator) -> Plan:
    return _step(plan, rng, float(rng.uniform(0.35, 0.6)), float(rng.uniform(55.0, 58.5)))


def _cold_step(plan: Plan, rng: np.random.Generator) -> Plan:
    return _step(plan, rng, float(rng.uniform(0.35, 0.6)), None)


def _hot_without_step(plan: Plan, rng: np.random.Generator) -> Plan:
    """Hot in summer, and nothing happens until the car is unplugged."""
    plan, span = charging_through(plan, rng)
    return replace(
        plan, course=Course(celsius=heated(plan, span.start_s, float(rng.uniform(61.0, 75.0)), rng))
    )


def _offer_steps_down(plan: Plan, rng: np.random.Generator) -> Plan:
    """Hot, and the operator offers less: the offer among the readings falls as the power does."""
    plan, span = charging_through(plan, rng)
    charger, share = plan.station.charger, float(rng.uniform(0.4, 0.6))
    if charger.kind == "dc":
        share *= plan.power_kw() / charger.rated_kw
    else:
        drawn_a = 1000.0 * plan.power_kw() / (charger.phases_with(plan.vehicle) * charger.voltage_v)
        share = max(share * drawn_a, 6.2) / charger.current_a
    course = Course(
        offer=(Span(span.start_s, FOREVER_S, share),),
        celsius=heated(plan, span.start_s, float(rng.uniform(63.0, 80.0)), rng),
    )
    return replace(plan, course=course)


_SOC: Final = Needs(soc=True, power=True, managed=False, sampling_at_most_s=300.0)
_PHASES: Final = Needs(kind="ac", phases=3, managed=False, current=True, sampling_at_most_s=300.0)
ELECTRICAL_NEAR_MISSES: Final = (
    Mechanism("soc_two_points", _SOC, _quiet, _two_points),
    Mechanism("soc_recalibration", _SOC._replace(kind="ac"), _to_the_top, _recalibrated, held_out=True),
    Mechanism("soc_placeholders", _SOC, _quiet, _placeholders, held_out=True),
    Mechanism("one_phase_car", _PHASES, _one_phase_car),
    Mechanism("two_phase_car", _PHASES, _two_phase_car, held_out=True),
    Mechanism("switch_through_zero", _PHASES._replace(sampling_at_most_s=60.0), _switch_through_zero),
    Mechanism("phase_drop_nearly_full", _PHASES._replace(soc=True), _drop_when_nearly_full, held_out=True),
    Mechanism("voltage_within_band", VOLTAGE, _within_the_band),
    Mechanism("voltage_one_reading", VOLTAGE, _quiet, _one_reading_out),
    Mechanism("voltage_meter_offset", VOLTAGE, _quiet, _offset_meter, held_out=True),
    Mechanism("dc_voltage", Needs(kind="dc", managed=False, voltage="outlet"), _wide_pack),
    Mechanism("line_voltage", VOLTAGE._replace(phases=3, voltage="lines"), _quiet, held_out=True),
    Mechanism("ev_side_hot", HOT._replace(temperature="car"), _ev_side_hot),
    Mechanism("hot_small_step", HOT, _small_step, held_out=True),
    Mechanism("warm_step", HOT, _warm_step),
    Mechanism("cold_step", HOT, _cold_step, held_out=True),
    Mechanism("hot_without_step", HOT, _hot_without_step),
    Mechanism("hot_offer_steps_down", HOT._replace(offered=True), _offer_steps_down, held_out=True),
)
