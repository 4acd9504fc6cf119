"""Near-misses of a frozen, jumping or disagreeing register: ordinary sessions with their excuse in the readings."""

from dataclasses import replace
from typing import Final

import numpy as np

from chargewatch.simulate.charging import charging_for, charging_stretch
from chargewatch.simulate.faults import Mechanism
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
from chargewatch.simulate.vehicles import ac_curve

_Tampered = tuple[Observed, Span]
_NOWHERE: Final = Span(0.0, 0.0, 0.0)


def _normal(plan: Plan, rng: np.random.Generator, seconds: float) -> Plan:
    seconds = max(seconds, 3600.0 * plan.station.meter.restrictions().resting_kwh() / plan.power_kw())
    return replace(charging_for(plan, rng, seconds), faults=())


def _charging(plan: Plan, rng: np.random.Generator) -> Plan:
    return _normal(plan, rng, max(12.0 * plan.sampling_s(), 2400.0) * float(rng.uniform(1.0, 1.6)))


# --- like a spike ---------------------------------------------------------------------------------


def _late_bulk(_plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """A stretch of messages waits out a lost connection and arrives after later ones; timestamps are right."""
    count = len(observed.at_ms)
    begin = int(rng.integers(1, max(count // 2, 2)))
    observed.held_back = (begin, min(begin + max(count // 4, 2), count - 1))
    return observed, _NOWHERE


def _inrush(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """The first reading of power stands up to 60 % above the rated power; the register counts as usual."""
    assert observed.power_kw is not None
    first = int(np.argmax(observed.power_kw >= 1.0))
    power = round(plan.station.charger.rated_kw * float(rng.uniform(1.2, 1.6)), 2)
    if observed.phase_power_kw is not None:
        observed.phase_power_kw[:, first] = round(power / len(observed.phase_power_kw), 2)
    observed.power_kw[first] = power
    return observed, _NOWHERE


def _at_rating(plan: Plan, rng: np.random.Generator) -> Plan:
    """A car that takes all that the station can deliver."""
    charger = plan.station.charger
    curve = ac_curve(charger.rated_kw, knee_soc=97.5)
    vehicle = replace(
        plan.vehicle,
        phases=charger.phases,
        current_a=charger.current_a,
        peak_kw=charger.rated_kw,
        curve_kw=curve,
    )
    plan = replace(plan, vehicle=vehicle)
    seconds = min(max(20.0 * plan.sampling_s(), 3600.0), longest_charge_s(plan))
    return _normal(plan, rng, seconds)


def _gap(_plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """Readings are lost over a third to two thirds of charging: the rise is large, and possible."""
    first, last = charging_stretch(observed)
    begin = first + max(int(float(rng.uniform(0.1, 0.3)) * (last - first)), 1)
    end = begin + max(int(float(rng.uniform(0.35, 0.65)) * (last - first)), 1)
    kept = np.ones(len(observed.at_ms), dtype=np.bool_)
    kept[begin + 1 : min(end, len(kept) - 2)] = False
    return keep(observed, kept), _NOWHERE


# --- like a frozen register -----------------------------------------------------------------------


def _coarse_and_slow(plan: Plan, rng: np.random.Generator) -> Plan:
    """A register of whole kWh, or tenths, and a car at its lowest current: it stands for long."""
    coarse = 1000 if rng.random() < 0.6 else 100
    return charging_slowly(plan, rng, coarse, (1.38, 1.9))


def charging_slowly(
    plan: Plan, rng: np.random.Generator, resolution_wh: int, powers_kw: tuple[float, float]
) -> Plan:
    """Returns the plan of a car that charges at one low power, at a meter of another resolution."""
    meter = replace(plan.station.meter, resolution_wh=resolution_wh)
    plan = plain(replace(plan, station=replace(plan.station, meter=meter)))
    low = float(rng.uniform(*powers_kw))
    course = Course(cap_kw=(Span(0.0, FOREVER_S, low),))
    kwh = meter.restrictions().resting_kwh() + float(rng.uniform(0.5, 4.0))
    arrival = max(70.0 - kwh * plan.vehicle.soc_per_kwh(), 3.0)
    stay = plan.visit.start_s + 3600.0 * kwh / low
    visit = replace(plan.visit, arrival_soc=arrival, target_soc=90.0, stay_s=stay)
    return replace(plan, visit=visit, course=course)


def _suspended(plan: Plan, rng: np.random.Generator) -> Plan:
    """The station withdraws its offer; the register stands, and the meter still shows a little power."""
    plan = plain(plan)
    before, after = sides_s(plan, rng)
    plan = with_charge(plan, rng, before + after)
    at = event_at_s(plan, before)
    end = at + on_grid(shown_s(plan.sampling_s(), 900.0) * float(rng.uniform(1.0, 2.0)))
    plan = lasting(plan, end + after + 60.0)
    return replace(plan, course=Course(offer=(Span(at, end, 0.0),)))


def _zero_offset(_plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """While nothing is offered the meter still reads 50 to 95 W."""
    assert observed.power_kw is not None
    floor = round(float(rng.uniform(0.05, 0.095)), 3)
    floors = np.where(observed.offered_kw == 0.0, floor, 0.0)
    observed.power_kw = np.maximum(observed.power_kw, floors)
    if observed.phase_power_kw is not None:
        observed.phase_power_kw = np.maximum(observed.phase_power_kw, np.round(floors / 3.0, 3))
    return observed, _NOWHERE


# --- like a disagreement --------------------------------------------------------------------------

_SPARSE_S: Final = 900.0


def _sparse_ramps(plan: Plan, rng: np.random.Generator) -> Plan:
    """Readings every 15 min; charging begins just after one and ends just before another."""
    meter = replace(plan.station.meter, sampling_s=_SPARSE_S, loss=0.0, clock_aligned=False)
    plan = plain(replace(plan, station=replace(plan.station, meter=meter)))
    intervals = int(rng.integers(3, 5))
    kwh = plan.power_kw() * intervals * _SPARSE_S / 3600.0
    kwh = max(min(kwh, plan.vehicle.kwh_between(5.0, 90.0)), meter.restrictions().resting_kwh())
    intervals = max(intervals, int(np.ceil(3600.0 * kwh / plan.power_kw() / _SPARSE_S)))
    target = 80.5 + float(rng.uniform(0.0, 8.0))
    seconds = intervals * _SPARSE_S - 60.0
    arrival = target - plan.power_kw() * seconds / 3600.0 * plan.vehicle.soc_per_kwh()
    stay = (intervals + 2) * _SPARSE_S + 200.0
    visit = replace(plan.visit, start_s=10.0, arrival_soc=max(arrival, 1.0), target_soc=target, stay_s=stay)
    return replace(plan, visit=visit)


def _losses(_plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """Power is measured at the car's inlet or in the car, after 5 to 12 % were lost; the register at the outlet."""
    assert observed.power_kw is not None
    left = 1.0 - float(rng.uniform(0.05, 0.115))
    observed.power_kw = np.round(observed.power_kw * left, 3)
    observed.power_location = "Inlet" if rng.random() < 0.5 else "EV"
    return observed, _NOWHERE


def _total_power(plan: Plan, rng: np.random.Generator) -> Plan:
    meter = replace(plan.station.meter, power="total")
    return _charging(replace(plan, station=replace(plan.station, meter=meter)), rng)


def _current_off(_plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """Current reads 2 % too high or too low, beside what meters differ by anyway: 5 % in all."""
    assert observed.current_a is not None
    observed.current_a = np.round(observed.current_a * float(rng.choice((0.98, 1.02))), 2)
    return observed, _NOWHERE


_BOTH: Final = Needs(register=True, power=True)

ENERGY_NEAR_MISSES: Final = (
    Mechanism("late_bulk", Needs(register=True), _charging, _late_bulk),
    Mechanism(
        "short_inrush",
        _BOTH._replace(managed=False, sampling_at_most_s=60.0),
        _charging,
        _inrush,
        held_out=True,
    ),
    Mechanism("gap_with_possible_rise", Needs(kind="ac", register=True), _at_rating, _gap),
    Mechanism("coarse_and_slow", _BOTH._replace(kind="ac", managed=False), _coarse_and_slow),
    Mechanism(
        "suspended_with_offset",
        _BOTH._replace(managed=False, offered=True),
        _suspended,
        _zero_offset,
        held_out=True,
    ),
    Mechanism(
        "sparse_ramps",
        _BOTH._replace(kind="ac", managed=False, soc=False, begin_end=True, resolution_at_most_wh=100),
        _sparse_ramps,
        held_out=True,
    ),
    Mechanism("losses_to_the_car", _BOTH, _total_power, _losses),
    Mechanism(
        "current_off", _BOTH._replace(current=True, voltage=True), _charging, _current_off, held_out=True
    ),
)
