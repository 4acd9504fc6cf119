"""The categories of delivery and KWH_DECREASE as ``docs/categories.md`` defines them, the slow and obvious way.

Each takes a ``session.Session`` and returns findings (category, start µs, end µs, severity), times since 1970.
"""

from tests.reference.readings import (
    MOMENT,
    at,
    between,
    lower_median,
    neighbours,
)
from tests.reference.register import (
    rise_of,
)
from tests.reference.session import (
    energy_until,
    steady_register,
)

MINUTE = 60.0


def finding(s, category, start, end, severity):
    return (category, s.first_us + round(start * 1e6), s.first_us + round(end * 1e6), severity)


def exports(s, start, end):
    if any(w >= 100 for _, w in between(s.export_power, start, end)):
        return True
    inside = [v for _, v in between(s.export_register, start, end)]
    if inside:
        before = at(s.export_register, start)
        if inside[-1] - (inside[0] if before is None else before) > 10:
            return True
    return sum(wh for _, wh in between(s.export_intervals, start, end)) > 10


# ------------------------------------------------------------------------------------------- KWH_DECREASE


def kwh_decrease(s):
    return [
        finding(s, "KWH_DECREASE", f.start, f.end, "warning" if f.kind == "drop_out" else "critical")
        for f in s.falls
    ]


# --------------------------------------------------------------------------------------------- ENERGY_PIT


def level_before(s, run_start, earliest):
    """Lower median of the nearest steps before the run; the one next to it may hold a part of the collapse."""
    taken = []
    for step in reversed(s.flow[earliest:run_start]):
        if taken and too_far(s.flow[run_start].start - step.end, taken):
            break
        if taken and step.w <= 0.25 * lower_median(taken):
            break
        taken.append(step.w)
    return lower_median(taken[1:] if len(taken) > 1 else taken)


def level_after(s, run_end, before):
    """Lower median of the nearest steps after the run; their first, as a power reading, if that is higher."""
    taken = []
    for step in s.flow[run_end + 1 :]:
        if taken and too_far(step.start - s.flow[run_end].end, taken):
            break
        if step.w <= 0.25 * before:
            break
        taken.append(step.w)
    if len(taken) > 1:
        first = s.flow[run_end + 1]
        is_reading = first.first_reading == first.last_reading
        return max(taken[0], lower_median(taken[1:])) if is_reading else lower_median(taken[1:])
    return taken[0] if taken else 0.0


def too_far(seconds, taken):
    """Nearest are five steps within 20 min, and all within 5 min."""
    return seconds > 20 * MINUTE or (len(taken) >= 5 and seconds > 5 * MINUTE)


def energy_pit(s):
    if s.flow_readings < 6 or s.managed:
        return []
    findings = []
    for first, last, before, after in pits_within(s, 1, len(s.flow), 0):
        if not excused_pit(s, first, last, before, after):
            start, end = s.flow[first].first_reading, s.flow[last].last_reading
            findings.append(finding(s, "ENERGY_PIT", start, end, "warning"))
    return findings


def pits_within(s, begin, end, earliest):
    """Tries every step as the first of a run; in a run that is no pit, looks for shorter ones."""
    pits = []
    i = begin
    while i < end:
        before = level_before(s, i, earliest)
        if before < 1000 or s.flow[i].w > 0.25 * before:
            i += 1
            continue
        run_end = i
        while run_end + 1 < len(s.flow) and s.flow[run_end + 1].w <= 0.25 * before:
            run_end += 1
        pit = pit_of(s, i, run_end, before)
        pits += [pit] if pit else pits_within(s, i + 1, run_end + 1, i)
        i = run_end + 1
    return pits


def pit_of(s, run_start, run_end, before):
    """(first, last, level before, level after) of a run that is a pit."""
    flow = s.flow
    after = level_after(s, run_end, before)
    if after < 1000 or after < 0.5 * before:
        return None
    low = [j for j in range(run_start, run_end + 1) if flow[j].w <= 0.25 * after]
    if not low:
        return None
    low_time = sum(flow[j].end - flow[j].start for j in low)
    whole_time = flow[low[-1]].end - flow[low[0]].start
    if low_time < 3 * MINUTE - MOMENT or whole_time > 120 * MINUTE + MOMENT:
        return None
    return low[0], low[-1], before, after


