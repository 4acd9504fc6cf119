"""SoC, phases, voltages and temperature as ``docs/categories.md`` defines them, the slow and obvious way.

Each takes a ``session.Session`` and returns findings (category, start µs, end µs, severity), times since 1970.
"""

from tests.reference.readings import (
    CONTEXTS,
    CURRENT,
    MOMENT,
    PHASES,
    POWER,
    TOTAL,
    VOLTAGE,
    at,
    between,
    lower_median,
    one_per_phase,
    rank,
)
from tests.reference.rules import MINUTE, exports, finding, offer_falls

NOMINALS = [120, 208, 230, 240, 277]
HOT_PLACES = ["Outlet", "Cable", "Body"]


# --------------------------------------------------------------------------------------------- SOC_DROP


def soc_drop(s):
    findings = []
    reference = 0  # position of the earlier value
    i = 1
    while i < len(s.soc):
        value = s.soc[i][1]
        if not imports(s, s.soc[i - 1][0], s.soc[i][0]) or value >= s.soc[reference][1]:
            reference = i
        elif s.soc[reference][1] - value >= 3 - 1e-9 and value < 97:
            while (
                i + 1 < len(s.soc)
                and s.soc[i + 1][1] < s.soc[i][1]
                and imports(s, s.soc[i][0], s.soc[i + 1][0])
            ):
                i += 1
            findings.append(finding(s, "SOC_DROP", s.soc[reference][0], s.soc[i][0], "info"))
            reference = i
        i += 1
    return findings


def imports(s, start, end):
    inside = [step for step in s.flow if step.end > start and step.start < end]
    if not inside or inside[0].w <= 300 or exports(s, start, end):
        return False
    delivered = sum(step.w * (min(step.end, end) - max(step.start, start)) for step in inside)
    return delivered > 300 * (end - start)


# ------------------------------------------------------------------------------------------- PHASE_LOSS


def side_by_side(s, names):
    """(time, {phase: value}) at the instants at which single phases are sent."""
    mine = [r for r in s.clean if r.measurand in names and PHASES[r.phase] != TOTAL]
    out = []
    for t in sorted({r.t for r in mine}):
        now = [r for r in mine if r.t == t]
        best = min(rank(r) for r in now)
        phases = one_per_phase([r for r in now if rank(r) == best], names)
        out.append((t, {n: r.value for n, r in phases.items()}))
    return out


def currents_of(s):
    for names, volts in ((CURRENT, 1), (POWER, 230)):
        signal = side_by_side(s, names)
        most = max((len(phases) for _, phases in signal), default=0)
        if most >= 2:
            whole = [(t, phases) for t, phases in signal if len(phases) == most]
            if names == POWER:
                limit = 400_000 if s.rated_kw is None else 1.15 * s.rated_kw * 1000
                whole = [(t, phases) for t, phases in whole if total(phases) <= limit]
            return [(t, {n: v / volts for n, v in phases.items()}) for t, phases in whole]
    return []


def phase_loss(s):
    signal = currents_of(s)
    findings = []
    i = 1
    while i < len(signal):
        before, now = signal[i - 1][1], signal[i][1]
        carrying = {n for n, a in before.items() if a >= 3}
        lost = {n for n in carrying if n in now and now[n] <= 0.5}
        others = carrying - lost
        j = i
        while lost and others and j < len(signal) and still_lost(before, signal[j][1], lost, others):
            j += 1
        if j - i >= 2:
            if not excused_loss(s, signal, i, j - 1, lost, others):
                findings.append(finding(s, "PHASE_LOSS", signal[i][0], signal[j - 1][0], "warning"))
            i = j
        else:
            i = j if j > i else i + 1
    return findings


def still_lost(before, now, lost, others):
    if not (lost | others) <= set(now) or any(now[n] > 0.5 for n in lost):
        return False
    if sum(now[n] for n in sorted(others)) < 0.5 * sum(before[n] for n in sorted(others)):
        return False
    fell = total(before) - total(now)
    return fell >= 0.5 * sum(before[n] for n in sorted(lost))


def total(phases):
    return sum(phases[n] for n in sorted(phases))


def excused_loss(s, signal, i, j, lost, others):
    start, end = signal[i][0], signal[j][0]
    soc = at(s.soc, start)
    if soc is None and s.soc:
        soc = s.soc[0][1]
    if soc is None:
        if total(signal[i - 1][1]) < 0.3 * max(total(phases) for _, phases in signal[:i]):
            return True
    elif soc > 90:
        return True
    if offer_falls(s, start, end):
        return True
    pause = [w for t, w in s.power if signal[i - 1][0] + 0.001 <= t + MOMENT and t - MOMENT <= start - 0.001]
    if any(w <= 300 for w in pause):
        return True
    to_first = len(lost) > 1 and others == {1}
    return to_first and (s.managed or start - signal[i - 1][0] > 60)


# --------------------------------------------------------------------------------- VOLTAGE_OUT_OF_RANGE


