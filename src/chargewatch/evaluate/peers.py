"""Peers on the same sessions: detectors of other packages, boosted trees, rules, and the one-liner.

Each learns from the training set (training mechanisms only, other seeds); its threshold is the 98 % quantile
of its scores on further normal sessions, frozen before it sees the suite. Packages are imported when a peer
runs; one that is missing is named in the peer's row.
"""

import contextlib
import io
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Final, NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from chargewatch.domain.categories import Category
from chargewatch.evaluate import rules_of_thumb
from chargewatch.evaluate.metrics import Floats, counts
from chargewatch.evaluate.outcomes import UNKNOWN, Outcome
from chargewatch.evaluate.scorecard import Scorecard, Traits, scorecard
from chargewatch.evaluate.truth import State, Truth

QUANTILE: Final = 0.98
CATEGORIES: Final = tuple(Category)
_LIMIT: Final = 8.0
XGBOD_MOST: Final = 2000
"""XGBOD fits some forty detectors, several of which take time with the square of the sessions."""

Classes = npt.NDArray[np.int64]


class Lesson(NamedTuple):
    """What peers learn from. ``classes``: 0 normal, else 1 + the position of the category in ``CATEGORIES``.

    ``features``: (n, F); ``calibration``: (m, F), normal sessions that set the threshold and nothing else.
    """

    features: Floats
    classes: Classes
    calibration: Floats


class Scores(NamedTuple):
    """What a peer says about n sessions.

    ``score`` orders them. ``chance`` (NaN: none) is the probability of an anomaly. ``classes`` are 1 + the position
    of the likeliest category, or None. ``frozen`` is a threshold of the method's own; else one is set.
    """

    score: Floats
    chance: Floats | None = None
    classes: Classes | None = None
    frozen: float | None = None


Scorer = Callable[[Floats], Scores]


class Peer(NamedTuple):
    """A method to compare with: the packages it needs, how it learns, and from how many sessions at most."""

    name: str
    needs: tuple[str, ...]
    learn: Callable[[Lesson, int], Scorer]
    traits: Traits = Traits(categories=False, places=False)
    most: int | None = None


class AtRate(msgspec.Struct, frozen=True):
    """A peer whose threshold is set *on the suite* so that it has no more false alarms than CSAR-2 had there."""

    false_alarms: int
    precision: float
    recall: float
    f1: float


class PeerResult(msgspec.Struct, frozen=True):
    """A peer's row. ``problem`` says why there are no figures."""

    name: str
    problem: str | None = None
    card: Scorecard | None = None
    at_our_rate: AtRate | None = None
    seconds: float = 0.0


class Trial(NamedTuple):
    """The suite as peers meet it, and the number of false alarms that CSAR-2 had on it."""

    truths: Sequence[Truth]
    features: Floats
    our_false_alarms: int
    seed: int


# --- methods that learn ---------------------------------------------------------------------------


class Scaling:
    """Signed logarithms, missing values by the median, standardised on the training normals."""

    def __init__(self, features: Floats) -> None:
        logs = _logs(features)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a column without any value
            self._middle = np.nan_to_num(np.nanmedian(logs, axis=0))
        filled = np.where(np.isnan(logs), self._middle, logs)
        self._mean, self._spread = filled.mean(axis=0), np.maximum(filled.std(axis=0), 1e-6)

    def apply(self, features: Floats) -> Floats:
        """Returns the features (n, F) in the scale that was learnt, within ± 8."""
        logs = _logs(features)
        filled = np.where(np.isnan(logs), self._middle, logs)
        scaled: Floats = np.clip((filled - self._mean) / self._spread, -_LIMIT, _LIMIT)
        return scaled


def _logs(features: Floats) -> Floats:
    logs: Floats = np.sign(features) * np.log1p(np.abs(features))
    return logs


class _Detector(Protocol):
    """A detector of PyOD."""

    def fit(self, X: Floats) -> object:  # noqa: N803
        """Learns from rows of features."""

    def decision_function(self, X: Floats) -> object:  # noqa: N803
        """Returns a score a row, higher for odder ones."""


def _unsupervised(detector: _Detector, lesson: Lesson) -> Scorer:
    """Fits a PyOD detector on the training normals."""
    normals = lesson.features[lesson.classes == 0]
    scaling = Scaling(normals)
    detector.fit(scaling.apply(normals))
    return lambda features: Scores(
        np.asarray(detector.decision_function(scaling.apply(features)), np.float64)
    )


def _lof(lesson: Lesson, _seed: int) -> Scorer:
    from pyod.models.lof import LOF

    return _unsupervised(LOF(n_neighbors=20), lesson)


def _iforest(lesson: Lesson, seed: int) -> Scorer:
    from pyod.models.iforest import IForest

    return _unsupervised(IForest(n_estimators=200, random_state=seed), lesson)


def _lunar(lesson: Lesson, seed: int) -> Scorer:
    import torch
    from pyod.models.lunar import LUNAR

    torch.manual_seed(seed)
    return _unsupervised(LUNAR(n_neighbours=10, n_epochs=100), lesson)


def _autoencoder(lesson: Lesson, seed: int) -> Scorer:
    from pyod.models.auto_encoder import AutoEncoder

    return _unsupervised(AutoEncoder(epoch_num=30, verbose=0, random_state=seed), lesson)


