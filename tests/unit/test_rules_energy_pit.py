"""ENERGY_PIT, sentence by sentence (``docs/categories.md``)."""

from dataclasses import replace

import pytest

from tests.sessions import (
    CURRENT,
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
    us,
)

PIT = ["ENERGY_PIT"]


def pit(
    low_kw: float = 0.0,
    lasts: float = 10.0,
    before_kw: float = 11.0,
    after_kw: float = 11.0,
    side: float = 30.0,
) -> Session:
    """Charging, a collapse, charging again; nothing sent yet."""
    return charging((side, before_kw), (lasts, low_kw), (side, after_kw))


def phases(session: Session, before: int, after: int) -> Session:
    """Sends the current of three phases every minute, of which some carry it."""
    for at in session.times(60):
        carrying = before if at <= 35 else after
        for phase in (1, 2, 3):
            amperes = 16.0 if phase <= carrying and session.kw_at(at) > 0 else 0.0
            session = session.reading(at, amperes, CURRENT, "A", phase=f"L{phase}")
    return session


# ------------------------------------------------------------------------------------------ it is this


def test_a_collapse_shows_from_its_first_to_its_last_low_reading() -> None:
    session = pit().power(every_s=60).register(every_s=60)
    assert found(session) == [("ENERGY_PIT", 31.0, 40.0, "warning")]
    (anomaly,) = judge(session).anomalies
    assert anomaly.concern == "driver"
    assert (anomaly.bucket_range.start_unit, anomaly.bucket_range.end_unit) == (2, 2)
    evidence = {e.what: e for e in anomaly.evidence}
    assert evidence["power before"].observed == 11.0
    assert minutes(evidence["power before"].timestamp) == 30.0
    assert (evidence["highest power in the pit"].observed, evidence["highest power in the pit"].expected) == (
        0.0,
        2.75,
    )
    assert (evidence["power after"].observed, minutes(evidence["power after"].timestamp)) == (11.0, 41.0)
    assert (evidence["duration"].observed, evidence["duration"].expected) == (10.0, 3.0)


@pytest.mark.parametrize("unit", ["W", "kW"])
@pytest.mark.parametrize("every_s", [10, 30, 60, 300])
def test_measured_power_at_every_sampling_and_unit(every_s: int, unit: str) -> None:
    session = pit().power(every_s=every_s, unit=unit)
    assert found(session) == [("ENERGY_PIT", round(30 + every_s / 60, 6), 40.0, "warning")]


@pytest.mark.parametrize("unit", ["Wh", "kWh"])
@pytest.mark.parametrize(("every_s", "lasts"), [(10, 10), (60, 10), (300, 10), (900, 45)])
def test_a_register_alone_at_every_sampling_and_unit(every_s: int, lasts: float, unit: str) -> None:
    session = pit(lasts=lasts, side=60).register(every_s=every_s, unit=unit)
    assert found(session) == [("ENERGY_PIT", 60.0, 60.0 + lasts, "warning")]


def test_interval_energies_alone() -> None:
    session = pit(lasts=45, side=60).intervals(every_s=900)
    assert found(session) == [("ENERGY_PIT", 60.0, 105.0, "warning")]


def test_current_times_voltage_alone() -> None:
    session = pit()
    for at in session.times(60):
        for phase in ("L1", "L2", "L3"):
            session = session.reading(at, session.kw_at(at) * 1000 / 690, CURRENT, "A", phase=phase)
            session = session.reading(at, 230.0, "Voltage", "V", phase=phase)
    assert found(session) == [("ENERGY_PIT", 31.0, 40.0, "warning")]


@pytest.mark.parametrize(("low_kw", "expected"), [(2.74, PIT), (2.75, PIT), (2.76, [])])
def test_at_most_25_percent_of_the_level_before_and_after(low_kw: float, expected: list[str]) -> None:
    assert categories(pit(low_kw).power(every_s=60)) == expected
    assert categories(pit(low_kw, after_kw=20.0).power(every_s=60)) == expected
    assert categories(pit(low_kw, before_kw=20.0).power(every_s=60)) == expected


@pytest.mark.parametrize(("level_kw", "expected"), [(0.99, []), (1.0, PIT), (1.01, PIT)])
def test_each_level_is_at_least_1_kw(level_kw: float, expected: list[str]) -> None:
    assert categories(pit(before_kw=level_kw, after_kw=2.0).power(every_s=60)) == expected
    assert categories(pit(before_kw=1.5, after_kw=level_kw).power(every_s=60)) == expected


