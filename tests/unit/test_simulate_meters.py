"""What a meter sends of the truth: sampling, resolution, units, phases, losses, and the order of sending."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median

import numpy as np
import pytest

from chargewatch.domain.vocabulary import CONTEXTS, LOCATIONS, MEASURAND_CODES, PHASES, UNIT_CODES
from chargewatch.simulate import SimulatedReading, simulate_session
from chargewatch.simulate.behaviour import Visit
from chargewatch.simulate.chargers import ac_charger
from chargewatch.simulate.meters import SAMPLINGS_S, Meter, keep, noisy, observe
from chargewatch.simulate.sending import send
from chargewatch.simulate.truth import Course, Truth, drive
from chargewatch.simulate.vehicles import Vehicle, ac_curve

START = datetime(2026, 1, 5, 12, 7, 31, tzinfo=UTC)
WALLBOX = ac_charger(3, 16.0, managed=False)
METER = Meter(
    sampling_s=60.0,
    register="session",
    resolution_wh=1,
    energy_unit="Wh",
    power_unit="W",
    power="total",
    soc=True,
    offered="current",
    current=True,
    voltage=True,
    begin_end=True,
    clock_aligned=False,
    terse=False,
    noise=0.01,
    loss=0.0,
    late=0.0,
    repeated=0.0,
)


@pytest.fixture(scope="module")
def truth() -> Truth:
    car = Vehicle(60.0, 3, 16.0, 11.04, 0.9, ac_curve(11.04, knee_soc=97.0))
    return drive(WALLBOX, car, Visit(40.0, 80.0, 30.0, 4 * 3600.0), Course())


def sent(truth: Truth, meter: Meter, *, seed: int = 1, base_wh: float = 5e6) -> list[SimulatedReading]:
    rng = np.random.default_rng(seed)
    observed = observe(truth, WALLBOX, meter, START, base_wh, rng)
    return send(observed, WALLBOX, meter, START, rng)


def of(readings: list[SimulatedReading], measurand: str, phase: str | None = None) -> list[SimulatedReading]:
    return [r for r in readings if r.measurand == measurand and r.phase == phase]


def test_every_reading_is_in_the_words_of_the_standard() -> None:
    for seed in range(60):
        for r in simulate_session(seed).readings:
            assert r.measurand.casefold() in MEASURAND_CODES
            assert r.unit.casefold() in UNIT_CODES
            assert r.phase is None or r.phase in PHASES
            assert r.location is None or r.location in LOCATIONS
            assert r.context is None or r.context in CONTEXTS
            assert r.timestamp.tzinfo is UTC
            assert float(r.value) >= 0 or r.measurand == "Energy.Active.Net"


@pytest.mark.parametrize("sampling", SAMPLINGS_S)
def test_readings_come_at_the_sampling_interval(truth: Truth, sampling: float) -> None:
    readings = of(sent(truth, replace(METER, sampling_s=sampling)), "Energy.Active.Import.Register")
    gaps = [(b.timestamp - a.timestamp).total_seconds() for a, b in pairwise(readings)]
    assert median(gaps[:-1]) == pytest.approx(sampling, abs=1.0)
    assert max(gaps) <= sampling + 3.0
    assert readings[0].context == "Transaction.Begin"
    assert readings[-1].context == "Transaction.End"
    assert readings[0].timestamp == START
    assert readings[-1].timestamp == START + timedelta(hours=4)


def test_clock_aligned_samples_fall_on_the_clock(truth: Truth) -> None:
    readings = sent(truth, replace(METER, sampling_s=900.0, clock_aligned=True))
    samples = {r.timestamp for r in readings if r.context == "Sample.Clock"}
    assert len(samples) == 16
    assert all(t.minute % 15 == 0 and t.second == t.microsecond == 0 for t in samples)


@pytest.mark.parametrize(("unit", "scale"), [("Wh", 1000.0), ("kWh", 1.0)])
@pytest.mark.parametrize("resolution", [1, 10, 100, 1000])
@pytest.mark.parametrize("register", ["session", "lifetime"])
def test_the_register_counts_in_its_resolution(
    truth: Truth, unit: str, scale: float, resolution: int, register: str
) -> None:
    meter = replace(METER, energy_unit=unit, resolution_wh=resolution, register=register)
    readings = of(sent(truth, meter, base_wh=5_000_300.0), "Energy.Active.Import.Register")
    values = [float(r.value) / scale for r in readings]
    assert all(r.unit == unit for r in readings)
    assert values == sorted(values)
    assert all(abs(v * 1000 / resolution - round(v * 1000 / resolution)) < 1e-6 for v in values)
    assert values[0] == (0.0 if register == "session" else pytest.approx(5000.3, abs=resolution / 1000))
    risen = values[-1] - values[0]
    assert risen == pytest.approx(float(truth.energy_kwh[-1]), abs=resolution / 1000 + 1e-6)
    decimals = {len(r.value.partition(".")[2]) for r in readings}
    assert decimals == {0 if unit == "Wh" else {1: 3, 10: 2, 100: 1, 1000: 0}[resolution]}


def test_power_is_sampled_with_noise_and_agrees_with_current_and_voltage(truth: Truth) -> None:
    readings = sent(truth, METER)
    power = np.array([float(r.value) / 1000 for r in of(readings, "Power.Active.Import")])
    amperes = sum(
        np.array([float(r.value) for r in of(readings, "Current.Import", p)]) for p in ("L1", "L2", "L3")
    )
    volts = np.mean([[float(r.value) for r in of(readings, "Voltage", f"L{k}-N")] for k in (1, 2, 3)], axis=0)
    charging = power > 5
    ratio = (amperes * volts / 1000)[charging] / power[charging]
    assert 0.95 < ratio.min() <= ratio.max() < 1.05
    noise = power[charging][1:] / 11.0 - 1
    assert 0.005 < noise.std() < 0.02
    assert abs(noise.mean()) < 0.01
    assert power[-1] == 0


def test_power_by_phase_adds_up(truth: Truth) -> None:
    readings = sent(truth, replace(METER, power="phases", power_unit="kW"))
    assert of(readings, "Power.Active.Import") == []
    rows = [[float(r.value) for r in of(readings, "Power.Active.Import", p)] for p in ("L1", "L2", "L3")]
    total = np.sum(rows, axis=0)
    assert total.max() == pytest.approx(11.0, rel=0.05)
    assert np.allclose(rows[0], rows[2], atol=0.02)


def test_a_one_phase_car_leaves_two_phases_at_zero() -> None:
    car = Vehicle(40.0, 1, 32.0, 7.36, 0.9, ac_curve(7.36, knee_soc=97.0))
    truth = drive(WALLBOX, car, Visit(40.0, 80.0, 30.0, 7200.0), Course())
    readings = sent(truth, METER)
    assert max(float(r.value) for r in of(readings, "Current.Import", "L1")) > 14
    assert {r.value for r in of(readings, "Current.Import", "L2")} == {"0.00"}


def test_the_offer_is_sent_as_current_or_as_power(truth: Truth) -> None:
    assert {r.value for r in of(sent(truth, METER), "Current.Offered")} == {"16.0"}
    as_power = of(sent(truth, replace(METER, offered="power")), "Power.Offered")
    assert {(r.value, r.unit) for r in as_power} == {("11000", "W")}


def test_the_state_of_charge_rises_in_whole_per_cent(truth: Truth) -> None:
    soc = [int(r.value) for r in of(sent(truth, METER), "SoC")]
    assert (soc[0], soc[-1]) == (40, 80)
    assert soc == sorted(soc)


def test_what_is_not_sent_is_absent(truth: Truth) -> None:
    silent = replace(METER, power="none", soc=False, offered="none", current=False, voltage=False, terse=True)
    readings = sent(truth, silent)
    assert {r.measurand for r in readings} == {"Energy.Active.Import.Register"}
    assert {r.location for r in readings} == {None}
    assert {r.context for r in readings} == {"Transaction.Begin", None, "Transaction.End"}


def test_lost_readings_leave_gaps_but_not_at_the_ends(truth: Truth) -> None:
    whole, some = sent(truth, METER), sent(truth, replace(METER, loss=0.3))
    assert 0.5 * len(whole) < len(some) < 0.85 * len(whole)
    assert some[0].timestamp == whole[0].timestamp
    assert some[-1].timestamp == whole[-1].timestamp


def test_late_messages_keep_their_timestamps(truth: Truth) -> None:
    in_order, late = sent(truth, METER), sent(truth, replace(METER, late=0.3))
    assert [r.timestamp for r in late] != sorted(r.timestamp for r in late)
    assert Counter(late) == Counter(in_order)


def test_repeated_messages_are_identical(truth: Truth) -> None:
    repeated = sent(truth, replace(METER, repeated=0.4))
    assert set(repeated) == set(sent(truth, METER))
    assert set(Counter(repeated).values()) == {1, 2}


def test_keep_leaves_out_whole_instants(truth: Truth) -> None:
    observed = observe(truth, WALLBOX, METER, START, 0.0, np.random.default_rng(1))
    kept = np.arange(len(observed.at_ms)) % 2 == 0
    half = keep(observed, kept)
    assert half.at_ms.tolist() == observed.at_ms[::2].tolist()
    assert half.contexts == observed.contexts[::2]
    assert half.current_a is not None
    assert half.current_a.shape == (3, len(half.at_ms))


def test_no_two_readings_of_a_session_contradict_each_other() -> None:
    for seed in range(40):
        values: dict[tuple[object, ...], str] = {}
        for r in simulate_session(seed, near_miss="repeated_readings").readings:
            key = (r.timestamp, r.measurand, r.phase, r.location, r.context)
            assert values.setdefault(key, r.value) == r.value


def test_a_bad_meter_scatters_and_counts_a_little_too_early(truth: Truth) -> None:
    """Counts are never more than a tenth of an interval old, never fall, and are not all right."""
    plain, bad = (
        observe(truth, WALLBOX, meter, START, 0.0, np.random.default_rng(4))
        for meter in (METER, noisy(METER, 0.03))
    )
    charging = truth.power_kw.max() * 0.99
    scatter = [float(np.std(o.power_kw[o.power_kw > 0.8 * charging]) / charging) for o in (plain, bad)]
    assert 0.02 < scatter[1] < 0.04
    assert scatter[1] > 2 * scatter[0]
    at = bad.at_s()
    oldest = np.interp(
        at - 0.1 * METER.sampling_s - 1.0, np.arange(len(truth.energy_kwh)) * 10.0, truth.energy_kwh
    )
    assert (bad.register_wh >= np.floor(1000.0 * oldest)).all()
    assert (bad.register_wh <= np.floor(1000.0 * bad.energy_kwh + 1e-6)).all()
    assert (np.diff(bad.register_wh) >= 0).all()
    assert (bad.register_wh < np.floor(1000.0 * bad.energy_kwh)).sum() > 10


def test_noise_is_asked_for_and_bounded() -> None:
    quiet, bad = (simulate_session(5, kind="ac", sampling_s=60.0, noise=n) for n in (None, 0.03))
    assert quiet.readings != bad.readings
    with pytest.raises(ValueError, match="noise must be"):
        simulate_session(1, noise=0.2)
    with pytest.raises(ValueError, match="near-miss rests"):
        simulate_session(1, near_miss="short_dip", noise=0.03)
