"""Evidence over days: one accumulator for each type of fault.

Each day adds the logarithm of how much better a fault explains it than health does; a total below 0 starts anew
(CUSUM, Page 1954). As nobody knows how strong a fault will be, each accumulator runs for several strengths at once,
and the strongest evidence counts. Days of real stations come in bunches, which would make chance look like proof; so
every increment is divided by how much more the residuals of a station wander over a week than independent days would
(`Wander`).
"""

from typing import Final, NamedTuple

import numpy as np

from chargewatch.shade.arrays import Flags, Floats, Integers
from chargewatch.shade.forecast import half_life

#: What is left of sessions, energy or power: the strengths that the accumulators look for.
COUNT_LEFT: Final = (0.6, 0.35, 0.1)
ENERGY_LEFT: Final = (0.75, 0.5, 0.25)
POWER_LEFT: Final = (0.7, 0.5)
#: By how many points the share of zero sessions is up, at least a doubling.
ZERO_UP: Final = (0.2, 0.45)
#: Meter drift, as the logarithm of register over witness.
DRIFT: Final = (0.04, 0.10, -0.04, -0.10)
_MOST_ENERGY: Final = 3.0  # a day's mean energy counts for at most so much of the expected


class Best(NamedTuple):
    """The strongest evidence of an accumulator, an element a station.

    Args:
        evidence: in nats.
        observed: what was observed since the evidence began, in the accumulator's unit.
        expected: what was expected since then.
        begun: the row on which it began.
    """

    evidence: Floats
    observed: Floats
    expected: Floats
    begun: Integers


class Accumulator:
    """CUSUMs of several strengths (rows) for every station (columns)."""

    def __init__(self, strengths: int, stations: int, ceiling: float) -> None:
        """``ceiling``: more evidence than this is not kept, so that a station that is well again shows it soon."""
        self.evidence = np.zeros((strengths, stations))
        self._sums = np.zeros((2, strengths, stations))
        self._begun = np.zeros((strengths, stations), np.int64)
        self._ceiling = ceiling

    def add(self, row: int, nats: Floats, observed: Floats, expected: Floats, active: Flags) -> None:
        """Adds a day.

        Args:
            row: the day.
            nats: strengths × stations, the log likelihood ratios.
            observed: a value a station.
            expected: likewise, in the same unit.
            active: the stations whose day counts.
        """
        before = self.evidence
        after = np.where(active, before + nats, before)
        fresh = (before <= 0.0) & (after > 0.0)
        alive = after > 0.0
        self._begun = np.where(fresh, row, self._begun)
        today = np.stack([np.where(active, observed, 0.0), np.where(active, expected, 0.0)])
        self._sums = np.where(alive, np.where(fresh, 0.0, self._sums) + today[:, None, :], 0.0)
        self.evidence = np.clip(after, 0.0, self._ceiling)

    def best(self) -> Best:
        """Returns the strongest evidence of each station."""
        strength = np.argmax(self.evidence, axis=0)
        column = np.arange(self.evidence.shape[1])
        return Best(
            self.evidence[strength, column],
            self._sums[0, strength, column],
            self._sums[1, strength, column],
            self._begun[strength, column],
        )

    def clear(self, chosen: Flags) -> None:
        """Forgets the evidence against some stations."""
        self.evidence[:, chosen] = 0.0
        self._sums[:, :, chosen] = 0.0


