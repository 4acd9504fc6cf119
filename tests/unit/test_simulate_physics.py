"""The true course of a session obeys its own physics, and the vehicles look like the real ones."""

from datetime import UTC, datetime

import numpy as np
import pytest

from chargewatch.simulate.behaviour import Visit
from chargewatch.simulate.chargers import Charger, ac_charger, draw_charger, managed_offers
from chargewatch.simulate.plans import draw_plan, shown_s
from chargewatch.simulate.records import GRID_S, Span
from chargewatch.simulate.stations import draw_station
from chargewatch.simulate.truth import Course, Truth, drive
from chargewatch.simulate.vehicles import CURVE_POINTS, Vehicle, ac_curve, draw_vehicle

START = datetime(2026, 1, 5, 12, tzinfo=UTC)
WALLBOX = ac_charger(3, 16.0, managed=False)
FAST = Charger("dc", 150.0, 0, 220.0, False)


def car(*, capacity: float = 60.0, phases: int = 3, current: float = 16.0) -> Vehicle:
    peak = phases * current * 0.23
    return Vehicle(capacity, phases, current, peak, 0.9, ac_curve(peak, knee_soc=97.0))


def slowly_integrated(truth: Truth) -> list[float]:
    """Energy at the steps' edges, added up step by step."""
    total, edges = 0.0, [0.0]
    for power in truth.power_kw.tolist():
        total += power * GRID_S / 3600
        edges.append(total)
    return edges


