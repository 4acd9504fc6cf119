"""The peers' features, on sessions that can be reckoned by hand, and the rules of thumb on them."""

import math
from datetime import UTC, datetime, timedelta
from random import Random

import numpy as np
import pytest

from chargewatch.domain.categories import Category
from chargewatch.evaluate import rules_of_thumb
from chargewatch.evaluate.cases import Split
from chargewatch.evaluate.columns import columns_of
from chargewatch.evaluate.peers import PEERS, Lesson, Scaling, Trial, compare
from chargewatch.evaluate.session_features import FEATURES, features_of, signals_of
from chargewatch.evaluate.truth import State, Truth
from chargewatch.simulate import SimulatedReading, SimulatedSession, simulate_session

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
REGISTER, POWER = "Energy.Active.Import.Register", "Power.Active.Import"


def reading(
    minute: float, value: float, measurand: str, unit: str, phase: str | None = None
) -> SimulatedReading:
    return SimulatedReading(START + timedelta(minutes=minute), str(value), measurand, unit, phase, None, None)


def session(readings: list[SimulatedReading], *, managed: bool = False) -> SimulatedSession:
    last = max(r.timestamp for r in readings)
    return SimulatedSession(
        "s", "st", "1", "ac", 11.0, managed, START, last, readings, [], None, 60.0, 1.0, 11.0
    )


def features(readings: list[SimulatedReading], *, managed: bool = False) -> dict[str, float]:
    table = features_of(columns_of([session(readings, managed=managed)]))
    return dict(zip(FEATURES, table[0].tolist(), strict=True))


CHARGING = [
    *[
        reading(10 * i, e, REGISTER, "kWh")
        for i, e in enumerate((100.0, 101.0, 102.0, 102.0, 103.0, 103.0, 103.0))
    ],
    *[reading(10 * i, p, POWER, "W") for i, p in enumerate((6000, 6000, 6000, 0, 6000, 0, 0))],
]


def test_figures_of_a_session_with_a_pause() -> None:
    found = features(CHARGING)
    assert found["duration_h"] == 1.0
    assert found["instants"] == 7.0
    assert found["usual_gap_s"] == pytest.approx(600.0)
    assert found["rated_kw"] == 11.0
    assert (found["register_gain_kwh"], found["register_rise_kwh"]) == (3.0, 3.0)
    assert found["register_peak_kw"] == pytest.approx(6.0)
    assert found["register_still_share"] == pytest.approx(3 / 6)
    assert found["register_still_between_h"] == pytest.approx(1 / 6)
    assert found["register_after_last_rise_h"] == pytest.approx(1 / 3)
    assert (found["power_peak_kw"], found["power_lowest_between"]) == (6.0, 0.0)
    assert found["power_low_between_h"] == pytest.approx(1 / 6)
    assert found["power_idle_at_end_h"] == pytest.approx(1 / 3)
    assert found["power_integral_kwh"] == pytest.approx((2 + 0.5 + 0.5 + 0.5) * 1.0)
    assert found["register_less_power_kwh"] == pytest.approx(3.0 - 3.5)
    assert math.isnan(found["soc_last"])
    assert math.isnan(found["voltage_usual"])


def test_units_and_order_make_no_difference() -> None:
    in_wh = [
        r._replace(value=str(1000 * float(r.value)), unit="Wh") if r.unit == "kWh" else r for r in CHARGING
    ]
    Random(1).shuffle(in_wh)
    assert features(in_wh) == pytest.approx(features(CHARGING), nan_ok=True)


def test_repeats_count_once_and_phases_are_summed() -> None:
    phased = [reading(10 * i, p, POWER, "kW", f"L{n}") for i, p in enumerate((2.0, 3.0)) for n in (1, 2, 3)]
    signals = signals_of(columns_of([session([*phased, phased[0]])]), 0)
    assert signals.power.value.tolist() == [6.0, 9.0]


