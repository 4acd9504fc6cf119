"""The delivery as steps of constant power (``docs/categories.md``, "Flow")."""

import pytest

from chargewatch.csar2.physics.energy_pit import highest_before, level_before
from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS
from chargewatch.features.batch import SessionBatch
from chargewatch.features.flow import Step, interval_steps, median, power_steps, register_steps
from chargewatch.features.record import Curve, SessionRecord
from tests.sessions import (
    CURRENT,
    INTERVAL,
    NOW_US,
    POWER,
    REGISTER,
    SOC,
    VOLTAGE,
    Session,
    charging,
    columns_of,
    declared_of,
)


def spans(steps: list[Step]) -> list[tuple[float, float, float]]:
    return [(s.start_s, s.end_s, s.power_w) for s in steps]


def record(session: Session) -> SessionRecord:
    return SessionBatch(columns_of([session]), declared_of([session]), NOW_US, DEFAULT_THRESHOLDS).record(0)


def test_the_lower_median() -> None:
    assert [median(v) for v in ([3.0], [4.0, 3.0], [9.0, 1.0, 5.0], [4.0, 2.0, 3.0, 1.0])] == [
        3.0,
        3.0,
        5.0,
        2.0,
    ]


# ------------------------------------------------------------------------------------------ from power


def test_a_power_reading_stands_for_the_time_half_way_to_its_neighbours() -> None:
    steps = power_steps([0, 60, 120, 300], [1, 2, 3, 4], {}, 1.0)
    assert spans(steps) == [(0, 30, 1), (30, 90, 2), (90, 210, 3), (210, 300, 4)]
    assert [(s.first_s, s.last_s) for s in steps] == [(0, 0), (60, 60), (120, 120), (300, 300)]


def test_at_a_gap_it_stands_for_one_usual_interval() -> None:
    times, powers = [0, 60, 120, 180, 360, 541], [1, 2, 3, 4, 5, 6]
    assert spans(power_steps(times, powers, {}, 1.0))[3:] == [(150, 270, 4), (270, 420, 5), (481, 541, 6)]


def test_the_register_fills_a_gap() -> None:
    times, powers = [0, 60, 120, 720, 780], [1000, 1000, 1000, 1000, 1000]
    steps = power_steps(times, powers, {120: 5_000.0, 720: 5_100.0}, 1.0)
    assert spans(steps)[2:5] == [(90, 180, 1000), (180, 660, 606), (660, 750, 1000)]
    assert (steps[3].first_s, steps[3].last_s, steps[3].duration_s) == (120, 720, 480)
    fallen = power_steps(times, powers, {120: 5_000.0, 720: 4_000.0}, 1.0)
    assert len(fallen) == 5
    assert len(power_steps(times, powers, {121: 5_000.0, 720: 5_100.0}, 1.0)) == 5


def test_a_coarse_register_fills_a_gap_as_its_neighbours_say_as_far_as_it_allows() -> None:
    times, powers = [0, 10, 20, 60, 70], [50_000.0] * 5
    jumps = power_steps(times, powers, {20: 17_163_000.0, 60: 17_164_000.0}, 1000.0)  # 90 kW, were it exact
    assert {step.power_w for step in jumps} == {50_000.0}
    stands = power_steps(times, powers, {20: 17_163_000.0, 60: 17_163_000.0}, 100.0)  # 9 kW at the most
    assert [step.power_w for step in stands] == [50_000.0, 50_000.0, 50_000.0, 9_000.0, 50_000.0, 50_000.0]


def test_the_register_shows_what_two_power_readings_missed() -> None:
    times = [0, 300, 600]
    missed = power_steps(times, [0, 0, 0], {0: 0.0, 300: 0.0, 600: 500.0}, 1.0)
    assert spans(missed) == [(0, 150, 0), (150, 300, 0), (300, 600, 5_988), (600, 600, 0)]
    # 25 W, and less than 1.25 × 100 W + 300 W more: not told from losses and noise
    assert len(power_steps(times, [100, 100, 100], {0: 0.0, 300: 35.0, 600: 70.0}, 1.0)) == 3


@pytest.mark.parametrize(("mean_w", "steps"), [(12_790, 3), (12_810, 4)])
def test_the_register_must_show_more_than_losses_and_noise(mean_w: float, steps: int) -> None:
    """1.25 × 10 kW + 0.3 kW, with a register of 1 Wh that may have counted one too many."""
    register = {0: 0.0, 300: 833.0, 600: 833.0 + mean_w / 12 + 1}
    assert len(power_steps([0, 300, 600], [10_000, 10_000, 10_000], register, 1.0)) == steps


