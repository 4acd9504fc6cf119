"""Real DC sessions: nobody labelled them, so all that can be said is how many are flagged, and which.

Never mixed with simulated figures. The data is no part of the project; ``CHARGEWATCH_EVAL_DATA`` names its folder.
"""

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import numpy as np

from chargewatch.csar2.detect import detect
from chargewatch.domain.verdict import Anomaly, Evidence
from chargewatch.evaluate.intervals import upper_bound
from chargewatch.ingest.table_sessions import survey
from chargewatch.ingest.tables import open_table, read_sessions

VARIABLE: Final = "CHARGEWATCH_EVAL_DATA"
FILE: Final = "readings_dc_real.parquet"


class Flag(msgspec.Struct, frozen=True):
    """One anomaly that was reported of a real session."""

    session_id: str
    category: str
    start: datetime
    end: datetime
    confidence: float
    evidence: str


class RealReport(msgspec.Struct, frozen=True):
    """How many real DC sessions were flagged. ``upper_per_thousand``: one-sided exact 95 % bound.

    It bounds the false alarms only as far as none of the flags is right.
    """

    sessions: int
    flagged: int
    upper_per_thousand: float
    flags: tuple[Flag, ...]


def real_data() -> Path | None:
    """Returns the file of real DC sessions; None when the variable is not set or the file is not there."""
    folder = os.environ.get(VARIABLE)
    file = Path(folder) / FILE if folder else None
    return file if file is not None and file.is_file() else None


def why_not() -> str:
    """Returns a line on what is missing when there is no real data."""
    folder = os.environ.get(VARIABLE)
    return f"{folder}: no {FILE}" if folder else f"{VARIABLE} names no folder with {FILE}"


def evaluate_real(file: Path, now_us: int) -> RealReport:
    """Judges real sessions. ``now_us``: the present in microseconds since 1970.

    Raises:
        TableError: the file cannot be read.
    """
    sessions = 0
    flags: list[Flag] = []
    files = open_table(file).files
    with TemporaryDirectory(prefix="chargewatch-") as scratch:
        for part in read_sessions(files, survey(files, _unheard), _unheard, Path(scratch)):
            verdicts = detect(part.readings, part.declared, now_us=now_us)
            sessions += len(np.flatnonzero(np.diff(part.readings.offsets)))
            for name, verdict in zip(part.ids, verdicts, strict=True):
                flags += [_flag(name, a) for a in (*verdict.past_anomalies, *verdict.anomalies)]
    flagged = len({flag.session_id for flag in flags})
    return RealReport(sessions, flagged, 1000.0 * upper_bound(flagged, sessions), tuple(flags))


def _flag(name: str, anomaly: Anomaly) -> Flag:
    span = anomaly.time_range
    return Flag(
        name,
        anomaly.category.value,
        span.start_timestamp,
        span.end_timestamp,
        anomaly.confidence,
        "; ".join(map(_words, anomaly.evidence)),
    )


def _words(evidence: Evidence) -> str:
    return " ".join(_parts(evidence))


def _parts(evidence: Evidence) -> Iterator[str]:
    yield f"{evidence.what} {evidence.observed:g} {evidence.unit}"
    if evidence.expected is not None:
        yield f"(expected {evidence.expected:g})"
    if evidence.timestamp is not None:
        yield f"at {evidence.timestamp:%Y-%m-%d %H:%M:%S}"


def _unheard(_: object) -> None:
    pass
