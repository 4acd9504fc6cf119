"""CHARGING_EXPECTED, sentence by sentence (``docs/categories.md``)."""

import pytest

from tests.sessions import (
    POWER,
    POWER_EXPORT,
    POWER_OFFERED,
    REGISTER,
    Session,
    categories,
    charging,
    found,
    judge,
    minutes,
)

EXPECTED = ["CHARGING_EXPECTED"]


def stops(idle: float = 40.0, charge: float = 30.0, kw: float = 11.0, *after: tuple[float, float]) -> Session:
    """Charging that breaks off; nothing sent yet."""
    return charging((charge, kw), (idle, 0.0), *after)


def low_soc(session: Session, soc: float = 50.0) -> Session:
    """Sends a state of charge that stays where it is once charging ended."""
    return session.soc((0, soc - 10), (session.pieces[0][0], soc), (session.length, soc))


def little(kwh: float, idle: float = 40.0) -> Session:
    """Delivers so much at 6 kW, then nothing; power every 30 s."""
    return charging((kwh * 10, 6.0), (idle, 0.0)).power(every_s=30)


# ------------------------------------------------------------------------------------------ it is this


def test_a_battery_far_from_full_gets_nothing_to_the_end() -> None:
    session = low_soc(stops(45).power(every_s=60))
    assert found(session) == [("CHARGING_EXPECTED", 31.0, 75.0, "warning")]
    (anomaly,) = judge(session).anomalies
    assert anomaly.concern == "driver"
    assert (anomaly.bucket_range.start_unit, anomaly.bucket_range.end_unit) == (2, 5)
    evidence = {e.what: e for e in anomaly.evidence}
    idle = evidence["time without energy (state of charge)"]
    assert (idle.observed, idle.expected) == (44.5, 30.0)
    assert minutes(idle.timestamp) == 31.0
    assert evidence["energy delivered before"].observed == pytest.approx(5.5, abs=0.1)
    assert (evidence["power before"].observed, minutes(evidence["power before"].timestamp)) == (11.0, 30.0)
    assert (evidence["state of charge"].observed, evidence["state of charge"].expected) == (50.0, 80.0)


@pytest.mark.parametrize("unit", ["W", "kW"])
@pytest.mark.parametrize("every_s", [10, 60, 300])
def test_measured_power_at_every_sampling_and_unit(every_s: int, unit: str) -> None:
    session = low_soc(stops().power(every_s=every_s, unit=unit))
    assert found(session) == [("CHARGING_EXPECTED", round(30 + every_s / 60, 6), 70.0, "warning")]


@pytest.mark.parametrize("unit", ["Wh", "kWh"])
@pytest.mark.parametrize("every_s", [10, 60, 300, 900])
def test_a_register_alone_at_every_sampling_and_unit(every_s: int, unit: str) -> None:
    session = low_soc(stops(60).register(every_s=every_s, unit=unit, begin_kwh=3_000))
    assert found(session) == [("CHARGING_EXPECTED", 30.0, 90.0, "warning")]


def test_interval_energies_alone() -> None:
    session = low_soc(stops(60).intervals(every_s=900))
    assert found(session) == [("CHARGING_EXPECTED", 30.0, 90.0, "warning")]


@pytest.mark.parametrize(("wh", "expected"), [(99, []), (100, EXPECTED), (101, EXPECTED)])
def test_the_session_delivered_100_wh_or_more(wh: int, expected: list[str]) -> None:
    pairs = [(0, 0), *((i, wh) for i in range(1, 62))]
    session = charging().readings(pairs, REGISTER, "Wh").soc((0, 40), (61, 40))
    assert categories(session) == expected


def test_a_delivery_that_only_the_register_shows() -> None:
    """The car charged between two power readings of 0; the register tells."""
    session = charging((5, 0.0), (5, 6.0), (65, 0.0)).register(every_s=900)
    session = session.power(times=[0, 15, 30, 45, 60, 75])
    session = session.soc((0, 30), (15, 31), (75, 31))
    assert found(session) == [("CHARGING_EXPECTED", 15.0, 75.0, "warning")]


@pytest.mark.parametrize(("idle", "expected"), [(29, []), (30, EXPECTED), (31, EXPECTED)])
def test_at_least_30_minutes_to_the_end(idle: float, expected: list[str]) -> None:
    assert categories(low_soc(stops(idle).register(every_s=60))) == expected


