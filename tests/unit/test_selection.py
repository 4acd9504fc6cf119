"""Which readings count: one value per instant and signal (contract, section 2; ``docs/categories.md``)."""

from math import isfinite
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chargewatch.ingest.builder import build_columns, kind_of
from chargewatch.ingest.channels import Channel
from chargewatch.ingest.readings import Reading, ReadingSet, source_of
from chargewatch.ingest.readings import columns_of as columns_of_sets
from chargewatch.ingest.selection import Selection, select
from tests.nasty_sessions import sessions
from tests.sessions import (
    BEGIN,
    CLOCK,
    CURRENT,
    END,
    MINUTE_US,
    NOW_US,
    PERIODIC,
    POWER,
    REGISTER,
    SOC,
    START_US,
    VOLTAGE,
    Session,
    charging,
    columns_of,
    judge,
    notes,
)

EMPTY = charging()


def selected(session: Session) -> Selection:
    return select(columns_of([session]), NOW_US)


def values(session: Session, channel: Channel) -> list[tuple[float, float]]:
    """(minutes after the first sane reading, value) of one channel."""
    series = selected(session).series[channel]
    return [(at / 60.0, value) for at, value in zip(series.at_s.tolist(), series.value.tolist(), strict=True)]


# ---------------------------------------------------------------------------------------------- choosing


def test_readings_are_sorted_by_time() -> None:
    session = EMPTY.reading(2, 30).reading(0, 10).reading(1, 20)
    assert values(session, Channel.REGISTER) == [(0.0, 10.0), (1.0, 20.0), (2.0, 30.0)]


def test_the_last_of_two_readings_with_one_key_counts() -> None:
    session = EMPTY.reading(0, 10).reading(1, 20).reading(0, 11).reading(1, 20)
    assert values(session, Channel.REGISTER) == [(0.0, 11.0), (1.0, 20.0)]


CONTEXTS_IN_ORDER = [
    END,
    BEGIN,
    PERIODIC,
    CLOCK,
    "Interruption.Begin",
    "Interruption.End",
    "Trigger",
    "Other",
    "New",
]


@pytest.mark.parametrize("better", range(len(CONTEXTS_IN_ORDER) - 1))
def test_contexts_are_preferred_in_their_order(better: int) -> None:
    first, second = CONTEXTS_IN_ORDER[better : better + 2]
    for pair in ((first, second), (second, first)):
        session = EMPTY
        for context in pair:
            session = session.reading(0, 1.0 if context == first else 2.0, context=context)
        assert values(session, Channel.REGISTER) == [(0.0, 1.0)]


LOCATIONS_IN_ORDER = ["Outlet", "Inlet", "Cable", "EV", "Body", "Upstream", "Elsewhere"]


@pytest.mark.parametrize("better", range(len(LOCATIONS_IN_ORDER) - 1))
def test_locations_are_preferred_in_their_order(better: int) -> None:
    first, second = LOCATIONS_IN_ORDER[better : better + 2]
    for pair in ((first, second), (second, first)):
        session = EMPTY
        for location in pair:
            session = session.reading(0, 1.0 if location == first else 2.0, location=location)
        assert values(session, Channel.REGISTER) == [(0.0, 1.0)]


def test_context_before_total_before_location() -> None:
    total = EMPTY.reading(0, 1.0, location="Body")
    assert values(total.reading(0, 9.0, phase="L1", location="Outlet"), Channel.REGISTER) == [(0.0, 1.0)]
    begin = EMPTY.reading(0, 2.0, phase="L1", context=BEGIN).reading(0, 9.0)
    assert values(begin, Channel.REGISTER) == [(0.0, 2.0)]


def test_register_and_interval_are_two_signals() -> None:
    session = EMPTY.reading(0, 10).reading(0, 5, "Energy.Active.Import.Interval")
    assert values(session, Channel.REGISTER) == [(0.0, 10.0)]
    assert values(session, Channel.INTERVAL) == [(0.0, 5.0)]


@pytest.mark.parametrize(
    ("measurand", "other", "channel"),
    [
        (SOC, "Display.PresentSOC", Channel.SOC),
        ("Current.Offered", "Current.Import.Offered", Channel.CURRENT_OFFERED),
        ("Power.Offered", "Power.Import.Offered", Channel.POWER_OFFERED),
    ],
)
def test_two_names_of_one_signal(measurand: str, other: str, channel: Channel) -> None:
    assert values(EMPTY.reading(0, 7, other), channel) == [(0.0, 7.0)]
    for session in (
        EMPTY.reading(0, 7, other).reading(0, 8, measurand),
        EMPTY.reading(0, 8, measurand).reading(0, 7, other),
    ):
        assert values(session, channel) == [(0.0, 8.0)]


def test_two_names_of_one_phase() -> None:
    for names in (("L1", "L1-N"), ("L1-N", "L1")):
        session = EMPTY
        for name in names:
            session = session.reading(0, 230.0 if name == "L1" else 231.0, VOLTAGE, phase=name)
        assert values(session, Channel.VOLTAGE) == [(0.0, 230.0)]


