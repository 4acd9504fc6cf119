"""Normal behaviour with unusual figures, by another author: each is in the closing list of ``categories.md``.

Written after the base model, from that list alone. Any release must stay quiet on it, and nothing learns from it
(``catalogue.UNSEEN_NORMALS``).
"""

from array import array
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from chargewatch.simulate.behaviour import FULL_SOC
from chargewatch.simulate.faults import Mechanism
from chargewatch.simulate.meters import Observed
from chargewatch.simulate.plans import FOREVER_S, Plan, event_at_s, on_grid, plain, with_charge
from chargewatch.simulate.records import Span
from chargewatch.simulate.stations import Needs
from chargewatch.simulate.truth import Course
from chargewatch.simulate.vehicles import CURVE_POINTS, PHASE_VOLTAGE_KV, ac_curve

_Tampered = tuple[Observed, Span]
_NOWHERE: Final = Span(0.0, 0.0, 0.0)
_HOUR: Final = 3600.0


def _charging(plan: Plan, rng: np.random.Generator, low_h: float, high_h: float) -> Plan:
    """A car that charges for so many hours, or to nearly full, and leaves."""
    plan = plain(plan)
    plan = replace(plan, visit=replace(plan.visit, target_soc=FULL_SOC))
    seconds = _HOUR * float(rng.uniform(low_h, high_h))
    plan = with_charge(plan, rng, seconds)
    return _leaving(plan, event_at_s(plan, seconds))


def _leaving(plan: Plan, stay_s: float) -> Plan:
    return replace(plan, visit=replace(plan.visit, stay_s=on_grid(stay_s), leaves_after_s=None))


def _steps(
    rng: np.random.Generator, plan: Plan, minutes: tuple[float, float], draw: Callable[[], float]
) -> tuple[Span, ...]:
    """Values that hold for so many minutes each, from the start to the end of the stay."""
    spans: list[Span] = []
    at = on_grid(plan.visit.start_s)
    while at < plan.visit.stay_s:
        end = on_grid(at + 60.0 * float(rng.uniform(*minutes)))
        spans.append(Span(at, end, draw()))
        at = end
    return tuple(spans)


# --- batteries ------------------------------------------------------------------------------------


