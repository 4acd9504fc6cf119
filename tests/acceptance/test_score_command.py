"""``chargewatch score`` and ``simulate`` as processes: formats, bad rows, outputs, interruption, memory."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chargewatch.csar2.detect import MODEL_ID
from chargewatch.csar2.scoring import RESULTS
from tests.benchmarks.bench_score import write_sessions
from tests.patience import PATIENCE_S
from tests.reading_tables import charging, falling, reading, write

PROGRAM = (
    "import typer; from chargewatch.cli import score, simulate; app = typer.Typer(); "
    "score.register(app); simulate.register(app); app()"
)
FORMATS = (".parquet", ".csv", ".csv.gz", ".ndjson", ".jsonl.gz")
ROWS = [
    *charging("normal", 8, station_id="S1", connector_id=1, colour="red"),
    *falling("falls"),
    *[reading("idle", 5 * i, 500.0) for i in range(6)],
    *charging("short", 2),
    *charging("soc", 5, measurand="SoC", unit="Percent"),
]


def start(folder: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    """A command in a folder, in a process group of its own as a shell would have it."""
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, text=True, start_new_session=True, **pipes)  # type: ignore[call-overload,no-any-return]


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=2 * PATIENCE_S)
    assert "Traceback" not in err
    return process.returncode, out, err


def scored(folder: Path, *arguments: str | Path) -> tuple[str, str]:
    """Output and messages of a run that scored something."""
    status, out, err = finish(start(folder, "score", *arguments))
    assert status == 0, err
    return out, err


def failure(folder: Path, *arguments: str | Path) -> tuple[int, str]:
    """Exit status and the one line of a run that failed and left nothing."""
    before = sorted(folder.rglob("*"))
    status, out, err = finish(start(folder, *arguments))
    assert out == ""
    assert err.startswith("chargewatch: ")
    assert err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before
    return status, err.removeprefix("chargewatch: ").rstrip("\n")


def results(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def test_thresholds_of_a_file_decide_with_any_number_of_processes(tmp_path: Path) -> None:
    watts = [11_000] * 8 + [2_400] * 5 + [11_000] * 8
    rows = [
        reading(f"dips-{n}", 2 * i, watt, measurand="Power.Active.Import")
        for n in range(2_100)  # more than two processes share
        for i, watt in enumerate(watts)
    ]
    write(tmp_path / "readings.parquet", rows)
    (tmp_path / "strict.toml").write_text("pit_depth = 0.2\n")
    (tmp_path / "wrong.json").write_text('{"pit_depth": 0.9}')
    strict = ("--thresholds", "strict.toml")
    for options, anomalous in ((("1",), True), (("1", *strict), False), (("2", *strict), False)):
        scored(tmp_path, "readings.parquet", "--output", "out.parquet", "--workers", *options)
        assert {row["is_anomaly"] for row in results(tmp_path / "out.parquet")} == {anomalous}, options
    assert failure(tmp_path, "score", "readings.parquet", "--thresholds", "wrong.json") == (
        2,
        "wrong.json: pit_depth must be 0.05 to 0.4 (share)",
    )


def verdicts(path: Path) -> dict[str, dict[str, Any]]:
    """The results without what is for information only and depends on the order of rows."""
    found = {row.pop("session_id"): row for row in results(path)}
    for row in found.values():
        notes = json.loads(row.pop("data_quality"))
        row["notes"] = [n for n in notes if n["code"] not in {"duplicate", "out_of_order"}]
    return found


# Formats


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("expected")
    scored(folder, write(folder / "r.parquet", ROWS))
    return results(folder / "r.scores.parquet")


def test_the_verdicts(expected: list[dict[str, Any]]) -> None:
    found = {row["session_id"]: (row["is_anomaly"], row["categories"]) for row in expected}
    assert found == {
        "normal": (False, []),
        "falls": (True, ["KWH_DECREASE"]),
        "idle": (True, ["ZERO_SESSION"]),
        "short": (None, []),
        "soc": (False, []),
    }
    fall = json.loads(expected[1]["anomalies"])[0]
    assert fall["category"] == "KWH_DECREASE"
    assert fall["time_range"]["start_timestamp"] == "2026-03-02T10:15:00Z"
    assert json.loads(expected[0]["data_quality"])[0]["code"] == "unit_assumed"


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_the_same(tmp_path: Path, ending: str, expected: list[dict[str, Any]]) -> None:
    out, err = scored(tmp_path, write(tmp_path / f"my.readings{ending}", ROWS), "--model", MODEL_ID)
    assert out == f"{tmp_path / 'my.readings.scores.parquet'}\n"
    assert results(Path(out.strip())) == expected
    lines = err.splitlines()
    assert lines[0] == "ignored columns: colour"
    assert lines[1].startswith(
        "scored 5 sessions (28 readings); 2 anomalous (KWH_DECREASE 1, ZERO_SESSION 1); 1 with"
    )
    assert "; 0 bad rows; " in lines[1]
    assert len(lines) == 2


def test_a_folder_and_any_order(tmp_path: Path, expected: list[dict[str, Any]]) -> None:
    folder = tmp_path / "fleet"
    folder.mkdir()
    mixed = list(ROWS)
    random.Random(1).shuffle(mixed)
    for i, ending in enumerate(FORMATS):
        write(folder / f"part-{i}{ending}", mixed[i :: len(FORMATS)])
    for _ in range(2):  # the second time the first result is in the folder
        scored(folder, ".")
    whole = folder / "fleet.scores.parquet"
    assert sorted(p.name for p in folder.iterdir() if p.name.startswith(".")) == []
    by_name = {row["session_id"]: row for row in expected}
    assert {row["session_id"] for row in results(whole)} == set(by_name)
    for name, row in verdicts(whole).items():
        same = by_name[name]
        assert (row["anomalies"], row["anomaly_score"]) == (same["anomalies"], same["anomaly_score"])


# Outputs


def test_columns_and_types_of_parquet(tmp_path: Path) -> None:
    scored(tmp_path, write(tmp_path / "r.csv", ROWS), "--output", "out")
    schema = pq.read_schema(tmp_path / "out")
    assert schema.names == RESULTS.names
    assert [str(field.type) for field in schema][1:5] == ["bool", "double", "double", "int32"]
    assert pa.types.is_list(schema.field("categories").type)


def test_other_formats_of_the_output(tmp_path: Path, expected: list[dict[str, Any]]) -> None:
    source = write(tmp_path / "r.csv", ROWS)
    scored(tmp_path, source, "--output", "o.ndjson")
    lines = (tmp_path / "o.ndjson").read_text().splitlines()
    assert [json.loads(line) for line in lines] == expected
    out, err = scored(tmp_path, source, "--output", "-")
    assert out.splitlines() == lines
    assert "scored 5 sessions" in err
    scored(tmp_path, source, "--output", "o.csv")
    with (tmp_path / "o.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["session_id"] for row in rows] == [row["session_id"] for row in expected]
    assert [row["is_anomaly"] for row in rows] == ["false", "true", "true", "", "false"]
    assert [row["categories"] for row in rows] == ["", "KWH_DECREASE", "ZERO_SESSION", "", ""]
    assert [row["anomalies"] for row in rows] == [row["anomalies"] for row in expected]
    assert float(rows[1]["anomaly_score"]) == expected[1]["anomaly_score"]
    assert rows[3]["anomaly_score"] == ""


def test_what_stood_there_is_replaced_only_by_something_whole(tmp_path: Path) -> None:
    output = tmp_path / "o.ndjson"
    output.write_text("old")
    bad = write(tmp_path / "bad.csv", [reading("a", 0, "x")])
    status, _, err = finish(start(tmp_path, "score", bad, "--output", output))
    assert (status, output.read_text()) == (1, "old")
    assert "nothing to score: all 1 rows are bad, see" in err
    scored(tmp_path, write(tmp_path / "r.csv", ROWS), "--output", output)
    assert len(output.read_text().splitlines()) == 5
    assert not list(tmp_path.glob("*.bad-rows.ndjson"))  # those of the earlier run


# Bad rows


def test_bad_rows_are_shown_and_kept(tmp_path: Path) -> None:
    bad = [reading("falls", 100 + i, "x") for i in range(30)]
    source = write(tmp_path / "r.csv", [ROWS[0], *bad, *ROWS[1:]])
    out, err = scored(tmp_path, source)
    lines = err.splitlines()
    assert lines[1].startswith("r.csv: row 2 (line 3): value is not a number: expected")
    assert len([line for line in lines if line.startswith("r.csv: row ")]) == 20
    kept = Path(f"{out.strip()}.bad-rows.ndjson")
    assert lines[21] == f"... more bad rows: all of them in {kept}"
    assert "; 30 bad rows; " in lines[22]
    assert lines[23] == f"bad rows: {kept}"
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [row["row"] for row in rows] == list(range(2, 32))
    assert rows[0].keys() == {"file", "row", "line", "reason"}
    assert results(Path(out.strip()))[1]["categories"] == ["KWH_DECREASE"]


def test_bad_rows_beside_results_on_stdout(tmp_path: Path) -> None:
    out, _ = scored(tmp_path, write(tmp_path / "r.csv", [*ROWS, reading("x", 0, "")]), "--output", "-")
    assert len(out.splitlines()) == 6
    assert json.loads((tmp_path / "r.scores.bad-rows.ndjson").read_text())["reason"] == "no value"


# What fails


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.csv", b"", "r.csv: the file is empty"),
        ("r.csv", b"session_id,timestamp,value\n", "nothing to score: there is no reading"),
        (
            "r.csv",
            b"session_id,timestamp\na,b\n",
            "r.csv: no column value (columns found: session_id, timestamp)",
        ),
        ("r.parquet", b"PAR1 but not really", "r.parquet: not a Parquet file"),
        ("r.txt", b"", "r.txt: unknown ending; known are .parquet"),
    ],
)
def test_one_line_for_what_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    status, line = failure(tmp_path, "score", name)
    assert status == 1
    assert message in line


def test_one_line_for_what_cannot_be_meant(tmp_path: Path) -> None:
    source = write(tmp_path / "r.csv", ROWS)
    known = ".parquet, .pq, .csv, .ndjson, .jsonl, and - for NDJSON on stdout"
    wrong: Sequence[tuple[Sequence[str], str]] = [
        (["--model", "model-x"], "there is no model model-x; there is model-csar2-base"),
        (["--output", "o.xlsx"], f"o.xlsx: unknown ending of an output; known are {known}"),
        (["--output", "none/o.csv"], "none/o.csv: no such folder"),
        (["--output", "/dev/null"], "/dev/null: there is something else than a file"),
        (["--output", "r.csv"], "r.csv: the results would replace the readings"),
    ]
    for arguments, message in wrong:
        assert failure(tmp_path, "score", source, *arguments) == (2, message)
    assert failure(tmp_path, "score", "none.csv") == (1, "none.csv: no such file or folder")


# Several processes, interruption, memory


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table large enough for two workers, and for being interrupted."""
    return write_sessions(tmp_path_factory.mktemp("many") / "many.parquet", 12_000)


