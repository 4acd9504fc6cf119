"""The four categories as ``docs/categories.md`` defines them, the slow and obvious way.

Each function takes a ``session.Session`` and returns findings (category, start µs, end µs, severity).
"""

from tests.reference.session import (
    at,
    between,
    energy_until,
    lower_median,
    phase_counts,
)

MINUTE = 60.0


def micros(t):
    return round(t * 1_000_000)


def finding(category, start, end, severity):
    return (category, micros(start), micros(end), severity)


def runs_of(flags):
    """(first, last) positions of every unbroken run of true values."""
    runs, start = [], None
    for i, flag in enumerate([*flags, False]):
        if flag and start is None:
            start = i
        if not flag and start is not None:
            runs.append((start, i - 1))
            start = None
    return runs


# ------------------------------------------------------------------------------------------- KWH_DECREASE


def kwh_decrease(s):
    return [
        finding("KWH_DECREASE", f.start, f.end, "warning" if f.kind == "drop_out" else "critical") for f in s.falls
    ]


# --------------------------------------------------------------------------------------------- ENERGY_PIT


def level_before(flow, run_start):
    """Lower median of the steps before the run, backwards while they end within 15 min before it."""
    taken = []
    for step in reversed(flow[:run_start]):
        if taken and step.end < flow[run_start].start - 15 * MINUTE:
            break
        if not taken or step.kw > 0.25 * lower_median(taken):
            taken.append(step.kw)
        else:
            break
    return lower_median(taken) if taken else None


def level_after(flow, run_end, before):
    """Lower median of the steps that start within 15 min of the run's end (at least one)."""
    taken = []
    for step in flow[run_end + 1 :]:
        if taken and step.start > flow[run_end].end + 15 * MINUTE:
            break
        if step.kw <= 0.25 * before:
            break
        taken.append(step.kw)
    return lower_median(taken) if taken else None


def energy_pit(s):
    if s.flow_readings < 6 or s.managed:
        return []
    findings = []
    i = 1
    while i < len(s.flow):
        before = level_before(s.flow, i)
        if before is None or before < 1.0 or s.flow[i].kw > 0.25 * before:
            i += 1
            continue
        last = i
        while last + 1 < len(s.flow) and s.flow[last + 1].kw <= 0.25 * before:
            last += 1
        after = level_after(s.flow, last, before)
        if after is not None:
            found = one_pit(s, i, last, before, after)
            if found:
                findings.append(found)
        i = last + 1
    return findings


def one_pit(s, first, last, before, after):
    if after < 1.0 or after < 0.5 * before:
        return None
    while first <= last and s.flow[first].kw > 0.25 * after:
        first += 1
    while last >= first and s.flow[last].kw > 0.25 * after:
        last -= 1
    if first > last:
        return None
    low = s.flow[first : last + 1]
    if sum(step.end - step.start for step in low) < 3 * MINUTE or low[-1].end - low[0].start > 120 * MINUTE:
        return None
    start, end = low[0].first_reading, low[-1].last_reading
    excused = (
        nearly_full(s, start)
        or exports(s, start, end)
        or offer_falls(s, start, end)
        or other_phases(s, start, end)
        or tail_of_a_taper(s, first, before)
        or register_goes_on(s, start, end, min(before, after))
    )
    return None if excused else finding("ENERGY_PIT", start, end, "warning")


def nearly_full(s, start):
    soc = at(s.soc, start)
    if soc is None and s.soc:
        soc = s.soc[0][1]
    return soc is not None and soc >= 95


def exports(s, start, end):
    return any(kw > 0 for _, kw in between(s.export, start, end))


def offer_falls(s, start, end):
    earlier = [v for t, v in s.offers if start - 15 * MINUTE <= t < start]
    if not earlier:
        earlier = [v for t, v in s.offers if t < start][-1:]
    if not earlier:
        return False
    during = [v for _, v in between(s.offers, start, end)]
    if not during:
        during = [at(s.offers, start)]
    lower = [v for v in during if v <= 0.75 * max(earlier)]
    return len(lower) >= len(during) / 2


def other_phases(s, start, end):
    counts = [(t, n) for t, n in phase_counts(s.currents) if n > 0]
    before = [n for t, n in counts if start - 15 * MINUTE <= t < start]
    after = [n for t, n in counts if end < t <= end + 15 * MINUTE]
    return bool(before and after) and lower_median(before) != lower_median(after)


def tail_of_a_taper(s, first, before):
    return not s.soc and before < 0.3 * max(step.kw for step in s.flow[:first])


def register_goes_on(s, start, end, level):
    earlier = [r for r in s.register if r[0] <= start]
    later = [r for r in s.register if r[0] >= end]
    if not earlier or not later or later[0][0] <= earlier[-1][0]:
        return False
    (t0, v0), (t1, v1) = earlier[-1], later[0]
    return (v1 - v0 - s.resolution) * 3600 / (t1 - t0) > 0.8 * level


# ------------------------------------------------------------------------------------------- ZERO_SESSION


def connected(s):
    """First and last time connected."""
    plain = [t for t in s.instants if t not in s.clock_only_instants]
    if plain:
        times = [plain[0], plain[-1]]
    elif len(s.instants) >= 3:
        times = [s.instants[0], s.instants[-1]]
    else:
        times = []
    if s.started is not None:
        times.append(s.started)
    if s.ended is not None:
        times.append(s.ended)
    return (min(times), max(times)) if times else (0.0, 0.0)


