"""Labels: which readings show a fault, and whether they prove it by the definition.

The simulator knows when a fault happened; here only the figures as sent decide what of it can be
seen. A register counts in steps, so the energy between two readings is known to one step; a fault
is visible when its definition holds whatever the hidden part is.

A state of charge that fell may stand below 80 % while a car that is in truth full rests: the readings then show
``CHARGING_EXPECTED`` as well, and whether a taper excuses it is not judged here. That is labelled as not visible.

A fault that is an event (a fall, a jump) is shown by the readings on both sides of it: the readings after a
register or a state of charge has fallen say nothing more of the fall. One that happens several times has a label each.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np

from chargewatch.domain.categories import Category
from chargewatch.simulate.electrical_labels import ELECTRICAL_EVIDENCE, soc_falls
from chargewatch.simulate.energy_evidence import ENERGY_EVIDENCE, impossible_steps
from chargewatch.simulate.meters import Observed
from chargewatch.simulate.plans import Plan
from chargewatch.simulate.records import Floats, Label, Span

_RESTS_KWH = 0.02
"""Between two readings: less is standby."""


class _Evidence(NamedTuple):
    """Positions of the first and last reading that show the fault, and whether they prove it."""

    first: int
    last: int
    proven: bool


class _Seen(NamedTuple):
    """The figures as sent, in seconds, kWh, kW and per cent; shape (n,), None where not sent."""

    at_s: Floats
    register_kwh: Floats | None
    step_kwh: float
    power_kw: Floats | None
    soc: Floats | None
    offered_kw: Floats | None

    def rise_kwh(self, first: int, last: int) -> float:
        """Energy from reading ``first`` to ``last``: by the register, else the integral of power."""
        if self.register_kwh is not None:
            return round(float(self.register_kwh[last] - self.register_kwh[first]), 6)
        assert self.power_kw is not None
        window = slice(first, last + 1)
        return float(np.trapezoid(self.power_kw[window], self.at_s[window])) / 3600.0


def label_faults(
    category: Category, mechanism: str, plan: Plan, observed: Observed, tampered: Span | None
) -> list[Label]:
    """Returns a label for each fault of the plan, by what was sent of it."""
    seen = _seen(plan, observed)
    spans = plan.faults if tampered is None else (tampered,)
    labels = [
        _label(category, mechanism, span, evidence, plan.starts_at, seen)
        for span in spans
        for evidence in _events(category, span, plan, observed, seen)
    ]
    rest = _rest_after_charging(observed, seen) if category is Category.SOC_DROP else None
    if rest is not None:
        labels.append(_label(Category.CHARGING_EXPECTED, mechanism, rest, None, plan.starts_at, seen))
    return labels


def _rest_after_charging(observed: Observed, seen: _Seen) -> Span | None:
    """The time after the last delivery, when the figures alone look like charging that broke off."""
    charging = np.flatnonzero(np.diff(observed.energy_kwh) > _RESTS_KWH)
    if not len(charging) or charging[-1] + 1 >= len(seen.at_s) - 1:
        return None
    rest = Span(float(seen.at_s[charging[-1] + 1]), float(seen.at_s[-1]) + 0.001, 0.0)
    evidence = _expected(rest, seen)
    return rest if evidence is not None and evidence.proven else None


def _events(
    category: Category, span: Span, plan: Plan, observed: Observed, seen: _Seen
) -> Sequence[_Evidence | None]:
    """Returns what shows each event within a span, at least one item: None where nothing does."""
    if category is Category.SOC_DROP:
        events = soc_falls(span, observed)
    elif category is Category.ENERGY_SPIKE:
        events = impossible_steps(span, plan, observed)
    else:
        return (_evidence(category, span, plan, observed, seen),)
    return [_Evidence(first, last, True) for first, last in events] or (None,)


def _evidence(
    category: Category, span: Span, plan: Plan, observed: Observed, seen: _Seen
) -> _Evidence | None:
    if category in ENERGY_EVIDENCE:
        proof = ENERGY_EVIDENCE[category](span, plan, observed)
        return None if proof is None else _Evidence(*proof)
    if category in ELECTRICAL_EVIDENCE:
        shown = ELECTRICAL_EVIDENCE[category](span, plan, observed)
        return None if shown is None else _Evidence(*shown)
    return _EVIDENCE[category](span, seen)


def _seen(plan: Plan, observed: Observed) -> _Seen:
    meter = plan.station.meter
    register = None if observed.register_wh is None else observed.register_wh / 1000.0
    offered = observed.offered_kw if meter.offered != "none" else None
    return _Seen(
        observed.at_s(), register, meter.resolution_wh / 1000.0, observed.power_kw, observed.soc, offered
    )


def _label(
    category: Category,
    mechanism: str,
    span: Span,
    evidence: _Evidence | None,
    starts_at: datetime,
    seen: _Seen,
) -> Label:
    if evidence is None or not evidence.proven:
        start, end = span.start_s, min(span.end_s, float(seen.at_s[-1]))
        return Label(category, mechanism, _time(starts_at, start), _time(starts_at, max(start, end)), False)
    start, end = float(seen.at_s[evidence.first]), float(seen.at_s[evidence.last])
    return Label(category, mechanism, _time(starts_at, start), _time(starts_at, end), True)


def _time(starts_at: datetime, at_s: float) -> datetime:
    return starts_at + timedelta(milliseconds=round(at_s * 1000))


def _inside(span: Span, at_s: Floats) -> tuple[int, int] | None:
    """Positions of the first and last reading taken during ``span``; None: there is none."""
    first, end = np.searchsorted(at_s, (span.start_s, span.end_s))
    return (int(first), int(end) - 1) if first < end else None


# --- the register falls ---------------------------------------------------------------------------


def _decrease(span: Span, seen: _Seen) -> _Evidence | None:
    """From the last reading at the highest count to the last low one of the fall, or of the drop-out.

    Low: by more than the resolution, at least 0.01 kWh.
    """
    inside = _inside(span, seen.at_s)
    if seen.register_kwh is None or inside is None:
        return None
    register = seen.register_kwh[: inside[1] + 1]
    highest = np.maximum.accumulate(register)
    low = np.flatnonzero(highest - register > max(0.01, seen.step_kwh) + 1e-6)
    if not len(low):
        return None
    before = np.flatnonzero(register[: low[0]] == highest[low[0]])
    return _Evidence(int(before[-1]), int(low[-1]), True)


# --- delivery collapses in the middle -------------------------------------------------------------

_LEVEL_WINDOW_S = 1900.0


def _pit(span: Span, seen: _Seen) -> _Evidence | None:
    inside = _inside(span, seen.at_s)
    if inside is None or inside[0] == inside[1]:
        return None
    first, last = inside
    lasts = float(seen.at_s[last] - seen.at_s[first])
    before, after = _level_before(first, span.start_s, seen), _level_after(last, span.end_s, seen)
    lowest_allowed = 0.25 * min(before, after)
    deep = _highest_power(first, last, seen) <= lowest_allowed
    levels = before >= 1.0 and after >= 1.0 and after >= 0.5 * before
    charged = seen.soc is not None and bool((seen.soc[first : last + 1] >= 95.0).any())
    return _Evidence(first, last, deep and levels and not charged and 180.0 <= lasts <= 7200.0)


def _highest_power(first: int, last: int, seen: _Seen) -> float:
    """The highest power (kW) that the readings allow between two of them."""
    if seen.power_kw is not None:
        return float(seen.power_kw[first : last + 1].max())
    hours = float(seen.at_s[last] - seen.at_s[first]) / 3600.0
    return (seen.rise_kwh(first, last) + seen.step_kwh) / hours


def _level_before(first: int, start_s: float, seen: _Seen) -> float:
    """The power (kW) that was proven shortly before ``start_s``."""
    begin = int(np.searchsorted(seen.at_s, start_s - max(_LEVEL_WINDOW_S, 3.0 * _typical_gap_s(seen))))
    if seen.power_kw is not None:
        return float(seen.power_kw[begin:first].max(initial=0.0))
    return max((_least_mean(i, first - 1, seen) for i in range(begin, first - 1)), default=0.0)


def _level_after(last: int, end_s: float, seen: _Seen) -> float:
    """The power (kW) that was proven shortly after ``end_s``."""
    end = int(np.searchsorted(seen.at_s, end_s + max(_LEVEL_WINDOW_S, 3.0 * _typical_gap_s(seen))))
    if seen.power_kw is not None:
        return float(seen.power_kw[last + 1 : end].max(initial=0.0))
    return max((_least_mean(last + 1, i, seen) for i in range(last + 2, end)), default=0.0)


def _least_mean(first: int, last: int, seen: _Seen) -> float:
    hours = float(seen.at_s[last] - seen.at_s[first]) / 3600.0
    return (seen.rise_kwh(first, last) - seen.step_kwh) / hours


def _typical_gap_s(seen: _Seen) -> float:
    return float(np.median(np.diff(seen.at_s))) if len(seen.at_s) > 1 else 0.0


# --- no energy at all -----------------------------------------------------------------------------


def _zero(_span: Span, seen: _Seen) -> _Evidence | None:
    last = len(seen.at_s) - 1
    lasts = float(seen.at_s[last] - seen.at_s[0])
    if lasts <= 0:
        return None
    idle = seen.rise_kwh(0, last) < 0.1 and _highest_power(0, last, seen) <= 0.3
    full = seen.soc is not None and bool(seen.soc[0] >= 95.0)
    return _Evidence(0, last, lasts >= 300.0 and idle and not full)


# --- charging breaks off --------------------------------------------------------------------------


def _expected(span: Span, seen: _Seen) -> _Evidence | None:
    inside = _inside(span, seen.at_s)
    if inside is None or inside[0] == inside[1]:
        return None
    first, last = inside
    lasts = float(seen.at_s[last] - seen.at_s[first])
    delivered = seen.rise_kwh(0, first)
    resting = _rests(first, last, seen)
    resumes = last + 1 < len(seen.at_s)
    long_enough = lasts >= 1800.0 and (not resumes or lasts > 7200.0)
    reason = (
        _low_battery(first, last, seen)
        or _offer_unused(first, last, delivered, seen)
        or _hardly_begun(first, last, delivered, lasts, seen)
    )
    return _Evidence(first, last, delivered >= 0.1 and resting and long_enough and reason)


def _rests(first: int, last: int, seen: _Seen) -> bool:
    step = seen.step_kwh if seen.register_kwh is not None else 0.0
    still = seen.power_kw is None or bool((seen.power_kw[first : last + 1] < 0.1).all())
    return still and seen.rise_kwh(first, last) <= max(step, 0.1)


def _low_battery(first: int, last: int, seen: _Seen) -> bool:
    return seen.soc is not None and bool((seen.soc[first : last + 1] < 80.0).all())


def _offer_unused(first: int, last: int, delivered: float, seen: _Seen) -> bool:
    if seen.soc is not None or seen.offered_kw is None or delivered >= 3.0:
        return False
    return bool((seen.offered_kw[first : last + 1] >= 1.4).all()) and _broke_off(first, seen)


def _broke_off(first: int, seen: _Seen) -> bool:
    """Within one sampling interval from at least half of the highest level to nothing."""
    if seen.power_kw is not None and float(seen.power_kw[:first].max(initial=0.0)) >= 0.5:
        return bool(seen.power_kw[first - 1] >= 0.5 * seen.power_kw[:first].max())
    if seen.register_kwh is None:
        return False
    levels = np.diff(seen.register_kwh[: first + 1]) / np.diff(seen.at_s[: first + 1])
    return bool(levels[-2:].max() >= 0.5 * levels.max()) if len(levels) else False


def _hardly_begun(first: int, last: int, delivered: float, lasts: float, seen: _Seen) -> bool:
    charged = seen.soc is not None and bool((seen.soc[first : last + 1] >= 80.0).any())
    return delivered < 0.5 and lasts >= 3600.0 and not charged


_EVIDENCE = {
    Category.KWH_DECREASE: _decrease,
    Category.ENERGY_PIT: _pit,
    Category.ZERO_SESSION: _zero,
    Category.CHARGING_EXPECTED: _expected,
}
