"""Sessions on which a category must stay silent, most of them just on the other side of a limit."""

from collections.abc import Callable

import numpy as np

from tests.quality.outside_meter import (
    ENERGY,
    PERIODIC,
    Case,
    Meter,
    Truth,
    course,
    integral,
    ramp,
    session,
    taper_dc,
    with_soc,
)
from tests.quality.outside_positives import (
    Rng,
    Variant,
    a_meter,
    ac,
    hot,
    pit,
    soc_course,
    voltage,
)
from tests.sessions import us

#: (category, name) → the variant; "ORDINARY" for sessions that are near nothing.
NEGATIVES: dict[tuple[str, str], Variant] = {}
DC = ("energy", "power")


def negative(category: str) -> Callable[[Variant], Variant]:
    """Enters a variant under its own name."""

    def enter(variant: Variant) -> Variant:
        NEGATIVES[category, variant.__name__] = variant
        return variant

    return enter


def quiet(meter: Meter, truth: Truth, **declared: object) -> Case:
    """Returns the case of a session without an event."""
    return Case(meter.send(truth), declared=declared)


def plain(rng: Rng) -> Truth:
    """An AC session of two hours that ends with a taper."""
    kw, phases = ac(rng)
    return session(
        np.concatenate([course((80.0, kw))[:-1], ramp(25.0, kw, 0.0), course((15.0, 0.0))]), phases
    )


# ----------------------------------------------------------------------------------- ENERGY_PIT


@negative("ENERGY_PIT")
def pit_of_two_and_a_half_minutes(rng: Rng) -> Case:
    return pit(rng, 2.5, 0.0, 1.0, 5, 10, resolution_wh=1.0)


@negative("ENERGY_PIT")
def to_26_per_cent(rng: Rng) -> Case:
    return pit(rng, float(rng.integers(20, 60)), 0.26, 1.0, 30, 60, resolution_wh=1.0, noise=0.0)


@negative("ENERGY_PIT")
def back_to_45_per_cent(rng: Rng) -> Case:
    return pit(rng, float(rng.integers(10, 50)), 0.0, 0.45, 30, 60, resolution_wh=1.0)


@negative("ENERGY_PIT")
def offer_falls_too(rng: Rng) -> Case:
    kw, phases = ac(rng)
    lasts = float(rng.integers(8, 60))
    truth = session(course((40.0, kw), (lasts, 0.0), (40.0, kw)), phases)
    truth.offer = truth.kw * 1.01
    return quiet(a_meter(rng, 30, 60), truth)


@negative("ENERGY_PIT")
def pit_of_the_operator(rng: Rng) -> Case:
    made = pit(rng, float(rng.integers(8, 60)), 0.0, 1.0, 30, 60)
    return Case(made.sent, declared={"managed": True})


@negative("ENERGY_PIT")
def steps_down_for_good(rng: Rng) -> Case:
    kw, phases = ac(rng)
    return quiet(a_meter(rng, 30, 60), session(course((40.0, kw), (60.0, kw * 0.22)), phases))


@negative("ENERGY_PIT")
def one_phase_before_three_after(rng: Rng) -> Case:
    truth = session(course((40.0, 3.6), (float(rng.integers(5, 15)), 0.0), (40.0, 10.8)), 3)
    truth.share[truth.minutes < 41.0] = (1.0, 0.0, 0.0)
    return quiet(a_meter(rng, 30, 60), truth)


@negative("ENERGY_PIT")
def pause_longer_than_two_hours(rng: Rng) -> Case:
    kw, phases = ac(rng)
    idle = float(rng.integers(130, 170))
    return quiet(a_meter(rng, 60, 300), session(course((70.0, kw), (idle, 0.0), (40.0, kw)), phases))


@negative("ENERGY_PIT")
def pit_of_a_full_car(rng: Rng) -> Case:
    truth = session(course((20.0, 3.6), (20.0, 0.0), (20.0, 3.0)), 1)
    return quiet(a_meter(rng, 30, 60), with_soc(truth, 95.5, 90.0))


@negative("ENERGY_PIT")
def readings_are_missing(rng: Rng) -> Case:
    kw, phases = ac(rng)
    truth = session(course((120.0, kw)), phases)
    return Case(a_meter(rng, 30, 60).send(truth, lost=[(40.0, 40.0 + float(rng.integers(10, 50)))]))


@negative("ENERGY_PIT")
def below_one_kilowatt(rng: Rng) -> Case:
    return quiet(a_meter(rng, 30, 60), session(course((60.0, 0.9), (20.0, 0.0), (60.0, 0.9)), 1))


# --------------------------------------------------------------------------------- ZERO_SESSION