@pytest.mark.parametrize(("after_kw", "expected"), [(5.49, []), (5.5, PIT), (5.51, PIT)])
def test_the_level_after_is_at_least_50_percent_of_the_one_before(
    after_kw: float, expected: list[str]
) -> None:
    assert categories(pit(after_kw=after_kw).power(every_s=60)) == expected


@pytest.mark.parametrize(("lasts", "expected"), [(2.0, []), (3.0, PIT), (4.0, PIT)])
def test_at_least_3_minutes(lasts: float, expected: list[str]) -> None:
    assert categories(pit(lasts=lasts).power(every_s=60)) == expected
    assert categories(pit(lasts=lasts).register(every_s=60)) == expected


@pytest.mark.parametrize(("lasts", "expected"), [(119.0, PIT), (120.0, PIT), (121.0, [])])
def test_at_most_2_hours(lasts: float, expected: list[str]) -> None:
    assert categories(pit(lasts=lasts).power(every_s=60)) == expected
    assert categories(pit(lasts=lasts).register(every_s=60)) == expected


@pytest.mark.parametrize(("readings", "expected"), [(5, []), (6, PIT)])
def test_at_least_6_readings_of_the_flows_source(readings: int, expected: list[str]) -> None:
    powers = [(0, 11_000), (5, 11_000), (10, 0), (15, 11_000), (20, 11_000), (25, 11_000)][:readings]
    assert categories(charging().readings(powers, POWER, "W")) == expected


def test_the_register_readings_do_not_count_where_power_is_the_source() -> None:
    powers = [(0, 11_000), (5, 11_000), (10, 0), (15, 11_000), (20, 11_000)]
    session = charging((25, 11.0)).readings(powers, POWER, "W").register(every_s=150)
    assert categories(session) == []


def test_the_level_before_is_that_of_the_last_20_minutes() -> None:
    session = charging((30, 50.0), (25, 5.0), (10, 0.0), (30, 5.0)).power(every_s=60)
    assert found(session) == []  # without SoC this may be a battery that is nearly full
    assert found(session.soc((0, 40)))[-1] == ("ENERGY_PIT", 56.0, 65.0, "warning")


def test_a_low_step_before_ends_the_level_before() -> None:
    session = charging((30, 11.0), (2, 0.0), (6, 11.0), (10, 0.0), (30, 11.0)).power(every_s=60)
    assert found(session) == [("ENERGY_PIT", 39.0, 48.0, "warning")]


def test_a_reading_on_the_edge_of_the_collapse_makes_no_level() -> None:
    session = charging((30, 11.0), (15, 5.0), (60, 0.3), (15, 4.0), (30, 11.0)).register(every_s=900)
    assert found(session) == [("ENERGY_PIT", 45.0, 105.0, "warning")]


def test_two_pits_less_than_15_minutes_apart_are_one() -> None:
    near = charging((30, 11.0), (5, 0.0), (13, 11.0), (5, 0.0), (30, 11.0)).power(every_s=60)
    assert found(near) == [("ENERGY_PIT", 31.0, 53.0, "warning")]
    far = charging((30, 11.0), (5, 0.0), (14, 11.0), (5, 0.0), (30, 11.0)).power(every_s=60)
    assert found(far) == [("ENERGY_PIT", 31.0, 35.0, "warning"), ("ENERGY_PIT", 50.0, 54.0, "warning")]


def test_the_run_is_cut_to_what_is_low_against_the_level_after_too() -> None:
    """2 kW is low against 11 kW, but not against the 6 kW that follow."""
    session = charging((30, 11.0), (5, 2.0), (10, 0.0), (5, 2.0), (30, 6.0)).power(every_s=60)
    assert found(session) == [("ENERGY_PIT", 36.0, 45.0, "warning")]


def test_a_step_down_may_hold_a_pit_of_its_own() -> None:
    """11 kW fall to 2.5 kW and stay there; the pit is in the 2.5 kW."""
    session = charging((30, 11.0), (40, 2.5), (10, 0.0), (40, 2.5)).power(every_s=60).soc((0, 40), (120, 60))
    assert found(session) == [("ENERGY_PIT", 71.0, 80.0, "warning")]


def test_a_single_reading_stands_for_the_time_to_its_neighbours() -> None:
    session = charging((30, 11.0), (5, 0.0), (30, 11.0)).power(every_s=300)
    assert found(session) == [("ENERGY_PIT", 35.0, 35.0, "warning")]


# -------------------------------------------------------------------------------------- it is not this


def test_managed_is_declared() -> None:
    assert categories(pit().power(every_s=60).declare(managed=True)) == []


