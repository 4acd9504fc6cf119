"""The register, the slow and obvious way: its repairs, its resolution, its falls, its course without drop-outs."""

from typing import NamedTuple

from tests.reference.readings import BEGIN, END, LOCATIONS, REGISTER, chosen, neighbours, places


class Fall(NamedTuple):
    """The register below an earlier value; ``low`` are the positions of the low readings."""

    kind: str
    start: float
    end: float
    low: list


def deliverable(seconds, rated_kw):
    """Wh that could be delivered in this time."""
    return (1.15 * (rated_kw * 1000) if rated_kw is not None else 400_000) * seconds / 3600


def repaired(clean, power, rated_kw, notes):
    """The register's (time, Wh) readings after the repairs; adds to ``notes``."""
    register = chosen(clean, REGISTER)
    if not looks_wrong(register, power, rated_kw):
        return [(t, wh) for t, wh, _ in register]
    clean = at_one_location(clean)
    if chosen(clean, REGISTER) != register:
        notes.add("register_mixed")
    register = chosen(clean, REGISTER)
    foreign = foreign_ends(register, rated_kw)
    notes |= set(foreign.values())
    contexts = {context for _, _, context in foreign}
    register = chosen(
        [r for r in clean if r.measurand not in REGISTER or r.context not in contexts], REGISTER
    )
    in_one_scale = rescaled([(t, wh) for t, wh, _ in register], rated_kw, notes)
    return scale_checked(in_one_scale, power, notes)


def looks_wrong(register, power, rated_kw):
    for (t0, a, _), (t1, b, _) in neighbours(register):
        if b < a or b > a + deliverable(t1 - t0, rated_kw) + 20:
            return True
    rise = sum(max(0.0, b - a) for (_, a, _), (_, b, _) in neighbours(register))
    integral = trapezoids(power)
    return integral > 100 and rise > 0 and (700 < rise / integral < 1400 or 700 < integral / rise < 1400)


def register_places(clean, power, rated_kw):
    """The locations of the register's readings; one where it looks wrong."""
    if looks_wrong(chosen(clean, REGISTER), power, rated_kw):
        clean = at_one_location(clean)
    return places(clean, REGISTER)


def at_one_location(clean):
    mine = [r for r in clean if r.measurand in REGISTER]
    instants = {r.t for r in mine}
    places = [p for p in [*LOCATIONS, "unknown"] if any(r.location == p for r in mine)]
    count = {p: len({r.t for r in mine if r.location == p}) for p in places}
    enough = [p for p in places if count[p] >= len(instants) / 2]
    place = enough[0] if enough else max(places, key=lambda p: count[p])
    return [r for r in clean if r.measurand not in REGISTER or r.location == place]


def foreign_ends(register, rated_kw):
    """Begin and End readings of another register than the samples → note."""
    samples = [r for r in register if r[2] not in (BEGIN, END)]
    if not samples:
        no_values = [r for r in register if r[1] in (2**31 - 1, 2**32 - 1)]
        return dict.fromkeys(no_values, "register_mixed") if len(no_values) < len(register) else {}
    first, last = samples[0], samples[-1]
    highest = max(wh for _, wh, _ in samples)
    delivered = last[1] - first[1]
    slack = max(500.0, 0.1 * delivered) + 10
    sentinels = (2**31 - 1, 2**32 - 1)
    ends = [r for r in register if r[2] == END and r[0] >= last[0]]
    goes_on = any(
        last[1] - 10 <= wh <= last[1] + deliverable(t - last[0], rated_kw) + 20 for t, wh, _ in ends
    )
    foreign = {}
    for reading in register:
        t, wh, context = reading
        if context == BEGIN and t < first[0]:
            rise = deliverable(first[0] - t, rated_kw) + 20
            if wh in sentinels and first[1] != wh:
                foreign[reading] = "register_mixed"
            elif first[1] > wh + rise and wh <= 10:
                foreign[reading] = "begin_zero_placeholder"
            elif (first[1] > wh + rise and not goes_on) or (
                first[1] < wh - 10 and first[1] <= rise and highest < wh
            ):
                foreign[reading] = "register_mixed"
    foreign_begin = [wh for _, wh, _ in foreign][:1]
    for reading in register:
        t, wh, context = reading
        if context != END or t < last[0]:
            continue
        rise = deliverable(t - last[0], rated_kw) + 20
        if wh in sentinels and last[1] != wh:
            foreign[reading] = "register_mixed"
        elif last[1] - 10 <= wh <= last[1] + rise:
            continue
        elif (
            (foreign_begin and abs(wh - foreign_begin[0] - delivered) <= slack)
            or (wh < last[1] and first[1] > 2 * slack and abs(wh - delivered) <= slack)
            or (wh >= last[1] and first[1] <= 10_000 and wh > 10 * (last[1] + 1000))
        ):
            foreign[reading] = "register_mixed"
    return foreign


