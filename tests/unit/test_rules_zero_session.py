"""ZERO_SESSION, sentence by sentence (``docs/categories.md``)."""

import pytest

from tests.sessions import (
    BEGIN,
    CLOCK,
    POWER,
    POWER_EXPORT,
    REGISTER,
    Session,
    categories,
    charging,
    found,
    judge,
)

ZERO = ["ZERO_SESSION"]


def zero(lasts: float = 20.0, kw: float = 0.0, every_s: float = 60.0) -> Session:
    """Connected and hardly anything; the register is sent."""
    return charging((lasts, kw)).register(every_s=every_s, begin_kwh=4_321)


def severity(session: Session) -> str | None:
    anomalies = judge(session).anomalies
    return str(anomalies[0].severity) if anomalies else None


# ------------------------------------------------------------------------------------------ it is this


def test_the_whole_session() -> None:
    session = zero(40)
    assert found(session) == [("ZERO_SESSION", 0.0, 40.0, "warning")]
    (anomaly,) = judge(session).anomalies
    assert anomaly.concern == "driver"
    assert (anomaly.bucket_range.start_unit, anomaly.bucket_range.end_unit) == (0, 2)
    evidence = {e.what: (e.observed, e.expected) for e in anomaly.evidence}
    assert evidence == {"energy imported": (0.0, 0.1), "connected": (40.0, 5.0)}


@pytest.mark.parametrize("every_s", [10, 60, 300])
@pytest.mark.parametrize("unit", ["Wh", "kWh"])
def test_every_sampling_and_unit(every_s: int, unit: str) -> None:
    assert categories(charging((30, 0.0)).register(every_s=every_s, unit=unit)) == ZERO


def test_power_alone() -> None:
    assert categories(charging((30, 0.0)).power(every_s=60)) == ZERO


def test_intervals_alone() -> None:
    assert categories(charging((60, 0.0)).intervals(every_s=900)) == ZERO


def test_energy_must_be_known() -> None:
    assert categories(charging((60, 0.0)).soc((0, 40), (30, 40), (60, 40))) == []
    assert categories(charging().reading(0, 5_000, REGISTER).soc((0, 40), (60, 40))) == []


@pytest.mark.parametrize(("lasts", "expected"), [(4.9, []), (5.0, ZERO), (5.1, ZERO)])
def test_connected_for_at_least_5_minutes(lasts: float, expected: list[str]) -> None:
    session = charging().readings([(0, 500), (lasts / 2, 500), (lasts, 500)], REGISTER, "Wh")
    assert categories(session) == expected


