"""ENERGY_SPIKE: more energy or power than anything could deliver (``docs/categories.md``)."""

import math
from collections.abc import Iterator

from chargewatch.csar2.physics.finding import Fact, Finding
from chargewatch.domain.categories import Category, Severity
from chargewatch.features.record import SessionRecord
from chargewatch.features.register import WH_PER_KWH


def find(record: SessionRecord) -> list[Finding]:
    """Reports steps of the register and readings of power that nothing could deliver."""
    found = [_report_step(record, i) for i in _jumps(record)]
    if record.sends_power:
        found += [
            _report_power(record, first, last)
            for first, last in _runs_beyond(record)
            if not _is_inrush(record, first, last)
        ]
    return found


def _jumps(record: SessionRecord) -> Iterator[int]:
    """Yields the positions in the steady register to which it rises by more than could be delivered."""
    at, wh = record.steady_register
    limits = record.thresholds
    slack_wh = limits.spike_tolerances * record.grain_wh
    stood_since = 0
    for i in range(1, len(wh)):
        if wh[i] == wh[i - 1]:
            continue
        rise, since = wh[i] - wh[i - 1], stood_since
        stood_since = i
        seconds = at[i] - max(at[since], at[i - 1] - limits.spike_stand_s)
        if rise <= record.most_w * seconds / 3600.0 + slack_wh:
            continue
        if since < i - 1 and _catches_up(record, at[since], at[i], rise - slack_wh):
            continue
        yield i


def _catches_up(record: SessionRecord, start_s: float, end_s: float, rise_wh: float) -> bool:
    """Tells whether measured power explains a rise after the register stood."""
    bounds = record.power_bounds.between(start_s, end_s)
    return bounds is not None and rise_wh <= (1.0 + record.thresholds.mismatch_share) * bounds.high_wh


def _report_step(record: SessionRecord, i: int) -> Finding:
    at, wh = record.steady_register
    seconds, rise_wh = at[i] - at[i - 1], wh[i] - wh[i - 1]
    could_wh = record.most_w * seconds / 3600.0
    slack_wh = record.thresholds.spike_tolerances * record.grain_wh
    facts = (
        Fact("register before the rise", "kWh", wh[i - 1] / WH_PER_KWH, None, at[i - 1]),
        Fact("register after the rise", "kWh", wh[i] / WH_PER_KWH, None, at[i]),
        Fact(
            "rise against what could be delivered", "kWh", rise_wh / WH_PER_KWH, could_wh / WH_PER_KWH, at[i]
        ),
        Fact(
            "mean power of the rise",
            "kW",
            rise_wh * 3600.0 / seconds / WH_PER_KWH,
            record.most_w / WH_PER_KWH,
        ),
    )
    return Finding(
        category=Category.ENERGY_SPIKE,
        start_s=at[i - 1],
        end_s=at[i],
        severity=Severity.CRITICAL,
        strength=rise_wh / (could_wh + slack_wh) - 1.0,
        facts=facts,
        disputed_wh=max(rise_wh - could_wh, 0.0),
    )


def _runs_beyond(record: SessionRecord) -> list[tuple[int, int]]:
    """Returns the runs of power readings above what could be delivered, as first and last position."""
    runs: list[tuple[int, int]] = []
    for i, watts in enumerate(record.power.value):
        if watts <= record.most_w:
            continue
        if runs and runs[-1][1] == i - 1:
            runs[-1] = (runs[-1][0], i)
        else:
            runs.append((i, i))
    return runs


def _is_inrush(record: SessionRecord, first: int, last: int) -> bool:
    """Tells whether readings beyond the rated power are the short inrush at the beginning of a charge.

    The level after it may not be known yet; then the limit itself stands for it, which can only excuse more.
    """
    at, watts = record.power
    limits = record.thresholds
    if math.isnan(record.rated_power_w) or at[last] - at[first] > limits.spike_inrush_s:
        return False
    if max(watts[first : last + 1]) > limits.spike_inrush * record.rated_power_w:
        return False
    before_w = watts[first - 1] if first else 0.0
    after_w = watts[last + 1] if last + 1 < len(watts) else record.most_w
    return before_w <= limits.spike_inrush_before * after_w


def _report_power(record: SessionRecord, first: int, last: int) -> Finding:
    at, watts = record.power
    highest = max(range(first, last + 1), key=lambda i: watts[i])
    rated = None if math.isnan(record.rated_power_w) else record.rated_power_w / WH_PER_KWH
    facts = [
        Fact(
            "power reading beyond what could be delivered",
            "kW",
            watts[highest] / WH_PER_KWH,
            record.most_w / WH_PER_KWH,
            at[highest],
        ),
        Fact("readings beyond it", "1", float(last - first + 1), 0.0),
    ]
    if rated is not None:
        facts.append(Fact("rated power", "kW", rated))
    return Finding(
        category=Category.ENERGY_SPIKE,
        start_s=at[first],
        end_s=at[last],
        severity=Severity.CRITICAL,
        strength=watts[highest] / record.most_w - 1.0 if record.most_w > 0 else 1.0,
        facts=tuple(facts),
        disputed_wh=_excess_wh(record, first, last) if record.energy_source == "power" else 0.0,
    )


def _excess_wh(record: SessionRecord, first: int, last: int) -> float:
    """The part of the integral of power, beside and between readings, that is beyond what could be delivered."""
    at, watts = record.power
    return sum(
        max((watts[i] + watts[i + 1]) / 2 - record.most_w, 0.0) * (at[i + 1] - at[i]) / 3600.0
        for i in range(max(first - 1, 0), min(last + 1, len(at) - 1))
    )
