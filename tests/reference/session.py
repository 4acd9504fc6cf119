"""The slow, obvious reading of a session: what the rules of ``docs/categories.md`` look at.

Plain Python on plain lists, written from ``docs/categories.md`` and section 2 of the contract, never from
the implementation. A reading is a tuple (timestamp in µs, value, measurand, unit, phase, location, context).
Inside, times are seconds since 1970, energies kWh, powers kW, currents A, voltages V.
"""

from typing import NamedTuple

from chargewatch.domain.vocabulary import DEFAULT_UNITS, UNITS, Measurand

Reading = tuple[int, float, str | None, str | None, str | None, str | None, str | None]

FIRST_SANE_S = 946_771_200  # 2000-01-02
DAY_S = 86_400
NO_LIMIT_KW = 400.0
RATED_MARGIN = 1.15

BEGIN, END = "Transaction.Begin", "Transaction.End"
CONTEXT_ORDER = [BEGIN, END, "Sample.Periodic", "Sample.Clock", "Interruption.Begin", "Interruption.End", "Trigger", "Other"]
LOCATION_ORDER = ["Outlet", "Inlet", "Cable", "EV", "Body", "Upstream"]
LINE_PHASES = [("L1", "L1-N"), ("L2", "L2-N"), ("L3", "L3-N")]
PHASES = ["", "L1", "L2", "L3", "N", "L1-N", "L2-N", "L3-N", "L1-L2", "L2-L3", "L3-L1"]


class Clean(NamedTuple):
    """One reading with the standard's names and in the unit of the analysis."""

    t: float
    value: float
    measurand: str
    phase: str
    location: str
    context: str


class Step(NamedTuple):
    """Constant power for a while, and the readings that show it."""

    start: float
    end: float
    kw: float
    first_reading: float
    last_reading: float


class Session(NamedTuple):
    """Everything that the rules look at."""

    instants: list[float]
    clock_only_instants: list[float]
    register: list[tuple[float, float]]
    register_contexts: list[str]
    resolution: float
    tol: float
    power: list[tuple[float, float]]
    intervals: list[tuple[float, float]]
    currents: list[tuple[float, dict[str, float]]]
    voltage: list[tuple[float, float]]
    export: list[tuple[float, float]]
    soc: list[tuple[float, float]]
    offers: list[tuple[float, float]]
    flow: list[Step]
    flow_source: str
    flow_readings: int
    falls: "list[Fall]"
    notes: set[str]
    rated_kw: float | None
    managed: bool
    started: float | None
    ended: float | None
    over: bool
    is_dc: bool


class Fall(NamedTuple):
    """The register below an earlier value; ``low`` are the positions of the low readings."""

    kind: str
    start: float
    end: float
    low: list[int]
    drop: float


