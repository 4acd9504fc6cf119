"""SHADE day by day: no look ahead (proven by truncation), what it reports, and what it stays quiet on."""

import numpy as np
import pytest

from chargewatch.domain.station_types import StationAnomaly
from chargewatch.shade.classify import NONE, TYPES
from chargewatch.shade.days import day_line, station_days
from chargewatch.shade.detect import Replay, replay
from chargewatch.shade.local_days import zone_of
from chargewatch.shade.run import replay_all
from chargewatch.shade.sessions import Sessions, Station, rows_of
from chargewatch.simulate.station_faults import StationFault, inject
from chargewatch.simulate.station_fleet import simulate_stations
from tests.shade_sessions import DAY_S, as_sessions, steady

COLUMNS = ("kind", "score", "watching", "expected_kwh", "low_kwh", "high_kwh", "expected_sessions", "since")


def judged(sessions: Sessions) -> Replay:
    """Verdicts on a steady fleet; its days count from 1970 on, which no clock of a station would show."""
    later = 20_000 * DAY_S
    moved = sessions._replace(start_s=sessions.start_s + later, end_s=sessions.end_s + later)
    return next(replay_all(moved)).replay


def types_of(found: Replay, station: int, since: int = 0) -> set[str]:
    kinds = found.kind[since:, station]
    return {TYPES[kind].value for kind in kinds[kinds != NONE]}


@pytest.fixture(scope="module")
def faulty() -> Sessions:
    """40 simulated stations of two zones over 170 days, with a fault of every type; some stations begin late."""
    fleet = simulate_stations(40, 170, seed=11, volume=3.0)
    first = float(np.floor(fleet.end_s.min() / DAY_S) * DAY_S)
    sites = [fleet.sites.count(site) for site in fleet.sites]
    big = sites.index(max(sites))
    left = (0.0, 0.0, 0.0, 0.3, 0.4, 0.4, 1.1, 0.3)
    others = [s for s in range(40) if fleet.sites[s] != fleet.sites[big]]
    faults = [
        StationFault(
            kind,
            big if kind == StationAnomaly.SITE_DROP else others[2 * i],
            first + (95 + i) * DAY_S,
            left[i],
        )
        for i, kind in enumerate(StationAnomaly)
    ]
    table = as_sessions(inject(fleet, faults, seed=1))
    late = np.isin(table.station, (5, 31)) & (table.end_s < first + 120 * DAY_S)
    west = tuple(
        s._replace(timezone="America/New_York", country="US") if i % 3 == 0 else s
        for i, s in enumerate(table.stations)
    )
    return rows_of(table, ~late)._replace(stations=west)


def test_no_day_is_judged_from_what_came_later(faulty: Sessions) -> None:
    """What comes after the end of a day is cut away: the verdicts up to it are the same to the last bit."""
    whole = list(replay_all(faulty))
    assert len(whole) == 2
    alarms = 0
    for cut in (60, 101, 133):
        for zone in whole:
            last_day = zone.replay.days.first_day + cut
            name = faulty.stations[int(zone.stations[0])].timezone
            line = day_line(faulty, zone_of(name))  # both zones, each by this zone's clock
            before = line.day <= last_day
            kept = rows_of(line.sessions, before)
            there = np.unique(kept.station)
            part = next(
                z
                for z in replay_all(kept.of_stations(there), last_day)
                if kept.stations[int(there[z.stations[0]])].timezone == name
            )
            columns = np.searchsorted(zone.stations, there[part.stations])
            assert len(part.replay.kind) == cut + 1
            for column in COLUMNS:
                expected = getattr(zone.replay, column)[: cut + 1, columns]
                np.testing.assert_array_equal(getattr(part.replay, column), expected, err_msg=column)
            alarms += int(part.replay.is_anomaly.sum())
    assert alarms > 50


def test_every_type_is_found_at_its_station(faulty: Sessions) -> None:
    names = {}
    for zone in replay_all(faulty):
        for place, station in enumerate(zone.stations):
            names[int(station)] = types_of(zone.replay, place, 90)
    reported = set().union(*names.values())
    assert reported >= {kind.value for kind in StationAnomaly}


def test_the_score_is_half_exactly_where_there_is_an_anomaly(faulty: Sessions) -> None:
    for zone in replay_all(faulty):
        assert ((zone.replay.score >= 0.5) == zone.replay.is_anomaly).all()
        assert (zone.replay.score >= 0).all()
        assert (zone.replay.score <= 1).all()
        assert (zone.replay.watching | ~zone.replay.is_anomaly).all()


def test_a_quiet_fleet_stays_quiet() -> None:
    found = judged(steady(12, 200))
    assert not found.is_anomaly.any()
    assert found.watching[20:].all()
    expected = found.expected_kwh[60:]
    assert np.nanmean(expected) == pytest.approx(30.0, rel=0.05)


def test_learning_ends_after_14_days_with_sessions() -> None:
    found = judged(steady(3, 40))
    assert not found.watching[:14].any()
    assert found.watching[14:].all()
    assert np.isnan(found.expected_kwh[:14]).all()
    assert (found.score[:14] == 0).all()


