"""METER_FROZEN, sentence by sentence (``docs/categories.md``)."""

import pytest

from tests.sessions import (
    CURRENT,
    POWER,
    POWER_EXPORT,
    REGISTER,
    VOLTAGE,
    Session,
    categories,
    charging,
    found,
    judge,
)

CHARGED = charging((60, 11.0))


def frozen(session: Session, start: float, end: float = 1e9, *, lost: bool = True) -> Session:
    """The register stands from one time to another; what it missed then is lost, or made up for."""
    missed = (session.kwh_at(min(end, session.length)) - session.kwh_at(start)) * 1000 if lost else 0

    def stands(at: float, wh: float) -> float:
        at_start = next(one[1] for one in session.sent if one[2] == REGISTER and one[0] >= session.sent[0][0])
        level = at_start + int(session.kwh_at(start) * 1000 + 1e-6)
        return wh if at <= start else level if at <= end else wh - int(missed)

    return session.altered(REGISTER, stands)


# ------------------------------------------------------------------------------------------- it is this


@pytest.mark.parametrize("every_s", [10, 60, 300])
def test_a_register_that_stands_while_power_is_drawn(every_s: int) -> None:
    session = frozen(CHARGED.register(every_s=every_s, begin_kwh=7).power(every_s=every_s), 30)
    assert found(session) == [("METER_FROZEN", 30.0, 60.0, "critical")]


def test_it_goes_on_and_what_it_missed_is_lost() -> None:
    session = frozen(CHARGED.register(every_s=60).power(every_s=60), 20, 40)
    assert found(session) == [("METER_FROZEN", 20.0, 40.0, "critical")]
    assert judge(session).energy_disputed_kwh == 0.0  # nothing was counted that was not delivered


def test_it_was_frozen_even_if_it_makes_up_for_it_later() -> None:
    session = frozen(CHARGED.register(every_s=60).power(every_s=60), 20, 40, lost=False)
    assert found(session) == [("METER_FROZEN", 20.0, 40.0, "critical")]
    evidence = {e.what: e for e in judge(session).anomalies[0].evidence}
    assert evidence["register when it moves again"].observed == pytest.approx(7.516)


def test_the_evidence() -> None:
    evidence = {e.what: e for e in judge(frozen(CHARGED.register().power(), 30)).anomalies[0].evidence}
    assert evidence["register that does not move"].observed == 5.5
    shown = evidence["energy that power shows at least"]
    assert (shown.observed, shown.expected) == (pytest.approx(5.5), 0.05)
    assert evidence["charging while it stands"].observed == pytest.approx(30.0)
    assert evidence["mean power then"].observed == pytest.approx(11.0)


@pytest.mark.parametrize(("minutes", "expected"), [(9, []), (10, ["METER_FROZEN"])])
def test_at_least_10_minutes(minutes: int, expected: list[str]) -> None:
    session = frozen(charging((30, 3.0)).register().power(), 10, 10 + minutes)
    assert categories(session) == expected


@pytest.mark.parametrize(("kw", "expected"), [(0.99, []), (1.0, ["METER_FROZEN"])])
def test_at_least_1_kw(kw: float, expected: list[str]) -> None:
    assert categories(frozen(charging((30, kw)).register(begin_kwh=1.234).power(), 10)) == expected


@pytest.mark.parametrize(("minutes", "expected"), [(15, []), (17, ["METER_FROZEN"])])
def test_fivefold_tol(minutes: float, expected: list[str]) -> None:
    """A meter of 100 Wh that shows many values: half a kWh, at 2 kW in 15 min, is not yet enough by a reading."""
    session = charging((60, 2.0)).register(every_s=60, resolution_wh=100, begin_kwh=4.1).power(every_s=60)
    last = 4_100 + 1_000
    session = session.altered(
        REGISTER, lambda at, wh: wh if at <= 30 else last if at < 30 + minutes else wh - 400
    )
    assert categories(session) == expected