@pytest.mark.parametrize(("idle", "expected"), [(119, []), (120, []), (121, EXPECTED), (180, EXPECTED)])
def test_more_than_2_hours_until_it_resumes(idle: float, expected: list[str]) -> None:
    session = low_soc(stops(idle, 30, 11.0, (30, 11.0)).register(every_s=60), 50)
    assert [c for c in categories(session) if c != "ENERGY_PIT"] == expected
    if expected:
        assert found(session) == [("CHARGING_EXPECTED", 30.0, 30.0 + idle, "warning")]


@pytest.mark.parametrize(("kw", "expected"), [(0.29, EXPECTED), (0.3, EXPECTED), (0.31, [])])
def test_without_energy_means_at_most_300_w(kw: float, expected: list[str]) -> None:
    session = charging((30, 11.0), (40, kw)).power(every_s=60)
    assert categories(low_soc(session)) == expected


# ------------------------------------------------------------------------------- a vehicle that should charge


@pytest.mark.parametrize(("soc", "expected"), [(79.0, EXPECTED), (79.9, EXPECTED), (80.0, []), (90.0, [])])
def test_soc_known_and_below_80_percent(soc: float, expected: list[str]) -> None:
    assert categories(low_soc(stops().power(every_s=60), soc)) == expected


def test_the_soc_at_the_end_of_the_run_counts() -> None:
    session = stops().power(every_s=60)
    assert categories(session.soc((0, 70), (30, 78.5), (70, 80))) == []
    assert categories(session.soc((0, 79), (30, 85), (70, 79))) == EXPECTED


@pytest.mark.parametrize(("target", "expected"), [(51, EXPECTED), (50, []), (40, [])])
def test_a_target_that_is_reached(target: float, expected: list[str]) -> None:
    session = low_soc(stops().power(every_s=60), 50)
    assert categories(session.reading(0, target, "Display.TargetSOC", "Percent")) == expected


@pytest.mark.parametrize(("kwh", "expected"), [(2.9, EXPECTED), (3.0, []), (3.1, [])])
def test_without_soc_less_than_3_kwh_and_an_offer_unused(kwh: float, expected: list[str]) -> None:
    session = charging((kwh * 10, 6.0), (40, 0.0)).register(every_s=30)
    assert categories(session.offer((kwh * 10 + 40, 11.0), every_s=30)) == expected


@pytest.mark.parametrize(("offer_kw", "expected"), [(1.39, []), (1.4, EXPECTED), (1.41, EXPECTED)])
def test_every_offer_is_at_least_1400_w(offer_kw: float, expected: list[str]) -> None:
    session = little(2.0)
    assert categories(session.offer((20, 11.0), (20, offer_kw), (20, 11.0), every_s=30)) == expected


def test_the_offer_before_counts_where_none_is_sent_during_the_run() -> None:
    assert categories(little(2.0).readings([(0, 11_000)], POWER_OFFERED, "W")) == EXPECTED
    assert categories(little(2.0)) == []


@pytest.mark.parametrize(("last_kw", "expected"), [(2.9, []), (3.0, EXPECTED), (3.1, EXPECTED)])
def test_delivery_broke_off_from_at_least_half_of_the_peak(last_kw: float, expected: list[str]) -> None:
    session = charging((12, 6.0), (5, last_kw), (40, 0.0)).power(every_s=60)
    assert categories(session.offer((57, 11.0))) == expected


def test_the_registers_last_step_may_hold_only_a_part() -> None:
    session = charging((16, 6.0), (44, 0.0)).register(every_s=300)
    assert categories(session.offer((60, 11.0), every_s=300)) == EXPECTED


@pytest.mark.parametrize(("kwh", "expected"), [(0.45, EXPECTED), (0.55, [])])
def test_less_than_half_a_kwh_and_then_nothing(kwh: float, expected: list[str]) -> None:
    assert categories(little(kwh, 90)) == expected


@pytest.mark.parametrize(("idle", "expected"), [(59, []), (60, EXPECTED), (61, EXPECTED)])
def test_nothing_for_60_minutes(idle: float, expected: list[str]) -> None:
    session = charging((4, 6.0), (idle, 0.0)).register(every_s=60)
    assert categories(session) == expected


