"""Normal behaviour on which every rule stays quiet (the list in ``categories.md``), one test each."""

from random import Random

import pytest

from tests.sessions import (
    CURRENT,
    EXPORT_REGISTER,
    POWER,
    POWER_EXPORT,
    REGISTER,
    Session,
    charging,
    judge,
)

TAPER = tuple((3.0, kw) for kw in (10.0, 8.5, 7.0, 5.5, 4.3, 3.3, 2.5, 1.9, 1.4, 1.0, 0.7))


def quiet(session: Session) -> bool:
    verdict = judge(session)
    return not verdict.is_anomaly and not verdict.past_anomalies


def meters(session: Session) -> list[Session]:
    """The same session as sent by different meters."""
    return [
        session.register(every_s=60),
        session.power(every_s=60),
        session.register(every_s=60).power(every_s=60),
        session.register(every_s=300, resolution_wh=100, begin_kwh=4_711),
        session.register(every_s=900, unit="kWh"),
    ]


def test_a_steady_charge() -> None:
    assert all(quiet(s) for s in meters(charging((90, 11.0))))


def test_the_taper_at_the_end_and_the_balancing_tail() -> None:
    tail = tuple(piece for _ in range(6) for piece in ((12.0, 0.0), (3.0, 1.2)))
    assert all(quiet(s) for s in meters(charging((60, 11.0), *TAPER, *tail, (60, 0.0))))
    assert all(
        quiet(s.soc((0, 50), (93, 99), (240, 100))) for s in meters(charging((60, 11.0), *TAPER, *tail))
    )


def test_climate_draw_after_full() -> None:
    climate = charging((60, 11.0), *TAPER, (120, 0.0), (10, 2.0), (50, 0.0), (10, 2.0), (60, 0.0))
    assert all(quiet(s) for s in meters(climate))


def test_scheduled_and_tariff_charging() -> None:
    assert all(quiet(s) for s in meters(charging((200, 0.0), (90, 11.0), *TAPER, (60, 0.0))))
    assert all(quiet(s.soc((0, 30), (290, 85))) for s in meters(charging((200, 0.0), (90, 11.0))))


def test_a_tariff_pause_of_more_than_two_hours_without_soc() -> None:
    assert all(quiet(s) for s in meters(charging((90, 11.0), (200, 0.0), (90, 11.0))))


@pytest.mark.parametrize("every_s", [30, 60, 300])
def test_load_management_in_steps(every_s: int) -> None:
    steps = ((20, 11.0), (10, 7.0), (10, 4.1), (15, 0.0), (10, 4.1), (20, 11.0))
    session = charging(*steps).register(every_s=every_s).power(every_s=every_s)
    assert quiet(session.offer(*steps, every_s=every_s))
    assert quiet(session.declare(managed=True))


def test_dc_power_shared_between_two_outlets() -> None:
    session = (
        charging((10, 150.0), (15, 50.0), (10, 150.0), (10, 75.0)).register(every_s=30).power(every_s=30)
    )
    assert quiet(session.soc((0, 20), (45, 70)))


@pytest.mark.parametrize("used", [1, 2])
def test_one_and_two_phase_cars_on_three_phases(used: int) -> None:
    session = charging((60, 3.68 * used))
    for at in session.times(60):
        for phase in (1, 2, 3):
            kw = session.kw_at(at) / used if phase <= used else 0.0
            session = session.reading(at, kw * 1000, POWER, "W", phase=f"L{phase}")
            session = session.reading(at, kw * 1000 / 230, CURRENT, "A", phase=f"L{phase}")
    assert quiet(session)


def test_switching_between_one_and_three_phases_on_solar_surplus() -> None:
    session = charging((30, 1.6), (5, 0.0), (30, 6.0), (5, 0.0), (30, 1.6)).power(every_s=60)
    for at in session.times(60):
        for phase in (1, 2, 3):
            on = session.kw_at(at) > 0 and (phase == 1 or 35 < at <= 65)
            session = session.reading(at, 8.0 if on else 0.0, CURRENT, "A", phase=f"L{phase}")
    assert quiet(session)


def test_a_cold_battery_that_starts_low() -> None:
    session = (
        charging((10, 2.0), (5, 4.0), (5, 10.0), (5, 25.0), (20, 60.0)).register(every_s=30).power(every_s=30)
    )
    assert quiet(session.soc((0, 15), (45, 60)))


def test_a_full_car_is_plugged_in() -> None:
    assert quiet(charging((60, 0.0)).register(every_s=60).soc((0, 100), (60, 100)))
    assert quiet(charging((2, 3.0), (60, 0.0)).register(every_s=60).soc((0, 97), (62, 98)))


def test_a_register_that_moves_on_by_a_few_wh_after_the_end() -> None:
    session = charging((60, 11.0), *TAPER).register(every_s=60)
    moving = [(93 + i, session.kwh_at(93) * 1000 // 1 + i) for i in range(1, 60)]
    assert quiet(session.readings(moving, REGISTER, "Wh"))


@pytest.mark.parametrize("begin_kwh", [65.0, 12_345.678, 2_147_000.0, 4_294_000.0])
def test_a_lifetime_register(begin_kwh: float) -> None:
    session = charging((60, 11.0)).register(every_s=60, begin_kwh=begin_kwh)
    assert quiet(session)
    assert judge(session).energy_kwh == pytest.approx(11.0, abs=0.002)


def test_no_soc_at_all() -> None:
    assert all(quiet(s) for s in meters(charging((60, 11.0), *TAPER, (240, 0.0))))


@pytest.mark.parametrize("resolution_wh", [1, 10, 100, 1000])
@pytest.mark.parametrize("kw", [2.3, 3.68, 7.4, 11.0, 22.0])
def test_energy_only_every_15_minutes(kw: float, resolution_wh: int) -> None:
    session = charging((180, kw), (30, 0.4 * kw), (240, 0.0))
    assert quiet(session.register(every_s=900, resolution_wh=resolution_wh))
    if resolution_wh == 1:
        assert quiet(session.intervals(every_s=900))


def test_v2g_export() -> None:
    session = (
        charging((30, 10.0), (60, 0.0), (30, 10.0))
        .register(every_s=60)
        .soc((0, 50), (30, 60), (90, 45), (120, 55))
    )
    exported = [(at, 10_000.0 if 30 < at <= 90 else 0.0) for at in range(120)]
    assert quiet(session.readings(exported, POWER_EXPORT, "W"))
    register = [(at, 5_000.0 + 160 * max(0, min(at - 30, 60))) for at in range(120)]
    assert quiet(session.readings(register, EXPORT_REGISTER, "Wh"))
    assert quiet(charging((120, 0.0)).register(every_s=60).readings(exported, POWER_EXPORT, "W"))


def test_late_and_repeated_readings() -> None:
    session = charging((60, 11.0), *TAPER).register(every_s=60).power(every_s=60)
    sent = [*session.sent, *session.sent[::3]]
    Random(7).shuffle(sent)
    assert quiet(Session(session.pieces, tuple(sent)))


def test_a_session_longer_than_6_hours() -> None:
    session = charging((300, 3.68), *((20, kw) for kw in (2.5, 1.5, 0.8)), (700, 0.0))
    assert all(quiet(s) for s in meters(session))
    verdict = judge(session.register(every_s=900))
    assert (verdict.sequence_length, verdict.energy_kwh) == (24, pytest.approx(20.0, abs=0.01))
