"""Faults in measured curves, and the comparison of distributions. The files here are made up, in the real columns."""

import os
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chargewatch.domain.categories import Category
from chargewatch.simulate import simulate_session
from chargewatch.simulate.compare import compare, main, table
from chargewatch.simulate.real_curves import INJECTABLE, inject, read_curves, read_vehicles
from tests.unit.test_simulate_definitions import falls, pits, rests, seen, zero
from tests.unit.test_simulate_energy_definitions import frozen, mismatches, spikes

START = datetime(2025, 3, 1, 8, tzinfo=UTC)
SESSIONS = 42


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """42 sessions of 81 readings each 30 s: 60 kW to 70 % SoC, then a taper; sessions and cars beside them."""
    path = tmp_path_factory.mktemp("data")
    rows = []
    for number in range(SESSIONS):
        begin, soc = START + timedelta(days=number), np.linspace(20, 95, 81)
        power = np.where(soc < 70, 60_000, 60_000 * (1 - (soc - 70) / 40)) + 10.0 * number
        for i in range(81):
            at = begin + timedelta(seconds=30 * i)
            rows += [
                (f"s{number}", "p1", at, "SoC", "Percent", float(np.floor(soc[i]))),
                (f"s{number}", "p1", at, "Voltage", "V", 400.0),
                (f"s{number}", "p1", at, "Current.Import", "A", power[i] / 400.0),
                (f"s{number}", "p1", at, "Power.Active.Import", "W", power[i]),
            ]
    names = ("session_id", "station_id", "timestamp", "measurand", "unit", "value")
    write(path / "readings_dc_real.parquet", names, rows)
    stays = [
        (evse, START, START + timedelta(hours=hours), energy, START + timedelta(hours=hours / 2))
        for evse, hours, energy in (
            ("AC", 4.0, 10.0),
            ("AC", 8.0, 20.0),
            ("rapid", 0.5, 25.0),
            ("mixed", 1.0, 9.0),
        )
    ]
    stays.append(("AC", START, START + timedelta(hours=1), 0.0, None))
    write(
        path / "sessions_real.parquet", ("evse_type", "start", "end", "total_energy_kwh", "charge_end"), stays
    )
    points = [
        ("a", 50.0, 0.0, 80.0),
        ("a", 50.0, 60.0, 90.0),
        ("a", 50.0, 100.0, 10.0),
        ("b", 70.0, 0.0, 9.0),
    ]
    write(path / "curves.parquet", ("vehicle", "usable_kwh", "soc", "power_kw"), points)
    return path


def write(path: Path, names: tuple[str, ...], rows: list[tuple]) -> None:
    pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), path)


def test_curves_are_read_as_they_were_sent(folder: Path) -> None:
    curves = read_curves(folder / "readings_dc_real.parquet")
    assert len(curves) == SESSIONS
    assert curves[0].power_kw[0] == 60.0
    assert curves[0].at_s.tolist() == [30.0 * i for i in range(81)]


def test_without_a_fault_the_curve_is_untouched_and_the_register_is_its_integral(folder: Path) -> None:
    for session in inject(folder / "readings_dc_real.parquet", 1, faulty_share=0.0):
        assert session.labels == []
        s = seen(session)
        total = sum((a + b) / 2 * 30 / 3600 for a, b in pairwise(s.power))
        assert s.energy[-1] - s.energy[0] == pytest.approx(total, abs=0.02)
        for found in (falls(s), spikes(session, s), frozen(session, s), mismatches(s), pits(s), rests(s)):
            assert found == []


