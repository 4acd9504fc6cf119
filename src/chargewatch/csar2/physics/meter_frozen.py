"""METER_FROZEN: power is drawn and the register does not move (``docs/categories.md``)."""

from collections.abc import Iterator
from typing import Final

from chargewatch.csar2.physics.finding import Fact, Finding
from chargewatch.domain.categories import Category, Severity
from chargewatch.features.record import SessionRecord
from chargewatch.features.register import WH_PER_KWH

_MOMENT_S: Final = 1e-6


def find(record: SessionRecord) -> list[Finding]:
    """Reports every stand of the register during which power or current say charging."""
    if len(record.drawn_w.at_s) < 2:
        return []
    found = [_judge(record, first, last) for first, last in _stands(record)]
    return [finding for finding in found if finding is not None]


def _stands(record: SessionRecord) -> Iterator[tuple[int, int]]:
    """Yields the longest runs of equal readings of the steady register that last long enough."""
    at, wh = record.steady_register
    first = 0
    for i in range(1, len(wh) + 1):
        if i < len(wh) and wh[i] == wh[first]:
            continue
        if at[i - 1] - at[first] >= record.thresholds.frozen_shortest_s - _MOMENT_S:
            yield first, i - 1
        first = i


def need_wh(record: SessionRecord) -> float:
    """Returns the energy that no register hides: fivefold ``tol``, and more than one of its steps as far as seen."""
    limits = record.thresholds
    return max(
        limits.frozen_tolerances * record.tolerance_wh,
        limits.frozen_steps * record.resolution_wh,
    )


def _judge(record: SessionRecord, first: int, last: int) -> Finding | None:
    at, wh = record.steady_register
    limits = record.thresholds
    least_w = limits.frozen_power_kw * WH_PER_KWH
    drawn = [s for s in record.power_bounds.within(at[first], at[last]) if s.power_w >= least_w]
    seconds = sum(s.end_s - s.start_s for s in drawn)
    drawn_wh = sum(s.power_w * (s.end_s - s.start_s) / 3600.0 for s in drawn)
    needed_wh = need_wh(record)
    if seconds < limits.frozen_shortest_s - _MOMENT_S or drawn_wh < needed_wh:
        return None
    start_s, end_s = drawn[0].start_s, drawn[-1].end_s
    if record.exported(start_s, end_s):
        return None
    facts = [
        Fact("register that does not move", "kWh", wh[first] / WH_PER_KWH, None, at[first]),
        Fact("the same at the end", "kWh", wh[last] / WH_PER_KWH, None, at[last]),
        Fact(
            f"energy that {'power' if record.sends_power else 'current'} shows at least",
            "kWh",
            drawn_wh / WH_PER_KWH,
            needed_wh / WH_PER_KWH,
        ),
        Fact("charging while it stands", "min", seconds / 60.0, limits.frozen_shortest_s / 60.0),
        Fact("mean power then", "kW", drawn_wh * 3600.0 / seconds / WH_PER_KWH, limits.frozen_power_kw),
    ]
    if last + 1 < len(wh):
        facts.append(
            Fact("register when it moves again", "kWh", wh[last + 1] / WH_PER_KWH, None, at[last + 1])
        )
    return Finding(
        category=Category.METER_FROZEN,
        start_s=start_s,
        end_s=end_s,
        severity=Severity.CRITICAL,
        strength=min(drawn_wh / needed_wh, seconds / limits.frozen_shortest_s) - 1.0,
        facts=tuple(facts),
    )
