"""What is true about a case, in the terms in which verdicts are given: categories and 15-minute units.

A verdict speaks about the last 6 h of a session, so a fault counts when the readings prove it (its label is
``visible``) and its last reading lies in that window. What a session has beyond that is neither asked for nor
held against anybody.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from chargewatch.domain.categories import Category
from chargewatch.domain.verdict import LAST_UNIT, UNIT_S
from chargewatch.evaluate.cases import Case, Split
from chargewatch.evaluate.window import counted_labels, window_start
from chargewatch.simulate import Label


class State(StrEnum):
    """Whether a session counts, and as what.

    ``UNPROVEN``: it has a fault, but none that counts. Such sessions are judged and left out of every figure.
    """

    NORMAL = "normal"
    ANOMALOUS = "anomalous"
    UNPROVEN = "unproven"


class Truth(NamedTuple):
    """What is true about one case.

    ``units`` are, for each category that counts, the units from the first to the last reading that show it.
    ``caused`` are the categories of all its faults, whether they count or not. ``mechanism`` is what went
    wrong, or the name of the near-miss.
    """

    session_id: str
    stratum: str
    split: Split
    state: State
    units: Mapping[Category, frozenset[int]]
    caused: frozenset[Category]
    mechanism: str | None


def truth_of(case: Case) -> Truth:
    """Returns what is true about a case."""
    session = case.session
    window = window_start(session)
    units: dict[Category, frozenset[int]] = {}
    for label in counted_labels(session):
        units[label.category] = units.get(label.category, frozenset()) | _units(label, window)
    mechanism = session.labels[0].mechanism if session.labels else session.near_miss
    return Truth(
        session.session_id,
        case.stratum,
        case.split,
        State.ANOMALOUS if units else State.UNPROVEN if session.labels else State.NORMAL,
        units,
        frozenset(label.category for label in session.labels),
        mechanism,
    )


def _units(label: Label, window: datetime) -> frozenset[int]:
    first, last = (_unit(max(at, window), window) for at in (label.start, label.end))
    return frozenset(range(first, last + 1))


def _unit(at: datetime, window: datetime) -> int:
    return min((at - window) // timedelta(seconds=UNIT_S), LAST_UNIT)