@negative("ZERO_SESSION")
def full_at_start(rng: Rng) -> Case:
    truth = with_soc(session(course((float(rng.integers(20, 200)), 0.0)), 0), 96.0, 60.0)
    return quiet(a_meter(rng, 60, sends=DC), truth)


@negative("ZERO_SESSION")
def test_plug_of_four_minutes(rng: Rng) -> Case:
    return quiet(a_meter(rng, 10, 30), session(course((4.0, 0.0)), 3))


@negative("ZERO_SESSION")
def clock_aligned_stray(rng: Rng) -> Case:
    wh = float(rng.integers(1, 9_000_000))
    stray = us(float(rng.integers(6, 15)))
    return Case(
        [
            (us(0.0), wh, ENERGY, "Wh", None, None, "Transaction.Begin"),
            (us(2.0), wh, ENERGY, "Wh", None, None, "Transaction.End"),
            (stray, wh, ENERGY, "Wh", None, None, "Sample.Clock"),
        ]
    )


@negative("ZERO_SESSION")
def just_above_a_tenth(rng: Rng) -> Case:
    return quiet(a_meter(rng, 30, resolution_wh=1.0), session(course((30.0, 0.26)), 1))


@negative("ZERO_SESSION")
def draws_half_a_kilowatt(rng: Rng) -> Case:
    return quiet(a_meter(rng, 10, 30), session(course((10.0, 0.0), (4.0, 0.5), (10.0, 0.0)), 1))


# ---------------------------------------------------------------------------- CHARGING_EXPECTED


def stops(rng: Rng, kwh: float, idle: float, *every_s: int, **names: object) -> tuple[Truth, Meter]:
    """A one-phase car that breaks off after so much energy."""
    truth = session(course((round(kwh / 7.2 * 60.0, 1), 7.2), (idle, 0.0)), 1)
    return truth, a_meter(rng, *every_s, **names)


@negative("CHARGING_EXPECTED")
def stops_at_82(rng: Rng) -> Case:
    truth, meter = stops(rng, 6.0, float(rng.integers(60, 200)), 60, 300)
    return quiet(meter, with_soc(truth, 74.1, 70.0))


@negative("CHARGING_EXPECTED")
def stops_at_its_own_limit(rng: Rng) -> Case:
    truth, meter = stops(rng, float(rng.uniform(3.5, 15)), float(rng.integers(60, 250)), 60)
    truth.offer = np.full(len(truth.kw), 7.4)
    return quiet(meter, truth)


@negative("CHARGING_EXPECTED")
def offer_is_withdrawn(rng: Rng) -> Case:
    truth, meter = stops(rng, float(rng.uniform(1, 2.5)), float(rng.integers(60, 200)), 60)
    truth.offer = np.where(truth.kw > 0.0, 7.4, 0.0)
    return quiet(meter, truth)


@negative("CHARGING_EXPECTED")
def offer_is_withdrawn_at_low_soc(rng: Rng) -> Case:
    truth, meter = stops(rng, 8.0, float(rng.integers(60, 200)), 60)
    truth.offer = np.where(truth.kw > 0.0, 7.4, 0.0)
    return quiet(meter, with_soc(truth, 30.0, 70.0))


@negative("CHARGING_EXPECTED")
def ends_after_a_taper(rng: Rng) -> Case:
    idle = float(rng.integers(60, 200))
    truth = session(np.concatenate([course((10.0, 7.2))[:-1], ramp(20.0, 7.2, 0.3), course((idle, 0.0))]), 1)
    truth.offer = np.full(len(truth.kw), 7.4)
    return quiet(a_meter(rng, 30, 60), truth)


@negative("CHARGING_EXPECTED")
def scheduled_start(rng: Rng) -> Case:
    kw, phases = ac(rng)
    return quiet(
        a_meter(rng, 60, 300), session(course((float(rng.integers(60, 170)), 0.0), (90.0, kw)), phases)
    )


@negative("CHARGING_EXPECTED")
def idle_for_25_minutes(rng: Rng) -> Case:
    truth, meter = stops(rng, 8.0, 25.0, 10, 60)
    return quiet(meter, with_soc(truth, 30.0, 70.0))


@negative("CHARGING_EXPECTED")
def hardly_began_50_minutes_ago(rng: Rng) -> Case:
    truth, meter = stops(rng, 0.3, 50.0, 10, 60)
    return quiet(meter, truth)


@negative("CHARGING_EXPECTED")
def one_kilowatt_hour_without_an_offer(rng: Rng) -> Case:
    truth, meter = stops(rng, float(rng.uniform(0.7, 2.5)), float(rng.integers(60, 200)), 60)
    return quiet(meter, truth)


# -------------------------------------------------------------------------------------- SOC_DROP


