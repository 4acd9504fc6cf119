"""Odd shapes and rare normal behaviour by another author, who had not seen the detector.

Floors, not aims, on 80 sessions of each kind (``python -m tests.quality.unseen_kinds``): measured .87 where the power
is odd, .12 where it is steady, .60 of all; nothing but UNUSUAL_PROFILE was reported of any of them. Of normal behaviour
9 in 1,600 sessions were reported.
"""

from functools import cache

from chargewatch.simulate import UNSEEN, UNSEEN_NORMALS
from tests.quality.unseen_kinds import STEADY, Found, measured, quietness

EACH = 12


@cache
def outcomes() -> tuple[Found, ...]:
    return tuple(measured(kind, EACH) for kind in UNSEEN)


def recall(rows: list[Found], rate: int = 0) -> float:
    return sum(row.found[rate] for row in rows) / sum(row.sessions for row in rows)


def test_enough_of_each_kind_is_seen() -> None:
    assert set(UNSEEN) > STEADY
    assert all(row.sessions >= EACH - 3 for row in outcomes())


def test_odd_power_of_unseen_kinds_is_found() -> None:
    odd = [row for row in outcomes() if row.kind not in STEADY]
    assert recall(odd) >= 0.78
    assert recall(list(outcomes())) >= 0.52


def test_twice_the_rate_finds_no_fewer() -> None:
    for row in outcomes():
        assert row.found[1] >= row.found[0]
    assert recall(list(outcomes()), rate=1) > recall(list(outcomes()))


def test_they_are_found_where_they_are() -> None:
    found = sum(row.found[0] for row in outcomes())
    assert sum(row.placed for row in outcomes()) >= 0.95 * found


def test_no_other_category_is_reported_of_them() -> None:
    """Measured 0 of 1,503 sessions."""
    assert sum(sum(row.others.values()) for row in outcomes()) <= 1


def test_rare_normal_behaviour_is_hardly_ever_called_unusual() -> None:
    """At 9 in 1,600, more than five of 240 come up once in 300 times."""
    rows = [quietness(name, EACH) for name in UNSEEN_NORMALS]
    assert sum(row.unusual[0] for row in rows) <= 5
    assert sum(sum(row.others.values()) for row in rows) == 0
