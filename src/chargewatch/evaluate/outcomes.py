"""What a method says about a session, in one form for CSAR-2, its peers, and files of results."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from chargewatch.domain.categories import Category
from chargewatch.domain.verdict import Verdict

UNKNOWN: Final = float("nan")


class Outcome(NamedTuple):
    """What was said about one session.

    ``score`` orders sessions, ``is_anomaly`` is the decision. ``confidence`` is the probability that the decision
    is right (NaN: none is given). ``units`` has the 15-minute units of each category that was reported; empty
    ones where the method does not place them. ``past``: something was reported before the window only.
    """

    score: float
    is_anomaly: bool
    confidence: float
    units: Mapping[Category, frozenset[int]]
    past: bool = False


def outcome_of(verdict: Verdict) -> Outcome:
    """Returns a verdict as an outcome."""
    spans = [(a.category, a.bucket_range.start_unit, a.bucket_range.end_unit) for a in verdict.anomalies]
    return Outcome(
        verdict.score, verdict.is_anomaly, verdict.confidence, placed(spans), bool(verdict.past_anomalies)
    )


def placed(spans: Iterable[tuple[Category, int, int]]) -> dict[Category, frozenset[int]]:
    """Returns the units of each category, from spans of first and last unit, both inclusive."""
    units: dict[Category, frozenset[int]] = {}
    for category, first, last in spans:
        units[category] = units.get(category, frozenset()) | frozenset(range(first, last + 1))
    return units