@negative("SOC_DROP")
def falls_by_2(rng: Rng) -> Case:
    def fall(truth: Truth, at: float) -> None:
        assert truth.soc is not None
        later = truth.minutes >= at
        truth.soc[later] += truth.soc[truth.minutes < at][-1] - 2.0 - truth.soc[later][0]

    return Case(soc_course(rng, fall, 0.0, 10, 60).sent)


@negative("SOC_DROP")
def recalibration_at_the_top(rng: Rng) -> Case:
    truth = session(course((60.0, 3.0)), 0)
    truth.soc = np.where(truth.minutes < 20.0, 100.0, 97.0)
    return quiet(a_meter(rng, 10, 60, sends=DC), truth)


@negative("SOC_DROP")
def feeds_the_grid(rng: Rng) -> Case:
    truth = session(course((60.0, 0.0)), 0)
    kw = course((20.0, 0.0), (40.0, 10.0))
    truth.kw = course((20.0, 10.0), (40.0, 0.0))
    truth.energy, truth.export_kw = integral(truth.kw), kw
    truth.soc = 82.0 + (truth.energy - integral(kw)) / 50.0 * 100.0
    return quiet(a_meter(rng, 30, 60, sends=DC), truth)


@negative("SOC_DROP")
def placeholders(rng: Rng) -> Case:
    value = float(rng.choice([0.0, 65535.0, 110.0]))

    def put(truth: Truth, at: float) -> None:
        assert truth.soc is not None
        truth.soc[truth.between(at, at + 5.0)] = value

    return Case(soc_course(rng, put, 0.0, 10, 60).sent)


@negative("SOC_DROP")
def falls_while_idle(rng: Rng) -> Case:
    truth = session(course((30.0, 7.0), (240.0, 0.0)), 0)
    truth.soc = np.concatenate([ramp(30.0, 83.0, 88.0), ramp(240.0, 88.0, 84.0), [84.0]])
    return quiet(a_meter(rng, 60, 300, sends=DC), truth)


# ------------------------------------------------------------------------------------ PHASE_LOSS


@negative("PHASE_LOSS")
def one_phase_car(rng: Rng) -> Case:
    truth = session(course((90.0, 7.2)), 3)
    truth.share[:] = (1.0, 0.0, 0.0)
    truth.share[-1] = (0.999, 0.0005, 0.0005)
    return quiet(a_meter(rng, 10, 60), truth)


@negative("PHASE_LOSS")
def two_phase_car(rng: Rng) -> Case:
    return quiet(a_meter(rng, 10, 60), session(course((90.0, 7.2)), 2))


@negative("PHASE_LOSS")
def switches_from_three_to_one(rng: Rng) -> Case:
    truth = session(course((40.0, 10.8), (2.5, 0.0), (60.0, 3.6)), 3)
    truth.share[truth.minutes > 41.0] = (1.0, 0.0, 0.0)
    return quiet(a_meter(rng, 10, 30), truth)


@negative("PHASE_LOSS")
def nearly_full(rng: Rng) -> Case:
    truth = session(course((30.0, 10.8), (20.0, 3.6)), 3)
    truth.share[truth.minutes >= 30.0] = (1.0, 0.0, 0.0)
    return quiet(a_meter(rng, 30, 60), with_soc(truth, 88.0, 80.0))


@negative("PHASE_LOSS")
def all_phases_end_together(rng: Rng) -> Case:
    return quiet(a_meter(rng, 10, 60), plain(rng))


@negative("PHASE_LOSS")
def unbalanced_but_alive(rng: Rng) -> Case:
    truth = session(course((40.0, 10.8), (40.0, 8.6)), 3)
    truth.share[truth.minutes >= 40.0] = (0.42, 0.42, 0.16)
    return quiet(a_meter(rng, 30, 60), truth)


# -------------------------------------------------------------------------- VOLTAGE_OUT_OF_RANGE


@negative("VOLTAGE_OUT_OF_RANGE")
def nine_per_cent_low(rng: Rng) -> Case:
    return Case(voltage(rng, 230.0, 0.91, 20.0, 3, 10, 60).sent)


@negative("VOLTAGE_OUT_OF_RANGE")
def nine_per_cent_high(rng: Rng) -> Case:
    return Case(voltage(rng, 230.0, 1.09, 20.0, 3, 10, 60).sent)


@negative("VOLTAGE_OUT_OF_RANGE")
def one_reading_low(rng: Rng) -> Case:
    return Case(voltage(rng, 230.0, 0.8, 1.0, 3, 60).sent)


@negative("VOLTAGE_OUT_OF_RANGE")
def dc_voltage(rng: Rng) -> Case:
    sent = a_meter(rng, 30, sends=DC).send(taper_dc(40.0, 90.0, 20.0, 80.0))
    volts = [(us(t / 2), 330.0 + t, "Voltage", "V", None, None, PERIODIC) for t in range(80)]
    return Case([*sent, *volts])


