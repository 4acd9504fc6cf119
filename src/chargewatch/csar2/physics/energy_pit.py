"""ENERGY_PIT: delivery collapses in the middle of the session and comes back (``docs/categories.md``)."""

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from chargewatch.csar2.physics.finding import Fact, Finding
from chargewatch.domain.categories import Category, Severity
from chargewatch.features.flow import Step, median
from chargewatch.features.record import SessionRecord
from chargewatch.features.register import WH_PER_KWH

FEWEST_READINGS: Final = 6
_LEVEL_WINDOW_S: Final = 1200.0  # two readings 15 min apart fall into it, whatever their jitter
_LEVEL_STEPS: Final = 5
_LEVEL_NEAR_S: Final = 300.0
_TAIL: Final = 0.3
_NEAREST_COUNTS: Final = 3  # of phases: a station may switch to and fro within the window
_CONTRADICTED: Final = 0.8


class Pit(NamedTuple):
    """A run of low steps ``first`` to ``last`` (positions in the flow) with the levels around it in W."""

    first: int
    last: int
    before_w: float
    after_w: float


def find(record: SessionRecord) -> list[Finding]:
    """Reports every pit that nothing in the readings or declared explains."""
    if record.managed or record.flow_readings < FEWEST_READINGS:
        return []
    return [_report(record, pit) for pit in pits(record) if not _explained(record, pit)]


def pits(record: SessionRecord) -> list[Pit]:
    """Finds collapses of the flow by depth, level, duration and recovery alone."""
    flow, limits = record.flow, record.thresholds
    least_w = limits.pit_level_kw * WH_PER_KWH
    highest_w = highest_before(flow)
    found: list[Pit] = []
    within: list[
        tuple[int, int]
    ] = []  # runs, each in the one before, that are no pits and hold this position
    position = 1
    while position < len(flow):
        while within and position > within[-1][1]:
            within.pop()
        low_w = limits.pit_depth * highest_w[position]
        if highest_w[position] < least_w or flow[position].power_w > low_w:
            position += 1
            continue
        before_w = level_before(flow, position, within[-1][0] if within else 0, limits.pit_depth)
        low_w = limits.pit_depth * before_w
        if before_w < least_w or flow[position].power_w > low_w:
            position += 1
            continue
        last = position
        while last + 1 < len(flow) and flow[last + 1].power_w <= low_w:
            last += 1
        pit = _trimmed(flow, Pit(position, last, before_w, _level_after(flow, last, low_w)), limits.pit_depth)
        if pit is not None and _is_pit(record, pit):
            found.append(pit)
            position = last
        else:
            within.append((position, last))
        position += 1
    return found


def highest_before(flow: Sequence[Step]) -> list[float]:
    """Returns for each step the most that the level before it can be: the highest of the 20 minutes before."""
    highest = [0.0]
    falling: deque[int] = deque()  # steps of the window, each above all later ones
    for i in range(1, len(flow)):
        while falling and flow[falling[-1]].power_w <= flow[i - 1].power_w:
            falling.pop()
        falling.append(i - 1)
        while len(falling) > 1 and flow[i].start_s - flow[falling[0]].end_s > _LEVEL_WINDOW_S:
            falling.popleft()
        highest.append(flow[falling[0]].power_w)
    return highest