@pytest.mark.parametrize(("share", "expected"), [(0.74, []), (0.75, []), (0.76, PIT)])
def test_the_offer_falls_by_25_percent_or_more_too(share: float, expected: list[str]) -> None:
    offered = pit().power(every_s=60).offer((30, 11.0), (10, 11.0 * share), (30, 11.0))
    assert categories(offered) == expected


@pytest.mark.parametrize(("minutes_lowered", "expected"), [(4, PIT), (5, []), (6, [])])
def test_the_offer_is_lower_for_at_least_half_of_its_readings(
    minutes_lowered: int, expected: list[str]
) -> None:
    session = pit().power(every_s=60)
    assert (
        categories(session.offer((30, 11.0), (minutes_lowered, 0.0), (40 - minutes_lowered, 11.0)))
        == expected
    )


def test_an_offer_that_is_sent_only_when_it_changes() -> None:
    session = pit().power(every_s=60)
    lowered = session.readings([(0, 11_000), (30.5, 0), (40.5, 11_000)], POWER_OFFERED, "W")
    assert categories(lowered) == []
    assert categories(session.readings([(0, 11_000)], POWER_OFFERED, "W")) == PIT


def test_the_current_on_offer_counts_too() -> None:
    session = pit().power(every_s=60)
    for at in session.times(60):
        session = session.reading(at, 16.0 if session.kw_at(at) > 0 else 0.0, "Current.Offered", "A")
    assert categories(session) == []


@pytest.mark.parametrize(("before", "after", "expected"), [(3, 1, []), (1, 3, []), (3, 3, PIT), (1, 1, PIT)])
def test_another_number_of_phases_before_and_after(before: int, after: int, expected: list[str]) -> None:
    assert categories(phases(pit(after_kw=8.0).power(every_s=60), before, after)) == expected


def test_a_station_that_switches_to_and_fro() -> None:
    """On three phases for most of the 20 minutes before, on one right before."""
    session = pit(after_kw=8.0).power(every_s=60)
    for at in session.times(60):
        carrying = 0 if at == 26 else 1 if 26 < at <= 35 else 3
        for phase in (1, 2, 3):
            amperes = 16.0 if phase <= carrying and session.kw_at(at) > 0 else 0.0
            session = session.reading(at, amperes, CURRENT, "A", phase=f"L{phase}")
    assert categories(session) == []


@pytest.mark.parametrize(("soc", "expected"), [(94.0, PIT), (95.0, []), (99.0, [])])
def test_soc_95_percent_or_more(soc: float, expected: list[str]) -> None:
    session = pit().power(every_s=60)
    assert categories(session.soc((0, 40), (25, soc))) == expected
    assert categories(session.soc((50, soc))) == expected  # unknown at the pit: the first one counts


@pytest.mark.parametrize("soc", [0.0, 65535.0, 255.0])
def test_placeholders_are_no_soc(soc: float) -> None:
    assert categories(pit().power(every_s=60).soc((0, soc), (25, soc))) == PIT


@pytest.mark.parametrize(("export_kw", "expected"), [(0.099, PIT), (0.1, []), (7.0, [])])
def test_export_during_the_pit(export_kw: float, expected: list[str]) -> None:
    session = pit().power(every_s=60)
    exported = session.readings([(at, export_kw * 1000) for at in range(31, 41)], POWER_EXPORT, "W")
    assert categories(exported) == expected
    negative = session.altered(POWER, lambda at, w: -export_kw * 1000 if w == 0 else w)
    assert categories(negative) == expected


def test_export_before_the_pit_excuses_nothing() -> None:
    session = pit().power(every_s=60)
    assert categories(session.readings([(at, 5_000) for at in range(5)], POWER_EXPORT, "W")) == PIT


def test_an_export_register_that_rises() -> None:
    session = pit().register(every_s=60)
    exported = [(at, 700.0 + 100 * max(0, min(at - 30, 10))) for at in range(70)]
    assert categories(session.readings(exported, "Energy.Active.Export.Register", "Wh")) == []


def test_steps_down_to_a_lower_steady_level() -> None:
    assert categories(charging((30, 11.0), (30, 2.0), (60, 2.0)).power(every_s=60)) == []
    assert categories(charging((30, 11.0), (10, 5.0), (10, 2.0), (60, 2.0)).power(every_s=60)) == []


def test_the_tail_of_a_taper_without_soc() -> None:
    tail = charging((60, 11.0), (20, 6.0), (20, 3.2), (10, 0.0), (10, 3.2)).power(every_s=60)
    assert categories(tail) == []
    above = charging((60, 11.0), (20, 6.0), (20, 3.4), (10, 0.0), (10, 3.4)).power(every_s=60)
    assert categories(above) == PIT


