"""The rules on a set whose author knew the definitions and nothing of the rules.

Measured on 20 seeds of each variant (``python -m tests.quality.outside_set``): every variant found, in its time,
nothing else reported; but for those in ``KNOWN``.
"""

from collections import Counter
from functools import cache
from typing import NamedTuple

import pytest

from tests.quality.outside_negatives import NEGATIVES
from tests.quality.outside_positives import POSITIVES
from tests.quality.outside_set import CATEGORIES, Outcome, outcome

SEEDS = 5
#: Measured on 20 seeds: 1.0 of each, the variants of ``KNOWN`` counted in precision and left out of recall.
RECALL, PRECISION = 0.97, 0.97


class Known(NamedTuple):
    """What is reported of a variant instead of what its author expects, in every session, and why."""

    reported: tuple[str, ...]
    why: str


KNOWN = {
    ("POWER_ENERGY_MISMATCH", "mismatch_by_current_and_voltage"): Known(
        (),
        "the definition says power (that of METER_FROZEN says power or current): current × voltage, which knows "
        "no power factor, is not compared with the register",
    ),
}
VARIANTS = {**POSITIVES, **NEGATIVES}


@cache
def judged(key: tuple[str, str]) -> Outcome:
    return outcome(key[0], VARIANTS[key], SEEDS)


@pytest.mark.parametrize("key", [key for key in POSITIVES if key not in KNOWN], ids="-".join)
def test_what_meets_a_definition_is_found_where_it_is(key: tuple[str, str]) -> None:
    assert judged(key) == Outcome(SEEDS, SEEDS, SEEDS, Counter())


@pytest.mark.parametrize("key", [key for key in NEGATIVES if key not in KNOWN], ids="-".join)
def test_what_does_not_meet_any_stays_quiet(key: tuple[str, str]) -> None:
    assert judged(key) == Outcome(SEEDS, 0, 0, Counter())


@pytest.mark.parametrize("key", KNOWN, ids="-".join)
def test_known_disagreements_are_still_as_described(key: tuple[str, str]) -> None:
    """One that has gone is to be taken off the list."""
    assert judged(key) == Outcome(SEEDS, 0, 0, Counter(dict.fromkeys(KNOWN[key].reported, SEEDS)))


@pytest.mark.parametrize("category", CATEGORIES)
def test_recall_and_precision(category: str) -> None:
    """Precision counts each report of the category in sessions of any variant that is not of it."""
    mine = [judged(key) for key in POSITIVES if key[0] == category and key not in KNOWN]
    found = sum(o.found for o in mine)
    alarms = sum(
        judged(key).found if key[0] == category else judged(key).others[category]
        for key in VARIANTS
        if key[0] != category or key in NEGATIVES
    )
    assert found >= RECALL * sum(o.count for o in mine)
    assert found >= PRECISION * (found + alarms)


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_set_is_wide_enough(category: str) -> None:
    for table in (POSITIVES, NEGATIVES):
        assert sum(key[0] == category for key in table) >= 5
