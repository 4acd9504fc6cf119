"""A fleet: reproducible, ordered, lazy, with the shares and distributions that were asked for."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise

import numpy as np
import pytest

from chargewatch.domain.categories import Category
from chargewatch.simulate import FAULTS, NEAR_MISSES, SimulatedSession, simulate_fleet, simulate_session
from tests.unit.test_simulate_definitions import REGISTER, seen

FIRST_DAY = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def fleet() -> list[SimulatedSession]:
    return list(simulate_fleet(stations=45, days=4, seed=31, anomaly_share=0.0, near_miss_share=0.0))


@pytest.fixture(scope="module")
def faulty() -> list[SimulatedSession]:
    return list(simulate_fleet(stations=65, days=10, seed=32, anomaly_share=0.3, near_miss_share=0.4))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    first, again, other = (repr(list(simulate_fleet(stations=4, days=2, seed=s))) for s in (7, 7, 8))
    assert first == again
    assert first != other


def test_one_session_depends_on_its_arguments_only() -> None:
    for fault in (None, *FAULTS):
        session = simulate_session(5, fault=fault)
        assert session == simulate_session(5, fault=fault)
        assert session.readings != simulate_session(6, fault=fault).readings


def test_more_days_add_sessions_and_change_none() -> None:
    short = list(simulate_fleet(stations=5, days=2, seed=3))
    longer = list(simulate_fleet(stations=5, days=4, seed=3))
    assert longer[: len(short)] == short
    assert len(longer) > len(short)


def test_more_stations_change_no_session_of_the_others() -> None:
    few = {s.session_id: s for s in simulate_fleet(stations=3, days=1, seed=3)}
    many = {s.session_id: s for s in simulate_fleet(stations=6, days=1, seed=3)}
    assert few
    assert all(many[name] == session for name, session in few.items())


def test_sessions_are_ordered_lazily_and_within_the_days(fleet: list[SimulatedSession]) -> None:
    starts = [s.started_at for s in fleet]
    assert starts == sorted(starts)
    assert starts[0] >= FIRST_DAY
    assert starts[-1] < FIRST_DAY + timedelta(days=4)
    endless = simulate_fleet(stations=2, days=10**5, seed=1, start=date(2020, 3, 1))
    assert [s.started_at.date() for s in islice(endless, 2)] == [date(2020, 3, 1)] * 2


def test_a_connector_serves_one_car_at_a_time(fleet: list[SimulatedSession]) -> None:
    by_connector = defaultdict(list)
    for session in fleet:
        by_connector[session.station_id, session.connector_id].append(session)
        assert session.started_at < session.ended_at
        assert all(session.started_at <= r.timestamp <= session.ended_at for r in session.readings)
    assert len({s.session_id for s in fleet}) == len(fleet)
    for sessions in by_connector.values():
        assert all(a.ended_at < b.started_at for a, b in pairwise(sessions))


def test_a_station_keeps_its_hardware_and_its_way_of_sending(fleet: list[SimulatedSession]) -> None:
    by_station = defaultdict(set)
    for s in fleet:
        measurands = frozenset(r.measurand for r in s.readings)
        by_station[s.station_id].add((s.kind, s.rated_power_kw, s.managed, s.sampling_s, measurands))
    assert all(len(facts) == 1 for facts in by_station.values())


def test_a_lifetime_register_never_falls_from_session_to_session(fleet: list[SimulatedSession]) -> None:
    last: dict[tuple[str, str], float] = {}
    lifetime = 0
    for session in fleet:
        values = [float(r.value) for r in session.readings if r.measurand == REGISTER]
        if values and min(values) > 0:
            connector = (session.station_id, session.connector_id)
            assert min(values) >= last.get(connector, 0.0)
            last[connector] = max(values)
            lifetime += 1
    assert lifetime > 100


def test_registers_of_normal_sessions_never_fall(fleet: list[SimulatedSession]) -> None:
    for session in fleet:
        ordered = sorted((r for r in session.readings if r.measurand == REGISTER), key=lambda r: r.timestamp)
        assert all(float(a.value) <= float(b.value) for a, b in pairwise(ordered))


def test_ac_cars_stay_as_long_as_real_ones(fleet: list[SimulatedSession]) -> None:
    stays, idle = [], []
    for session in fleet:
        if session.kind == "ac":
            s = seen(session)
            stays.append((session.ended_at - session.started_at) / timedelta(hours=1))
            charging = [
                i for i in range(1, len(s.at)) if s.delivered(i - 1, i) / (s.at[i] - s.at[i - 1]) > 5e-5
            ]
            idle.append(charging != [] and stays[-1] - s.at[charging[-1]] / 3600 > 1)
    assert 3.2 < np.median(stays) < 4.6
    assert 0.35 < np.mean(np.array(stays) > 6) < 0.6
    assert 0.4 < np.mean(idle) < 0.6


def test_dc_sessions_take_about_25_minutes(fleet: list[SimulatedSession]) -> None:
    minutes = [(s.ended_at - s.started_at) / timedelta(minutes=1) for s in fleet if s.kind == "dc"]
    assert 20 < np.median(minutes) < 30


def test_the_taper_begins_where_it_was_measured(fleet: list[SimulatedSession]) -> None:
    begins = []
    for session in fleet:
        if session.kind == "dc" and not session.managed:
            s = seen(session)
            if s.soc and s.power and s.soc[0] < 50 and s.soc[-1] >= 85:
                plateau = np.percentile(s.power, 95)
                begins.append(max(soc for soc, p in zip(s.soc, s.power, strict=True) if p >= 0.95 * plateau))
    assert len(begins) > 80
    low, middle, high = np.percentile(begins, (25, 50, 75))
    assert 63 <= low <= 71
    assert 68 <= middle <= 76
    assert 75 <= high <= 84


def test_shares_are_those_asked_for(faulty: list[SimulatedSession]) -> None:
    assert len(faulty) > 300
    assert 0.24 < np.mean([bool(s.labels) for s in faulty]) < 0.36
    assert 0.33 < np.mean([s.near_miss is not None for s in faulty]) < 0.47
    assert not any(s.labels and s.near_miss for s in faulty)
    default = list(simulate_fleet(stations=20, days=5, seed=33))
    assert 0.015 < np.mean([bool(s.labels) for s in default]) < 0.05


def test_all_categories_and_many_mechanisms_occur(faulty: list[SimulatedSession]) -> None:
    labels = [label for s in faulty for label in s.labels]
    assert {label.category for label in labels} == set(FAULTS)
    assert len({label.mechanism for label in labels}) >= 0.8 * sum(map(len, FAULTS.values()))
    assert len({s.near_miss for s in faulty} - {None}) >= 0.7 * len(NEAR_MISSES)
    assert np.mean([label.visible for label in labels]) > 0.85


def test_no_managed_station_has_a_pit_or_breaks_off(faulty: list[SimulatedSession]) -> None:
    ambiguous = {Category.ENERGY_PIT, Category.CHARGING_EXPECTED}
    assert not any(s.managed and ambiguous & {label.category for label in s.labels} for s in faulty)


def test_empty_fleets_and_impossible_shares() -> None:
    assert list(simulate_fleet(stations=0, days=3, seed=1)) == []
    assert list(simulate_fleet(stations=3, days=0, seed=1)) == []
    with pytest.raises(ValueError, match="shares"):
        simulate_fleet(stations=1, days=1, seed=1, anomaly_share=0.8, near_miss_share=0.3)
    with pytest.raises(ValueError, match="negative"):
        simulate_fleet(stations=-1, days=1, seed=1)