@negative("VOLTAGE_OUT_OF_RANGE")
def line_to_line(rng: Rng) -> Case:
    sent = a_meter(rng, 60, sends=("energy", "power", "amps")).send(session(course((60.0, 10.8)), 3))
    lines = ("L1-L2", "L2-L3", "L3-L1")
    volts = [
        (us(t), 399.0 + t % 3, "Voltage", "V", line, None, PERIODIC) for t in range(60) for line in lines
    ]
    return Case([*sent, *volts])


@negative("VOLTAGE_OUT_OF_RANGE")
def nominals(rng: Rng) -> Case:
    nominal = float(rng.choice([120.0, 208.0, 230.0, 240.0, 277.0]))
    return Case(voltage(rng, nominal, 1.0, 0.0, 1, 60).sent)


# ------------------------------------------------------------------------------ THERMAL_DERATING


@negative("THERMAL_DERATING")
def down_by_a_quarter(rng: Rng) -> Case:
    return Case(hot(rng, 0.75, float(rng.uniform(65, 85)), False, "Body", 30, 60).sent)


@negative("THERMAL_DERATING")
def warm_only(rng: Rng) -> Case:
    return Case(hot(rng, 0.5, 56.0, bool(rng.random() < 0.5), "Body", 30, 60).sent)


@negative("THERMAL_DERATING")
def hot_vehicle(rng: Rng) -> Case:
    return Case(hot(rng, 0.5, 70.0, True, "EV", 30, 60).sent)


@negative("THERMAL_DERATING")
def hot_and_offered_less(rng: Rng) -> Case:
    truth = session(course((40.0, 10.8), (30.0, 5.0)), 3)
    truth.offer = truth.kw * 1.02
    truth.celsius = np.concatenate([ramp(36.0, 25.0, 70.0), np.full(len(truth.kw) - 432, 70.0)])
    return quiet(a_meter(rng, 30, 60), truth)


@negative("THERMAL_DERATING")
def hot_at_the_taper(rng: Rng) -> Case:
    truth = taper_dc(50.0, 100.0, 45.0, 70.0)
    truth.celsius = np.linspace(30.0, 75.0, len(truth.kw))
    return quiet(a_meter(rng, 10, 60, sends=DC), truth)


@negative("THERMAL_DERATING")
def cooled_down_before(rng: Rng) -> Case:
    truth = session(course((60.0, 10.8), (30.0, 5.4)), 3)
    truth.celsius = np.concatenate([ramp(30.0, 40.0, 82.0), ramp(15.0, 82.0, 62.0), course((45.0, 62.0))])
    return quiet(a_meter(rng, 30, 60), truth)


# -------------------------------------------------------------------------------------- ORDINARY


@negative("ORDINARY")
def ac_with_a_taper(rng: Rng) -> Case:
    return quiet(a_meter(rng, 10, 60, 300, 900), plain(rng))


@negative("ORDINARY")
def dc_to_full(rng: Rng) -> Case:
    soc, kw = float(rng.integers(5, 60)), float(rng.uniform(40, 250))
    return quiet(a_meter(rng, 10, 30, 60, sends=DC), taper_dc(60.0, kw, soc, float(rng.uniform(50, 100))))


@negative("ORDINARY")
def ac_energy_only(rng: Rng) -> Case:
    return quiet(a_meter(rng, 900, sends=("energy",)), plain(rng))


@negative("ORDINARY")
def overnight(rng: Rng) -> Case:
    kw, phases = ac(rng)
    return quiet(a_meter(rng, 300, 900), session(course((150.0, 0.0), (150.0, kw), (300.0, 0.0)), phases))


@negative("ORDINARY")
def managed_in_steps(rng: Rng) -> Case:
    steps = [(20.0, float(kw)) for kw in rng.uniform(4.2, 11.0, 6)]
    truth = session(course(*steps), 3)
    truth.offer = truth.kw * 1.01
    return quiet(a_meter(rng, 30, 60), truth)


@negative("ORDINARY")
def cold_battery(rng: Rng) -> Case:
    kw = np.concatenate([ramp(15.0, 20.0, 70.0), course((25.0, 75.0))])
    return quiet(a_meter(rng, 10, 60, sends=DC), with_soc(session(kw, 0), 12.0, 80.0))


@negative("ORDINARY")
def climate_draw_after_full(rng: Rng) -> Case:
    kw = np.concatenate(
        [course((40.0, 7.0))[:-1], ramp(20.0, 7.0, 0.0), course((60.0, 0.0), (12.0, 1.8), (30.0, 0.0))]
    )
    return quiet(a_meter(rng, 30, 60), with_soc(session(kw, 1), 88.9, 50.0))
