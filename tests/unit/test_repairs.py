"""Repairs of the register: what is left out or rescaled, and what is left alone (``docs/categories.md``)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargewatch.domain.data_quality import NoteCode
from chargewatch.ingest.repairs import BEGIN, END, RegisterReadings, foreign_ends, undo_unit_switches
from tests.sessions import (
    END as END_CONTEXT,
)
from tests.sessions import (
    POWER,
    REGISTER,
    categories,
    charging,
    judge,
    notes,
)

SAMPLE = 2
TOLERANCE_WH = 10.0
UNKNOWN = 400_000.0
MINUTES = 60.0


def ends(
    begin: float | None, samples: list[float], end: float | None, *, power_w: float = UNKNOWN
) -> dict[int, NoteCode]:
    """``foreign_ends`` of readings five minutes apart."""
    values = [*([] if begin is None else [begin]), *samples, *([] if end is None else [end])]
    contexts = [
        *([] if begin is None else [BEGIN]),
        *[SAMPLE] * len(samples),
        *([] if end is None else [END]),
    ]
    at = [5 * MINUTES * i for i in range(len(values))]
    return foreign_ends(RegisterReadings(at, [float(v) for v in values], contexts), TOLERANCE_WH, power_w)


# -------------------------------------------------------------------------------------------- Begin, End


def test_begin_and_end_of_the_samples_register_stay() -> None:
    assert ends(0, [900, 1_800, 2_700], 3_600) == {}
    assert ends(7_000_000, [7_000_900, 7_001_800], 7_002_700) == {}


def test_without_samples_nothing_is_judged() -> None:
    assert ends(0, [], 7_000_000) == {}


@pytest.mark.parametrize(
    ("begin", "note"),
    [
        (0, NoteCode.BEGIN_ZERO_PLACEHOLDER),
        (10, NoteCode.BEGIN_ZERO_PLACEHOLDER),
        (11, NoteCode.REGISTER_MIXED),
        (5_000, NoteCode.REGISTER_MIXED),
    ],
)
def test_a_begin_far_below_the_samples(begin: float, note: NoteCode) -> None:
    assert ends(begin, [7_000_000, 7_000_900], None) == {0: note}


def test_a_begin_below_by_what_could_be_delivered_stays() -> None:
    most = 400_000 * 5 / 60 + 20
    assert ends(0, [most, most + 900], None) == {}
    assert ends(0, [most + 1, most + 900], None) == {0: NoteCode.BEGIN_ZERO_PLACEHOLDER}
    assert ends(0, [12_000 * 5 / 60 + 21, 2_000], None, power_w=12_000) == {
        0: NoteCode.BEGIN_ZERO_PLACEHOLDER
    }


def test_a_lifetime_begin_before_samples_from_zero() -> None:
    assert ends(7_000_000, [0, 900, 1_800], None) == {0: NoteCode.REGISTER_MIXED}


def test_a_begin_that_the_samples_pass_is_of_their_register() -> None:
    assert ends(1_000, [500, 1_400, 2_300], None) == {}


def test_a_begin_above_lifetime_samples_is_of_their_register() -> None:
    assert ends(7_003_000, [7_000_000, 7_000_900], None) == {}


@pytest.mark.parametrize("sentinel", [2**31 - 1, 2**32 - 1])
def test_sentinels(sentinel: int) -> None:
    assert ends(sentinel, [0, 900], sentinel) == {0: NoteCode.REGISTER_MIXED, 3: NoteCode.REGISTER_MIXED}
    assert ends(None, [sentinel, sentinel], sentinel) == {}


@pytest.mark.parametrize("sentinel", [2**31 - 1, 2**32 - 1])
def test_sentinels_without_samples(sentinel: int) -> None:
    """A start and a stop are all that some stations send."""
    assert ends(411_000, [], sentinel) == {1: NoteCode.REGISTER_MIXED}
    assert ends(sentinel, [], 411_000) == {0: NoteCode.REGISTER_MIXED}
    assert ends(sentinel, [], sentinel) == {}
    assert ends(411_000, [], 425_000) == {}


def test_an_end_that_fits_a_foreign_begin() -> None:
    assert set(ends(7_000_000, [0, 900, 1_800], 7_001_900)) == {0, 4}


def test_an_end_that_starts_from_zero_after_lifetime_samples() -> None:
    samples = [7_000_000 + 900 * i for i in range(20)]
    assert ends(None, samples, 17_100) == {20: NoteCode.REGISTER_MIXED}
    assert ends(None, samples, 18_800) == {20: NoteCode.REGISTER_MIXED}  # to 10 per cent
    assert ends(None, samples, 25_000) == {}


def test_a_lifetime_end_after_samples_from_zero() -> None:
    assert ends(None, [0, 900, 1_800], 7_000_000) == {3: NoteCode.REGISTER_MIXED}
    assert ends(0, [0, 900, 1_800], 7_000_000) == {4: NoteCode.REGISTER_MIXED}


@pytest.mark.parametrize(("first", "foreign"), [(1_020, False), (1_021, True)])
def test_samples_must_begin_well_above_zero_to_tell_their_end_from_a_sessions_own(
    first: float, foreign: bool
) -> None:
    """2 × (0.5 kWh and the tolerance)."""
    assert bool(ends(None, [first, first + 900, first + 1_800], 1_800)) is foreign


@pytest.mark.parametrize(
    ("end", "foreign"), [(1_800 + 510, False), (1_800 + 511, True), (1_800 - 510, False), (1_800 - 511, True)]
)
def test_an_end_of_the_sessions_own_to_half_a_kwh(end: float, foreign: bool) -> None:
    assert bool(ends(None, [7_000_000, 7_000_900, 7_001_800], end)) is not foreign


@pytest.mark.parametrize(
    ("first", "end", "foreign"),
    [(0, 28_000, False), (0, 28_001, True), (10_000, 7_000_000, True), (10_001, 7_000_000, False)],
)
def test_a_lifetime_end_is_far_above_samples_from_about_zero(first: float, end: float, foreign: bool) -> None:
    """Ten times the last sample and 1 kWh; the samples begin at 10 kWh or less; 12 kW are rated."""
    assert bool(ends(None, [first, first + 900, first + 1_800], end, power_w=12_000)) is foreign


@pytest.mark.parametrize("fall", [11, 400, 1_500, 1_800])
def test_an_end_below_samples_from_zero_is_a_fall(fall: float) -> None:
    assert ends(None, [0, 900, 1_800], 1_800 - fall) == {}
    assert ends(0, [0, 900, 1_800], 1_800 - fall) == {}


def test_all_readings_of_the_context_are_left_out() -> None:
    session = charging((60, 11.0)).register(every_s=60, begin_kwh=7_000)
    session = session.reading(60.5, 11_000, context=END_CONTEXT).reading(60.7, 11_003, context=END_CONTEXT)
    assert categories(session) == []
    assert judge(session).energy_kwh == pytest.approx(11.0)


def test_the_sample_of_the_instant_takes_the_place_of_the_end() -> None:
    session = (
        charging((60, 11.0)).register(every_s=60, begin_kwh=7_000).reading(60, 11_000, context=END_CONTEXT)
    )
    assert judge(session).energy_kwh == pytest.approx(11.0)


# --------------------------------------------------------------------------------------------- locations


def test_the_best_location_with_half_of_the_instants_is_read() -> None:
    truth = charging((60, 11.0))
    outlet = truth.register(times=range(0, 60, 2), begin_kwh=7_000)
    both = outlet.register(times=[i + 0.5 for i in range(60)], begin_kwh=9_000, location="Inlet")
    assert judge(both).energy_kwh == pytest.approx(
        charging((60, 11.0)).kwh_at(59.5) - charging((60, 11.0)).kwh_at(0.5), abs=0.002
    )
    even = outlet.register(times=range(1, 60, 2), begin_kwh=9_000, location="Inlet")
    assert judge(even).energy_kwh == pytest.approx(truth.kwh_at(58), abs=0.002)
    assert notes(even) == {"register_mixed": 1}


def test_two_locations_at_the_same_instants_need_no_repair() -> None:
    session = charging((60, 11.0)).register(every_s=60, begin_kwh=7_000)
    session = session.register(every_s=60, begin_kwh=9_000, location="Inlet")
    assert notes(session) == {}


# -------------------------------------------------------------------------------------------- the unit


def at(count: int) -> list[float]:
    return [5 * MINUTES * i for i in range(count)]


def test_a_switch_and_a_switch_back() -> None:
    wh = [5_000.0 + 900 * i for i in range(20)]
    switched = [v * (1000 if 5 <= i < 12 else 1) for i, v in enumerate(wh)]
    assert undo_unit_switches(at(20), switched, TOLERANCE_WH, UNKNOWN) == (pytest.approx(wh), 2)
    switched = [v / (1000 if 5 <= i < 12 else 1) for i, v in enumerate(wh)]
    assert undo_unit_switches(at(20), switched, TOLERANCE_WH, UNKNOWN) == (pytest.approx(wh), 2)


def test_a_single_reading_in_another_unit() -> None:
    wh = [5_000.0 + 900 * i for i in range(20)]
    odd = [v / 1000 if i == 7 else v for i, v in enumerate(wh)]
    assert undo_unit_switches(at(20), odd, TOLERANCE_WH, UNKNOWN) == (pytest.approx(wh), 2)


@pytest.mark.parametrize(("second", "switches"), [(100.0, 1), (99.0, 0)])
def test_a_register_of_100_wh_is_rescaled(second: float, switches: int) -> None:
    wh = [second - 1, second, (second + 900) * 1000, (second + 1_800) * 1000]
    assert undo_unit_switches(at(4), wh, TOLERANCE_WH, UNKNOWN)[1] == switches


@pytest.mark.parametrize(("third", "switches"), [(25_010.0, 1), (25_020.0, 0)])
def test_the_rescaled_register_rises_by_no_more_than_could_be_delivered(third: float, switches: int) -> None:
    """60 kW for 5 minutes are 5 kWh; plus the tolerance."""
    assert undo_unit_switches(at(3), [19_900.0, 20_000.0, third * 1000], TOLERANCE_WH, 60_000)[1] == switches


def test_a_register_below_100_wh_is_not_rescaled() -> None:
    wh = [0.0, 99.0, 99_900.0, 100_800.0]
    assert undo_unit_switches(at(4), wh, TOLERANCE_WH, UNKNOWN) == (wh, 0)


def test_a_fall_that_goes_on_at_its_old_pace_is_no_switch() -> None:
    """20 kWh fall to 0.03 kWh, which times 1000 could be delivered; but then it rises as before."""
    wh = [20_000.0 - 900 * (3 - i) for i in range(4)] + [30.0 + 900 * i for i in range(4)]
    assert undo_unit_switches(at(8), wh, TOLERANCE_WH, UNKNOWN) == (wh, 0)


def test_a_fall_to_zero_is_no_switch() -> None:
    wh = [5_000.0, 5_900.0, 6_800.0, 0.0, 0.0, 7_700.0]
    assert undo_unit_switches(at(6), wh, TOLERANCE_WH, UNKNOWN) == (wh, 0)


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=30), st.integers(0, 10**7))
@settings(derandomize=True, deadline=None)
def test_a_register_that_goes_on_is_never_rescaled(rises: list[int], begin: int) -> None:
    wh = [float(begin + sum(rises[: i + 1])) for i in range(len(rises))]
    assert undo_unit_switches(at(len(wh)), wh, TOLERANCE_WH, UNKNOWN) == (wh, 0)


def test_no_reading() -> None:
    assert undo_unit_switches([], [], TOLERANCE_WH, UNKNOWN) == ([], 0)


# ------------------------------------------------------------------------------- the scale against power


@pytest.mark.parametrize("factor", [1000.0, 0.001])
def test_a_register_off_the_power_by_1000_is_rescaled(factor: float) -> None:
    session = charging((60, 11.0)).register(every_s=60).power(every_s=60)
    session = session.altered(REGISTER, lambda at, wh: wh * factor)
    assert categories(session) == []
    assert judge(session).energy_kwh == pytest.approx(11.0, abs=0.01)
    assert "unit_scale_suspect" in notes(session)


def test_a_register_off_by_another_factor_is_left_alone() -> None:
    session = charging((60, 11.0)).register(every_s=60).power(every_s=60)
    session = session.altered(REGISTER, lambda at, wh: wh * 500)
    assert notes(session) == {}


def test_a_drop_out_of_a_lifetime_register_is_no_wrong_scale() -> None:
    """Coming back it rises by 1000 times what was delivered."""
    session = charging((60, 11.0)).register(every_s=60, begin_kwh=11_000).power(every_s=60)
    session = session.altered(REGISTER, lambda at, wh: 0.0 if 20 <= at < 25 else wh)
    assert notes(session) == {}
    assert judge(session).energy_kwh == pytest.approx(11.0)


def test_little_energy_is_not_judged() -> None:
    session = charging((60, 0.099)).register(every_s=60).power(every_s=60)
    session = session.altered(REGISTER, lambda at, wh: wh * 1000).altered(POWER, lambda at, w: w)
    assert "unit_scale_suspect" not in notes(session)


# ---------------------------------------------------------------------------- resolution of what is left


def test_a_repair_is_judged_in_the_sessions_own_time() -> None:
    """The foreign Begin is the first reading; what is left still stands where it was sent."""
    session = charging((60, 11.0)).register(every_s=60).reading(-7.3, 7_000_000, context="Transaction.Begin")
    session = session.altered(REGISTER, lambda at, wh: wh if at < 30 else wh - 1_000)
    verdict = judge(session)
    (anomaly,) = verdict.anomalies
    assert (anomaly.bucket_range.start_unit, anomaly.bucket_range.end_unit) == (2, 2)
    assert verdict.sequence_length == 5
