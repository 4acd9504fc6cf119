"""Near-misses of delivery: ordinary sessions that look like a fault and, by the definitions, are none.

Each one carries in its readings (or declares) the evidence that excuses it, in the words of the
column "it is not this" of ``categories.md``. Near-misses of a falling register are in
``register_near_misses``.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from chargewatch.domain.vocabulary import Measurand
from chargewatch.simulate.behaviour import FULL_SOC
from chargewatch.simulate.faults import (
    KNOWN_SOC,
    UNMANAGED,
    Mechanism,
    pit_length_s,
    pits,
    rest_s,
    stop_after,
    without_charge,
)
from chargewatch.simulate.meters import Observed, keep
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
from chargewatch.simulate.records import Span
from chargewatch.simulate.stations import Needs
from chargewatch.simulate.truth import Course
from chargewatch.simulate.vehicles import PHASE_VOLTAGE_KV, ac_curve

_Tampered = tuple[Observed, Span]
_NOWHERE: Final = Span(0.0, 0.0, 0.0)


def _resting_s(plan: Plan) -> float:
    """How long the car charges until it may rest without its state of charge being known."""
    return 3600.0 * plan.station.meter.restrictions().resting_kwh() / plan.power_kw()


# --- like a pit -----------------------------------------------------------------------------------


def _with_pause(plan: Plan, rng: np.random.Generator) -> tuple[Plan, Span]:
    """Returns a plan with charging before and after a pause, and the pause."""
    plan = plain(plan)
    before, after = sides_s(plan, rng)
    plan = with_charge(plan, rng, before + after)
    at = event_at_s(plan, before)
    end = at + pit_length_s(plan, rng, share_shown=1.0)
    return lasting(plan, end + after + 60.0), Span(at, end, 0.0)


def _offer_falls(plan: Plan, rng: np.random.Generator) -> Plan:
    """The offer goes to zero (or on DC nearly) and comes back: load management without a declaration."""
    plan, pause = _with_pause(plan, rng)
    share = 0.0 if plan.station.charger.kind == "ac" or rng.random() < 0.5 else 0.04
    return replace(plan, course=Course(offer=(pause._replace(value=share),)))


def _managed_pause(plan: Plan, rng: np.random.Generator) -> Plan:
    """The operator pauses a car on a station declared as managed; the offer may not be among the readings."""
    plan, pause = _with_pause(plan, rng)
    return replace(plan, course=Course(offer=(pause,)))


def _step_to_lower_level(plan: Plan, rng: np.random.Generator) -> Plan:
    """The power falls to a steady lower level and stays there until the car leaves."""
    plan, pause = _with_pause(plan, rng)
    cap = max(float(rng.uniform(0.12, 0.24)) * plan.power_kw(), 1.4)
    plan = lasting(plan, pause.end_s + 900.0)
    return replace(plan, course=Course(cap_kw=(Span(pause.start_s, FOREVER_S, cap),)))


def _long_pause(plan: Plan, rng: np.random.Generator) -> Plan:
    """More than two hours without energy, after more than 3 kWh and with the state of charge unknown."""
    plan = plain(plan)
    before, after = max(sides_s(plan, rng)[0], 1.1 * _resting_s(plan)), shown_s(plan.sampling_s(), 300.0)
    plan = with_charge(plan, rng, before + after)
    at = event_at_s(plan, before)
    end = at + rest_s(plan, rng, 7200.0, 18000.0) + 2.0 * plan.sampling_s()
    plan = lasting(plan, end + after + 60.0)
    return replace(plan, course=Course(acceptance=(Span(at, end, 0.0),)))


def _nearly_full_pause(plan: Plan, rng: np.random.Generator) -> Plan:
    """The car pauses with the state of charge at 95 % or more, as balancing cars do."""
    plan, pause = _with_pause(plan, rng)
    lead = min(pause.start_s, 1800.0)
    soc = float(rng.uniform(95.6, 96.0)) - plan.power_kw() * lead / 3600.0 * plan.vehicle.soc_per_kwh()
    at = event_at_s(plan, lead)
    end = at + min(pause.end_s - pause.start_s, 3600.0)
    visit = replace(
        plan.visit, arrival_soc=soc, target_soc=FULL_SOC, stay_s=max(plan.visit.stay_s, end + 1800.0)
    )
    vehicle = replace(plan.vehicle, curve_kw=ac_curve(plan.vehicle.peak_kw, knee_soc=98.5))
    return replace(plan, visit=visit, vehicle=vehicle, course=Course(acceptance=(Span(at, end, 0.0),)))


def _charging_through(plan: Plan, rng: np.random.Generator) -> Plan:
    plan = plain(plan)
    charge = max(10.0 * plan.sampling_s(), 1800.0) * float(rng.uniform(1.0, 2.0))
    charge = min(charge, longest_charge_s(plan))
    plan = with_charge(plan, rng, charge)
    return lasting(plan, plan.visit.start_s + charge + 60.0)


def _readings_missing(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """Readings are lost for a while in the middle of charging; the register shows that it went on."""
    at, energy = observed.at_s(), observed.energy_kwh
    charging = float(at[np.searchsorted(energy, 0.95 * energy[-1])]) - plan.visit.start_s
    begin = plan.visit.start_s + float(rng.uniform(0.2, 0.35)) * charging
    end = begin + float(rng.uniform(0.3, 0.5)) * charging
    kept = (at < begin) | (at > end)
    kept[:2] = kept[-2:] = True
    return keep(observed, kept), Span(begin, end, 0.0)


def _phase_switch(plan: Plan, rng: np.random.Generator) -> Plan:
    """Three phases at low current, a short pause, one phase at high current; or the other way round."""
    curve = ac_curve(3 * 16 * PHASE_VOLTAGE_KV, knee_soc=97.5)
    plan = replace(
        plan, vehicle=replace(plan.vehicle, phases=3, current_a=16.0, peak_kw=11.04, curve_kw=curve)
    )
    plan, pause = _with_pause(plan, rng)
    end = pause.start_s + min(pause.end_s - pause.start_s, max(600.0, shown_s(plan.sampling_s(), 180.0)))
    three, one = float(rng.uniform(4.3, 5.4)), 16 * PHASE_VOLTAGE_KV
    first, second = ((3.0, three), (1.0, one)) if rng.random() < 0.5 else ((1.0, one), (3.0, three))
    course = Course(
        acceptance=(Span(pause.start_s, end, 0.0),),
        cap_kw=(Span(0.0, pause.start_s, first[1]), Span(end, FOREVER_S, second[1])),
        phases=(Span(0.0, pause.start_s, first[0]), Span(pause.start_s, FOREVER_S, second[0])),
    )
    return replace(plan, course=course)


def _short_dip(plan: Plan, rng: np.random.Generator) -> Plan:
    """Nothing flows for less than three minutes."""
    plan, pause = _with_pause(plan, rng)
    longest = 160.0 - 2.0 * plan.sampling_s()
    end = pause.start_s + on_grid(float(rng.uniform(20.0, longest)))
    return replace(plan, course=Course(acceptance=(pause._replace(end_s=end),)))


def _shallow_dip(plan: Plan, rng: np.random.Generator) -> Plan:
    """The power falls to about half and comes back, as when two outlets share a rectifier."""
    return replace(pits(plan, rng, shares=(0.4, 0.65), share_shown=1.0), faults=())


def _low_recovery(plan: Plan, rng: np.random.Generator) -> Plan:
    """The power comes back to less than half of the level before."""
    return replace(pits(plan, rng, shares=(0.0, 0.15), recovery=(0.3, 0.42), share_shown=1.0), faults=())


# --- like charging that breaks off ----------------------------------------------------------------


def _taper_before_end(plan: Plan, rng: np.random.Generator) -> Plan:
    """Less than 3 kWh into an almost full battery, ending in a taper; the offer stands."""
    plan = plain(plan)
    curve = ac_curve(plan.power_kw(), knee_soc=97.5)
    vehicle = replace(plan.vehicle, capacity_kwh=min(plan.vehicle.capacity_kwh, 45.0), curve_kw=curve)
    arrival = FULL_SOC - float(rng.uniform(2.0, 2.7)) * vehicle.soc_per_kwh()
    stay = float(rng.uniform(3.0, 9.0)) * 3600.0
    visit = replace(plan.visit, arrival_soc=arrival, target_soc=FULL_SOC, stay_s=stay)
    return replace(plan, visit=visit, vehicle=vehicle)


def _stop(plan: Plan, rng: np.random.Generator, kwh: float) -> Plan:
    rest = rest_s(plan, rng, 3600.0, 5400.0 if plan.station.charger.kind == "dc" else 18000.0)
    return replace(stop_after(plan, rng, kwh, rest), faults=())


def _own_limit(plan: Plan, rng: np.random.Generator) -> Plan:
    """The car stops abruptly after 3 kWh or more; its state of charge is unknown and the offer stands."""
    least = plan.station.meter.restrictions().resting_kwh()
    return _stop(plan, rng, float(rng.uniform(least, max(0.5 * plan.vehicle.capacity_kwh, least + 1.0))))


def _offer_withdrawn(plan: Plan, rng: np.random.Generator) -> Plan:
    """The offer goes to zero and charging with it, until the car leaves."""
    restrictions = plan.station.meter.restrictions()
    stopped = _stop(plan, rng, float(rng.uniform(restrictions.least_kwh(), restrictions.least_kwh() + 8.0)))
    (stop,) = stopped.course.acceptance
    return replace(stopped, course=Course(offer=(stop,)))


def _stops_at_target(plan: Plan, rng: np.random.Generator) -> Plan:
    """The car stops at the 80 % or more that its driver set, and stays."""
    visit = replace(plan.visit, target_soc=float(rng.choice((80.6, 85.0, 90.0))))
    plan = with_charge(plain(replace(plan, visit=visit)), rng, min(900.0, 0.4 * longest_charge_s(plan)))
    charging = (
        3600.0 * plan.vehicle.kwh_between(plan.visit.arrival_soc, plan.visit.target_soc) / plan.power_kw()
    )
    stay = 2.5 * charging + rest_s(plan, rng, 2400.0, 10800.0)
    return replace(plan, visit=replace(plan.visit, stay_s=stay, leaves_after_s=None))


def _target_sent(plan: Plan, rng: np.random.Generator) -> Plan:
    """The car stops below 80 %, at the target that it reports (OCPP 2.1 Display.TargetSOC)."""
    plan = plain(plan)
    visit = replace(plan.visit, target_soc=float(rng.choice((60.0, 70.0, 75.0))) + 0.6)
    least = plan.station.meter.restrictions().least_kwh()
    arrival = visit.target_soc - float(rng.uniform(least, least + 12.0)) * plan.vehicle.soc_per_kwh()
    charging = 3600.0 * plan.vehicle.kwh_between(arrival, visit.target_soc) / plan.power_kw()
    stay = charging + rest_s(plan, rng, 3600.0, 14400.0)
    return replace(
        plan, visit=replace(visit, arrival_soc=max(arrival, 5.0), stay_s=stay, leaves_after_s=None)
    )


def _add_target(plan: Plan, observed: Observed, _rng: np.random.Generator) -> _Tampered:
    observed.extra[Measurand.DISPLAY_TARGET_SOC] = np.full(
        len(observed.at_ms), round(plan.visit.target_soc - 0.6)
    )
    return observed, _NOWHERE


def _scheduled_start(plan: Plan, rng: np.random.Generator) -> Plan:
    """Nothing until the tariff's hour, then an ordinary session."""
    plan = plain(plan)
    charge = max(_resting_s(plan), shown_s(plan.sampling_s(), 600.0))
    plan = with_charge(plan, rng, charge)
    start = max(float(rng.uniform(2400.0, 21600.0)), shown_s(plan.sampling_s(), 2400.0))
    visit = replace(plan.visit, start_s=start, stay_s=start + charge + float(rng.uniform(600.0, 14400.0)))
    return replace(plan, visit=visit)