def test_a_register_that_goes_on_contradicts_the_power_readings() -> None:
    session = charging((70, 11.0)).register(every_s=60).power(every_s=60)
    lost = session.altered(POWER, lambda at, w: 0.0 if 30 < at <= 40 else w)
    assert categories(lost) == ["POWER_ENERGY_MISMATCH"]
    single = charging((70, 11.0)).register(every_s=300).power(every_s=300)
    assert categories(single.altered(POWER, lambda at, w: 0.0 if at == 30 else w)) == []


def test_a_register_that_stood_before_the_pit_catches_up_in_it() -> None:
    """What it counts then was drawn before: the power readings are right, and the register is frozen as well."""
    session = pit(lasts=10).register(every_s=60).power(every_s=60)
    begin = session.kwh_at(10)
    stuck = session.altered(REGISTER, lambda at, wh: 1000 * begin if 10 <= at < 32 else wh)
    assert sorted(categories(stuck)) == [*PIT, "METER_FROZEN"]


def test_missing_readings_alone() -> None:
    session = charging((70, 11.0)).register(every_s=60).power(every_s=60)
    assert categories(session.without(30, 40)) == []
    assert categories(session.without(30, 40, POWER)) == []
    assert categories(session.without(30, 40, REGISTER)) == []


def test_a_gap_of_the_power_readings_that_the_register_fills() -> None:
    """No power reading is low: the register shows the collapse."""
    session = pit(lasts=20).register(every_s=60).power(every_s=60).without(30, 50, POWER)
    assert found(session) == [("ENERGY_PIT", 30.0, 50.0, "warning")]


def test_a_coarse_register_that_stands_between_its_moves() -> None:
    for resolution_wh in (10, 100, 1000):
        session = charging((120, 3.68)).register(every_s=60, resolution_wh=resolution_wh)
        assert categories(session) == [], resolution_wh


def test_a_coarse_register_shows_a_pit_that_is_long_enough() -> None:
    """Its first move afterwards, at 106 min, may have come at any time since the last one."""
    session = pit(lasts=45, side=60).register(every_s=60, resolution_wh=100)
    assert found(session) == [("ENERGY_PIT", 60.0, 106.0, "warning")]


def test_the_first_move_after_a_standstill_is_no_level() -> None:
    """A trickle moves a register of 100 Wh every 20 minutes: nothing collapses between the moves."""
    session = charging((60, 11.0), (30, 4.0), (20, 1.0), (180, 0.3)).register(every_s=60, resolution_wh=100)
    assert categories(session) == []


def test_a_pit_that_does_not_end() -> None:
    assert categories(charging((30, 11.0), (20, 0.0)).power(every_s=60)) == []


def test_delivery_that_begins_late() -> None:
    assert categories(charging((60, 0.0), (60, 11.0)).power(every_s=60)) == []


def test_rounding_of_the_register() -> None:
    session = charging((60, 11.0), (30, 0.0)).register(every_s=30, resolution_wh=100)
    noisy = session.altered(REGISTER, lambda at, wh: wh - 100 if round(2 * at) % 7 == 3 else wh)
    assert categories(noisy) == []
    assert judge(noisy).energy_kwh == pytest.approx(11.0)


# ------------------------------------------------------------------------------------------- the levels


def test_the_level_before_is_that_of_the_last_5_minutes_where_five_readings_fall_into_them() -> None:
    """Half of the last 5 minutes at 11 kW and half at 3 kW; 1 kW is low against the former only."""
    for at_11_kw, expected in ((160 / 60, PIT), (140 / 60, [])):
        session = charging((30, 3.0), (at_11_kw, 11.0), (5, 1.0), (30, 11.0)).power(every_s=10)
        assert categories(session) == expected


def test_the_level_after_is_the_first_step_or_the_lower_median_of_the_others() -> None:
    """A battery that tapers after the pit did come back; one that stays low did not."""
    for after, expected in (
        ((5.6, 3.0, 3.0), PIT),
        ((4.0, 5.6, 5.6), PIT),
        ((4.0, 5.4, 5.4), []),
        ((5.4, 5.4), []),
    ):
        powers = [*[11.0] * 6, 0.0, 0.0, *after]
        session = charging().readings([(5 * i, kw) for i, kw in enumerate(powers)], POWER, "kW").soc((0, 40))
        assert categories(session) == expected, after


def test_many_short_dips_are_judged_in_good_time() -> None:
    pairs = tuple((us(i / 60), 11.0 * (i % 2), POWER, "kW", None, None, None) for i in range(100_000))
    assert categories(replace(charging(), sent=pairs)) == []
