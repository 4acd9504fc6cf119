"""The slow, obvious reading of a session: what the rules of ``docs/categories.md`` look at.

Plain Python on plain lists, written from ``docs/categories.md`` and section 2 of the contract, never from
the implementation. A reading as sent is a tuple (timestamp in µs, value, measurand, unit, phase, location,
context); a name that was not sent is None. Inside, times are seconds since the session's first sane reading,
energies Wh, powers W, currents A, voltages V, SoC per cent; a signal is a list of (time, value).
"""

from typing import NamedTuple

from chargewatch.domain.vocabulary import DEFAULT_UNITS, UNITS, Measurand

FIRST_SANE_US = 946_771_200_000_000  # 2000-01-02
DAY_US = 86_400_000_000
MOMENT = 1e-6  # seconds; two times no further apart are one

BEGIN, END = "Transaction.Begin", "Transaction.End"
CONTEXTS = [
    END,
    BEGIN,
    "Sample.Periodic",
    "Sample.Clock",
    "Interruption.Begin",
    "Interruption.End",
    "Trigger",
    "Other",
]
LOCATIONS = ["Outlet", "Inlet", "Cable", "EV", "Body", "Upstream"]
TOTAL, NEVER = 0, 9
PHASES = {"": TOTAL, "L1": 1, "L2": 2, "L3": 3, "L1-N": 1, "L2-N": 2, "L3-N": 3}
PHASES |= {"N": NEVER, "L1-L2": NEVER, "L2-L3": NEVER, "L3-L1": NEVER}

REGISTER = ["Energy.Active.Import.Register"]
INTERVAL = ["Energy.Active.Import.Interval"]
POWER = ["Power.Active.Import"]
CURRENT = ["Current.Import"]
VOLTAGE = ["Voltage"]
SOC = ["SoC", "Display.PresentSOC"]
TARGET_SOC = ["Display.TargetSOC"]
POWER_OFFERED = ["Power.Offered", "Power.Import.Offered"]
CURRENT_OFFERED = ["Current.Offered", "Current.Import.Offered"]
POWER_EXPORT = ["Power.Active.Export"]
EXPORT_REGISTER = ["Energy.Active.Export.Register"]
EXPORT_INTERVAL = ["Energy.Active.Export.Interval"]
SIGNALS = [REGISTER, INTERVAL, POWER, CURRENT, VOLTAGE, SOC, POWER_OFFERED, CURRENT_OFFERED]
SIGNALS += [TARGET_SOC, POWER_EXPORT, EXPORT_REGISTER, EXPORT_INTERVAL]


class Clean(NamedTuple):
    """One reading with the standard's names and in the unit of the analysis."""

    t: float
    value: float
    measurand: str
    phase: str
    location: str
    context: str


class Step(NamedTuple):
    """Constant power in W for a while, and the times of the readings that show it."""

    start: float
    end: float
    w: float
    first_reading: float
    last_reading: float


class Fall(NamedTuple):
    """The register below an earlier value; ``low`` are the positions of the low readings."""

    kind: str
    start: float
    end: float
    low: list


class Session(NamedTuple):
    """Everything that the rules look at."""

    first_us: int
    instants: list  # all sane ones
    attended: list  # those with a reading that is not clock-aligned
    measured: list  # those with a reading that is analysed
    register: list
    resolution: float
    tol: float
    falls: list
    power: list
    intervals: list
    phase_counts: list  # (time, phases that carry current)
    export_power: list
    export_register: list
    export_intervals: list
    soc: list
    target_soc: list
    offers: list
    flow: list
    flow_source: str
    flow_readings: int
    notes: set
    managed: bool
    started: float | None
    ended: float | None
    over: bool
    is_dc: bool