def test_workers_change_nothing(tmp_path: Path) -> None:
    some = write_sessions(tmp_path / "some.parquet", 5_000)
    scored(tmp_path, some, "--output", "one.parquet", "--workers", "1")
    scored(tmp_path, some, "--output", "two.parquet", "--workers", "2")
    one, two = (pq.read_table(tmp_path / name) for name in ("one.parquet", "two.parquet"))
    assert one.num_rows == 5_000
    assert one.equals(two)


def parts(folder: Path) -> Iterator[Path]:
    return folder.glob(".*")


@pytest.mark.parametrize(
    ("workers", "number", "status"), [(1, "INT", 130), (2, "INT", 130), (2, "TERM", 143)]
)
def test_an_interrupted_run_leaves_nothing(
    tmp_path: Path, many: Path, workers: int, number: str, status: int
) -> None:
    process = start(tmp_path, "score", many, "--output", "o.ndjson", "--workers", str(workers))
    deadline = time.monotonic() + PATIENCE_S
    while not list(parts(tmp_path)):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    children = psutil.Process(process.pid).children(recursive=True)
    if number == "INT":  # Ctrl-C goes to every process of the group
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    found, out, err = finish(process)
    assert (found, out) == (status, "")
    assert err == ("chargewatch: interrupted; nothing was written\n" if number == "INT" else "")
    assert list(tmp_path.iterdir()) == []
    assert psutil.wait_procs(children, timeout=PATIENCE_S)[1] == []


