"""Confidence: the probability that a verdict is right, fitted on verdicts whose truth is known.

A logistic model of few figures, so that it can be read: one intercept for each kind of verdict (normal, or a
category), and slopes for what makes a verdict more or less sure. It is fitted on sessions that nothing else was
fitted on, weighted to the share of faulty sessions that is expected in the field, because the same detector is right
less often in saying "faulty" where fewer sessions are.

Three things are no matter of fitting: confidence falls with thin and with doubtful data; no kind of verdict is
taken to be always right, however few wrong ones were seen (one pseudo-verdict of each kind, right as often as
wrong); and no verdict is surer than 0.999, for what simulated sessions show is not all that happens in the field.
"""

import math
from collections.abc import Mapping, Sequence
from operator import mul
from typing import Final, NamedTuple

import numpy as np

from chargewatch.domain.categories import Category
from chargewatch.ingest.columns import Flags, Floats

#: Share of faulty sessions that the confidence is made for.
FIELD_PREVALENCE: Final = 0.05
ENOUGH_INSTANTS: Final = 10
MOST_DOUBTS: Final = 5
MOST_SURPRISE: Final = 4.0

_KINDS: Final = ("normal", *(category.value for category in Category))
#: Figures beside the kinds, with the bounds of their slopes.
_SLOPES: Final = {
    "strength": (0.0, np.inf),
    "few_instants": (-np.inf, -4.0),
    "doubts": (-np.inf, -0.5),
    "surprise_of_normal": (-np.inf, 0.0),
    "surprise_of_anomaly": (0.0, np.inf),
    "not_seen_by_network": (-np.inf, -0.3),
    "managed_anomaly": (-np.inf, np.inf),
    "managed_normal": (-np.inf, np.inf),
}
FIGURES: Final = (*_KINDS, *_SLOPES)
_DOUBTFUL: Final = np.isin(FIGURES, ("few_instants", "doubts", "not_seen_by_network"))
_SUREST: Final = math.log(0.999 / 0.001)
#: Weights of a model that was not calibrated: judgements, not measurements.
PRIOR: Final = (
    dict.fromkeys(FIGURES, 0.0)
    | dict.fromkeys(_KINDS, 3.0)
    | {"few_instants": -4.0, "doubts": -0.5, "surprise_of_normal": -0.3, "not_seen_by_network": -0.3}
)
PRIOR_BASIS: Final = "prior"
_PSEUDO_WEIGHT: Final = 0.5  # right, and as much wrong
_RIDGE: Final = 1.0
_SWEEPS: Final = 400
_LONGEST_STEP: Final = 1.0
_DONE: Final = 1e-6


class Grounds(NamedTuple):
    """What the confidence in one verdict rests on.

    Attributes:
        category: of the anomaly; None for a verdict without one.
        strength: how far beyond its definition the evidence lies (`Finding.strength`), 0 without an anomaly.
        instants: distinct times with a reading that can be analysed.
        doubts: kinds of data-quality notes that can hide something.
        surprise: −log10 of the network's p-value; None where it does not judge.
        managed: charging is managed by the operator.
    """

    category: Category | None
    strength: float
    instants: int
    doubts: int
    surprise: float | None
    managed: bool


def figures_of(grounds: Grounds) -> list[float]:
    """Returns the figures of the model, in the order of ``FIGURES``."""
    anomaly = grounds.category is not None
    kind = "normal" if grounds.category is None else grounds.category.value
    surprise = min(max(grounds.surprise or 0.0, 0.0), MOST_SURPRISE)
    return [
        *(1.0 if kind == name else 0.0 for name in _KINDS),
        math.log1p(min(max(grounds.strength, 0.0), 1e6)),
        1.0 - min(grounds.instants, ENOUGH_INSTANTS) / ENOUGH_INSTANTS,
        float(min(grounds.doubts, MOST_DOUBTS)),
        0.0 if anomaly else surprise,
        surprise if anomaly else 0.0,
        1.0 if grounds.surprise is None else 0.0,
        1.0 if anomaly and grounds.managed else 0.0,
        1.0 if not anomaly and grounds.managed else 0.0,
    ]