@pytest.mark.parametrize(("lasts", "expected"), [(14, []), (16, ["METER_FROZEN"])])
def test_a_register_of_few_round_values_hides_no_more_than_a_step_and_a_half(
    lasts: float, expected: list[str]
) -> None:
    """0 kWh all the time: a meter of whole kWh, for all that is seen; 6 kW are 1.5 kWh in 15 min."""
    session = charging((lasts, 6.0)).register(every_s=60).power(every_s=60)
    assert categories(session.altered(REGISTER, lambda at, wh: 0.0)) == expected


def test_no_delivery_that_only_the_frozen_register_misses_is_told_besides() -> None:
    """Current shows that energy flowed: neither a pit, nor a session without energy, nor a broken off charge."""
    times = CHARGED.times(60)
    pit = frozen(CHARGED.register(every_s=60), 20, 40)
    never = CHARGED.register(every_s=60).altered(REGISTER, lambda at, wh: 0.0)
    early = frozen(charging((100, 11.0)).register(every_s=60), 2)
    for session in (pit, never, early):
        assert "METER_FROZEN" not in categories(session)
        assert categories(session)
        drawing = session.readings(
            [(t, 47.8) for t in (*times, *range(61, 101)) if t <= session.length], CURRENT
        )
        assert categories(drawing) == ["METER_FROZEN"]


@pytest.mark.parametrize("with_voltage", [True, False])
def test_current_says_charging_where_no_power_is_sent(with_voltage: bool) -> None:
    session = frozen(CHARGED.register(every_s=60), 30)
    for phase in ("L1", "L2", "L3"):
        session = session.readings([(t, 16.0) for t in CHARGED.times(60)], CURRENT, "A", phase=phase)
        if with_voltage:
            session = session.readings([(t, 231.0) for t in CHARGED.times(300)], VOLTAGE, "V", phase=phase)
    assert found(session) == [("METER_FROZEN", 30.0, 60.0, "critical")]
    assert any("current" in e.what for e in judge(session).anomalies[0].evidence)


def test_a_frozen_meter_is_no_mismatch_besides() -> None:
    assert categories(frozen(CHARGED.register().power(), 10, 50)) == ["METER_FROZEN"]


def test_what_is_found_while_the_session_runs_stays() -> None:
    session = frozen(CHARGED.register().power(), 20, 40)
    for end in range(31, 61):
        so_far = Session(session.pieces, tuple(one for one in session.sent if one[0] <= session.sent[end][0]))
        assert categories(so_far.declare(over=False)) == ["METER_FROZEN"], end


# -------------------------------------------------------------------------------------- it is not this


@pytest.mark.parametrize("resolution_wh", [100, 1000])
@pytest.mark.parametrize("kw", [1.0, 1.4, 2.3, 3.68])
@pytest.mark.parametrize("lasts", [60, 240])
def test_coarse_registers_at_low_power(resolution_wh: int, kw: float, lasts: int) -> None:
    session = charging((lasts, kw)).register(every_s=60, resolution_wh=resolution_wh, begin_kwh=4_711)
    assert categories(session.power(every_s=60)) == []


def test_suspended_charging() -> None:
    session = charging((30, 11.0), (90, 0.3), (30, 11.0)).register(every_s=60).power(every_s=60)
    assert "METER_FROZEN" not in categories(session.declare(managed=True))


def test_missing_power_readings_say_nothing() -> None:
    session = frozen(CHARGED.register(every_s=60).power(every_s=60), 20, 40, lost=False)
    assert "METER_FROZEN" not in categories(session.without(20, 40, POWER))


def test_export() -> None:
    session = charging((30, 11.0), (30, 0.0)).register(every_s=60)
    session = session.readings([(t, 10_000.0) for t in range(61)], POWER, "W")
    session = session.readings([(t, 10_000.0 if t > 30 else 0.0) for t in range(61)], POWER_EXPORT, "W")
    assert "METER_FROZEN" not in categories(session)


def test_a_drop_out_is_no_frozen_register() -> None:
    session = CHARGED.register(every_s=60, begin_kwh=7).power(every_s=60)
    assert categories(session.altered(REGISTER, lambda at, wh: 0.0 if 20 < at < 40 else wh)) == [
        "KWH_DECREASE"
    ]