def test_a_station_without_sessions_falls_silent_and_comes_back() -> None:
    table = steady(6, 120)
    dead = (table.station == 2) & (table.end_s > 80 * DAY_S) & (table.end_s < 95 * DAY_S)
    found = judged(rows_of(table, ~dead))
    assert types_of(found, 2) == {"station_silent"}
    alarmed = np.flatnonzero(found.is_anomaly[:, 2])
    assert 81 <= alarmed[0] <= 84
    assert alarmed[-1] == 94  # the day with the first session again is no longer silent
    assert (found.since[alarmed, 2] == alarmed[0]).all()
    assert not found.is_anomaly[:, [0, 1, 3, 4, 5]].any()


def test_days_of_an_episode_are_not_learnt() -> None:
    table = steady(6, 160)
    rng = np.random.default_rng(4)
    lost = (table.station == 1) & (table.end_s > 80 * DAY_S) & (rng.random(table.size) < 0.7)
    found = judged(rows_of(table, ~lost))
    assert "session_count_drop" in types_of(found, 1)
    assert found.expected_sessions[125, 1] == pytest.approx(3.0, abs=0.4)  # 45 days into the fault


def test_declared_events_are_neither_reported_nor_learnt() -> None:
    table = steady(6, 140)
    closed = (table.station == 3) & (table.end_s > 80 * DAY_S) & (table.end_s < 110 * DAY_S)
    line = day_line(rows_of(table, ~closed), zone_of("UTC"))
    declared = np.zeros((140, 6), np.bool_)
    declared[80:110, 3] = True
    found = replay(station_days(line, 0, 139, excluded=declared))
    assert not found.is_anomaly.any()
    assert found.expected_sessions[125, 3] == pytest.approx(3.0, abs=0.3)
    undeclared = replay(station_days(line, 0, 139))
    assert undeclared.is_anomaly[:, 3].any()


def test_missing_days_are_skipped_and_never_taken_as_zero() -> None:
    table = steady(6, 140)
    lost = (table.end_s > 80 * DAY_S) & (table.end_s < 83 * DAY_S)
    line = day_line(rows_of(table, ~lost), zone_of("UTC"))
    gap = np.zeros((140, 6), np.bool_)
    gap[80:83] = True
    declared = replay(station_days(line, 0, 139, missing=gap))
    noticed = replay(
        station_days(line, 0, 139)
    )  # nobody heard anything at six sites: noticed without being told
    for found in (declared, noticed):
        assert not found.is_anomaly.any()
        assert not found.days.known[80:83].any()
        assert found.expected_sessions[100].mean() == pytest.approx(3.0, abs=0.2)


def test_a_site_that_falls_is_reported_once() -> None:
    table = steady(8, 120)
    sites = tuple(
        Station(s.station_id, "garage" if i < 4 else f"own-{i}") for i, s in enumerate(table.stations)
    )
    lost = (table.station < 3) & (table.end_s > 80 * DAY_S)
    found = judged(rows_of(table, ~lost)._replace(stations=sites))
    assert types_of(found, 0) == {"site_drop"}
    assert np.flatnonzero(found.is_anomaly[:, 0])[0] <= 82
    assert not found.is_anomaly[:, 1:].any()


def test_two_of_three_stations_are_no_site() -> None:
    table = steady(8, 120)
    sites = tuple(
        Station(s.station_id, "garage" if i < 3 else f"own-{i}") for i, s in enumerate(table.stations)
    )
    lost = (table.station < 2) & (table.end_s > 80 * DAY_S)
    found = judged(rows_of(table, ~lost)._replace(stations=sites))
    assert types_of(found, 0) == types_of(found, 1) == {"station_silent"}


def test_a_collapse_of_the_whole_fleet_is_no_fault_of_a_station() -> None:
    table = steady(30, 150)
    rng = np.random.default_rng(5)
    lost = (table.end_s > 90 * DAY_S) & (rng.random(table.size) < 0.6)
    found = judged(rows_of(table, ~lost))
    assert found.is_anomaly.mean() < 0.003


def test_the_order_of_rows_changes_no_verdict(faulty: Sessions) -> None:
    order = np.random.default_rng(1).permutation(faulty.size)
    mixed = rows_of(faulty, order)
    for one, other in zip(replay_all(faulty), replay_all(mixed), strict=True):
        np.testing.assert_array_equal(one.replay.kind, other.replay.kind)
        np.testing.assert_allclose(one.replay.score, other.replay.score, atol=1e-5)


def test_an_empty_table_has_no_verdicts() -> None:
    table = steady(2, 20)
    assert list(replay_all(rows_of(table, table.end_s < 0))) == []


def test_clocks_that_were_never_set_are_left_out() -> None:
    table = steady(3, 60)
    strays = np.where(np.arange(table.size) < 3, -19_990 * DAY_S, table.end_s)
    found = judged(table._replace(start_s=strays - 60.0, end_s=strays))
    assert found.days.days == 60
