"""The standard suite: what is in it, that it repeats, and that training never sees what is held out."""

from collections import Counter
from datetime import timedelta
from itertools import islice

import numpy as np
import pytest

from chargewatch.evaluate.cases import Purpose, Split
from chargewatch.evaluate.columns import columns_of, microseconds
from chargewatch.evaluate.fault_strata import NOISY_NORMALS, SIMULATED, FaultStratum
from chargewatch.evaluate.strata import LONG, Stratum, ordinary_session, ordinary_strata
from chargewatch.evaluate.suite import (
    ANOMALIES_EACH,
    NEAR_MISS_EACH,
    ORDINARY_EACH,
    SuiteSize,
    normals_to_learn,
    suite,
    training,
)
from chargewatch.evaluate.truth import State, truth_of
from chargewatch.evaluate.window import counted_labels
from chargewatch.ingest.builder import build_columns, kind_of
from chargewatch.simulate import FAULTS, HELD_OUT, HELD_OUT_NEAR_MISSES, NEAR_MISSES, SimulatedSession

SMALL = SuiteSize(1, 1, 8)


@pytest.fixture(scope="module")
def cases() -> list[tuple[str, Split, SimulatedSession]]:
    return [(c.stratum, c.split, c.session) for c in suite(7, SMALL)]


def test_the_standard_size_keeps_what_is_promised() -> None:
    assert len(ordinary_strata()) * ORDINARY_EACH + len(NEAR_MISSES) * NEAR_MISS_EACH >= 5000
    assert len(set(ordinary_strata())) == len(ordinary_strata()) >= 30
    assert len({s.name for s in ordinary_strata()}) == len(ordinary_strata())
    assert ANOMALIES_EACH >= 100
    assert SuiteSize.scaled(1.0) == (ORDINARY_EACH, NEAR_MISS_EACH, ANOMALIES_EACH)
    assert min(ORDINARY_EACH, NEAR_MISS_EACH) >= 100  # fewer do not show 10 false alarms in 1,000
    assert SuiteSize.scaled(0.001) == SuiteSize.to_learn(0.001) == (1, 1, 1)
    with pytest.raises(ValueError, match="scale"):
        SuiteSize.scaled(0.0)


def test_every_kind_of_session_is_there(cases: list[tuple[str, Split, SimulatedSession]]) -> None:
    strata = Counter(stratum for stratum, _, _ in cases)
    assert {s.name for s in ordinary_strata()} <= strata.keys()
    assert {f"near-miss: {name}" for name in NEAR_MISSES} <= strata.keys()
    assert {category.value for category in FAULTS} <= strata.keys()
    assert {*SIMULATED, *NOISY_NORMALS} <= strata.keys()
    assert FaultStratum.MEASURED not in strata
    mechanisms = {(label.category, label.mechanism) for _, _, s in cases for label in s.labels}
    assert mechanisms == {(category, name) for category in FAULTS for name in FAULTS[category]}
    assert {s.sampling_s for _, _, s in cases} == {10.0, 30.0, 60.0, 300.0, 900.0}


def test_both_splits_are_marked(cases: list[tuple[str, Split, SimulatedSession]]) -> None:
    for _, split, session in cases:
        held_out = session.near_miss in HELD_OUT_NEAR_MISSES or any(
            label.mechanism in HELD_OUT[label.category] for label in session.labels
        )
        assert (split is Split.HELD_OUT) == held_out
    for category in FAULTS:
        assert 0 < len(HELD_OUT[category]) < len(FAULTS[category])


def test_as_many_faults_count_as_asked_for(
    cases: list[tuple[str, Split, SimulatedSession]],
) -> None:
    for category in FAULTS:
        counted = sum(bool(counted_labels(s)) for stratum, _, s in cases if stratum == category.value)
        assert counted >= SMALL.anomalies


def test_normal_sessions_have_no_label(cases: list[tuple[str, Split, SimulatedSession]]) -> None:
    faults = {category.value for category in FAULTS} | set(SIMULATED)
    assert all(bool(s.labels) == (stratum in faults) for stratum, _, s in cases)


def test_names_are_unique_and_tell_nothing(cases: list[tuple[str, Split, SimulatedSession]]) -> None:
    names = [s.session_id for _, _, s in cases]
    assert len(set(names)) == len(names)
    assert {len(name) for name in names} == {len(names[0])}


def test_the_same_seed_gives_the_same_sessions() -> None:
    first, second = (list(islice(suite(3, SMALL), 12)) for _ in range(2))
    assert first == second
    other = {c.session.session_id for c in islice(suite(4, SMALL), 12)}
    assert other.isdisjoint(c.session.session_id for c in first)


