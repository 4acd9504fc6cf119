"""Sessions that meet a category's definition clearly, as sampled."""

from collections.abc import Callable

import numpy as np

from tests.quality.outside_meter import (
    Array,
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

Rng = np.random.Generator
Variant = Callable[[Rng], Case]
#: (category, name) → the variant.
POSITIVES: dict[tuple[str, str], Variant] = {}


def positive(category: str) -> Callable[[Variant], Variant]:
    """Enters a variant under its own name."""

    def enter(variant: Variant) -> Variant:
        POSITIVES[category, variant.__name__] = variant
        return variant

    return enter


def a_meter(rng: Rng, *every_s: int, **names: object) -> Meter:
    """Returns a meter with one of these intervals, of any make."""
    unit = str(rng.choice(["Wh", "kWh"]))
    made: dict[str, object] = {
        "every_s": int(rng.choice(every_s)),
        "unit": unit,
        "resolution_wh": float(rng.choice([1.0, 10.0])),
        "begin_kwh": float(rng.choice([0.0, rng.integers(100, 90_000)])),
        "transaction": bool(rng.random() < 0.5),
        "noise": 0.003,
        "seed": int(rng.integers(1 << 30)),
    }
    return Meter(**{**made, **names})  # type: ignore[arg-type]


def ac(rng: Rng) -> tuple[float, int]:
    """Returns the power and the phases of an AC car."""
    phases, kw = ((1, 3.68), (1, 7.36), (3, 11.04), (3, 22.08))[rng.integers(4)]
    return kw * float(rng.uniform(0.85, 1.0)), phases


def case(meter: Meter, truth: Truth, start: float, end: float, **declared: object) -> Case:
    """Returns the case of an event between two times."""
    return Case(meter.send(truth), (start, end), 2.1 * meter.every_s / 60.0, declared)


# --------------------------------------------------------------------------------- KWH_DECREASE


def shifted(rng: Rng, by: Callable[[Array], Array], *every_s: int, **names: object) -> Case:
    """An AC session whose register changes from a time on: ``by(energy from then on)``."""
    kw, phases = ac(rng)
    at = float(rng.integers(60, 90))
    truth = session(course((at + 60.0, kw)), phases)
    later = truth.minutes >= at
    truth.energy[later] = by(truth.energy[later])
    meter = a_meter(rng, *every_s, **{"begin_kwh": 0.0, **names})
    return case(meter, truth, at - meter.every_s / 60.0, at + 60.0)


@positive("KWH_DECREASE")
def reset_to_zero(rng: Rng) -> Case:
    return shifted(rng, lambda kwh: kwh - kwh[0], 10, 60, 300, 900)


@positive("KWH_DECREASE")
def reset_of_a_lifetime_register(rng: Rng) -> Case:
    begin = float(rng.integers(200, 50_000))
    return shifted(rng, lambda kwh: kwh - kwh[0] - begin, 60, 300, begin_kwh=begin)


@positive("KWH_DECREASE")
def rolls_back(rng: Rng) -> Case:
    back = float(rng.uniform(1.5, 3.0))
    return shifted(rng, lambda kwh: kwh - back, 10, 30, 60, begin_kwh=float(rng.integers(10, 9_000)))


@positive("KWH_DECREASE")
def wraps_at_two_to_the_16(rng: Rng) -> Case:
    return shifted(rng, lambda kwh: kwh - 65.536, 60, 300, begin_kwh=65.536, unit="Wh", resolution_wh=1.0)


@positive("KWH_DECREASE")
def drops_out_and_comes_back(rng: Rng) -> Case:
    kw, phases = ac(rng)
    meter = a_meter(rng, 30, 60, 300, begin_kwh=float(rng.integers(100, 9_000)))
    every = meter.every_s / 60.0
    at = every * int(30 / every)
    lost = every * int(rng.integers(1, 4))
    truth = session(course((90.0, kw)), phases)
    truth.energy[truth.between(at, at + lost)] = -meter.begin_kwh
    return case(meter, truth, at - every, at + lost)


@positive("KWH_DECREASE")
def falls_energy_only(rng: Rng) -> Case:
    return shifted(rng, lambda kwh: kwh - kwh[0], 300, 900, sends=("energy",))


# ----------------------------------------------------------------------------------- ENERGY_PIT


def pit(rng: Rng, lasts: float, floor: float, back: float, *every_s: int, **names: object) -> Case:
    """Delivery falls to a share of the level, comes back to another."""
    kw, phases = ac(rng)
    meter = a_meter(rng, *every_s, **names)
    every = meter.every_s / 60.0
    at = every * np.ceil(float(rng.integers(20, 50)) / every + 1)
    after = max(30.0, 3 * every)
    truth = session(course((at, kw), (lasts, kw * floor), (after, kw * back)), phases)
    return case(meter, truth, at, at + lasts)


@positive("ENERGY_PIT")
def to_nothing(rng: Rng) -> Case:
    return pit(rng, float(rng.integers(8, 60)), 0.0, 1.0, 10, 30, 60)


@positive("ENERGY_PIT")
def to_a_fifth(rng: Rng) -> Case:
    return pit(rng, float(rng.integers(10, 60)), 0.2, 1.0, 10, 60)


@positive("ENERGY_PIT")
def to_24_per_cent(rng: Rng) -> Case:
    return pit(rng, float(rng.integers(20, 60)), 0.24, 1.0, 30, 60, resolution_wh=1.0, noise=0.0)


@positive("ENERGY_PIT")
def of_four_minutes(rng: Rng) -> Case:
    return pit(rng, 4.0, 0.0, 1.0, 10, 20, resolution_wh=1.0)


@positive("ENERGY_PIT")
def back_to_60_per_cent(rng: Rng) -> Case:
    return pit(rng, float(rng.integers(10, 50)), 0.02, 0.6, 30, 60, resolution_wh=1.0)


@positive("ENERGY_PIT")
def energy_only_every_15_minutes(rng: Rng) -> Case:
    return pit(rng, 15.0 * int(rng.integers(4, 7)), 0.0, 1.0, 900, sends=("energy",))


@positive("ENERGY_PIT")
def pit_in_dc(rng: Rng) -> Case:
    truth = taper_dc(40.0, float(rng.uniform(40, 150)), 15.0, 90.0)
    start, lasts = 10.0, float(rng.integers(5, 12))
    truth.kw[truth.between(start, start + lasts)] = 0.0
    truth.energy = integral(truth.kw)
    return case(
        a_meter(rng, 10, 30, sends=("energy", "power")), with_soc(truth, 15.0, 90.0), start, start + lasts
    )


# --------------------------------------------------------------------------------- ZERO_SESSION


def nothing(rng: Rng, minutes: float, kw: float, meter: Meter, phases: int = 3) -> Case:
    """A session without delivery, over."""
    return case(meter, session(course((minutes, kw)), phases), 0.0, minutes)


@positive("ZERO_SESSION")
def all_zero(rng: Rng) -> Case:
    return nothing(rng, float(rng.integers(20, 300)), 0.0, a_meter(rng, 60, 300))


@positive("ZERO_SESSION")
def zero_energy_only(rng: Rng) -> Case:
    return nothing(rng, 15.0 * int(rng.integers(3, 20)), 0.0, a_meter(rng, 900, sends=("energy",)))


@positive("ZERO_SESSION")
def standby_draw(rng: Rng) -> Case:
    return nothing(rng, float(rng.integers(15, 30)), 0.1, a_meter(rng, 30, 60), phases=1)


@positive("ZERO_SESSION")
def power_only(rng: Rng) -> Case:
    return nothing(rng, float(rng.integers(10, 120)), 0.0, a_meter(rng, 60, sends=("power",)))


@positive("ZERO_SESSION")
def zero_dc_at_low_soc(rng: Rng) -> Case:
    minutes = float(rng.integers(7, 40))
    truth = with_soc(session(course((minutes, 0.0)), 0), float(rng.integers(5, 80)), 60.0)
    return case(a_meter(rng, 10, 30, 60, sends=("energy", "power")), truth, 0.0, minutes)


@positive("ZERO_SESSION")
def unused_offer(rng: Rng) -> Case:
    minutes = float(rng.integers(40, 200))
    truth = session(course((minutes, 0.0)), 3)
    truth.offer = np.full(len(truth.kw), 11.0)
    return case(a_meter(rng, 60, 300), truth, 0.0, minutes)


# ---------------------------------------------------------------------------- CHARGING_EXPECTED


@positive("CHARGING_EXPECTED")
def stops_at_low_soc(rng: Rng) -> Case:
    kw, phases = ac(rng)
    idle = float(rng.integers(45, 110))
    truth = with_soc(session(course((40.0, kw), (idle, 0.0)), phases), float(rng.integers(15, 50)), 80.0)
    return case(a_meter(rng, 60, 300), truth, 40.0, 40.0 + idle)


@positive("CHARGING_EXPECTED")
def dc_stops_at_low_soc(rng: Rng) -> Case:
    idle = float(rng.integers(40, 80))
    kw = course((8.0, float(rng.uniform(40, 120))), (idle, 0.0))
    truth = with_soc(session(kw, 0), float(rng.integers(10, 45)), 80.0)
    return case(a_meter(rng, 10, 60, sends=("energy", "power")), truth, 8.0, 8.0 + idle)


@positive("CHARGING_EXPECTED")
def offer_stands_unused(rng: Rng) -> Case:
    run, idle = float(rng.integers(8, 14)), float(rng.integers(45, 110))
    truth = session(course((run, 7.36), (idle, 0.0)), 1)
    truth.offer = np.full(len(truth.kw), 7.4)
    return case(a_meter(rng, 30, 60), truth, run, run + idle)


@positive("CHARGING_EXPECTED")
def hardly_began(rng: Rng) -> Case:
    idle = float(rng.integers(75, 200))
    truth = session(course((2.0, 10.0), (idle, 0.0)), 3)
    return case(a_meter(rng, 30, 60), truth, 2.0, 2.0 + idle)


@positive("CHARGING_EXPECTED")
def hardly_began_energy_only(rng: Rng) -> Case:
    idle = 15.0 * int(rng.integers(6, 14))
    truth = session(course((15.0, 1.5), (idle, 0.0)), 1)
    return case(a_meter(rng, 900, sends=("energy",)), truth, 15.0, 15.0 + idle)


@positive("CHARGING_EXPECTED")
def resumes_after_more_than_two_hours(rng: Rng) -> Case:
    kw, phases = ac(rng)
    idle = float(rng.integers(140, 180))
    truth = session(course((40.0, kw), (idle, 0.0), (40.0, kw)), phases)
    return case(a_meter(rng, 60, 300), with_soc(truth, float(rng.integers(15, 40)), 80.0), 40.0, 40.0 + idle)


# -------------------------------------------------------------------------------------- SOC_DROP


def soc_course(rng: Rng, change: Callable[[Truth, float], None], lasts: float, *every_s: int) -> Case:
    """A charging session whose state of charge is changed from minute 20 on."""
    kw = float(rng.choice([7.36, 11.04, 50.0]))
    truth = with_soc(session(course((60.0, kw)), 0), float(rng.integers(20, 35)), 100.0)
    assert truth.soc is not None
    truth.soc = np.floor(truth.soc + 1e-6)
    still = truth.between(15.0, 20.0)  # every sampling shows the value before the change
    truth.soc[still] = truth.soc[still][0]
    change(truth, 20.0)
    meter = a_meter(rng, *every_s, sends=("energy", "power"))
    return case(meter, truth, 20.0 - meter.every_s / 60.0, 20.0 + lasts)


def _held(truth: Truth, at: float, drop: float) -> None:
    assert truth.soc is not None
    before = truth.soc[truth.minutes < at][-1]
    later = truth.minutes >= at
    truth.soc[later] += before - drop - truth.soc[later][0]


@positive("SOC_DROP")
def falls_by_3(rng: Rng) -> Case:
    return soc_course(rng, lambda truth, at: _held(truth, at, 3.0), 0.0, 10, 60)


@positive("SOC_DROP")
def falls_by_5(rng: Rng) -> Case:
    return soc_course(rng, lambda truth, at: _held(truth, at, 5.0), 0.0, 10, 60, 300)


@positive("SOC_DROP")
def falls_far(rng: Rng) -> Case:
    drop = float(rng.integers(8, 15))
    return soc_course(rng, lambda truth, at: _held(truth, at, drop), 0.0, 10, 30, 60, 300)


@positive("SOC_DROP")
def slides_by_six(rng: Rng) -> Case:
    def slide(truth: Truth, at: float) -> None:
        assert truth.soc is not None
        begin = truth.soc[truth.minutes < at][-1]
        part = truth.between(at, at + 12.0)
        truth.soc[part] = begin - np.floor((truth.minutes[part] - at) / 2.0 + 1.0)
        later = truth.minutes >= at + 12.0
        truth.soc[later] += begin - 6.0 - truth.soc[later][0]

    return soc_course(rng, slide, 12.0, 10, 60)


@positive("SOC_DROP")
def falls_and_comes_back(rng: Rng) -> Case:
    def dip(truth: Truth, at: float) -> None:
        assert truth.soc is not None
        truth.soc[truth.between(at, at + 5.0)] -= 9.0

    return soc_course(rng, dip, 5.0, 10, 60)


# ---------------------------------------------------------------------------------- METER_FROZEN


def frozen(rng: Rng, kw: float, start: float, lasts: float, after: float, meter: Meter, phases: int) -> Case:
    """The register stands still while the power goes on; what was not counted stays lost."""
    truth = session(course((start + lasts + after, kw)), phases)
    counted = truth.kw.copy()
    counted[truth.between(start, start + lasts)] = 0.0
    truth.energy = integral(counted)
    return case(meter, truth, start, start + lasts)


@positive("METER_FROZEN")
def stands_still_for_a_while(rng: Rng) -> Case:
    kw, phases = ac(rng)
    return frozen(rng, kw, 30.0, float(rng.integers(14, 50)), 30.0, a_meter(rng, 10, 60), phases)


@positive("METER_FROZEN")
def stands_still_to_the_end(rng: Rng) -> Case:
    kw, phases = ac(rng)
    return frozen(rng, kw, 30.0, float(rng.integers(20, 60)), 0.0, a_meter(rng, 60, 300), phases)


@positive("METER_FROZEN")
def never_moves(rng: Rng) -> Case:
    kw, phases = ac(rng)
    return frozen(rng, kw, 0.0, float(rng.integers(20, 90)), 0.0, a_meter(rng, 30, 60), phases)


@positive("METER_FROZEN")
def frozen_by_current_alone(rng: Rng) -> Case:
    kw, phases = ac(rng)
    meter = a_meter(rng, 60, sends=("energy", "amps"))
    return frozen(rng, kw, 30.0, float(rng.integers(20, 50)), 30.0, meter, phases)


@positive("METER_FROZEN")
def frozen_coarse_dc(rng: Rng) -> Case:
    kw, lasts = float(rng.uniform(40, 100)), float(rng.integers(14, 25))
    meter = a_meter(rng, 10, 30, unit="kWh", resolution_wh=100.0, sends=("energy", "power"))
    return frozen(rng, kw, 10.0, lasts, 10.0, meter, 0)


# ------------------------------------------------------------------------- POWER_ENERGY_MISMATCH


def scaled(rng: Rng, factor: float, start: float, lasts: float, meter: Meter, phases: int, kw: float) -> Case:
    """The register counts with a factor from a time on."""
    truth = session(course((start + lasts, kw)), phases)
    counted = truth.kw.copy()
    counted[truth.minutes >= start] *= factor
    truth.energy = integral(counted)
    return case(meter, truth, start, start + lasts)


@positive("POWER_ENERGY_MISMATCH")
def counts_too_little(rng: Rng) -> Case:
    kw, phases = ac(rng)
    factor = float(rng.uniform(0.4, 0.7))
    return scaled(rng, factor, 0.0, float(rng.integers(45, 120)), a_meter(rng, 10, 60, 300), phases, kw)


@positive("POWER_ENERGY_MISMATCH")
def counts_too_much(rng: Rng) -> Case:
    kw, phases = ac(rng)
    factor = float(rng.uniform(1.35, 1.8))
    return scaled(rng, factor, 0.0, float(rng.integers(45, 120)), a_meter(rng, 10, 60, 300), phases, kw)


@positive("POWER_ENERGY_MISMATCH")
def too_little_from_a_time_on(rng: Rng) -> Case:
    kw, phases = ac(rng)
    return scaled(rng, 0.5, 40.0, float(rng.integers(45, 90)), a_meter(rng, 30, 60), phases, kw)


@positive("POWER_ENERGY_MISMATCH")
def mismatch_in_dc(rng: Rng) -> Case:
    meter = a_meter(rng, 10, 60, sends=("energy", "power"))
    return scaled(rng, float(rng.uniform(0.5, 0.7)), 0.0, 45.0, meter, 0, float(rng.uniform(30, 90)))


@positive("POWER_ENERGY_MISMATCH")
def mismatch_by_current_and_voltage(rng: Rng) -> Case:
    kw, phases = ac(rng)
    meter = a_meter(rng, 60, sends=("energy", "amps", "volts"))
    return scaled(rng, float(rng.uniform(0.5, 0.7)), 0.0, float(rng.integers(45, 90)), meter, phases, kw)


# ---------------------------------------------------------------------------------- ENERGY_SPIKE


def jump(rng: Rng, kwh: float, rated_kw: float | None, *every_s: int, **names: object) -> Case:
    """The register jumps up between two readings."""
    kw, phases = 10.5, 3
    meter = a_meter(rng, *every_s, **names)
    every = meter.every_s / 60.0
    at = every * np.ceil(30.0 / every)
    truth = session(course((at + max(30.0, 2 * every), kw)), phases)
    truth.energy[truth.minutes >= at] += kwh
    declared = {} if rated_kw is None else {"rated_kw": rated_kw}
    return case(meter, truth, at - every, at, **declared)


@positive("ENERGY_SPIKE")
def jumps_far(rng: Rng) -> Case:
    return jump(rng, float(rng.uniform(150, 3_000)), None, 10, 60, 900)


@positive("ENERGY_SPIKE")
def jumps_beyond_the_rated_power(rng: Rng) -> Case:
    return jump(rng, float(rng.uniform(3, 40)), 11.0, 10, 60, 300)


@positive("ENERGY_SPIKE")
def jumps_energy_only(rng: Rng) -> Case:
    return jump(rng, float(rng.uniform(150, 900)), None, 900, sends=("energy",))


@positive("ENERGY_SPIKE")
def jumps_energy_only_rated(rng: Rng) -> Case:
    return jump(rng, float(rng.uniform(15, 90)), 22.0, 900, sends=("energy",))


def impossible(rng: Rng, kw: float, rated_kw: float | None) -> Case:
    """Power readings show for minutes what no station delivers; the register goes on as before."""
    truth = session(course((60.0, 10.5)), 0)
    energy = truth.energy
    truth.kw = course((30.0, 10.5), (4.0, kw), (26.0, 10.5))
    truth.energy = energy
    declared = {} if rated_kw is None else {"rated_kw": rated_kw}
    meter = a_meter(rng, 10, 60, sends=("energy", "power"))
    return case(meter, truth, 30.0, 34.0, **declared)


@positive("ENERGY_SPIKE")
def impossible_power(rng: Rng) -> Case:
    return impossible(rng, float(rng.uniform(600, 6_000)), None)


@positive("ENERGY_SPIKE")
def power_beyond_the_rated(rng: Rng) -> Case:
    return impossible(rng, float(rng.uniform(30, 90)), 11.0)


# ------------------------------------------------------------------------------------ PHASE_LOSS


def phase_loss(rng: Rng, lost: int, lasts: float, after: float, *every_s: int, **names: object) -> Case:
    """So many phases of three fall to nothing, the others go on."""
    kw = float(rng.choice([11.04, 22.08])) * float(rng.uniform(0.9, 1.0))
    left = kw * (3 - lost) / 3.0
    truth = session(course((30.0, kw), (lasts, left), (after, kw if after else left)), 3)
    gone = rng.permutation(3)[:lost]
    during = truth.between(30.0, 30.0 + lasts + (0.0 if after else 1.0))
    truth.share[np.ix_(during, gone)] = 0.0
    truth.share[during] /= truth.share[during].sum(axis=1, keepdims=True)
    return case(a_meter(rng, *every_s, **names), truth, 30.0, 30.0 + lasts)


@positive("PHASE_LOSS")
def one_phase_for_good(rng: Rng) -> Case:
    return phase_loss(rng, 1, float(rng.integers(20, 90)), 0.0, 10, 60, 300)


@positive("PHASE_LOSS")
def one_phase_for_a_while(rng: Rng) -> Case:
    return phase_loss(rng, 1, float(rng.integers(12, 40)), 30.0, 10, 30, 60)


@positive("PHASE_LOSS")
def two_phases(rng: Rng) -> Case:
    return phase_loss(rng, 2, float(rng.integers(20, 60)), 0.0, 10, 60)


@positive("PHASE_LOSS")
def phase_loss_by_current_alone(rng: Rng) -> Case:
    return phase_loss(rng, 1, float(rng.integers(20, 60)), 0.0, 60, sends=("energy", "amps"))


@positive("PHASE_LOSS")
def phase_loss_without_register(rng: Rng) -> Case:
    return phase_loss(rng, 1, float(rng.integers(20, 60)), 0.0, 60, sends=("power", "amps"))


# -------------------------------------------------------------------------- VOLTAGE_OUT_OF_RANGE


def voltage(rng: Rng, nominal: float, factor: float, lasts: float, phases: int, *every_s: int) -> Case:
    """The voltage of one phase leaves the band for a while."""
    truth = session(course((90.0, 2.2 * phases)), phases, nominal)
    truth.volts *= 1.0 + 0.003 * rng.standard_normal(truth.volts.shape)
    truth.volts[truth.between(30.0, 30.0 + lasts), int(rng.integers(phases))] = nominal * factor
    return case(a_meter(rng, *every_s), truth, 30.0, 30.0 + lasts)


@positive("VOLTAGE_OUT_OF_RANGE")
def too_low(rng: Rng) -> Case:
    return voltage(rng, 230.0, float(rng.uniform(0.75, 0.87)), float(rng.integers(5, 30)), 3, 10, 60)


@positive("VOLTAGE_OUT_OF_RANGE")
def too_high(rng: Rng) -> Case:
    return voltage(rng, 230.0, float(rng.uniform(1.13, 1.2)), float(rng.integers(5, 30)), 3, 10, 60)


@positive("VOLTAGE_OUT_OF_RANGE")
def too_low_in_120_v(rng: Rng) -> Case:
    return voltage(rng, 120.0, float(rng.uniform(0.78, 0.87)), float(rng.integers(10, 30)), 1, 60)


@positive("VOLTAGE_OUT_OF_RANGE")
def too_high_in_277_v(rng: Rng) -> Case:
    return voltage(rng, 277.0, float(rng.uniform(1.13, 1.2)), float(rng.integers(10, 30)), 1, 60)


@positive("VOLTAGE_OUT_OF_RANGE")
def too_low_every_5_minutes(rng: Rng) -> Case:
    return voltage(rng, 230.0, float(rng.uniform(0.75, 0.87)), 20.0, 1, 300)


# ------------------------------------------------------------------------------ THERMAL_DERATING


def hot(rng: Rng, share: float, peak: float, dc: bool, where: str, *every_s: int) -> Case:
    """The temperature climbs for 40 min and stays; then the power steps down to a share."""
    kw = float(rng.uniform(60, 150)) if dc else float(rng.uniform(9, 11))
    lasts = 30.0
    truth = session(course((40.0, kw), (lasts, kw * share)), 0 if dc else 3)
    if dc:
        truth = with_soc(truth, 10.0, 200.0)
    warm = ramp(36.0, 25.0, peak)
    truth.celsius = np.concatenate([warm, np.full(len(truth.kw) - len(warm), peak)])
    truth.offer = np.full(len(truth.kw), kw * 1.02)
    sends = ("energy", "power") if dc else ("energy", "power", "amps")
    return case(a_meter(rng, *every_s, sends=sends, celsius_location=where), truth, 40.0, 40.0 + lasts)


@positive("THERMAL_DERATING")
def hot_body(rng: Rng) -> Case:
    return hot(rng, float(rng.uniform(0.4, 0.6)), float(rng.uniform(65, 85)), False, "Body", 30, 60)


@positive("THERMAL_DERATING")
def hot_cable_in_dc(rng: Rng) -> Case:
    return hot(rng, float(rng.uniform(0.4, 0.6)), float(rng.uniform(70, 90)), True, "Cable", 10, 30)


@positive("THERMAL_DERATING")
def hot_outlet(rng: Rng) -> Case:
    return hot(rng, float(rng.uniform(0.3, 0.6)), float(rng.uniform(65, 85)), False, "Outlet", 60)


@positive("THERMAL_DERATING")
def by_a_third(rng: Rng) -> Case:
    return hot(rng, 0.65, float(rng.uniform(65, 85)), bool(rng.random() < 0.5), "Body", 30, 60)


@positive("THERMAL_DERATING")
def hot_every_5_minutes(rng: Rng) -> Case:
    return hot(rng, float(rng.uniform(0.3, 0.5)), float(rng.uniform(65, 85)), False, "Body", 300)