@pytest.mark.parametrize("seed", range(25))
def test_energy_is_the_integral_of_power_and_fills_the_battery(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plan = draw_plan(rng, draw_station(rng, "dc" if seed % 2 else "ac"), START, 1e6)
    truth = drive(plan.station.charger, plan.vehicle, plan.visit, plan.course)
    assert truth.energy_kwh.tolist() == pytest.approx(slowly_integrated(truth))
    assert (np.diff(truth.energy_kwh) >= 0).all()
    assert len(truth.soc) == len(truth.power_kw) + 1 == len(truth.energy_kwh)
    assert (np.diff(truth.soc) >= -1e-9).all()
    assert truth.soc.max() <= 100
    stored = (truth.soc[-1] - truth.soc[0]) / 100 * plan.vehicle.capacity_kwh
    until_full = np.interp(truth.charge_end_s / GRID_S, range(len(truth.energy_kwh)), truth.energy_kwh)
    assert stored == pytest.approx(until_full * plan.vehicle.efficiency, rel=0.02, abs=0.05)


@pytest.mark.parametrize("seed", range(25))
def test_power_never_exceeds_what_is_offered(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    plan = draw_plan(rng, draw_station(rng, "ac"), START, 1e6)
    truth = drive(plan.station.charger, plan.vehicle, plan.visit, plan.course)
    charging = truth.power_kw > 0.9
    charging[int(truth.charge_end_s // GRID_S) :] = False
    assert (truth.power_kw[charging] <= truth.offered_kw[charging] * 1.005 + 1e-9).all()


def test_a_car_charges_at_constant_power_and_tapers_when_nearly_full() -> None:
    truth = drive(WALLBOX, car(), Visit(50.0, 99.9, 0.0, 8 * 3600.0), Course())
    assert truth.power_kw.max() == pytest.approx(11.0)
    full_power = truth.power_kw > 10.99
    assert truth.soc[:-1][full_power].max() < 97.2
    tapering = truth.power_kw[(truth.soc[:-1] > 97.2) & (truth.power_kw > 0)]
    assert (np.diff(tapering) <= 1e-9).all()
    assert tapering[-1] < 0.2 * 11.04
    assert truth.ended_s == 8 * 3600


@pytest.mark.parametrize(
    ("phases", "current", "power"), [(1, 16, 3.68), (1, 32, 3.68), (2, 16, 7.36), (3, 32, 11.04)]
)
def test_power_follows_the_phases_of_both_sides(phases: int, current: float, power: float) -> None:
    assert WALLBOX.power_with(car(phases=phases, current=current)) == pytest.approx(power)


def test_an_offer_below_six_amperes_stops_charging() -> None:
    course = Course(offer=(Span(600.0, 1200.0, 5.0 / 16.0), Span(1200.0, 1800.0, 8.0 / 16.0)))
    truth = drive(WALLBOX, car(), Visit(20.0, 99.9, 0.0, 3600.0), course)
    assert truth.power_kw[70] == 0
    assert truth.power_kw[130] == pytest.approx(5.5)
    assert truth.power_kw[200] == pytest.approx(11.0)
    assert truth.offered_kw[70] == pytest.approx(11.0 * 5 / 16)


def test_acceptance_and_caps_hold_during_their_spans_only() -> None:
    course = Course(acceptance=(Span(600.0, 900.0, 0.1),), cap_kw=(Span(1800.0, 2400.0, 4.0),))
    truth = drive(WALLBOX, car(), Visit(20.0, 99.9, 0.0, 3600.0), course)
    inside, capped = truth.power_kw[60:90], truth.power_kw[180:240]
    assert inside.tolist() == pytest.approx([1.1] * 30)
    assert capped.tolist() == [4.0] * 60
    assert truth.power_kw[[59, 90, 179, 240]].tolist() == pytest.approx([11.0] * 4)


def test_export_lowers_the_state_of_charge_and_not_the_import() -> None:
    visit = Visit(80.0, 90.0, 0.0, 3 * 3600.0, afterwards=(Span(600.0, 1800.0, -6.0),))
    truth = drive(WALLBOX, car(), visit, Course())
    assert truth.exported_kwh[-1] == pytest.approx(2.0)
    assert truth.soc[-1] == pytest.approx(90.0 - 2.0 * 0.9 / 60 * 100, abs=0.2)
    assert truth.energy_kwh[-1] == truth.energy_kwh[int(truth.charge_end_s // GRID_S)]


def test_a_full_car_takes_nothing() -> None:
    truth = drive(WALLBOX, car(), Visit(99.95, 99.9, 0.0, 3600.0), Course())
    assert truth.energy_kwh[-1] == 0
    assert truth.charge_end_s == 0


def test_a_fast_charger_is_left_soon_after_charging() -> None:
    rng = np.random.default_rng(4)
    vehicle = draw_vehicle(rng, "dc")
    truth = drive(FAST, vehicle, Visit(60.0, 80.0, 0.0, 7200.0, leaves_after_s=90.0), Course())
    assert truth.ended_s == truth.charge_end_s + 90.0


def test_dc_curves_are_flat_and_then_fall() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        vehicle = draw_vehicle(rng, "dc")
        curve = np.array(vehicle.curve_kw)
        assert len(curve) == CURVE_POINTS
        assert curve.max() == pytest.approx(vehicle.peak_kw)
        assert (np.diff(curve[85:]) <= 1e-9).all()
        assert curve[-1] < 0.3 * vehicle.peak_kw
        assert curve[200] > 0.9 * vehicle.peak_kw


def test_chargers_are_of_the_usual_sizes() -> None:
    rng = np.random.default_rng(6)
    assert {draw_charger(rng, "ac").rated_kw for _ in range(300)} == {3.7, 7.4, 11.0, 22.1}
    stations = [draw_station(rng, "ac").charger for _ in range(1500)]
    assert {s.voltage_v for s in stations} == {120.0, 208.0, 230.0, 240.0, 277.0}
    assert all(s.rated_kw == round(s.phases * s.current_a * s.voltage_v / 1000, 1) for s in stations)
    assert np.mean([s.voltage_v == 230.0 for s in stations]) > 0.7
    assert {draw_charger(rng, "dc").rated_kw for _ in range(300)} == {50.0, 75.0, 100.0, 150.0, 300.0}


def test_load_management_pauses_are_bounded_and_never_last() -> None:
    for seed in range(50):
        spans = managed_offers(np.random.default_rng(seed), WALLBOX, 6 * 3600.0, 900.0)
        assert all(a.end_s == b.start_s for a, b in zip(spans, spans[1:], strict=False))
        pauses = [s for s in spans if s.value == 0]
        assert all(s.end_s - s.start_s <= 900 and s.end_s + 600 < 6 * 3600 for s in pauses)
        assert all(s.value >= 6 / 16 for s in spans if s.value > 0)


def test_what_is_shown_spans_enough_readings() -> None:
    for sampling in (10.0, 60.0, 300.0, 900.0):
        for seconds in (180.0, 1800.0, 3600.0):
            lasts = shown_s(sampling, seconds)
            for phase in np.linspace(0, sampling, 7):
                readings = [at for at in np.arange(phase, lasts + sampling, sampling) if at < lasts]
                assert readings[-1] - readings[0] >= seconds
