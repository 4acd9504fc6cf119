"""The scorecard, on cases that can be counted by hand."""

import math
from collections.abc import Mapping

import numpy as np
import pytest

from chargewatch.domain.categories import Category
from chargewatch.evaluate.cases import Split
from chargewatch.evaluate.intervals import upper_bound
from chargewatch.evaluate.outcomes import Outcome, placed
from chargewatch.evaluate.peers import Lesson, Peer, PeerResult, Scores, Trial, at_rate, compare, shortened
from chargewatch.evaluate.scorecard import Traits, all_alarms, pooled, scorecard
from chargewatch.evaluate.truth import State, Truth

PIT, FALL, ZERO = Category.ENERGY_PIT, Category.KWH_DECREASE, Category.ZERO_SESSION


def units(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


def normal(number: int, stratum: str = "AC", near_miss: str | None = None) -> Truth:
    return Truth(f"n{number}", stratum, Split.TRAINING, State.NORMAL, {}, frozenset(), near_miss)


def faulty(
    number: int,
    category: Category,
    split: Split = Split.TRAINING,
    *,
    counted: bool = True,
    mechanism: str = "m",
) -> Truth:
    shown = {category: units(1, 2)} if counted else {}
    state = State.ANOMALOUS if counted else State.UNPROVEN
    return Truth(f"f{number}", category.value, split, state, shown, frozenset({category}), mechanism)


def said(
    found: Mapping[Category, frozenset[int]] | None = None,
    score: float | None = None,
    confidence: float = 0.9,
) -> Outcome:
    found = found or {}
    return Outcome(score if score is not None else 0.8 if found else 0.1, bool(found), confidence, found)


CASES = [
    (normal(0), said()),
    (normal(1), said()),
    (normal(2, "DC"), said({PIT: units(3)})),
    (normal(3, "near-miss: a", "a"), said()),
    (faulty(0, PIT), said({PIT: units(2, 3)})),
    (faulty(1, PIT, Split.HELD_OUT, mechanism="other"), said()),
    (faulty(2, FALL), said({FALL: units(1, 2), ZERO: units(0)})),
    (faulty(3, FALL, Split.HELD_OUT), said({PIT: units(1)})),
    (faulty(4, ZERO, counted=False), said({ZERO: units(0)})),
]
CARD = scorecard("method", [t for t, _ in CASES], [o for _, o in CASES], seed=0)


def test_sessions_are_counted_by_state() -> None:
    assert (CARD.normals, CARD.anomalies, CARD.unproven, CARD.unproven_flagged) == (4, 4, 1, 1)
    assert CARD.prevalence == 0.5


def test_the_decision_counts_whatever_the_category() -> None:
    assert CARD.precision.value == 3 / 4
    assert CARD.recall.value == 3 / 4
    assert CARD.f1.value == 3 / 4
    assert (CARD.recall_training, CARD.recall_held_out) == (1.0, 0.5)


def test_a_lesson_is_shortened_by_the_seed_and_its_calibration_is_not() -> None:
    rows = np.arange(60.0).reshape(30, 2)
    lesson = Lesson(rows, np.arange(30), rows[:7])
    short = shortened(lesson, 10, seed=3)
    assert (len(short.classes), short.features.shape, len(short.calibration)) == (10, (10, 2), 7)
    assert (short.features[:, 0] == 2 * short.classes).all()
    assert len(set(short.classes.tolist())) == 10
    assert (shortened(lesson, 10, seed=3).classes == short.classes).all()
    assert (shortened(lesson, 10, seed=4).classes != short.classes).any()
    assert shortened(lesson, 30, seed=3) is shortened(lesson, None, seed=3) is lesson


def hard(number: int, stratum: str, *categories: Category) -> Truth:
    shown = {category: units(place) for place, category in enumerate(categories)}
    return Truth(f"h{number}", stratum, Split.TRAINING, State.ANOMALOUS, shown, frozenset(categories), "m")


def test_hard_faults_count_by_category_of_a_session() -> None:
    cases = [
        (hard(0, "two faults", PIT, FALL), said({PIT: units(0), FALL: units(1)})),
        (hard(1, "two faults", PIT, FALL), said({PIT: units(0, 1), ZERO: units(0)})),
        (hard(2, "noisy", ZERO), said()),
        (faulty(3, PIT), said({PIT: units(1, 2)})),
        (faulty(4, Category.UNUSUAL_PROFILE), said()),
        (faulty(5, PIT, counted=False), said({FALL: units(1)})),
        (normal(0), said({PIT: units(1)})),
    ]
    found = scorecard("m", [t for t, _ in cases], [o for _, o in cases], seed=0)
    two, noisy, one = found.fault_strata
    assert (two.stratum, two.sessions, two.faults, two.found, two.extras) == (
        *("two faults", 2, 4, 3),
        {"ZERO_SESSION": 1},
    )
    assert (two.precision, two.recall, two.f1) == (3 / 4, 3 / 4, 3 / 4)
    assert two.overlap == pytest.approx((1 + 1 + 0.5 + 0) / 4)
    assert (noisy.faults, noisy.found, noisy.recall) == (1, 0, 0.0)
    assert (one.stratum, one.sessions, one.found, one.extras) == ("one fault", 1, 1, {})
    assert {m.category for m in found.mechanisms} == {PIT, Category.UNUSUAL_PROFILE}
    assert found.overlap_defined == pytest.approx((1 + 1 + 0.5 + 0 + 0 + 1) / 6)
    assert found.overlap == pytest.approx(found.overlap_defined * 6 / 7)


def test_false_alarms_of_several_suites_are_pooled_by_stratum() -> None:
    second = scorecard("m", [normal(0, "DC"), normal(1, "DC")], [said(), said({PIT: units(1)})], seed=0)
    rows = {row.stratum: row for row in pooled([all_alarms(CARD), all_alarms(second)])}
    assert (rows["DC"].normals, rows["DC"].alarms) == (3, 2)
    assert (rows["all"].normals, rows["all"].alarms) == (6, 2)
    assert rows["DC"].upper_per_thousand == pytest.approx(1000 * upper_bound(2, 3))
    assert rows["AC"].upper_per_thousand == pytest.approx(1000 * upper_bound(0, 2))


def test_a_category_counts_where_it_is_named() -> None:
    rows = {row.category: row for row in CARD.categories}
    assert list(rows) == ["KWH_DECREASE", "ENERGY_PIT", "ZERO_SESSION"]
    pit = rows["ENERGY_PIT"]
    assert (pit.anomalies, pit.reported) == (2, 3)
    assert (pit.precision, pit.recall) == (1 / 3, 1 / 2)
    assert (pit.recall_training, pit.recall_held_out) == (1.0, 0.0)
    assert pit.overlap == pytest.approx((1 / 3 + 0) / 2)
    fall = rows["KWH_DECREASE"]
    assert (fall.precision, fall.recall, fall.overlap) == (1.0, 0.5, 0.5)
    zero = rows["ZERO_SESSION"]
    assert (zero.anomalies, zero.reported, zero.precision) == (0, 1, 0.0)
    assert math.isnan(zero.recall)
    assert math.isnan(zero.overlap)


def test_overlap_is_the_mean_over_all_that_is_true() -> None:
    assert CARD.overlap == pytest.approx((1 / 3 + 0 + 1 + 0) / 4)


def test_false_alarms_by_stratum_and_group() -> None:
    assert (CARD.false_alarms.normals, CARD.false_alarms.alarms, CARD.false_alarms.per_thousand) == (
        4,
        1,
        250.0,
    )
    assert {(s.stratum, s.normals, s.alarms) for s in CARD.strata} == {
        ("AC", 2, 0),
        ("DC", 1, 1),
        ("near-miss: a", 1, 0),
    }
    assert {(g.stratum, g.normals, g.alarms) for g in CARD.false_alarms_by_group} == {
        ("ordinary", 3, 1),
        ("near-misses, training", 1, 0),
    }
    assert CARD.strata[0].upper_per_thousand == pytest.approx(1000 * (1 - 0.05 ** (1 / 2)))


def test_confusion_and_mechanisms() -> None:
    assert CARD.confusion == {
        "normal": {"nothing": 3, "ENERGY_PIT": 1},
        "ENERGY_PIT": {"ENERGY_PIT": 1, "nothing": 1},
        "KWH_DECREASE": {"KWH_DECREASE": 1, "ZERO_SESSION": 1, "ENERGY_PIT": 1},
    }
    assert {(m.category, m.mechanism, m.split, m.anomalies, m.found, m.flagged) for m in CARD.mechanisms} == {
        ("ENERGY_PIT", "m", "training", 1, 1, 1),
        ("ENERGY_PIT", "other", "held-out", 1, 0, 0),
        ("KWH_DECREASE", "m", "training", 1, 1, 1),
        ("KWH_DECREASE", "m", "held-out", 1, 0, 1),
    }


def test_calibration_at_both_prevalences() -> None:
    own, field = CARD.calibration
    assert (own.prevalence, field.prevalence) == (0.5, 0.05)
    assert own.ece == pytest.approx(abs(0.9 - 6 / 8))
    assert own.brier == pytest.approx((6 * 0.1**2 + 2 * 0.9**2) / 8)
    assert field.ece == pytest.approx(abs(0.9 - 3 / 4))  # three of four are right on both sides


def test_without_confidence_there_is_no_calibration() -> None:
    outcomes = [o._replace(confidence=math.nan) for _, o in CASES]
    assert scorecard("method", [t for t, _ in CASES], outcomes, seed=0).calibration == ()


def test_a_method_without_categories_or_places_gets_no_such_figures() -> None:
    truths, outcomes = [t for t, _ in CASES], [o for _, o in CASES]
    binary = scorecard("method", truths, outcomes, 0, Traits(categories=False, places=False))
    assert (binary.categories, binary.confusion) == ((), {})
    assert math.isnan(binary.overlap)
    placeless = scorecard("method", truths, outcomes, 0, Traits(places=False))
    assert all(math.isnan(row.overlap) for row in placeless.categories)
    assert placeless.categories[0].recall == 0.5


def test_a_report_before_the_window_is_told_apart() -> None:
    outcomes = [said()._replace(past=True), said()]
    card = scorecard("method", [normal(0), normal(1)], outcomes, 0)
    assert (card.false_alarms.alarms, card.past_false_alarms) == (0, 1)


def test_spans_of_one_category_are_joined() -> None:
    assert placed([(PIT, 1, 2), (FALL, 5, 5), (PIT, 4, 4)]) == {PIT: units(1, 2, 4), FALL: units(5)}


# --- peers ----------------------------------------------------------------------------------------

LESSON = Lesson(np.zeros((2, 1)), np.array([0, 1]), np.arange(101.0)[:, None])


def trial(score: list[float], alarms: int) -> Trial:
    truths = [t for t, _ in CASES]
    return Trial(truths, np.array(score)[:, None], alarms, 0)


def test_a_threshold_is_frozen_on_the_calibration_normals_alone() -> None:
    """The 98 % quantile of 0 to 100 is 98."""
    peer = Peer("fake", (), lambda _lesson, _seed: lambda features: Scores(features[:, 0]))
    result = compare(peer, LESSON, trial([0, 97.9, 98.1, 50, 99, 10, 98.5, 5, 200], alarms=0))
    assert result.card is not None
    assert result.card.false_alarms.alarms == 1
    assert result.card.recall.value == 0.5
    assert result.at_our_rate is not None
    assert (result.at_our_rate.false_alarms, result.at_our_rate.recall) == (0, 0.5)


def test_a_missing_package_is_named_in_the_row() -> None:
    peer = Peer("fake", ("no_such_package",), lambda _lesson, _seed: pytest.fail("must not run"))
    assert compare(peer, LESSON, trial([0.0] * 9, 0)) == PeerResult(
        "fake", "not measured: no_such_package is not installed"
    )


def test_a_peer_that_fails_is_named_with_its_problem() -> None:
    def fails(_lesson: Lesson, _seed: int) -> None:
        raise ValueError("too few rows")

    result = compare(Peer("fake", (), fails), LESSON, trial([0.0] * 9, 0))  # type: ignore[arg-type]
    assert result.problem == "not measured: ValueError: too few rows"
    assert result.card is None


def test_at_rate_is_the_best_that_so_few_false_alarms_allow() -> None:
    rng = np.random.default_rng(2)
    truths = [normal(i) for i in range(30)] + [faulty(i, PIT) for i in range(10)]
    score = np.round(rng.random(40), 1)
    positive = np.arange(40) >= 30
    for alarms in range(5):
        best = 0.0
        for threshold in (-1.0, *score.tolist()):
            if int((score[~positive] > threshold).sum()) <= alarms:
                best = max(best, float((score[positive] > threshold).mean()))
        found = at_rate(score, truths, alarms)
        assert found.recall == best
        assert found.false_alarms <= alarms