@pytest.mark.parametrize(("wh", "expected"), [(99, ZERO), (100, []), (101, [])])
def test_less_than_100_wh_in_all(wh: int, expected: list[str]) -> None:
    pairs = [(i, 500 + wh * i // 60) for i in range(61)]
    assert categories(charging().readings(pairs, REGISTER, "Wh")) == expected


@pytest.mark.parametrize(("watts", "expected"), [(299, ZERO), (300, ZERO), (301, [])])
def test_power_never_above_300_w(watts: int, expected: list[str]) -> None:
    session = zero().power(every_s=60).altered(POWER, lambda at, w: watts if at == 7 else w)
    assert categories(session) == expected


@pytest.mark.parametrize(("wh", "expected"), [(15, ZERO), (16, [])])
def test_without_measured_power_the_register_must_not_prove_more(wh: int, expected: list[str]) -> None:
    """5 Wh a minute are 300 W, and 10 Wh are the meter's tolerance."""
    pairs = [(i, 500 if i < 10 else 500 + wh) for i in range(21)]
    assert categories(charging().readings(pairs, REGISTER, "Wh")) == expected


def test_one_coarse_step_is_still_nothing() -> None:
    session = charging((30, 0.1)).register(every_s=60, begin_kwh=4_321.04, resolution_wh=10)
    assert categories(session) == ZERO


def test_declared_times_extend_what_the_readings_show() -> None:
    session = charging().readings([(0, 500), (2, 500), (4, 500)], REGISTER, "Wh")
    assert categories(session) == []
    assert categories(session.declare(ended=5.0)) == ZERO
    assert categories(session.declare(started=-1.0)) == ZERO
    assert found(session.declare(ended=10.0)) == [("ZERO_SESSION", 0.0, 4.0, "warning")]


def test_other_readings_show_that_it_is_connected() -> None:
    session = charging().readings([(0, 500), (2, 500)], REGISTER, "Wh")
    assert categories(session.reading(9, 20.5, "Temperature", "Celsius")) == ZERO


def test_clock_aligned_readings_alone_count_from_four_instants_on() -> None:
    pairs = [(0, 500), (15, 500), (30, 500), (45, 500)]
    assert categories(charging().readings(pairs, REGISTER, "Wh", context=CLOCK)) == ZERO
    strays = charging().readings(pairs[:3], REGISTER, "Wh", context=CLOCK)
    assert categories(strays) == []
    assert categories(strays.declare(started=-5, ended=50)) == []


# -------------------------------------------------------------------------------------- it is not this


@pytest.mark.parametrize(("soc", "expected"), [(94.9, ZERO), (95.0, []), (100.0, [])])
def test_a_full_car(soc: float, expected: list[str]) -> None:
    assert categories(zero().soc((0, soc), (20, soc))) == expected


def test_the_soc_at_the_start_counts() -> None:
    assert categories(zero().soc((0, 90.0), (20, 96.0))) == ZERO


def test_a_short_test_plug() -> None:
    assert categories(zero(4.0)) == []


def test_only_a_clock_aligned_stray() -> None:
    session = charging().readings([(0, 500), (1, 500)], REGISTER, "Wh")
    assert categories(session.reading(14, 500, REGISTER, "Wh", context=CLOCK)) == []


def test_a_register_that_falls() -> None:
    session = zero().altered(REGISTER, lambda at, wh: wh if at < 10 else wh - 50)
    assert categories(session) == ["KWH_DECREASE"]


def test_export() -> None:
    session = zero(60)
    assert categories(session.readings([(i, 7_000) for i in range(60)], POWER_EXPORT, "W")) == []
    assert categories(session.readings([(i, 99) for i in range(60)], POWER_EXPORT, "W")) == ZERO


def test_a_zero_placeholder_at_begin_is_no_delivery() -> None:
    assert categories(zero().reading(-1, 0, REGISTER, "Wh", context=BEGIN)) == ZERO


# ---------------------------------------------------------------------------------- while it still runs


def test_on_dc_after_5_minutes() -> None:
    running = zero(5).declare(over=False)
    assert severity(running.reading(0, 400.0, "Voltage", "V")) == "warning"
    assert severity(running.declare(rated_kw=50.0)) == "warning"
    assert severity(running.declare(rated_kw=43.0)) is None
    assert severity(running.reading(0, 400.0, "Voltage", "V", phase="L1")) is None


@pytest.mark.parametrize(("lasts", "expected"), [(59, None), (60, "info"), (600, "info")])
def test_on_ac_without_soc_and_offer_after_60_minutes(lasts: float, expected: str | None) -> None:
    running = zero(lasts).declare(over=False)
    assert severity(running) == expected
    assert severity(running.declare(over=True)) == "warning"


def test_soc_is_known_on_ac() -> None:
    assert severity(zero(5).soc((0, 40), (5, 40)).declare(over=False)) == "warning"


@pytest.mark.parametrize(
    ("stands", "expected"), [(5, "info"), (29, "info"), (30, "warning"), (31, "warning")]
)
def test_an_offer_stands_unused(stands: float, expected: str) -> None:
    assert severity(zero(stands).offer((stands, 1.4)).declare(over=False)) == expected


def test_an_offer_too_small_to_use() -> None:
    assert severity(zero(40).offer((40, 1.39)).declare(over=False)) is None


def test_the_newest_offer_counts_since_it_stands() -> None:
    assert severity(zero(40).offer((20, 0.0), (20, 11.0)).declare(over=False)) == "info"
    assert severity(zero(60).offer((10, 0.0), (50, 11.0)).declare(over=False)) == "warning"
    assert severity(zero(40).offer((35, 11.0), (5, 0.0)).declare(over=False)) is None


def test_info_has_a_confidence_of_at_most_60_percent() -> None:
    anomalies = judge(zero(90).declare(over=False)).anomalies
    assert [a.confidence <= 0.6 for a in anomalies] == [True]
    assert judge(zero(90)).anomalies[0].confidence > 0.6