# ------------------------------------------------------------------------------------------------ phases


def by_phase(measurand: str, *amounts: float) -> Session:
    session = EMPTY
    for i, amount in enumerate(amounts):
        session = session.reading(0, amount, measurand, phase=f"L{i + 1}")
    return session


def test_phases_are_summed_and_noted() -> None:
    assert values(by_phase(REGISTER, 1, 2, 3), Channel.REGISTER) == [(0.0, 6.0)]
    assert values(by_phase(POWER, 1, 2, 3), Channel.POWER) == [(0.0, 6.0)]
    assert values(by_phase(CURRENT, 1, 2, 3), Channel.CURRENT) == [(0.0, 6.0)]
    assert notes(by_phase(REGISTER, 1, 2, 3)) == {"phases_summed": 1}
    assert notes(by_phase(CURRENT, 1, 2, 3)) == {}


def test_of_the_current_on_offer_the_largest_phase_counts_of_voltage_and_soc_the_mean() -> None:
    assert values(by_phase("Current.Offered", 10, 16, 16), Channel.CURRENT_OFFERED) == [(0.0, 16.0)]
    assert values(by_phase(VOLTAGE, 229, 230, 234), Channel.VOLTAGE) == [(0.0, 231.0)]


def test_a_total_counts_before_the_phases() -> None:
    assert values(by_phase(POWER, 1, 2, 3).reading(0, 7, POWER), Channel.POWER) == [(0.0, 7.0)]
    assert notes(by_phase(POWER, 1, 2, 3).reading(0, 7, POWER)) == {}


def test_an_instant_that_lacks_a_phase_is_left_out() -> None:
    session = by_phase(REGISTER, 100, 100, 100)
    for phase in ("L1", "L2"):
        session = session.reading(1, 110, phase=phase)
    session = session.reading(2, 120, phase="L1").reading(2, 120, phase="L2").reading(2, 120, phase="L3")
    assert values(session, Channel.REGISTER) == [(0.0, 300.0), (2.0, 360.0)]


@pytest.mark.parametrize("phase", ["N", "L1-L2", "L2-L3", "L3-L1", "L9"])
def test_neutral_and_phase_to_phase_readings_never_count(phase: str) -> None:
    assert values(EMPTY.reading(0, 1.0, VOLTAGE, phase=phase), Channel.VOLTAGE) == []


def test_how_many_phases_carry_current() -> None:
    session = by_phase(CURRENT, 16, 1.0, 1.1)
    assert selected(session).series[Channel.CURRENT].phases.tolist() == [2]
    assert selected(session.reading(0, 17, CURRENT)).series[Channel.CURRENT].phases.tolist() == [2]
    assert selected(EMPTY.reading(0, 17, CURRENT)).series[Channel.CURRENT].phases.tolist() == [-1]


# --------------------------------------------------------------------------------- units, numbers, clocks


@pytest.mark.parametrize(
    ("measurand", "unit", "value", "channel", "expected"),
    [
        (REGISTER, None, 5, Channel.REGISTER, 5.0),
        (REGISTER, "kWh", 3.8, Channel.REGISTER, 3800.0),
        (REGISTER, "kwh", 3.8000000000000003, Channel.REGISTER, 3800.0),
        (POWER, "kW", 11, Channel.POWER, 11_000.0),
        (POWER, "W", 11, Channel.POWER, 11.0),
        (CURRENT, "kA", 0.5, Channel.CURRENT, 500.0),
        (VOLTAGE, "kV", 0.4, Channel.VOLTAGE, 400.0),
        (SOC, None, 55, Channel.SOC, 55.0),
    ],
)
def test_units_are_converted(
    measurand: str, unit: str | None, value: float, channel: Channel, expected: float
) -> None:
    assert values(EMPTY.reading(0, value, measurand, unit), channel) == [(0.0, expected)]


@pytest.mark.parametrize(
    ("measurand", "unit"),
    [
        (REGISTER, "W"),
        (POWER, "kWh"),
        (REGISTER, "varh"),
        (REGISTER, "bushel"),
        ("Vendor.Energy", "Wh"),
        (SOC, "Wh"),
    ],
)
def test_unknown_measurands_and_units_are_noted_and_do_not_refuse_their_neighbours(
    measurand: str, unit: str
) -> None:
    session = EMPTY.reading(0, 5, measurand, unit).reading(0, 7)
    assert notes(session) == {"unknown_measurand": 1}
    assert values(session, Channel.REGISTER) == [(0.0, 7.0)]


def test_signed_data_is_noted_and_not_analysed() -> None:
    signed = kind_of(REGISTER, "Wh", None, None, None, "SignedData")
    plain = kind_of(REGISTER, "Wh", None, None, None)
    columns = build_columns([[(START_US, 1.0, signed), (START_US + MINUTE_US, 2.0, plain)]])
    selection = select(columns, NOW_US)
    assert selection.series[Channel.REGISTER].value.tolist() == [2.0]
    assert selection.unknown.tolist() == [1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1.1e15, -1e300])