def test_more_sessions_only_add_some() -> None:
    few = list(islice(suite(3, SuiteSize(1, 1, 1)), 3))
    many = list(islice(suite(3, SuiteSize(2, 1, 1)), 6))
    assert [c.session.session_id for c in many[::2]] == [c.session.session_id for c in few]


def test_training_never_sees_what_is_held_out(cases: list[tuple[str, Split, SimulatedSession]]) -> None:
    lesson = list(training(7, SuiteSize(1, 1, 2)))
    assert all(c.split is Split.TRAINING for c in lesson)
    assert not any(c.session.near_miss in HELD_OUT_NEAR_MISSES for c in lesson)
    for case in lesson:
        assert all(label.mechanism not in HELD_OUT[label.category] for label in case.session.labels)
    learnt = {c.session.session_id for c in lesson}
    assert learnt.isdisjoint(s.session_id for _, _, s in cases)
    seen = {s.readings[0].timestamp for _, _, s in cases}
    assert sum(c.session.readings[0].timestamp in seen for c in lesson) <= 1


def test_calibration_is_of_normal_sessions_that_training_does_not_have() -> None:
    size = SuiteSize(1, 1, 1)
    calm = list(normals_to_learn(Purpose.CALIBRATION, 7, size))
    learnt = {c.session.session_id for c in normals_to_learn(Purpose.TRAINING, 7, size)}
    assert not any(c.session.labels for c in calm)
    assert learnt.isdisjoint(c.session.session_id for c in calm)


@pytest.mark.parametrize("stratum", ordinary_strata(), ids=lambda s: s.name)
def test_sessions_are_what_their_stratum_says(stratum: Stratum) -> None:
    session = ordinary_session(stratum, 11)
    assert (session.kind, session.managed, session.sampling_s) == stratum[:3]
    sent = {r.measurand for r in session.readings}
    assert ("Power.Active.Import" in sent) == (stratum.channels != "energy")
    assert ("SoC" in sent) == (stratum.channels == "power and SoC")
    if stratum.channels == "energy":
        assert "Energy.Active.Import.Register" in sent
        assert sent.isdisjoint({"Voltage", "Current.Import"})
    instants = len({r.timestamp for r in session.readings})
    if stratum.length == "thin":
        assert 3 <= instants <= 20
    if stratum.length == "long":
        assert session.ended_at - session.started_at > LONG == timedelta(hours=6)


def test_the_columns_are_those_of_the_readings_one_by_one(
    cases: list[tuple[str, Split, SimulatedSession]],
) -> None:
    sessions = [s for _, _, s in cases[::9]]
    columns = columns_of(sessions)
    expected = build_columns(
        [[(microseconds(r.timestamp), float(r.value), kind_of(*r[2:])) for r in s.readings] for s in sessions]
    )
    for found, wanted in zip(columns.readings, expected, strict=True):
        assert found.dtype == wanted.dtype
        assert np.array_equal(found, wanted)
    assert columns.now_us == max(microseconds(s.ended_at) for s in sessions)
    assert columns.declared.managed.tolist() == [s.managed for s in sessions]
    rated_w = [s.rated_power_kw * 1000.0 if s.rated_power_known else np.nan for s in sessions]
    assert np.array_equal(columns.declared.rated_power_w, rated_w, equal_nan=True)


def test_units_of_a_fault_are_those_of_its_readings() -> None:
    """The twin: a unit counts when it lies between the units of the first and the last reading, one by one."""
    seen = 0
    for case in suite(5, SuiteSize(1, 1, 6)):
        truth, session = truth_of(case), case.session
        times = sorted({r.timestamp for r in session.readings})
        recent = [t for t in times if t >= times[-1] - timedelta(hours=6)]
        for category, units in truth.units.items():
            labels = [label for label in session.labels if label.category == category and label.visible]
            expected: set[int] = set()
            for label in labels:
                shown = [t for t in recent if label.start <= t <= label.end]
                numbers = [min(int((t - recent[0]).total_seconds() // 900), 23) for t in shown]
                if numbers:
                    expected |= set(range(min(numbers), max(numbers) + 1))
            assert units == expected
            seen += 1
        if not session.labels:
            assert truth.state is State.NORMAL
        elif not any(label.visible for label in session.labels):
            assert truth.state is State.UNPROVEN
    assert seen >= 6 * len(FAULTS) // 2
