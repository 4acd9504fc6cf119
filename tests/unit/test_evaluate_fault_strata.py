"""Strata of hard faults: what each of them is, that its truth is that of the labels, and that its seeds are its own."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chargewatch.cli.training_data import Amounts, chunks
from chargewatch.evaluate import fault_strata, suite
from chargewatch.evaluate.cases import Case, Purpose, Split
from chargewatch.evaluate.fault_strata import (
    DEFINED,
    NOISY_NORMALS,
    SIMULATED,
    FaultStratum,
    hard_faults,
    measured_faults,
    noisy_normals,
)
from chargewatch.evaluate.suite import SuiteSize, training
from chargewatch.evaluate.truth import State, truth_of
from chargewatch.evaluate.window import counted_labels
from chargewatch.simulate import HELD_OUT, SimulatedSession, simulate_session
from chargewatch.simulate.pairs import FIRST, SECOND

SEED, ANOMALIES = 7, 8
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return list(hard_faults(SEED, ANOMALIES))


def of(cases: list[Case], stratum: FaultStratum) -> list[SimulatedSession]:
    return [c.session for c in cases if c.stratum == stratum]


def test_two_faults_are_two_and_all_pairs_are_there(cases: list[Case]) -> None:
    pairs = Counter(frozenset(x.category for x in s.labels) for s in of(cases, FaultStratum.TWO))
    assert pairs.keys() == {frozenset((a, b)) for a in FIRST for b in SECOND}
    asked = [truth_of(c).units for c in cases if c.stratum == FaultStratum.TWO]
    assert {len(units) for units in asked} == {2}


def test_thin_long_and_noisy_sessions_are_what_they_are_called(cases: list[Case]) -> None:
    instants = [len({r.timestamp for r in s.readings}) for s in of(cases, FaultStratum.THIN)]
    assert 3 <= min(instants) < 10 < max(instants) <= 20
    assert all(s.ended_at - s.started_at > 6 * HOUR for s in of(cases, FaultStratum.LONG))
    assert len(of(cases, FaultStratum.NOISY)) >= len(DEFINED)


@pytest.mark.parametrize("stratum", SIMULATED)
def test_of_each_category_there_are_faults(cases: list[Case], stratum: FaultStratum) -> None:
    counted = Counter(x.category for s in of(cases, stratum) for x in counted_labels(s))
    assert counted.keys() == ({*FIRST, *SECOND} if stratum is FaultStratum.TWO else set(DEFINED))


def test_what_the_readings_do_not_prove_counts_nowhere(cases: list[Case]) -> None:
    unproven = [truth_of(c) for c in cases if not any(x.visible for x in c.session.labels)]
    assert unproven
    assert all(t.state is State.UNPROVEN and not t.units and t.caused for t in unproven)


def test_held_out_mechanisms_are_marked(cases: list[Case]) -> None:
    for case in cases:
        held_out = any(x.mechanism in HELD_OUT[x.category] for x in case.session.labels)
        assert (case.split is Split.HELD_OUT) == held_out
    assert {c.split for c in cases} == set(Split)


def test_noisy_normals_have_no_fault() -> None:
    sessions = list(noisy_normals(SEED, 3))
    assert Counter(c.stratum for c in sessions) == dict.fromkeys(NOISY_NORMALS, 3)
    assert not any(c.session.labels or c.session.near_miss for c in sessions)
    assert [c.session.kind for c in sessions] == ["ac"] * 3 + ["dc"] * 3


def seeds_of(run: Iterator[Case], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of all sessions that a run simulates by ``simulate_session``."""
    drawn: list[int] = []

    def noted(seed: int, **asked: Any) -> SimulatedSession:
        drawn.append(seed)
        return simulate_session(seed, **asked)

    monkeypatch.setattr(fault_strata, "simulate_session", noted)
    monkeypatch.setattr(suite, "simulate_session", noted)
    list(run)
    return drawn


def test_no_seed_is_one_to_learn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    hard = seeds_of(hard_faults(SEED, 4), monkeypatch) + seeds_of(noisy_normals(SEED, 4), monkeypatch)
    assert len(set(hard)) == len(hard) > 60
    size = SuiteSize(1, 1, 12)
    for purpose in (Purpose.TRAINING, Purpose.CALIBRATION):
        learnt = seeds_of(training(SEED, size, purpose), monkeypatch)
        assert len(learnt) > 100
        assert set(hard).isdisjoint(learnt)
    highest = max(one.seed + one.sessions for seed in range(50) for one in chunks(seed, Amounts()))
    assert min(hard) > highest


def test_the_suite_has_them_and_training_does_not() -> None:
    small = SuiteSize(1, 1, 1)
    names = {c.stratum for c in suite.suite(SEED, small)}
    assert {*SIMULATED, *NOISY_NORMALS} <= names
    assert names.isdisjoint({FaultStratum.MEASURED})
    assert {c.stratum for c in training(SEED, small)}.isdisjoint({*FaultStratum, *NOISY_NORMALS})


def curves(path: Path) -> Path:
    """30 made-up sessions of 81 readings each 30 s in the columns of the real file: 60 kW, then a taper."""
    rows: list[tuple[object, ...]] = []
    for number in range(30):
        begin, soc = datetime(2025, 3, 1, tzinfo=UTC) + number * 24 * HOUR, np.linspace(20, 95, 81)
        for i, charge in enumerate(soc.tolist()):
            at, watts = begin + timedelta(seconds=30 * i), 6e4 * min(1.0, 1 - (charge - 70) / 40)
            rows += [
                (f"s{number}", "p", at, "SoC", "Percent", float(int(charge))),
                (f"s{number}", "p", at, "Voltage", "V", 400.0),
                (f"s{number}", "p", at, "Current.Import", "A", watts / 400.0),
                (f"s{number}", "p", at, "Power.Active.Import", "W", watts),
            ]
    names = ("session_id", "station_id", "timestamp", "measurand", "unit", "value")
    pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), path)
    return path


def test_each_measured_curve_gets_one_fault(tmp_path: Path) -> None:
    file = curves(tmp_path / "curves.parquet")
    found = list(measured_faults(file, SEED))
    assert [c.session.session_id for c in found] == [f"s{i}" for i in range(30)]
    assert {c.stratum for c in found} == {FaultStratum.MEASURED}
    assert all(len({x.category for x in c.session.labels}) == 1 for c in found)
    other = [c.session.labels for c in measured_faults(file, SEED + 1)]
    assert [c.session.labels for c in found] != other
