"""Lower and upper sums over power readings: what they hold, and where they hold their tongue."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargewatch.features.power_bounds import PowerBounds, Stretch

MINUTE = 60.0
ANY_W = 400_000.0


def bounds(*kilowatts: float, most_w: float = ANY_W) -> PowerBounds:
    """One reading a minute."""
    return PowerBounds([MINUTE * i for i in range(len(kilowatts))], [kw * 1000 for kw in kilowatts], most_w)


def test_constant_power_leaves_no_room() -> None:
    low, high = bounds(*[12.0] * 6).between(0.0, 300.0)
    assert (low, high) == (pytest.approx(1_000.0), pytest.approx(1_000.0))
    low, high = bounds(*[12.0] * 6).between(30.0, 90.0)
    assert (low, high) == (pytest.approx(200.0), pytest.approx(200.0))


def test_the_readings_beside_the_time_count_too() -> None:
    assert bounds(0, 6, 6, 30).between(MINUTE, 2 * MINUTE) == (0.0, pytest.approx(500.0))
    assert bounds(0, 6, 6, 6, 30).between(MINUTE, 2 * MINUTE) == (0.0, pytest.approx(100.0))


def test_outside_the_readings_and_without_two_nothing_is_known() -> None:
    assert bounds(6, 6, 6).between(-1.0, MINUTE) is None
    assert bounds(6, 6, 6).between(MINUTE, 2 * MINUTE + 1.0) is None
    assert bounds(6).between(0.0, 0.0) is None
    assert bounds().between(0.0, 0.0) is None


def test_a_gap_and_what_is_beyond_belief_are_not_known() -> None:
    gap = PowerBounds([0.0, 60.0, 120.0, 301.0, 361.0], [6_000.0] * 5, ANY_W)
    assert gap.between(60.0, 130.0) is None
    assert gap.between(0.0, 120.0) is not None
    assert gap.between(301.0, 361.0) is not None
    assert [s.start_s for s in gap.within(0.0, 361.0)] == [0.0, 60.0, 301.0]
    beyond = bounds(6, 6, 20, 6, 6, most_w=12_650.0)
    assert beyond.between(0.0, MINUTE) is not None
    assert beyond.between(MINUTE, 2 * MINUTE) is None
    assert beyond.between(2 * MINUTE, 3 * MINUTE) is None


def test_within_yields_the_lower_of_two_readings() -> None:
    assert list(bounds(6, 9, 3).within(0.0, 2 * MINUTE)) == [
        Stretch(0.0, 60.0, 6_000.0),
        Stretch(60.0, 120.0, 3_000.0),
    ]
    assert list(bounds(6, 9, 3).within(1.0, 119.0)) == []


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 30_000)), min_size=2, max_size=20),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
)
def test_the_integral_of_a_course_through_the_readings_lies_within(
    readings: list[tuple[int, int]], a: float, b: float
) -> None:
    """Linear between the readings: summed in small steps, it lies within the bounds wherever they are known."""
    at = [float(sum(s for s, _ in readings[: i + 1])) for i in range(len(readings))]
    watts = [float(w) for _, w in readings]
    start, end = sorted(at[0] + share * (at[-1] - at[0]) for share in (a, b))
    found = PowerBounds(at, watts, ANY_W).between(start, end)
    if found is None:
        return
    step = (end - start) / 500
    total = 0.0
    for k in range(500):
        moment = start + (k + 0.5) * step
        i = max(i for i in range(len(at) - 1) if at[i] <= moment)
        here = watts[i] + (watts[i + 1] - watts[i]) * (moment - at[i]) / (at[i + 1] - at[i])
        total += here * step / 3600
    assert found.low_wh - 0.1 <= total <= found.high_wh + 0.1