def test_a_ramp_between_two_power_readings_is_no_contradiction() -> None:
    steps = power_steps([0, 300, 600], [0, 11_000, 11_000], {0: 0.0, 300: 600.0, 600: 1_517.0}, 1.0)
    assert [s.power_w for s in steps] == [0, 11_000, 11_000]


def test_fewer_than_two_power_readings_make_no_flow() -> None:
    assert power_steps([], [], {}, 1.0) == []
    assert power_steps([5], [1], {}, 1.0) == []


# --------------------------------------------------------------------------------------- from the register


def test_a_register_step_has_the_mean_power() -> None:
    assert spans(register_steps([0, 60, 180], [0, 100, 300], 1.0)) == [(0, 60, 6_000), (60, 180, 6_000)]


def test_readings_between_which_the_register_could_not_move_are_merged() -> None:
    """1 kWh every six minutes at 10 kW: at a quarter of that, 24 minutes would pass without a move."""
    times = [60 * i for i in range(37)]
    wh = [1000 * (i // 6) for i in range(37)]
    assert spans(register_steps(times, wh, 1000.0)) == [(360 * i, 360 * (i + 1), 10_000) for i in range(6)]


def test_after_four_resolutions_worth_of_time_a_standstill_shows() -> None:
    times = [60 * i for i in range(61)]
    wh = [1000 * (i // 6) if i <= 30 else 5_000 for i in range(61)]
    assert spans(register_steps(times, wh, 1000.0))[5:] == [(1800, 3000, 0), (3000, 3600, 0)]


def test_a_standstill_that_the_register_may_not_show_ends_the_flow() -> None:
    """At 1.4 kW a register of 1 kWh moves every 43 minutes: 60 minutes at the end without a move tell little."""
    times = [60 * i for i in range(260)]
    wh = [1000 * (min(i, 172) // 43) for i in range(260)]
    assert spans(register_steps(times[:233], wh[:233], 1000.0))[-1][1] == 172 * 60
    assert spans(register_steps(times, wh, 1000.0))[-1][1] == 259 * 60


def test_a_single_step_of_the_register_may_have_been_under_way_since_the_first_reading() -> None:
    times = [60 * i for i in range(60)]
    wh = [0] * 9 + [100] * 51
    assert [(s.start_s, round(s.power_w)) for s in register_steps(times, wh, 100.0)] == [
        (0, 667),
        (540, 0),
        (2700, 0),
    ]


def test_the_first_move_after_a_standstill_may_have_taken_all_of_it() -> None:
    times = [60 * i for i in range(9)]
    one = register_steps(times, [0, 100, 200, 200, 200, 200, 200, 300, 400], 10.0)
    assert [round(s.power_w) for s in one] == [6_000, 6_000, 0, 0, 0, 0, 5_400, 6_000]
    coarse = register_steps(times, [0, 100, 200, 200, 200, 200, 200, 300, 400], 100.0)
    assert [round(s.power_w) for s in coarse] == [6_000, 6_000, 1_200, 6_000]


def test_falling_steps_and_rises_beyond_belief_are_left_out() -> None:
    times = [0, 60, 120, 180, 240]
    assert spans(register_steps(times, [500, 600, 0, 100, 200], 1.0)) == [
        (0, 60, 6_000),
        (120, 180, 6_000),
        (180, 240, 6_000),
    ]
    wild = register_steps(times, [0, 100, 100_100, 100_200, 100_300], 1.0, 400_000)
    assert [s.power_w for s in wild] == [6_000, 6_000, 6_000]
    assert len(register_steps([0, 3600, 7200], [0, 400_000, 800_000], 1.0, 400_000)) == 2
    assert len(register_steps([0, 3600, 7200], [0, 400_001, 800_000], 1.0, 400_000)) == 2
    assert len(register_steps([0, 3600, 7200], [0, 400_002, 800_000], 1.0, 400_000)) == 1


def test_a_coarse_register_may_show_one_resolution_more_than_was_delivered() -> None:
    """3.7 kW read each minute in steps of 100 Wh: a move looks like 6 kW, and the still register goes on telling."""
    times = list(range(0, 3600, 60))
    register = [100.0 * int(3_700 * min(t, 1800) / 3600 / 100) for t in times]
    steps = register_steps(times, register, 100.0, 1.15 * 3_700)
    assert sum(s.power_w * (s.end_s - s.start_s) for s in steps if s.end_s <= 1860) > 0.8 * 3_700 * 1800
    assert min(s.power_w for s in steps if s.start_s >= 1860) == 0.0


def test_a_register_that_never_moves_is_one_step() -> None:
    assert spans(register_steps([0, 60, 120], [7, 7, 7], 1.0)) == [(0, 120, 0)]
    assert register_steps([0], [7], 1.0) == []
    assert register_steps([], [], 1.0) == []


def test_an_interval_energy_stands_for_the_time_since_the_one_before() -> None:
    assert spans(interval_steps([0, 900, 1800], [5, 250, -3])) == [(0, 900, 1_000), (900, 1800, 0)]


# --------------------------------------------------------------------------------------- which source


CHARGED = charging((60, 11.0))


@pytest.mark.parametrize(
    ("session", "source", "count"),
    [
        (CHARGED.register(every_s=60), "register", 61),
        (CHARGED.register(every_s=60).power(every_s=60), "power", 61),
        (CHARGED.register(every_s=60).power(every_s=120), "power", 31),
        (CHARGED.register(every_s=60).power(every_s=180), "register", 61),
        (CHARGED.register(times=[0, 60]), "register", 2),
        (CHARGED.register(times=[0]), None, 0),
        (CHARGED.power(times=[0, 60]), "power", 2),
        (CHARGED.power(times=[0, 60]).register(times=[0, 20, 40, 60]), "power", 2),
        (CHARGED.power(times=[0]).register(times=[0, 60]), "register", 2),
        (CHARGED.intervals(every_s=1800), "interval", 2),
        (CHARGED.intervals(every_s=3600), None, 0),
        (CHARGED.intervals(every_s=900), "interval", 4),
        (CHARGED.intervals(every_s=900).register(times=[0]), "interval", 4),
        (CHARGED.intervals(every_s=900).register(times=[0, 60]), "register", 2),
        (CHARGED.soc((0, 40), (60, 50)), None, 0),
    ],
)
def test_the_source_of_the_flow(session: Session, source: str | None, count: int) -> None:
    drawn = record(session)
    assert (drawn.flow_source, drawn.flow_readings) == (source, count)
    assert bool(drawn.flow) == (source is not None)


def test_current_times_voltage_where_nothing_else_is_known() -> None:
    session = charging().readings([(0, 16), (1, 16), (2, 0)], CURRENT).readings([(0, 230), (1, 231)], VOLTAGE)
    assert record(session).power == Curve([0.0, 60.0], [3680.0, 3696.0])
    assert record(session.reading(0, 5, INTERVAL)).power.at_s == []
    assert record(session.readings([(0, 5), (1, 6)], REGISTER)).power.at_s == []
    assert record(session.reading(0, 5, REGISTER)).power.at_s == [0.0, 60.0]


@pytest.mark.parametrize(
    ("session", "source", "kwh"),
    [
        (CHARGED.register(every_s=60).power(every_s=60), "register", 11.0),
        (CHARGED.register(times=[0]).intervals(every_s=900).power(every_s=60), "interval", 11.0),
        (CHARGED.power(every_s=60), "power", 11.0),
        (CHARGED.power(times=[0]), None, None),
    ],
)
def test_the_energy_of_a_session(session: Session, source: str | None, kwh: float | None) -> None:
    drawn = record(session)
    assert drawn.energy_source == source
    assert drawn.imported_wh == (None if kwh is None else pytest.approx(kwh * 1000))


def test_energy_so_far() -> None:
    drawn = record(CHARGED.register(every_s=60))
    assert [drawn.imported_until(at) for at in (-1.0, 0.0, 60.0, 90.0, 120.0)] == [0, 0, 183, 183, 366]


def test_offers() -> None:
    offered = charging().reading(0, 16, "Current.Offered")
    assert record(offered).offered_w.value == [16 * 230]
    assert record(offered.reading(0, 120, VOLTAGE)).offered_w.value == [16 * 120]
    assert record(offered.reading(0, 100, VOLTAGE)).offered_w.value == [16 * 100]
    assert record(offered.reading(0, 90, VOLTAGE)).offered_w.value == [16 * 230]
    assert record(offered.reading(0, 400, VOLTAGE)).offered_w.value == [16 * 400]
    phased = offered
    for phase in ("L1", "L2", "L3"):
        phased = phased.reading(0, 10 if phase != "L3" else 1, CURRENT, phase=phase)
    assert record(phased).offered_w.value == [16 * 230 * 2]
    assert record(phased.declare(rated_kw=50)).offered_w.value == [16 * 230]
    assert record(offered.reading(0, 7_000, "Power.Offered")).offered_w.value == [7_000]


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        (CHARGED.power(every_s=60), False),
        (CHARGED.power(every_s=60).declare(rated_kw=43), False),
        (CHARGED.power(every_s=60).declare(rated_kw=44), True),
        (charging((60, 43.1)).power(every_s=60), True),
        (charging((60, 43.0)).power(every_s=60), False),
        (CHARGED.reading(0, 301, VOLTAGE), True),
        (CHARGED.reading(0, 300, VOLTAGE), False),
        (CHARGED.reading(0, 400, VOLTAGE).reading(0, 10, CURRENT, phase="L1"), False),
    ],
)
def test_dc(session: Session, expected: bool) -> None:
    assert record(session).is_dc is expected


def test_sane_soc() -> None:
    session = charging().readings([(0, 0), (1, 50), (2, 100), (3, 101), (4, 255)], SOC)
    assert record(session).soc == Curve([60.0, 120.0], [50.0, 100.0])


def test_a_curve_between_and_before() -> None:
    curve = Curve([0.0, 60.0, 120.0], [1.0, 2.0, 3.0])
    assert [curve.last_before(at) for at in (-1.0, 0.0, 59.0, 60.0, 500.0)] == [None, 1.0, 1.0, 2.0, 3.0]
    assert [curve.between(*span) for span in ((0, 60), (1, 59), (60, 60), (61, 500))] == [
        [1, 2],
        [],
        [2],
        [3],
    ]
    assert Curve([], []).last_before(5.0) is None


def test_power_below_zero_counts_as_zero_and_as_export() -> None:
    drawn = record(charging().readings([(0, 5), (1, -7_000), (2, 5)], POWER))
    assert drawn.power.value == [5, 0, 5]
    assert (drawn.exported(0, 60), drawn.exported(0, 59), drawn.exported(61, 120)) == (True, False, False)


# ----------------------------------------------------------------------------------------------- levels


def test_the_highest_level_before_bounds_the_level_before() -> None:
    flow = record(
        charging((25, 3.0), (3, 11.0), (5, 0.5), (30, 6.0), (9, 0.0), (20, 2.0)).power(every_s=60)
    ).flow
    bound = highest_before(flow)
    for position in range(1, len(flow)):
        window = [s.power_w for s in flow[:position] if flow[position].start_s - s.end_s <= 1200.0]
        assert bound[position] == max(window)
        assert level_before(flow, position, 0, 0.25) <= bound[position]


@pytest.mark.parametrize(
    ("powers", "apart_s", "expected"),
    [
        ([8.0], 240, 8.0),
        ([7.0, 8.0], 240, 7.0),  # the step next to the run may hold a part of the collapse
        ([5.0, 6.0, 7.0, 8.0, 9.0], 240, 6.0),  # of the other four the second lowest
        ([1.6, 1.6, 5.0, 6.0, 7.0, 8.0, 9.0], 240, 6.0),  # five steps within 20 minutes
        ([3.0, 3.0, 7.0, 8.0, 9.0], 450, 7.0),  # 7.5 minutes apart only three of them
        ([3.0] * 20 + [9.0] * 14, 10, 3.0),  # all that end within 5 minutes
        ([3.0] * 20 + [9.0] * 17, 10, 9.0),
        ([9.0, 9.0, 9.0, 2.0, 9.0], 240, 9.0),  # back to a low step
        ([9.0, 9.0, 9.0, 2.3, 9.0], 240, 9.0),
        ([9.0, 9.0, 2.3, 2.3, 2.3, 9.0], 240, 2.3),
    ],
)
def test_the_level_before_a_step(powers: list[float], apart_s: float, expected: float) -> None:
    flow = [
        Step(i * apart_s, (i + 1) * apart_s, kw, i * apart_s, i * apart_s)
        for i, kw in enumerate([*powers, 0.0])
    ]
    assert level_before(flow, len(powers), 0, 0.25) == expected


def test_the_level_before_a_step_within_a_run_is_that_of_the_run() -> None:
    flow = [
        Step(60 * i, 60 * i + 60, kw, 60 * i, 60 * i) for i, kw in enumerate([9.0] * 9 + [2.0] * 3 + [0.0])
    ]
    assert [level_before(flow, 12, floor, 0.25) for floor in (0, 9, 11)] == [9.0, 2.0, 2.0]
