"""PHASE_LOSS, sentence by sentence (``docs/categories.md``)."""

from collections.abc import Callable, Sequence

import pytest

from tests.sessions import CURRENT, CURRENT_OFFERED, POWER, POWER_OFFERED, Session, charging, found, judge

LOSS = ["PHASE_LOSS"]
#: minutes -> current of each phase
Course = Callable[[float], Sequence[float]]


def phased(
    course: Course, *, every: float = 1.0, lasts: float = 60.0, volts: float = 0.0, **names: str
) -> Session:
    """Currents by phase (powers where ``volts`` is given); the register says that energy flows."""
    session = charging((lasts, 7.0)).register(every_s=60)
    at = 0.0
    while at <= lasts:
        for i, amperes in enumerate(course(at)):
            measurand = POWER if volts else CURRENT
            session = session.reading(
                at, amperes * (volts or 1.0), measurand, None, phase=f"L{i + 1}", **names
            )
        at = round(at + every, 6)
    return session


def losing(
    now: Sequence[float], before: Sequence[float] = (16, 16, 16), start: float = 20, end: float = 40
) -> Course:
    """``before``, and ``now`` from ``start`` to before ``end``."""
    return lambda at: now if start <= at < end else before


def lost(session: Session) -> list[str]:
    return [category for category, *_ in found(session) if category == "PHASE_LOSS"]


# ------------------------------------------------------------------------------------------ it is this


def test_from_the_first_to_the_last_reading_without_the_phase() -> None:
    session = phased(losing((16, 0, 16)))
    assert found(session) == [("PHASE_LOSS", 20.0, 39.0, "warning")]
    (anomaly,) = judge(session).anomalies
    assert anomaly.concern == "safety"
    evidence = [(e.what, e.observed, e.expected) for e in anomaly.evidence]
    assert evidence == [
        ("current on L2 before", 16.0, None),
        ("current on L2", 0.0, 16.0),
        ("current on L1", 16.0, 16.0),
        ("current on L3", 16.0, 16.0),
        ("duration", 19.0, None),
    ]


@pytest.mark.parametrize("now", [(0, 16, 16), (16, 0, 16), (16, 16, 0)])
@pytest.mark.parametrize("every", [0.5, 5.0])
def test_any_phase_and_sampling(now: Sequence[float], every: float) -> None:
    assert lost(phased(losing(now), every=every)) == LOSS


def test_to_the_end_of_the_readings_of_a_session_that_runs() -> None:
    session = phased(losing((16, 0, 16), end=99)).declare(over=False)
    assert found(session) == [("PHASE_LOSS", 20.0, 60.0, "warning")]


def test_power_by_phase_where_no_current_is_sent() -> None:
    assert lost(phased(losing((16, 0, 16)), volts=230.0)) == LOSS


def test_the_other_names_of_phases() -> None:
    session = phased(losing((16, 0, 16)))
    renamed = [(*one[:4], one[4] and f"{one[4]}-N", *one[5:]) for one in session.sent]
    assert lost(Session(session.pieces, tuple(renamed), session.declared)) == LOSS


def test_a_two_phase_car_that_loses_one() -> None:
    assert lost(phased(losing((16, 0, 0), (16, 16, 0)))) == LOSS
    assert lost(phased(lambda at: (16, 0) if at >= 20 else (16, 16))) == LOSS


@pytest.mark.parametrize(("left", "expected"), [(0.5, LOSS), (0.51, [])])
def test_nothing_is_half_an_ampere(left: float, expected: list[str]) -> None:
    assert lost(phased(losing((16, left, 16)))) == expected


@pytest.mark.parametrize(("carried", "expected"), [(3.0, LOSS), (2.99, [])])
def test_carrying_is_three_amperes(carried: float, expected: list[str]) -> None:
    assert lost(phased(losing((16, 0, 16), (16, carried, 16)))) == expected


@pytest.mark.parametrize(("lasts", "expected"), [(1.0, []), (2.0, LOSS)])
def test_two_readings_at_least(lasts: float, expected: list[str]) -> None:
    assert lost(phased(losing((16, 0, 16), end=20 + lasts))) == expected


@pytest.mark.parametrize(("others", "expected"), [(8.0, LOSS), (7.99, [])])
def test_the_others_go_on_at_half_or_more(others: float, expected: list[str]) -> None:
    assert lost(phased(losing((others, 0, others)))) == expected


@pytest.mark.parametrize(("others", "expected"), [(20.0, LOSS), (20.01, []), (24.0, [])])
def test_the_total_falls_by_half_of_what_was_lost(others: float, expected: list[str]) -> None:
    assert lost(phased(losing((others, 0, others)))) == expected


