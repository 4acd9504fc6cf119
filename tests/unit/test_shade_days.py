"""From sessions to local days: against a slow twin, over changes of clocks, with broken values."""

import math
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargewatch.shade.days import day_line, station_days
from chargewatch.shade.local_days import (
    date_of,
    day_number,
    holidays_between,
    local_seconds,
    weekday_of,
    zone_of,
)
from chargewatch.shade.sessions import Connector, Sessions, Station, repaired
from tests.reference import shade as twins

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/Los_Angeles",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
)
NAN = math.nan
INSTANTS = st.floats(1.2e9, 1.9e9)
ROWS = st.lists(
    st.tuples(
        st.integers(0, 2),
        INSTANTS,
        st.one_of(st.just(NAN), st.floats(0, 3e5)),
        st.one_of(st.just(NAN), st.just(0.0), st.just(0.05), st.floats(0.1, 90.0)),
        st.one_of(st.just(NAN), st.floats(1.0, 150.0)),
    ),
    min_size=1,
    max_size=30,
)
Row = tuple[int, float, float, float, float]


def table(rows: list[Row]) -> Sessions:
    station, start, length, energy, power = (np.array(column) for column in zip(*rows, strict=True))
    return repaired(
        Sessions(
            station.astype(np.int64),
            station.astype(np.int64),
            start,
            start + length,
            energy,
            power,
            np.full(len(rows), NAN),
            np.zeros(len(rows), np.bool_),
            tuple(Station(f"s{number}") for number in range(3)),
            tuple(Connector(number, "1") for number in range(3)),
        )
    )


@given(st.lists(INSTANTS, min_size=1, max_size=20), st.sampled_from(ZONES))
def test_local_days_are_those_of_the_calendar(instants: list[float], zone: str) -> None:
    local = local_seconds(np.array(instants), ZoneInfo(zone))
    assert (local // 86_400).tolist() == [twins.local_day(instant, zone) for instant in instants]


@given(ROWS, st.sampled_from(ZONES))
def test_station_days_are_those_of_their_twin(rows: list[Row], zone: str) -> None:
    sessions = table(rows)
    line = day_line(sessions, ZoneInfo(zone))
    first, last = int(line.day[0]), int(line.day[-1])
    near = line.day < first + 400
    last = int(line.day[near][-1])
    days = station_days(line, first, last)
    sums = twins.day_sums(sessions, zone)
    for (day, station), expected in sums.items():
        if day > last:
            continue
        row = day - first
        found = {
            "sessions": days.sessions[row, station],
            "zero": days.zero[row, station],
            "measured": days.measured[row, station],
            "actual": days.actual_kwh[row, station],
            "powered": days.powered[row, station],
            "log_power": days.log_power[row, station],
            "log_duration": days.log_duration[row, station],
        }
        for name, value in found.items():
            assert value == pytest.approx(expected[name], rel=1e-4, abs=1e-3), name
    assert days.sessions.sum() == sum(near)
    assert days.connector_sessions.sum() == days.sessions.sum()
    assert len(days.hour_of_sessions.hour) == days.sessions.sum()


def test_a_day_on_which_clocks_change_is_one_day_of_23_or_25_hours() -> None:
    zone = ZoneInfo("Europe/Berlin")
    hours = np.arange(49) * 3_600.0 + datetime(2025, 3, 29, 23, tzinfo=UTC).timestamp()
    days = local_seconds(hours, zone) // 86_400
    assert np.bincount(days - days[0]).tolist() == [23, 24, 2]
    hours = np.arange(50) * 3_600.0 + datetime(2025, 10, 25, 22, tzinfo=UTC).timestamp()
    days = local_seconds(hours, zone) // 86_400
    assert np.bincount(days - days[0]).tolist() == [25, 24, 1]


def test_a_session_counts_on_the_day_of_its_end_and_else_of_its_start() -> None:
    begin = datetime(2025, 6, 1, 23, tzinfo=UTC).timestamp()
    sessions = table([(0, begin, 7_200.0, 5.0, NAN), (0, begin, NAN, 6.0, NAN)])
    line = day_line(sessions, ZoneInfo("UTC"))
    days = station_days(line, int(line.day[0]), int(line.day[-1]))
    assert days.energy_kwh[:, 0].tolist() == [6.0, 5.0]
    assert days.last_second[:, 0].tolist() == [23 * 3_600, 3_600]


def test_impossible_values_are_unknown_and_never_zero() -> None:
    sessions = table([(0, 1.7e9, 3_600.0, 2_147_483.6, 11.0), (0, 1.7e9, 3_600.0, 7.0, 11.0)])
    late = sessions._replace(end_s=np.array([1.6e9, NAN]), start_s=np.array([1.7e9, NAN]))
    assert np.isnan(sessions.energy_kwh[0])
    assert not sessions.zero.any()
    fixed = repaired(late)
    assert fixed.size == 1  # no time at all: left out
    assert np.isnan(fixed.end_s[0])  # ended before it began
    below = repaired(sessions._replace(energy_kwh=np.array([-3.0, 7.0])))
    assert np.isnan(below.energy_kwh[0])
    assert not below.zero[0]


def test_weekdays_and_holidays() -> None:
    assert [weekday_of(day_number(date(2025, 12, 22 + i))) for i in range(7)] == list(range(7))
    first = day_number(date(2025, 12, 24))
    assert holidays_between("DE", first, first + 3).tolist() == [False, True, True, False]
    assert not holidays_between("", first, first + 3).any()
    assert not holidays_between("XX", first, first + 3).any()
    assert date_of(first) == date(2025, 12, 24)


def test_an_unknown_zone_is_named() -> None:
    with pytest.raises(ValueError, match="Mars/Olympus"):
        zone_of("Mars/Olympus")
    assert zone_of("").key == "UTC"