def lower_median(values):
    """The middle value, of two middle ones the smaller."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2]


def median(values):
    ordered = sorted(values)
    n = len(ordered)
    return ordered[n // 2] if n % 2 else (ordered[n // 2 - 1] + ordered[n // 2]) / 2


# ---------------------------------------------------------------------------------------------- readings


def spelled(name, names, default):
    if name is None:
        return default
    for known in names:
        if known.casefold() == name.casefold():
            return known
    return None


QUANTITY_OF_DEFAULT = {m.value: next(u.quantity for u in UNITS if u.name == DEFAULT_UNITS[m]) for m in Measurand}


def clean_readings(readings, now_us):
    """Sane, known readings in time order; of those with one key the last that arrived. Also every sane instant."""
    latest = {}
    sane_instants = {}
    for t_us, value, measurand, unit, phase, location, context in readings:
        if t_us < FIRST_SANE_S * 1_000_000 or t_us > now_us + DAY_S * 1_000_000:
            continue
        m = spelled(measurand, [m.value for m in Measurand], "Energy.Active.Import.Register")
        p = spelled(phase, PHASES, "")
        place = spelled(location, LOCATION_ORDER, "Outlet")
        c = spelled(context, CONTEXT_ORDER, "Sample.Periodic")
        sane_instants.setdefault(t_us / 1e6, set()).add(c)
        if None in (m, p, place, c):
            continue
        u = spelled(unit, [u.name for u in UNITS], DEFAULT_UNITS[Measurand(m)])
        known = [x for x in UNITS if x.name == u]
        if not known or known[0].quantity != QUANTITY_OF_DEFAULT[m]:
            continue
        in_unit = value * known[0].factor + known[0].offset
        latest[(t_us, m, p, place, c)] = in_unit
    cleaned = [Clean(t / 1e6, v, m, p, place, c) for (t, m, p, place, c), v in latest.items()]
    return sorted(cleaned), sane_instants


def context_rank(context):
    if context.startswith("Transaction."):
        return 0
    return {"Sample.Periodic": 1, "Sample.Clock": 2}.get(context, 3)


def chosen(cleaned, measurand, *, sum_phases):
    """One (time, value, context) per instant: best context, then a total before the sum, then best location."""
    out = []
    mine = [r for r in cleaned if r.measurand == measurand]
    for t in sorted({r.t for r in mine}):
        now = [r for r in mine if r.t == t]
        candidates = []
        for context in CONTEXT_ORDER:
            for location in LOCATION_ORDER:
                here = {r.phase: r.value for r in now if r.context == context and r.location == location}
                rank = (context_rank(context), LOCATION_ORDER.index(location))
                if "" in here:
                    candidates.append((rank[0], 0, rank[1], CONTEXT_ORDER.index(context), here[""], context))
                elif sum_phases:
                    parts = [here[a] if a in here else here[b] for a, b in LINE_PHASES if a in here or b in here]
                    if parts:
                        candidates.append((rank[0], 1, rank[1], CONTEXT_ORDER.index(context), sum(parts), context))
        if candidates:
            best = min(candidates)
            out.append((t, best[4], best[5]))
    return out


def phase_values(cleaned, measurand):
    """Per instant the values of the phases L1, L2, L3 that were sent at the best context and location."""
    out = []
    mine = [r for r in cleaned if r.measurand == measurand]
    for t in sorted({r.t for r in mine}):
        best = {}
        for name in LINE_PHASES:
            found = [r for r in mine if r.t == t and r.phase in name]
            if found:
                first = min(found, key=lambda r: (context_rank(r.context), LOCATION_ORDER.index(r.location)))
                best[name[0]] = first.value
        if best:
            out.append((t, best))
    return out


# ----------------------------------------------------------------------------------------------- repairs


def deliverable(seconds, rated_kw):
    """kWh that could be delivered in this time."""
    kw = RATED_MARGIN * rated_kw if rated_kw else NO_LIMIT_KW
    return kw * seconds / 3600


def repaired(register, power, rated_kw, notes):
    """The register's (time, kWh, context) readings after the repairs; adds to ``notes``."""
    samples = [r for r in register if r[2] not in (BEGIN, END)]
    kept = list(register)
    if samples:
        for reading in list(kept):
            t, kwh, context = reading
            if context == BEGIN:
                after = [s for s in samples if s[0] >= t]
                if not after:
                    continue
                rise = after[0][1] - kwh
                too_much = rise > deliverable(after[0][0] - t, rated_kw) + 0.01
                if too_much and kwh <= 0.01:
                    kept.remove(reading)
                    notes.add("begin_zero_placeholder")
                elif too_much or rise < -0.01:
                    kept.remove(reading)
                    notes.add("register_mixed")
            if context == END:
                before = [s for s in samples if s[0] <= t]
                if not before:
                    continue
                rise = kwh - before[-1][1]
                if rise > deliverable(t - before[-1][0], rated_kw) + 0.01 or rise < -0.01:
                    kept.remove(reading)
                    notes.add("register_mixed")
    kept = rescaled(kept, rated_kw, notes)
    return scale_checked(kept, power, notes)


def rescaled(register, rated_kw, notes):
    """A register that continues 1000 times larger or smaller goes on in its first scale."""
    out = []
    scale = 1.0
    for t, kwh, context in register:
        if out:
            t0, kwh0, _ = out[-1]
            here = kwh * scale
            could = deliverable(t - t0, rated_kw) + 0.01
            if not -0.01 <= here - kwh0 <= could:
                for other in (scale * 1000, scale / 1000):
                    if kwh0 > 0 and -0.01 <= kwh * other - kwh0 <= could:
                        scale = other
                        notes.add("unit_switched")
                        break
        out.append((t, kwh * scale, context))
    return out


def scale_checked(register, power, notes):
    """A register whose whole rise is off the integral of measured power by about 1000 is rescaled."""
    rise = sum(max(0.0, b[1] - a[1]) for a, b in zip(register, register[1:], strict=False))
    integral = trapezoids(power)
    if rise > 0 and integral > 0:
        for factor in (1000, 1 / 1000):
            if 0.5 <= rise * factor / integral <= 2:
                notes.add("unit_scale_suspect")
                return [(t, kwh * factor, c) for t, kwh, c in register]
    return register