def voltage_out_of_range(s):
    by_phase = side_by_side(s, VOLTAGE)
    if by_phase:
        signals = {n: [(t, phases[n]) for t, phases in by_phase if n in phases] for n in (1, 2, 3)}
    else:
        signals = {TOTAL: [] if s.is_dc else s.voltage}
    live = [v for signal in signals.values() for _, v in signal if v >= 50]
    if not live or not 90 <= lower_median(live) <= 346:
        return []
    middle = lower_median(live)
    nominal = min(NOMINALS, key=lambda n: abs(middle / n - 1))
    if not by_phase and abs(middle / nominal - 1) > 0.1 + 1e-9:
        return []
    meant = [n for n in NOMINALS if n == nominal or abs(middle / n - 1) <= 0.025 + 1e-9]
    low, high = 0.89 * min(meant), 1.11 * max(meant)
    findings = []
    for n, signal in signals.items():
        counted = [(t, v) for t, v in signal if v >= 50 or carries(s, n, t)]
        run = []
        for t, v in [*counted, (None, nominal)]:
            if low - 1e-9 <= v <= high + 1e-9:
                if len(run) >= 2:
                    findings.append(finding(s, "VOLTAGE_OUT_OF_RANGE", run[0], run[-1], "warning"))
                run = []
            else:
                run.append(t)
    return findings


def carries(s, n, t):
    if n == TOTAL:
        return any(when == t and a >= 3 for when, a in s.current)
    return any(when == t and phases.get(n, 0) >= 3 for when, phases in side_by_side(s, CURRENT))


# ------------------------------------------------------------------------------------- THERMAL_DERATING


def temperatures(s, place):
    mine = [r for r in s.hot if r.location == place]
    out = []
    for t in sorted({r.t for r in mine}):
        now = [r for r in mine if r.t == t]
        best = min(context_rank(r) for r in now)
        names = list(PHASES)
        first = min((r for r in now if context_rank(r) == best), key=lambda r: names.index(r.phase))
        out.append((t, first.value))
    return out


def context_rank(reading):
    return CONTEXTS.index(reading.context) if reading.context in CONTEXTS else len(CONTEXTS)


def thermal_derating(s):
    if s.managed and not s.offers:
        return []
    findings = []
    i = 1
    while i < len(s.flow):
        down = step_down(s, i)
        if down is None:
            i += 1
            continue
        high, last = down
        start, end = s.flow[i].first_reading, s.flow[last].last_reading
        if is_hot(s, s.flow[high].last_reading, start) and not excused_step(s, high, i, last):
            findings.append(finding(s, "THERMAL_DERATING", start, end, "warning"))
        i = last + 1
    return findings


def step_down(s, first):
    """(position of the last high step, position of the last reduced one); None for no step down."""
    flow = s.flow
    for high in (first - 1, first - 2):
        if high < 0:
            return None
        if high == first - 2 and flow[first].first_reading - flow[high].last_reading > 5 * MINUTE:
            return None
        recent = flow[max(0, high - 4) : high + 1]
        level = lower_median([step.w for step in recent if flow[high].end - step.end <= 20 * MINUTE])
        low = (1 - 0.3) * level + 1e-6
        if level < 1000 or flow[high].w < 0.9 * level:
            continue
        if flow[first].w > low or flow[first - 1].w <= low:
            continue
        run = [first]
        while run[-1] + 1 < len(flow) and flow[run[-1] + 1].w <= low:
            run.append(run[-1] + 1)
        if run[-1] == len(flow) - 1:
            while run and flow[run[-1]].w <= 300:
                run.pop()
        if len(run) >= 2 and flow[first + 1].w >= 0.85 * flow[first].w:
            return high, run[-1]
    return None


def is_hot(s, before, start):
    for place in HOT_PLACES:
        signal = temperatures(s, place)
        newest = [(t, c) for t, c in signal if t <= before][-1:] + [(t, c) for t, c in signal if t <= start][
            -1:
        ]
        following = [(t, c) for t, c in signal if start < t <= start + 5 * MINUTE][:1]
        near = [(t, c) for t, c in newest if t >= start - 15 * MINUTE] + following
        if near:
            now = max(c for _, c in near)
            highest = max(c for t, c in signal if t <= near[-1][0])
            if now >= 60 and now >= highest - 2:
                return True
    return False


def excused_step(s, high, first, last):
    start, end = s.flow[first].first_reading, s.flow[last].last_reading
    before = s.flow[high].last_reading
    soc = at(s.soc, start)
    if soc is not None:
        at_once = high == first - 1 and start - before <= 2 * MINUTE
        if soc >= 90 or (s.is_dc and soc >= 70 and not at_once):
            return True
    used = [n for _, n in between(s.phase_counts, before - 20 * MINUTE, before)]
    still_used = [n for _, n in between(s.phase_counts, start, end)]
    if used and still_used and lower_median(still_used) < lower_median(used):
        return True
    return offer_falls(s, start, end) or exports(s, start, end)


def findings_of(s):
    """Everything that the four rules find, unmerged."""
    return soc_drop(s) + phase_loss(s) + voltage_out_of_range(s) + thermal_derating(s)
