"""``chargewatch evaluate`` as a process: its tables, files, and what it says when something is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

PROGRAM = "from chargewatch.cli.app import main; main()"
SMALL = ("--scale", "0.001", "--seed", "5")


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    inherited = {k: v for k, v in os.environ.items() if k != "CHARGEWATCH_EVAL_DATA"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=inherited | environment, check=False
    )
    assert "Traceback" not in done.stderr
    return done


def test_another_tool_enters_with_a_file_of_results(tmp_path: Path) -> None:
    """What ``score`` says of the written suite gives the figures that a run in one piece gives."""
    written = run("evaluate", *SMALL, "--write", tmp_path / "suite")
    assert (written.returncode, written.stdout) == (0, f"{tmp_path / 'suite'}\n")
    assert {f.name for f in (tmp_path / "suite").iterdir()} == {
        f"{name}.parquet" for name in ("readings", "sessions", "labels", "cases")
    }
    results = tmp_path / "results.parquet"
    scored = run("score", tmp_path / "suite" / "readings.parquet", "--output", results, "--workers", "1")
    assert scored.returncode == 0
    assert (
        pq.read_metadata(results).num_rows == pq.read_metadata(tmp_path / "suite" / "cases.parquet").num_rows
    )

    entered = run("evaluate", *SMALL, "--results", results, "--output", tmp_path / "entered.json")
    own = run("evaluate", *SMALL, "--output", tmp_path / "own.json", "--examples", tmp_path / "examples")
    assert entered.returncode == own.returncode == 0
    theirs, ours = (
        json.loads((tmp_path / name).read_text())["seeds"][0]["card"] for name in ("entered.json", "own.json")
    )
    assert theirs["method"] == "results.parquet"
    for figure in ("precision", "recall", "f1", "false_alarms", "categories", "confusion"):
        assert theirs[figure] == ours[figure]
    assert "seed 5: methods" in own.stdout
    assert "CSAR-2" in own.stdout
    assert "no real sessions: CHARGEWATCH_EVAL_DATA names no folder" in own.stderr
    assert (tmp_path / "examples" / "reliability.svg").is_file()
    assert len(list((tmp_path / "examples").iterdir())) > 1


def test_real_sessions_have_a_table_of_their_own(tmp_path: Path) -> None:
    run("simulate", "--output", tmp_path, "--stations", "3", "--days", "1")
    (tmp_path / "readings.parquet").rename(tmp_path / "readings_dc_real.parquet")
    done = run("evaluate", *SMALL, "--output", tmp_path / "r.md", CHARGEWATCH_EVAL_DATA=str(tmp_path))
    assert done.returncode == 0
    text = (tmp_path / "r.md").read_text()
    assert "## real DC sessions\n" in text
    assert "## real DC sessions: flags" in text
    assert ("real curves, injected" in text) != ("no measured curves" in done.stderr)


def test_results_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    missing = run("evaluate", *SMALL, "--results", tmp_path / "none.parquet")
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    other = tmp_path / "other.csv"
    other.write_text("session_id,is_anomaly,anomaly_score\nx,true,0.9\n")
    stranger = run("evaluate", *SMALL, "--results", other)
    assert stranger.returncode == 1
    assert "know none of the" in stranger.stderr