# ------------------------------------------------------------------------------------------- the offer


def test_an_offer_that_is_withdrawn() -> None:
    session = low_soc(stops(90).power(every_s=60))
    assert categories(session.offer((30, 11.0), (90, 0.0))) == []
    assert categories(session.offer((30, 11.0), (90, 0.99))) == []
    assert categories(session.offer((30, 11.0), (90, 1.0))) == EXPECTED


def test_only_the_longest_part_with_an_offer_counts() -> None:
    session = low_soc(stops(90).power(every_s=60))
    offered = session.offer((30, 11.0), (20, 0.0), (40, 11.0), (30, 0.0))
    assert found(offered) == [("CHARGING_EXPECTED", 51.0, 91.0, "warning")]
    assert categories(session.offer((30, 11.0), (35, 0.0), (25, 11.0), (30, 0.0))) == []


def test_the_part_with_an_offer_must_itself_last_where_delivery_resumes() -> None:
    session = low_soc(stops(200, 30, 11.0, (30, 11.0)).power(every_s=60))
    assert categories(session.offer((30, 11.0), (70, 0.0), (130, 11.0), (30, 11.0))) == EXPECTED
    assert categories(session.offer((30, 11.0), (90, 0.0), (110, 11.0), (30, 11.0))) == []


def test_an_unused_offer_must_stand_when_charging_breaks_off() -> None:
    session = little(2.0, 80)
    assert categories(session.offer((20, 11.0), (20, 0.0), (60, 11.0), every_s=30)) == []
    assert categories(session.offer((60, 11.0), (40, 0.0), every_s=30)) == EXPECTED


def test_an_offer_sent_on_change_stands_until_it_is_withdrawn() -> None:
    session = little(2.0, 80)
    assert found(session.readings([(0, 11_000), (70, 0)], POWER_OFFERED, "W")) == [
        ("CHARGING_EXPECTED", 20.5, 70.0, "warning")
    ]
    assert categories(session.readings([(0, 11_000), (20.2, 0), (95, 11_000)], POWER_OFFERED, "W")) == []


# -------------------------------------------------------------------------------------- it is not this


def test_the_register_goes_on() -> None:
    session = low_soc(stops(60).power(every_s=60))
    going_on = charging((30, 11.0), (60, 0.35)).register(every_s=60)
    assert categories(Session(session.pieces, (*session.sent, *going_on.sent))) == []
    standby = charging((30, 11.0), (60, 0.25)).register(every_s=60)
    assert categories(Session(session.pieces, (*session.sent, *standby.sent))) == EXPECTED


def test_standby_moves_a_coarse_register_now_and_then() -> None:
    session = charging((60, 11.0), (300, 0.05)).register(every_s=60, resolution_wh=100)
    assert found(low_soc(session))[0][0] == "CHARGING_EXPECTED"


def test_export() -> None:
    session = low_soc(stops(60).power(every_s=60))
    assert categories(session.readings([(at, 5_000) for at in range(31, 91)], POWER_EXPORT, "W")) == []


@pytest.mark.parametrize(("rise", "expected"), [(1.9, EXPECTED), (2.0, [])])
def test_soc_that_rises_during_the_run(rise: float, expected: list[str]) -> None:
    session = stops().power(every_s=60)
    assert categories(session.soc((0, 40), (31, 50), (70, 50 + rise))) == expected


def test_managed_without_offers() -> None:
    session = low_soc(stops().power(every_s=60))
    assert categories(session.declare(managed=True)) == []
    assert categories(session.offer((70, 11.0)).declare(managed=True)) == EXPECTED


def test_a_car_that_stops_at_its_own_limit() -> None:
    assert categories(stops(300).power(every_s=60).offer((330, 11.0))) == []


def test_a_scheduled_start() -> None:
    session = charging((180, 0.0), (60, 11.0)).power(every_s=60)
    assert categories(session.soc((0, 40), (240, 60))) == []


@pytest.mark.parametrize(("last_kw", "expected"), [(1.6, []), (1.7, EXPECTED)])
def test_a_taper_that_ends_below_15_percent_of_the_peak(last_kw: float, expected: list[str]) -> None:
    session = charging((60, 11.0), (1, last_kw), (40, 0.0)).power(every_s=60)
    assert categories(low_soc(session)) == expected