def rescaled(register, rated_kw, notes):
    """A register that continues 1000 times larger or smaller goes on in its first scale."""

    def follows(t0, wh0, t1, wh1):
        return wh0 - 10 <= wh1 <= wh0 + deliverable(t1 - t0, rated_kw) + 10

    out = []
    scale = 1.0
    for i, (t, wh) in enumerate(register):
        if out and out[-1][1] >= 100 and not follows(*out[-1], t, wh * scale):
            for factor in (1000.0, 1 / 1000.0):
                if not follows(*out[-1], t, wh * scale * factor):
                    continue
                here = [register[i]]
                for later in register[i + 1 :]:
                    if follows(*out[-1], later[0], later[1] * scale):
                        break
                    here.append(later)
                if not slows_or_races(out, here, scale, factor):
                    scale *= factor
                    notes.add("unit_switched")
                    break
        out.append((t, wh * scale))
    return out


def slows_or_races(before, here, scale, factor):
    """Whether the mean power as sent is nearer to the mean power before than the rescaled one."""
    if len(before) < 2 or len(here) < 2:
        return False
    pace_before = (before[-1][1] - before[0][1]) / (before[-1][0] - before[0][0])
    pace_here = (here[-1][1] - here[0][1]) * scale / (here[-1][0] - here[0][0])
    if pace_before <= 0 or pace_here <= 0:
        return False

    def off(pace):
        return max(pace / pace_before, pace_before / pace)

    return off(pace_here) <= off(pace_here * factor)


def scale_checked(register, power, notes):
    """A register whose whole rise is off the integral of measured power by about 1000 is rescaled."""
    integral = trapezoids(power)
    if not register or integral <= 100:
        return register
    falls = falls_of(register, tol_of(register), None)
    rise = rise_of(steady(register, falls))
    for factor in (1000.0, 1 / 1000.0):
        if 0.7 <= rise * factor / integral <= 1.4:
            notes.add("unit_scale_suspect")
            return [(t, wh * factor) for t, wh in register]
    return register


def rise_of(register):
    return sum(max(0.0, b - a) for (_, a), (_, b) in neighbours(register))


def trapezoids(power):
    return sum((a + b) / 2 * (t1 - t0) / 3600 for (t0, a), (t1, b) in neighbours(power))


STEPS_WH = [
    *(1, 1.2, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8),
    *(10, 12, 12.5, 15, 20, 25, 30, 40, 50, 60, 80),
    *(100, 120, 125, 150, 200, 250, 300, 400, 500, 600, 800),
    1000,
]


def resolution_of(register):
    """The largest power of ten of which all values are multiples, or the step that the readings between show."""
    milli = [denoised(round(wh * 1000)) for _, wh in register]
    tens = [wh for wh in (10, 100, 1000) if all(m % (wh * 1000) == 0 for m in milli)]
    return float(max([1, *tens, *steps_of(milli[1:-1])]))