def test_a_lost_phase_shows_in_the_least_share() -> None:
    currents = [
        reading(i, 16.0 if n < 3 or i < 2 else 0.0, "Current.Import", "A", f"L{n}")
        for i in range(4)
        for n in (1, 2, 3)
    ]
    found = features([*CHARGING, *currents])
    assert (found["phases_used"], found["phase_least_share"]) == (3.0, 0.0)
    assert rules_of_thumb.hits(np.array([list(found.values())]))[Category.PHASE_LOSS].all()


def test_every_session_has_every_feature_and_none_is_infinite() -> None:
    sessions = [simulate_session(seed) for seed in range(30)]
    table = features_of(columns_of(sessions))
    assert table.shape == (30, len(FEATURES))
    assert not np.isinf(table).any()
    one = features_of(columns_of([sessions[7]]))
    assert np.array_equal(one[0], table[7], equal_nan=True)


@pytest.mark.parametrize(
    ("category", "mechanism"),
    [
        (Category.KWH_DECREASE, "rollback"),
        (Category.ZERO_SESSION, "never_starts"),
        (Category.ENERGY_PIT, "collapse_to_zero"),
        (Category.CHARGING_EXPECTED, "soc_stop"),
    ],
)
def test_rules_of_thumb_find_what_is_plain(category: Category, mechanism: str) -> None:
    drawn = (simulate_session(s, fault=category, mechanism=mechanism, sampling_s=60.0) for s in range(20))
    faults = [s for s in drawn if any(label.visible for label in s.labels)]
    table = features_of(columns_of(faults))
    assert rules_of_thumb.hits(table)[category].mean() >= 0.7


def test_the_one_liner_sees_a_fall_and_no_energy() -> None:
    falls = [reading(i, e, REGISTER, "kWh") for i, e in enumerate((5.0, 6.0, 5.5))]
    idle = [reading(i, 5.0, REGISTER, "kWh") for i in range(3)]
    table = features_of(columns_of([session(falls), session(idle), session(CHARGING)]))
    assert rules_of_thumb.one_liner(table).tolist() == [True, True, False]


def test_scaling_is_learnt_and_bounded() -> None:
    learnt = np.array([[1.0, math.nan], [3.0, math.nan], [5.0, math.nan]])
    scaled = Scaling(learnt).apply(np.array([[1e12, 1.0], [math.nan, math.nan]]))
    assert np.abs(scaled).max() <= 8.0
    assert scaled[1, 0] == pytest.approx(Scaling(learnt).apply(np.array([[3.0, math.nan]]))[0, 0])


@pytest.mark.parametrize("name", ["PyOD LOF", "HistGradientBoosting", "threshold rules", "one-liner"])
def test_peers_tell_an_odd_group_from_the_rest(name: str) -> None:
    peer = next(p for p in PEERS if p.name == name)
    for package in peer.needs:
        pytest.importorskip(package)
    normal = [simulate_session(seed, kind="ac", sampling_s=300.0) for seed in range(90)]
    odd = [
        simulate_session(seed, fault=Category.KWH_DECREASE, mechanism="rollback", sampling_s=300.0)
        for seed in range(40)
    ]
    n, f = features_of(columns_of(normal)), features_of(columns_of(odd))
    lesson = Lesson(np.concatenate((n[:30], f[:20])), np.repeat((0, 1), (30, 20)), n[30:60])
    truths = [Truth(f"n{i}", "AC", Split.TRAINING, State.NORMAL, {}, frozenset(), None) for i in range(30)]
    fall = Category.KWH_DECREASE
    shown = {fall: frozenset({0})}
    truths += [
        Truth(f"f{i}", fall.value, Split.TRAINING, State.ANOMALOUS, shown, frozenset({fall}), "rollback")
        for i in range(20)
    ]
    result = compare(peer, lesson, Trial(truths, np.concatenate((n[60:], f[20:])), 0, 0))
    assert result.problem is None
    assert result.card is not None
    assert result.card.auroc.value > 0.7
    assert bool(result.card.categories) == peer.traits.categories