def _xgbod(lesson: Lesson, seed: int) -> Scorer:
    from pyod.models.xgbod import XGBOD

    scaling = Scaling(lesson.features[lesson.classes == 0])
    detector = XGBOD(random_state=seed)
    detector.fit(scaling.apply(lesson.features), (lesson.classes > 0).astype(np.int64))
    return lambda features: Scores(
        np.asarray(detector.decision_function(scaling.apply(features)), np.float64)
    )


def _boosted_trees(lesson: Lesson, seed: int) -> Scorer:
    from sklearn.ensemble import HistGradientBoostingClassifier

    known = ~np.isnan(lesson.features).all(axis=0)  # it refuses a column without any value
    trees = HistGradientBoostingClassifier(max_iter=120, early_stopping=False, random_state=seed)
    trees.fit(lesson.features[:, known], lesson.classes)
    names = np.asarray(trees.classes_, np.int64)

    def scorer(features: Floats) -> Scores:
        chances = np.asarray(trees.predict_proba(features[:, known]), np.float64)
        anomalous = 1.0 - chances[:, names == 0].sum(axis=1)
        faults = names > 0
        return Scores(anomalous, anomalous, names[faults][chances[:, faults].argmax(axis=1)])

    return scorer


# --- methods that do not --------------------------------------------------------------------------


def _rules(_lesson: Lesson, _seed: int) -> Scorer:
    def scorer(features: Floats) -> Scores:
        hits = rules_of_thumb.hits(features)
        first = np.array([CATEGORIES.index(c) + 1 for c in hits])
        table = np.stack(list(hits.values()), axis=1)
        return Scores(table.sum(axis=1) / table.shape[1], None, first[table.argmax(axis=1)], frozen=0.0)

    return scorer


def _one_liner(_lesson: Lesson, _seed: int) -> Scorer:
    return lambda features: Scores(rules_of_thumb.one_liner(features).astype(np.float64), frozen=0.0)


PEERS: Final = (
    Peer("one-liner", (), _one_liner),
    Peer("threshold rules", (), _rules, Traits(places=False)),
    Peer("PyOD LOF", ("pyod", "sklearn"), _lof),
    Peer("PyOD IForest", ("pyod", "sklearn"), _iforest),
    Peer("PyOD LUNAR", ("pyod", "torch"), _lunar),
    Peer("PyOD AutoEncoder", ("pyod", "torch", "tqdm"), _autoencoder),
    Peer("PyOD XGBOD", ("pyod", "xgboost"), _xgbod, most=XGBOD_MOST),
    Peer("HistGradientBoosting", ("sklearn",), _boosted_trees, Traits(places=False)),
)


def compare(peer: Peer, lesson: Lesson, trial: Trial) -> PeerResult:
    """Lets a peer learn, freezes its threshold, and measures it on the suite."""
    missing = [package for package in peer.needs if find_spec(package) is None]
    if missing:
        return PeerResult(peer.name, f"not measured: {', '.join(missing)} is not installed")
    began = time.monotonic()
    try:
        with _quiet():
            scorer = peer.learn(shortened(lesson, peer.most, trial.seed), trial.seed)
            calm, suite = scorer(lesson.calibration), scorer(trial.features)
    except (ImportError, RuntimeError, TypeError, ValueError) as problem:
        return PeerResult(peer.name, f"not measured: {type(problem).__name__}: {problem}")
    threshold = float(np.quantile(calm.score, QUANTILE)) if suite.frozen is None else suite.frozen
    card = scorecard(peer.name, trial.truths, _outcomes(suite, threshold), trial.seed, peer.traits)
    rate = at_rate(suite.score, trial.truths, trial.our_false_alarms)
    return PeerResult(peer.name, None, card, rate, time.monotonic() - began)


def shortened(lesson: Lesson, most: int | None, seed: int) -> Lesson:
    """Returns the lesson with at most so many of its sessions, drawn by the seed; calibration stays as it is."""
    count = len(lesson.classes)
    if most is None or count <= most:
        return lesson
    kept = np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
    return lesson._replace(features=lesson.features[kept], classes=lesson.classes[kept])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _outcomes(scores: Scores, threshold: float) -> list[Outcome]:
    flagged = (scores.score > threshold).tolist()
    chance = [UNKNOWN] * len(flagged) if scores.chance is None else scores.chance.tolist()
    classes = [0] * len(flagged) if scores.classes is None else scores.classes.tolist()
    return [
        Outcome(score, hit, p if hit else 1.0 - p, _named(hit, number))
        for score, hit, p, number in zip(scores.score.tolist(), flagged, chance, classes, strict=True)
    ]


def _named(hit: bool, number: int) -> Mapping[Category, frozenset[int]]:
    return {CATEGORIES[number - 1]: frozenset()} if hit and number else {}


def at_rate(score: Floats, truths: Sequence[Truth], alarms: int) -> AtRate:
    """Returns the figures above the lowest threshold with at most ``alarms`` false alarms on these sessions."""
    counted = np.array([t.state is not State.UNPROVEN for t in truths])
    positive = np.array([t.state is State.ANOMALOUS for t in truths])[counted]
    kept = score[counted]
    normal = np.sort(kept[~positive])[::-1]
    threshold = float(normal[alarms]) if alarms < len(normal) else -np.inf
    flagged = kept > threshold
    result = counts(flagged, positive)
    return AtRate(int(result.false_positives), result.precision, result.recall, result.f1)