def excused_pit(s, first, last, before, after):
    start, end = s.flow[first].first_reading, s.flow[last].last_reading
    return (
        nearly_full(s, start)
        or exports(s, start, end)
        or offer_falls(s, start, end)
        or other_phases(s, start, end)
        or tail_of_a_taper(s, first, before)
        or register_goes_on(s, first, last, min(before, after))
    )


def nearly_full(s, start):
    soc = at(s.soc, start)
    if soc is None and s.soc:
        soc = s.soc[0][1]
    return soc is not None and soc >= 95


def offer_falls(s, start, end):
    earlier = [v for t, v in s.offers if start - 20 * MINUTE <= t < start]
    if not earlier:
        earlier = [v for t, v in s.offers if t < start][-1:]
    during = [v for _, v in between(s.offers, start, end)]
    if not during:
        during = [v for t, v in s.offers if t <= start][-1:]
    if not earlier or not during:
        return False
    lower = [v for v in during if v <= 0.75 * max(earlier)]
    return len(lower) >= len(during) / 2


def other_phases(s, start, end):
    counts = [(t, n) for t, n in s.phase_counts if n > 0]
    before = [n for t, n in counts if start - 20 * MINUTE <= t < start]
    after = [n for t, n in counts if end < t <= end + 20 * MINUTE]
    if not before or not after:
        return False
    return any(lower_median(a) != lower_median(b) for a, b in ((before, after), (before[-3:], after[:3])))


def tail_of_a_taper(s, first, before):
    return not s.soc and before < 0.3 * max(step.w for step in s.flow[:first])


def register_goes_on(s, first, last, level):
    """Only measured power can be contradicted by the register."""
    if s.flow_source != "power":
        return False
    start, end = s.flow[first - 1].last_reading, s.flow[last + 1].first_reading
    inside = between(steady_register(s), start, end)
    if len(inside) < 2:
        return False
    known = rise_of(inside) - s.resolution - drawn_since_last_move(s, first, start)
    return max(known, 0.0) * 3600 / (end - start) > 0.8 * level


def drawn_since_last_move(s, first, start):
    """In Wh, up to ``start``: what a register that stood before has still to count."""
    until = [(t, v) for t, v in steady_register(s) if t <= start]
    since = next(t for i, (t, _) in enumerate(until) if all(v == until[-1][1] for _, v in until[i:]))
    drawn = 0.0
    for step in s.flow[:first]:
        begin, end = max(step.start, since), min(step.end, start)
        if end > begin:
            drawn += step.w * (end - begin)
    return drawn / 3600


# ------------------------------------------------------------------------------------------- ZERO_SESSION


def connected_seconds(s):
    if s.attended:
        start, end = s.attended[0], s.attended[-1]
    elif len(s.measured) >= 4:
        start, end = s.instants[0], s.instants[-1]
    else:
        return 0.0
    if s.started is not None:
        start = min(start, s.started)
    if s.ended is not None:
        end = max(end, s.ended)
    return end - start


def zero_session(s):
    connected = connected_seconds(s)
    energy = energy_until(s, s.instants[-1])
    if connected < 5 * MINUTE or energy is None or energy >= 100 or draws_power(s):
        return []
    if s.falls or (s.soc and s.soc[0][1] >= 95) or exports(s, s.instants[0], s.instants[-1]):
        return []
    severity = "warning"
    if not s.over and not s.is_dc and not s.soc:
        since = unused_offer_since(s)
        if since is None and connected < 60 * MINUTE:
            return []
        if since is None or s.instants[-1] - since < 30 * MINUTE:
            severity = "info"
    return [finding(s, "ZERO_SESSION", s.instants[0], s.instants[-1], severity)]


def draws_power(s):
    if s.power:
        return max(w for _, w in s.power) > 300
    return any(
        (b - a - s.tol) * 3600 > 300 * (t1 - t0) for (t0, a), (t1, b) in neighbours(steady_register(s))
    )


def unused_offer_since(s):
    """When the offer that still stands (at least 1.4 kW) began; None without one."""
    since = None
    for t, w in s.offers:
        if w < 1400:
            since = None
        elif since is None:
            since = t
    return since


# -------------------------------------------------------------------------------------- CHARGING_EXPECTED


