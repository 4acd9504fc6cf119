"""Units, the 6-hour window, past anomalies and merging, the slow and obvious way (contract, 3 and 4)."""

from typing import NamedTuple

from tests.reference import electrical, metering, rules
from tests.reference.session import energy_until, read

UNIT_US = 15 * 60 * 1_000_000
WINDOW_US = 24 * UNIT_US
WORST = ["info", "warning", "critical"]
#: What yields to what on the same readings. A register that stands while energy is drawn shows no absence of energy.
YIELDS = {
    "ENERGY_PIT": ["PHASE_LOSS", "THERMAL_DERATING", "METER_FROZEN", "ENERGY_SPIKE"],
    "ZERO_SESSION": ["METER_FROZEN"],
    "CHARGING_EXPECTED": ["METER_FROZEN"],
    "ENERGY_SPIKE": ["KWH_DECREASE"],
    "METER_FROZEN": ["KWH_DECREASE", "ENERGY_SPIKE"],
    "POWER_ENERGY_MISMATCH": ["KWH_DECREASE", "ENERGY_SPIKE", "METER_FROZEN"],
}


class Found(NamedTuple):
    """One anomaly; units are None for a past one."""

    category: str
    start_us: int
    end_us: int
    severity: str
    first_unit: int | None
    last_unit: int | None


class Twin(NamedTuple):
    """What the twins say about a session."""

    anomalies: list
    past_anomalies: list
    sequence_length: int
    energy_wh: float | None
    notes: set


def decided(findings):
    """Without those that share readings with a finding that explains them."""

    def explained(category, start, end):
        return any(c in YIELDS.get(category, []) and b <= end and start <= e for c, b, e, _ in findings)

    return [f for f in findings if not explained(*f[:3])]


def merged(findings):
    """Two of one category less than 15 min apart are one."""
    out = []
    for category, start, end, severity in sorted(findings):
        last = out[-1] if out else None
        if last and last[0] == category and start - last[2] < UNIT_US:
            worst = max(last[3], severity, key=WORST.index)
            out[-1] = (category, last[1], max(last[2], end), worst)
        else:
            out.append((category, start, end, severity))
    return sorted(out, key=lambda f: (f[1], f[0]))


def verdict(readings, **session):
    """Judges one session; arguments as ``session.read``."""
    s = read(readings, **session)
    if s is None:
        return Twin([], [], 0, None, set())
    instants = [s.first_us + round(t * 1e6) for t in s.instants]
    begin = min(t for t in instants if t >= instants[-1] - WINDOW_US)

    def unit(t):
        return max(0, min(23, (t - begin) // UNIT_US))

    found = rules.findings_of(s) + electrical.findings_of(s) + metering.findings_of(s)
    anomalies, past = [], []
    for category, start, end, severity in merged(decided(found)):
        if end >= begin:
            anomalies.append(Found(category, start, end, severity, unit(start), unit(end)))
        else:
            past.append(Found(category, start, end, severity, None, None))
    return Twin(anomalies, past, unit(instants[-1]) + 1, energy_until(s, s.instants[-1]), s.notes)
