"""SOC_DROP: the state of charge falls while energy is imported (``docs/categories.md``)."""

from bisect import bisect_right
from typing import Final

from chargewatch.csar2.physics.finding import Fact, Finding
from chargewatch.domain.categories import Category, Severity
from chargewatch.features.flow import Step
from chargewatch.features.record import SessionRecord
from chargewatch.features.register import WH_PER_KWH

_EXACT: Final = 1e-9


class _Delivery:
    """The flow of a session, asked for short spans of time."""

    def __init__(self, record: SessionRecord) -> None:
        self.record = record
        self.ends_s = [step.end_s for step in record.flow]

    def within(self, start_s: float, end_s: float) -> list[Step]:
        """Returns the steps that overlap with a span, in order."""
        flow, position = self.record.flow, bisect_right(self.ends_s, start_s)
        steps = []
        while position < len(flow) and flow[position].start_s < end_s:
            steps.append(flow[position])
            position += 1
        return steps

    def imported_ws(self, start_s: float, end_s: float) -> float:
        """Returns the energy imported within a span, in Ws."""
        steps = self.within(start_s, end_s)
        return sum(s.power_w * (min(s.end_s, end_s) - max(s.start_s, start_s)) for s in steps)

    def flows(self, start_s: float, end_s: float) -> bool:
        """Tells whether energy was imported in a span, from its beginning on, and none exported."""
        least_w = self.record.thresholds.zero_power_kw * WH_PER_KWH
        steps = self.within(start_s, end_s)
        if not steps or steps[0].power_w <= least_w:
            return False
        return self.imported_ws(start_s, end_s) > least_w * (end_s - start_s) and not self.record.exported(
            start_s, end_s
        )


def find(record: SessionRecord) -> list[Finding]:
    """Reports every fall of the SoC that neither export nor a recalibration near full explains."""
    if not may_drop(record):
        return []
    soc, delivery = record.soc, _Delivery(record)
    at, value = soc.at_s, soc.value
    found: list[Finding] = []
    peak = position = 0
    while position + 1 < len(value):
        position += 1
        if value[position] >= value[peak] or not delivery.flows(at[position - 1], at[position]):
            peak = position
        elif _drops(record, value[peak], value[position]):
            low = position
            while low + 1 < len(value) and value[low + 1] < value[low]:
                if not delivery.flows(at[low], at[low + 1]):
                    break
                low += 1
            found.append(_report(delivery, peak, low))
            peak = position = low
    return found


def may_drop(record: SessionRecord) -> bool:
    """Tells whether any value is so far below an earlier one."""
    highest = 0.0
    for value in record.soc.value:
        if value <= highest - record.thresholds.soc_drop_points + _EXACT:
            return True
        highest = max(highest, value)
    return False


def _drops(record: SessionRecord, earlier: float, later: float) -> bool:
    limits = record.thresholds
    return (
        later <= earlier - limits.soc_drop_points + _EXACT and later < limits.soc_drop_recalibration_percent
    )


def _report(delivery: _Delivery, peak: int, low: int) -> Finding:
    soc, points = delivery.record.soc, delivery.record.thresholds.soc_drop_points
    start_s, end_s = soc.at_s[peak], soc.at_s[low]
    drop = soc.value[peak] - soc.value[low]
    facts = (
        Fact("state of charge before", "%", soc.value[peak], None, start_s),
        Fact("state of charge after", "%", soc.value[low], soc.value[peak], end_s),
        Fact("fall of the state of charge", "%", drop, points),
        Fact("energy imported meanwhile", "kWh", delivery.imported_ws(start_s, end_s) / 3600.0 / WH_PER_KWH),
    )
    return Finding(
        category=Category.SOC_DROP,
        start_s=start_s,
        end_s=end_s,
        severity=Severity.INFO,
        strength=drop / points - 1.0,
        facts=facts,
    )