def test_a_taper_in_steps() -> None:
    falling = charging((60, 11.0), (2, 8.0), (2, 6.0), (2, 3.8), (40, 0.0)).power(every_s=60)
    assert categories(low_soc(falling)) == []
    high = charging((60, 11.0), (2, 8.0), (2, 6.0), (2, 3.9), (40, 0.0)).power(every_s=60)
    assert categories(low_soc(high)) == EXPECTED
    short = charging((60, 11.0), (0.5, 6.0), (0.5, 3.0), (40, 0.0)).power(every_s=30)
    assert categories(low_soc(short)) == EXPECTED


def test_one_odd_step_makes_no_taper() -> None:
    """A register read a little late shows one high step; what follows is no descent."""
    pairs = [(i, 60 * i + (20 if i > 6 else 0)) for i in range(13)]
    session = charging().readings([*pairs, *((i, pairs[-1][1] + 20) for i in range(13, 80))], REGISTER, "Wh")
    assert categories(session.soc((0, 40), (40, 41), (79, 41))) == EXPECTED


def test_missing_readings_at_the_end() -> None:
    session = stops(2).power(every_s=60).soc((0, 40), (32, 50), (300, 50))
    assert categories(session) == []


def test_zero_session_excludes_it() -> None:
    session = charging((10, 0.35), (120, 0.0)).register(every_s=60).soc((0, 40), (130, 40))
    assert categories(session) == ["ZERO_SESSION"]


@pytest.mark.parametrize(("low_for", "expected"), [(12.5, []), (15, EXPECTED)])
def test_a_taper_is_looked_for_in_the_last_15_minutes(low_for: float, expected: list[str]) -> None:
    """What fell longer ago and stayed is a lower level, not a taper."""
    session = charging((60, 11.0), (low_for, 3.5), (40, 0.0)).power(every_s=30)
    assert categories(low_soc(session)) == expected


@pytest.mark.parametrize(
    ("before", "expected"), [((11.0, 6.0, 3.0), []), ((11.0, 3.0, 3.0, 3.0, 3.0), EXPECTED)]
)
def test_a_taper_is_looked_for_in_the_last_four_steps_at_least(
    before: tuple[float, ...], expected: list[str]
) -> None:
    powers = [11.0, 11.0, 11.0, *before, 0.0, 0.0, 0.0]
    session = charging().readings([(20 * i, kw) for i, kw in enumerate(powers)], POWER, "kW")
    assert categories(session.soc((0, 40), (20 * len(powers), 50))) == expected


@pytest.mark.parametrize(("every_s", "expected"), [(50, EXPECTED), (60, []), (70, [])])
def test_a_taper_lasts_at_least_2_minutes(every_s: float, expected: list[str]) -> None:
    """Two steps below the level, of one interval each."""
    powers = [*[11.0] * 30, 6.0, 3.0, *[0.0] * 60]
    session = charging().readings([(every_s / 60 * i, kw) for i, kw in enumerate(powers)], POWER, "kW")
    assert categories(session.soc((0, 40), (100, 50))) == expected


@pytest.mark.parametrize(("wh", "expected"), [(499, EXPECTED), (500, []), (501, [])])
def test_exactly_half_a_kwh_is_no_early_end(wh: float, expected: list[str]) -> None:
    pairs = [(i, wh * min(i, 5) / 5) for i in range(80)]
    assert categories(charging().readings(pairs, REGISTER, "Wh")) == expected


def test_an_offer_that_is_first_sent_during_the_run() -> None:
    session = low_soc(stops(90).power(every_s=60))
    assert categories(session.readings([(65, 0), (95, 11_000)], POWER_OFFERED, "W")) == []
    assert categories(session.readings([(50, 11_000)], POWER_OFFERED, "W")) == EXPECTED


def test_without_a_step_before_the_last_one_nothing_is_partial() -> None:
    """The only step before the run is the highest one: delivery broke off from it."""
    session = charging().readings([(0, 0), (15, 2_000), (30, 2_000), (45, 2_000)], REGISTER, "Wh")
    assert categories(session.readings([(0, 11_000)], POWER_OFFERED, "W")) == EXPECTED