def test_workers_end_with_a_killed_parent(tmp_path: Path, many: Path) -> None:
    process = start(tmp_path, "score", many, "--workers", "2")
    deadline = time.monotonic() + PATIENCE_S
    children: list[psutil.Process] = []
    while len(children) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    assert psutil.wait_procs(children, timeout=PATIENCE_S)[1] == []
    assert not (tmp_path / "many.scores.parquet").exists()


def test_a_reader_that_has_seen_enough(tmp_path: Path, many: Path) -> None:
    process = start(tmp_path, "score", many, "--output", "-", "--workers", "1")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=PATIENCE_S) == 1


@pytest.mark.soak
@pytest.mark.parametrize("in_order_of_time", [False, True])
def test_memory_does_not_grow_with_the_table(tmp_path: Path, in_order_of_time: bool) -> None:
    peaks = []
    for sessions in (20_000, 200_000):
        source = write_sessions(tmp_path / "r.parquet", sessions, in_order_of_time=in_order_of_time)
        process = start(tmp_path, "score", source, "--workers", "1")
        _, _, usage = os.wait4(process.pid, 0)
        process.communicate()
        peaks.append(usage.ru_maxrss / 1024)
    assert max(peaks) < 500
    assert peaks[1] < peaks[0] + 150


# simulate


