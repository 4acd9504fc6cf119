"""Order, repeats and splitting of a session's readings change neither what is stored nor the verdict (H5)."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from chargewatch.ingest.readings import Reading, ReadingSet
from chargewatch.server.analysis.service import Case, Declared, judge
from tests import arrivals

NOW = datetime(2026, 2, 28, tzinfo=UTC)


def pushed(calls: Sequence[Sequence[Reading]]) -> tuple[ReadingSet, Declared]:
    """What calls leave stored, and what the service says about their arrival."""
    stored = ReadingSet()
    duplicates = out_of_order = 0
    for call in calls:
        change = stored.change(call)
        stored.apply(change.added)
        duplicates += change.duplicates
        out_of_order += change.out_of_order
    return stored, Declared(False, None, None, None, True, duplicates, out_of_order)


def verdict_of(stored: ReadingSet, declared: Declared) -> bytes:
    (verdict,) = judge([Case(stored, declared)], NOW)
    rest = [
        getattr(verdict, name)
        for name in verdict.__struct_fields__
        if name not in {"data_quality", "anomalies"}
    ]
    return arrivals.essence(verdict.data_quality, verdict.anomalies, *rest)


@settings(derandomize=True, max_examples=500, deadline=None)
@given(arrivals.sessions, st.randoms(use_true_random=False))
def test_any_arrival_of_the_same_readings_is_the_same_session(
    sent: list[Reading], rng: random.Random
) -> None:
    sent = arrivals.distinct(sent)
    whole, other = pushed([sent]), pushed(arrivals.arrival(rng, sent))
    assert other[0].ordered() == whole[0].ordered()
    assert verdict_of(*other) == verdict_of(*whole)


@settings(derandomize=True, max_examples=500, deadline=None)
@given(arrivals.sessions, st.randoms(use_true_random=False))
def test_of_conflicting_values_the_later_one_counts(sent: list[Reading], rng: random.Random) -> None:
    calls = arrivals.arrival(rng, sent)
    stored, _ = pushed(calls)
    assert arrivals.values(stored.ordered()) == arrivals.last_values(calls)
