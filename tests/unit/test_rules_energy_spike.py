"""ENERGY_SPIKE, sentence by sentence (``docs/categories.md``)."""

import pytest

from tests.sessions import (
    CURRENT,
    POWER,
    REGISTER,
    Session,
    categories,
    charging,
    found,
    judge,
    minutes,
    notes,
)

CHARGED = charging((60, 11.0))
RATED = {"rated_kw": 11.0}


def registers(*values: float, every: float = 5.0) -> Session:
    """A session with nothing but these register values in kWh, five minutes apart."""
    return charging().readings([(i * every, v) for i, v in enumerate(values)], REGISTER, "kWh")


def powers(*kilowatts: float, every: float = 1.0, rated_kw: float | None = 11.0) -> Session:
    """A session with nothing but these power readings, a minute apart, and a register beside."""
    session = charging((len(kilowatts) * every, 11.0)).register(every_s=60)
    session = session.readings([(i * every, kw) for i, kw in enumerate(kilowatts)], POWER, "kW")
    return session.declare(rated_kw=rated_kw)


def jumped(by_kwh: float, at: float = 30.0, every_s: float = 60.0) -> Session:
    session = CHARGED.register(every_s=every_s, begin_kwh=5_000)
    return session.altered(REGISTER, lambda t, wh: wh if t < at else wh + by_kwh * 1000)


# ------------------------------------------------------------------------------------------- it is this


@pytest.mark.parametrize("every_s", [10, 60, 300, 900])
def test_a_jump_is_found_between_the_readings_that_show_it(every_s: int) -> None:
    session = jumped(50.0, every_s=every_s).declare(**RATED)
    assert found(session) == [("ENERGY_SPIKE", round(30 - every_s / 60, 6), 30.0, "critical")]


def test_the_evidence_names_the_readings_and_what_could_be_delivered() -> None:
    verdict = judge(jumped(50.0).declare(**RATED))
    evidence = {e.what: e for e in verdict.anomalies[0].evidence}
    assert evidence["register before the rise"].observed == pytest.approx(5_005.316)
    assert minutes(evidence["register before the rise"].timestamp) == 29.0
    rise = evidence["rise against what could be delivered"]
    assert (rise.observed, rise.expected) == (pytest.approx(50.184), pytest.approx(12.65 / 60, abs=1e-4))
    assert evidence["mean power of the rise"].expected == 12.65


def test_what_is_beyond_belief_is_disputed() -> None:
    verdict = judge(jumped(50.0).declare(**RATED))
    assert verdict.energy_kwh == pytest.approx(61.0)
    assert verdict.energy_disputed_kwh == pytest.approx(50.184 - 12.65 / 60)


@pytest.mark.parametrize(
    ("rise_kwh", "expected"), [(12.65 / 12 + 0.02, []), (12.65 / 12 + 0.022, ["ENERGY_SPIKE"])]
)
def test_the_limit_is_115_per_cent_of_the_rated_power_and_twice_the_tolerance(
    rise_kwh: float, expected: list[str]
) -> None:
    values = (10.001, 10.801, 11.601, 11.601 + round(rise_kwh, 3), 13.601)
    assert categories(registers(*values).declare(**RATED)) == expected


@pytest.mark.parametrize(("rise_kwh", "expected"), [(33.35, []), (33.36, ["ENERGY_SPIKE"])])
def test_without_a_rated_power_it_is_400_kw(rise_kwh: float, expected: list[str]) -> None:
    assert categories(registers(10.001, 11, 11 + rise_kwh, 12 + rise_kwh)) == expected


def test_two_jumps_are_two_anomalies_where_they_are_a_quarter_of_an_hour_apart() -> None:
    assert found(registers(10, 60.5, 61, 61.5, 62, 112.5, 113)) == [
        ("ENERGY_SPIKE", 0.0, 5.0, "critical"),
        ("ENERGY_SPIKE", 20.0, 25.0, "critical"),
    ]
    assert len(found(registers(10, 60.5, 61, 111.5, 112))) == 1


def test_a_power_reading_beyond_belief() -> None:
    assert found(powers(*[11.0] * 10, 1_000.0, *[11.0] * 10)) == [("ENERGY_SPIKE", 10.0, 10.0, "critical")]
    assert found(powers(0, 1_000.0, *[11.0] * 10)) == [("ENERGY_SPIKE", 1.0, 1.0, "critical")]
    readings = [11.0] * 10 + [401.0] + [11.0] * 10
    assert found(powers(*readings, rated_kw=None)) == [("ENERGY_SPIKE", 10.0, 10.0, "critical")]
    readings[10] = 400.0
    assert found(powers(*readings, rated_kw=None)) == []