def test_a_simulated_fleet_can_be_scored(tmp_path: Path) -> None:
    status, out, err = finish(
        start(tmp_path, "simulate", "--stations", "2", "--days", "2", "--seed", "3", "--output", "fleet")
    )
    assert (status, out) == (0, "fleet\n")
    assert err.startswith("simulated ")
    assert sorted(p.name for p in (tmp_path / "fleet").iterdir()) == [
        "labels.parquet",
        "readings.parquet",
        "sessions.parquet",
    ]
    _, err = scored(tmp_path, "fleet/readings.parquet")
    assert "; 0 bad rows; " in err
    sessions = pq.read_table(tmp_path / "fleet/sessions.parquet").column("session_id").to_pylist()
    assert {row["session_id"] for row in results(tmp_path / "readings.scores.parquet")} == set(sessions)
    _, err = scored(tmp_path, "fleet")  # the whole folder, as simulate left it
    labels, ended, *_ = err.splitlines()
    assert labels.startswith(
        "passed over: labels.parquet: no column timestamp, value (columns found: session_id"
    )
    assert ended.startswith("passed over: sessions.parquet: no column timestamp, value (columns found: ")
    assert results(tmp_path / "fleet.scores.parquet") == results(tmp_path / "readings.scores.parquet")
    assert failure(tmp_path, "score", "fleet/labels.parquet")[0] == 1


def test_a_fleet_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, line = failure(tmp_path, "simulate", "--output", "file")
    assert status == 1
    assert line.startswith("file")
