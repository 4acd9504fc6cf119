"""The suite as files, so that any tool can enter: readings, sessions, labels as ``simulate`` writes them, and cases."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from chargewatch.evaluate.cases import Case
from chargewatch.evaluate.truth import truth_of
from chargewatch.simulate import FleetFiles, SimulatedSession, write_fleet

#: One row a session. ``state``: ``normal``, ``anomalous``, or ``unproven`` (counts nowhere).
CASES_SCHEMA: Final = pa.schema(
    [(name, pa.string()) for name in ("session_id", "stratum", "split", "state", "mechanism")]
)


class SuiteFiles(NamedTuple):
    """Where a suite was written."""

    fleet: FleetFiles
    cases: Path


def write_suite(folder: Path, cases: Iterable[Case], on_case: Callable[[int], None]) -> SuiteFiles:
    """Writes ``readings``, ``sessions``, ``labels`` and ``cases`` (``.parquet``) into a folder, made if need be.

    Args:
        folder: files of these names in it are replaced.
        cases: taken one by one.
        on_case: called after each with the number written so far.
    """
    rows: list[dict[str, str | None]] = []

    def sessions() -> Iterator[SimulatedSession]:
        for case in cases:
            truth = truth_of(case)
            rows.append(
                {
                    "session_id": truth.session_id,
                    "stratum": truth.stratum,
                    "split": truth.split.value,
                    "state": truth.state.value,
                    "mechanism": truth.mechanism,
                }
            )
            yield case.session

    fleet = write_fleet(folder, sessions(), on_case)
    table = folder / "cases.parquet"
    pq.write_table(pa.Table.from_pylist(rows, CASES_SCHEMA), table, compression="zstd")
    return SuiteFiles(fleet, table)
