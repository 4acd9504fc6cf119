"""Slow twins of the station detector: one station, one day, one number at a time."""

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from chargewatch.shade.sessions import Sessions


def local_day(utc_s: float, zone: str) -> int:
    """The day number of an instant, by the calendar."""
    moment = datetime.fromtimestamp(math.floor(utc_s), UTC).astimezone(ZoneInfo(zone))
    return (moment.date() - datetime(1970, 1, 1, tzinfo=UTC).date()).days


def day_sums(sessions: Sessions, zone: str) -> dict[tuple[int, int], dict[str, float]]:
    """Sums of each (day, station), session by session."""
    sums: dict[tuple[int, int], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for i in range(sessions.size):
        end = sessions.end_s[i]
        day = local_day(sessions.start_s[i] if math.isnan(end) else end, zone)
        place = sums[day, int(sessions.station[i])]
        place["sessions"] += 1
        energy = sessions.energy_kwh[i]
        if sessions.zero[i]:
            place["zero"] += 1
            place["measured"] += 1
            place["actual"] += 0.0 if math.isnan(energy) else energy
        elif not math.isnan(energy):
            place["measured"] += 1
            place["actual"] += energy
            hours = (end - sessions.start_s[i]) / 3_600
            if hours >= 0.05 and energy > 0:
                power = sessions.power_kw[i]
                place["powered"] += 1
                place["log_power"] += math.log(energy / hours if math.isnan(power) else power)
                place["log_duration"] += math.log(hours)
    return sums


def _log_negative_binomial(count: int, mean: float, size: float) -> float:
    return (
        math.lgamma(count + size)
        - math.lgamma(size)
        - math.lgamma(count + 1)
        + size * math.log(size / (size + mean))
        + count * math.log(mean / (size + mean))
    )


def count_nats(count: int, expected: float, dispersion: float, left: float) -> float:
    """The log likelihood ratio by the whole probabilities."""
    size = 1 / dispersion
    return _log_negative_binomial(count, left * expected, size) - _log_negative_binomial(
        count, expected, size
    )


def _log_gamma(energy: float, mean: float, shape: float) -> float:
    rate = shape / mean
    return shape * math.log(rate) - math.lgamma(shape) + (shape - 1) * math.log(energy) - rate * energy


def energy_nats(energies: Sequence[float], mean: float, shape: float, left: float) -> float:
    """The log likelihood ratio of single sessions."""
    return sum(_log_gamma(e, left * mean, shape) - _log_gamma(e, mean, shape) for e in energies)


def shift_nats(values: Sequence[float], mean: float, variance: float, shift: float) -> float:
    """The log likelihood ratio of single observations."""
    return sum(((v - mean) ** 2 - (v - mean - shift) ** 2) / (2 * variance) for v in values)


def cusum(nats: Sequence[float], ceiling: float) -> tuple[list[float], list[int]]:
    """Totals after each day, and the day on which each began (of a total above 0)."""
    total, begun, totals, begins = 0.0, 0, [], []
    for day, step in enumerate(nats):
        if total == 0:
            begun = day
        total = min(max(total + step, 0.0), ceiling)
        totals.append(total)
        begins.append(begun)
    return totals, begins


def benjamini_hochberg(p_values: Sequence[float], rate: float) -> set[int]:
    """The numbers of the rejected hypotheses, by trying every count from the largest."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    for count in range(len(order), 0, -1):
        if p_values[order[count - 1]] <= rate * count / len(order):
            return set(order[:count])
    return set()
