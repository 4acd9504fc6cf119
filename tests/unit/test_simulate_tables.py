"""The Parquet files: the columns of the product's surfaces, complete, and written in bounded memory."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chargewatch.domain.categories import Category
from chargewatch.simulate import FleetFiles, SimulatedSession, simulate_fleet, simulate_session, write_fleet
from chargewatch.simulate.tables import READINGS_PER_ROW_GROUP

SCORE_COLUMNS = {
    "session_id": pa.string(),
    "timestamp": pa.timestamp("ms", tz="UTC"),
    "value": pa.string(),
    "station_id": pa.string(),
    "connector_id": pa.string(),
    "measurand": pa.string(),
    "unit": pa.string(),
    "phase": pa.string(),
    "location": pa.string(),
    "context": pa.string(),
    "rated_power_kw": pa.float64(),
    "managed": pa.bool_(),
}
SHADE_COLUMNS = {
    "session_id": pa.string(),
    "station_id": pa.string(),
    "start": pa.timestamp("ms", tz="UTC"),
    "energy_kwh": pa.float64(),
    "connector_id": pa.string(),
    "end": pa.timestamp("ms", tz="UTC"),
    "max_power_kw": pa.float64(),
    "is_zero": pa.bool_(),
}
PEAK_OF_A_FLEET = """
import json, resource, sys
from pathlib import Path
from chargewatch.simulate import simulate_session, tables, write_fleet
tables.READINGS_PER_ROW_GROUP = 20_000
session = simulate_session(2, kind="ac", sampling_s=60.0)
count = int(sys.argv[2])
write_fleet(Path(sys.argv[1]), (session for _ in range(count)))
print(json.dumps([count * len(session.readings), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024]))
"""


@pytest.fixture(scope="module")
def sessions() -> list[SimulatedSession]:
    return list(simulate_fleet(stations=8, days=2, seed=6, anomaly_share=0.2, near_miss_share=0.2))


@pytest.fixture(scope="module")
def files(sessions: list[SimulatedSession], tmp_path_factory: pytest.TempPathFactory) -> FleetFiles:
    return write_fleet(tmp_path_factory.mktemp("fleet") / "new", sessions)


def test_columns_and_types_are_those_of_the_surfaces(files: FleetFiles) -> None:
    for path, columns in ((files.readings, SCORE_COLUMNS), (files.sessions, SHADE_COLUMNS)):
        schema = pq.read_schema(path)
        assert {field.name: field.type for field in schema} == columns
    assert [path.name for path in files] == ["readings.parquet", "sessions.parquet", "labels.parquet"]


def test_readings_come_back_as_they_were_sent(files: FleetFiles, sessions: list[SimulatedSession]) -> None:
    rows = pq.read_table(files.readings).to_pylist()
    assert len(rows) == sum(len(s.readings) for s in sessions)
    row = iter(rows)
    for session in sessions:
        for reading in session.readings:
            got = next(row)
            assert got["session_id"] == session.session_id
            assert got["managed"] == session.managed
            assert tuple(got[name] for name in reading._fields) == reading


def test_sessions_carry_the_truth(files: FleetFiles, sessions: list[SimulatedSession]) -> None:
    for row, session in zip(pq.read_table(files.sessions).to_pylist(), sessions, strict=True):
        assert (row["session_id"], row["start"]) == (session.session_id, session.started_at)
        assert row["energy_kwh"] == pytest.approx(session.energy_kwh, abs=1e-3)
        assert row["max_power_kw"] <= session.rated_power_kw * 1.01
        assert row["is_zero"] == (session.energy_kwh < 0.1)


def test_labels_name_faults_and_near_misses(files: FleetFiles, sessions: list[SimulatedSession]) -> None:
    rows = pq.read_table(files.labels).to_pylist()
    faults = [(r["session_id"], r["category"], r["mechanism"], r["visible"]) for r in rows if r["category"]]
    expected = [(s.session_id, x.category.value, x.mechanism, x.visible) for s in sessions for x in s.labels]
    assert faults == expected
    assert {category for _, category, _, _ in faults} <= set(Category)
    near = {r["session_id"]: r["near_miss"] for r in rows if r["near_miss"]}
    assert near == {s.session_id: s.near_miss for s in sessions if s.near_miss}
    assert all((r["category"] is None) == (r["near_miss"] is not None) for r in rows)


def test_the_same_sessions_give_the_same_bytes(sessions: list[SimulatedSession], tmp_path: Path) -> None:
    first, second = (write_fleet(tmp_path / name, sessions) for name in ("a", "b"))
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True))


def test_progress_is_told_after_each_session_and_sessions_are_taken_one_by_one(tmp_path: Path) -> None:
    taken, told = [], []

    def source() -> Iterator[SimulatedSession]:
        for seed in range(4):
            taken.append(seed)
            yield simulate_session(seed)

    write_fleet(tmp_path, source(), lambda number: told.append((number, len(taken))))
    assert told == [(1, 1), (2, 2), (3, 3), (4, 4)]


def test_an_empty_fleet_gives_empty_tables(tmp_path: Path) -> None:
    files = write_fleet(tmp_path, [])
    assert [pq.read_metadata(path).num_rows for path in files] == [0, 0, 0]
    assert pq.read_schema(files.readings).names[0] == "session_id"


def test_readings_are_streamed_by_row_groups(tmp_path: Path) -> None:
    session = simulate_session(2, kind="ac", sampling_s=60.0)
    count = 5 * READINGS_PER_ROW_GROUP // (2 * len(session.readings))
    metadata = pq.read_metadata(write_fleet(tmp_path, (session for _ in range(count))).readings)
    assert metadata.num_row_groups == 3
    largest = max(metadata.row_group(i).num_rows for i in range(3))
    assert largest < READINGS_PER_ROW_GROUP + len(session.readings)


def test_memory_does_not_grow_with_the_fleet(tmp_path: Path) -> None:
    readings, peaks_mb = [], []
    for sessions in (30, 260):
        command = [sys.executable, "-c", PEAK_OF_A_FLEET, str(tmp_path), str(sessions)]
        output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
        number, peak = json.loads(output)
        readings.append(number)
        peaks_mb.append(peak)
    assert readings[1] > 250_000
    assert peaks_mb[1] < peaks_mb[0] + 20