class Wander:
    """How much more residuals wander over a week than independent ones would, at least 1; shrunk to the fleet."""

    _WEEK: Final = 0.85
    _MEMORY: Final = half_life(120.0)
    _OWN: Final = 60.0  # days that weigh as much as the fleet

    def __init__(self, stations: int) -> None:
        self._sum, self._variance, self._ratio, self._days = np.zeros((4, stations))

    def add(self, residual: Floats, variance: Floats, active: Flags) -> None:
        """Adds a day of the active stations: observed less expected, and the variance expected of that."""
        self._sum = np.where(active, self._WEEK * self._sum + residual, self._sum)
        self._variance = np.where(active, self._WEEK**2 * self._variance + variance, self._variance)
        counts = active & (self._variance > 0.3 * variance) & (variance > 0)
        ratio = np.minimum(self._sum**2 / np.maximum(self._variance, 1e-9), 25.0)
        self._ratio = np.where(counts, self._MEMORY * self._ratio + ratio, self._ratio)
        self._days = np.where(counts, self._MEMORY * self._days + 1.0, self._days)

    def factor(self) -> Floats:
        """Returns the factor of each station."""
        fleet = (float(np.cumsum(self._ratio)[-1]) + 1.3 * 100.0) / (float(np.cumsum(self._days)[-1]) + 100.0)
        own = (self._ratio + self._OWN * fleet) / (self._days + self._OWN)
        return np.maximum(own, 1.0)


def count_nats(sessions: Floats, expected: Floats, dispersion: Floats) -> Floats:
    """Log likelihood ratios of fewer sessions against the expected ones; negative binomial of equal dispersion."""
    size = 1.0 / np.maximum(dispersion, 1e-3)
    left = np.array(COUNT_LEFT)[:, None]
    nats: Floats = sessions * np.log(left) + (sessions + size) * np.log(
        (size + expected) / (size + left * expected)
    )
    return nats


def zero_nats(zero: Floats, measured: Floats, share: Floats) -> Floats:
    """Log likelihood ratios of a higher share of zero sessions; binomial."""
    up = np.array(ZERO_UP)[:, None]
    raised = np.clip(np.maximum(2.0 * share, share + up), 0.0, 0.97)
    nats: Floats = zero * np.log(raised / share) + (measured - zero) * np.log((1.0 - raised) / (1.0 - share))
    return nats


def energy_nats(energy_kwh: Floats, delivering: Floats, session_kwh: Floats, shape: Floats) -> Floats:
    """Log likelihood ratios of less energy a session; gamma of equal shape."""
    left = np.array(ENERGY_LEFT)[:, None]
    relative = np.minimum(energy_kwh / session_kwh, _MOST_ENERGY * delivering)
    nats: Floats = -delivering * shape * np.log(left) - shape * relative * (1.0 / left - 1.0)
    return nats


def day_energy_nats(energy_kwh: Floats, expected_kwh: Floats, unit_kwh: Floats) -> Floats:
    """Log likelihood ratios of less energy a day; Poisson in units of the ratio of variance to mean."""
    left = np.array(ENERGY_LEFT)[:, None]
    capped = np.minimum(energy_kwh, _MOST_ENERGY * expected_kwh + 2.0 * unit_kwh)
    nats: Floats = (capped * np.log(left) + expected_kwh * (1.0 - left)) / unit_kwh
    return nats


def shift_nats(total: Floats, count: Floats, mean: Floats, variance: Floats, shifts: Floats) -> Floats:
    """Log likelihood ratios of a mean that is shifted; normal of equal variance.

    Args:
        total: sum of what was observed.
        count: how many were.
        mean: expected of each.
        variance: of each.
        shifts: what is added to the mean, one a strength.
    """
    shift = shifts[:, None]
    nats: Floats = (shift * (total - count * mean) - 0.5 * count * shift**2) / variance
    return nats


def false_discovery_limit(evidence: Floats, tested: Flags, rate: float) -> float:
    """Returns the evidence that a station needs for a rate of false discoveries (Benjamini and Hochberg 1995).

    The probability of so much evidence by chance is at most exp(-evidence) on a given day.

    Args:
        evidence: in nats, one a station.
        tested: the stations that are tested.
        rate: the expected share of false ones among those reported.

    Returns:
        The limit in nats; infinite when nobody passes.
    """
    values = np.sort(evidence[tested])[::-1]
    if not len(values):
        return np.inf
    needed = np.log(len(values) / (rate * np.arange(1, len(values) + 1)))
    passed = np.flatnonzero(values >= needed)
    return float(needed[passed[-1]]) if len(passed) else np.inf
