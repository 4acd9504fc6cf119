"""The figures of one method on the suite, from what is true and what it said."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np

from chargewatch.domain.categories import Category
from chargewatch.evaluate import metrics
from chargewatch.evaluate.cases import Split
from chargewatch.evaluate.intervals import Interval, bootstrap, upper_bound
from chargewatch.evaluate.metrics import Counts, Flags, Floats, ReliabilityBin
from chargewatch.evaluate.outcomes import Outcome
from chargewatch.evaluate.truth import State, Truth

FIELD_PREVALENCE: Final = 0.05
NORMAL: Final = "normal"
NOTHING: Final = "nothing"
ONE_FAULT: Final = "one fault"


class FalseAlarms(msgspec.Struct, frozen=True):
    """False alarms among normal sessions. ``upper_per_thousand``: one-sided exact 95 % bound."""

    stratum: str
    normals: int
    alarms: int
    per_thousand: float
    upper_per_thousand: float


class CategoryScore(msgspec.Struct, frozen=True):
    """How one category is found. ``overlap`` is the mean IoU over all sessions that have it (0 where missed).

    ``recall_training`` and ``recall_held_out`` are over mechanisms that learning methods could and could not see.
    """

    category: str
    anomalies: int
    reported: int
    precision: float
    recall: float
    f1: float
    recall_training: float
    recall_held_out: float
    overlap: float


class MechanismScore(msgspec.Struct, frozen=True):
    """How often a mechanism is found, by its category and at all."""

    category: str
    mechanism: str
    split: str
    anomalies: int
    found: int
    flagged: int


class FaultStratumScore(msgspec.Struct, frozen=True):
    """How faults of one stratum are found: each category of a session for itself.

    ``faults`` are pairs of a session and a category that counts; ``found`` those reported. ``extras`` counts the
    reported categories that are no fault of their session. ``overlap`` is the mean IoU over all faults.
    """

    stratum: str
    sessions: int
    faults: int
    found: int
    extras: dict[str, int]
    precision: float
    recall: float
    f1: float
    overlap: float


class Calibration(msgspec.Struct, frozen=True):
    """Whether the confidence means what it says, at one prevalence of anomalies."""

    prevalence: float
    ece: float
    brier: float
    bins: tuple[ReliabilityBin, ...]


class Scorecard(msgspec.Struct, frozen=True):
    """All figures of one method. NaN: there is nothing to compute it from.

    Intervals are 95 % bootstrap intervals within the suite. ``unproven`` sessions have a fault that their
    readings do not prove within the window; they count nowhere. ``overlap_defined`` leaves ``UNUSUAL_PROFILE`` out,
    which has no definition that says where it begins and ends.
    """

    method: str
    normals: int
    anomalies: int
    unproven: int
    unproven_flagged: int
    prevalence: float
    precision: Interval
    recall: Interval
    f1: Interval
    recall_training: float
    recall_held_out: float
    auroc: Interval
    auprc: Interval
    false_alarms: FalseAlarms
    false_alarms_by_group: tuple[FalseAlarms, ...]
    past_false_alarms: int
    overlap: float
    overlap_defined: float
    calibration: tuple[Calibration, ...]
    categories: tuple[CategoryScore, ...]
    strata: tuple[FalseAlarms, ...]
    fault_strata: tuple[FaultStratumScore, ...]
    mechanisms: tuple[MechanismScore, ...]
    confusion: dict[str, dict[str, int]]


class Traits(msgspec.Struct, frozen=True):
    """What a method gives beside a score: categories, and their places in time."""

    categories: bool = True
    places: bool = True


def scorecard(
    method: str, truths: Sequence[Truth], outcomes: Sequence[Outcome], seed: int, traits: Traits | None = None
) -> Scorecard:
    """Returns the figures of a method.

    Args:
        method: its name.
        truths: one a session.
        outcomes: what it said about each, in the same order.
        seed: of the bootstrap.
        traits: what the method gives; all of it when None.
    """
    traits = traits or Traits()
    pairs = [(t, o) for t, o in zip(truths, outcomes, strict=True) if t.state is not State.UNPROVEN]
    unproven = [o for t, o in zip(truths, outcomes, strict=True) if t.state is State.UNPROVEN]
    positive = np.array([t.state is State.ANOMALOUS for t, _ in pairs], np.bool_)
    flagged = np.array([o.is_anomaly for _, o in pairs], np.bool_)
    scores = np.array([o.score for _, o in pairs], np.float64)

    def sampled(figure: Callable[[Floats], float]) -> Interval:
        return bootstrap(figure, positive, seed)

    rows = tuple(_category(c, pairs) for c in _categories(pairs)) if traits.categories else ()
    if not traits.places:
        rows = tuple(msgspec.structs.replace(row, overlap=math.nan) for row in rows)
    return Scorecard(
        method=method,
        normals=int((~positive).sum()),
        anomalies=int(positive.sum()),
        unproven=len(unproven),
        unproven_flagged=sum(o.is_anomaly for o in unproven),
        prevalence=float(positive.mean()) if len(positive) else math.nan,
        precision=sampled(lambda w: metrics.counts(flagged, positive, w).precision),
        recall=sampled(lambda w: metrics.counts(flagged, positive, w).recall),
        f1=sampled(lambda w: metrics.counts(flagged, positive, w).f1),
        recall_training=_recall(pairs, Split.TRAINING),
        recall_held_out=_recall(pairs, Split.HELD_OUT),
        auroc=sampled(lambda w: metrics.auroc(scores, positive, w)),
        auprc=sampled(lambda w: metrics.auprc(scores, positive, w)),
        false_alarms=_false_alarms("all", [o for t, o in pairs if t.state is State.NORMAL]),
        false_alarms_by_group=_groups(pairs),
        past_false_alarms=sum(o.past for t, o in pairs if t.state is State.NORMAL),
        overlap=_mean_overlap(rows),
        overlap_defined=_mean_overlap([r for r in rows if r.category != Category.UNUSUAL_PROFILE]),
        calibration=_calibrations(pairs, positive, flagged),
        categories=rows,
        strata=_strata(pairs),
        fault_strata=_fault_strata(pairs, traits) if traits.categories else (),
        mechanisms=_mechanisms(pairs),
        confusion=_confusion(pairs) if traits.categories else {},
    )


_Pairs = Sequence[tuple[Truth, Outcome]]


def pooled(groups: Sequence[Sequence[FalseAlarms]]) -> tuple[FalseAlarms, ...]:
    """Returns the false alarms of several suites together, by stratum, with the bound of all their sessions."""
    sums: dict[str, tuple[int, int]] = {}
    for row in (row for rows in groups for row in rows):
        normals, alarms = sums.get(row.stratum, (0, 0))
        sums[row.stratum] = (normals + row.normals, alarms + row.alarms)
    return tuple(_alarms(stratum, alarms, normals) for stratum, (normals, alarms) in sums.items())


def all_alarms(card: Scorecard) -> tuple[FalseAlarms, ...]:
    """Returns the false alarms of all normal sessions, of their groups, and of each stratum."""
    return (card.false_alarms, *card.false_alarms_by_group, *card.strata)


def _mean_overlap(rows: Sequence[CategoryScore]) -> float:
    found = sum(r.anomalies for r in rows)
    return sum(r.overlap * r.anomalies for r in rows if r.anomalies) / found if found else math.nan


def _categories(pairs: _Pairs) -> list[Category]:
    """Returns the categories that occur, in what is true or in what was said."""
    present = {c for t, o in pairs for c in (*t.units, *o.units)}
    return [c for c in Category if c in present]


def _category(category: Category, pairs: _Pairs) -> CategoryScore:
    """Compares what is true and said of a category; a true fault that does not count is no false report."""
    asked = [(t, o) for t, o in pairs if category in t.units]
    false = sum(category in o.units and category not in t.caused for t, o in pairs)
    found = sum(category in o.units for _, o in asked)
    score = Counts(found, false, len(asked) - found)
    overlaps = [metrics.overlap(o.units.get(category, frozenset()), t.units[category]) for t, o in asked]
    return CategoryScore(
        category=category.value,
        anomalies=len(asked),
        reported=found + false,
        precision=score.precision,
        recall=score.recall,
        f1=score.f1,
        recall_training=_found(category, asked, Split.TRAINING),
        recall_held_out=_found(category, asked, Split.HELD_OUT),
        overlap=float(np.mean(overlaps)) if overlaps else math.nan,
    )


def _found(category: Category, asked: _Pairs, split: Split) -> float:
    found = [category in o.units for t, o in asked if t.split is split]
    return float(np.mean(found)) if found else math.nan


def _recall(pairs: _Pairs, split: Split) -> float:
    found = [o.is_anomaly for t, o in pairs if t.state is State.ANOMALOUS and t.split is split]
    return float(np.mean(found)) if found else math.nan


def _false_alarms(stratum: str, normals: Sequence[Outcome]) -> FalseAlarms:
    return _alarms(stratum, sum(o.is_anomaly for o in normals), len(normals))


def _alarms(stratum: str, alarms: int, count: int) -> FalseAlarms:
    share = alarms / count if count else math.nan
    return FalseAlarms(stratum, count, alarms, 1000.0 * share, 1000.0 * upper_bound(alarms, count))


def _groups(pairs: _Pairs) -> tuple[FalseAlarms, ...]:
    """Returns the false alarms among ordinary sessions, and among near-misses that could and could not be learnt."""
    by_group: dict[str, list[Outcome]] = {}
    for t, o in pairs:
        if t.state is State.NORMAL:
            by_group.setdefault(f"near-misses, {t.split.value}" if t.mechanism else "ordinary", []).append(o)
    return tuple(_false_alarms(name, outcomes) for name, outcomes in by_group.items())


def _strata(pairs: _Pairs) -> tuple[FalseAlarms, ...]:
    by_stratum: dict[str, list[Outcome]] = {}
    for t, o in pairs:
        if t.state is State.NORMAL:
            by_stratum.setdefault(t.stratum, []).append(o)
    return tuple(_false_alarms(name, outcomes) for name, outcomes in by_stratum.items())


def _fault_strata(pairs: _Pairs, traits: Traits) -> tuple[FaultStratumScore, ...]:
    """Returns the strata of faults: first those of one fault of a defined category under usual conditions."""
    by_stratum: dict[str, list[tuple[Truth, Outcome]]] = {}
    for t, o in pairs:
        if t.state is State.ANOMALOUS and t.stratum != Category.UNUSUAL_PROFILE:
            name = ONE_FAULT if t.stratum in Category.__members__ else t.stratum
            by_stratum.setdefault(name, []).append((t, o))
    return tuple(_fault_stratum(name, rows, traits) for name, rows in by_stratum.items())


def _fault_stratum(name: str, rows: _Pairs, traits: Traits) -> FaultStratumScore:
    faults = [(c, t, o) for t, o in rows for c in t.units]
    found = sum(c in o.units for c, _, o in faults)
    extras = Counter(c.value for t, o in rows for c in o.units if c not in t.caused)
    score = Counts(found, extras.total(), len(faults) - found)
    overlaps = [metrics.overlap(o.units.get(c, frozenset()), t.units[c]) for c, t, o in faults]
    return FaultStratumScore(
        stratum=name,
        sessions=len(rows),
        faults=len(faults),
        found=found,
        extras=dict(extras),
        precision=score.precision,
        recall=score.recall,
        f1=score.f1,
        overlap=float(np.mean(overlaps)) if traits.places else math.nan,
    )


def _mechanisms(pairs: _Pairs) -> tuple[MechanismScore, ...]:
    by_mechanism: dict[tuple[str, str, str], list[tuple[Truth, Outcome]]] = {}
    for t, o in pairs:
        if t.state is State.ANOMALOUS and t.stratum in Category.__members__:
            by_mechanism.setdefault((t.stratum, t.mechanism or "", t.split.value), []).append((t, o))
    return tuple(
        MechanismScore(
            *key,
            anomalies=len(rows),
            found=sum(not t.units.keys().isdisjoint(o.units) for t, o in rows),
            flagged=sum(o.is_anomaly for _, o in rows),
        )
        for key, rows in by_mechanism.items()
    )


def _calibrations(pairs: _Pairs, positive: Flags, flagged: Flags) -> tuple[Calibration, ...]:
    """Returns the calibration at the set's own and at the field's prevalence, over verdicts with a confidence."""
    confidence = np.array([o.confidence for _, o in pairs], np.float64)
    given = ~np.isnan(confidence)
    confidence, positive, flagged = confidence[given], positive[given], flagged[given]
    if not len(confidence) or positive.all() or not positive.any():
        return ()
    right = flagged == positive
    own = float(positive.mean())
    return tuple(
        _calibration(confidence, right, prevalence, metrics.at_prevalence(positive, prevalence))
        for prevalence in (own, FIELD_PREVALENCE)
    )


def _calibration(confidence: Floats, right: Flags, prevalence: float, weights: Floats) -> Calibration:
    bins = metrics.reliability(confidence, right, weights)
    return Calibration(
        prevalence,
        metrics.expected_calibration_error(bins),
        metrics.brier(confidence, right, weights),
        bins,
    )


def _confusion(pairs: _Pairs) -> dict[str, dict[str, int]]:
    """Counts what is reported (columns) of sessions with each category (rows); several at once count in each."""
    table: dict[str, Counter[str]] = {}
    for t, o in pairs:
        for row in [c.value for c in t.units] or [NORMAL]:
            cells = table.setdefault(row, Counter())
            cells.update([c.value for c in o.units] or [NOTHING])
    return {row: dict(cells) for row, cells in table.items()}
