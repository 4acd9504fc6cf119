"""The tensor record of a session, the slow and obvious way: one session, one bucket at a time, in floats."""

from math import log, log1p, log2

from tests.reference.electrical import side_by_side
from tests.reference.readings import (
    CURRENT,
    POWER,
    VOLTAGE,
    chosen,
    cleaned,
    is_sane,
    neighbours,
)
from tests.reference.register import resolution_of
from tests.reference.rules import exports
from tests.reference.session import read

BUCKETS = 72
WIDTHS_S = (30, 60, 120, 300)
CHANNELS = (
    "register_power",
    "measured_power",
    "measured_range",
    "measured_travel",
    "soc",
    "offered",
    "voltage",
    "current",
    "phases",
    "register_gap",
    "measured_gap",
    "readings",
    "elapsed",
    "energy",
    "divergence",
    "first_phase",
)


def tensor(readings, *, now_us, rated_kw=None, managed=False, **declared):
    """(values by channel: a list with None where masked, context by name, width); None without a sane reading."""
    s = read(readings, now_us=now_us, rated_kw=rated_kw, managed=managed, **declared)
    if s is None:
        return None
    clean = cleaned([r for r in readings if is_sane(r, now_us)], s.first_us)
    ms = in_milliseconds
    voltage = [(t, v) for t, v, _ in chosen(clean, VOLTAGE, lambda values: sum(values) / len(values))]
    current = [(t, a) for t, a, _ in chosen(clean, CURRENT, sum)]
    power = [(t, round(min(max(w, 0.0), 2e6))) for t, w, _ in chosen(clean, POWER, sum)]
    register = s.register
    if len(register) < 2 and len(s.intervals) >= 2:
        total, register = 0.0, []
        for t, wh in s.intervals:
            total += max(wh, 0.0)
            register.append((t, total))
    energy = rising(register)
    integral = integrated(power)

    voltage, current, power, energy, integral = ms(voltage), ms(current), ms(power), ms(energy), ms(integral)
    soc, offers, phase_counts = ms(s.soc), ms(s.offers), ms(s.phase_counts)
    if exports(s, s.instants[0], s.instants[-1]):
        soc = []
    first_phase = []
    for t, phases in side_by_side(s, CURRENT):
        amperes = [max(a, 0.0) for _, a in sorted(phases.items())]
        if len(phases) >= 2 and sum(amperes) >= 1.0:
            first_phase.append((round(t, 3), max(phases.get(1, 0.0), 0.0) / sum(amperes)))
    last = round(s.instants[-1], 3)
    begin = round(min(t for t in s.instants if t >= s.instants[-1] - 6 * 3600 - 1e-9), 3)
    spacing = (last - s.instants[0]) / max(len(s.measured) - 1, 1)
    needed = max((last - begin) / BUCKETS, spacing)
    if len(power) < 2 and len(energy) >= 1:
        moves = max(int((energy[-1][1] - energy[0][1]) / step_of(register) + 1e-9), 1)
        needed = max(needed, 4 * (energy[-1][0] - energy[0][0]) / moves)
    width = next((w for w in WIDTHS_S if w >= needed - 2e-3), WIDTHS_S[-1])
    edges = [last - (BUCKETS - k) * width for k in range(BUCKETS + 1)]

    by_register = [mean_power(energy, a, b) for a, b in neighbours(edges)]
    by_power = [mean_power(integral, a, b) for a, b in neighbours(edges)]
    seen = [w for w in (by_power if any(w is not None for w in by_power) else by_register) if w is not None]
    peak = max([500.0, *seen])
    main = energy if len(register) >= 2 else integral
    counted = power or ms(register)

    values = {name: [] for name in CHANNELS}
    for a, b, w_register, w_power in zip(edges, edges[1:], by_register, by_power, strict=False):
        inside = [i for i, (t, _) in enumerate(power) if belongs(t, a, b, edges)]
        watts = [power[i][1] for i in inside]
        moves = sum(abs(power[i][1] - power[i - 1][1]) for i in inside if i > 0)
        values["register_power"].append(None if w_register is None else min(w_register / peak, 3.0))
        values["measured_power"].append(None if w_power is None else min(w_power / peak, 3.0))
        values["measured_range"].append(min((max(watts) - min(watts)) / peak, 3.0) if watts else None)
        values["measured_travel"].append(min(log1p(moves / peak), 3.0) if watts else None)
        values["soc"].append(charge_at(soc, b))
        offer = held(offers, b)
        values["offered"].append(None if offer is None else min(max(offer / peak, 0.0), 4.0))
        values["voltage"].append(share_of_highest(voltage, b))
        values["current"].append(share_of_highest(current, b))
        values["phases"].append(phases_at(current, phase_counts, b))
        values["register_gap"].append(None if w_register is None else gap(energy, b, width))
        values["measured_gap"].append(None if w_power is None else gap(integral, b, width))
        readings_here = sum(belongs(t, a, b, edges) for t, _ in counted)
        values["readings"].append(log1p(readings_here) / 3 if b > 0 else None)
        values["elapsed"].append(log1p(b / 3600) if b > 0 else None)
        values["energy"].append(log1p(energy_until(main, b) / 1000) / 4 if b > 0 else None)
        values["first_phase"].append(held(first_phase, b))
        both = w_register is not None and w_power is not None
        values["divergence"].append(min(max((w_register - w_power) / peak, -3.0), 3.0) if both else None)
    context = {
        "is_dc": float(s.is_dc),
        "managed": float(managed),
        "resolution": log1p(step_of(register) / (peak * width / 3600)),
        "width": log2(width / 30) / 4,
        "spacing": log1p(spacing / width),
        "peak": log(1 + peak / 1000) / 5,
        "rated_known": float(rated_kw is not None),
        "rated_share": min(peak / (rated_kw * 1000), 2.0) if rated_kw else 0.0,
        "before_window": log1p(begin / 3600),
    }
    return values, context, width


