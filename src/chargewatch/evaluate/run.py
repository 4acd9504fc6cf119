"""A run of the benchmark: a seed's suite is simulated, judged, and measured, in blocks of bounded memory."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np

from chargewatch.csar2.detect import detect
from chargewatch.domain.categories import Category
from chargewatch.domain.verdict import Verdict
from chargewatch.evaluate.cases import Case, Purpose
from chargewatch.evaluate.columns import columns_of
from chargewatch.evaluate.fault_strata import measured_faults
from chargewatch.evaluate.intervals import Interval, over_seeds
from chargewatch.evaluate.metrics import Floats
from chargewatch.evaluate.outcomes import UNKNOWN, Outcome, outcome_of
from chargewatch.evaluate.peers import CATEGORIES, PEERS, Lesson, PeerResult, Trial, compare
from chargewatch.evaluate.scorecard import Scorecard, scorecard
from chargewatch.evaluate.session_features import FEATURES, features_of
from chargewatch.evaluate.suite import SuiteSize, normals_to_learn, suite, training
from chargewatch.evaluate.truth import State, Truth, truth_of

OURS: Final = "CSAR-2"
BLOCK: Final = 200
_LESSON_SHARE: Final = 0.5
"""Training and calibration have half as many sessions of each kind as the suite."""

Progress = Callable[[str, int], None]
"""Called with what is being done and the number of sessions it has done."""
OnCase = Callable[[Case, Truth, Verdict], None]


class SeedReport(msgspec.Struct, frozen=True):
    """One seed's figures. ``absent`` sessions had no row in a file of results; ``unknown`` rows had no session.

    ``measured`` are those on measured curves with injected faults, where there are any; ``card`` has none of them.
    """

    seed: int
    card: Scorecard
    peers: tuple[PeerResult, ...]
    seconds: float
    absent: int = 0
    unknown: int = 0
    measured: Scorecard | None = None


class _Judged(NamedTuple):
    """A block of cases: what is true, what is said, and features (0 columns when nobody needs them)."""

    truths: list[Truth]
    outcomes: list[Outcome]
    features: Floats


def _ignored(_what: str, _count: int) -> None:
    pass


def evaluate_seed(
    seed: int,
    scale: float = 1.0,
    *,
    peers: bool = False,
    curves: Path | None = None,
    progress: Progress = _ignored,
    on_case: OnCase | None = None,
) -> SeedReport:
    """Measures CSAR-2 (and its peers) on the suite of a seed.

    Args:
        seed: of the suite, of the training sets, and of the bootstrap.
        scale: of the number of sessions.
        peers: let the peers learn and compete, too.
        curves: a file of measured sessions, into which faults are injected for figures of their own.
        progress: told how far it is.
        on_case: shown every case with the verdict on it.
    """
    began = time.monotonic()
    size = SuiteSize.scaled(scale)
    blocks = list(_judged(suite(seed, size), peers, progress, on_case))
    truths = [t for b in blocks for t in b.truths]
    outcomes = [o for b in blocks for o in b.outcomes]
    card = scorecard(OURS, truths, outcomes, seed)
    rows: tuple[PeerResult, ...] = ()
    if peers:
        trial = Trial(truths, np.concatenate([b.features for b in blocks]), card.false_alarms.alarms, seed)
        rows = _compete(trial, _lesson(seed, scale * _LESSON_SHARE, progress), progress)
    measured = None if curves is None else _measured(curves, seed, progress)
    return SeedReport(seed, card, rows, time.monotonic() - began, measured=measured)


def _measured(curves: Path, seed: int, progress: Progress) -> Scorecard:
    blocks = list(_judged(measured_faults(curves, seed), False, progress, None))
    truths, outcomes = [t for b in blocks for t in b.truths], [o for b in blocks for o in b.outcomes]
    return scorecard(OURS, truths, outcomes, seed)


def evaluate_results(
    name: str, results: Mapping[str, Outcome], seed: int, scale: float, progress: Progress = _ignored
) -> SeedReport:
    """Measures what a file says about the sessions of a seed's suite.

    A session without a row counts as one of which nothing was reported, with the lowest score of the file.

    Raises:
        ValueError: the file knows no session of this suite.
    """
    began = time.monotonic()
    truths: list[Truth] = []
    for case in suite(seed, SuiteSize.scaled(scale)):
        truths.append(truth_of(case))
        progress("simulating", len(truths))
    known = {t.session_id for t in truths} & results.keys()
    if not known:
        raise ValueError(
            f"the results know none of the {len(truths)} sessions of seed {seed}, scale {scale:g}"
        )
    silent = Outcome(min(o.score for o in results.values()), is_anomaly=False, confidence=UNKNOWN, units={})
    card = scorecard(name, truths, [results.get(t.session_id, silent) for t in truths], seed)
    absent, unknown = len(truths) - len(known), len(results) - len(known)
    return SeedReport(seed, card, (), time.monotonic() - began, absent, unknown)


def intervals_over_seeds(reports: Sequence[SeedReport]) -> dict[str, dict[str, Interval]]:
    """Returns the mean and the t interval of each figure over seeds, for every method that has figures."""
    cards: dict[str, list[Scorecard]] = {}
    for report in reports:
        cards.setdefault(report.card.method, []).append(report.card)
        for peer in report.peers:
            if peer.card is not None:
                cards.setdefault(peer.name, []).append(peer.card)
    return {
        method: {name: over_seeds([figure(c) for c in rows]) for name, figure in _FIGURES.items()}
        for method, rows in cards.items()
    }


_FIGURES: Final[Mapping[str, Callable[[Scorecard], float]]] = {
    "precision": lambda c: c.precision.value,
    "recall": lambda c: c.recall.value,
    "recall, held-out mechanisms": lambda c: c.recall_held_out,
    "F1": lambda c: c.f1.value,
    "AUROC": lambda c: c.auroc.value,
    "AUPRC": lambda c: c.auprc.value,
    "false alarms per 1,000": lambda c: c.false_alarms.per_thousand,
    "overlap": lambda c: c.overlap,
    "overlap, defined": lambda c: c.overlap_defined,
    "ECE": lambda c: c.calibration[0].ece if c.calibration else UNKNOWN,
    "ECE at 5 %": lambda c: c.calibration[1].ece if c.calibration else UNKNOWN,
    "Brier": lambda c: c.calibration[0].brier if c.calibration else UNKNOWN,
    "Brier at 5 %": lambda c: c.calibration[1].brier if c.calibration else UNKNOWN,
}


def blocks_of(cases: Iterable[Case], size: int = BLOCK) -> Iterator[list[Case]]:
    """Yields cases in blocks."""
    stream = iter(cases)
    while block := list(islice(stream, size)):
        yield block


def _judged(
    cases: Iterable[Case], with_features: bool, progress: Progress, on_case: OnCase | None
) -> Iterator[_Judged]:
    done = 0
    for block in blocks_of(cases):
        columns = columns_of([case.session for case in block])
        verdicts = detect(columns.readings, columns.declared, now_us=columns.now_us)
        truths = [truth_of(case) for case in block]
        if on_case is not None:
            for case, truth, verdict in zip(block, truths, verdicts, strict=True):
                on_case(case, truth, verdict)
        features = features_of(columns) if with_features else np.zeros((len(block), 0))
        done += len(block)
        progress("judging the suite", done)
        yield _Judged(truths, [outcome_of(v) for v in verdicts], features)


def _lesson(seed: int, scale: float, progress: Progress) -> Lesson:
    """Simulates what peers learn from. A fault that its readings do not prove is left out."""
    size = SuiteSize.to_learn(scale)
    tables: list[Floats] = []
    classes: list[int] = []
    for block in blocks_of(training(seed, size)):
        truths = [truth_of(case) for case in block]
        kept = [t.state is not State.UNPROVEN for t in truths]
        tables.append(features_of(columns_of([case.session for case in block]))[kept])
        classes += [_class(t) for t in truths if t.state is not State.UNPROVEN]
        progress("simulating training sessions", len(classes))
    calm: list[Floats] = []
    for block in blocks_of(normals_to_learn(Purpose.CALIBRATION, seed, size)):
        calm.append(features_of(columns_of([case.session for case in block])))
        progress("simulating calibration sessions", sum(map(len, calm)))
    return Lesson(_stacked(tables), np.array(classes, np.int64), _stacked(calm))


def _stacked(tables: Sequence[Floats]) -> Floats:
    return np.concatenate([np.zeros((0, len(FEATURES))), *tables])


def _class(truth: Truth) -> int:
    categories: list[Category] = sorted(truth.units, key=CATEGORIES.index)
    return CATEGORIES.index(categories[0]) + 1 if categories else 0


def _compete(trial: Trial, lesson: Lesson, progress: Progress) -> tuple[PeerResult, ...]:
    results = []
    for number, peer in enumerate(PEERS, start=1):
        progress(f"comparing with {peer.name}", number)
        results.append(compare(peer, lesson, trial))
    return tuple(results)
