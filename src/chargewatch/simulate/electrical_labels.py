"""Which readings show a fault of the electrical side, and whether they prove it by the definition."""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from chargewatch.domain.categories import Category
from chargewatch.simulate.chargers import NOMINAL_V
from chargewatch.simulate.meters import Observed
from chargewatch.simulate.plans import Plan
from chargewatch.simulate.records import Span

Shown: TypeAlias = tuple[int, int, bool]
"""Positions of the first and the last reading that show the fault, and whether they prove it."""


_SOC_POINTS: Final = 3.0
_RECALIBRATED: Final = 97.0
_IMPORT_KW: Final = 0.3


def _ends(showing: NDArray[np.bool_], *, proven: bool = True) -> Shown | None:
    places = np.flatnonzero(showing)
    return (int(places[0]), int(places[-1]), proven) if len(places) else None


def _during(span: Span, observed: Observed) -> NDArray[np.bool_]:
    at = observed.at_s()
    inside: NDArray[np.bool_] = (at >= span.start_s) & (at < span.end_s)
    return inside


def soc_falls(span: Span, observed: Observed) -> list[tuple[int, int]]:
    """Returns the falls by 3 points or more to below 97 % while energy is imported (more than standby).

    Each from the last reading at the earlier value, which is the highest since the fall before or since a time
    without import, to the lowest: the fall goes on as long as each next value is lower. Those that end in ``span``.
    """
    if observed.soc is None:
        return []
    soc, at = observed.soc.tolist(), observed.at_s()
    mean_kw = np.diff(observed.energy_kwh) * 3600.0 / np.maximum(np.diff(at), 1e-3)
    imported = [False, *(mean_kw > _IMPORT_KW).tolist()]
    falls, top, place = [], 0, 1
    while place < len(soc):
        if soc[place] >= soc[top] or not imported[place]:
            top = place
        elif soc[top] - soc[place] >= _SOC_POINTS and soc[place] < _RECALIBRATED:
            while place + 1 < len(soc) and soc[place + 1] < soc[place] and imported[place + 1]:
                place += 1
            falls.append((top, place))
            top = place
        place += 1
    return [(first, last) for first, last in falls if span.start_s <= at[last]]


def _phase_loss(span: Span, plan: Plan, observed: Observed) -> Shown | None:
    """A phase at ~0 that carried 3 A or more, while another goes on and the sum falls."""
    if observed.current_a is None or plan.station.meter.electrics.current != "phases":
        return None
    before = observed.at_s() < span.start_s
    if not before.any():
        return None
    usual = np.percentile(observed.current_a[:, before], 90, axis=1)
    gone = (observed.current_a <= 0.5) & (usual[:, None] >= 3.0)
    on = observed.current_a >= 0.5 * np.maximum(usual, 6.0)[:, None]
    showing = gone.any(axis=0) & on.any(axis=0) & _during(span, observed)
    known = observed.soc is None or bool((observed.soc[showing] <= 90.0).all())
    return _ends(showing, proven=known and int(showing.sum()) >= 2)


def _voltage(span: Span, plan: Plan, observed: Observed) -> Shown | None:
    """The readings out of ±11 % of every nominal voltage that the session's median may stand for."""
    if observed.voltage_v is None or plan.station.meter.electrics.voltage in ("lines", "first"):
        return None
    middle = float(np.median(observed.voltage_v))
    nearest = min(NOMINAL_V, key=lambda volts: abs(volts - middle))
    out = np.ones(observed.voltage_v.shape, dtype=bool)
    for nominal in NOMINAL_V:
        if nominal == nearest or abs(nominal / middle - 1.0) < 0.03:
            out &= np.abs(observed.voltage_v / nominal - 1.0) > 0.115
    pairs = out[:, 1:] & out[:, :-1]
    return _ends(out.any(axis=0) & _during(span, observed), proven=bool(pairs.any()))


def _derating(span: Span, _plan: Plan, observed: Observed) -> Shown | None:
    """The readings with at most 0.7 of the power before, of which the first follows the temperature's high."""
    if observed.power_kw is None or not observed.temperature_c:
        return None
    before = np.flatnonzero(observed.at_s() < span.start_s)
    low = np.flatnonzero(_during(span, observed))
    if len(before) < 2 or not len(low):
        return None
    celsius = next(iter(observed.temperature_c.values()))
    at_step = max(celsius[before[-1]], celsius[low[0]])
    hot = at_step >= 60.0 and at_step >= celsius.max() - 1.0
    level, after = float(np.median(observed.power_kw[before[-2:]])), observed.power_kw[low]
    stepped = float(after[:2].max()) <= 0.68 * level
    return int(low[0]), int(low[-1]), bool(hot and stepped and len(low) >= 2)


ELECTRICAL_EVIDENCE: Final[Mapping[Category, Callable[[Span, Plan, Observed], Shown | None]]] = {
    Category.PHASE_LOSS: _phase_loss,
    Category.VOLTAGE_OUT_OF_RANGE: _voltage,
    Category.THERMAL_DERATING: _derating,
}