def _short_rest(plan: Plan, rng: np.random.Generator) -> Plan:
    """Charging breaks off below 80 %, and the car is gone within 25 minutes."""
    kwh = plan.station.meter.restrictions().least_kwh() + float(rng.uniform(0.0, 6.0))
    return replace(stop_after(plan, rng, kwh, float(rng.uniform(700.0, 1400.0))), faults=())


# --- like a session without energy ----------------------------------------------------------------


def _full_at_start(plan: Plan, rng: np.random.Generator) -> Plan:
    """A full car is plugged in."""
    stay = float(rng.uniform(900.0, 3000.0 if plan.station.charger.kind == "dc" else 28800.0))
    plan = without_charge(plan, max(stay, shown_s(plan.sampling_s(), 300.0)))
    return replace(plan, visit=replace(plan.visit, arrival_soc=float(rng.uniform(95.6, 99.8))), faults=())


def _short_test_plug(plan: Plan, rng: np.random.Generator) -> Plan:
    """Plugged in for less than five minutes, nothing delivered."""
    plan = without_charge(plan, float(rng.uniform(25.0, 285.0)))
    return replace(plan, visit=replace(plan.visit, arrival_soc=float(rng.uniform(20, 90))), faults=())


def _clock_stray(plan: Plan, rng: np.random.Generator) -> Plan:
    stay = (1.2 + float(rng.uniform(0.0, 1.5))) * plan.sampling_s()
    return replace(without_charge(plan, stay), faults=())


