"""Faults of the energy register: it falls below what it has shown before.

The car charges as usual; only what the meter says is wrong. Registers are in Wh here, multiples of
the meter's resolution.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from chargewatch.simulate.charging import span_between
from chargewatch.simulate.faults import Mechanism
from chargewatch.simulate.meters import Observed
from chargewatch.simulate.plans import Plan, lasting, plain, shown_s, with_charge
from chargewatch.simulate.records import Integers, Span
from chargewatch.simulate.stations import Needs

_LEAST_FALL_WH: Final = 60


def eventful(plan: Plan, rng: np.random.Generator) -> Plan:
    """Returns the plan of a session with at least six readings and several steps of the register."""
    charge = max(shown_s(plan.sampling_s(), 300.0), 5.0 * plan.steps_s(), 3600.0 / plan.power_kw())
    managed = plan.course
    plan = with_charge(plain(plan), rng, charge)
    stay = plan.visit.start_s + charge + 5.0 * plan.sampling_s() + 120.0
    plan = lasting(plan, stay)
    if managed.offer and plan.station.charger.managed and charge < 1800.0:
        return Plan(plan.station, plan.vehicle, plan.visit, managed, plan.starts_at, plan.base_wh)
    return plan


def _fall_index(plan: Plan, register: Integers, rng: np.random.Generator, *, rising: bool = False) -> int:
    """Draws at which reading the register falls: neither among the first two nor the last two.

    Enough must have been counted before; with ``rising`` it also counts from the reading before to this one.
    """
    counted = register[:-3] - register[0]
    fit = counted >= max(5 * _LEAST_FALL_WH, 3 * plan.station.meter.resolution_wh)
    fit[:1] = False
    if rising:
        fit &= (register[1:-2] > register[:-3]) & (counted < 60_000)
    candidates = np.flatnonzero(fit) + 1
    if not len(candidates):
        return max(len(register) - 3, 0)
    return int(rng.choice(candidates))


def _tampered(
    observed: Observed, register: Integers, index: int, low: int | None = None
) -> tuple[Observed, Span]:
    """The register falls from the reading before ``index`` to that, and is low up to ``low`` where it comes back."""
    observed.register_wh = register
    return observed, span_between(observed, max(index - 1, 0), index if low is None else low)


def _counting(observed: Observed) -> Integers:
    if observed.register_wh is None:
        raise ValueError("a fault of the register needs a register")
    return observed.register_wh.copy()


def _reset_to_zero(plan: Plan, observed: Observed, rng: np.random.Generator) -> tuple[Observed, Span]:
    """The meter restarts: it counts from 0 again."""
    register = _counting(observed)
    at = _fall_index(plan, register, rng)
    register[at:] -= register[at]
    return _tampered(observed, register, at)


def _rollback(plan: Plan, observed: Observed, rng: np.random.Generator) -> tuple[Observed, Span]:
    """The meter restarts from an older stored count and goes on from there."""
    register = _counting(observed)
    at = _fall_index(plan, register, rng)
    fall = _drawn_fall(plan, int(register[at - 1] - register[0]), rng)
    register[at:] -= register[at] - max(register[at - 1] - fall, 0)
    return _tampered(observed, register, at)


def _drawn_fall(plan: Plan, counted_wh: int, rng: np.random.Generator) -> int:
    resolution = plan.station.meter.resolution_wh
    least = max(_LEAST_FALL_WH, 3 * resolution)
    fall = int(rng.integers(least, max(counted_wh, least) + 1))
    return fall // resolution * resolution


def _wraps(limit_wh: int) -> Callable[[Plan, Observed, np.random.Generator], tuple[Observed, Span]]:
    def tamper(plan: Plan, observed: Observed, rng: np.random.Generator) -> tuple[Observed, Span]:
        register, resolution = _counting(observed), plan.station.meter.resolution_wh
        at = _fall_index(plan, register, rng, rising=True)
        before, after = int(register[max(at - 1, 0)]), int(register[at])
        past_limit = int(rng.integers(0, max(after - before, 1)))
        counts = (register - after + limit_wh + past_limit) % limit_wh
        return _tampered(observed, counts // resolution * resolution, at)

    return tamper


def _drop_out(plan: Plan, observed: Observed, rng: np.random.Generator) -> tuple[Observed, Span]:
    """Zero for one or a few readings, then the right count again."""
    register = _counting(observed)
    at = _fall_index(plan, register, rng)
    end = min(at + int(rng.integers(1, 4)), len(register) - 1)
    register[at:end] = 0
    return _tampered(observed, register, at, max(end - 1, at))


def _stale_count(plan: Plan, observed: Observed, rng: np.random.Generator) -> tuple[Observed, Span]:
    """An old count is sent again for one or a few readings, then the right one."""
    register = _counting(observed)
    at = _fall_index(plan, register, rng)
    old = register[register <= register[at - 1] - max(_LEAST_FALL_WH, 3 * plan.station.meter.resolution_wh)]
    end = min(at + int(rng.integers(1, 5)), len(register) - 1)
    register[at:end] = rng.choice(old) if len(old) else 0
    return _tampered(observed, register, at, max(end - 1, at))


_REGISTER: Final = Needs(register=True)
_LIFETIME: Final = Needs(register=True, lifetime=True)

DECREASE_MECHANISMS: Final = (
    Mechanism("reset_to_zero", _REGISTER, eventful, _reset_to_zero),
    Mechanism("rollback", _REGISTER, eventful, _rollback),
    Mechanism("wrap_2_16", _LIFETIME, eventful, _wraps(2**16), held_out=True),
    Mechanism("wrap_2_31", _LIFETIME, eventful, _wraps(2**31)),
    Mechanism("wrap_2_32", _LIFETIME, eventful, _wraps(2**32), held_out=True),
    Mechanism("drop_out", _REGISTER, eventful, _drop_out),
    Mechanism("stale_count", _REGISTER, eventful, _stale_count, held_out=True),
)
