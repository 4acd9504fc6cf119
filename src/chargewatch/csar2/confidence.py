"""Scores and a first confidence, from prior knowledge and not yet calibrated on measured verdicts.

The figures here are judgements, not measurements; every verdict says so in ``confidence_basis``. What they
express: a register that falls leaves little doubt, an unexplained pause some; few readings and doubtful data
make every verdict less sure.
"""

import math
from collections.abc import Iterable
from typing import Final

from chargewatch.domain.categories import Category
from chargewatch.domain.data_quality import INFORMATIVE, DataQualityNote
from chargewatch.domain.verdict import DECISION_THRESHOLD

BASIS: Final = "prior"

_PRIOR: Final = {
    Category.KWH_DECREASE: 0.97,
    Category.ENERGY_PIT: 0.85,
    Category.ZERO_SESSION: 0.9,
    Category.CHARGING_EXPECTED: 0.85,
    Category.SOC_DROP: 0.9,
    Category.METER_FROZEN: 0.9,
    Category.POWER_ENERGY_MISMATCH: 0.85,
    Category.ENERGY_SPIKE: 0.95,
    Category.PHASE_LOSS: 0.9,
    Category.VOLTAGE_OUT_OF_RANGE: 0.95,
    Category.THERMAL_DERATING: 0.85,
    Category.UNUSUAL_PROFILE: 0.6,
}
_PRIOR_NORMAL: Final = 0.95
_NOTE_DOUBT: Final = 0.9
_ENOUGH_INSTANTS: Final = 10
_THINNEST: Final = 0.75
_FEWER_THAN_TWO: Final = 0.5


def score_of(strength: float) -> float:
    """Returns the score of an anomaly: 0.55 at the limit of its definition, towards 1 beyond it."""
    return DECISION_THRESHOLD + 0.05 + 0.45 * (1.0 - math.exp(-max(strength, 0.0)))


def score_without(instants: int, doubts: int) -> float:
    """Returns the score of a session without anomaly: small, a little larger for thin and doubtful data."""
    return 0.02 + 0.1 / max(instants, 1) + 0.02 * min(doubts, 5)


def trust(shape_score: float | None) -> float:
    """Returns what a shape that is rare leaves of the confidence that a session is normal: 0.8 next to the limit."""
    return 1.0 if shape_score is None else 1.0 - 0.4 * shape_score


def doubts(notes: Iterable[DataQualityNote]) -> int:
    """Counts the kinds of notes that can hide something."""
    return sum(1 for note in notes if note.code not in INFORMATIVE)


def confidence_in(category: Category | None, instants: int, doubt_count: int, limit: float = 1.0) -> float:
    """Returns the confidence in an anomaly, or in a session without one (``category`` None)."""
    prior = _PRIOR_NORMAL if category is None else _PRIOR[category]
    thin = _THINNEST + (1.0 - _THINNEST) * min(instants, _ENOUGH_INSTANTS) / _ENOUGH_INSTANTS
    confidence = prior * thin * _NOTE_DOUBT ** min(doubt_count, 5)
    if instants < 2:
        confidence = min(confidence, _FEWER_THAN_TWO)
    return min(confidence, limit)
