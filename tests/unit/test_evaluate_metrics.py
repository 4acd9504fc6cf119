"""The benchmark's metrics against slow twins, textbook values and properties."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargewatch.evaluate import metrics
from chargewatch.evaluate.intervals import bootstrap, over_seeds, student_t, upper_bound
from tests.reference import metrics as twins

ROWS = st.lists(
    st.tuples(
        st.sampled_from((0.0, 0.1, 0.25, 0.5, 0.55, 0.9, 1.0)),
        st.booleans(),
        st.sampled_from((0.5, 1.0, 2.0, 7.0)),
    ),
    min_size=1,
    max_size=40,
)
Row = tuple[float, bool, float]


def columns(rows: Sequence[Row]) -> tuple[metrics.Floats, metrics.Flags, metrics.Floats]:
    values, flags, weights = zip(*rows, strict=True)
    return np.array(values), np.array(flags, np.bool_), np.array(weights)


def same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, abs_tol=1e-12)


@given(ROWS)
def test_auroc_is_that_of_its_twin(rows: list[Row]) -> None:
    assert same(metrics.auroc(*columns(rows)), twins.auroc(*zip(*rows, strict=True)))


@given(ROWS)
def test_auprc_is_that_of_its_twin(rows: list[Row]) -> None:
    assert same(metrics.auprc(*columns(rows)), twins.auprc(*zip(*rows, strict=True)))


@given(ROWS, st.integers(1, 20))
def test_ece_and_brier_are_those_of_their_twins(rows: list[Row], bins: int) -> None:
    drawn = metrics.reliability(*columns(rows), bins=bins)
    assert same(metrics.expected_calibration_error(drawn), twins.ece(*zip(*rows, strict=True), bins))
    assert same(metrics.brier(*columns(rows)), twins.brier(*zip(*rows, strict=True)))
    assert math.isclose(sum(b.weight for b in drawn), 1.0)
    assert len(drawn) <= bins
    assert list(drawn) == sorted(drawn, key=lambda b: b.mean_confidence)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_counts_are_those_of_their_twin(rows: list[tuple[bool, bool]]) -> None:
    flagged, positive = zip(*rows, strict=True)
    found = metrics.counts(np.array(flagged), np.array(positive))
    assert tuple(found) == twins.counts(flagged, positive)
    expected = twins.precision_recall_f1(flagged, positive)
    assert all(map(same, (found.precision, found.recall, found.f1), expected))


@given(st.frozensets(st.integers(0, 23)), st.frozensets(st.integers(0, 23)))
def test_overlap_is_that_of_its_twin(found: frozenset[int], true: frozenset[int]) -> None:
    assert metrics.overlap(found, true) == twins.overlap(sorted(found), sorted(true))
    assert metrics.overlap(found, true) == metrics.overlap(true, found)


@given(ROWS)
def test_a_whole_weight_counts_like_so_many_sessions(rows: list[Row]) -> None:
    values, flags, weights = columns(rows)
    times = np.maximum(weights.astype(np.int64), 1)
    often = (np.repeat(values, times), np.repeat(flags, times))
    once = (values, flags, times.astype(np.float64))
    assert same(metrics.auroc(*once), metrics.auroc(*often))
    assert same(metrics.auprc(*once), metrics.auprc(*often))
    assert same(metrics.brier(*once), metrics.brier(*often))


@given(ROWS)
def test_only_the_order_of_scores_matters(rows: list[Row]) -> None:
    values, flags, weights = columns(rows)
    assert same(metrics.auroc(values, flags, weights), metrics.auroc(np.exp(5 * values), flags, weights))
    turned = metrics.auroc(-values, flags, weights)
    assert math.isnan(turned) or same(metrics.auroc(values, flags, weights), 1.0 - turned)


def test_without_skill_auprc_is_the_prevalence() -> None:
    positive = np.arange(50) < 5
    assert metrics.auprc(np.zeros(50), positive) == pytest.approx(0.1)
    assert metrics.auroc(np.zeros(50), positive) == 0.5


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="no number"):
        metrics.auroc(np.array([0.0, math.nan]), np.array([True, False]))


def test_nothing_to_compute_from_gives_no_figure() -> None:
    none = np.zeros(3, np.bool_)
    assert math.isnan(metrics.auroc(np.ones(3), none))
    assert math.isnan(metrics.auprc(np.ones(3), none))
    assert math.isnan(metrics.counts(none, none).f1)
    assert metrics.reliability(np.zeros(0), np.zeros(0, np.bool_)) == ()
    assert math.isnan(metrics.expected_calibration_error(()))


@given(st.lists(st.booleans(), min_size=2, max_size=50), st.floats(0.01, 0.99))
def test_reweighting_gives_the_prevalence(flags: list[bool], prevalence: float) -> None:
    positive = np.array(flags)
    weights = metrics.at_prevalence(positive, prevalence)
    if positive.any() and not positive.all():
        assert float(weights[positive].sum() / weights.sum()) == pytest.approx(prevalence)
        assert float(weights.sum()) == pytest.approx(len(flags))


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1])
def test_a_prevalence_is_a_share(prevalence: float) -> None:
    with pytest.raises(ValueError, match="prevalence"):
        metrics.at_prevalence(np.array([True, False]), prevalence)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_the_upper_bound_is_exact(case: tuple[int, int]) -> None:
    events, trials = case
    bound = upper_bound(events, trials)
    assert float(twins.at_most(events, trials, Fraction(bound))) == pytest.approx(0.05, abs=1e-9)
    assert bound > events / trials
    assert bound < upper_bound(events, trials, 0.99)


def test_the_upper_bound_without_events_is_the_closed_form() -> None:
    assert upper_bound(0, 328) == pytest.approx(1.0 - 0.05 ** (1 / 328))
    assert upper_bound(3000, 6000) == pytest.approx(0.5106991489580294, abs=1e-9)  # beta.ppf(.95, 3001, 3000)
    assert upper_bound(7, 7) == 1.0
    assert upper_bound(0, 0) == 1.0
    with pytest.raises(ValueError, match="events"):
        upper_bound(2, 1)


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (10, 2.2281), (30, 2.0423)]
)
def test_student_t_is_that_of_the_tables(degrees: int, quantile: float) -> None:
    assert student_t(0.95, degrees) == pytest.approx(quantile, abs=5e-5)


def test_intervals_over_seeds() -> None:
    interval = over_seeds([0.8, 0.9, 1.0])
    assert interval.value == pytest.approx(0.9)
    assert interval.high - interval.value == pytest.approx(4.3027 * 0.1 / math.sqrt(3), abs=1e-5)
    assert interval.value - interval.low == pytest.approx(interval.high - interval.value)
    assert math.isnan(over_seeds([0.5]).low)
    assert math.isnan(over_seeds([]).value)


def test_the_bootstrap_covers_what_resampling_by_hand_does() -> None:
    rng = np.random.default_rng(5)
    positive = rng.random(400) < 0.25
    flagged = np.where(positive, rng.random(400) < 0.8, rng.random(400) < 0.02)
    interval = bootstrap(lambda w: metrics.counts(flagged, positive, w).recall, positive, seed=1)
    share, count = float(flagged[positive].mean()), int(positive.sum())
    assert interval.value == pytest.approx(share)
    spread = math.sqrt(share * (1 - share) / count)
    assert interval.low == pytest.approx(share - 1.96 * spread, abs=0.5 * spread)
    assert interval.high == pytest.approx(share + 1.96 * spread, abs=0.5 * spread)
    again = bootstrap(lambda w: metrics.counts(flagged, positive, w).recall, positive, seed=1)
    assert again == interval


def test_the_bootstrap_keeps_the_prevalence() -> None:
    positive = np.arange(40) < 10
    interval = bootstrap(lambda w: float(w[positive].sum() / w.sum()), positive, seed=3, resamples=20)
    assert interval == (0.25, 0.25, 0.25)
