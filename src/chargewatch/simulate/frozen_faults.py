"""A register that stands still while power or current say that the car charges."""

from typing import Final

import numpy as np

from chargewatch.simulate.charging import (
    Stretch,
    charging_for,
    charging_stretch,
    counted,
    position_after,
    span_between,
)
from chargewatch.simulate.faults import SHARE_SHOWN, Mechanism
from chargewatch.simulate.meters import Observed
from chargewatch.simulate.plans import Plan, shown_s
from chargewatch.simulate.records import Span
from chargewatch.simulate.stations import Needs

_Tampered = tuple[Observed, Span]
_HIDDEN_S: Final = 200.0


def _freeze_s(plan: Plan) -> float:
    """How long the register must stand still to be proven frozen, whatever the sampling hides."""
    return max(shown_s(plan.sampling_s(), 600.0), 7.0 * plan.steps_s(), 7.0 * 36.0 / plan.power_kw()) * 1.25


def _charging(plan: Plan, rng: np.random.Generator) -> Plan:
    return charging_for(plan, rng, _freeze_s(plan) * float(rng.uniform(1.8, 3.0)) + 2.0 * plan.sampling_s())


def _long_charging(plan: Plan, rng: np.random.Generator) -> Plan:
    return charging_for(plan, rng, _freeze_s(plan) * 4.0 + 4.0 * plan.sampling_s())


def _begin(plan: Plan, observed: Observed, stretch: Stretch, rng: np.random.Generator) -> int:
    """Draws where the register stops so that charging goes on for long enough."""
    at = observed.at_s()
    latest = int(np.searchsorted(at, at[stretch.last] - _freeze_s(plan), side="right")) - 1
    return int(rng.integers(stretch.first + 1, max(latest, stretch.first + 1) + 1))


def _to_end(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """It stops and never moves again."""
    register, stretch = counted(observed), charging_stretch(observed)
    begin = _begin(plan, observed, stretch, rng)
    register[begin:] = register[begin]
    observed.register_wh = register
    return observed, span_between(observed, begin, max(stretch.last, begin))


def _window(plan: Plan, observed: Observed, rng: np.random.Generator) -> tuple[int, int]:
    """Draws from which reading to which it stands still; charging goes on after it."""
    stretch = charging_stretch(observed)
    begin = _begin(plan, observed, stretch, rng)
    if rng.random() > SHARE_SHOWN and plan.sampling_s() <= 60.0:
        end = position_after(observed, begin, _HIDDEN_S) - 1
    else:
        end = position_after(observed, begin, _freeze_s(plan))
    return begin, min(max(end, begin + 1), stretch.last)


def _then_jumps(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """It stops for a while, then shows at once what it has missed."""
    register, stretch = counted(observed), charging_stretch(observed)
    begin = _begin(plan, observed, stretch, rng)
    end = min(max(position_after(observed, begin, _freeze_s(plan)), begin + 1), stretch.last)
    register[begin : end + 1] = register[begin]
    observed.register_wh = register
    return observed, span_between(observed, begin, end)


def _then_goes_on(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """It stops for a while, then counts on from where it stood: the energy is lost."""
    register = counted(observed)
    begin, end = _window(plan, observed, rng)
    missed = register[end] - register[begin]
    register[begin : end + 1] = register[begin]
    register[end + 1 :] -= missed
    observed.register_wh = register
    return observed, span_between(observed, begin, end)


def _intermittently(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """It stops again and again, and loses each time what flowed meanwhile."""
    register, stretch = counted(observed), charging_stretch(observed)
    first = begin = stretch.first + 1
    end, length = begin, _freeze_s(plan)
    while position_after(observed, begin, length) < stretch.last:
        end = position_after(observed, begin, length * float(rng.uniform(1.0, 1.3)))
        end = min(end, stretch.last)
        missed = register[end] - register[begin]
        register[begin : end + 1] = register[begin]
        register[end + 1 :] -= missed
        begin = position_after(observed, end, float(rng.uniform(0.15, 0.4)) * length)
    observed.register_wh = register
    return observed, span_between(observed, first, max(end, first))


def _from_start(_plan: Plan, observed: Observed, _rng: np.random.Generator) -> _Tampered:
    """It never moves."""
    register, stretch = counted(observed), charging_stretch(observed)
    register[:] = register[0]
    observed.register_wh = register
    return observed, span_between(observed, stretch.first, stretch.last)


def _ample(plan: Plan, rng: np.random.Generator) -> Plan:
    """Charges more than five of the coarsest steps: a register that never moves does not show its step."""
    seconds = max(_freeze_s(plan) * 1.5, 3600.0 * float(rng.uniform(7.5, 15.0)) / plan.power_kw())
    return charging_for(plan, rng, seconds)


def _until_end_reading(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """It stops; only the reading at the end of the transaction shows the right count."""
    register, stretch = counted(observed), charging_stretch(observed)
    begin = _begin(plan, observed, stretch, rng)
    register[begin:-1] = register[begin]
    observed.register_wh = register
    return observed, span_between(observed, begin, max(min(stretch.last, len(register) - 2), begin))


_COUNTED: Final = Needs(register=True, power=True, resolution_at_most_wh=100)

FROZEN_MECHANISMS: Final = (
    Mechanism("stuck_to_end", _COUNTED, _charging, _to_end),
    Mechanism("stuck_then_jumps", _COUNTED, _charging, _then_jumps),
    Mechanism("stuck_then_goes_on", _COUNTED, _charging, _then_goes_on),
    Mechanism("stuck_from_start", _COUNTED, _ample, _from_start),
    Mechanism("stuck_intermittently", _COUNTED, _long_charging, _intermittently, held_out=True),
    Mechanism(
        "stuck_without_power",
        Needs(register=True, power=False, current=True, voltage="neutral", resolution_at_most_wh=100),
        _charging,
        _to_end,
        held_out=True,
    ),
    Mechanism(
        "stuck_until_end_reading",
        _COUNTED._replace(begin_end=True),
        _charging,
        _until_end_reading,
        held_out=True,
    ),
)
