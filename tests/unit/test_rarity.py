"""How rare a score is: the table in the manifest against counting, and what a p-value must keep."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargewatch.csar2 import rarity
from chargewatch.csar2.unusual_profile import score_of


def scores(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(-5.0, 2.0, count)


def twin(calibration: np.ndarray, score: float) -> float:
    """The share of normal sessions that score at least as high, the session itself among them."""
    return (1 + sum(other >= score for other in calibration.tolist())) / (len(calibration) + 1)


@pytest.mark.parametrize("count", [2000, 5000, 12_345])
def test_at_every_level_no_more_normal_sessions_are_rarer_than_it_says(count: int) -> None:
    """And hardly fewer: on the calibration sessions themselves, to one session."""
    known = np.random.default_rng(count).permutation(count) / 100.0 - 20.0
    (stratum, *_) = rarity.calibrate(known, np.zeros(len(known), np.int64))
    for level, limit in zip(stratum.levels, stratum.scores, strict=True):
        above = int((known > limit + 1e-9).sum())
        assert above <= level * (len(known) + 1) + 1e-9
        assert above >= level * (len(known) + 1) - 2 or level == 1.0
        assert twin(known, limit + 1e-3) <= level + 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_between_the_levels_it_follows_the_count(seed: int) -> None:
    known = scores(seed, 20_000)
    strata = rarity.calibrate(known, np.zeros(len(known), np.int64))
    asked = np.quantile(known, [0.05, 0.3, 0.5, 0.77, 0.9, 0.96, 0.985, 0.994, 0.998])
    p = rarity.p_values(strata, np.zeros(len(asked), np.int64), asked)
    for own, score in zip(p.tolist(), asked.tolist(), strict=True):
        assert math.log(own) == pytest.approx(math.log(twin(known, score)), abs=0.2)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.floats(-50, 50), min_size=2, max_size=30))
def test_a_higher_score_is_never_less_rare(asked: list[float]) -> None:
    strata = rarity.calibrate(scores(1, 3000), np.zeros(3000, np.int64))
    ordered = np.array(sorted(asked))
    p = rarity.p_values(strata, np.zeros(len(ordered), np.int64), ordered)
    assert (np.diff(p) <= 0).all()
    assert ((p > 0) & (p <= 1)).all()


def test_a_stratum_with_few_sessions_borrows() -> None:
    """The first stratum has enough, its neighbour has not and takes both; far ones take all."""
    known = np.concatenate((scores(1, rarity.FEWEST_SESSIONS), scores(2, 10) + 100.0))
    stratum = np.concatenate((np.zeros(rarity.FEWEST_SESSIONS, np.int64), np.ones(10, np.int64)))
    strata = rarity.calibrate(known, stratum)
    assert len(strata) == rarity.STRATA
    assert (strata[0].name, strata[0].sessions) == ("ac/unmanaged/register/short", 2000)
    assert strata[1].name == "ac/unmanaged/register/long (from ac/unmanaged/register)"
    assert strata[1].sessions == 2010
    assert strata[-1].name.endswith("(from all)")


def test_with_few_sessions_nothing_is_called_rarer_than_they_can_tell() -> None:
    strata = rarity.calibrate(scores(1, 50), np.zeros(50, np.int64))
    assert min(strata[0].levels) >= 1 / 51


def test_nothing_is_rare_before_calibration() -> None:
    p = rarity.p_values(rarity.uncalibrated(), np.zeros(3, np.int64), np.array([-9.0, 0.0, 1000.0]))
    assert (p >= 0.5).all()


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.floats(1e-12, 1.0), st.floats(1e-12, 1.0), st.floats(1e-5, 0.2))
def test_the_score_follows_rarity_and_crosses_a_half_at_the_limit(a: float, b: float, limit: float) -> None:
    rarer, commoner = sorted((a, b))
    assert score_of(rarer, limit) >= score_of(commoner, limit)
    for p in (a, b, limit):
        assert 0.0 <= score_of(p, limit) < 0.55
        assert (score_of(p, limit) >= 0.5) == (p <= limit)
