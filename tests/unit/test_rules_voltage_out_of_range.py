"""VOLTAGE_OUT_OF_RANGE, sentence by sentence (``docs/categories.md``)."""

from collections.abc import Callable

import pytest

from tests.sessions import CURRENT, VOLTAGE, Session, charging, found, judge

ODD = ["VOLTAGE_OUT_OF_RANGE"]
PHASES = ("L1", "L2", "L3")


def fed(
    volts: Callable[[float, str | None], float], *phases: str | None, lasts: float = 30.0, **names: str
) -> Session:
    """Voltages every minute of the given phases (all three); the register says that energy flows."""
    session = charging((lasts, 7.0)).register(every_s=60)
    for at in range(int(lasts) + 1):
        for phase in phases or PHASES:
            session = session.reading(at, volts(at, phase), VOLTAGE, "V", phase=phase, **names)
    return session


def sagging(
    volts: float, usual: float = 230.0, start: float = 10, end: float = 15
) -> Callable[[float, str | None], float]:
    """``usual``, and ``volts`` on L2 (or what has no phase) from ``start`` to before ``end``."""
    return lambda at, phase: volts if phase in {"L2", None} and start <= at < end else usual


def odd(session: Session) -> list[str]:
    return [category for category, *_ in found(session)]


# ------------------------------------------------------------------------------------------ it is this


def test_from_the_first_to_the_last_reading_out_of_range() -> None:
    session = fed(sagging(198.0))
    assert found(session) == [("VOLTAGE_OUT_OF_RANGE", 10.0, 14.0, "warning")]
    (anomaly,) = judge(session).anomalies
    assert anomaly.concern == "safety"
    evidence = [(e.what, e.observed, e.expected) for e in anomaly.evidence]
    assert evidence == [
        ("worst voltage of L2", 198.0, 204.7),
        ("first voltage of L2 out of range", 198.0, None),
        ("nominal voltage", 230.0, None),
        ("readings out of range", 5.0, None),
    ]


@pytest.mark.parametrize(
    ("nominal", "lowest", "highest"),
    [
        (120, 106.8, 133.2),
        (208, 185.12, 230.88),
        (230, 204.7, 255.3),
        (240, 213.6, 266.4),
        (277, 246.53, 307.47),
    ],
)
def test_ten_per_cent_and_one_for_the_meter(nominal: float, lowest: float, highest: float) -> None:
    for volts in (lowest, highest):
        assert odd(fed(sagging(volts, nominal))) == []
    for volts in (lowest - 0.01, highest + 0.01):
        assert odd(fed(sagging(volts, nominal))) == ODD


@pytest.mark.parametrize(
    ("usual", "lowest", "highest"),
    [(234, 204.7, 266.4), (235.75, 204.7, 266.4), (236, 213.6, 266.4), (233, 204.7, 255.3)],
)
def test_between_230_and_240_both_are_meant(usual: float, lowest: float, highest: float) -> None:
    for volts in (lowest, highest):
        assert odd(fed(sagging(volts, usual))) == []
    for volts in (lowest - 0.1, highest + 0.1):
        assert odd(fed(sagging(volts, usual))) == ODD


@pytest.mark.parametrize(("lasts", "expected"), [(1, []), (2, ODD)])
def test_two_readings_or_more(lasts: float, expected: list[str]) -> None:
    assert odd(fed(sagging(198.0, end=10 + lasts))) == expected


def test_two_readings_of_the_same_phase() -> None:
    in_turn = fed(lambda at, phase: 198.0 if PHASES[at % 3] == phase else 230.0)
    assert odd(in_turn) == []


def test_neighbouring_readings_only() -> None:
    assert odd(fed(lambda at, phase: 198.0 if phase == "L1" and at % 2 else 230.0)) == []


def test_without_phases_on_ac() -> None:
    session = fed(sagging(260.0), None)
    assert found(session) == [("VOLTAGE_OUT_OF_RANGE", 10.0, 14.0, "warning")]
    assert "worst voltage" in {e.what for e in judge(session).anomalies[0].evidence}


def test_the_phases_count_before_what_has_no_phase() -> None:
    session = fed(lambda _at, _phase: 230.0)
    assert odd(session.readings([(t, 198.0) for t in range(5, 15)], VOLTAGE, "V")) == []


def test_a_session_out_of_every_range_throughout() -> None:
    assert odd(fed(lambda _at, _phase: 180.0)) == ODD
    assert odd(fed(lambda _at, _phase: 198.0)) == []  # as good as 208 V


def test_zero_while_current_flows() -> None:
    session = fed(sagging(0.0))
    assert odd(session) == []
    flowing = session.readings([(t, 16.0) for t in range(31)], CURRENT, "A", phase="L2")
    assert odd(flowing) == ODD
    weak = session.readings([(t, 2.9) for t in range(31)], CURRENT, "A", phase="L2")
    assert odd(weak) == []
    elsewhere = session.readings([(t, 16.0) for t in range(31)], CURRENT, "A", phase="L1")
    assert odd(elsewhere) == []


# -------------------------------------------------------------------------------------- it is not this


@pytest.mark.parametrize("volts", [0.0, 3.0, 49.9])
def test_an_open_contactor(volts: float) -> None:
    assert odd(fed(lambda at, _phase: volts if at < 20 else 230.0)) == []


def test_an_open_contactor_does_not_interrupt_a_run() -> None:
    def volts(at: float, phase: str | None) -> float:
        return {10: 198.0, 11: 0.0, 12: 198.0}.get(int(at), 230.0) if phase == "L2" else 230.0

    assert found(fed(volts)) == [("VOLTAGE_OUT_OF_RANGE", 10.0, 12.0, "warning")]


def test_dc_voltages() -> None:
    battery = fed(lambda at, _phase: 290.0 + 5 * at, None)
    assert odd(battery) == []
    assert odd(fed(sagging(198.0), None).declare(rated_kw=50.0)) == []


@pytest.mark.parametrize("phase", ["L1-L2", "L2-L3", "N"])
def test_line_to_line_and_neutral(phase: str) -> None:
    assert odd(fed(lambda at, _phase: 400.0 if at < 20 else 330.0, phase)) == []


@pytest.mark.parametrize("usual", [347.0, 400.0, 89.0])
def test_no_voltage_between_phase_and_neutral(usual: float) -> None:
    assert odd(fed(sagging(0.8 * usual, usual))) == []


@pytest.mark.parametrize(("usual", "expected"), [(132.0, ODD), (133.0, [])])
def test_without_phases_only_near_a_nominal(usual: float, expected: list[str]) -> None:
    session = fed(sagging(100.0, usual), None)
    assert odd(session) == expected
    assert odd(fed(sagging(100.0, usual))) == ODD


def test_the_mean_of_the_phases_says_nothing() -> None:
    """Only one phase is off; each is judged by itself."""
    assert odd(fed(lambda _at, phase: {"L1": 205.0, "L2": 255.0, "L3": 230.0}[str(phase)])) == []