def test_two_phases_at_once_in_fine_sampling() -> None:
    assert lost(phased(losing((16, 0, 0)))) == LOSS
    assert lost(phased(losing((16, 0, 0)), every=2.0)) == []


# -------------------------------------------------------------------------------------- it is not this


@pytest.mark.parametrize("carries", [(16, 0, 0), (16, 16, 0), (16, 0.4, 0.4)])
def test_one_and_two_phase_cars(carries: Sequence[float]) -> None:
    assert lost(phased(lambda at: carries if at < 40 else (0, 0, 0))) == []


def test_all_phases_stop_together() -> None:
    assert lost(phased(losing((0, 0, 0)))) == []


def test_a_switch_that_passes_through_zero() -> None:
    def switched(at: float) -> Sequence[float]:
        return (6, 6, 6) if at < 20 else (0, 0, 0) if at < 22 else (6, 0, 0)

    assert lost(phased(switched)) == []


def test_a_switch_whose_pause_shows_in_the_power_alone() -> None:
    session = phased(losing((16, 0, 16)), every=5.0)
    steady = session.readings([(t, 11_000) for t in range(61)], POWER)
    assert lost(steady) == LOSS
    assert lost(steady.altered(POWER, lambda at, w: 300 if at == 17 else w)) == []
    assert lost(steady.altered(POWER, lambda at, w: 301 if at == 17 else w)) == LOSS


def test_two_phases_at_once_in_a_managed_session() -> None:
    assert lost(phased(losing((16, 0, 0))).declare(managed=True)) == []
    assert lost(phased(losing((16, 0, 16))).declare(managed=True)) == LOSS
    assert lost(phased(losing((0, 16, 0))).declare(managed=True)) == LOSS  # no switch leaves L2 alone


@pytest.mark.parametrize(("amperes", "expected"), [((16, 0, 0), []), ((0, 16, 0), LOSS), ((0, 0, 16), LOSS)])
def test_two_phases_at_once_between_readings_that_hide_a_pause(
    amperes: Sequence[float], expected: list[str]
) -> None:
    assert lost(phased(losing(amperes), every=5.0)) == expected


@pytest.mark.parametrize(("soc", "expected"), [(90, LOSS), (91, [])])
def test_soc_above_90(soc: float, expected: list[str]) -> None:
    assert lost(phased(losing((16, 0, 16))).soc((0, soc), (60, soc))) == expected
    assert lost(phased(losing((16, 0, 16))).soc((50, soc))) == expected


@pytest.mark.parametrize(("before", "expected"), [(4.8, LOSS), (4.7, [])])
def test_the_tail_of_a_taper(before: float, expected: list[str]) -> None:
    def tail(at: float) -> Sequence[float]:
        return (16, 16, 16) if at < 10 else (before,) * 3 if at < 20 else (before, 0, before)

    assert lost(phased(tail)) == expected
    assert lost(phased(tail).soc((0, 50), (60, 60))) == LOSS


def test_the_offer_falls_too() -> None:
    session = phased(losing((16, 0, 16)))
    assert lost(session.offer((20, 11.0), (40, 7.4))) == []
    assert lost(session.offer((60, 11.0))) == LOSS
    assert lost(session.readings([(t, 16) for t in range(61)], CURRENT_OFFERED)) == LOSS
    assert POWER_OFFERED not in {one[2] for one in session.sent}


def test_a_phase_that_is_not_sent_is_not_lost() -> None:
    def silent(at: float) -> Sequence[float]:
        return (16, 16) if 20 <= at < 40 else (16, 16, 16)

    assert lost(phased(silent)) == []


def test_of_two_locations_the_better_one_counts() -> None:
    session = phased(losing((16, 0, 16)), location="Inlet")
    assert lost(session) == LOSS
    for at in range(61):
        for phase in ("L1", "L2", "L3"):
            session = session.reading(at, 16, CURRENT, "A", phase=phase)
    assert lost(session) == []


def test_a_loss_explains_a_pit() -> None:
    """One cause, one category: what delivery does meanwhile is not reported beside it."""
    deep = charging((20, 11.0), (10, 2.5), (30, 11.0)).power(every_s=60)
    assert [category for category, *_ in found(deep)] == ["ENERGY_PIT"]
    for at in range(61):
        amperes = (11, 0, 0) if 20 < at <= 30 else (16, 16, 16)
        for i, a in enumerate(amperes):
            deep = deep.reading(at, a, CURRENT, "A", phase=f"L{i + 1}")
    assert [category for category, *_ in found(deep)] == LOSS
