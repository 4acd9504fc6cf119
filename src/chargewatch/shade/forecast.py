"""What a day is expected to be, as distributions: counts are negative binomial, energies of sessions gamma."""

import math
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np

from chargewatch.shade.arrays import Floats

_LEAST: Final = 1e-9
_STANDARD: Final = NormalDist()


class Forecast(NamedTuple):
    """The expectation of one day, an element a station.

    Args:
        sessions: expected number of sessions.
        ahead: the same without what the rest of the fleet did on that day: a forecast of the evening before.
        uncertainty: relative standard error of ``sessions``.
        dispersion: of the counts; their variance is mean + dispersion × mean².
        session_kwh: expected energy of a session that delivers.
        energy_shape: shape of its gamma distribution.
        zero_share: expected share of zero sessions.
        log_power: mean of the logarithm of power in kW, and its variance between sessions.
        log_duration: mean of the logarithm of duration in hours.
        log_ratio: mean of the logarithm of register energy over a witness's, and its variance.
    """

    sessions: Floats
    ahead: Floats
    uncertainty: Floats
    dispersion: Floats
    session_kwh: Floats
    energy_shape: Floats
    zero_share: Floats
    log_power: Floats
    log_power_variance: Floats
    log_duration: Floats
    log_ratio: Floats
    log_ratio_variance: Floats

    @property
    def energy_kwh(self) -> Floats:
        """The expected energy of the day."""
        expected: Floats = self.sessions * (1.0 - self.zero_share) * self.session_kwh
        return expected

    def energy_quantile(self, share: float, sessions: Floats | None = None) -> Floats:
        """Returns a quantile of the day's energy in kWh.

        A compound of negative binomial counts and gamma energies: 0 with the probability of no delivery, else taken
        for a gamma variable of the same mean and variance (Wilson and Hilferty 1931 for its quantiles).

        Args:
            share: of 1.
            sessions: expected counts; default: ``sessions``.
        """
        counts = (self.sessions if sessions is None else sessions) * (1.0 - self.zero_share)
        counts = np.maximum(counts, _LEAST)
        mean = counts * self.session_kwh
        relative = (1.0 + 1.0 / self.energy_shape) / counts + self.dispersion
        nothing = no_session(counts, self.dispersion)
        some = np.maximum(1.0 - nothing, _LEAST)
        # relative second moment of a day with delivery; at least 1 + a little
        spread = np.maximum((relative + 1.0) * some - 1.0, 1e-6)
        level = np.clip((share - nothing) / some, 1e-9, 1.0 - 1e-9)
        shape = 1.0 / spread
        score = _normal_quantile(level)
        cube = 1.0 - 1.0 / (9.0 * shape) + score / (3.0 * np.sqrt(shape))
        return np.where(share <= nothing, 0.0, mean / some * np.maximum(cube, 0.0) ** 3)


def no_session(mean: Floats, dispersion: Floats) -> Floats:
    """Returns the probability that a negative binomial count is 0."""
    probability: Floats = np.exp(-silence(mean, dispersion))
    return probability


def silence(mean: Floats, dispersion: Floats) -> Floats:
    """Returns minus the logarithm of that probability, in nats."""
    spread = np.maximum(dispersion, 1e-6)
    nats: Floats = np.log1p(spread * mean) / spread
    return nats


_BREAKS: Final = np.array([_STANDARD.inv_cdf(i / 4096) for i in range(1, 4096)])


def _normal_quantile(share: Floats) -> Floats:
    """Returns quantiles of the normal distribution: a table within, the tails by Abramowitz and Stegun 26.2.23."""
    within = np.interp(share, np.arange(1, 4096) / 4096, _BREAKS)
    tail = np.sqrt(-2.0 * np.log(np.minimum(share, 1.0 - share)))
    far = tail - (2.515517 + 0.802853 * tail + 0.010328 * tail**2) / (
        1.0 + 1.432788 * tail + 0.189269 * tail**2 + 0.001308 * tail**3
    )
    outside = np.minimum(share, 1.0 - share) < 1 / 256
    return np.where(outside, np.sign(share - 0.5) * far, within)


def half_life(days: float) -> float:
    """Returns the factor by which something fades in a day that halves in so many."""
    return math.exp(-math.log(2.0) / days)
