"""The confidence model: what it recovers, what it never says, and the slow way to fit it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargewatch.csar2.calibration import (
    FIGURES,
    PRIOR,
    ConfidenceModel,
    Grounds,
    figures_of,
    fit,
    prevalence_weights,
)
from chargewatch.domain.categories import Category

PLAIN = Grounds(None, 0.0, 60, 0, 0.5, False)
GROUNDS = st.builds(
    Grounds,
    category=st.sampled_from([None, *Category]),
    strength=st.floats(0, 1e9),
    instants=st.integers(0, 500),
    doubts=st.integers(0, 9),
    surprise=st.none() | st.floats(0, 9),
    managed=st.booleans(),
)


def truth(grounds):
    """The probability that a verdict is right: pits less than normals, strong ones more, thin ones less."""
    logit = 3.0 if grounds.category is None else 1.2 + 0.9 * math.log1p(grounds.strength)
    return 1 / (1 + math.exp(-(logit - (5.0 if grounds.instants == 4 else 0.0) * 0.6)))


def drawn(seed, count=4000):
    """Verdicts that are right with these probabilities."""
    rng = np.random.default_rng(seed)
    grounds, right, faulty = [], [], []
    for _ in range(count):
        is_pit, instants = rng.random() < 0.5, int(rng.choice((4, 60)))
        strength = float(rng.choice((0.0, 5.0))) if is_pit else 0.0
        category = Category.ENERGY_PIT if is_pit else None
        grounds.append(Grounds(category, strength, instants, 0, 0.3, False))
        ok = bool(rng.random() < truth(grounds[-1]))
        right.append(ok)
        faulty.append(is_pit == ok)
    return grounds, np.array(right), np.array(faulty)


@pytest.fixture(scope="module")
def model():
    grounds, right, faulty = drawn(3)
    return ConfidenceModel(fit(grounds, right, faulty, prevalence=float(np.mean(faulty))), "drawn")


@pytest.mark.parametrize(
    "case",
    [
        PLAIN,
        PLAIN._replace(instants=4),
        PLAIN._replace(category=Category.ENERGY_PIT),
        PLAIN._replace(category=Category.ENERGY_PIT, strength=5.0),
        PLAIN._replace(category=Category.ENERGY_PIT, strength=5.0, instants=4),
    ],
)
def test_it_recovers_known_probabilities(model, case):
    assert model.confidence(case._replace(surprise=0.3)) == pytest.approx(truth(case), abs=0.04)


def test_a_kind_that_was_never_seen_is_not_certain(model):
    unseen = PLAIN._replace(category=Category.PHASE_LOSS)
    assert 0.2 < model.confidence(unseen) < 0.8


@given(grounds=GROUNDS)
def test_thin_and_doubtful_data_lower_it(model, grounds):
    sure = model.confidence(grounds)
    assert 0.0 <= sure <= 1.0
    assert model.confidence(grounds._replace(doubts=grounds.doubts + 1)) <= sure + 1e-12
    assert model.confidence(grounds._replace(instants=max(grounds.instants - 1, 0))) <= sure + 1e-12
    assert model.confidence(grounds._replace(instants=1)) <= 0.5


def test_it_is_less_sure_of_anomalies_where_fewer_sessions_are_faulty():
    grounds, right, faulty = drawn(5, 1000)
    pit = PLAIN._replace(category=Category.ENERGY_PIT)
    rare, common = (
        ConfidenceModel(fit(grounds, right, faulty, share), "drawn").confidence(pit) for share in (0.05, 0.5)
    )
    assert rare < common


def slow_fit(grounds, right, faulty, prevalence):
    """Gradient descent with small steps, in plain Python, on the same objective."""
    share = sum(faulty) / len(faulty)
    rows = []
    for g, ok, bad in zip(grounds, right, faulty, strict=True):
        weight = prevalence / share if bad else (1 - prevalence) / (1 - share)
        rows.append((figures_of(g), float(ok), weight))
    for position in range(13):
        unit = [1.0 if i == position else 0.0 for i in range(len(FIGURES))]
        rows += [(unit, 1.0, 0.5), (unit, 0.0, 0.5)]
    w = [0.0] * 13 + [0.0, -4.0, -0.5, 0.0, 0.0, -0.3, 0.0, 0.0]
    for _ in range(1000):
        slope = [0.0] * 13 + w[13:]
        for x, y, weight in rows:
            p = 1 / (1 + math.exp(-sum(a * b for a, b in zip(w, x, strict=True))))
            for j, value in enumerate(x):
                if value:
                    slope[j] += weight * (p - y) * value
        w = [a - 0.04 * s for a, s in zip(w, slope, strict=True)]
        w[13], w[14], w[15] = max(w[13], 0), min(w[14], -4), min(w[15], -0.5)
        w[16], w[17], w[18] = min(w[16], 0), max(w[17], 0), min(w[18], -0.3)
    return dict(zip(FIGURES, w, strict=True))


def test_it_is_the_optimum():
    grounds, right, faulty = drawn(6, 60)
    slow = slow_fit(grounds, right.tolist(), faulty.tolist(), 0.3)
    fast = fit(grounds, right, faulty, 0.3)
    for name in FIGURES:
        assert fast[name] == pytest.approx(slow[name], abs=0.02), name


@given(st.lists(st.booleans(), min_size=2, max_size=50), st.floats(0.01, 0.99))
def test_weights_give_the_prevalence(faulty, prevalence):
    marked = np.array(faulty)
    if marked.all() or not marked.any():
        with pytest.raises(ValueError, match="faulty and normal"):
            prevalence_weights(marked, prevalence)
        return
    weights = prevalence_weights(marked, prevalence)
    assert weights.sum() == pytest.approx(len(faulty))
    assert weights[marked].sum() / weights.sum() == pytest.approx(prevalence)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"extra": 1.0}, "other figures"), ({"normal": float("nan")}, "no number")],
)
def test_it_refuses_what_does_not_fit(change, reason):
    with pytest.raises(ValueError, match=reason):
        ConfidenceModel(PRIOR | change, "drawn")
