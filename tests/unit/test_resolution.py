"""The resolution of registers: the step is found whatever it is, of one session and of many at once."""

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargewatch.features.resolution import STEPS_MWH, resolution_wh, resolutions_mwh
from tests.reference import register as twin

STEPS_WH = tuple(step / 1000.0 for step in STEPS_MWH)


def together(sessions: list[list[float]], coarsest_wh: float = 1000.0) -> list[float]:
    """The resolutions of all sessions at once, with one more: a single session goes the way of ``resolution_wh``."""
    sessions = [*sessions, [1.0, 2.0]]
    milli = np.array([round(v * 1000) for values in sessions for v in values], np.int64)
    offsets = np.array([0, *accumulate(map(len, sessions))])
    found = resolutions_mwh(milli, offsets, round(coarsest_wh * 1000))
    assert found[-1] == 1000
    return [step / 1000.0 for step in found.tolist()[:-1]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 1.0, 2.0], 1.0),
        ([0.0, 0.5, 2.0], 1.0),
        ([10.0, 20.0], 10.0),
        ([100.0, 250.0], 10.0),
        ([100.0, 300.0], 100.0),
        ([12_000.0, 13_000.0], 1000.0),
        ([12_000.0, 13_000.001], 1.0),
        ([0.0, 0.0], 1000.0),
        ([4_711.0] * 9, 1.0),
        ([], 1000.0),
        ([12_346.0], 1.0),
    ],
)
def test_the_largest_power_of_ten_divides_every_value(values: list[float], expected: float) -> None:
    assert resolution_wh(values) == expected
    assert together([values]) == [expected]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([500.0, 500.0, 500.0, 1_000.0, 1_000.0], 500.0),
        ([7.0, 500.0, 500.0, 1_000.0, 1_000.0, 1_001.0], 500.0),
        ([7.0, 507.0, 507.0, 1_007.0, 2_507.0, 2_508.0], 500.0),
        ([7.0, 507.0, 507.0, 1_007.0, 1_008.0, 1_508.0], 1.0),
        ([7.0, 507.0, 1_007.0, 507.0, 507.0, 7.0, 7.0], 500.0),
        ([0.0, 7.0, 1_207.0, 3_007.0, 4_207.0, 4_207.0], 600.0),
        ([0.0, 0.0, 1_200.0, 1_200.0, 2_400.0, 2_400.0], 600.0),  # 1.2 kWh is more than a meter counts in
        ([0.0, 0.0, 700.0, 700.0, 1_400.0, 1_400.0], 100.0),
        ([1.0, 1.0, 126.0, 126.0, 251.0, 251.0], 125.0),
        ([0.0, 0.0, 1.2, 3.6, 3.6], 1.2),
    ],
)
def test_the_readings_between_the_ends_show_a_step(values: list[float], expected: float) -> None:
    assert resolution_wh(values) == expected
    assert together([values]) == [expected]


def test_equal_rises_at_every_reading_show_no_step() -> None:
    """15 kW all the time, read each minute from a meter of whole Wh."""
    values = [7.0 + 250.0 * n for n in range(60)]
    assert resolution_wh(values) == 1.0
    assert resolution_wh([v - 7.0 for v in values]) == 10.0
    assert resolution_wh([*values[:30], *(v - 1_730.0 for v in values[30:])]) == 1.0


def test_no_step_is_coarser_than_is_allowed() -> None:
    values = [0.0, 0.0, 500.0, 500.0, 1_500.0, 2_000.0, 2_000.0]
    assert [resolution_wh(values, most) for most in (1000.0, 400.0, 60.0, 1.0)] == [500.0, 250.0, 50.0, 1.0]
    assert together([values], 400.0) == [250.0]


