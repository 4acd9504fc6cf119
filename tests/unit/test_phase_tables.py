"""Signals side by side: which readings of single phases and which temperatures count (``docs/categories.md``)."""

from math import isnan

import numpy as np
import pytest

from chargewatch.features.phases import Rows, rows_of
from chargewatch.ingest.phases import Table, select_phases, select_temperatures
from chargewatch.ingest.selection import select
from tests.sessions import (
    BEGIN,
    CLOCK,
    CURRENT,
    END,
    NOW_US,
    PERIODIC,
    POWER,
    VOLTAGE,
    Session,
    charging,
    columns_of,
)

EMPTY = charging()


def tables(*sessions: Session) -> dict[str, Table]:
    columns = columns_of(sessions)
    first_us = select(columns, NOW_US).first_us
    phases = select_phases(columns, first_us, NOW_US)
    return {**phases._asdict(), "temperature": select_temperatures(columns, first_us, NOW_US)}


def shown(session: Session, kind: str) -> list[tuple[float, list[float | None]]]:
    """(minutes after the first sane reading, the three values) of each instant."""
    rows = rows_of(tables(session)[kind], 0)
    return [(at / 60.0, [None if isnan(v) else v for v in row]) for at, row in zip(*rows, strict=True)]


def test_each_phase_has_its_column_and_each_measurand_its_table() -> None:
    session = EMPTY.reading(1, 16, CURRENT, phase="L3").reading(0, 15, CURRENT, phase="L1")
    session = session.reading(1, 231, VOLTAGE, phase="L2").reading(1, 3.5, POWER, "kW", phase="L2")
    assert shown(session, "current") == [(0.0, [15.0, None, None]), (1.0, [None, None, 16.0])]
    assert shown(session, "voltage") == [(1.0, [None, 231.0, None])]
    assert shown(session, "power") == [(1.0, [None, 3_500.0, None])]


@pytest.mark.parametrize("phase", [None, "N", "L1-L2", "L2-L3", "L3-L1", "L9"])
def test_totals_neutral_and_line_to_line_do_not_count(phase: str | None) -> None:
    assert shown(EMPTY.reading(0, 400, VOLTAGE, phase=phase), "voltage") == []


def test_of_two_names_of_a_phase_the_first_counts_and_of_one_key_the_last() -> None:
    session = EMPTY.reading(0, 1, CURRENT, phase="L1").reading(0, 9, CURRENT, phase="L1-N")
    assert shown(session, "current") == [(0.0, [1.0, None, None])]
    assert shown(session.reading(0, 2, CURRENT, phase="L1"), "current") == [(0.0, [2.0, None, None])]
    assert shown(EMPTY.reading(0, 9, CURRENT, phase="L1-N"), "current") == [(0.0, [9.0, None, None])]


@pytest.mark.parametrize(
    ("better", "worse"),
    [(END, BEGIN), (BEGIN, PERIODIC), (PERIODIC, CLOCK), (CLOCK, "Trigger"), ("Other", "New")],
)
def test_an_instant_shows_its_best_context_only(better: str, worse: str) -> None:
    session = EMPTY.reading(0, 1, CURRENT, phase="L1", context=worse)
    session = session.reading(0, 2, CURRENT, phase="L2", context=better)
    assert shown(session, "current") == [(0.0, [None, 2.0, None])]


@pytest.mark.parametrize(("better", "worse"), [("Outlet", "Inlet"), ("Inlet", "Cable"), ("EV", "Body")])
def test_then_its_best_location(better: str, worse: str) -> None:
    session = EMPTY.reading(0, 1, CURRENT, phase="L1", location=worse)
    session = session.reading(0, 2, CURRENT, phase="L1", location=better)
    assert shown(session, "current") == [(0.0, [2.0, None, None])]


@pytest.mark.parametrize(
    ("value", "unit"), [(float("nan"), "A"), (1e300, "A"), (16.0, "V"), (16.0, "bushel")]
)
def test_what_is_no_current_is_left_out(value: float, unit: str) -> None:
    session = EMPTY.reading(0, value, CURRENT, unit, phase="L1").reading(0, 5, CURRENT, "A", phase="L2")
    assert shown(session, "current") == [(0.0, [None, 5.0, None])]


def test_temperatures_stand_by_place() -> None:
    session = EMPTY.reading(0, 61, "Temperature").reading(0, 62, "Temperature", location="Cable")
    session = session.reading(0, 149, "Temperature", "Fahrenheit", location="Body")
    for place in ("EV", "Inlet", "Upstream", "Moon"):
        session = session.reading(0, 99, "Temperature", location=place)
    assert shown(session, "temperature") == [(0.0, [61.0, 62.0, 65.0])]


def test_of_temperatures_by_phase_a_total_counts_else_the_first() -> None:
    session = EMPTY.reading(0, 61, "Temperature", phase="L2").reading(0, 62, "Temperature", phase="L3")
    assert shown(session, "temperature") == [(0.0, [61.0, None, None])]
    assert shown(session.reading(0, 63, "Temperature"), "temperature") == [(0.0, [63.0, None, None])]


def test_sessions_keep_to_themselves() -> None:
    one = EMPTY.reading(5, 1, CURRENT, phase="L1").reading(7, 2, CURRENT, phase="L1")
    none = charging((10, 11.0)).register(every_s=60)
    table = tables(none, one, none, one)["current"]
    assert table.offsets.tolist() == [0, 0, 2, 2, 4]
    assert rows_of(table, 1).at_s == rows_of(table, 3).at_s == [0.0, 120.0]
    assert rows_of(table, 1).column(0) == [(0.0, 1.0), (120.0, 2.0)]
    assert np.array_equal(table.value[:2], table.value[2:], equal_nan=True)
    assert rows_of(table, 0) == Rows([], [])


def test_complete_instants_have_as_many_signals_as_any() -> None:
    nan = float("nan")
    rows = Rows([0.0, 1.0, 2.0], [(1.0, 2.0, nan), (1.0, nan, nan), (nan, 2.0, 3.0)])
    assert rows.complete().at_s == [0.0, 2.0]
    assert Rows([], []).complete() == Rows([], [])
