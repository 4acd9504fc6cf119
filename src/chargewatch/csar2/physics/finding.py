"""What a rule reports: one anomaly of one session, in seconds since its first reading."""

from typing import NamedTuple

from chargewatch.domain.categories import Category, Severity


class Fact(NamedTuple):
    """One figure of evidence; ``at_s`` is the reading's time where the figure is a reading."""

    what: str
    unit: str
    observed: float
    expected: float | None = None
    at_s: float | None = None


class Finding(NamedTuple):
    """One anomaly. ``strength`` is how far beyond its definition the evidence lies: 0 at the limit, growing.

    ``start_s`` and ``end_s`` are the times of the first and the last reading that show it.
    ``confidence_limit`` caps the confidence where the definition says so. ``score`` is the anomaly's score where it
    does not follow from the strength.
    """

    category: Category
    start_s: float
    end_s: float
    severity: Severity
    strength: float
    facts: tuple[Fact, ...]
    disputed_wh: float = 0.0
    confidence_limit: float = 1.0
    score: float | None = None
