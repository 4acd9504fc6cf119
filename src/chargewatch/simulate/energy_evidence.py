"""What the readings prove of a register that stands, disagrees or jumps, and of an odd shape.

Between two readings power may take any value that they allow: a fault counts as visible when its
definition holds for the lowest, or the highest, of them.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np

from chargewatch.domain.categories import Category
from chargewatch.simulate.meters import Observed
from chargewatch.simulate.plans import Plan
from chargewatch.simulate.records import Floats, Integers, Span

Proof = tuple[int, int, bool]
"""Positions of the first and last reading that show it, and whether they prove it."""

ANY_POWER_KW: Final = 400.0
RATED_MARGIN: Final = 1.15


class _Figures(NamedTuple):
    """The figures as sent: seconds, kWh, kW; shape (n,), None where not sent."""

    at_s: Floats
    register_kwh: Floats | None
    tolerance_kwh: float
    power_kw: Floats | None


def highest_power_kw(plan: Plan) -> float:
    """What the definition of ENERGY_SPIKE calls possible: 1.15 times the rated power when known, else 400 kW."""
    charger = plan.station.charger
    return RATED_MARGIN * charger.rated_kw if charger.rated_known else ANY_POWER_KW


def resolution_seen_kwh(register_wh: Integers) -> float:
    """The coarsest decimal step of which all counts are multiples: what a reader can know of it."""
    steps = (step for step in (1000, 100, 10) if not (register_wh % step).any())
    return next(steps, 1) / 1000.0


def _figures(observed: Observed) -> _Figures:
    register, tolerance = None, 0.01
    if observed.register_wh is not None:
        register = observed.register_wh / 1000.0
        tolerance = max(resolution_seen_kwh(observed.register_wh), 0.01)
    power = observed.power_kw
    if power is None and observed.current_a is not None and observed.voltage_v is not None:
        power = (observed.current_a * observed.voltage_v).sum(axis=0) / 1000.0
    return _Figures(observed.at_s(), register, tolerance, power)


def _inside(span: Span, at_s: Floats) -> tuple[int, int] | None:
    first, end = np.searchsorted(at_s, (span.start_s, span.end_s))
    return (int(first), int(end) - 1) if first < end else None


def _least_energy_kwh(figures: _Figures, first: int, last: int) -> Floats:
    """The least energy that the powers allow from reading ``first`` to each up to ``last``."""
    return _energy_kwh(figures, first, last, np.minimum)


def _energy_kwh(
    figures: _Figures, first: int, last: int, of_two: Callable[[Floats, Floats], Floats]
) -> Floats:
    assert figures.power_kw is not None
    power, at = figures.power_kw[first : last + 1], figures.at_s[first : last + 1]
    flows = of_two(power[1:], power[:-1]) * np.diff(at) / 3600.0
    return np.concatenate(([0.0], np.cumsum(flows)))


# --- a frozen register ----------------------------------------------------------------------------


def _frozen(span: Span, _plan: Plan, observed: Observed) -> Proof | None:
    """Runs of readings with the same count and at least 1 kW, 10 min and five tolerances long."""
    figures, inside = _figures(observed), _inside(span, observed.at_s())
    if inside is None or figures.register_kwh is None or figures.power_kw is None:
        return None
    proven = [run for run in _standing_runs(figures, *inside) if _proves_frozen(figures, *run)]
    return (proven[0][0], proven[-1][1], True) if proven else None


def _standing_runs(figures: _Figures, first: int, last: int) -> list[tuple[int, int]]:
    """Maximal runs within ``first`` to ``last`` of equal counts under a power of at least 1 kW."""
    assert figures.register_kwh is not None
    assert figures.power_kw is not None
    window = slice(first, last + 1)
    charging = figures.power_kw[window] >= 1.0
    stands = (np.diff(figures.register_kwh[window]) == 0) & charging[1:] & charging[:-1]
    edges = np.flatnonzero(np.diff(np.concatenate(([False], stands, [False])).astype(np.int8)))
    return [(first + int(a), first + int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _proves_frozen(figures: _Figures, first: int, last: int) -> bool:
    lasts = float(figures.at_s[last] - figures.at_s[first])
    energy = float(_least_energy_kwh(figures, first, last)[-1])
    return lasts >= 600.0 and energy > 5.0 * figures.tolerance_kwh


# --- register and power disagree ------------------------------------------------------------------


def _mismatch(span: Span, _plan: Plan, observed: Observed) -> Proof | None:
    """From the first to the last reading of at least 1 kW, whatever power did between them."""
    figures, inside = _figures(observed), _inside(span, observed.at_s())
    if inside is None or figures.register_kwh is None or figures.power_kw is None:
        return None
    charging = np.flatnonzero(figures.power_kw[inside[0] : inside[1] + 1] >= 1.0) + inside[0]
    if not len(charging):
        return None
    first, last = int(charging[0]), int(charging[-1])
    least, most = (float(_energy_kwh(figures, first, last, of)[-1]) for of in (np.minimum, np.maximum))
    rise = float(figures.register_kwh[last] - figures.register_kwh[first])
    lowest, highest = rise - figures.tolerance_kwh, rise + figures.tolerance_kwh
    slow = least - highest > max(0.2 * least, 0.5)
    fast = lowest - most > max(0.2 * lowest, 0.5)
    lasts = float(figures.at_s[last] - figures.at_s[first])
    return first, last, lasts >= 1800.0 and (slow or fast)


# --- more than anything could ---------------------------------------------------------------------


def impossible_steps(span: Span, plan: Plan, observed: Observed) -> list[tuple[int, int]]:
    """Rises beyond the highest power times the time since the register last moved, and powers beyond it.

    Rises that share a reading are one, and so are neighbouring powers: positions of its first and its last reading.
    """
    figures, inside = _figures(observed), _inside(span, observed.at_s())
    if inside is None:
        return []
    first = max(inside[0], 1) if _begins_with_placeholder(observed) else inside[0]
    beyond = [
        *_impossible_rises(figures, highest_power_kw(plan), first, inside[1]),
        *_impossible_powers(observed, highest_power_kw(plan), *inside),
    ]
    steps: list[tuple[int, int]] = []
    for first, last in sorted(beyond):
        if steps and first <= steps[-1][1]:
            steps[-1] = (steps[-1][0], max(steps[-1][1], last))
        else:
            steps.append((first, last))
    return steps


def _begins_with_placeholder(observed: Observed) -> bool:
    """A 0 at Transaction.Begin may stand for any count: a rise from it proves nothing."""
    register = observed.register_wh
    return register is not None and observed.contexts[0] == "Transaction.Begin" and int(register[0]) == 0


def _impossible_rises(figures: _Figures, limit_kw: float, first: int, last: int) -> list[tuple[int, int]]:
    if figures.register_kwh is None:
        return []
    moved = np.concatenate(([True], np.diff(figures.register_kwh) != 0))
    since = np.maximum.accumulate(np.where(moved, np.arange(len(moved)), 0))[:-1]
    hours = (figures.at_s[1:] - figures.at_s[since]) / 3600.0
    beyond = np.diff(figures.register_kwh) > limit_kw * hours + 2.0 * figures.tolerance_kwh
    places = np.flatnonzero(beyond) + 1
    return [(int(p) - 1, int(p)) for p in places.tolist() if first <= p - 1 and p <= last]


def _impossible_powers(observed: Observed, limit_kw: float, first: int, last: int) -> list[tuple[int, int]]:
    if observed.power_kw is None:
        return []
    beyond = observed.power_kw[first : last + 1] > limit_kw
    edges = np.flatnonzero(np.diff(np.concatenate(([False], beyond, [False])).astype(np.int8)))
    return [(first + int(a), first + int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


# --- an odd shape ---------------------------------------------------------------------------------

_LEAST_READINGS: Final = 8


def _odd(span: Span, _plan: Plan, observed: Observed) -> Proof | None:
    """At least eight readings of it, no further apart than ``span.value`` seconds at the median."""
    inside = _inside(span, observed.at_s())
    if inside is None or inside[0] == inside[1]:
        return None
    first, last = inside
    gap = float(np.median(np.diff(observed.at_s()[first : last + 1])))
    return first, last, last - first + 1 >= _LEAST_READINGS and gap <= 1.05 * span.value


ENERGY_EVIDENCE: Final[Mapping[Category, Callable[[Span, Plan, Observed], Proof | None]]] = {
    Category.METER_FROZEN: _frozen,
    Category.POWER_ENERGY_MISMATCH: _mismatch,
    Category.UNUSUAL_PROFILE: _odd,
}