def trapezoids(power):
    return sum((a[1] + b[1]) / 2 * (b[0] - a[0]) / 3600 for a, b in zip(power, power[1:], strict=False))


def resolution_of(register):
    """The largest of 1, 10, 100, 1000 Wh that divides every value, in kWh."""
    for wh in (1000, 100, 10):
        if all(abs(kwh * 1000 / wh - round(kwh * 1000 / wh)) < 1e-6 for _, kwh in register):
            return wh / 1000
    return 0.001


# ------------------------------------------------------------------------------------------ falls of the register


def falls_of(register, tol, rated_kw):
    """Every fall by more than ``tol`` below the highest value since the start or the last fall."""
    falls = []
    peak = None
    i = 0
    while i < len(register):
        t, kwh = register[i]
        if peak is None or kwh >= peak[1]:
            peak = (t, kwh)
            i += 1
            continue
        if peak[1] - kwh <= tol:
            i += 1
            continue
        back = next((j for j in range(i + 1, len(register)) if register[j][1] >= peak[1] - tol), None)
        if back is not None:
            drop = peak[1] - min(v for _, v in register[i:back])
            if register[back][1] - register[back - 1][1] >= drop / 2:
                falls.append(Fall("drop_out", peak[0], register[back - 1][0], list(range(i, back)), drop))
                i = back
                continue
        last = i
        while last + 1 < len(register) and register[last + 1][1] < register[last][1] - tol:
            last += 1
        low = register[last]
        falls.append(
            Fall(kind_of_fall(peak, low, tol, rated_kw), peak[0], low[0], list(range(i, last + 1)), peak[1] - low[1])
        )
        peak = low
        i = last + 1
    return falls


def kind_of_fall(high, low, tol, rated_kw):
    for wrap in (2**16 / 1000, 2**31 / 1000, 2**32 / 1000, 2**16, 2**31, 2**32):
        rise = low[1] + wrap - high[1]
        if 0 <= rise <= deliverable(low[0] - high[0], rated_kw) + tol:
            return "wrap"
    if low[1] <= 1.0 and low[1] <= high[1] / 2:
        return "reset"
    return "rollback"


def without_drop_outs(register, falls):
    out = {i for f in falls if f.kind == "drop_out" for i in f.low}
    return [r for i, r in enumerate(register) if i not in out]


# -------------------------------------------------------------------------------------------------- flow


def steps_of_power(power, register):
    """Each reading stands for the time half-way to its neighbours, at most the usual spacing on each side."""
    spacings = [b[0] - a[0] for a, b in zip(power, power[1:], strict=False)]
    usual = lower_median(spacings)
    at = dict(register)
    steps = []
    for i, (t, kw) in enumerate(power):
        before = min((t - power[i - 1][0]) / 2, usual) if i > 0 else 0.0
        after = min((power[i + 1][0] - t) / 2, usual) if i + 1 < len(power) else 0.0
        steps.append(Step(t - before, t + after, kw, t, t))
        if i + 1 < len(power):
            t1 = power[i + 1][0]
            if (t1 - t) / 2 > usual and t in at and t1 in at:
                mean = (at[t1] - at[t]) * 3600 / (t1 - t)
                steps.append(Step(t + usual, t1 - usual, max(0.0, mean), t, t1))
    return steps


def steps_of_register(register, resolution):
    values = [v for _, v in register]
    if max(values) == min(values):
        return [Step(register[0][0], register[-1][0], 0.0, register[0][0], register[-1][0])]
    moves = [i for i in range(1, len(register)) if values[i] != values[i - 1]]
    rise = sum(max(0.0, values[i] - values[i - 1]) for i in range(1, len(values)))
    hours = (register[moves[-1]][0] - register[moves[0] - 1][0]) / 3600
    wait = 4 * resolution / (rise / hours) * 3600 if rise > 0 else 0.0
    kept = [register[0]]
    for i in range(1, len(register)):
        t, v = register[i]
        if i == len(register) - 1 or v != kept[-1][1] or t - kept[-1][0] >= wait:
            kept.append((t, v))
    steps = []
    for a, b in zip(kept, kept[1:], strict=False):
        if b[1] >= a[1]:
            steps.append(Step(a[0], b[0], (b[1] - a[1]) * 3600 / (b[0] - a[0]), a[0], b[0]))
    return steps


