"""Units, the 6-hour window, past anomalies and merging, the slow and obvious way (contract, 3 and 4)."""

from tests.reference.rules import findings_of
from tests.reference.session import read

UNIT_US = 15 * 60 * 1_000_000
WINDOW_US = 24 * UNIT_US
WORST = ["info", "warning", "critical"]


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
    return out


def verdict(readings, **session):
    """Returns (anomalies, past anomalies, sequence_length); an anomaly is (category, start µs, end µs,
    severity, first unit, last unit)."""
    s = read(readings, **session)
    instants = [round(t * 1e6) for t in s.instants]
    if not instants:
        return [], [], 0
    window = [t for t in instants if t >= instants[-1] - WINDOW_US]
    first = window[0]

    def unit(t):
        return max(0, min(23, (t - first) // UNIT_US))

    anomalies, past = [], []
    for category, start, end, severity in merged(findings_of(s)):
        place = anomalies if end >= first else past
        place.append((category, start, end, severity, unit(start), unit(end)))
    return anomalies, past, unit(instants[-1]) + 1