def test_what_is_no_number_is_noted_and_not_analysed(value: float) -> None:
    session = EMPTY.reading(0, value).reading(1, 7)
    assert notes(session) == {"not_numeric": 1}
    assert values(session, Channel.REGISTER) == [(1.0, 7.0)]


def test_clock_faults_are_noted_and_left_out() -> None:
    early, late = 946_771_200_000_000, NOW_US + 86_400_000_000
    kind = kind_of(REGISTER, "Wh", None, None, None)
    for insane in (0, early - 1, late + 1):
        selection = select(build_columns([[(insane, 1.0, kind), (START_US, 2.0, kind)]]), NOW_US)
        assert selection.clock_faults.tolist() == [1]
        assert (selection.first_us.tolist(), selection.series[Channel.REGISTER].value.tolist()) == (
            [START_US],
            [2.0],
        )
    for sane in (early, late):
        assert select(build_columns([[(sane, 1.0, kind)]]), NOW_US).clock_faults.tolist() == [0]


def test_the_session_begins_and_ends_at_its_first_and_last_sane_reading_analysed_or_not() -> None:
    session = EMPTY.reading(0, 20.5, "Temperature").reading(16, 5).reading(40, 6, "Vendor.Thing")
    selection = selected(session)
    assert (selection.first_us.tolist(), selection.last_us.tolist()) == (
        [START_US],
        [START_US + 40 * MINUTE_US],
    )
    assert selection.instants.tolist() == [1]
    assert judge(session).sequence_length == 3


def test_gaps_of_more_than_four_usual_spacings_and_five_minutes() -> None:
    session = charging((60, 11.0)).register(every_s=60)
    assert notes(session.without(20, 25)) == {}
    assert notes(session.without(20, 26)) == {"gap": 1}
    assert notes(session.without(20, 26).without(40, 50)) == {"gap": 2}


def test_a_missing_unit_is_noted() -> None:
    verdict = judge(EMPTY.reading(0, 5).reading(1, 6, REGISTER, "Wh").reading(2, 7))
    assert [(n.code, n.count) for n in verdict.data_quality] == [("unit_assumed", 2)]


# --------------------------------------------------------------------------------------- order of arrival


@settings(
    derandomize=True, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck), database=None
)
@given(sessions(), st.integers(0, 2**16))
def test_any_order_of_arrival_gives_the_same_verdict(session: Session, seed: int) -> None:
    """Permutations, repeats, and readings in several parts; of one key the value that came last stays last."""
    unique: dict[object, tuple] = {}
    for one in session.sent:
        kind = kind_of(one[2], one[3], *one[4:])
        unique[
            one[0],
            kind.measurand,
            one[2] if kind.measurand < 0 else "",
            kind.phase,
            kind.location,
            kind.context,
        ] = one
    readings = list(unique.values())
    shuffled = [*readings, *readings[::2]]
    Random(seed).shuffle(shuffled)
    expected = judge(Session(session.pieces, tuple(readings), session.declared))
    verdict = judge(Session(session.pieces, tuple(shuffled), session.declared))
    assert verdict.anomalies == expected.anomalies
    assert verdict.past_anomalies == expected.past_anomalies
    assert (verdict.score, verdict.confidence) == (expected.score, expected.confidence)
    assert (verdict.sequence_length, verdict.energy_kwh) == (expected.sequence_length, expected.energy_kwh)


@settings(
    derandomize=True, deadline=None, max_examples=50, suppress_health_check=list(HealthCheck), database=None
)
@given(sessions(), st.integers(1, 9))
def test_any_splitting_into_calls_gives_the_same_set_of_readings(session: Session, parts: int) -> None:
    sent = [
        Reading(one[0], repr(one[1]), source_of(*one[2:], None)) for one in session.sent if isfinite(one[1])
    ]
    whole, split = ReadingSet(sent), ReadingSet()
    size = -(-len(sent) // parts) or 1
    for start in range(0, len(sent), size):
        split.apply(sent[start : start + size])
    for column, other in zip(columns_of_sets([whole]), columns_of_sets([split]), strict=True):
        assert np.array_equal(column, other)


def test_sessions_of_a_batch_are_kept_apart() -> None:
    batch = select(columns_of([EMPTY.reading(0, 1), EMPTY, EMPTY.reading(0, 2).reading(1, 3)]), NOW_US)
    assert batch.series[Channel.REGISTER].offsets.tolist() == [0, 1, 1, 3]
    assert batch.instants.tolist() == [1, 0, 2]
    assert batch.first_us.tolist() == [START_US, 0, START_US]
    assert np.array_equal(batch.window_us, batch.first_us)


def test_the_window_begins_at_the_first_reading_of_the_last_6_hours() -> None:
    readings = charging().readings([(0, 1), (59, 2), (61, 3), (421, 4)])
    assert selected(readings).window_us.tolist() == [START_US + 61 * MINUTE_US]
    exactly = charging().readings([(0, 1), (360, 4)])
    assert selected(exactly).window_us.tolist() == [START_US]
