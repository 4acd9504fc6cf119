"""Near-misses of the electrical side: healthy sessions that look like a fault and, by the definitions, are none.

Each one carries in its readings (or declares) the evidence that excuses it, in the words of the
column "it is not this" of ``categories.md``.
"""

from array import array
from dataclasses import replace
from typing import Final

import numpy as np

from chargewatch.simulate.behaviour import FULL_SOC
from chargewatch.simulate.chargers import NOMINAL_V
from chargewatch.simulate.electrical_faults import (
    HOT,
    VOLTAGE,
    charging_through,
    heated,
    in_turns,
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
from chargewatch.simulate.vehicles import CURVE_POINTS, ac_curve

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


def _above_full(_plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """Figures from 101 to 254 stand in its place now and then: a byte that nobody has set."""
    assert observed.soc is not None
    chosen = rng.random(len(observed.soc)) < 0.15
    chosen[int(rng.integers(len(chosen)))] = True
    observed.soc[chosen] = rng.integers(101, 255, size=int(chosen.sum())).astype(np.float64)
    return observed, _NOWHERE


def _gives_back(plan: Plan, rng: np.random.Generator) -> Plan:
    """The car charges, then feeds the grid; its state of charge falls to no less than 80 %."""
    plan = plain(plan)
    power = min(plan.power_kw(), 10.0)
    vehicle = replace(plan.vehicle, curve_kw=ac_curve(power, knee_soc=98.0))
    target = float(rng.uniform(90.0, 95.0))
    kwh = plan.station.meter.restrictions().resting_kwh() + float(rng.uniform(0.5, 8.0))
    arrival = max(target - kwh * vehicle.soc_per_kwh(), 3.0)
    charge_s = 3600.0 * vehicle.kwh_between(arrival, target) / power
    export_s = 3600.0 * vehicle.kwh_between(0.0, float(rng.uniform(5.0, target - 81.0))) / power
    stay = plan.visit.start_s + charge_s + 300.0 + export_s + float(rng.uniform(400.0, 1200.0))
    visit = replace(
        plan.visit,
        arrival_soc=arrival,
        target_soc=target,
        stay_s=stay,
        leaves_after_s=None,
        afterwards=(Span(300.0, 300.0 + export_s, -power),),
    )
    return replace(plan, vehicle=vehicle, visit=visit)


def _export_sent(_plan: Plan, observed: Observed, _rng: np.random.Generator) -> _Tampered:
    observed.sends_export = True
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


def _solar_switching(plan: Plan, rng: np.random.Generator) -> Plan:
    """Three phases, one, three again … as the sun goes; at each switch all phases rest for a few readings."""
    plan, turns = in_turns(with_phases(plan, 3), rng, 4, readings=6.0)
    rest_s = 2.0 * plan.sampling_s() + 20.0
    rests: list[Span] = []
    caps = [Span(0.0, FOREVER_S, float(rng.uniform(4.3, 5.2)))]
    ones: list[Span] = []
    for begin in turns.begins:
        end = begin + turns.length_s
        rests += [Span(begin, begin + rest_s, 0.0), Span(end, end + rest_s, 0.0)]
        ones.append(Span(begin, end, 1.0))
        caps.append(Span(begin, end, float(rng.uniform(1.6, 3.5))))
    course = Course(acceptance=tuple(rests), cap_kw=tuple(caps), phases=tuple(ones))
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
    share = float(rng.choice((0.95, 1.05)))
    return with_volts(plan, rng, (share, share, share))[0]


def _to_the_edge(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """Moves the voltages of the span so that the outermost lies at 8.5 to 9.9 % of the nominal one.

    Where the session's usual voltage may stand for two nominal ones, it is the edge at which both say so.
    The currents change the other way, so that the power stays.
    """
    assert observed.voltage_v is not None
    start, end, shares = plan.course.volts[0]
    at, middle = observed.at_s(), float(np.median(observed.voltage_v))
    window = (at >= start) & (at < end)
    if not window.any():
        return observed, _NOWHERE
    possible = [volts for volts in NOMINAL_V if abs(volts / middle - 1.0) < 0.06]
    nearest = min(possible, key=lambda volts: abs(volts - middle))
    high = shares[0] > 1.0 if len(possible) == 1 else nearest == min(possible)
    edge, inside = float(rng.uniform(0.085, 0.099)), observed.voltage_v[:, window]
    outermost = inside.max() if high else inside.min()
    factor = nearest * (1.0 + edge if high else 1.0 - edge) / float(outermost)
    observed.voltage_v[:, window] = np.round(inside * factor, 1)
    if observed.current_a is not None:
        observed.current_a[:, window] = np.round(observed.current_a[:, window] / factor, 2)
    return observed, _NOWHERE


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


def _hot_taper(plan: Plan, rng: np.random.Generator) -> Plan:
    """Hot throughout, and the battery takes less and less as it fills: no step, and the state of charge tells."""
    plan = plain(plan)
    power, knee = plan.power_kw(), float(rng.uniform(66.0, 72.0))
    share = np.interp(np.linspace(0.0, 100.0, CURVE_POINTS), (0.0, knee, 95.0, 100.0), (1.0, 1.0, 0.3, 0.2))
    vehicle = replace(plan.vehicle, curve_kw=array("d", power * share))
    lead_s = 6.0 * plan.sampling_s() + float(rng.uniform(60.0, 400.0))
    arrival = max(knee - power * lead_s / 3600.0 * vehicle.soc_per_kwh(), 3.0)
    visit = replace(
        plan.visit, arrival_soc=arrival, target_soc=94.0, stay_s=4.0 * 3600.0, leaves_after_s=60.0
    )
    at, peak = plan.visit.start_s + lead_s, float(rng.uniform(63.0, 78.0))
    celsius = Points((0.0, at, at + 7200.0), (float(rng.uniform(24.0, 36.0)), peak, peak + 2.0))
    return replace(plan, vehicle=vehicle, visit=visit, course=Course(celsius=celsius))


def _shares_with_neighbour(plan: Plan, rng: np.random.Generator) -> Plan:
    """A second car comes to the other outlet and goes: this one is offered a part, and takes it."""
    plan, turns = in_turns(plan, rng, 3, readings=4.0)
    part = float(rng.uniform(0.12, 0.24) if rng.random() < 0.5 else rng.uniform(0.4, 0.6))
    share = part * plan.power_kw() / plan.station.charger.rated_kw
    offer = tuple(Span(at, at + turns.length_s, share) for at in turns.begins)
    return replace(plan, course=Course(offer=offer))


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
    Mechanism("soc_above_full", _SOC, _quiet, _above_full),
    Mechanism("v2g_soc_falls", _SOC, _gives_back, _export_sent, held_out=True),
    Mechanism("one_phase_car", _PHASES, _one_phase_car),
    Mechanism("two_phase_car", _PHASES, _two_phase_car, held_out=True),
    Mechanism("switch_through_zero", _PHASES._replace(sampling_at_most_s=60.0), _switch_through_zero),
    Mechanism(
        "solar_switching",
        _PHASES._replace(power=True, sampling_at_most_s=60.0),
        _solar_switching,
    ),
    Mechanism("phase_drop_nearly_full", _PHASES._replace(soc=True), _drop_when_nearly_full, held_out=True),
    Mechanism("voltage_within_band", VOLTAGE, _within_the_band, _to_the_edge),
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
    Mechanism(
        "hot_taper", HOT._replace(kind="dc", soc=True, sampling_at_most_s=60.0), _hot_taper, held_out=True
    ),
    Mechanism(
        "dc_shared_outlets",
        Needs(kind="dc", managed=False, power=True, offered=True, sampling_at_most_s=60.0),
        _shares_with_neighbour,
    ),
)