def in_milliseconds(pairs):
    """The same with times to the millisecond."""
    return [(round(t, 3), v) for t, v in pairs]


def rising(register):
    """(time, Wh) that only rises: the sum of the register's rises."""
    out, total = [], 0.0
    for i, (t, wh) in enumerate(register):
        if i:
            total += min(max(wh - register[i - 1][1], 0.0), 1e7)
        out.append((t, total))
    return out


def integrated(power):
    """(time, Wh): the running integral of power by trapezoids."""
    out, total = [], 0.0
    for i, (t, w) in enumerate(power):
        if i:
            total += (w + power[i - 1][1]) / 2 * (t - power[i - 1][0]) / 3600
        out.append((t, total))
    return out


def step_of(register):
    """The resolution of the register; without one the finest."""
    return resolution_of(register) if register else 1.0


def energy_until(curve, t):
    """Wh at a time, linear between readings, constant beyond them."""
    if len(curve) < 2:
        return 0.0
    if t <= curve[0][0]:
        return curve[0][1]
    for (t0, a), (t1, b) in neighbours(curve):
        if t0 <= t <= t1:
            return a + (b - a) * (t - t0) / (t1 - t0)
    return curve[-1][1]


def mean_power(curve, begin, end):
    """W between two times, None where readings span less than half of it."""
    if len(curve) < 2:
        return None
    start, stop = max(begin, curve[0][0]), min(end, curve[-1][0])
    if stop - start < (end - begin) / 2 - 1e-9:
        return None
    return (energy_until(curve, stop) - energy_until(curve, start)) * 3600 / (stop - start)


def gap(curve, t, width):
    """How far apart the readings around a time are."""
    t = min(max(t, curve[0][0]), curve[-1][0])
    for (t0, _), (t1, _) in reversed(list(neighbours(curve))):
        if t0 <= t:
            return log1p((t1 - t0) / width)
    raise AssertionError("no readings around a time between the first and the last")


def belongs(t, begin, end, edges):
    """Whether a reading is one of a bucket: after its begin, at its end at the latest."""
    return begin + 5e-4 < t <= end + 5e-4 or (begin == edges[0] and abs(t - begin) < 5e-4)


def held(pairs, t):
    """The newest value at a time, None before the first."""
    values = [v for when, v in pairs if when <= t + 5e-4]
    return values[-1] if values and t > -5e-4 else None


def charge_at(soc, t):
    """The highest state of charge until a time as a share of full, None where the newest is over 20 min old."""
    before = [(when, v) for when, v in soc if when <= t + 5e-4]
    if not before or t <= -5e-4 or max(t, 0.0) - before[-1][0] > 1200 + 5e-4:
        return None
    return max(v for _, v in before) / 100.0


def share_of_highest(pairs, t):
    level = held(pairs, t)
    highest = max([1.0, *(v for _, v in pairs)])
    return None if level is None else min(max(level / highest, 0.0), 1.0)


def phases_at(current, counts, t):
    """Thirds of phases that carry current, by the newest reading of current; None where it has no phases."""
    known = dict(counts)
    times = [when for when, _ in current if when <= t + 5e-4]
    if not times or t < -5e-4 or times[-1] not in known:
        return None
    return known[times[-1]] / 3
