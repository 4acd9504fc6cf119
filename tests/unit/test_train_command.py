"""``chargewatch train``: what it says without PyTorch, and which sessions it simulates."""

import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from chargewatch.cli.app import app
from chargewatch.cli.training_data import Amounts, Wanted, chunks, tensors_of
from chargewatch.domain.categories import Category
from chargewatch.simulate import FAULTS, HELD_OUT, HELD_OUT_NEAR_MISSES

LEARNT = ("normal", "odd", "calibration")


def test_without_pytorch_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "chargewatch.csar2.train", raising=False)
    monkeypatch.delitem(sys.modules, "chargewatch.csar2.network", raising=False)
    result = CliRunner().invoke(app, ["train", "--output", str(tmp_path / "model")])
    assert result.exit_code == 1
    assert "pip install 'chargewatch[train]'" in result.stderr
    assert not (tmp_path / "model").exists()


def test_no_two_parts_share_a_seed() -> None:
    seen: dict[int, Wanted] = {}
    for one in chunks(1, Amounts().times(0.1)):
        for seed in range(one.seed, one.seed + one.sessions):
            assert seed not in seen, (one, seen[seed])
            seen[seed] = one


def test_another_seed_shares_no_session_either() -> None:
    first = {s for one in chunks(1, Amounts()) for s in range(one.seed, one.seed + one.sessions)}
    second = {s for one in chunks(2, Amounts()) for s in range(one.seed, one.seed + one.sessions)}
    assert not first & second


def test_what_is_held_out_is_not_learnt_from() -> None:
    wanted = chunks(1, Amounts().times(0.01))
    held_out = HELD_OUT.get(Category.UNUSUAL_PROFILE, ())
    for one in wanted:
        if one.part in LEARNT:
            assert one.odd not in held_out
            assert one.near_miss not in HELD_OUT_NEAR_MISSES
    assert {one.odd for one in wanted if one.part == "test_odd"} == set(held_out)
    assert {one.odd for one in wanted if one.part == "odd"} == set(
        FAULTS.get(Category.UNUSUAL_PROFILE, ())
    ) - set(held_out)


def test_a_chunk_is_the_same_each_time_and_some_sessions_are_cut() -> None:
    one = Wanted("normal", 5, 12)
    first, second = tensors_of(one), tensors_of(one)
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a, b)
    assert len(first.shown) <= 12