@pytest.mark.parametrize("category", INJECTABLE)
def test_a_visible_fault_is_what_its_definition_says(folder: Path, category: Category) -> None:
    visible = 0
    for session in inject(folder / "readings_dc_real.parquet", 7, faulty_share=0.9, categories=(category,)):
        s = seen(session)
        found = {
            Category.KWH_DECREASE: falls,
            Category.ENERGY_PIT: pits,
            Category.CHARGING_EXPECTED: rests,
            Category.ZERO_SESSION: zero,
            Category.METER_FROZEN: lambda s, session=session: frozen(session, s),
            Category.POWER_ENERGY_MISMATCH: mismatches,
            Category.ENERGY_SPIKE: lambda s, session=session: spikes(session, s),
        }[category](s)
        for label in session.labels:
            assert label.category == category
            start, end = ((t - session.started_at) / timedelta(seconds=1) for t in (label.start, label.end))
            if label.visible:
                visible += 1
                assert any(a <= end and start <= b for _, a, b in found), (session.session_id, label)
    assert visible >= 8


def test_the_same_seed_gives_the_same_sessions(folder: Path) -> None:
    first, again, other = (
        [s.labels for s in inject(folder / "readings_dc_real.parquet", seed)] for seed in (3, 3, 4)
    )
    assert first == again != other


def test_what_cannot_be_injected_or_read_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="only these"):
        next(inject(folder / "readings_dc_real.parquet", 1, categories=(Category.PHASE_LOSS,)))
    write(
        folder / "empty.parquet",
        ("session_id", "station_id", "timestamp", "measurand", "unit", "value"),
        [("s", "p", START, "SoC", "Percent", 1.0)],
    )
    with pytest.raises(ValueError, match="no session"):
        read_curves(folder / "empty.parquet")


def test_cars_with_measured_curves_charge_in_the_simulator(folder: Path) -> None:
    cars = read_vehicles(folder / "curves.parquet")
    assert [(car.capacity_kwh, car.peak_kw, car.curve_kw[600]) for car in cars] == [(50.0, 90.0, 90.0)]
    for seed in range(4):
        session = simulate_session(seed, kind="dc", dc_vehicles=cars)
        assert 20 < session.max_power_kw <= 90
        assert simulate_session(seed, kind="ac", dc_vehicles=cars) == simulate_session(seed, kind="ac")


def test_distributions_stand_side_by_side(folder: Path) -> None:
    fleet = [simulate_session(seed) for seed in range(40)]
    rows = {row.quantity: row for row in compare(fleet, folder)}
    assert rows["AC energy kWh"].real == pytest.approx((12.5, 15.0, 17.5))
    assert rows["AC duration h"].real == pytest.approx((5.0, 6.0, 7.0))
    assert rows["AC idle after charging h"].real == pytest.approx((2.5, 3.0, 3.5))
    assert (rows["DC duration h"].real, rows["DC duration h"].real_count) == ((0.5, 0.5, 0.5), 1)
    assert rows["DC taper begins at SoC %"].real_count == SESSIONS
    assert 70 <= rows["DC taper begins at SoC %"].real[1] <= 73
    energies = sorted(s.energy_kwh for s in fleet if s.kind == "ac" and s.energy_kwh >= 0.1)
    assert rows["AC energy kWh"].simulated_count == len(energies)
    assert rows["AC energy kWh"].simulated[1] == pytest.approx(np.median(energies))
    text = table(rows.values())
    assert len(text.splitlines()) == len(rows) + 1
    assert "15.00" in text


def test_a_folder_without_files_has_no_real_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert all(row.real is None for row in compare([simulate_session(1)], tmp_path))
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "usage" in capsys.readouterr().err


def test_the_real_file_takes_every_fault() -> None:
    data = os.environ.get("CHARGEWATCH_EVAL_DATA")
    if not data:
        pytest.skip("CHARGEWATCH_EVAL_DATA names no folder with readings_dc_real.parquet")
    labels = [
        label
        for session in inject(Path(data) / "readings_dc_real.parquet", 1, faulty_share=1.0)
        for label in session.labels
    ]
    assert {label.category for label in labels if label.visible} == set(INJECTABLE)
    assert len(read_vehicles(Path(data) / "vehicle_charging_curves.parquet")) > 1000
