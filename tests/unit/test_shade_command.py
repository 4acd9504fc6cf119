"""``chargewatch shade``: files of sessions in, verdicts out, in every format; what is no session is refused."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from chargewatch.cli.app import app
from chargewatch.shade.sessions import Sessions, rows_of
from chargewatch.shade.tables import VERDICTS, SessionTableError, read_session_table
from tests.shade_sessions import DAY_S, steady

NAMES = ["station_id", "date", "is_anomaly", "anomaly_score", "anomaly_type"]
NAMES += ["expected_energy_kwh", "actual_energy_kwh", "state"]
LATER_S = 20_000 * DAY_S  # 2024-10-04


def fleet() -> Sessions:
    """Six stations over 70 days; the third dies on day 55."""
    table = steady(6, 70)
    dead = (table.station == 2) & (table.end_s > 55 * DAY_S)
    return rows_of(table, ~dead)


def as_table(sessions: Sessions) -> pa.Table:
    def times(seconds: np.ndarray) -> pa.Array:
        return pa.array(((seconds + LATER_S) * 1e6).astype("datetime64[us]"), pa.timestamp("us", tz="UTC"))

    return pa.table(
        {
            "session_id": [f"x{i}" for i in range(sessions.size)],
            "station_id": [sessions.stations[s].station_id for s in sessions.station],
            "connector_id": [sessions.connectors[c].connector_id for c in sessions.connector],
            "start": times(sessions.start_s),
            "end": times(sessions.end_s),
            "energy_kwh": sessions.energy_kwh,
            "timezone": ["Europe/Berlin"] * sessions.size,
            "country": ["DE"] * sessions.size,
        }
    )


def shade(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["shade", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("shade")
    table = as_table(fleet())
    pq.write_table(table, place / "sessions.parquet")
    arrow_csv.write_csv(table, place / "sessions.csv")
    with (place / "sessions.ndjson").open("w") as file:
        for row in table.to_pylist():
            row["start"], row["end"] = row["start"].isoformat(), row["end"].isoformat()
            file.write(json.dumps(row) + "\n")
    return place


def test_a_row_for_each_station_and_day(folder: Path) -> None:
    output = folder / "out.parquet"
    code, said, told = shade(folder / "sessions.parquet", "--output", output)
    assert code == 0, told
    assert said.strip() == str(output)
    assert "station_silent" in told
    table = pq.read_table(output)
    assert table.column_names == NAMES == VERDICTS.names
    rows = table.to_pylist()
    assert len(rows) == 6 * 70
    assert len({(row["station_id"], row["date"]) for row in rows}) == len(rows)
    for row in rows:
        assert row["is_anomaly"] == (row["anomaly_score"] >= 0.5) == (row["anomaly_type"] is not None)
        assert (row["state"] == "learning") == (row["expected_energy_kwh"] is None)
    anomalous = {(row["station_id"], row["anomaly_type"]) for row in rows if row["is_anomaly"]}
    assert anomalous == {("s002", "station_silent")}


@pytest.mark.parametrize("source", ["sessions.csv", "sessions.ndjson"])
@pytest.mark.parametrize("ending", ["csv", "ndjson", "parquet"])
def test_every_format_says_the_same(folder: Path, source: str, ending: str) -> None:
    reference = folder / "reference.parquet"
    assert shade(folder / "sessions.parquet", "--output", reference)[0] == 0
    output = folder / f"{source}.{ending}"
    assert shade(folder / source, "--output", output)[0] == 0
    expected = [
        (str(r["station_id"]), str(r["date"]), r["anomaly_type"])
        for r in pq.read_table(reference).to_pylist()
    ]
    if ending == "parquet":
        rows = pq.read_table(output).to_pylist()
    elif ending == "csv":
        rows = arrow_csv.read_csv(
            output, convert_options=arrow_csv.ConvertOptions(strings_can_be_null=True)
        ).to_pylist()
    else:
        rows = [json.loads(line) for line in output.read_text().splitlines()]
    found = [(str(r["station_id"]), str(r["date"]), r["anomaly_type"] or None) for r in rows]
    assert found == expected


def test_only_the_days_asked_for_with_the_verdicts_of_the_whole(folder: Path) -> None:
    whole, part = folder / "whole.parquet", folder / "part.parquet"
    assert shade(folder / "sessions.parquet", "--output", whole)[0] == 0
    asked = ("--start", "2024-11-20", "--end", "2024-12-02")
    assert shade(folder / "sessions.parquet", "--output", part, *asked)[0] == 0
    wanted = [r for r in pq.read_table(whole).to_pylist() if "2024-11-20" <= str(r["date"]) <= "2024-12-02"]
    assert pq.read_table(part).to_pylist() == wanted
    assert len(wanted) == 6 * 13


def test_a_file_cut_at_a_day_gives_the_same_days(folder: Path) -> None:
    """What comes later in the file changes no earlier verdict."""
    table = pq.read_table(folder / "sessions.parquet")
    local = np.array(table["end"].to_numpy(), "datetime64[s]") + np.timedelta64(1, "h")  # Berlin in winter
    cut = table.filter(pa.array(local < np.datetime64("2024-12-04")))
    pq.write_table(cut, folder / "cut.parquet")
    whole, part = folder / "whole2.parquet", folder / "part2.parquet"
    assert shade(folder / "sessions.parquet", "--output", whole, "--end", "2024-12-03")[0] == 0
    assert shade(folder / "cut.parquet", "--output", part, "--end", "2024-12-03")[0] == 0
    assert pq.read_table(part).equals(pq.read_table(whole))


def test_what_is_no_session_is_counted_and_left_out(tmp_path: Path) -> None:
    file = tmp_path / "few.csv"
    file.write_text(
        "session_id,station_id,start,energy_kwh,end,colour\n"
        "a,S,2025-01-01T10:00:00Z,5,2025-01-01T11:00:00Z,red\n"
        "a,S,2025-01-01T10:00:00Z,7,2025-01-01T11:00:00Z,red\n"
        "b,S,yesterday,5,,red\n"
        ",S,2025-01-01T10:00:00Z,5,,red\n"
        "c,,2025-01-01T10:00:00Z,5,,red\n"
        "d,S,2025-01-02T23:30:00+02:00,x,,red\n"
    )
    table = read_session_table(file)
    assert table.refused == 3
    assert table.ignored == ("colour",)
    assert table.sessions.energy_kwh[0] == 7.0  # of one id the later row counts
    assert np.isnan(table.sessions.energy_kwh[1])
    code, said, told = shade(file, "--output", "-")
    assert code == 0
    rows = [json.loads(line) for line in said.splitlines()]
    assert [row["date"] for row in rows] == ["2025-01-01", "2025-01-02"]
    assert {row["state"] for row in rows} == {"learning"}
    assert "3 rows are no sessions" in told


def test_zero_sessions_told_by_a_column(tmp_path: Path) -> None:
    file = tmp_path / "zero.csv"
    file.write_text(
        "session_id,station_id,start,energy_kwh,is_zero\n"
        "a,S,2025-01-01T10:00:00Z,5,false\nb,S,2025-01-01T12:00:00Z,0.04,\nc,S,2025-01-01T13:00:00Z,,true\n"
    )
    sessions = read_session_table(file).sessions
    assert sessions.zero.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("missing.parquet",), 2, "no such file"),
        (("sessions.parquet", "--start", "tomorrow"), 2, "--start tomorrow"),
        (("sessions.parquet", "--start", "2025-02-01", "--end", "2025-01-01"), 2, "before"),
        (("sessions.parquet", "--output", "x.docx"), 2, "unknown ending"),
        (("lacking.csv",), 1, "no column energy_kwh"),
        (("empty.csv",), 1, "nothing to judge"),
        (("mars.csv",), 1, "Mars/Olympus"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    folder: Path, arguments: tuple[str, ...], code: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    head = "session_id,station_id,start,energy_kwh,timezone\n"
    Path("lacking.csv").write_text("session_id,station_id,start\na,S,2025-01-01T10:00:00Z\n")
    Path("empty.csv").write_text(head)
    Path("mars.csv").write_text(head + "a,S,2025-01-01T10:00:00Z,5,Mars/Olympus\n")
    result, said, told = shade(*arguments)
    assert result == code
    assert words in told
    assert len(told.strip().splitlines()) == 1
    assert said == ""


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.xlsx"
    file.write_bytes(b"")
    with pytest.raises(SessionTableError, match="unknown ending"):
        read_session_table(file)
