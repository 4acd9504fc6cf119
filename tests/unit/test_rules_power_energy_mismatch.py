"""POWER_ENERGY_MISMATCH, sentence by sentence (``docs/categories.md``)."""

import pytest

from tests.sessions import POWER, REGISTER, Session, categories, charging, found, judge, notes

CHARGED = charging((60, 11.0))
MISMATCH = ["POWER_ENERGY_MISMATCH"]


def counting(session: Session, gain: float, start: float = 0.0, end: float = 1e9) -> Session:
    """The register counts ``gain`` times what is delivered between two times."""

    def counted(at: float, wh: float) -> float:
        inside = session.kwh_at(min(max(at, start), end)) - session.kwh_at(start)
        return float(int(wh + (gain - 1.0) * inside * 1000 + 1e-6))

    return session.altered(REGISTER, counted)


def both(session: Session = CHARGED, every_s: float = 60.0) -> Session:
    return session.register(every_s=every_s, begin_kwh=4_711.003).power(every_s=every_s)


# ------------------------------------------------------------------------------------------- it is this


@pytest.mark.parametrize("every_s", [10, 60, 300])
@pytest.mark.parametrize("gain", [0.1, 0.5, 0.7, 1.3, 2.0, 10.0])
def test_a_register_that_counts_too_little_or_too_much(every_s: float, gain: float) -> None:
    assert found(counting(both(every_s=every_s), gain)) == [("POWER_ENERGY_MISMATCH", 0.0, 60.0, "warning")]


@pytest.mark.parametrize("every_s", [60, 300])
@pytest.mark.parametrize("gain", [0.5, 1.6])
def test_a_change_in_the_middle_of_a_session_is_found_where_it_is(every_s: float, gain: float) -> None:
    session = counting(both(charging((180, 11.0)), every_s), gain, 60, 100)
    ((category, start, end, severity),) = found(session)
    assert (category, start, end, severity) == ("POWER_ENERGY_MISMATCH", 60.0, 100.0, "warning")


def test_power_that_reads_zero_while_the_register_goes_on() -> None:
    session = both().altered(POWER, lambda at, w: 0.0)
    assert categories(session) == MISMATCH


def test_the_evidence_and_what_is_disputed() -> None:
    verdict = judge(counting(both(), 1.5))
    evidence = {e.what: e for e in verdict.anomalies[0].evidence}
    much = evidence["register counts too much: measured power shows at most what is expected"]
    assert (much.observed, much.expected) == (pytest.approx(16.5), pytest.approx(11.0))
    assert evidence["difference"].observed == pytest.approx(5.49)
    assert evidence["difference against measured power"].observed == pytest.approx(49.9, abs=0.1)
    assert verdict.energy_disputed_kwh == pytest.approx(5.5)
    assert judge(counting(both(), 0.5)).energy_disputed_kwh == 0.0


@pytest.mark.parametrize(("gain", "expected"), [(0.81, []), (0.79, MISMATCH), (1.19, []), (1.21, MISMATCH)])
def test_more_than_20_per_cent(gain: float, expected: list[str]) -> None:
    assert categories(counting(both(charging((300, 11.0))), gain)) == expected


@pytest.mark.parametrize(("kw", "expected"), [(1.0, []), (1.04, MISMATCH)])
def test_more_than_half_a_kilowatt_hour_beyond_the_resolution(kw: float, expected: list[str]) -> None:
    assert categories(counting(both(charging((60, kw))), 0.5)) == expected


@pytest.mark.parametrize(("lasts", "expected"), [(29, []), (30, MISMATCH)])
def test_at_least_30_minutes(lasts: float, expected: list[str]) -> None:
    assert categories(counting(both(charging((lasts, 11.0))), 0.5)) == expected


def test_a_coarse_register_that_counts_half() -> None:
    session = charging((240, 11.0)).register(every_s=60, begin_kwh=4_711).power(every_s=60)
    halved = counting(session, 0.5).altered(REGISTER, lambda at, wh: wh // 1000 * 1000)
    assert categories(halved) == MISMATCH


def test_what_is_found_while_the_session_runs_stays() -> None:
    session = counting(both(charging((90, 11.0))), 0.6)
    seen = []
    for end in range(20, 91):
        sent = tuple(one for one in session.sent if one[0] <= session.sent[end][0])
        seen.append(bool(categories(Session(session.pieces, sent).declare(over=False))))
    assert seen == sorted(seen)
    assert seen[-1]


# -------------------------------------------------------------------------------------- it is not this


@pytest.mark.parametrize("every_s", [60, 300, 900])
def test_ramps_with_sparse_readings(every_s: float) -> None:
    ramp = [(15.0, kw) for kw in (2.0, 11.0, 3.0, 9.0, 1.5, 11.0, 6.0, 2.0)]
    assert MISMATCH[0] not in categories(both(charging(*ramp), every_s))


def test_one_pause_that_no_power_reading_shows() -> None:
    session = charging((31, 11.0), (13, 0.0), (46, 11.0)).register(every_s=900).power(every_s=900)
    assert categories(session.altered(POWER, lambda at, w: 11_000.0)) == []


@pytest.mark.parametrize(("gain", "expected"), [(0.75, []), (0.68, MISMATCH), (1.3, []), (1.4, MISMATCH)])
def test_losses_where_the_locations_differ(gain: float, expected: list[str]) -> None:
    session = charging((300, 11.0)).register(every_s=60, begin_kwh=0.003).power(every_s=60, location="Inlet")
    assert categories(counting(session, gain)) == expected
    together = charging((300, 11.0)).register(every_s=60, begin_kwh=0.003, location="Inlet")
    assert categories(counting(together.power(every_s=60, location="Inlet"), gain)) == MISMATCH


def test_gaps_in_power_are_no_evidence() -> None:
    session = both(charging((20, 11.0), (30, 0.0), (20, 11.0)))
    session = session.without(15, 55, POWER)
    assert "POWER_ENERGY_MISMATCH" not in categories(session)


def test_energy_without_power_readings_is_no_evidence() -> None:
    session = charging((60, 11.0)).register(every_s=60).power(times=[50 + i for i in range(10)])
    assert categories(session) == []


@pytest.mark.parametrize("factor", [1000.0, 0.001])
def test_a_factor_of_1000_is_the_unit(factor: float) -> None:
    session = CHARGED.register(every_s=60).power(every_s=60)
    scaled = session.altered(REGISTER, lambda at, wh: wh * factor)
    assert categories(scaled) == []
    assert set(notes(scaled)) == {"unit_scale_suspect"}
    assert categories(session.altered(POWER, lambda at, w: w / 1000)) == []  # too little power for a repair


def test_a_slow_register_is_compared_where_it_moves() -> None:
    session = CHARGED.register(every_s=60).power(every_s=60)
    slow = session.altered(REGISTER, lambda at, wh: float(int(at // 9 * 9 * 11_000 / 60)))
    assert MISMATCH[0] not in categories(slow)


def test_a_jump_and_a_power_spike_are_not_told_twice() -> None:
    session = both().declare(rated_kw=11.0)
    jumped = session.altered(REGISTER, lambda at, wh: wh + 20_000 if at >= 30 else wh)
    assert categories(jumped) == ["ENERGY_SPIKE"]
    assert categories(session.altered(POWER, lambda at, w: 9e5 if at == 30 else w)) == ["ENERGY_SPIKE"]
