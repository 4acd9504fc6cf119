"""Slow, obvious twins of ``chargewatch.evaluate.metrics`` and ``intervals``: loops over sessions and pairs."""

from collections.abc import Sequence
from fractions import Fraction
from math import comb, isnan, nan


def auroc(scores: Sequence[float], positive: Sequence[bool], weights: Sequence[float]) -> float:
    won = pairs = 0.0
    for a, is_positive, wa in zip(scores, positive, weights, strict=True):
        for b, is_other_positive, wb in zip(scores, positive, weights, strict=True):
            if is_positive and not is_other_positive:
                pairs += wa * wb
                won += wa * wb * (1.0 if a > b else 0.5 if a == b else 0.0)
    return won / pairs if pairs else nan


def auprc(scores: Sequence[float], positive: Sequence[bool], weights: Sequence[float]) -> float:
    rows = list(zip(scores, positive, weights, strict=True))
    all_positive = sum(w for _, p, w in rows if p)
    area = recall_before = 0.0
    for threshold in sorted(set(scores), reverse=True):
        true = sum(w for s, p, w in rows if s >= threshold and p)
        reported = sum(w for s, _, w in rows if s >= threshold)
        recall = true / all_positive if all_positive else nan
        area += (recall - recall_before) * (true / reported if reported else 0.0)
        recall_before = recall
    return area if all_positive else nan


def counts(flagged: Sequence[bool], positive: Sequence[bool]) -> tuple[int, int, int]:
    pairs = list(zip(flagged, positive, strict=True))
    return pairs.count((True, True)), pairs.count((True, False)), pairs.count((False, True))


def precision_recall_f1(flagged: Sequence[bool], positive: Sequence[bool]) -> tuple[float, float, float]:
    true, false, missed = counts(flagged, positive)
    precision = true / (true + false) if true + false else nan
    recall = true / (true + missed) if true + missed else nan
    if not (true + false + missed):
        return precision, recall, nan
    if isnan(precision) or isnan(recall) or precision + recall == 0:
        return precision, recall, 0.0
    return precision, recall, 2 * precision * recall / (precision + recall)


def brier(confidence: Sequence[float], right: Sequence[bool], weights: Sequence[float]) -> float:
    total = sum(w * (c - r) ** 2 for c, r, w in zip(confidence, right, weights, strict=True))
    return total / sum(weights)


def ece(confidence: Sequence[float], right: Sequence[bool], weights: Sequence[float], bins: int) -> float:
    """Each verdict goes to the bin in which the middle of the mass of its confidence lies."""
    rows = list(zip(confidence, right, weights, strict=True))
    total = sum(weights)
    members: dict[int, list[tuple[float, bool, float]]] = {}
    for c, r, w in rows:
        below = sum(x for other, _, x in rows if other < c)
        same = sum(x for other, _, x in rows if other == c)
        middle = (below + same / 2) / total
        members.setdefault(min(int(middle * bins + 1e-9), bins - 1), []).append((c, r, w))
    error = 0.0
    for rows_in_bin in members.values():
        mass = sum(w for _, _, w in rows_in_bin)
        sure = sum(c * w for c, _, w in rows_in_bin) / mass
        true = sum(r * w for _, r, w in rows_in_bin) / mass
        error += mass / total * abs(sure - true)
    return error


def at_most(events: int, trials: int, share: Fraction) -> Fraction:
    """The exact probability of at most so many events."""
    return sum(
        (comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(events + 1)), Fraction(0)
    )


def overlap(found: Sequence[int], true: Sequence[int]) -> float:
    both = [u for u in range(24) if u in found and u in true]
    either = [u for u in range(24) if u in found or u in true]
    return len(both) / len(either) if either else 0.0
