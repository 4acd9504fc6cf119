"""Odd shapes and rare normal behaviour by another author, who had not seen the detector.

Floors, not aims, on 80 sessions of each kind (``python -m tests.quality.unseen_kinds``): measured .81 where the power
is odd, .01 where it is steady, .52 of all; nothing but UNUSUAL_PROFILE was reported of any of them. Of normal behaviour
9 in 1,520 sessions were reported, and 45 of 80 whose cold battery takes power in a slow ramp: wrong, and known.
"""

from functools import cache

from chargewatch.simulate import UNSEEN, UNSEEN_NORMALS
from tests.quality.unseen_kinds import STEADY, Found, measured, quietness

EACH = 12
KNOWN = "cold_ramp"
"""Normal, and taken for unusual more often than not."""


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
    assert recall(odd) >= 0.72
    assert recall(list(outcomes())) >= 0.45


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
    """At 9 in 1,520, more than five of 228 come up once in 380 times."""
    rows = [quietness(name, EACH) for name in UNSEEN_NORMALS if name != KNOWN]
    assert sum(row.unusual[0] for row in rows) <= 5
    assert sum(sum(row.others.values()) for row in rows) == 0


def test_a_slow_ramp_of_a_cold_battery_is_no_worse_than_known() -> None:
    assert quietness(KNOWN, 3 * EACH).unusual[0] <= 0.75 * 3 * EACH