def _cold_ramp(plan: Plan, rng: np.random.Generator) -> Plan:
    """A battery far below zero: 25 to 45 % at first, and a straight way up for 10 to 25 minutes."""
    plan = _charging(plan, rng, 0.4, 0.9)
    low, rise = float(rng.uniform(0.25, 0.45)), float(rng.uniform(600.0, 1500.0))
    begin = on_grid(plan.visit.start_s)
    shares = np.linspace(low, 1.0, int(rise // 30.0)).tolist()
    spans = tuple(Span(begin + 30.0 * i, begin + 30.0 * (i + 1), share) for i, share in enumerate(shares))
    return replace(plan, course=Course(acceptance=spans))


def _cold_start_ac(plan: Plan, rng: np.random.Generator) -> Plan:
    """A part of the power heats nothing but the battery: 40 to 65 % for 15 to 50 minutes, then all."""
    plan = _charging(plan, rng, 2.0, 5.0)
    end = on_grid(plan.visit.start_s + 60.0 * float(rng.uniform(15.0, 50.0)))
    return replace(plan, course=Course(acceptance=(Span(0.0, end, float(rng.uniform(0.4, 0.65))),)))


def _with_curve(plan: Plan, rng: np.random.Generator, soc: list[float], share: list[float]) -> Plan:
    """A DC car with this curve that charges to 90 % or more, or leaves after two hours."""
    plan = plain(plan)
    values = plan.vehicle.peak_kw * np.interp(np.linspace(0.0, 100.0, CURVE_POINTS), soc, share)
    vehicle = replace(plan.vehicle, curve_kw=array("d", values))
    visit = replace(
        plan.visit,
        arrival_soc=float(rng.uniform(8.0, 25.0)),
        target_soc=float(rng.uniform(90.0, FULL_SOC)),
        stay_s=2.0 * _HOUR,
        leaves_after_s=float(rng.uniform(30.0, 240.0)),
    )
    return replace(plan, vehicle=vehicle, visit=visit)


def _early_long_taper(plan: Plan, rng: np.random.Generator) -> Plan:
    """The taper begins at 25 to 40 % and goes straight down."""
    knee, end = float(rng.uniform(25.0, 40.0)), float(rng.uniform(0.08, 0.15))
    return _with_curve(plan, rng, [0.0, knee, 100.0], [1.0, 1.0, end])


def _two_step_taper(plan: Plan, rng: np.random.Generator) -> Plan:
    """One step down at half full, another at 65 to 78 %, then a straight end."""
    first, second = float(rng.uniform(40.0, 55.0)), float(rng.uniform(65.0, 78.0))
    middle, low = float(rng.uniform(0.6, 0.75)), float(rng.uniform(0.35, 0.5))
    soc = [0.0, first, first + 0.5, second, second + 0.5, 90.0, 100.0]
    return _with_curve(plan, rng, soc, [1.0, 1.0, middle, middle, low, low * 0.7, 0.1])


def _stair_curve(plan: Plan, rng: np.random.Generator) -> Plan:
    """A curve that goes down in six to ten stairs, as that of several makers."""
    stairs = int(rng.integers(6, 11))
    edges = np.sort(rng.uniform(20.0, 95.0, size=stairs))
    levels = np.linspace(1.0, float(rng.uniform(0.1, 0.2)), stairs + 1)
    soc = [0.0, *np.repeat(edges, 2).tolist(), 100.0]
    return _with_curve(plan, rng, soc, np.repeat(levels, 2).tolist())


# --- after the battery is full --------------------------------------------------------------------


def _filled(plan: Plan, rng: np.random.Generator, afterwards: tuple[Span, ...], stays_s: float) -> Plan:
    """A car that is full after one to three hours and goes on to draw ``afterwards`` (s since then)."""
    plan = plain(plan)
    power = min(plan.power_kw(), 11.0)
    vehicle = replace(plan.vehicle, curve_kw=ac_curve(power, knee_soc=97.0))
    seconds = _HOUR * float(rng.uniform(1.0, 3.0))
    kwh = max(power * seconds / _HOUR, plan.station.meter.restrictions().resting_kwh() + 1.0)
    arrival = max(FULL_SOC - kwh * vehicle.soc_per_kwh(), 3.0)
    taper_s = _HOUR * 2.5 * vehicle.kwh_between(97.0, 100.0) / power
    possible = tuple(span._replace(value=min(span.value, 0.9 * power)) for span in afterwards)
    visit = replace(plan.visit, arrival_soc=arrival, target_soc=FULL_SOC, afterwards=possible)
    full_s = _HOUR * vehicle.kwh_between(arrival, 97.0) / power + taper_s
    return _leaving(replace(plan, vehicle=vehicle, visit=visit), visit.start_s + full_s + stays_s)


def _draws(
    rng: np.random.Generator,
    times: int,
    on_min: tuple[float, float],
    off_min: tuple[float, float],
    kw: tuple[float, float],
) -> tuple[tuple[Span, ...], float]:
    """Returns draws by turns, and when the last one is over."""
    spans: list[Span] = []
    at = 60.0 * float(rng.uniform(*off_min))
    for _ in range(times):
        end = at + on_grid(60.0 * float(rng.uniform(*on_min)))
        spans.append(Span(on_grid(at), on_grid(end), float(rng.uniform(*kw))))
        at = end + 60.0 * float(rng.uniform(*off_min))
    return tuple(spans), at


def _balancing_pulses(plan: Plan, rng: np.random.Generator) -> Plan:
    """A full battery balances its cells in pulses of 0.2 to 0.8 kW."""
    return _filled(plan, rng, *_draws(rng, int(rng.integers(4, 9)), (4.0, 10.0), (6.0, 18.0), (0.2, 0.8)))


def _climate_by_thermostat(plan: Plan, rng: np.random.Generator) -> Plan:
    """The car is full and kept warm: 0.8 to 2.5 kW each quarter or half an hour."""
    return _filled(plan, rng, *_draws(rng, int(rng.integers(3, 8)), (5.0, 12.0), (12.0, 30.0), (0.8, 2.5)))


def _departure_preheating(plan: Plan, rng: np.random.Generator) -> Plan:
    """Hours after it was full the car heats for its departure: 2 to 3.5 kW for 15 to 30 minutes."""
    spans, _ = _draws(rng, 1, (15.0, 30.0), (150.0, 400.0), (2.0, 3.5))
    return _filled(plan, rng, spans, spans[-1].end_s + 120.0)


def _full_car_stays(plan: Plan, rng: np.random.Generator) -> Plan:
    """A full car is plugged in for hours; its climate draws a little now and then."""
    plan = plain(plan)
    spans, stays_s = _draws(rng, int(rng.integers(3, 9)), (3.0, 12.0), (20.0, 90.0), (0.4, 1.5))
    visit = replace(plan.visit, arrival_soc=100.0, target_soc=FULL_SOC, afterwards=spans)
    return _leaving(replace(plan, visit=visit), stays_s)


def _counts_on_for_a_day(plan: Plan, rng: np.random.Generator) -> Plan:
    """Charging of some hours, and then the register creeps on by 4 to 9 W until the next day."""
    plan = _charging(plan, rng, 2.0, 5.0)
    restrictions = plan.station.meter.restrictions()
    target = plan.visit.arrival_soc + plan.vehicle.soc_per_kwh() * max(
        plan.power_kw() * 2.0, restrictions.resting_kwh() + 0.5
    )
    visit = replace(plan.visit, target_soc=min(target, FULL_SOC), standby_kw=float(rng.uniform(0.004, 0.009)))
    return _leaving(replace(plan, visit=visit), _HOUR * float(rng.uniform(14.0, 26.0)))


# --- tariffs, management, sharing, sun ------------------------------------------------------------


def _waits_for_tariff(plan: Plan, rng: np.random.Generator) -> Plan:
    """Nothing for 3 to 9 hours, then an ordinary charge."""
    plan = _charging(plan, rng, 2.0, 4.0)
    waits = on_grid(_HOUR * float(rng.uniform(3.0, 9.0)))
    plan = replace(plan, visit=replace(plan.visit, start_s=waits))
    return _leaving(plan, plan.visit.stay_s + waits)


def _price_led_pauses(plan: Plan, rng: np.random.Generator) -> Plan:
    """The offer goes to zero and back with the price, in blocks of 30 to 100 minutes."""
    plan = _charging(plan, rng, 4.0, 7.0)
    spans = _steps(rng, plan, (30.0, 100.0), lambda: 1.0)
    offers = tuple(span._replace(value=float(place % 2 == 0)) for place, span in enumerate(spans))
    return replace(plan, course=Course(offer=offers))


def _fine_management(plan: Plan, rng: np.random.Generator) -> Plan:
    """The offer changes each 1 to 3 minutes, and the car follows it."""
    plan = _charging(plan, rng, 1.5, 4.0)
    lowest = plan.station.charger.lowest_share() * 1.01
    offers = _steps(rng, plan, (1.0, 3.0), lambda: float(rng.uniform(lowest, 1.0)))
    return replace(plan, course=Course(offer=offers))


def _silent_management(plan: Plan, rng: np.random.Generator) -> Plan:
    """A station that is declared as managed shifts power each 5 to 20 minutes; the offer is not sent."""
    plan = _charging(plan, rng, 2.0, 5.0)
    lowest = plan.station.charger.lowest_share() * 1.01
    offers = _steps(rng, plan, (5.0, 20.0), lambda: float(rng.uniform(lowest, 1.0)))
    return replace(plan, course=Course(offer=offers))


def _shared_by_modules(plan: Plan, rng: np.random.Generator) -> Plan:
    """Two cars share four power modules: the offer is one to four quarters of the power, for 2 to 9 minutes each."""
    plan = _charging(plan, rng, 0.4, 0.9)
    whole = plan.power_kw() / plan.station.charger.rated_kw
    offers = _steps(rng, plan, (2.0, 9.0), lambda: whole * float(rng.integers(1, 5)) / 4.0)
    return replace(plan, course=Course(offer=offers))


def _solar_clouds(plan: Plan, rng: np.random.Generator) -> Plan:
    """Surplus of the sun behind clouds: the offer moves each minute, on one phase below 5 kW and on three above."""
    peak = 3 * 16.0 * PHASE_VOLTAGE_KV
    curve = ac_curve(peak, knee_soc=97.0)
    vehicle = replace(plan.vehicle, phases=3, current_a=16.0, peak_kw=peak, curve_kw=curve)
    meter = replace(plan.station.meter, offered="current")  # a power would rest on the number of phases
    station = replace(plan.station, meter=meter)
    plan = _charging(replace(plan, vehicle=vehicle, station=station), rng, 2.0, 5.0)
    rated, at, three = plan.station.charger.rated_kw, on_grid(plan.visit.start_s), True
    offers: list[Span] = []
    phases: list[Span] = []
    cloud = 0.7
    while at < plan.visit.stay_s:
        cloud = float(np.clip(cloud + rng.normal(0.0, 0.1), 0.1, 1.0))
        surplus = 11.0 * cloud
        wanted = surplus >= (4.4 if three else 5.5)
        if wanted != three:  # the switch goes through zero
            offers.append(Span(at, at + 60.0, 0.0))
            at, three = at + 60.0, wanted
        amperes = float(np.clip(surplus / (0.69 if three else 0.23), 6.1, 16.0))
        offers.append(Span(at, at + 60.0, amperes * 0.69 / rated))
        phases.append(Span(at, at + 60.0, 3.0 if three else 1.0))
        at += 60.0
    return replace(plan, course=Course(offer=tuple(offers), phases=tuple(phases)))


def _one_phase_all_night(plan: Plan, rng: np.random.Generator) -> Plan:
    """A car on one phase at 6 to 8 A for 8 to 16 hours."""
    hours, power = float(rng.uniform(8.0, 16.0)), float(rng.uniform(1.4, 1.85))
    vehicle = replace(
        plan.vehicle, phases=1, current_a=16.0, peak_kw=3.68, curve_kw=ac_curve(3.68, knee_soc=97.0)
    )
    plan = replace(plain(plan), vehicle=vehicle)
    arrival = float(rng.uniform(5.0, max(90.0 - hours * power * vehicle.soc_per_kwh(), 6.0)))
    visit = replace(plan.visit, arrival_soc=arrival, target_soc=FULL_SOC)
    plan = replace(plan, visit=visit, course=Course(cap_kw=(Span(0.0, FOREVER_S, power),)))
    return _leaving(plan, hours * _HOUR)


# --- export and what the meter does ---------------------------------------------------------------


def _feeds_by_turns(plan: Plan, rng: np.random.Generator) -> Plan:
    """The car charges to 92 to 96 %, then feeds the grid two or three times, with rests between."""
    plan = plain(plan)
    power = min(plan.power_kw(), 10.0)
    vehicle = replace(plan.vehicle, curve_kw=ac_curve(power, knee_soc=98.0))
    target, times = float(rng.uniform(92.0, 96.0)), int(rng.integers(2, 4))
    kwh = plan.station.meter.restrictions().resting_kwh() + float(rng.uniform(2.0, 10.0))
    arrival = max(target - kwh * vehicle.soc_per_kwh(), 3.0)
    each_s = on_grid(_HOUR * vehicle.kwh_between(81.0, target) / power / times)
    spans = tuple(
        Span(600.0 + i * (each_s + 900.0), 600.0 + i * (each_s + 900.0) + each_s, -power)
        for i in range(times)
    )
    visit = replace(plan.visit, arrival_soc=arrival, target_soc=target, afterwards=spans)
    charge_s = _HOUR * vehicle.kwh_between(arrival, target) / power
    stay = visit.start_s + charge_s + spans[-1].end_s + 900.0
    return _leaving(replace(plan, vehicle=vehicle, visit=visit), stay)


def _export_sent(_plan: Plan, observed: Observed, _rng: np.random.Generator) -> _Tampered:
    observed.sends_export = True
    return observed, _NOWHERE


def _late_and_repeated(plan: Plan, rng: np.random.Generator) -> Plan:
    """A poor connection: of the messages 8 % come late and 8 % twice."""
    plan = (
        _charging(plan, rng, 1.0, 4.0)
        if plan.station.charger.kind == "ac"
        else _charging(plan, rng, 0.3, 0.9)
    )
    meter = replace(plan.station.meter, late=0.08, repeated=0.08)
    return replace(plan, station=replace(plan.station, meter=meter))


def _coarse_quarter_hours(plan: Plan, rng: np.random.Generator) -> Plan:
    """Each 15 minutes the register alone, in steps of 1 kWh: at 3.7 kW it moves by 0 or 1."""
    meter = replace(plan.station.meter, sampling_s=900.0, resolution_wh=1000, offered="none")
    return _charging(replace(plan, station=replace(plan.station, meter=meter)), rng, 3.0, 7.0)


_DC: Final = Needs(kind="dc", managed=False, power=True, sampling_at_most_s=60.0)
_AC: Final = Needs(kind="ac", managed=False, power=True, sampling_at_most_s=300.0)
_FULL: Final = _AC._replace(soc=True)
_MANAGED: Final = Needs(kind="ac", managed=True, offered=True)

RARE_NORMALS: Final = (
    Mechanism("cold_ramp", _DC, _cold_ramp, held_out=True),
    Mechanism("cold_start_ac", _AC, _cold_start_ac, held_out=True),
    Mechanism("early_long_taper", _DC._replace(soc=True), _early_long_taper, held_out=True),
    Mechanism("two_step_taper", _DC._replace(soc=True), _two_step_taper, held_out=True),
    Mechanism("stair_curve", _DC._replace(soc=True), _stair_curve, held_out=True),
    Mechanism("balancing_pulses", _FULL, _balancing_pulses, held_out=True),
    Mechanism("climate_by_thermostat", _FULL, _climate_by_thermostat, held_out=True),
    Mechanism("departure_preheating", _FULL, _departure_preheating, held_out=True),
    Mechanism("full_car_stays", _FULL, _full_car_stays, held_out=True),
    Mechanism(
        "counts_on_for_a_day",
        Needs(kind="ac", managed=False, register=True, soc=False, offered=False, resolution_at_most_wh=100),
        _counts_on_for_a_day,
        held_out=True,
    ),
    Mechanism("waits_for_tariff", Needs(kind="ac", managed=False), _waits_for_tariff, held_out=True),
    Mechanism("price_led_pauses", _MANAGED, _price_led_pauses, held_out=True),
    Mechanism(
        "fine_management",
        _MANAGED._replace(power=True, sampling_at_most_s=60.0),
        _fine_management,
        held_out=True,
    ),
    Mechanism(
        "silent_management", _MANAGED._replace(offered=False, power=True), _silent_management, held_out=True
    ),
    Mechanism("shared_by_modules", _DC._replace(offered=True), _shared_by_modules, held_out=True),
    Mechanism(
        "solar_clouds",
        _MANAGED._replace(phases=3, power=True, current=True, sampling_at_most_s=60.0),
        _solar_clouds,
        held_out=True,
    ),
    Mechanism(
        "one_phase_all_night", Needs(kind="ac", phases=3, managed=False), _one_phase_all_night, held_out=True
    ),
    Mechanism("feeds_by_turns", _FULL, _feeds_by_turns, _export_sent, held_out=True),
    Mechanism(
        "late_and_repeated",
        Needs(managed=False, register=True, sampling_at_most_s=60.0),
        _late_and_repeated,
        held_out=True,
    ),
    Mechanism(
        "coarse_quarter_hours",
        Needs(kind="ac", managed=False, register=True, power=False, soc=False, current=False, voltage=False),
        _coarse_quarter_hours,
        held_out=True,
    ),
)
