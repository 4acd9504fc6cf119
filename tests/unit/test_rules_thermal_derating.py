"""THERMAL_DERATING, sentence by sentence (``docs/categories.md``)."""

from itertools import pairwise

import pytest

from tests.sessions import CURRENT, POWER_EXPORT, Session, charging, found, judge

HOT = ["THERMAL_DERATING"]
TEMPERATURE = "Temperature"


def heated(session: Session, *celsius: tuple[float, float], every: float = 1.0, **names: str) -> Session:
    """Temperatures between the given (minutes, degrees), every so many minutes."""
    at = 0.0
    while at <= session.length:
        for (start, cold), (end, warm) in pairwise(celsius):
            if start <= at <= end:
                value = cold + (warm - cold) * (at - start) / (end - start)
                session = session.reading(at, round(value, 2), TEMPERATURE, "Celsius", **names)
                break
        at += every
    return session


def derated(low: float = 0.5, level: float = 22.0, every_s: float = 60.0, lasts: float = 20.0) -> Session:
    """20 min at a level, then reduced, then back; power and register are sent."""
    pieces = ((20, level), (lasts, low * level), (20, level))
    return charging(*pieces).power(every_s=every_s).register(every_s=every_s)


def warming(session: Session, high: float = 65.0, **names: str) -> Session:
    """Hot when the power steps down after 20 min, cooler afterwards."""
    return heated(session, (0, 30), (20, high), (21, high), (session.length, high - 10), **names)


def categories(session: Session) -> list[str]:
    return [category for category, *_ in found(session)]


# ------------------------------------------------------------------------------------------ it is this


def test_from_the_first_to_the_last_reduced_reading() -> None:
    session = warming(derated())
    assert found(session) == [("THERMAL_DERATING", 21.0, 40.0, "warning")]
    (anomaly,) = judge(session).anomalies
    assert anomaly.concern == "driver"
    evidence = {e.what: (e.observed, e.expected) for e in anomaly.evidence}
    assert evidence == {
        "power before": (22.0, None),
        "power after": (11.0, 15.4),
        "temperature (Outlet)": (65.0, 60.0),
        "duration": (20.0, None),
    }


@pytest.mark.parametrize("every_s", [10, 30, 60, 300])
@pytest.mark.parametrize("level", [3.7, 22.0, 150.0])
def test_every_sampling_and_level(every_s: int, level: float) -> None:
    assert categories(warming(derated(level=level, every_s=every_s))) == HOT


def test_the_register_alone() -> None:
    assert categories(warming(charging((20, 22.0), (20, 11.0)).register(every_s=60))) == HOT


def test_to_the_end_of_the_readings_of_a_session_that_runs() -> None:
    session = charging((20, 22.0), (10, 11.0)).power(every_s=60).declare(over=False)
    assert found(warming(session)) == [("THERMAL_DERATING", 21.0, 30.0, "warning")]


@pytest.mark.parametrize(("low", "expected"), [(0.7, HOT), (0.71, [])])
def test_thirty_per_cent_or_more(low: float, expected: list[str]) -> None:
    assert categories(warming(derated(low))) == expected


@pytest.mark.parametrize(("high", "expected"), [(60.0, HOT), (59.9, [])])
def test_sixty_degrees(high: float, expected: list[str]) -> None:
    assert categories(warming(derated(), high)) == expected


@pytest.mark.parametrize(("earlier", "expected"), [(67.0, HOT), (67.1, [])])
def test_as_hot_as_it_had_ever_been(earlier: float, expected: list[str]) -> None:
    session = heated(derated(), (0, 40), (5, earlier), (20, 65), (21, 65), (60, 50))
    assert categories(session) == expected


@pytest.mark.parametrize("location", ["Outlet", "Cable", "Body"])
def test_places_of_the_station(location: str) -> None:
    session = warming(derated(), location=location)
    assert categories(session) == HOT
    assert f"temperature ({location})" in {e.what for e in judge(session).anomalies[0].evidence}


def test_each_place_by_itself() -> None:
    session = warming(derated(), location="Cable")
    assert categories(heated(session, (0, 80), (60, 20), location="Body")) == HOT


def test_an_intermediate_reading_within_five_minutes() -> None:
    pieces = ((20, 22.0), (1, 18.0), (19, 11.0))
    assert categories(warming(charging(*pieces).power(every_s=60))) == HOT
    slow = charging((21, 22.0), (3, 18.0), (30, 11.0)).power(every_s=180)
    assert categories(warming(slow)) == []


@pytest.mark.parametrize(("lasts", "expected"), [(1.0, []), (2.0, HOT)])
def test_two_readings_at_least(lasts: float, expected: list[str]) -> None:
    assert categories(warming(derated(lasts=lasts))) == expected