def steps_of(milli):
    """The steps that two rises differing by the most that divides all differences are multiples of."""
    moves = [b - a for a, b in neighbours(milli)]
    apart = {abs(a - b) for a in moves for b in moves if a >= 0 and b >= 0} - {0}
    shown = [d for d in apart if all((a - b) % d == 0 for a in milli for b in set(milli))]
    return [wh for wh in STEPS_WH if any(d % round(wh * 1000) == 0 for d in shown)]


def denoised(mwh):
    """The roundest value, to 1000, 100, 10 or 1 Wh, that is near enough to be the same in single precision."""
    if mwh % 1000:
        for wh in (1000, 100, 10, 1):
            nearest = min((mwh // (wh * 1000) + k for k in (0, 1)), key=lambda k: abs(mwh - k * wh * 1000))
            off = abs(mwh - nearest * wh * 1000)
            if off * 2**24 <= abs(mwh) and off * 20 <= wh * 1000:
                return nearest * wh * 1000
    return mwh


def tol_of(register):
    """The resolution, at least 10 Wh; three round numbers do not make a coarse meter."""
    few = len({value for _, value in register}) < 6
    return max(10.0, min(resolution_of(register), 100.0 if few else 1000.0))


# ------------------------------------------------------------------------------------- falls of the register


def falls_of(register, tol, rated_kw):
    """Every fall by more than ``tol`` below the highest value since the start or since the last fall was over."""
    falls = []
    begin = high = 0
    i = 1
    while i < len(register):
        value, peak = register[i][1], register[high][1]
        if value >= peak:
            high = i
        elif value < peak - tol:
            back = next((j for j in range(i + 1, len(register)) if register[j][1] >= peak - tol), None)
            if back is not None:
                drop = peak - min(v for _, v in register[i:back])
                jumps = register[back][1] - register[back - 1][1] >= drop / 2
                if jumps and not merely_charged(register, begin, high, back, tol):
                    low = list(range(i, back))
                    falls.append(Fall("drop_out", register[high][0], register[back - 1][0], low))
                    begin = high = back
                    i = back + 1
                    continue
            last = i
            while last + 1 < len(register) and register[last + 1][1] < register[last][1] - tol:
                last += 1
            kind = kind_of_fall(register, high, last, tol, rated_kw)
            falls.append(Fall(kind, register[high][0], register[last][0], list(range(i, last + 1))))
            begin = high = i = last
        i += 1
    return falls


def merely_charged(register, begin, high, back, tol):
    """Whether the step is what charging gives: not much more than at the pace before, and the value is nearer to
    the last low one than to the earlier one, each gone on at that pace."""
    (t_begin, v_begin), (t_high, v_high) = register[begin], register[high]
    (t_low, v_low), (t_back, v_back) = register[back - 1], register[back]
    pace = (v_high - v_begin) / (t_high - t_begin) if high > begin else 0.0
    gone_on = v_high + pace * (t_back - t_high)
    charged = pace * (t_back - t_low)
    step = v_back - v_low
    return step <= 1.5 * charged + tol and abs(step - charged) < abs(v_back - gone_on)


def kind_of_fall(register, high, low, tol, rated_kw):
    (t0, before), (t1, after) = register[high], register[low]
    fastest = max(((b - a) / (u - t) for (t, a), (u, b) in neighbours(register[: high + 1])), default=0)
    could_rise = 1.5 * fastest * (t1 - t0) if fastest > 0 else deliverable(t1 - t0, rated_kw)
    for wrap in (2**16, 2**31, 2**32, 2**16 * 1000, 2**31 * 1000, 2**32 * 1000):
        if wrap / 2 <= before < wrap and 0 <= after + wrap - before <= could_rise + tol:
            return "wrap"
    return "reset" if after <= 1000 and after <= before / 2 else "rollback"


def steady(register, falls):
    """The register without drop-outs, which goes down only where it falls."""
    left_out = {i for f in falls if f.kind == "drop_out" for i in f.low}
    fallen = {i for f in falls if f.kind != "drop_out" for i in f.low}
    out = []
    for i, (t, wh) in enumerate(register):
        if i not in left_out:
            out.append((t, wh if not out or i in fallen else max(wh, out[-1][1])))
    return out
