"""An outside set: sessions by an author who knew the definitions of the categories, and nothing of the rules.

``python -m tests.quality.outside_set`` prints what is found of it, per category and for each variant that disagrees.
"""

import sys
from collections import Counter
from typing import NamedTuple

import numpy as np

import tests.quality.outside_metering_negatives  # noqa: F401 - enters its variants
from chargewatch.domain.verdict import Verdict
from tests.quality.outside_meter import Case
from tests.quality.outside_negatives import NEGATIVES
from tests.quality.outside_positives import POSITIVES, Variant
from tests.sessions import Session, judge_all, spot

SEEDS = 20
CATEGORIES = tuple(dict.fromkeys(category for category, _ in POSITIVES))


class Outcome(NamedTuple):
    """How the seeds of one variant were judged.

    ``found`` counts the sessions that got the category, ``placed`` those that got it within the true time,
    ``others`` how often each other category was reported.
    """

    count: int
    found: int
    placed: int
    others: Counter[str]


def cases(variant: Variant, name: str, seeds: int = SEEDS) -> list[Case]:
    """Returns the sessions of one variant; each draws from its own stream."""
    key = list(name.encode())
    return [variant(np.random.default_rng([seed, *key])) for seed in range(seeds)]


def outcome(category: str, variant: Variant, seeds: int = SEEDS) -> Outcome:
    """Judges a variant."""
    made = cases(variant, variant.__name__, seeds)
    verdicts = judge_all([Session(sent=tuple(c.sent), declared=dict(c.declared)) for c in made])
    found = placed = 0
    others: Counter[str] = Counter()
    for one, verdict in zip(made, verdicts, strict=True):
        spots = _spots(verdict)
        mine = [s for s in spots if s[0] == category]
        found += bool(mine)
        placed += any(_within(one, s[1], s[2]) for s in mine)
        others.update({s[0] for s in spots} - {category})
    return Outcome(len(made), found, placed, others)


def _spots(verdict: Verdict) -> list[tuple[str, float, float, str]]:
    return [spot(anomaly) for anomaly in (*verdict.anomalies, *verdict.past_anomalies)]


def _within(one: Case, start: float, end: float) -> bool:
    """Whether what is reported touches the event and goes nowhere beyond it."""
    first, last = one.span[0] - one.slack, one.span[1] + one.slack
    return first <= start <= last and first <= end <= last


def print_figures(seeds: int) -> None:
    """Prints a row per category, and each variant that is not judged as its author expected."""
    tables = (POSITIVES, NEGATIVES)
    judged = [{key: outcome(key[0], variant, seeds) for key, variant in table.items()} for table in tables]
    print("category: found/positive (placed), false alarms/negative")
    for category in (*CATEGORIES, "ORDINARY"):
        good, bad = ([o for key, o in part.items() if key[0] == category] for part in judged)
        alarms = sum(o.found for o in bad)
        print(
            f"{category}: {sum(o.found for o in good)}/{sum(o.count for o in good)} "
            f"({sum(o.placed for o in good)}), {alarms}/{sum(o.count for o in bad)}"
        )
    for part, expected in zip(judged, (True, False), strict=True):
        for (category, name), o in part.items():
            right = o.found == o.placed == o.count if expected else not o.found
            if not right or o.others:
                print(f"{'+' if expected else '-'} {category} {name}: {o}")


if __name__ == "__main__":
    print_figures(int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS)
