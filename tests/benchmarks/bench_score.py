"""`score`: sessions a second and core, from Parquet to Parquet with one worker.

Sessions of one hour, a reading a minute: the energy register alone, the same with power and state of charge, and
the first with faults in every tenth session.
"""

import resource
import statistics
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chargewatch.cli.scoring_run import Request, run
from chargewatch.csar2.scoring import score
from chargewatch.ingest.table_sessions import survey
from chargewatch.ingest.tables import open_table, read_sessions
from tests.benchmarks.machine import core_seconds, describe

SESSIONS = 20_000
INSTANTS = 60
AT_LEAST = 3_000.0
_CHUNK = 2_000
_START_US = 1_760_000_000_000_000
_NOW_US = _START_US + 90 * 86_400_000_000
_MEASURANDS = ("Energy.Active.Import.Register", "Power.Active.Import", "SoC")
_UNITS = ("Wh", "W", "Percent")
_SCHEMA = pa.schema(
    [
        ("session_id", pa.string()),
        ("timestamp", pa.timestamp("us", "UTC")),
        ("value", pa.float64()),
        ("measurand", pa.string()),
        ("unit", pa.string()),
    ]
)


class Case(NamedTuple):
    """Sessions of one kind; ``measurands`` of register, power and SoC, faults in every ``faulty``-th (0: none)."""

    name: str
    measurands: int
    faulty: int


CASES = (
    Case("register", 1, 0),
    Case("register, power, SoC", 3, 0),
    Case("register, 10 % faulty", 1, 10),
)


def write_sessions(
    path: Path, sessions: int, case: Case = CASES[0], *, in_order_of_time: bool = False
) -> Path:
    """Writes a table of sessions; in order of time those of a chunk alternate from row to row."""
    rng = np.random.default_rng(20260227)
    with pq.ParquetWriter(path, _SCHEMA) as writer:
        for first in range(0, sessions, _CHUNK):
            table = _chunk(rng, first, min(_CHUNK, sessions - first), case)
            if in_order_of_time:
                rows = np.arange(table.num_rows).reshape(-1, INSTANTS * case.measurands)
                table = table.take(pa.array(rows.T.reshape(-1)))
            writer.write_table(table)
    return path


def _chunk(rng: np.random.Generator, first: int, sessions: int, case: Case) -> pa.Table:
    seconds = np.arange(INSTANTS) * 60.0
    power = np.round(rng.uniform(4e3, 11e3, (sessions, 1)) * np.clip(1.3 - 0.9 * seconds / seconds[-1], 0, 1))
    register = np.round(np.cumsum(power, axis=1) / 60 + rng.integers(0, 10**7, (sessions, 1)))
    soc = np.broadcast_to(np.round(20 + 70 * seconds / seconds[-1]), power.shape)
    if case.faulty:
        register[:: case.faulty, INSTANTS // 2 :] -= 5_000  # rolls back
    value = np.stack([register, power, soc], axis=2)[:, :, : case.measurands]
    at = _START_US + (first + np.arange(sessions))[:, None] * 7_000_000 + (seconds * 1e6).astype(np.int64)
    rows = INSTANTS * case.measurands
    kinds = np.tile(np.arange(case.measurands), sessions * INSTANTS)
    columns = [
        pa.array([f"session-{first + s:07d}" for s in range(sessions)]).take(
            pa.array(np.arange(sessions).repeat(rows))
        ),
        pa.array(at.reshape(-1).repeat(case.measurands)).cast(_SCHEMA.field("timestamp").type),
        pa.array(value.reshape(-1)),
        pa.array(_MEASURANDS).take(pa.array(kinds)),
        pa.array(_UNITS).take(pa.array(kinds)),
    ]
    return pa.table(columns, schema=_SCHEMA)


def _quietly(work: Callable[[], None]) -> None:
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        work()


def main() -> bool:
    """Prints the table; returns whether the limit holds."""
    print(f"score, {SESSIONS} sessions of {INSTANTS} instants, Parquet to Parquet, one worker ({describe()})")
    fine = True
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            rate = _rate(Path(folder), case)
            fine = fine and rate >= AT_LEAST
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  limit: at least {AT_LEAST:.0f} sessions/s a core; peak memory of this process {peak_mb:.0f} MB")
    return fine


def _rate(folder: Path, case: Case) -> float:
    source = write_sessions(folder / "readings.parquet", SESSIONS, case)
    request = Request.checked(source, folder / "results.parquet", None, 1)
    whole = core_seconds(lambda: _quietly(lambda: run(request)), rounds=3)
    files = open_table(source).files
    found = survey(files, lambda rows: None)
    parts = list(read_sessions(files, found, lambda bad: None, folder))
    judged = core_seconds(lambda: [score(part, _NOW_US) for part in parts], rounds=3)
    rate, low, high = (SESSIONS / f(whole) for f in (statistics.median, max, min))
    each_us = 1e6 / rate
    judging_us = 1e6 * statistics.median(judged) / SESSIONS
    print(
        f"  {case.name:<22} {rate:7.0f} sessions/s a core (min {low:.0f}, max {high:.0f}); "
        f"{each_us:.0f} µs each: {judging_us:.0f} judging, {each_us - judging_us:.0f} reading and writing"
    )
    return rate


if __name__ == "__main__":
    raise SystemExit(not main())