def charging_expected(s):
    findings = []
    for first in range(1, len(s.flow)):
        if s.flow[first].w <= 300 and s.flow[first - 1].w > 300:
            last = first
            while last + 1 < len(s.flow) and s.flow[last + 1].w <= 300:
                last += 1
            found = one_idle(s, first, last)
            if found:
                findings.append(found)
    return findings


def one_idle(s, first, last):
    start, end = s.flow[first].start, s.flow[last].end
    delivered = energy_until(s, s.flow[first].first_reading)
    if delivered is None or delivered < 100 or excused_idle(s, first, last):
        return None
    resumes = last + 1 < len(s.flow)
    cut_start, cut_end = longest_offered(s, start, end, s.flow[first].last_reading)
    lasts = cut_end - cut_start
    if lasts < 30 * MINUTE - MOMENT or (resumes and lasts <= 120 * MINUTE):
        return None
    soc = at(s.soc, s.flow[last].last_reading)
    if soc is None:
        unused = (
            cut_start == start
            and delivered < 3000
            and offer_unused(s, cut_start, cut_end)
            and broke_off(s, first)
        )
        early = delivered < 500 and lasts >= 60 * MINUTE - MOMENT
        expected = unused or early
    else:
        target = at(s.target_soc, s.flow[last].last_reading)
        expected = soc < 80 and (target is None or soc < target)
    if not expected:
        return None
    from_reading = max(s.flow[first].first_reading, cut_start)
    to_reading = min(s.flow[last].last_reading, cut_end)
    return finding(s, "CHARGING_EXPECTED", from_reading, to_reading, "warning")


def excused_idle(s, first, last):
    start, end = s.flow[first].first_reading, s.flow[last].last_reading
    return (
        register_rises(s, start, end)
        or exports(s, start, end)
        or soc_rises(s, start, end)
        or (s.managed and not s.offers)
        or tapers(s, first)
    )


def longest_offered(s, start, end, first_shown):
    """The longest part of the run in which the offer was not below 1 kW; (start, start) without any."""
    during = [(t, w) for t, w in s.offers if start < t <= end]
    standing = at(s.offers, start)
    if during and (standing is None or (during[0][0] <= first_shown and during[0][1] < 1000)):
        standing = during[0][1]
    parts, since = [(start, start)], None
    for t, w in [(start, standing), *during, (end, 0.0)]:
        withdrawn = w is not None and w < 1000
        if withdrawn and since is not None:
            parts.append((since, t))
            since = None
        if not withdrawn and since is None:
            since = t
    return max(parts, key=lambda p: p[1] - p[0])


def offer_unused(s, start, end):
    during = [w for _, w in between(s.offers, start, end) if w >= 1000]
    if not during:
        during = [w for w in [at(s.offers, start)] if w is not None]
    return bool(during) and min(during) >= 1400


def broke_off(s, first):
    return max(just_before(s, first)) >= 0.5 * max(step.w for step in s.flow[:first])


def just_before(s, first):
    """The power right before the run; the register's last step may hold only a part of an interval's energy."""
    steps = s.flow[:first][-1:] if s.flow_source == "power" else s.flow[:first][-2:]
    return [step.w for step in steps]


def register_rises(s, start, end):
    inside = between(steady_register(s), start, end)
    return len(inside) >= 2 and rise_of(inside) > 0.3 * (end - start) / 3.6 + s.tol


def soc_rises(s, start, end):
    inside = [v for _, v in between(s.soc, start, end)]
    return bool(inside) and inside[-1] - inside[0] >= 2


def tapers(s, first):
    flow = s.flow
    before = flow[:first]
    if max(just_before(s, first)) < 0.15 * max(step.w for step in before):
        return True
    recent = [
        step for i, step in enumerate(before) if flow[first].start - step.end <= 15 * MINUTE or i >= first - 4
    ]
    ranked = sorted(step.w for step in recent)
    level = ranked[-2] if len(ranked) >= 4 else ranked[-1]
    last_high = max(i for i, step in enumerate(recent) if step.w >= 0.8 * level)
    descent = recent[last_high + 1 :]
    if len(descent) < 2 or descent[-1].end - descent[0].start < 2 * MINUTE:
        return False
    return descent[-1].w <= 0.35 * level


def findings_of(s):
    """Everything that the four rules find, unmerged."""
    return kwh_decrease(s) + energy_pit(s) + zero_session(s) + charging_expected(s)