def lower_median(values):
    """The middle value, of two middle ones the smaller."""
    return sorted(values)[(len(values) - 1) // 2]


def neighbours(values):
    return list(zip(values, values[1:], strict=False))


def at(signal, t):
    """The last value at or before ``t``; None when there is none."""
    before = [v for when, v in signal if when <= t + MOMENT]
    return before[-1] if before else None


def between(signal, start, end):
    return [(t, v) for t, v in signal if start - MOMENT <= t <= end + MOMENT]


# ---------------------------------------------------------------------------------------------- readings


def spelled(name, names):
    """The standard's spelling of a name; None for an unknown one."""
    return next((known for known in names if known.casefold() == name.casefold()), None)


def quantity(unit):
    return next((u.quantity for u in UNITS if u.name == unit), None)


def is_sane(reading, now_us):
    return FIRST_SANE_US <= reading[0] <= now_us + DAY_US


def cleaned(readings, first_us):
    """The readings that are analysed, in time order; of those with one key the last that arrived."""
    latest = {}
    for t_us, value, measurand, unit, phase, location, context in readings:
        m = spelled(measurand or REGISTER[0], [m.value for m in Measurand])
        if m is None:
            continue
        u = spelled(unit or DEFAULT_UNITS[Measurand(m)], [u.name for u in UNITS])
        if u is None or quantity(u) != quantity(DEFAULT_UNITS[Measurand(m)]):
            continue
        if value != value or abs(value) > 1e15:
            continue
        p = spelled(phase or "", PHASES)
        place = spelled(location or "Outlet", LOCATIONS) or "unknown"
        c = spelled(context or "Sample.Periodic", CONTEXTS) or "unknown"
        if p is None or PHASES[p] == NEVER or not any(m in names for names in SIGNALS):
            continue
        known = next(x for x in UNITS if x.name == u)
        here = round(value * known.factor + known.offset, 3)
        latest[(t_us, m, p, place, c)] = Clean((t_us - first_us) / 1e6, here, m, p, place, c)
    return sorted(latest.values())


def rank(reading):
    """What is smaller is preferred: context, then a total, then location."""
    context = CONTEXTS.index(reading.context) if reading.context in CONTEXTS else len(CONTEXTS)
    location = LOCATIONS.index(reading.location) if reading.location in LOCATIONS else len(LOCATIONS)
    return (context, PHASES[reading.phase] != TOTAL, location)


def one_per_phase(readings, names):
    """Phase number → reading; the first name of a signal and of a phase wins."""
    best = {}
    for r in sorted(readings, key=lambda r: (names.index(r.measurand), len(r.phase))):
        best.setdefault(PHASES[r.phase], r)
    return best


def chosen(clean, names, how=sum):
    """One (time, value, context) per instant; ``how`` makes one value of those of single phases."""
    mine = [r for r in clean if r.measurand in names]
    best = []
    for t in sorted({r.t for r in mine}):
        now = [r for r in mine if r.t == t]
        best_rank = min(rank(r) for r in now)
        best.append(one_per_phase([r for r in now if rank(r) == best_rank], names))
    most = max((len(phases) for phases in best if TOTAL not in phases), default=0)
    out = []
    for phases in best:
        if how is sum and TOTAL not in phases and len(phases) < most:
            continue
        one = next(iter(phases.values()))
        out.append((one.t, round(how([phases[n].value for n in sorted(phases)]), 3), one.context))
    return out


def phase_counts(clean):
    """Per instant how many phases carry more than 1 A, where single phases are sent."""
    complete = [t for t, _, _ in chosen(clean, CURRENT)]
    out = []
    for t in complete:
        now = [r for r in clean if r.t == t and r.measurand in CURRENT and PHASES[r.phase] != TOTAL]
        if now:
            best_rank = min(rank(r) for r in now)
            phases = one_per_phase([r for r in now if rank(r) == best_rank], CURRENT)
            out.append((t, sum(1 for r in phases.values() if r.value > 1)))
    return out


# ----------------------------------------------------------------------------------------------- repairs


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
        return {}
    first, last = samples[0], samples[-1]
    highest = max(wh for _, wh, _ in samples)
    delivered = last[1] - first[1]
    slack = max(500.0, 0.1 * delivered) + 10
    sentinels = (2**31 - 1, 2**32 - 1)
    foreign = {}
    for reading in register:
        t, wh, context = reading
        if context == BEGIN and t < first[0]:
            rise = deliverable(first[0] - t, rated_kw) + 20
            if wh in sentinels and first[1] != wh:
                foreign[reading] = "register_mixed"
            elif first[1] > wh + rise:
                foreign[reading] = "begin_zero_placeholder" if wh <= 10 else "register_mixed"
            elif first[1] < wh - 10 and first[1] <= rise and highest < wh:
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


def resolution_of(register):
    """The largest of 1, 10, 100, 1000 Wh that divides every value."""
    for wh in (1000, 100, 10):
        if all(round(value * 1000) % (wh * 1000) == 0 for _, value in register):
            return float(wh)
    return 1.0


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


# -------------------------------------------------------------------------------------------------- flow


def steps_of_power(power, register, resolution):
    """Each reading stands for the time half-way to its neighbours, at a gap for the usual spacing.

    The register fills gaps, and the time between two readings where it shows more than either of them.
    """
    usual = lower_median([t1 - t0 for (t0, _), (t1, _) in neighbours(power)])
    known = dict(register)
    steps = []
    begins = power[0][0]
    for (t0, w0), (t1, w1) in neighbours(power):
        reaches = (t1 - t0) / 2 if t1 - t0 <= 3 * usual else usual
        mean = None
        if t0 in known and t1 in known and known[t1] >= known[t0]:
            mean = (known[t1] - known[t0]) * 3600 / (t1 - t0)
            if mean - resolution * 3600 / (t1 - t0) > 1.25 * max(w0, w1) + 300:
                reaches = 0.0
        steps.append(Step(begins, t0 + reaches, w0, t0, t0))
        begins = t1 - reaches
        if mean is not None and begins - steps[-1].end > MOMENT:
            steps.append(Step(steps[-1].end, begins, mean, t0, t1))
    t, w = power[-1]
    return [*steps, Step(begins, t, w, t, t)]


def steps_of_register(register, resolution, rated_kw):
    most = max(400_000, 1.15 * (rated_kw or 0) * 1000)

    moves = [i for i in range(1, len(register)) if register[i][1] != register[i - 1][1]]
    if not moves:
        return (
            [Step(register[0][0], register[-1][0], 0.0, register[0][0], register[-1][0])]
            if len(register) > 1
            else []
        )
    wait = longest_still(register, moves, resolution, most)
    kept = [register[0]]
    for reading in register[1:]:
        if reading[1] != kept[-1][1] or reading[0] - kept[-1][0] >= wait:
            kept.append(reading)
    if kept[-1] != register[-1] and register[-1][0] - register[moves[-1]][0] >= wait / 2:
        kept.append(register[-1])
    steps = []
    moved = register[0][0]
    for (t0, a), (t1, b) in neighbours(kept):
        mean = (b - a) * 3600 / (t1 - t0)
        if 0 <= mean <= most:
            if moved < t0:
                mean = max((b - a) * 3600 / (t1 - moved), (b - a - resolution) * 3600 / (t1 - t0))
            steps.append(Step(t0, t1, mean, t0, t1))
        if a != b:
            moved = t1
    return steps


def longest_still(register, moves, resolution, most):
    """How long the register may stand still: four steps of it at the mean power of its moves."""
    rise = sum(
        b - a for (t0, a), (t1, b) in neighbours(register) if b >= a and (b - a) * 3600 / (t1 - t0) <= most
    )
    if rise <= 0:
        return 0.0
    begin = register[moves[0] - 1] if rise > resolution else register[0]
    return 4 * resolution * (register[moves[-1]][0] - begin[0]) / rise


def steps_of_intervals(intervals):
    return [
        Step(t0, t1, max(wh, 0.0) * 3600 / (t1 - t0), t0, t1) for (t0, _), (t1, wh) in neighbours(intervals)
    ]


def flow_of(power, register, without_drop_outs, intervals, resolution, rated_kw):
    """(steps, what they are drawn from, how many readings that has)."""
    if len(power) >= 2 and 2 * len(power) >= len(register):
        return steps_of_power(power, without_drop_outs, resolution), "power", len(power)
    if len(register) >= 2:
        return steps_of_register(without_drop_outs, resolution, rated_kw), "register", len(register)
    if len(intervals) >= 2:
        return steps_of_intervals(intervals), "intervals", len(intervals)
    return [], "", 0


# ------------------------------------------------------------------------------------------------- session


def read(readings, *, now_us, rated_kw=None, managed=False, started_us=None, ended_us=None, over=True):
    """Everything that the rules look at, from the readings as they arrived; None without a sane reading."""
    sane = [r for r in readings if is_sane(r, now_us)]
    if not sane:
        return None
    first_us = min(r[0] for r in sane)
    clean = cleaned(sane, first_us)
    notes = set()

    def signal(names, how=sum):
        return [(t, v) for t, v, _ in chosen(clean, names, how)]

    def mean(values):
        return sum(values) / len(values)

    imported = signal(POWER)
    voltage = signal(VOLTAGE, mean)
    intervals = signal(INTERVAL)
    register = repaired(clean, [(t, max(w, 0.0)) for t, w in imported], rated_kw, notes)
    resolution = resolution_of(register)
    tol = tol_of(register)
    falls = falls_of(register, tol, rated_kw)
    any_phase = any(spelled(r[4] or "", PHASES) for r in readings)
    is_dc = (
        (not any_phase and any(v > 300 for _, v in voltage))
        or (rated_kw or 0) > 43
        or any(w > 43_000 for _, w in imported)
    )
    counts = phase_counts(clean)
    if not imported and len(register) < 2 and not intervals:
        volts_at = dict(voltage)
        imported = [(t, a * volts_at[t]) for t, a in signal(CURRENT) if t in volts_at]
    power = [(t, max(w, 0.0)) for t, w in imported]
    offers = signal(POWER_OFFERED)
    if not offers:
        usual = [v for _, v in voltage if v > 90]
        volts = lower_median(usual) if usual else 230.0
        phases = 1 if is_dc else max([n for _, n in counts] + [1])
        offers = [(t, a * volts * phases) for t, a in signal(CURRENT_OFFERED, max)]
    flow, source, count = flow_of(power, register, steady(register, falls), intervals, resolution, rated_kw)

    def seconds(us):
        return None if us is None else (us - first_us) / 1e6

    return Session(
        first_us=first_us,
        instants=sorted({seconds(r[0]) for r in sane}),
        attended=sorted({seconds(r[0]) for r in sane if (r[6] or "").casefold() != "sample.clock"}),
        measured=sorted({r.t for r in clean}),
        register=register,
        resolution=resolution,
        tol=tol,
        falls=falls,
        power=power,
        intervals=intervals,
        phase_counts=counts,
        export_power=sorted(signal(POWER_EXPORT) + [(t, -w) for t, w in imported if w < 0]),
        export_register=signal(EXPORT_REGISTER),
        export_intervals=signal(EXPORT_INTERVAL),
        soc=[(t, v) for t, v in signal(SOC, mean) if 0 < v <= 100],
        target_soc=[(t, v) for t, v in signal(TARGET_SOC, mean) if 0 < v <= 100],
        offers=offers,
        flow=flow,
        flow_source=source,
        flow_readings=count,
        notes=notes,
        managed=managed,
        started=seconds(started_us),
        ended=seconds(ended_us),
        over=over,
        is_dc=is_dc,
    )


def steady_register(s):
    return steady(s.register, s.falls)


def energy_until(s, t):
    """Wh so far at ``t``: rises of the register, else intervals, else power; None when none is known."""
    if len(s.register) >= 2:
        return rise_of([r for r in steady_register(s) if r[0] <= t + MOMENT])
    if s.intervals:
        return sum(wh for when, wh in s.intervals if when <= t + MOMENT)
    if len(s.power) >= 2:
        return trapezoids([p for p in s.power if p[0] <= t + MOMENT])
    return None
