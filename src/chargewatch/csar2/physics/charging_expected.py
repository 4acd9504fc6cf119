"""CHARGING_EXPECTED: a vehicle that should be charging gets no energy (``docs/categories.md``)."""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from chargewatch.csar2.physics.finding import Fact, Finding
from chargewatch.domain.categories import Category, Severity
from chargewatch.features.flow import Step
from chargewatch.features.record import Curve, SessionRecord
from chargewatch.features.register import WH_PER_KWH

_WITHDRAWN_W: Final = 1000.0
_TAIL_WINDOW_S: Final = 900.0
_TAIL_STEPS: Final = 4
_TAIL_SHORTEST_S: Final = 120.0
_TAIL_END: Final = 0.35
_TAIL_OF_PEAK: Final = 0.15
_SOC_RISES: Final = 2.0

Ground = Literal["state of charge", "unused offer", "early end"]


class Idle(NamedTuple):
    """A run of idle steps ``first`` to ``last`` (positions in the flow) after an active one."""

    first: int
    last: int


def find(record: SessionRecord) -> list[Finding]:
    """Reports times without energy, to the end of the readings or for more than two hours."""
    limits = record.thresholds
    total_wh = record.imported_wh
    if total_wh is None or total_wh < limits.expected_delivered_kwh * WH_PER_KWH:
        return []
    findings = []
    for idle in idles(record.flow, limits.zero_power_kw * WH_PER_KWH):
        finding = _judge(record, idle)
        if finding is not None:
            findings.append(finding)
    return findings


def idles(flow: Sequence[Step], limit_w: float) -> list[Idle]:
    """Finds the runs of steps at or below ``limit_w`` that follow a step above it."""
    found: list[Idle] = []
    for i in range(1, len(flow)):
        if flow[i].power_w > limit_w:
            continue
        if flow[i - 1].power_w > limit_w:
            found.append(Idle(i, i))
        elif found and found[-1].last == i - 1:
            found[-1] = Idle(found[-1].first, i)
    return found


def _judge(record: SessionRecord, idle: Idle) -> Finding | None:
    limits, flow = record.thresholds, record.flow
    start_s, end_s = flow[idle.first].start_s, flow[idle.last].end_s
    resumes = idle.last + 1 < len(flow)
    if end_s - start_s < limits.expected_idle_s - 1e-6 or (
        resumes and end_s - start_s <= limits.expected_resume_s
    ):
        return None
    delivered_wh = record.imported_until(flow[idle.first].first_s) or 0.0
    if delivered_wh < limits.expected_delivered_kwh * WH_PER_KWH or _explained(record, idle):
        return None
    start_s, end_s = _offer_stands(record, idle)
    if resumes and end_s - start_s <= limits.expected_resume_s:
        return None
    ground = _ground(record, idle, delivered_wh, start_s, end_s)
    return None if ground is None else _report(record, idle, ground, delivered_wh, start_s, end_s)


def _explained(record: SessionRecord, idle: Idle) -> bool:
    """Tells whether the readings show that energy flowed, or why it should not."""
    start_s, end_s = record.flow[idle.first].first_s, record.flow[idle.last].last_s
    limits = record.thresholds
    rise_wh = record.register_rise_wh(start_s, end_s)
    if rise_wh is not None and rise_wh > limits.zero_power_kw * (end_s - start_s) / 3.6 + record.tolerance_wh:
        return True
    if record.exported(start_s, end_s):
        return True
    soc = record.soc.between(start_s, end_s)
    if soc and soc[-1] - soc[0] >= _SOC_RISES:
        return True
    if record.managed and not record.offered_w.at_s:
        return True
    return is_tapered(record.flow, idle.first, partial=record.flow_source != "power")


def is_tapered(flow: Sequence[Step], idle: int, *, partial: bool) -> bool:
    """Tells whether delivery died away before the step at ``idle``, as a battery that is full lets it.

    ``partial``: the step before may hold only a part of an interval's energy.
    """
    last_w = flow[idle - 1].power_w
    ending_w = max(last_w, flow[idle - 2].power_w) if partial and idle >= 2 else last_w
    if ending_w < _TAIL_OF_PEAK * max(step.power_w for step in flow[:idle]):
        return True
    window = [
        i
        for i in range(idle)
        if i >= idle - _TAIL_STEPS or flow[idle].start_s - flow[i].end_s <= _TAIL_WINDOW_S
    ]
    ranked = sorted(flow[i].power_w for i in window)
    level_w = ranked[-2] if len(ranked) >= _TAIL_STEPS else ranked[-1]  # one odd step makes no level
    high = max(i for i in window if flow[i].power_w >= 0.8 * level_w)
    tail = [flow[i] for i in window if i > high]
    return (
        len(tail) >= 2
        and tail[-1].end_s - tail[0].start_s >= _TAIL_SHORTEST_S
        and last_w <= _TAIL_END * level_w
    )


