"""Scores of findings, and which notes make a verdict doubtful."""

import math
from collections.abc import Iterable

from chargewatch.domain.data_quality import INFORMATIVE, DataQualityNote
from chargewatch.domain.verdict import DECISION_THRESHOLD


def score_of(strength: float) -> float:
    """Returns the score of an anomaly: 0.55 at the limit of its definition, towards 1 beyond it."""
    return DECISION_THRESHOLD + 0.05 + 0.45 * (1.0 - math.exp(-max(strength, 0.0)))


def score_without(instants: int, doubts: int) -> float:
    """Returns the score of a session without anomaly: small, a little larger for thin and doubtful data."""
    return 0.02 + 0.1 / max(instants, 1) + 0.02 * min(doubts, 5)


def doubts(notes: Iterable[DataQualityNote]) -> int:
    """Counts the kinds of notes that can hide something."""
    return sum(1 for note in notes if note.code not in INFORMATIVE)
