"""Which readings count: sane, known, one value per instant and signal (contract, section 2).

A reading as sent is a tuple (timestamp in µs, value, measurand, unit, phase, location, context); a name that
was not sent is None. Inside, times are seconds since the session's first sane reading, energies Wh, powers W,
currents A, voltages V, SoC per cent; a signal is a list of (time, value).
"""

from functools import cache
from typing import NamedTuple

from chargewatch.domain.vocabulary import DEFAULT_UNITS, UNITS, Measurand

FIRST_SANE_US = 946_771_200_000_000  # 2000-01-02
DAY_US = 86_400_000_000
MOMENT = 1e-6  # seconds; two times no further apart are one

BEGIN, END = "Transaction.Begin", "Transaction.End"
CONTEXTS = (
    END,
    BEGIN,
    "Sample.Periodic",
    "Sample.Clock",
    "Interruption.Begin",
    "Interruption.End",
    "Trigger",
    "Other",
)
LOCATIONS = ("Outlet", "Inlet", "Cable", "EV", "Body", "Upstream")
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
TEMPERATURE = ["Temperature"]
SIGNALS = [REGISTER, INTERVAL, POWER, CURRENT, VOLTAGE, SOC, POWER_OFFERED, CURRENT_OFFERED]
SIGNALS += [TARGET_SOC, POWER_EXPORT, EXPORT_REGISTER, EXPORT_INTERVAL]

MEASURANDS = tuple(m.value for m in Measurand)
UNIT_NAMES = tuple(u.name for u in UNITS)


class Clean(NamedTuple):
    """One reading with the standard's names and in the unit of the analysis."""

    t: float
    value: float
    measurand: str
    phase: str
    location: str
    context: str


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


@cache
def spelled(name, names):
    """The standard's spelling of a name; None for an unknown one."""
    return next((known for known in names if known.casefold() == name.casefold()), None)


def quantity(unit):
    return next((u.quantity for u in UNITS if u.name == unit), None)


def is_sane(reading, now_us):
    return FIRST_SANE_US <= reading[0] <= now_us + DAY_US


def cleaned(readings, first_us, signals=None):
    """The readings that are analysed, in time order; of those with one key the last that arrived."""
    latest = {}
    for t_us, value, measurand, unit, phase, location, context in readings:
        m = spelled(measurand or REGISTER[0], MEASURANDS)
        if m is None:
            continue
        u = spelled(unit or DEFAULT_UNITS[Measurand(m)], UNIT_NAMES)
        if u is None or quantity(u) != quantity(DEFAULT_UNITS[Measurand(m)]):
            continue
        if value != value or abs(value) > 1e15:
            continue
        p = spelled(phase or "", tuple(PHASES))
        place = spelled(location or "Outlet", LOCATIONS) or "unknown"
        c = spelled(context or "Sample.Periodic", CONTEXTS) or "unknown"
        if p is None or PHASES[p] == NEVER or not any(m in names for names in signals or SIGNALS):
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


def places(clean, names):
    """The locations of the readings that count."""
    times = {t for t, _, _ in chosen(clean, names)}
    mine = [r for r in clean if r.measurand in names and r.t in times]
    return {min((r for r in mine if r.t == t), key=rank).location for t in times}


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