def steps_of_intervals(intervals):
    return [
        Step(a[0], b[0], b[1] * 3600 / (b[0] - a[0]), a[0], b[0])
        for a, b in zip(intervals, intervals[1:], strict=False)
    ]


def usual_voltage(voltage):
    sane = [v for _, v in voltage if v > 90]
    return median(sane) if sane else 230.0


def phase_counts(currents):
    """Per instant how many phases carry more than 1 A."""
    return [(t, sum(1 for a in phases.values() if a > 1)) for t, phases in currents]


# ------------------------------------------------------------------------------------------------- session


def read(readings, *, now_us, rated_kw=None, managed=False, started=None, ended=None, over=None):
    """Everything that the rules look at, from the readings as they arrived."""
    cleaned, sane = clean_readings(readings, now_us)
    notes = set()

    def channel(name, scale=1.0, sum_phases=True):
        return [(t, v * scale) for t, v, _ in chosen(cleaned, name, sum_phases=sum_phases)]

    power = [(t, max(0.0, kw)) for t, kw in channel("Power.Active.Import", 0.001)]
    raw = [(t, v / 1000, c) for t, v, c in chosen(cleaned, "Energy.Active.Import.Register", sum_phases=True)]
    fixed = repaired(raw, power, rated_kw, notes)
    register = [(t, v) for t, v, _ in fixed]
    resolution = resolution_of(register)
    tol = max(resolution, 0.01)
    falls = falls_of(register, tol, rated_kw)
    intervals = channel("Energy.Active.Import.Interval", 0.001)
    currents = phase_values(cleaned, "Current.Import")
    voltage = [(r.t, r.value) for r in cleaned if r.measurand == "Voltage"]
    volts = usual_voltage(voltage)
    is_dc = (
        any(r.measurand == "Voltage" and r.phase == "" and r.value > 300 for r in cleaned)
        or (rated_kw or 0) > 43
        or any(kw > 43 for _, kw in power)
    )
    phases = 1 if is_dc else max([n for _, n in phase_counts(currents)] + [1])
    offers = channel("Power.Offered", 0.001)
    if not offers:
        amperes = channel("Current.Offered", sum_phases=False)
        offers = [(t, a * volts * phases / 1000) for t, a in amperes]
    flow, source, count = [], "", 0
    if len(power) >= 2 and len(power) >= len(register) / 2:
        flow, source, count = steps_of_power(power, register), "power", len(power)
    elif len(register) >= 2:
        good = without_drop_outs(register, falls)
        flow, source, count = steps_of_register(good, resolution), "register", len(register)
    elif len(intervals) >= 2:
        flow, source, count = steps_of_intervals(intervals), "intervals", len(intervals)
    else:
        by_current = [(t, max(0.0, a * volts / 1000)) for t, a in channel("Current.Import")]
        if len(by_current) >= 2:
            flow, source, count = steps_of_power(by_current, []), "current", len(by_current)
    if ended is not None or any(r.context == END for r in cleaned):
        over = True
    return Session(
        instants=sorted(sane),
        clock_only_instants=[t for t in sorted(sane) if sane[t] == {"Sample.Clock"}],
        register=register,
        register_contexts=[c for _, _, c in fixed],
        resolution=resolution,
        tol=tol,
        power=power,
        intervals=intervals,
        currents=currents,
        voltage=voltage,
        export=channel("Power.Active.Export", 0.001),
        soc=[(t, v) for t, v in channel("SoC") if 0 < v <= 100],
        offers=offers,
        flow=flow,
        flow_source=source,
        flow_readings=count,
        falls=falls,
        notes=notes,
        rated_kw=rated_kw,
        managed=managed,
        started=started,
        ended=ended,
        over=bool(over),
        is_dc=is_dc,
    )


def energy_until(session, t):
    """kWh so far at ``t``: rises of the register, else intervals, else power; None when none is known."""
    if len(session.register) >= 2:
        good = [r for r in without_drop_outs(session.register, session.falls) if r[0] <= t]
        return sum(max(0.0, b[1] - a[1]) for a, b in zip(good, good[1:], strict=False))
    if session.intervals:
        return sum(v for when, v in session.intervals if when <= t)
    if len(session.power) >= 2:
        return trapezoids([p for p in session.power if p[0] <= t])
    return None


def at(channel, t):
    """The last value at or before ``t``; None when there is none."""
    before = [v for when, v in channel if when <= t]
    return before[-1] if before else None


def between(channel, start, end):
    return [(t, v) for t, v in channel if start <= t <= end]