def test_single_precision_is_no_resolution() -> None:
    """A charger that keeps 12,345.6 kWh in 32 bits sends 12345.599609375."""
    kwh = [float(np.float32(12_345.6 + 0.6 * (n // 2))) for n in range(24)]
    assert max(abs(k * 10 - round(k * 10)) for k in kwh) > 1e-3
    assert resolution_wh([k * 1000 for k in kwh]) == 600.0
    assert together([[k * 1000 for k in kwh]]) == [600.0]
    assert resolution_wh([12_345_599.2, 12_346_199.2]) == 1.0  # single precision is off by 0.74 Wh at most
    assert resolution_wh([599.9, 1_199.9, 1_799.9]) == 1.0


@st.composite
def registers(draw: st.DrawFn) -> tuple[float, list[float], bool]:
    """A step, values in Wh as sent, and whether some reading is one step after the one before, another none.

    The register counts from any offset, is read whole steps apart, in Wh or kWh, with other ends perhaps.
    """
    step = draw(st.sampled_from(STEPS_MWH))
    offset = draw(st.one_of(st.just(0), st.integers(0, 30_000_000_000)))
    moves = draw(st.lists(st.one_of(st.sampled_from((0, 1)), st.integers(0, 12)), min_size=1, max_size=30))
    inside = [offset, *(offset + step * n for n in accumulate(moves))]
    ends = draw(st.tuples(*[st.integers(0, step)] * 2))
    milli = [inside[0] - ends[0], *inside, inside[-1] + ends[1]]
    if draw(st.booleans()):
        values = [float(f"{m / 1e6:.6f}") * 1000.0 for m in milli]
    else:
        values = [float(f"{m / 1e3:.3f}") for m in milli]
    return step / 1000.0, values, {0, 1} <= set(moves)


@settings(derandomize=True, deadline=None, max_examples=800, database=None)
@given(registers())
def test_any_step_from_any_offset_is_found(drawn: tuple[float, list[float], bool]) -> None:
    step, values, shown = drawn
    milli = [round(v * 1000) for v in values]
    if any(m % 1000 for m in milli):  # fractions of a Wh may be what single precision leaves of a round value
        return
    found = resolution_wh(values)
    if shown:
        assert found >= step
        assert found == step or all(m % round(found * 1000) == 0 for m in milli)
    between = [m - milli[1] for m in milli[1:-1]]
    assert all(m % round(found * 1000) == 0 for m in milli) or all(
        m % round(found * 1000) == 0 for m in between
    )


@settings(derandomize=True, deadline=None, max_examples=400, database=None)
@given(
    st.lists(
        st.one_of(
            registers().map(lambda drawn: drawn[1]),
            st.lists(st.integers(-3, 40).map(lambda n: n * 250.0), max_size=9),
            st.lists(st.floats(-1e6, 3e10).map(lambda v: round(v, 3)), max_size=7),
            st.lists(st.floats(0, 3e4, width=32).map(lambda v: v * 1000.0), max_size=7),
            st.lists(st.integers(0, 99).map(lambda n: float(np.float32(20_000 + 0.5 * n)) * 1e3), max_size=9),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_many_at_once_are_as_each_alone_and_as_the_twin_says(sessions: list[list[float]]) -> None:
    alone = [resolution_wh(values) for values in sessions]
    assert together(sessions) == alone
    assert together([]) == []
    for values in sessions[:2]:
        milli = np.array([round(v * 1000) for v in values], np.int64)
        assert resolutions_mwh(milli, np.array([0, len(values)])).tolist() == [
            round(resolution_wh(values) * 1000)
        ]
    assert alone == [twin.resolution_of([(0.0, v) for v in values]) for values in sessions]


def test_of_random_values_hardly_any_seems_coarse() -> None:
    """Of a register of whole Wh: what lies on a step of 10 Wh or more by chance."""
    rng = np.random.default_rng(0)
    drawn = [rng.integers(1, 20_000, n).cumsum() for n in (2, 3, 4, 6, 8, 12) for _ in range(500)]
    coarse = [resolution_wh(values.astype(float)) >= 10 for values in drawn]
    assert sum(coarse) <= 0.01 * len(drawn)