def _only_clock_readings(_plan: Plan, observed: Observed, _rng: np.random.Generator) -> _Tampered:
    """All that arrives is a clock-aligned reading or two that the station would have sent anyway."""
    kept = np.array([context == "Sample.Clock" for context in observed.contexts])
    return keep(observed, kept), _NOWHERE


def _tiny_delivery(plan: Plan, rng: np.random.Generator) -> Plan:
    """A little energy at a real power, and the car is gone ten minutes later."""
    rest = float(rng.uniform(120.0, 600.0))
    plan = stop_after(plan, rng, float(rng.uniform(0.2, 0.45)), rest)
    return replace(plan, faults=())


def _warming_battery(plan: Plan, rng: np.random.Generator) -> Plan:
    """A cold battery takes a quarter to two thirds at first, and more and more as charging warms it."""
    plan = plain(plan)
    warm = on_grid(float(rng.uniform(360.0, 1800.0)))
    plan = with_charge(plan, rng, min(0.6 * warm + float(rng.uniform(240.0, 900.0)), longest_charge_s(plan)))
    at, steps = event_at_s(plan, 0.0), int(warm // 20.0)
    progress = (np.arange(steps) / steps) ** float(rng.choice((0.6, 1.0, 1.6)))
    least = float(rng.uniform(0.25, 0.65))
    spans = tuple(
        Span(at + 20.0 * i, at + 20.0 * (i + 1), least + (1.0 - least) * share)
        for i, share in enumerate(progress.tolist())
    )
    plan = lasting(plan, at + warm + float(rng.uniform(120.0, 600.0)))
    return replace(plan, course=Course(acceptance=(Span(0.0, at, least), *spans)))


_KNOWN_AC_SOC: Final = KNOWN_SOC._replace(kind="ac")
_BLIND_AC: Final = Needs(kind="ac", managed=False, soc=False, offered=True)

DELIVERY_NEAR_MISSES: Final = (
    Mechanism("offer_falls_with_pit", Needs(managed=False, offered=True), _offer_falls),
    Mechanism("managed_pause", Needs(managed=True), _managed_pause, held_out=True),
    Mechanism("step_to_lower_level", UNMANAGED, _step_to_lower_level),
    Mechanism("long_pause", Needs(kind="ac", managed=False, soc=False), _long_pause, held_out=True),
    Mechanism(
        "nearly_full_pause",
        _KNOWN_AC_SOC._replace(sampling_at_most_s=300.0),
        _nearly_full_pause,
        held_out=True,
    ),
    Mechanism("readings_missing", Needs(managed=False, register=True), _charging_through, _readings_missing),
    Mechanism(
        "phase_switch",
        Needs(kind="ac", phases=3, managed=False, power=True, current=True, sampling_at_most_s=300.0),
        _phase_switch,
        held_out=True,
    ),
    Mechanism("short_dip", Needs(managed=False, power=True, sampling_at_most_s=30.0), _short_dip),
    Mechanism("shallow_dip", UNMANAGED, _shallow_dip, held_out=True),
    Mechanism("low_recovery", UNMANAGED, _low_recovery),
    Mechanism(
        "taper_before_end",
        _BLIND_AC._replace(power=True, sampling_at_most_s=60.0, resolution_at_most_wh=100),
        _taper_before_end,
        held_out=True,
    ),
    Mechanism("own_limit", _BLIND_AC, _own_limit),
    Mechanism("offer_withdrawn", Needs(managed=False, offered=True), _offer_withdrawn, held_out=True),
    Mechanism("stops_at_target", KNOWN_SOC, _stops_at_target),
    Mechanism("target_sent", _KNOWN_AC_SOC, _target_sent, _add_target, held_out=True),
    Mechanism("scheduled_start", Needs(kind="ac", managed=False), _scheduled_start),
    Mechanism("short_rest", KNOWN_SOC._replace(sampling_at_most_s=300.0), _short_rest),
    Mechanism("full_at_start", Needs(soc=True), _full_at_start, held_out=True),
    Mechanism("short_test_plug", Needs(), _short_test_plug),
    Mechanism("clock_stray", Needs(clock_aligned=True), _clock_stray, _only_clock_readings, held_out=True),
    Mechanism(
        "tiny_delivery",
        Needs(kind="ac", managed=False, begin_end=True, resolution_at_most_wh=10),
        _tiny_delivery,
    ),
    Mechanism(
        "warming_battery",
        Needs(kind="dc", managed=False, power=True, sampling_at_most_s=60.0),
        _warming_battery,
    ),
)
