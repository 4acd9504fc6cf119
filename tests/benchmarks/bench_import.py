"""`import`: sessions and readings a second into an empty tenant, beside the database that the command starts itself.

Sessions of one hour, a reading a minute, faults in every tenth, at 2,000 connectors, from Parquet; in one piece and
in order of time. ``python -m tests.benchmarks.bench_import 16700`` imports a million rows.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.bench_score import CASES, INSTANTS, write_sessions
from tests.benchmarks.machine import describe

SESSIONS = 4_000
CONNECTORS = 2_000
LARGEST_MB = 500


def write_history(path: Path, sessions: int, *, in_order_of_time: bool) -> Path:
    """Writes the table; those sessions of a connector that follow each other do not overlap."""
    table = pq.read_table(write_sessions(path, sessions, CASES[2], in_order_of_time=in_order_of_time))
    stations = [f"CP-{int(name[-7:]) % CONNECTORS}" for name in table.column("session_id").to_pylist()]
    pq.write_table(table.append_column("station_id", pa.array(stations)), path)
    return path


def _program(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", "from chargewatch.cli.app import main; main()", *map(str, arguments)]


def _imported(folder: Path, file: Path) -> tuple[dict[str, Any], float, float]:
    """The summary of an import, its seconds of core time without the database's, and its peak in MB."""
    data = ("--data-dir", folder / "data")
    subprocess.run(_program("tenant", "create", "north", *data), check=True, stdout=subprocess.DEVNULL)
    process = subprocess.Popen(
        _program("import", "parquet", file, "--tenant", "north", "--json", *data), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return json.loads(out), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main(sessions: int = SESSIONS) -> bool:
    """Prints the table; returns whether memory stays within its limit."""
    print(f"import, {sessions} sessions of {INSTANTS} readings, Parquet into an empty tenant ({describe()})")
    fine = True
    for name, in_order_of_time in (("in one piece", False), ("in order of time", True)):
        with tempfile.TemporaryDirectory(prefix="cw-") as folder:
            file = write_history(
                Path(folder) / "history.parquet", sessions, in_order_of_time=in_order_of_time
            )
            summary, core_s, peak_mb = _imported(Path(folder), file)
        assert summary["sessions"]["created"] == sessions
        rate = sessions / summary["seconds"]
        print(
            f"  {name:<17} {rate:6.0f} sessions/s, {rate * INSTANTS:7.0f} readings/s; core time of the command "
            f"{1e3 * core_s / sessions:.2f} ms a session; peak {peak_mb:.0f} MB"
        )
        fine = fine and peak_mb < LARGEST_MB
    print(f"  limit: less than {LARGEST_MB} MB, however long the table")
    return fine


if __name__ == "__main__":
    raise SystemExit(not main(*map(int, sys.argv[1:])))