def level_before(flow: Sequence[Step], position: int, floor: int, depth: float) -> float:
    """Returns the level right before a step: the median of the nearest steps before it that are not low.

    Steps before ``floor`` do not count. The last one may hold a part of the collapse: it counts only where it
    is alone.
    """
    ranked: list[float] = []
    start_s = flow[position].start_s
    for i in range(position - 1, floor - 1, -1):
        step = flow[i]
        if ranked and (
            _too_far(start_s - step.end_s, len(ranked))
            or step.power_w <= depth * ranked[(len(ranked) - 1) // 2]
        ):
            break
        insort(ranked, step.power_w)
    if len(ranked) > 1:
        ranked.remove(flow[position - 1].power_w)
    return ranked[(len(ranked) - 1) // 2]


def _level_after(flow: Sequence[Step], last: int, low_w: float) -> float:
    """Returns the level after a low run: the median of the nearest steps after it until the flow is low again.

    The first one may hold a part of the recovery, or be the only one before a taper: as a power reading it counts
    by itself. A register's step says too little alone: a coarse register makes it twice what was delivered.
    """
    window: list[float] = []
    end_s = flow[last].end_s
    for i in range(last + 1, len(flow)):
        step = flow[i]
        if step.power_w <= low_w or (window and _too_far(step.start_s - end_s, len(window))):
            break
        window.append(step.power_w)
    if not window:
        return 0.0
    if len(window) == 1:
        return window[0]
    level_w = median(window[1:])
    first = flow[last + 1]
    return max(window[0], level_w) if first.first_s == first.last_s else level_w


def _too_far(seconds: float, steps: int) -> bool:
    """Tells whether a step this far from a run, with so many between, says nothing on the level beside it."""
    return seconds > _LEVEL_WINDOW_S or (steps >= _LEVEL_STEPS and seconds > _LEVEL_NEAR_S)


def _trimmed(flow: Sequence[Step], pit: Pit, depth: float) -> Pit | None:
    """Cuts the run to the steps that are low against the level after as well."""
    limit_w = depth * min(pit.before_w, pit.after_w)
    low = [i for i in range(pit.first, pit.last + 1) if flow[i].power_w <= limit_w]
    return pit._replace(first=low[0], last=low[-1]) if low else None


def _is_pit(record: SessionRecord, pit: Pit) -> bool:
    limits = record.thresholds
    run = record.flow[pit.first : pit.last + 1]
    low_s = sum(s.duration_s for s in run if s.power_w <= limits.pit_depth * min(pit.before_w, pit.after_w))
    whole_s = run[-1].end_s - run[0].start_s
    return (
        pit.after_w >= limits.pit_level_kw * WH_PER_KWH
        and pit.after_w >= limits.pit_recovery * pit.before_w
        and low_s >= limits.pit_shortest_s - 1e-6
        and whole_s <= limits.pit_longest_s + 1e-6
    )


def _explained(record: SessionRecord, pit: Pit) -> bool:
    """Tells whether the readings show why delivery collapsed, or that it did not."""
    run = record.flow[pit.first : pit.last + 1]
    start_s, end_s = run[0].first_s, run[-1].last_s
    soc = record.soc.last_before(start_s)
    if soc is None and record.soc.value:
        soc = record.soc.value[0]
    if soc is not None and soc >= record.thresholds.pit_soc_percent:
        return True
    return (
        record.exported(start_s, end_s)
        or _is_tail(record, pit, soc)
        or offer_fell(record, start_s, end_s)
        or _phases_changed(record, start_s, end_s)
        or _register_contradicts(record, pit)
    )


def _is_tail(record: SessionRecord, pit: Pit, soc: float | None) -> bool:
    """Tells whether the level before was only the tail of a taper: the battery was nearly full."""
    peak_w = max(step.power_w for step in record.flow[: pit.first])
    return soc is None and pit.before_w < _TAIL * peak_w


def offer_fell(record: SessionRecord, start_s: float, end_s: float) -> bool:
    """Tells whether the power on offer was lower than before for at least half of the time."""
    offers = record.offered_w.between(start_s, end_s)
    if not offers:
        at_start = record.offered_w.last_before(start_s)
        offers = [] if at_start is None else [at_start]
    before = record.offered_w.between(start_s - _LEVEL_WINDOW_S, start_s - 1e-3)
    if not before:
        earlier = record.offered_w.last_before(start_s - 1e-3)
        before = [] if earlier is None else [earlier]
    if not offers or not before:
        return False
    lowered = [w <= (1.0 - record.thresholds.offer_fall) * max(before) for w in offers]
    return 2 * sum(lowered) >= len(lowered)


def _phases_changed(record: SessionRecord, start_s: float, end_s: float) -> bool:
    before = record.phases.between(start_s - _LEVEL_WINDOW_S, start_s - 1e-3)
    after = record.phases.between(end_s + 1e-3, end_s + _LEVEL_WINDOW_S)
    used_before, used_after = [n for n in before if n > 0], [n for n in after if n > 0]
    if not (used_before and used_after):
        return False
    nearest = median(used_before[-_NEAREST_COUNTS:]) != median(used_after[:_NEAREST_COUNTS])
    return nearest or median(used_before) != median(used_after)


def _register_contradicts(record: SessionRecord, pit: Pit) -> bool:
    """Tells whether the register went on while the power readings said nothing was delivered."""
    if record.flow_source != "power" or pit.last + 1 >= len(record.flow):
        return False
    start_s, end_s = record.flow[pit.first - 1].last_s, record.flow[pit.last + 1].first_s
    rise = record.register_rise_wh(start_s, end_s)
    if rise is None:
        return False
    owed_wh = _not_counted_wh(record, pit, start_s)
    mean_w = max(rise - record.resolution_wh - owed_wh, 0.0) * 3600.0 / (end_s - start_s)
    return mean_w > _CONTRADICTED * min(pit.before_w, pit.after_w)


def _not_counted_wh(record: SessionRecord, pit: Pit, start_s: float) -> float:
    """Returns what was drawn before the run since the register last moved: a register that stood counts it later."""
    register = record.steady_register
    first = last = bisect_right(register.at_s, start_s) - 1
    while first > 0 and register.value[first - 1] == register.value[last]:
        first -= 1
    since_s = register.at_s[max(first, 0)]
    drawn = (
        step.power_w * (min(step.end_s, start_s) - max(step.start_s, since_s))
        for step in record.flow[: pit.first]
        if step.end_s > since_s and step.start_s < start_s
    )
    return sum(drawn) / 3600.0


def _report(record: SessionRecord, pit: Pit) -> Finding:
    run = record.flow[pit.first : pit.last + 1]
    lowest_w = max(step.power_w for step in run)
    level_w = min(pit.before_w, pit.after_w)
    minutes = (run[-1].end_s - run[0].start_s) / 60.0
    facts = (
        Fact("power before", "kW", pit.before_w / WH_PER_KWH, None, record.flow[pit.first - 1].last_s),
        Fact(
            "highest power in the pit",
            "kW",
            lowest_w / WH_PER_KWH,
            record.thresholds.pit_depth * level_w / WH_PER_KWH,
            run[0].last_s,
        ),
        Fact("power after", "kW", pit.after_w / WH_PER_KWH, None, record.flow[pit.last + 1].last_s),
        Fact("duration", "min", minutes, record.thresholds.pit_shortest_s / 60.0),
    )
    return Finding(
        category=Category.ENERGY_PIT,
        start_s=run[0].first_s,
        end_s=run[-1].last_s,
        severity=Severity.WARNING,
        strength=(1.0 - lowest_w / (record.thresholds.pit_depth * level_w)) * 4.0
        + (level_w / (record.thresholds.pit_level_kw * WH_PER_KWH) - 1.0) / 2.0,
        facts=facts,
    )