class ConfidenceModel:
    """The fitted model: a weight for each of ``FIGURES``; ``basis`` says what it was fitted on.

    Raises:
        ValueError: the weights are those of another version, or no numbers.
    """

    def __init__(self, weights: Mapping[str, float], basis: str) -> None:
        if set(weights) != set(FIGURES):
            raise ValueError("the confidence model has other figures than this version")
        if not all(math.isfinite(weight) for weight in weights.values()):
            raise ValueError("the confidence model has a weight that is no number")
        self.basis = basis
        ordered = [weights[name] for name in FIGURES]
        self._sure = [0.0 if doubtful else w for w, doubtful in zip(ordered, _DOUBTFUL, strict=True)]
        self._doubt = [w if doubtful else 0.0 for w, doubtful in zip(ordered, _DOUBTFUL, strict=True)]

    def confidence(self, grounds: Grounds) -> float:
        """Returns the probability that the verdict is right; at most 0.5 with fewer than two instants."""
        figures = figures_of(grounds)
        logit = min(sum(map(mul, self._sure, figures)), _SUREST) + sum(map(mul, self._doubt, figures))
        probability = 1.0 / (1.0 + math.exp(-min(max(logit, -30.0), 30.0)))
        return min(probability, 0.5) if grounds.instants < 2 else probability


def prevalence_weights(faulty: Flags, prevalence: float) -> Floats:
    """Returns weights (n,) that give faulty sessions the share ``prevalence``; their sum is n.

    Raises:
        ValueError: there are no faulty or no normal sessions.
    """
    share = float(np.mean(faulty)) if len(faulty) else 0.0
    if not 0.0 < share < 1.0:
        raise ValueError("weights for a prevalence need faulty and normal sessions")
    return np.where(faulty, prevalence / share, (1.0 - prevalence) / (1.0 - share))


def fit(
    grounds: Sequence[Grounds], right: Flags, faulty: Flags, prevalence: float = FIELD_PREVALENCE
) -> dict[str, float]:
    """Fits the model to n verdicts; returns the weights by name.

    Args:
        grounds: what each rests on.
        right: whether it was right, shape (n,).
        faulty: whether the session has a fault that its readings show, shape (n,).
        prevalence: share of faulty sessions that the confidence is made for.

    Raises:
        ValueError: there are no faulty or no normal sessions.
    """
    weight = np.concatenate(
        (prevalence_weights(faulty, prevalence), np.full(2 * len(_KINDS), _PSEUDO_WEIGHT))
    )
    kinds = np.eye(len(FIGURES))[: len(_KINDS)]
    x = np.concatenate((np.array([figures_of(g) for g in grounds]), kinds, kinds))
    y = np.concatenate((right.astype(np.float64), np.ones(len(_KINDS)), np.zeros(len(_KINDS))))
    fitted = _logistic(x, y, weight)
    return dict(zip(FIGURES, np.round(fitted, 4).tolist(), strict=True))


def _logistic(x: Floats, y: Floats, weight: Floats) -> Floats:
    """Returns weights (k,) within their bounds: coordinate-wise Newton steps, a ridge on the slopes."""
    count = x.shape[1]
    bounds = [(-np.inf, np.inf)] * len(_KINDS) + list(_SLOPES.values())
    ridge = np.array([0.0] * len(_KINDS) + [_RIDGE] * len(_SLOPES))
    w = np.array([np.clip(0.0, low, high) for low, high in bounds])
    logit = x @ w
    touched = [np.flatnonzero(x[:, j]) for j in range(count)]
    columns = [x[rows, j] for j, rows in enumerate(touched)]
    for _ in range(_SWEEPS):
        largest = 0.0
        for j, (rows, column) in enumerate(zip(touched, columns, strict=True)):
            p = 1.0 / (1.0 + np.exp(-np.clip(logit[rows], -30.0, 30.0)))
            slope = float(np.sum(weight[rows] * (p - y[rows]) * column)) + ridge[j] * w[j]
            bend = float(np.sum(weight[rows] * p * (1.0 - p) * column**2)) + ridge[j] + 1e-9
            step = float(np.clip(-slope / bend, -_LONGEST_STEP, _LONGEST_STEP))
            moved = float(np.clip(w[j] + step, *bounds[j])) - w[j]
            w[j] += moved
            logit[rows] += moved * column
            largest = max(largest, abs(moved))
        if largest < _DONE:
            break
    return w
