"""KWH_DECREASE, sentence by sentence (``docs/categories.md``)."""

import pytest

from tests.sessions import (
    BEGIN,
    CLOCK,
    END,
    PERIODIC,
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


def registers(*values: float, every: float = 5.0, unit: str = "kWh") -> Session:
    """A session with nothing but these register values, five minutes apart."""
    return charging().readings([(i * every, v) for i, v in enumerate(values)], REGISTER, unit)


def facts(session: Session) -> dict[str, tuple[float, float | None]]:
    (anomaly,) = judge(session).anomalies
    return {e.what: (e.observed, e.expected) for e in anomaly.evidence}


# ------------------------------------------------------------------------------------------ it is this


def test_a_reset_to_zero_is_critical_and_lasts_from_the_last_reading_before_to_the_first_after() -> None:
    session = CHARGED.register(every_s=60).altered(
        REGISTER, lambda at, wh: wh if at < 30 else wh - CHARGED.kwh_at(30) * 1000
    )
    assert found(session) == [("KWH_DECREASE", 29.0, 30.0, "critical")]
    (anomaly,) = judge(session).anomalies
    assert anomaly.concern == "billing"
    assert (anomaly.bucket_range.start_unit, anomaly.bucket_range.end_unit) == (1, 2)
    evidence = {e.what: e for e in anomaly.evidence}
    assert evidence["register before the fall"].observed == pytest.approx(5.316)
    assert minutes(evidence["register before the fall"].timestamp) == 29.0
    after = evidence["register after the fall (reset)"]
    assert (after.observed, after.expected) == (0.0, 5.316)
    assert evidence["fall against the meter's resolution"].expected == 0.01


@pytest.mark.parametrize("every_s", [10, 60, 300, 900])
@pytest.mark.parametrize("unit", ["Wh", "kWh"])
def test_a_rollback_is_found_at_every_sampling_and_unit(every_s: int, unit: str) -> None:
    fall = 3.0 if unit == "kWh" else 3000.0
    session = charging((90, 11.0)).register(every_s=every_s, unit=unit, begin_kwh=5_000)
    session = session.altered(REGISTER, lambda at, value: value if at < 45 else value - fall)
    assert found(session) == [("KWH_DECREASE", round(45 - every_s / 60, 6), 45.0, "critical")]
    assert "register after the fall (rollback)" in facts(session)


@pytest.mark.parametrize("wrap_wh", [2**16, 2**31, 2**32, 2**16 * 1000, 2**31 * 1000])
def test_a_wrap_is_found_and_named(wrap_wh: int) -> None:
    session = CHARGED.register(every_s=60, begin_kwh=wrap_wh / 1000 - 5.0)
    session = session.altered(REGISTER, lambda at, wh: wh % wrap_wh)
    ((category, start, end, severity),) = found(session)
    assert (category, end - start, severity) == ("KWH_DECREASE", 1.0, "critical")
    assert "register after the fall (wrap)" in facts(session)


def test_a_fall_to_nearly_nothing_that_is_too_far_for_a_wrap_is_a_reset() -> None:
    session = registers(40.0, 40.9, 41.8, 0.0, 0.9, 1.8)
    assert "register after the fall (reset)" in facts(session)


@pytest.mark.parametrize(("after", "kind"), [(1.0, "reset"), (1.001, "rollback"), (0.0, "reset")])
def test_a_reset_ends_at_one_kilowatt_hour_or_less(after: float, kind: str) -> None:
    assert f"register after the fall ({kind})" in facts(registers(10.001, 12.0, after, after + 1))


def test_a_reset_ends_at_half_of_the_earlier_value_or_less() -> None:
    assert "register after the fall (rollback)" in facts(registers(0.9, 1.0, 0.6, 0.7, 0.8))
    assert "register after the fall (reset)" in facts(registers(0.9, 1.001, 0.5, 0.6, 0.7))


def test_a_drop_out_that_comes_back_is_a_warning_up_to_its_last_low_reading() -> None:
    session = CHARGED.register(every_s=60, begin_kwh=700).altered(
        REGISTER, lambda at, wh: 0.0 if 20 <= at < 25 else wh
    )
    assert found(session) == [("KWH_DECREASE", 19.0, 24.0, "warning")]
    assert facts(session)["register back"][0] == pytest.approx(704.583)
    verdict = judge(session)
    assert verdict.energy_kwh == pytest.approx(11.0)
    assert verdict.energy_disputed_kwh == pytest.approx(704.583 - 703.483)


def test_a_climb_that_charging_explains_is_no_come_back() -> None:
    """After a rollback by half an interval's energy the next readings pass the old level: still a rollback."""
    session = charging((60, 12.0)).register(every_s=300)  # 1 kWh an interval
    session = session.altered(REGISTER, lambda at, wh: wh if at < 30 else wh - 1_500)
    assert found(session) == [("KWH_DECREASE", 25.0, 30.0, "critical")]


def test_the_way_back_must_be_half_of_the_drop() -> None:
    assert found(registers(10, 11, 7, 9.1, 11, 12))[0][3] == "critical"  # climbs back in steps
    assert found(registers(10, 11, 7, 9.0, 11, 12))[0][3] == "warning"  # the last 2 of 4 kWh at once


def test_a_fall_goes_on_while_each_reading_is_lower() -> None:
    assert found(registers(10, 11, 9, 8, 7, 7.5, 8)) == [("KWH_DECREASE", 5.0, 20.0, "critical")]


def test_the_earlier_value_is_the_highest_since_the_last_fall() -> None:
    """The register may climb past the end of the first fall and fall again below what it reached since."""
    session = registers(10, 11, *[3 + i * 0.5 for i in range(8)], 5, 5.5)
    assert found(session) == [
        ("KWH_DECREASE", 5.0, 10.0, "critical"),
        ("KWH_DECREASE", 45.0, 50.0, "critical"),
    ]


def test_falls_less_than_15_minutes_apart_are_one() -> None:
    assert found(registers(10, 11, 9, 10, 8, 9, 10, every=5)) == [("KWH_DECREASE", 5.0, 20.0, "critical")]
    assert len(found(registers(10, 11, 9, 10, 8, 9, 10, every=15))) == 2


def test_the_graver_severity_of_joined_falls_counts() -> None:
    session = registers(100, 101, 0, 102, 95, 96, 97)
    assert found(session) == [("KWH_DECREASE", 5.0, 20.0, "critical")]


@pytest.mark.parametrize(
    ("resolution_wh", "quiet", "loud"), [(1, 10, 11), (10, 10, 20), (100, 100, 200), (1000, 1000, 2000)]
)
def test_more_than_the_resolution_and_at_least_10_wh(resolution_wh: int, quiet: int, loud: int) -> None:
    base = charging((120, 11.0)).register(every_s=300, resolution_wh=resolution_wh, begin_kwh=1.0)
    base = base.altered(REGISTER, lambda at, wh: wh if at < 60 else 12_000.0)
    for drop, expected in ((quiet, []), (loud, ["KWH_DECREASE"])):
        session = base.altered(REGISTER, lambda at, wh, drop=drop: wh - drop if at >= 90 else wh)
        assert categories(session) == expected, drop


def test_a_coarse_meter_that_shows_finer_values_has_the_finer_resolution() -> None:
    values = [10_000, 11_000, 12_000, 13_000, 14_000, 15_000]
    assert categories(registers(*values, 14_000, 16_000, unit="Wh")) == []
    assert categories(registers(*values, 14_000, 16_100, 16_100, unit="Wh")) == ["KWH_DECREASE"]
    assert categories(registers(*values, 14_000, 14_000, 16_100, unit="Wh")) == []  # an End of its own kind


def test_a_few_round_values_are_no_sign_of_a_coarse_meter() -> None:
    assert found(registers(10, 12, 11)) == [("KWH_DECREASE", 5.0, 10.0, "critical")]
    assert found(registers(10.0, 10.5, 10.4)) == []  # a meter of 0.1 kWh rounds


def test_a_fall_of_the_last_reading_is_found() -> None:
    assert found(registers(10, 11, 12, 11.89)) == [("KWH_DECREASE", 10.0, 15.0, "critical")]


def test_readings_of_phases_that_fall_together() -> None:
    session = CHARGED
    for phase in ("L1", "L2", "L3"):
        session = session.register(every_s=300, phase=phase)
    session = session.altered(REGISTER, lambda at, wh: wh if at < 30 else wh - 1_000)
    assert found(session) == [("KWH_DECREASE", 25.0, 30.0, "critical")]
    assert "phases_summed" in notes(session)


def test_what_is_counted_again_after_a_rollback_is_disputed() -> None:
    verdict = judge(registers(10, 11, 9, 9.5, 10, 10.5))
    assert verdict.energy_kwh == pytest.approx(1 + 1.5)
    assert verdict.energy_disputed_kwh == pytest.approx(1.5)
    assert judge(registers(10, 11, 9, 10, 11, 12, 13)).energy_disputed_kwh == pytest.approx(2.0)
    assert judge(registers(10, 11, 9, 9.5, 8, 8.5, 9, 9.5)).energy_disputed_kwh == pytest.approx(0.5 + 1.5)
    assert judge(registers(10, 11, 0, 1, 2)).energy_disputed_kwh == 0.0  # a reset counts nothing twice


# -------------------------------------------------------------------------------------- it is not this


def test_late_readings() -> None:
    session = CHARGED.register(every_s=60)
    shuffled = Session(session.pieces, (*session.sent[30:], *session.sent[:30]))
    assert categories(shuffled) == []


def test_repeated_readings_of_which_the_last_counts() -> None:
    session = CHARGED.register(every_s=60)
    wrong_first = Session(
        session.pieces, ((*session.sent[20][:1], 0.0, *session.sent[20][2:]), *session.sent)
    )
    assert categories(wrong_first) == []


def test_rounding() -> None:
    session = CHARGED.register(every_s=60).altered(REGISTER, lambda at, wh: wh - (9 if int(at) % 2 else 0))
    assert categories(session) == []


@pytest.mark.parametrize(
    "measurand",
    [
        "Energy.Active.Export.Register",
        "Energy.Active.Net",
        "Energy.Active.Import.Interval",
        "Energy.Reactive.Import.Register",
        "Energy.Apparent.Import",
    ],
)
def test_other_energies_may_fall(measurand: str) -> None:
    session = CHARGED.register(every_s=60)
    session = session.readings([(i, 5_000.0 - 200 * i) for i in range(20)], measurand)
    assert "KWH_DECREASE" not in categories(session)


def test_a_zero_at_begin_before_a_lifetime_register() -> None:
    session = charging((60, 11.0)).register(every_s=60, begin_kwh=7_000, context=PERIODIC)
    session = session.reading(0.0, 0.0, context=BEGIN)
    assert categories(session) == []
    assert notes(session) == {"begin_zero_placeholder": 1}
    assert judge(session).energy_kwh == pytest.approx(11.0)


def test_begin_of_a_lifetime_register_before_samples_from_zero() -> None:
    session = charging((60, 11.0)).register(every_s=60).reading(-0.5, 7_000_000.0, context=BEGIN)
    assert categories(session) == []
    assert notes(session) == {"register_mixed": 1}


def test_end_of_a_sessions_own_register_after_lifetime_samples() -> None:
    session = charging((60, 11.0)).register(every_s=60, begin_kwh=7_000)
    session = session.reading(60.5, 11_000.0, context=END)
    assert categories(session) == []
    assert notes(session) == {"register_mixed": 1}


def test_begin_and_end_of_the_same_other_register() -> None:
    session = charging((60, 11.0)).register(every_s=60)
    session = session.reading(-0.5, 7_000_000.0, context=BEGIN).reading(60.5, 7_011_000.0, context=END)
    assert categories(session) == []
    assert notes(session) == {"register_mixed": 2}
    assert judge(session).energy_kwh == pytest.approx(11.0)


@pytest.mark.parametrize("sentinel", [2**31 - 1, 2**32 - 1])
def test_sentinels_at_begin_and_end(sentinel: int) -> None:
    session = charging((60, 11.0)).register(every_s=60, begin_kwh=7_000)
    session = session.reading(-0.5, sentinel, context=BEGIN).reading(60.5, sentinel, context=END)
    assert categories(session) == []
    assert notes(session) == {"register_mixed": 2}


def test_an_end_below_the_last_sample_is_a_fall_where_begin_belongs_to_the_samples() -> None:
    session = charging((60, 11.0)).register(every_s=60).reading(0.0, 0.0, context=BEGIN)
    session = session.reading(60.5, 10_500.0, context=END)
    assert found(session) == [("KWH_DECREASE", 60.0, 60.5, "critical")]


@pytest.mark.parametrize("factor", [1000.0, 0.001])
def test_a_switch_of_the_unit_by_1000(factor: float) -> None:
    session = charging((60, 11.0)).register(every_s=60, begin_kwh=50)
    session = session.altered(REGISTER, lambda at, wh: wh if at < 30 else wh * factor)
    assert categories(session) == []
    assert notes(session) == {"unit_switched": 1}
    assert judge(session).energy_kwh == pytest.approx(11.0, abs=0.05)


def test_clock_aligned_readings_between_are_of_the_same_register() -> None:
    session = CHARGED.register(every_s=60, context=PERIODIC).register(every_s=900, context=CLOCK)
    assert categories(session) == []


def test_registers_of_two_locations_at_different_times() -> None:
    session = charging((60, 11.0)).register(every_s=60, begin_kwh=7_000, location="Outlet")
    session = session.register(times=[i + 0.5 for i in range(0, 60, 5)], begin_kwh=9_000, location="Inlet")
    assert categories(session) == []
    assert notes(session) == {"register_mixed": 1}
    assert judge(session).energy_kwh == pytest.approx(11.0)