@pytest.mark.parametrize(("held", "expected"), [(0.85, HOT), (0.84, [])])
def test_the_reduced_level_is_held(held: float, expected: list[str]) -> None:
    session = charging((20, 22.0), (1, 12.0), (19, 12.0 * held)).power(every_s=60)
    assert categories(warming(session)) == expected


@pytest.mark.parametrize(("temperature_at", "expected"), [(6, HOT), (5, []), (26, HOT), (27, [])])
def test_a_temperature_that_is_near_enough(temperature_at: float, expected: list[str]) -> None:
    """The first reduced reading is at minute 21: 15 minutes before and 5 after it."""
    session = derated().reading(temperature_at, 65.0, TEMPERATURE, "Celsius")
    assert categories(session) == expected


def test_a_stop_that_the_heat_explains_is_no_pit() -> None:
    pit = derated(0.1)
    assert categories(pit) == ["ENERGY_PIT"]
    assert categories(warming(pit)) == HOT


# -------------------------------------------------------------------------------------- it is not this


@pytest.mark.parametrize("location", ["EV", "Inlet", "Upstream", "Elsewhere"])
def test_other_places(location: str) -> None:
    assert categories(warming(derated(), location=location)) == []


def test_the_end_of_charging() -> None:
    assert categories(warming(charging((20, 22.0), (20, 0.0)).power(every_s=60).soc((0, 50), (40, 85)))) == []
    assert (
        categories(
            warming(charging((20, 22.0), (1, 10.0), (20, 0.0)).power(every_s=60).soc((0, 50), (41, 85)))
        )
        == []
    )


@pytest.mark.parametrize("ratio", [0.95, 0.9, 0.84, 0.8, 0.7])
@pytest.mark.parametrize("every_s", [60, 300])
def test_a_taper(ratio: float, every_s: int) -> None:
    minutes = every_s / 60.0
    taper = tuple((minutes, 100.0 * ratio**i) for i in range(1, 12))
    session = charging((20, 100.0), *taper).power(every_s=every_s)
    assert categories(heated(session, (0, 40), (session.length, 70))) == []


@pytest.mark.parametrize(("soc", "expected"), [(89, HOT), (90, [])])
def test_a_battery_that_is_nearly_full(soc: float, expected: list[str]) -> None:
    assert categories(warming(derated()).soc((0, soc), (60, soc))) == expected


@pytest.mark.parametrize(
    ("soc", "every_s", "expected"), [(69, 300, HOT), (70, 300, []), (70, 120, HOT), (70, 30, HOT)]
)
def test_a_taper_on_dc_above_70(soc: float, every_s: int, expected: list[str]) -> None:
    session = derated(level=100.0, every_s=every_s).soc((0, soc), (60, soc))
    assert categories(warming(session)) == expected


def test_above_70_on_ac() -> None:
    assert categories(warming(derated(every_s=300)).soc((0, 75), (60, 80))) == HOT


def test_the_offer_falls_too() -> None:
    session = warming(derated())
    assert categories(session.offer((20, 22.0), (20, 11.0), (20, 22.0))) == []
    assert categories(session.offer((60, 22.0))) == HOT


def test_managed() -> None:
    session = warming(derated()).declare(managed=True)
    assert categories(session) == []
    assert categories(session.offer((60, 22.0))) == HOT


def test_export() -> None:
    assert categories(warming(derated()).readings([(30, 5_000)], POWER_EXPORT)) == []


def test_fewer_phases() -> None:
    session = warming(derated())
    for at in range(61):
        for i in range(3):
            carries = 16.0 if i == 0 or not 20 < at <= 40 else 0.0
            session = session.reading(at, carries, CURRENT, "A", phase=f"L{i + 1}")
    assert "THERMAL_DERATING" not in categories(session)


def test_below_a_kilowatt() -> None:
    assert categories(warming(derated(level=0.99))) == []


@pytest.mark.parametrize("every_s", [300, 600, 900])
def test_a_station_that_has_cooled_when_the_first_reduced_reading_is_taken(every_s: int) -> None:
    """It stepped down between two readings, at the temperature of the first of them."""
    minutes = every_s / 60.0
    pieces = ((4 * minutes, 22.0), (6 * minutes, 11.0))
    session = charging(*pieces).power(every_s=every_s).register(every_s=every_s)
    high = 4 * minutes
    cooled = heated(session, (0, 30), (high, 80), (high + minutes, 74), (session.length, 70), every=minutes)
    assert categories(cooled) == HOT
    long_before = heated(
        session, (0, 80), (high - minutes, 80), (high, 74), (session.length, 70), every=minutes
    )
    assert categories(long_before) == []
