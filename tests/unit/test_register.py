"""The register of one session: resolution, tolerance, falls, and its course without drop-outs."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS
from chargewatch.features.register import falls, most_power_w, steady, tolerance_wh
from chargewatch.features.resolution import resolution_wh
from tests.reference import register as twin

FIVE_MINUTES = 300.0


def at(values: list[float]) -> list[float]:
    return [FIVE_MINUTES * i for i in range(len(values))]


def kinds(*values: float, tolerance: float = 10.0) -> list[tuple[str, int, int]]:
    """(kind, last reading before, last low reading) of every fall."""
    wh = [float(v) for v in values]
    return [(fall.kind, fall.before, fall.end) for fall in falls(at(wh), wh, tolerance)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 1.0], 10.0),
        ([0.0, 10.0], 10.0),
        ([0.0, 100.0], 100.0),
        ([float(1000 * i) for i in range(5)], 100.0),
        ([float(1000 * i) for i in range(6)], 1000.0),
        ([1000.0, 2000.0] * 9, 100.0),
        ([float(500 * (i // 2)) for i in range(10)], 100.0),
        ([float(500 * (i // 2)) for i in range(12)], 500.0),
    ],
)
def test_the_tolerance(values: list[float], expected: float) -> None:
    assert tolerance_wh(values, resolution_wh(values), 10.0) == expected


def test_what_could_be_delivered() -> None:
    assert most_power_w(math.nan) == 400_000
    assert most_power_w(10_000) == pytest.approx(11_500)
    tighter = DEFAULT_THRESHOLDS._replace(spike_margin=1.0, spike_any_power_kw=200.0)
    assert (most_power_w(math.nan, tighter), most_power_w(10_000, tighter)) == (200_000, 10_000)


def test_no_fall() -> None:
    assert kinds() == []
    assert kinds(5) == []
    assert kinds(5, 5, 6, 7) == []
    assert kinds(100, 90, 95, 91) == []


def test_falls_by_kind() -> None:
    assert kinds(5_000, 6_000, 0, 900) == [("reset", 1, 2)]
    assert kinds(5_000, 6_000, 4_000, 4_900) == [("rollback", 1, 2)]
    assert kinds(5_000, 6_000, 0, 0, 8_900) == [("drop_out", 1, 3)]
    assert kinds(65_000, 65_400, 264) == [("wrap", 1, 2)]


def test_a_wrap_rises_no_faster_than_before() -> None:
    assert kinds(64_000, 64_400, 64_800, 0) == [("reset", 2, 3)]  # 736 Wh, at 400 Wh a step
    assert kinds(64_000, 64_500, 65_000, 0) == [("wrap", 2, 3)]  # 536 Wh, at 500


def test_a_value_above_the_wrap_cannot_have_wrapped() -> None:
    assert kinds(65_536, 65_636, 200) == [("reset", 1, 2)]


def test_creeping_down_is_a_fall_once_it_exceeds_the_tolerance() -> None:
    assert kinds(100, 97, 94, 91, 88, 85) == [("rollback", 0, 4)]


def test_after_a_fall_the_register_counts_anew() -> None:
    assert kinds(5_000, 6_000, 1_000, 2_000, 3_000, 2_500, 2_600) == [("reset", 1, 2), ("rollback", 4, 5)]


def test_after_a_drop_out_the_old_level_counts() -> None:
    assert kinds(5_000, 6_000, 0, 6_900, 0, 7_800) == [("drop_out", 1, 2), ("drop_out", 3, 4)]


def test_a_register_that_falls_with_every_reading_is_judged_in_good_time() -> None:
    wh = [float(10**7 - 20 * i + 15 * (i % 2)) for i in range(100_000)]
    assert len(falls(at(wh), wh, 10.0)) > 1


def test_steady_goes_down_only_where_the_register_falls() -> None:
    wh = [100.0, 200.0, 195.0, 0.0, 300.0, 50.0, 45.0, 60.0]
    found = falls(at(wh), wh, 10.0)
    assert [f.kind for f in found] == ["drop_out", "reset"]
    assert steady(at(wh), wh, found) == (
        [0.0, 300.0, 600.0, 1200.0, 1500.0, 1800.0, 2100.0],
        [100.0, 200.0, 200.0, 300.0, 50.0, 50.0, 60.0],
    )


VALUES = st.lists(
    st.one_of(st.integers(0, 400), st.sampled_from((0, 1_000, 65_000, 65_500, 2**31 - 50, 2**32 - 50))),
    max_size=14,
)


@settings(derandomize=True, deadline=None, max_examples=1_000)
@given(VALUES, st.sampled_from((10.0, 100.0)))
def test_falls_are_those_of_the_twin(values: list[int], tolerance: float) -> None:
    wh = [float(v) for v in values]
    found = falls(at(wh), wh, tolerance)
    pairs = list(zip(at(wh), wh, strict=True))
    twins = twin.falls_of(pairs, tolerance, None)
    assert [(f.kind, f.before * 300.0, f.end * 300.0) for f in found] == [
        (f.kind, f.start, f.end) for f in twins
    ]
    assert list(zip(*steady(at(wh), wh, found), strict=True)) == twin.steady(pairs, twins)
