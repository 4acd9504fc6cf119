"""The back-test of stations: episodes, thresholds, peers without look ahead, faults that do what they say."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargewatch.domain.station_types import StationAnomaly
from chargewatch.evaluate.station_backtest import (
    AS_IT_IS,
    SHADE,
    Outcome,
    episodes,
    plan_faults,
    run_set,
    threshold_for,
)
from chargewatch.evaluate.station_peers import SIMPLE, Watched, cusum
from chargewatch.evaluate.station_report import (
    StationReport,
    found_in_time,
    station_tables,
    types_right,
)
from chargewatch.simulate.station_faults import StationFault, inject
from chargewatch.simulate.station_fleet import StationSessions, simulate_stations

FLAGS = st.lists(st.booleans(), min_size=1, max_size=40)


@pytest.fixture(scope="module")
def fleet() -> StationSessions:
    return simulate_stations(14, 190, seed=3, volume=3.0)


def slow_episodes(flags: list[bool]) -> int:
    count, last = 0, -10
    for day, flag in enumerate(flags):
        if flag:
            count += day - last > 3
            last = day
    return count


@given(FLAGS)
def test_episodes_join_over_gaps_of_two_days(flags: list[bool]) -> None:
    assert episodes(np.array(flags)[:, None]) == slow_episodes(flags)


def test_a_threshold_keeps_to_the_false_alarms_asked_for() -> None:
    rng = np.random.default_rng(0)
    scores, watched = rng.exponential(size=(400, 20)), np.ones((400, 20), np.bool_)
    years = watched.sum() / 365.25
    for a_year in (0.2, 1.0, 3.0):
        threshold = threshold_for(scores, watched, a_year)
        assert episodes(scores >= threshold) / years <= a_year
        assert episodes(scores >= threshold * 0.9) / years > 0.6 * a_year
    assert math.isinf(threshold_for(np.zeros((9, 2)), np.ones((9, 2), np.bool_), 1.0))


@pytest.mark.parametrize("peer", SIMPLE)
def test_peers_do_not_look_ahead(peer: str) -> None:
    rng = np.random.default_rng(1)
    sessions = rng.poisson(2.0, (200, 3)).astype(np.float64)
    energy = sessions * rng.gamma(2.0, 6.0, (200, 3))
    whole = SIMPLE[peer](Watched(energy, sessions), None, None)
    part = SIMPLE[peer](Watched(energy[:150], sessions[:150]), None, None)
    np.testing.assert_array_equal(part.shortfall, whole.shortfall[:150])
    np.testing.assert_array_equal(part.energy_kwh, whole.energy_kwh[:150])
    changed = energy.copy()
    changed[150] *= 5.0
    later = SIMPLE[peer](Watched(changed, sessions), None, None)
    np.testing.assert_array_equal(
        later.energy_kwh[:151], whole.energy_kwh[:151]
    )  # the day itself is no input


@pytest.mark.parametrize("peer", SIMPLE)
def test_peers_see_a_station_die(peer: str) -> None:
    rng = np.random.default_rng(2)
    sessions = rng.poisson(4.0, (200, 2)).astype(np.float64)
    sessions[150:, 1] = 0.0
    energy = sessions * 10.0
    evidence = cusum(SIMPLE[peer](Watched(energy, sessions), None, None).shortfall)
    assert evidence[160, 1] > 2.0 * evidence[100:160, 0].max()


def test_the_simulated_fleet_is_the_same_for_the_same_seed(fleet: StationSessions) -> None:
    again, other = simulate_stations(14, 190, 3, 3.0), simulate_stations(14, 190, 4, 3.0)
    assert np.array_equal(fleet.energy_kwh, again.energy_kwh)
    assert not np.array_equal(fleet.energy_kwh[:100], other.energy_kwh[:100])
    assert (np.diff(fleet.end_s) >= 0).all()
    assert (fleet.end_s > fleet.start_s).all()
    volume = np.bincount(fleet.station, minlength=14) / 190
    assert volume.mean() == pytest.approx(3.0, rel=0.35)
    for connector in range(len(fleet.connector_station)):  # one car at a time
        mine = fleet.connector == connector
        order = np.argsort(fleet.start_s[mine])
        assert (fleet.start_s[mine][order][1:] >= fleet.end_s[mine][order][:-1]).all()


@pytest.mark.parametrize("kind", list(StationAnomaly))
def test_a_fault_does_what_it_says_and_nothing_before(fleet: StationSessions, kind: StationAnomaly) -> None:
    station = max(range(14), key=lambda s: fleet.sites.count(fleet.sites[s]))
    begin = float(np.floor(np.median(fleet.end_s)))
    left = 1.1 if kind == StationAnomaly.METER_DRIFT else 0.4
    faulty = inject(fleet, [StationFault(kind, station, begin, left)], seed=1)
    before, was = faulty.start_s < begin, fleet.start_s < begin
    assert np.array_equal(np.sort(faulty.energy_kwh[before]), np.sort(fleet.energy_kwh[was]))
    site = [s for s in range(14) if fleet.sites[s] == fleet.sites[station]]
    concerned = site if kind == StationAnomaly.SITE_DROP else [station]
    others, were = (~np.isin(f.station, concerned) for f in (faulty, fleet))
    assert np.array_equal(np.sort(faulty.energy_kwh[others]), np.sort(fleet.energy_kwh[were]))
    now, then = ((f.station == station) & (f.start_s >= begin) for f in (faulty, fleet))
    count = now.sum() / then.sum()
    energy = faulty.energy_kwh[now].mean() / fleet.energy_kwh[then].mean() if now.any() else 0.0
    low, high = {
        StationAnomaly.SITE_DROP: (0.25, 0.55),
        StationAnomaly.STATION_SILENT: (0.0, 0.0),
        StationAnomaly.CONNECTOR_SILENT: (0.5, 0.95),
        StationAnomaly.SESSION_COUNT_DROP: (0.25, 0.55),
        StationAnomaly.ZERO_SESSION_SURGE: (1.05, 1.4),
    }.get(kind, (1.0, 1.0))
    assert low <= count <= high
    if kind == StationAnomaly.ZERO_SESSION_SURGE:
        assert (faulty.energy_kwh[now] < 0.1).mean() > 0.5
    if kind in {StationAnomaly.POWER_DERATE, StationAnomaly.ENERGY_DROP}:
        assert energy == pytest.approx(0.4, abs=0.08)
    power = np.nanmean(faulty.power_kw[now]) / np.nanmean(fleet.power_kw[then]) if now.any() else 1.0
    if kind == StationAnomaly.POWER_DERATE:
        assert power == pytest.approx(0.4, abs=0.03)
    if kind == StationAnomaly.ENERGY_DROP:
        assert power == pytest.approx(1.0)
    if kind == StationAnomaly.METER_DRIFT:
        late = now & (faulty.start_s > begin + 11 * 86_400) & (faulty.energy_kwh > 1)
        assert np.median(faulty.energy_kwh[late] / faulty.reference_kwh[late]) == pytest.approx(1.1, abs=0.02)


def test_faults_are_planned_where_they_can_show(fleet: StationSessions) -> None:
    parts = plan_faults(fleet, seed=1)
    faults = [fault for part in parts for fault in part]
    assert len({fault.station for fault in faults}) == len(faults) >= 8
    first = fleet.end_s.min()
    for fault in faults:
        assert fault.begin_s >= first + 89 * 86_400
        mine = (fleet.station == fault.station) & (fleet.end_s >= fault.begin_s)
        assert mine.sum() >= 5


def test_a_back_test_measures_all_methods_at_the_same_false_alarms(fleet: StationSessions) -> None:
    found = run_set("simulated", fleet, 1, SIMPLE)
    assert [method.name for method in found.methods] == [AS_IT_IS, SHADE, *SIMPLE]
    assert all(method.false_alarms <= 1.0 for method in found.methods[1:])
    assert len({len(method.outcomes) for method in found.methods}) == 1
    assert found_in_time(found.methods[0].outcomes).mean() > 0.5
    report = StationReport(1, (found,))
    assert msgspec.json.decode(msgspec.json.encode(report))["sets"][0]["name"] == "simulated"
    tables = list(station_tables(report))
    assert tables[0].rows[0][0] == AS_IT_IS
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)


def test_what_counts_as_found_and_as_named_rightly() -> None:
    kind = StationAnomaly.ENERGY_DROP
    outcomes = [
        Outcome(kind, 1.0, 13.0, "energy_drop"),
        Outcome(kind, 1.0, 14.0, "energy_drop"),
        Outcome(kind, 1.0, math.nan, None),
        Outcome(kind, 1.0, 0.0, "power_derate"),
    ]
    assert found_in_time(outcomes).tolist() == [1.0, 0.0, 0.0, 1.0]
    assert types_right(outcomes).tolist() == [1.0, 0.0]
