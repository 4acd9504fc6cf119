"""How sure a figure is: exact binomial bounds, Student's t over seeds, and the bootstrap within a seed."""

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

from chargewatch.evaluate.metrics import Flags, Floats

LEVEL: Final = 0.95
RESAMPLES: Final = 300
_HALVINGS: Final = 60


class Interval(NamedTuple):
    """A figure with its lower and upper limit; NaN where there is none."""

    value: float
    low: float
    high: float


def upper_bound(events: int, trials: int, level: float = LEVEL) -> float:
    """Returns the one-sided exact (Clopper–Pearson) upper bound of a share.

    It is the largest share under which so few events still have a probability of ``1 - level``: without events
    ``1 - (1 - level) ** (1 / trials)``, which the rule of three approximates. 1 without trials.

    Raises:
        ValueError: more events than trials, or fewer than none.
    """
    if not 0 <= events <= trials:
        raise ValueError(f"{events} events in {trials} trials")
    if events == trials:
        return 1.0
    return _bisected(lambda share: _at_most(events, trials, share) - (1.0 - level))


def student_t(level: float, degrees: int) -> float:
    """Returns the two-sided quantile of Student's t: within ± it lies with probability ``level``.

    From the closed form for whole degrees of freedom (Abramowitz & Stegun 26.7.3 and 26.7.4).
    """
    if degrees < 1:
        raise ValueError("no degrees of freedom")
    angle = _bisected(lambda share: level - _within(share * math.pi / 2.0, degrees)) * math.pi / 2.0
    return math.sqrt(degrees) * math.tan(angle)


def over_seeds(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Returns the mean and its t interval; with fewer than two figures no limits, with a NaN among them NaN."""
    if not values:
        return Interval(math.nan, math.nan, math.nan)
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, math.nan, math.nan)
    half = student_t(level, len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def bootstrap(
    figure: Callable[[Floats], float],
    positive: Flags,
    seed: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """Returns a figure and its percentile interval under resampling of the sessions.

    Normal and anomalous sessions are drawn apart, so that the prevalence stays.

    Args:
        figure: takes weights of shape (n,), how often each session was drawn.
        positive: shape (n,).
        seed: of the drawing.
        resamples: how many.
        level: of the interval.
    """
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(positive), np.flatnonzero(~positive)]
    drawn: list[float] = []
    for _ in range(resamples):
        weights = np.zeros(len(positive))
        for group in groups:
            if len(group):
                weights[group] = np.bincount(rng.integers(len(group), size=len(group)), minlength=len(group))
        drawn.append(figure(weights))
    value = figure(np.ones(len(positive)))
    known = [d for d in drawn if not math.isnan(d)]
    if math.isnan(value) or not known:
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(known, ((1.0 - level) / 2.0, (1.0 + level) / 2.0)).tolist()
    return Interval(value, low, high)


def _at_most(events: int, trials: int, share: float) -> float:
    """Returns the probability of at most so many events."""
    if share <= 0.0 or share >= 1.0:
        return 1.0 if share <= 0.0 else 0.0
    logs = [
        math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
        + k * math.log(share) + (trials - k) * math.log1p(-share)
        for k in range(events + 1)
    ]  # fmt: skip
    highest = max(logs)
    return math.exp(highest) * math.fsum(math.exp(x - highest) for x in logs)


def _within(angle: float, degrees: int) -> float:
    """Returns the probability that ``|t|`` is below ``sqrt(degrees) * tan(angle)``."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(1 + odd, degrees, 2):  # terms cos, 2/3 cos³, … or 1, 1/2 cos², …
        total += term
        term *= cosine * cosine * k / (k + 1)
    return (2.0 / math.pi) * (angle + sine * total) if odd else sine * total


def _bisected(falling: Callable[[float], float]) -> float:
    """Returns where a falling function crosses zero between 0 and 1."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2.0
