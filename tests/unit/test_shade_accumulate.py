"""Evidence over days against slow twins: likelihood ratios, CUSUMs, false discoveries."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargewatch.shade import accumulate
from chargewatch.shade.accumulate import Accumulator, Wander, false_discovery_limit
from chargewatch.shade.forecast import no_session
from tests.reference import shade as twins

MEANS = st.floats(0.05, 20.0)
NATS = st.lists(st.floats(-3, 3).map(lambda x: round(x, 3)), min_size=1, max_size=40)


def one(value: float) -> np.ndarray:
    return np.array([float(value)])


@given(st.integers(0, 30), MEANS, st.floats(0.01, 3.0))
def test_count_ratios_are_those_of_the_whole_probabilities(
    count: int, mean: float, dispersion: float
) -> None:
    found = accumulate.count_nats(one(count), one(mean), one(dispersion))[:, 0]
    expected = [twins.count_nats(count, mean, dispersion, left) for left in accumulate.COUNT_LEFT]
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-7)


@given(st.lists(st.floats(0.2, 20.0), min_size=0, max_size=8), st.floats(8.0, 40.0), st.floats(0.5, 5.0))
def test_energy_ratios_are_those_of_single_sessions(energies: list[float], mean: float, shape: float) -> None:
    found = accumulate.energy_nats(one(sum(energies)), one(len(energies)), one(mean), one(shape))[:, 0]
    expected = [twins.energy_nats(energies, mean, shape, left) for left in accumulate.ENERGY_LEFT]
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-7)


@given(st.lists(st.floats(-3, 5), max_size=8), st.floats(-1, 3), st.floats(0.05, 2.0), st.floats(-1, 1))
def test_shift_ratios_are_those_of_single_observations(
    values: list[float], mean: float, variance: float, shift: float
) -> None:
    found = accumulate.shift_nats(
        one(sum(values)), one(len(values)), one(mean), one(variance), np.array([shift])
    )[0, 0]
    assert found == pytest.approx(twins.shift_nats(values, mean, variance, shift), rel=1e-6, abs=1e-6)


@given(st.integers(0, 6), st.integers(0, 6), st.floats(0.005, 0.6))
def test_zero_ratios_are_binomial(zero: int, more: int, share: float) -> None:
    found = accumulate.zero_nats(one(zero), one(zero + more), one(share))[:, 0]
    for nats, up in zip(found, accumulate.ZERO_UP, strict=True):
        raised = min(max(2 * share, share + up), 0.97)
        log = zero * math.log(raised / share) + more * math.log((1 - raised) / (1 - share))
        assert nats == pytest.approx(log, rel=1e-6, abs=1e-9)


@given(NATS, st.floats(1.0, 6.0))
def test_an_accumulator_is_a_cusum(nats: list[float], ceiling: float) -> None:
    found = Accumulator(1, 1, ceiling)
    totals, begins = twins.cusum(nats, ceiling)
    sums = 0.0
    for row, step in enumerate(nats):
        found.add(row, np.array([[step]]), one(row + 1), one(2.0), np.array([True]))
        best = found.best()
        assert best.evidence[0] == pytest.approx(totals[row], abs=1e-9)
        if totals[row] > 0:
            assert best.begun[0] == begins[row]
            sums = sum(r + 1 for r in range(begins[row], row + 1))
            assert best.observed[0] == pytest.approx(sums)
            assert best.expected[0] == pytest.approx(2.0 * (row + 1 - begins[row]))


def test_days_that_do_not_count_change_nothing() -> None:
    found = Accumulator(2, 3, 5.0)
    found.add(0, np.full((2, 3), 1.5), np.ones(3), np.ones(3), np.array([True, True, False]))
    found.add(1, np.full((2, 3), 9.0), np.ones(3), np.ones(3), np.array([True, False, False]))
    assert found.best().evidence.tolist() == [5.0, 1.5, 0.0]
    assert found.best().observed.tolist() == [2.0, 1.0, 0.0]


@given(st.lists(st.floats(0, 20), min_size=1, max_size=30), st.floats(0.01, 0.5))
def test_false_discoveries_are_those_of_benjamini_and_hochberg(evidence: list[float], rate: float) -> None:
    limit = false_discovery_limit(np.array(evidence), np.ones(len(evidence), np.bool_), rate)
    p_values = [math.exp(-nats) for nats in evidence]
    near = [abs(e - math.log(len(evidence) / (rate * k))) < 1e-9 for e in evidence for k in range(1, 31)]
    if not any(near):
        assert {i for i, nats in enumerate(evidence) if nats >= limit} == twins.benjamini_hochberg(
            p_values, rate
        )


def test_independent_days_do_not_wander_and_bunched_ones_do() -> None:
    rng = np.random.default_rng(3)
    calm, bunched = Wander(50), Wander(50)
    active = np.ones(50, np.bool_)
    level = np.zeros(50)
    for _ in range(400):
        calm.add(rng.normal(size=50), np.ones(50), active)
        level = 0.8 * level + rng.normal(size=50) * 0.6
        bunched.add(level, np.ones(50), active)
    assert calm.factor().mean() < 1.3
    assert bunched.factor().mean() > 3.0


def test_the_probability_of_no_session_is_that_of_the_negative_binomial() -> None:
    assert no_session(one(2.0), one(1e-9))[0] == pytest.approx(math.exp(-2.0), rel=1e-4)
    assert no_session(one(2.0), one(0.5))[0] == pytest.approx((1 / (1 + 1.0)) ** 2, rel=1e-9)
