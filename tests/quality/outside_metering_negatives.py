"""Sessions on which the categories of the energy register must stay silent."""

import numpy as np

from tests.quality.outside_meter import (
    ALL,
    ENERGY,
    PERIODIC,
    Case,
    course,
    integral,
    ramp,
    session,
    taper_dc,
)
from tests.quality.outside_negatives import DC, negative, plain, quiet
from tests.quality.outside_positives import (
    Rng,
    a_meter,
    ac,
    frozen,
    jump,
    scaled,
)
from tests.sessions import Sent, us

# --------------------------------------------------------------------------------- KWH_DECREASE


@negative("KWH_DECREASE")
def late_readings(rng: Rng) -> Case:
    sent = a_meter(rng, 60).send(plain(rng))
    return Case([sent[i] for i in rng.permutation(len(sent))])


@negative("KWH_DECREASE")
def repeated_readings(rng: Rng) -> Case:
    sent = a_meter(rng, 60).send(plain(rng))
    return Case([*sent, *sent[len(sent) // 3 : len(sent) // 2]])


@negative("KWH_DECREASE")
def rounding(rng: Rng) -> Case:
    truth = plain(rng)
    truth.energy[1::2] -= 0.004
    return quiet(a_meter(rng, 5, unit="kWh", resolution_wh=1.0, begin_kwh=50.0), truth)


@negative("KWH_DECREASE")
def export_register_falls(rng: Rng) -> Case:
    sent = a_meter(rng, 60).send(plain(rng))
    out = "Energy.Active.Export.Register"
    return Case([*sent, *((us(t), 900.0 - t, out, "Wh", None, None, PERIODIC) for t in range(100))])


@negative("KWH_DECREASE")
def intervals(rng: Rng) -> Case:
    truth, every = plain(rng), 180
    kwh = np.diff(truth.energy[::every])
    name = "Energy.Active.Import.Interval"
    return Case(
        [(us(15.0 * (i + 1)), round(k * 1000.0), name, "Wh", None, None, PERIODIC) for i, k in enumerate(kwh)]
    )


@negative("KWH_DECREASE")
def zero_at_begin(rng: Rng) -> Case:
    meter = a_meter(rng, 60, begin_kwh=float(rng.integers(500, 9_000)), transaction=False)
    begin: Sent = (us(-0.5), 0.0, ENERGY, meter.unit, None, None, "Transaction.Begin")
    return Case([begin, *meter.send(plain(rng))])


@negative("KWH_DECREASE")
def begin_and_end_on_another_register(rng: Rng) -> Case:
    truth = plain(rng)
    meter = a_meter(rng, 60, unit="Wh", begin_kwh=0.0, transaction=False)
    begin = float(rng.integers(500, 9_000)) * 1000.0
    end = begin + float(truth.energy[-1]) * 1000.0
    return Case(
        [
            (us(-0.5), begin, ENERGY, "Wh", None, None, "Transaction.Begin"),
            *meter.send(truth),
            (us(120.5), round(end), ENERGY, "Wh", None, None, "Transaction.End"),
        ]
    )


@negative("KWH_DECREASE")
def unit_switches_by_1000(rng: Rng) -> Case:
    meter = a_meter(rng, 60, unit="Wh", begin_kwh=float(rng.integers(500, 9_000)))
    sent = meter.send(plain(rng))
    limit = us(50.0)
    return Case(
        [(t, v / 1000.0 if m == ENERGY and t > limit else v, m, *rest) for t, v, m, *rest in sent]  # type: ignore[misc]
    )


# ---------------------------------------------------------------------------------- METER_FROZEN


@negative("METER_FROZEN")
def frozen_for_5_minutes(rng: Rng) -> Case:
    return Case(frozen(rng, 7.0, 40.0, 5.0, 60.0, a_meter(rng, 10, 60, resolution_wh=1.0), 1).sent)


@negative("METER_FROZEN")
def coarse_at_low_power(rng: Rng) -> Case:
    truth = session(course((180.0, float(rng.uniform(1.3, 2.2)))), 1)
    return quiet(a_meter(rng, 30, 60, unit="kWh", resolution_wh=1000.0), truth)


@negative("METER_FROZEN")
def coarse_at_two_kilowatts(rng: Rng) -> Case:
    truth = session(course((120.0, float(rng.uniform(1.5, 2.5)))), 1)
    return quiet(a_meter(rng, 10, 60, unit="kWh", resolution_wh=500.0), truth)


@negative("METER_FROZEN")
def suspended(rng: Rng) -> Case:
    kw, phases = ac(rng)
    return quiet(a_meter(rng, 60), session(course((80.0, kw), (90.0, 0.0)), phases))


@negative("METER_FROZEN")
def draws_less_than_a_kilowatt(rng: Rng) -> Case:
    truth = session(course((60.0, 6.0), (14.0, 0.8)), 1)
    truth.energy = integral(np.where(truth.minutes < 60.0, truth.kw, 0.0))
    return quiet(a_meter(rng, 60, resolution_wh=10.0), truth)


# ------------------------------------------------------------------------- POWER_ENERGY_MISMATCH


@negative("POWER_ENERGY_MISMATCH")
def counts_16_per_cent_too_little(rng: Rng) -> Case:
    kw, phases = ac(rng)
    return Case(scaled(rng, 0.84, 0.0, 90.0, a_meter(rng, 10, 60, 300), phases, kw).sent)


@negative("POWER_ENERGY_MISMATCH")
def counts_19_per_cent_too_much(rng: Rng) -> Case:
    kw, phases = ac(rng)
    return Case(scaled(rng, 1.19, 0.0, 90.0, a_meter(rng, 10, 60), phases, kw).sent)


@negative("POWER_ENERGY_MISMATCH")
def mismatch_below_half_a_kilowatt_hour(rng: Rng) -> Case:
    return Case(scaled(rng, 0.65, 0.0, 45.0, a_meter(rng, 30, 60), 1, 1.6).sent)


@negative("POWER_ENERGY_MISMATCH")
def mismatch_for_20_minutes(rng: Rng) -> Case:
    return Case(scaled(rng, 0.6, 0.0, 20.0, a_meter(rng, 30, 60), 3, 10.5).sent)


@negative("POWER_ENERGY_MISMATCH")
def losses_between_ac_and_dc(rng: Rng) -> Case:
    meter = a_meter(rng, 30, 60, sends=DC, location="Inlet", power_location="Outlet")
    return Case(scaled(rng, 1.11, 0.0, 60.0, meter, 0, 60.0).sent)


@negative("POWER_ENERGY_MISMATCH")
def sparse_ramps(rng: Rng) -> Case:
    rise = np.concatenate([ramp(50.0, 1.0, 40.0), ramp(50.0, 40.0, 1.0), [1.0]])
    return quiet(a_meter(rng, 900, sends=DC), session(rise, 0))


# ---------------------------------------------------------------------------------- ENERGY_SPIKE


@negative("ENERGY_SPIKE")
def delivered_in_bulk(rng: Rng) -> Case:
    sent = a_meter(rng, 60).send(plain(rng))
    half = len(sent) // 2
    return Case([*sent[half:], *sent[:half]], declared={"rated_kw": 22.0})


@negative("ENERGY_SPIKE")
def after_a_gap(rng: Rng) -> Case:
    kw, phases = ac(rng)
    sent = a_meter(rng, 60, sends=("energy",)).send(
        session(course((200.0, kw)), phases), lost=[(30.0, 150.0)]
    )
    return Case(sent, declared={"rated_kw": 22.0})


@negative("ENERGY_SPIKE")
def a_tenth_above_the_rated_power(rng: Rng) -> Case:
    return quiet(a_meter(rng, 10, 60), session(course((90.0, 12.1)), 3), rated_kw=11.0)


@negative("ENERGY_SPIKE")
def fast_dc(rng: Rng) -> Case:
    return quiet(a_meter(rng, 10, 60, sends=DC), taper_dc(20.0, float(rng.uniform(250, 370)), 10.0, 110.0))


@negative("ENERGY_SPIKE")
def short_inrush(rng: Rng) -> Case:
    truth = session(course((60.0, 10.5)), 3)
    truth.kw[:1] = 16.0
    return quiet(a_meter(rng, 10, sends=ALL), truth, rated_kw=11.0)


@negative("ENERGY_SPIKE")
def jumps_within_what_can_be(rng: Rng) -> Case:
    return Case(jump(rng, 1.0, 50.0, 900, sends=("energy",)).sent, declared={"rated_kw": 50.0})