def _offer_stands(record: SessionRecord, idle: Idle) -> tuple[float, float]:
    """Cuts an idle time to its longest part in which the offer was not withdrawn (all of it without offers)."""
    first = record.flow[idle.first]
    start_s, end_s = first.start_s, record.flow[idle.last].end_s
    cuts = _withdrawals(record.offered_w, start_s, end_s, first.last_s)
    best = (start_s, start_s)
    begin: float | None = None
    for at, withdrawn in [*cuts, (end_s, True)]:
        if withdrawn and begin is not None:
            best = max(best, (begin, at), key=lambda part: part[1] - part[0])
            begin = None
        elif not withdrawn and begin is None:
            begin = at
    return best


def _withdrawals(offered: Curve, start_s: float, end_s: float, first_s: float) -> list[tuple[float, bool]]:
    """Returns when the offer stands (False) or is withdrawn (True), from ``start_s`` on.

    ``first_s`` is when the first reading shows that nothing is delivered.
    """
    inside = [(at, w) for at, w in zip(*offered, strict=True) if start_s < at <= end_s]
    at_start = offered.last_before(start_s)
    first = (inside[0][1] if inside else None) if at_start is None else at_start
    if inside and inside[0][0] <= first_s and inside[0][1] < _WITHDRAWN_W:
        first = inside[0][1]  # the offer fell between two readings, and delivery with it
    state = [(start_s, first is not None and first < _WITHDRAWN_W)]
    state.extend((at, w < _WITHDRAWN_W) for at, w in inside)
    return state


def _ground(
    record: SessionRecord, idle: Idle, delivered_wh: float, start_s: float, end_s: float
) -> Ground | None:
    """Returns why this vehicle should be charging, None where nothing says so."""
    limits = record.thresholds
    idle_s = end_s - start_s + 1e-6
    last_s = record.flow[idle.last].last_s
    soc, target = record.soc.last_before(last_s), record.target_soc.last_before(last_s)
    if soc is not None and soc >= min(limits.expected_soc_percent, 100.0 if target is None else target):
        return None
    if idle_s >= limits.expected_idle_s:
        if soc is not None:
            return "state of charge"
        if (
            delivered_wh < limits.expected_own_limit_kwh * WH_PER_KWH
            and start_s == record.flow[idle.first].start_s  # not after an offer that was withdrawn first
            and _offer_unused(record, start_s, end_s)
            and _broke_off(record, idle)
        ):
            return "unused offer"
    early = delivered_wh < limits.expected_early_kwh * WH_PER_KWH
    return "early end" if early and idle_s >= limits.expected_early_idle_s else None


def _offer_unused(record: SessionRecord, start_s: float, end_s: float) -> bool:
    """Tells whether an offer worth taking stood all the time (the reading that withdraws it left out)."""
    offers = [w for w in record.offered_w.between(start_s, end_s) if w >= _WITHDRAWN_W]
    if not offers:
        newest = record.offered_w.last_before(start_s)
        offers = [] if newest is None else [newest]
    return bool(offers) and min(offers) >= record.thresholds.expected_offer_kw * WH_PER_KWH


def _broke_off(record: SessionRecord, idle: Idle) -> bool:
    """Tells whether delivery ended within one sampling interval from at least half of the session's peak."""
    flow = record.flow
    peak_w = max(step.power_w for step in flow[: idle.first])
    needed_w = record.thresholds.expected_break_off * peak_w
    if flow[idle.first - 1].power_w >= needed_w:
        return True
    # The register's step in which it broke off holds only a part of an interval's energy.
    partial = record.flow_source != "power" and idle.first >= 2
    return partial and flow[idle.first - 2].power_w >= needed_w


def _report(
    record: SessionRecord, idle: Idle, ground: Ground, delivered_wh: float, start_s: float, end_s: float
) -> Finding:
    limits, flow = record.thresholds, record.flow
    needed_s = limits.expected_early_idle_s if ground == "early end" else limits.expected_idle_s
    first_s = max(flow[idle.first].first_s, start_s)
    last_s = min(flow[idle.last].last_s, end_s)
    facts = [
        Fact(f"time without energy ({ground})", "min", (end_s - start_s) / 60.0, needed_s / 60.0, first_s),
        Fact("energy delivered before", "kWh", delivered_wh / WH_PER_KWH),
        Fact(
            "power before", "kW", flow[idle.first - 1].power_w / WH_PER_KWH, None, flow[idle.first - 1].last_s
        ),
    ]
    soc = record.soc.last_before(flow[idle.last].last_s)
    if soc is not None:
        facts.append(Fact("state of charge", "%", soc, limits.expected_soc_percent))
    offers = record.offered_w.between(start_s, end_s)
    if offers:
        facts.append(Fact("power on offer", "kW", min(offers) / WH_PER_KWH, limits.expected_offer_kw))
    return Finding(
        category=Category.CHARGING_EXPECTED,
        start_s=first_s,
        end_s=last_s,
        severity=Severity.WARNING,
        strength=(end_s - start_s) / needed_s - 1.0,
        facts=tuple(facts),
    )
