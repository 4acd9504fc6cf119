"""Figures of merit, each by its definition, in numpy. Slow twins: ``tests/reference/metrics.py``.

Everything takes weights, so that a figure can be read at another prevalence and resampled without copying.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

RELIABILITY_BINS: Final = 15


class Counts(NamedTuple):
    """Decisions against the truth, in sessions (or in their weights)."""

    true_positives: float
    false_positives: float
    false_negatives: float

    @property
    def precision(self) -> float:
        """Share of what was reported that is true; NaN where nothing was reported."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Share of what is true that was reported; NaN where nothing is true."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN where nothing is true and nothing was reported."""
        twice = 2.0 * self.true_positives
        return _share(twice, twice + self.false_positives + self.false_negatives)


class ReliabilityBin(NamedTuple):
    """The verdicts whose confidence lies in one bin: how sure they were, how often they were right."""

    mean_confidence: float
    share_right: float
    weight: float


def counts(flagged: Flags, positive: Flags, weights: Floats | None = None) -> Counts:
    """Counts decisions. ``flagged``, ``positive``, ``weights``: shape (n,)."""
    w = _weights(weights, len(flagged))
    return Counts(
        float(w[flagged & positive].sum()),
        float(w[flagged & ~positive].sum()),
        float(w[~flagged & positive].sum()),
    )


def auroc(scores: Floats, positive: Flags, weights: Floats | None = None) -> float:
    """Returns the probability that a positive scores above a negative; ties count half.

    ``scores``, ``positive``, ``weights``: shape (n,). NaN where one of the two is missing.
    """
    above, below = _by_score(scores, positive, weights)
    pairs = above.sum() * below.sum()
    lower = np.cumsum(below) - below
    return _share(float((above * (lower + below / 2.0)).sum()), float(pairs))


def auprc(scores: Floats, positive: Flags, weights: Floats | None = None) -> float:
    """Returns average precision: the precision at each distinct score, weighted with the recall it adds.

    Without skill it is the prevalence, so always say it together with that. NaN where there is no positive.
    """
    true, false = (np.cumsum(w[::-1]) for w in _by_score(scores, positive, weights))
    added = np.diff(true, prepend=0.0)
    reached = np.maximum(true + false, np.finfo(np.float64).tiny)
    return _share(float((added * true / reached).sum()), float(true[-1]) if len(true) else 0.0)


def at_prevalence(positive: Flags, prevalence: float) -> Floats:
    """Returns weights (n,) under which ``positive`` has this share of all.

    Raises:
        ValueError: prevalence outside (0, 1).
    """
    if not 0.0 < prevalence < 1.0:
        raise ValueError("a prevalence lies between 0 and 1")
    share = float(positive.mean()) if len(positive) else 0.0
    return np.where(positive, prevalence / max(share, 1e-12), (1.0 - prevalence) / max(1.0 - share, 1e-12))


def brier(confidence: Floats, right: Flags, weights: Floats | None = None) -> float:
    """Returns the mean squared difference of the confidence and whether the verdict was right."""
    w = _weights(weights, len(right))
    return _share(float((w * (confidence - right) ** 2).sum()), float(w.sum()))


def reliability(
    confidence: Floats, right: Flags, weights: Floats | None = None, bins: int = RELIABILITY_BINS
) -> tuple[ReliabilityBin, ...]:
    """Returns at most ``bins`` bins of equal mass, by rising confidence; empty ones are left out.

    Equal confidences share a bin, the one in which the middle of their mass lies: no order among them is made up.
    """
    w = _weights(weights, len(right))
    if not w.sum() > 0:
        return ()
    values, place = np.unique(confidence, return_inverse=True)
    mass = np.bincount(place, w, len(values))
    middle = (np.cumsum(mass) - mass / 2.0) / mass.sum()
    bin_of = np.minimum(np.floor(middle * bins + 1e-9).astype(np.int64), bins - 1)[place]
    total = np.bincount(bin_of, w, bins)
    sure = np.bincount(bin_of, w * confidence, bins)
    true = np.bincount(bin_of, w * right, bins)
    return tuple(
        ReliabilityBin(float(sure[b] / total[b]), float(true[b] / total[b]), float(total[b] / w.sum()))
        for b in np.flatnonzero(total > 0)
    )


def expected_calibration_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """Returns how far, on average, confidence and share of right verdicts lie apart; NaN without bins."""
    if not bins:
        return float("nan")
    return sum(b.weight * abs(b.mean_confidence - b.share_right) for b in bins)


def overlap(found: frozenset[int], true: frozenset[int]) -> float:
    """Returns intersection over union of two sets of 15-minute units; 0 where both are empty."""
    return len(found & true) / max(len(found | true), 1)


def _by_score(scores: Floats, positive: Flags, weights: Floats | None) -> tuple[Floats, Floats]:
    """Returns the weights of positives and of negatives at each distinct score, by rising score."""
    if np.isnan(scores).any():
        raise ValueError("a score is no number")
    w = _weights(weights, len(scores))
    values, place = np.unique(scores, return_inverse=True)
    true, false = (np.bincount(place, w * side, len(values)) for side in (positive, ~positive))
    return true.astype(np.float64), false.astype(np.float64)


def _weights(weights: Floats | None, count: int) -> Floats:
    return np.ones(count) if weights is None else weights


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")
