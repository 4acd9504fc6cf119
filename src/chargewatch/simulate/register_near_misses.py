"""Near-misses of a falling register: late, repeated, rounded, rescaled or other readings.

Each one carries in its readings the evidence that excuses it, in the words of the column
"it is not this" of ``categories.md``.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from chargewatch.domain.vocabulary import Measurand
from chargewatch.simulate.faults import Mechanism
from chargewatch.simulate.meters import Observed
from chargewatch.simulate.plans import Plan, on_grid, plain
from chargewatch.simulate.records import Floats, Span
from chargewatch.simulate.register_faults import eventful
from chargewatch.simulate.stations import Needs

_Tampered = tuple[Observed, Span]
_NOWHERE: Final = Span(0.0, 0.0, 0.0)


# --- like a falling register ----------------------------------------------------------------------


def _bad_network(plan: Plan, rng: np.random.Generator) -> Plan:
    meter = replace(plan.station.meter, late=float(rng.uniform(0.7, 0.95)))
    return eventful(replace(plan, station=replace(plan.station, meter=meter)), rng)


def _repeating_network(plan: Plan, rng: np.random.Generator) -> Plan:
    meter = replace(plan.station.meter, repeated=float(rng.uniform(0.5, 0.9)), late=0.1)
    return eventful(replace(plan, station=replace(plan.station, meter=meter)), rng)


def _zero_at_begin(_plan: Plan, observed: Observed, _rng: np.random.Generator) -> _Tampered:
    """A placeholder of 0 at Transaction.Begin stands before a lifetime register."""
    assert observed.register_wh is not None
    observed.register_wh[0] = 0
    return observed, _NOWHERE


def _lifetime_at_ends(plan: Plan, observed: Observed, _rng: np.random.Generator) -> _Tampered:
    """Begin and End carry the lifetime register, the samples one that counts the session."""
    assert observed.register_wh is not None
    resolution = plan.station.meter.resolution_wh
    base = int(plan.base_wh) // resolution * resolution
    observed.register_wh[0] += base
    observed.register_wh[-1] += base
    return observed, _NOWHERE


def _unit_switch(_plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """From some reading on the register is sent in kWh under the unit Wh."""
    assert observed.register_wh is not None
    counted = observed.register_wh - observed.register_wh[0]
    fit = np.flatnonzero((counted[1:-2] >= 500) & (observed.register_wh[1:-2] >= 1000)) + 2
    at = int(rng.choice(fit)) if len(fit) else len(counted) - 2
    factor: Floats = np.ones(len(counted))
    factor[at:] = 0.001
    observed.register_factor = factor
    return observed, Span(float(observed.at_s()[at]), float(observed.at_s()[-1]), 0.0)


def _rounding(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """The last digit wavers: now and then a reading lies one step (at most 10 Wh, when finer) too low."""
    assert observed.register_wh is not None
    register, resolution = observed.register_wh, plan.station.meter.resolution_wh
    still = np.flatnonzero((np.diff(register) == 0) & (register[1:] > resolution + 10)) + 1
    chosen = still[rng.random(len(still)) < 0.15]
    chosen = chosen if len(chosen) else still[:1]
    fall = int(rng.integers(2, 10)) if resolution == 1 else resolution
    register[chosen[np.diff(chosen, prepend=-9) > 1]] -= fall
    return observed, _NOWHERE


def _wavering(plan: Plan, rng: np.random.Generator) -> Plan:
    """A session with a rest at its end, in which the register stands still and wavers."""
    plan = plain(plan)
    kwh = plan.station.meter.restrictions().resting_kwh() + float(rng.uniform(0.5, 5.0))
    target = float(rng.choice((80.6, 90.0, 94.0)))
    arrival = max(target - kwh * plan.vehicle.soc_per_kwh(), 3.0)
    stay = 1.6 * 3600.0 * kwh / plan.power_kw() + 12.0 * plan.sampling_s() + 600.0
    return replace(
        plan, visit=replace(plan.visit, arrival_soc=arrival, target_soc=target, stay_s=stay, standby_kw=0.0)
    )


def _intervals_only(plan: Plan, rng: np.random.Generator) -> Plan:
    meter = replace(plan.station.meter, register="none")
    return eventful(replace(plan, station=replace(plan.station, meter=meter)), rng)


def _add_intervals(_plan: Plan, observed: Observed, _rng: np.random.Generator) -> _Tampered:
    """Energy.Active.Import.Interval instead of the register: it falls when the power does."""
    steps = np.diff(np.round(observed.energy_kwh * 1000.0), prepend=0.0)
    observed.extra[Measurand.ENERGY_ACTIVE_IMPORT_INTERVAL] = steps
    return observed, _NOWHERE


def _exports(plan: Plan, rng: np.random.Generator) -> Plan:
    """The car gives energy back to the grid, down to no less than 82 %."""
    plan, power = plain(plan), min(plan.power_kw(), 10.0)
    kwh = plan.station.meter.restrictions().resting_kwh() + float(rng.uniform(0.5, 12.0))
    arrival = max(95.0 - kwh * plan.vehicle.soc_per_kwh(), 3.0)
    longest = 3600.0 * plan.vehicle.kwh_between(82.5, 95.0) / power
    length = on_grid(float(rng.uniform(0.4, 0.95)) * longest)
    stay = plan.visit.start_s + 1.2 * 3600.0 * kwh / plan.power_kw() + length + 1500.0
    visit = replace(plan.visit, arrival_soc=arrival, target_soc=95.0, stay_s=stay)
    return replace(plan, visit=replace(visit, afterwards=(Span(300.0, 300.0 + length, -power),)))


def _add_export(_plan: Plan, observed: Observed, _rng: np.random.Generator) -> _Tampered:
    """The export register rises, the net register falls, the import register stands."""
    observed.sends_export = True
    net = np.round(1000.0 * (observed.energy_kwh - observed.exported_kwh))
    observed.extra[Measurand.ENERGY_ACTIVE_NET] = net
    return observed, _NOWHERE


_ENDS: Final = Needs(register=True, begin_end=True)

REGISTER_NEAR_MISSES: Final = (
    Mechanism("late_readings", Needs(register=True), _bad_network),
    Mechanism("repeated_readings", Needs(register=True), _repeating_network, held_out=True),
    Mechanism("begin_zero_placeholder", _ENDS._replace(lifetime=True), eventful, _zero_at_begin),
    Mechanism(
        "begin_end_other_register", _ENDS._replace(lifetime=False), eventful, _lifetime_at_ends, held_out=True
    ),
    Mechanism(
        "unit_switch", Needs(register=True, watt_hours=True, resolution_at_most_wh=10), eventful, _unit_switch
    ),
    Mechanism(
        "rounding",
        Needs(kind="ac", register=True, resolution_at_most_wh=100),
        _wavering,
        _rounding,
        held_out=True,
    ),
    Mechanism("interval_energy", Needs(), _intervals_only, _add_intervals),
    Mechanism(
        "export_and_net", Needs(kind="ac", managed=False, power=True), _exports, _add_export, held_out=True
    ),
)