def test_power_between_the_limit_and_twice_the_rated_power_in_the_middle_of_a_charge() -> None:
    assert found(powers(*[11.0] * 10, 15.0, *[11.0] * 10)) == [("ENERGY_SPIKE", 10.0, 10.0, "critical")]
    assert found(powers(*[11.0] * 10, 12.64, *[11.0] * 10)) == []


def test_energy_from_power_is_disputed_where_power_is_all_there_is() -> None:
    session = charging((20, 11.0)).power(every_s=60).declare(**RATED)
    session = session.altered(POWER, lambda at, w: 1_200_000.0 if at == 10 else w)
    verdict = judge(session)
    excess_kwh = 2 * ((1_200.0 + 11.0) / 2 - 12.65) / 60
    assert verdict.energy_disputed_kwh == pytest.approx(excess_kwh)
    assert judge(powers(*[11.0] * 10, 900.0, *[11.0] * 9)).energy_disputed_kwh == 0.0


# -------------------------------------------------------------------------------------- it is not this


def test_readings_delivered_late_in_bulk() -> None:
    session = CHARGED.register(every_s=60).declare(**RATED)
    late = Session(
        session.pieces, (*session.sent[:10], *session.sent[50:], *session.sent[10:50]), session.declared
    )
    assert categories(late) == []


def test_a_gap_in_the_readings() -> None:
    assert categories(CHARGED.register(every_s=60).without(10, 55).declare(**RATED)) == []


@pytest.mark.parametrize("readings", [(0, 20.0), (20.0,), (0, 4.0, 13.0, 22.0), (0, 0, 5.5, 22.0)])
def test_a_short_inrush_at_the_beginning(readings: tuple[float, ...]) -> None:
    session = powers(*readings, *[11.0] * 20, every=0.5)
    assert "ENERGY_SPIKE" not in categories(session)


def test_a_short_inrush_when_charging_resumes() -> None:
    assert "ENERGY_SPIKE" not in categories(powers(*[11.0] * 10, 0.0, 20.0, *[11.0] * 10))


@pytest.mark.parametrize("readings", [(0, 22.1), (0, 20.0, 20.0, 20.0), (5.6, 20.0)])
def test_what_is_too_high_too_long_or_does_not_begin_anything_is_no_inrush(
    readings: tuple[float, ...],
) -> None:
    assert "ENERGY_SPIKE" in categories(powers(*readings, *[11.0] * 20))


def test_while_the_level_after_an_inrush_is_not_known_nothing_is_said() -> None:
    assert categories(powers(0, 0, 20.0)) == []
    assert "ENERGY_SPIKE" in categories(powers(6.0, 6.0, 20.0, 11.0))


def test_the_climb_back_of_a_drop_out() -> None:
    session = CHARGED.register(every_s=60, begin_kwh=5_000).declare(**RATED)
    session = session.altered(REGISTER, lambda at, wh: 0.0 if 20 <= at < 25 else wh)
    assert categories(session) == ["KWH_DECREASE"]


def test_a_rise_that_falls_back_is_a_decrease() -> None:
    assert categories(registers(10.001, 11, 5_000, 12, 13)) == ["KWH_DECREASE"]


@pytest.mark.parametrize("factor", [1000.0, 0.001])
def test_a_switch_of_the_unit(factor: float) -> None:
    session = CHARGED.register(every_s=60, begin_kwh=50).declare(**RATED)
    session = session.altered(REGISTER, lambda at, wh: wh if at < 30 else wh * factor)
    assert categories(session) == []
    assert notes(session) == {"unit_switched": 1}


def test_a_coarse_register_moves_in_steps() -> None:
    session = charging((120, 11.0)).register(every_s=10, resolution_wh=1000, begin_kwh=4_711)
    assert categories(session.declare(**RATED)) == []
    few = charging((12, 11.0)).register(every_s=10, resolution_wh=1000, begin_kwh=4_711)
    assert categories(few.declare(**RATED)) == []


def test_a_register_that_is_refreshed_every_few_minutes() -> None:
    slow = [
        (i / 6, float(int(i / 18) * 18 * 11_000 // 360)) for i in range(360)
    ]  # every 3 min, sent every 10 s
    assert categories(charging().readings(slow, REGISTER, "Wh").declare(**RATED)) == []


@pytest.mark.parametrize("measurand", [POWER, CURRENT, None])
def test_a_register_that_stood_and_catches_up_with_measured_power(measurand: str | None) -> None:
    session = CHARGED.register(every_s=60).declare(**RATED)
    session = session.altered(REGISTER, lambda at, wh: wh if not 20 < at < 40 else 20 * 11_000 // 60)
    if measurand == POWER:
        session = session.power(every_s=60)
    elif measurand == CURRENT:
        session = session.readings([(t, 11_000 / 230) for t in CHARGED.times(60)], CURRENT, "A")
    if measurand is None:
        assert "ENERGY_SPIKE" in categories(session)
    else:
        assert categories(session) == ["METER_FROZEN"]
