"""ENERGY_SPIKE, METER_FROZEN and POWER_ENERGY_MISMATCH as ``docs/categories.md`` defines them, slow and obvious.

Each takes a ``session.Session`` and returns findings (category, start µs, end µs, severity).
"""

from typing import NamedTuple

from tests.reference.readings import MOMENT, lower_median, neighbours
from tests.reference.register import deliverable
from tests.reference.rules import MINUTE, exports, finding
from tests.reference.session import steady_register


class Pair(NamedTuple):
    """Two neighbouring power readings: the lower of both, and the bounds of what lies between them."""

    start: float
    end: float
    lower: float
    least: float
    most: float
    known: bool


class Rise(NamedTuple):
    """The register from one move to a later one, and the bounds of the integral of power."""

    start: float
    end: float
    wh: float
    least: float
    most: float


def grain(s):
    return max(s.tol, s.resolution)


def limit_w(s):
    return deliverable(3600, s.rated_kw)


def pairs_of(s):
    usual = lower_median([t1 - t0 for (t0, _), (t1, _) in neighbours(s.drawn)] or [0.0])
    pairs = []
    for i, ((t0, a), (t1, b)) in enumerate(neighbours(s.drawn)):
        around = [w for _, w in s.drawn[max(0, i - 1) : i + 3]]
        known = t1 - t0 <= 3 * usual and max(a, b) <= limit_w(s)
        pairs.append(Pair(t0, t1, min(a, b), min(around), max(around), known))
    return pairs


def integral(s, start, end):
    """(least, most) Wh between two times; None where power is not known throughout."""
    pairs = pairs_of(s)
    if not pairs or start < pairs[0].start - MOMENT or end > pairs[-1].end + MOMENT:
        return None
    touched = [p for p in pairs if p.start < end - MOMENT and p.end > start + MOMENT]
    if not all(p.known for p in touched):
        return None
    hours = [(min(p.end, end) - max(p.start, start)) / 3600 for p in touched]
    return (
        sum(p.least * h for p, h in zip(touched, hours, strict=True)),
        sum(p.most * h for p, h in zip(touched, hours, strict=True)),
    )


# ------------------------------------------------------------------------------------------- ENERGY_SPIKE


def energy_spike(s):
    jumps = register_jumps(s)
    runs = power_runs(s) if s.sends_power else []
    return [finding(s, "ENERGY_SPIKE", start, end, "critical") for start, end in jumps + runs]


def register_jumps(s):
    register = steady_register(s)
    jumps = []
    for i in range(1, len(register)):
        (t0, a), (t1, b) = register[i - 1], register[i]
        stood = i - 1
        while stood > 0 and register[stood - 1][1] == a:
            stood -= 1
        since = register[stood][0]
        slack = 2 * grain(s)
        counted = t1 - max(since, t0 - 5 * MINUTE)
        if b - a <= 0 or b - a <= deliverable(counted, s.rated_kw) + slack:
            continue
        bounds = integral(s, since, t1)
        if stood < i - 1 and bounds is not None and b - a - slack <= 1.2 * bounds[1]:
            continue
        jumps.append((t0, t1))
    return jumps


def power_runs(s):
    found = []
    i = 0
    while i < len(s.power):
        j = i
        while j < len(s.power) and s.power[j][1] > limit_w(s):
            j += 1
        if j > i and not is_inrush(s, i, j):
            found.append((s.power[i][0], s.power[j - 1][0]))
        i = max(j, i + 1)
    return found


def is_inrush(s, begin, end):
    """Readings from ``begin`` up to (not with) ``end`` are beyond the limit."""
    run = s.power[begin:end]
    before = s.power[begin - 1][1] if begin > 0 else 0.0
    after = s.power[end][1] if end < len(s.power) else limit_w(s)
    return (
        s.rated_kw is not None
        and run[-1][0] - run[0][0] <= MINUTE
        and all(w <= 2 * s.rated_kw * 1000 for _, w in run)
        and before <= 0.5 * after
    )


# ------------------------------------------------------------------------------------------- METER_FROZEN


def meter_frozen(s):
    findings = []
    register = steady_register(s)
    i = 0
    while i < len(register):
        j = i
        while j + 1 < len(register) and register[j + 1][1] == register[i][1]:
            j += 1
        span = charging_within(s, register[i][0], register[j][0])
        if span and not exports(s, *span):
            findings.append(finding(s, "METER_FROZEN", *span, "critical"))
        i = j + 1
    return findings


def charging_within(s, start, end):
    """When power says charging between two times, if that is enough for a register to move; else None."""
    pairs = [
        p
        for p in pairs_of(s)
        if p.start >= start - MOMENT and p.end <= end + MOMENT and p.known and p.lower >= 1000
    ]
    lasts = sum(p.end - p.start for p in pairs)
    wh = sum(p.lower * (p.end - p.start) / 3600 for p in pairs)
    if lasts < 10 * MINUTE - MOMENT or wh < max(5 * s.tol, 1.5 * s.resolution):
        return None
    return pairs[0].start, pairs[-1].end


# ---------------------------------------------------------------------------------- POWER_ENERGY_MISMATCH


def power_energy_mismatch(s):
    if not s.sends_power or len(s.power) < 2:
        return []
    spans = [worst_span(s, part, side) for part in parts_of(s) for side in (too_little, too_much)]
    return [finding(s, "POWER_ENERGY_MISMATCH", *span, "warning") for span in spans if span]


def parts_of(s):
    """Rises from move to move of the register, in parts over which it rises credibly and power is known."""
    register = steady_register(s)
    moves = [
        r
        for i, r in enumerate(register)
        if (i > 0 and register[i - 1][1] != r[1]) or (i == 0 and len(register) > 1 and register[1][1] != r[1])
    ]
    parts = [[]]
    for (t0, a), (t1, b) in neighbours(moves):
        bounds = integral(s, t0, t1)
        if bounds is None or b < a or b - a > deliverable(t1 - t0, s.rated_kw) + 2 * grain(s):
            parts.append([])
        else:
            parts[-1].append(Rise(t0, t1, b - a, *bounds))
    return parts


def too_little(s, rise):
    """(by how much the register counts less than power shows at least, what that is)."""
    least = rise.least * (0.88 if s.apart else 1)
    return least - rise.wh, least


def too_much(s, rise):
    most = rise.most / (0.88 if s.apart else 1)
    return rise.wh - most, most


def excess(differences):
    return sum(round((beyond - 0.2 * bound) * 1000) for beyond, bound in differences)


def worst_span(s, part, side):
    """The span of at least 30 min with the greatest excess, if it is a mismatch."""
    best, greatest = None, 0
    differences = [side(s, rise) for rise in part]
    for last in range(len(part)):
        for first in range(last + 1):
            if part[last].end - part[first].start < 30 * MINUTE - MOMENT:
                continue
            here = excess(differences[first : last + 1])
            if here > greatest:
                best, greatest = (first, last), here
    if best is None:
        return None
    first, last = best
    inside = differences[first : last + 1]
    others = sorted(inside, key=lambda d: d[0])[:-1]
    beyond = sum(d for d, _ in inside)
    bound = sum(b for _, b in inside)
    counted = sum(rise.wh for rise in part[first : last + 1])
    if beyond - grain(s) <= 500 or excess(others) <= grain(s) * 1000:
        return None
    small, large = sorted((counted, bound))
    if small > 0 and 0.7 <= large / (1000 * small) <= 1.4:
        return None
    return part[first].start, part[last].end


def findings_of(s):
    """Everything that the three rules find, unmerged."""
    return energy_spike(s) + meter_frozen(s) + power_energy_mismatch(s)
