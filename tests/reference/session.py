"""The slow, obvious reading of a session: what the rules of ``docs/categories.md`` look at.

Plain Python on plain lists, written from ``docs/categories.md`` and section 2 of the contract, never from
the implementation.
"""

from typing import NamedTuple

from tests.reference.readings import (
    CURRENT,
    CURRENT_OFFERED,
    EXPORT_INTERVAL,
    EXPORT_REGISTER,
    INTERVAL,
    MOMENT,
    PHASES,
    POWER,
    POWER_EXPORT,
    POWER_OFFERED,
    SOC,
    TARGET_SOC,
    TEMPERATURE,
    VOLTAGE,
    chosen,
    cleaned,
    is_sane,
    lower_median,
    neighbours,
    phase_counts,
    places,
    spelled,
)
from tests.reference.register import (
    falls_of,
    register_places,
    repaired,
    resolution_of,
    rise_of,
    steady,
    tol_of,
    trapezoids,
)


class Step(NamedTuple):
    """Constant power in W for a while, and the times of the readings that show it."""

    start: float
    end: float
    w: float
    first_reading: float
    last_reading: float


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
    current: list  # as sent, of phases the sum
    voltage: list  # as sent, of phases the mean
    clean: list  # every reading that is analysed
    hot: list  # temperatures, which make no instant to analyse
    flow: list
    flow_source: str
    flow_readings: int
    notes: set
    managed: bool
    started: float | None
    ended: float | None
    over: bool
    is_dc: bool
    rated_kw: float | None
    sends_power: bool
    drawn: list  # power, else what current says
    apart: bool  # register and power were measured at more than one location


def drawn_while_it_stood(power, known, end):
    """In Wh, by trapezoids: over the pairs of power readings before ``end`` at which the register was the same."""
    drawn = 0.0
    for (t0, w0), (t1, w1) in reversed(list(neighbours([(t, w) for t, w in power if t <= end]))):
        if t0 not in known or t1 not in known or known[t0] != known[t1]:
            break
        drawn += (w0 + w1) / 2 * (t1 - t0) / 3600
    return drawn


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
            late = drawn_while_it_stood(power, known, t0)
            if mean - (resolution + late) * 3600 / (t1 - t0) > 1.25 * max(w0, w1) + 300:
                reaches = 0.0
        steps.append(Step(begins, t0 + reaches, w0, t0, t0))
        begins = t1 - reaches
        if mean is not None and begins - steps[-1].end > MOMENT:
            blur = resolution * 3600 / (t1 - t0)
            allowed = sorted([max(mean - blur, 0.0), (w0 + w1) / 2, mean + blur])
            steps.append(Step(steps[-1].end, begins, allowed[1], t0, t1))
    t, w = power[-1]
    return [*steps, Step(begins, t, w, t, t)]


def steps_of_register(register, resolution, most):
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
        if b >= a and (b - a - resolution) * 3600 / (t1 - t0) <= most:
            if moved < t0:
                mean = max((b - a) * 3600 / (t1 - moved), (b - a - resolution) * 3600 / (t1 - t0))
            steps.append(Step(t0, t1, mean, t0, t1))
        if a != b:
            moved = t1
    return steps


def longest_still(register, moves, resolution, most):
    """How long the register may stand still: four steps of it at the mean power of its moves."""
    rise = sum(
        b - a
        for (t0, a), (t1, b) in neighbours(register)
        if b >= a and (b - a - resolution) * 3600 / (t1 - t0) <= most
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
    most = 400_000 if rated_kw is None else 1.15 * rated_kw * 1000

    def possible(steps):
        return [step for step in steps if step.w <= most]

    if len(power) >= 2 and 2 * len(power) >= len(register):
        told = [(t, w) for t, w in power if w <= most]
        steps = steps_of_power(told, without_drop_outs, resolution) if len(told) >= 2 else []
        return possible(steps), "power", len(power)
    if len(register) >= 2:
        return steps_of_register(without_drop_outs, resolution, most), "register", len(register)
    if len(intervals) >= 2:
        return possible(steps_of_intervals(intervals)), "intervals", len(intervals)
    return [], "", 0


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
    any_phase = any(spelled(r[4] or "", tuple(PHASES)) for r in readings)
    is_dc = (
        (not any_phase and any(v > 300 for _, v in voltage))
        or (rated_kw or 0) > 43
        or any(w > 43_000 for _, w in imported)
    )
    counts = phase_counts(clean)
    sends_power = bool(imported)
    volts_at, usual_v = dict(voltage), lower_median([v for _, v in voltage if v > 90] or [230.0])
    drawn = imported or [(t, a * volts_at.get(t, usual_v)) for t, a in signal(CURRENT)]
    measured = [(t, max(w, 0.0)) for t, w in imported]
    apart = len(register_places(clean, measured, rated_kw) | places(clean, POWER)) > 1
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
        current=signal(CURRENT),
        voltage=voltage,
        clean=clean,
        hot=cleaned(sane, first_us, [TEMPERATURE]),
        flow=flow,
        flow_source=source,
        flow_readings=count,
        notes=notes,
        managed=managed,
        started=seconds(started_us),
        ended=seconds(ended_us),
        over=over,
        is_dc=is_dc,
        rated_kw=rated_kw,
        sends_power=sends_power,
        drawn=[(t, max(w, 0.0)) for t, w in drawn],
        apart=apart,
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