def zero_session(s):
    start, end = connected(s)
    energy = energy_until(s, s.instants[-1]) if s.instants else None
    if end - start < 5 * MINUTE or energy is None or energy >= 0.1:
        return []
    if s.power:
        if max(kw for _, kw in s.power) > 0.3:
            return []
    else:
        for a, b in zip(s.register, s.register[1:], strict=False):
            if (b[1] - a[1] - s.tol) * 3600 / (b[0] - a[0]) > 0.3:
                return []
    if (s.soc and s.soc[0][1] >= 95) or s.falls:
        return []
    severity = "warning"
    if not s.over and not s.is_dc and not s.soc:
        offered_since = unused_offer_since(s)
        if offered_since is None:
            if end - start < 60 * MINUTE:
                return []
            severity = "info"
        elif s.instants[-1] - offered_since < 30 * MINUTE:
            severity = "info"
    return [finding("ZERO_SESSION", s.instants[0], s.instants[-1], severity)]


def unused_offer_since(s):
    """When the offer that still stands (at least 1.4 kW) began; None without one."""
    since = None
    for t, kw in s.offers:
        if kw < 1.4:
            since = None
        elif since is None:
            since = t
    return since


# ------------------------------------------------------------------------------------ CHARGING_EXPECTED


def charging_expected(s):
    findings = []
    for first, last in runs_of([step.kw <= 0.3 for step in s.flow]):
        if first == 0:
            continue
        found = one_idle(s, first, last)
        if found:
            findings.append(found)
    return findings


def one_idle(s, first, last):
    run = s.flow[first : last + 1]
    start, end = run[0].first_reading, run[-1].last_reading
    resumes = last + 1 < len(s.flow)
    delivered = energy_until(s, start)
    if delivered is None or delivered < 0.1:
        return None
    cut_start, cut_end = start, end
    if [o for o in s.offers if o[0] <= end]:
        cut = longest_offered(s, start, end)
        if cut is None:
            return None
        cut_start, cut_end = cut
    lasts = cut_end - cut_start
    if lasts < 30 * MINUTE or (resumes and lasts <= 120 * MINUTE):
        return None
    if not (soc_says_so(s, cut_end) or broke_off(s, first, delivered, start, end, cut_start) or early(s, delivered, lasts, cut_end)):
        return None
    excused = (
        register_rises(s, cut_start, cut_end)
        or exports(s, cut_start, cut_end)
        or soc_rises(s, cut_start, cut_end)
        or (s.managed and not s.offers)
        or tapers(s, first)
    )
    return None if excused else finding("CHARGING_EXPECTED", cut_start, cut_end, "warning")


def longest_offered(s, start, end):
    """The longest part of the run in which the offer was not below 1 kW."""
    standing = at(s.offers, start)
    changes = [(start, standing)] + [(t, kw) for t, kw in s.offers if start < t <= end]
    parts, since = [], None
    for t, kw in changes:
        withdrawn = kw is not None and kw < 1.0
        if not withdrawn and since is None:
            since = t
        if withdrawn and since is not None:
            parts.append((since, t))
            since = None
    if since is not None:
        parts.append((since, end))
    return max(parts, key=lambda p: p[1] - p[0]) if parts else None


def soc_says_so(s, end):
    soc = at(s.soc, end)
    return soc is not None and soc < 80


def broke_off(s, first, delivered, start, end, cut_start):
    if at(s.soc, end) is not None or delivered >= 3.0 or cut_start != start:
        return False
    during = [kw for _, kw in between(s.offers, start, end)] or [kw for kw in [at(s.offers, start)] if kw is not None]
    if not during or min(during) < 1.4:
        return False
    highest = max(step.kw for step in s.flow[:first])
    last_ones = [s.flow[first - 1].kw]
    if s.flow_source == "register" and first >= 2:
        last_ones.append(s.flow[first - 2].kw)
    return max(last_ones) >= 0.5 * highest


def early(s, delivered, lasts, end):
    soc = at(s.soc, end)
    return (soc is None or soc < 80) and delivered < 0.5 and lasts >= 60 * MINUTE


def register_rises(s, start, end):
    inside = between(s.register, start, end)
    if len(inside) < 2:
        return False
    rise = sum(max(0.0, b[1] - a[1]) for a, b in zip(inside, inside[1:], strict=False))
    return rise > 0.3 * (end - start) / 3600 + s.tol


def soc_rises(s, start, end):
    inside = [v for _, v in between(s.soc, start, end)]
    return bool(inside) and inside[-1] - inside[0] >= 2


def tapers(s, first):
    before = s.flow[:first]
    if before[-1].kw < 0.15 * max(step.kw for step in before):
        return True
    run_start = s.flow[first].start
    recent = [step for i, step in enumerate(before) if step.end >= run_start - 15 * MINUTE or i >= len(before) - 4]
    highest = max(step.kw for step in recent)
    last_high = max(i for i, step in enumerate(recent) if step.kw >= 0.8 * highest)
    descent = recent[last_high + 1 :]
    lasts = sum(step.end - step.start for step in descent)
    return len(descent) >= 2 and lasts >= 2 * MINUTE and recent[-1].kw <= 0.35 * highest


def findings_of(s):
    """Everything that the four rules find, unmerged."""
    return kwh_decrease(s) + energy_pit(s) + zero_session(s) + charging_expected(s)
