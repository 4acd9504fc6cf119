"""Files of results: the columns of ``chargewatch score``, from any tool that wants to enter the benchmark."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from chargewatch.domain.categories import Category
from chargewatch.domain.verdict import LAST_UNIT
from chargewatch.evaluate.outcomes import UNKNOWN, Outcome, placed
from chargewatch.ingest.tables import ending_of

REQUIRED: Final = ("session_id", "is_anomaly", "anomaly_score")


class ResultsFileError(Exception):
    """A file of results cannot be used; the text is one line."""


def read_results(path: Path) -> dict[str, Outcome]:
    """Returns what a file says about each session.

    Required columns: session_id, is_anomaly, anomaly_score. Optional: anomaly_confidence; categories (a list, or
    text with semicolons); anomalies (JSON as ``chargewatch score`` writes it, with category and bucket_range).
    Without anomalies the categories count, without a place.

    Raises:
        ResultsFileError: it cannot be read, lacks a column, or a value makes no sense.
    """
    results: dict[str, Outcome] = {}
    for number, row in enumerate(_rows(path), start=1):
        try:
            name, outcome = str(row["session_id"]), _outcome(row)
        except KeyError as missing:
            needed = ", ".join(REQUIRED)
            raise ResultsFileError(f"{path}: no column {missing}; needed are {needed}") from None
        except (ValueError, TypeError, msgspec.DecodeError) as problem:
            raise ResultsFileError(f"{path}, row {number}: {problem}") from None
        if name in results:
            raise ResultsFileError(f"{path}, row {number}: a second result for session {name}")
        results[name] = outcome
    return results


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    ending = ending_of(path)
    try:
        if ending in {".parquet", ".pq"}:
            yield from pq.read_table(path).to_pylist()
        elif ending == ".csv":
            yield from arrow_csv.read_csv(path).to_pylist()
        elif ending in {".ndjson", ".jsonl"}:
            for line in path.read_bytes().splitlines():
                yield msgspec.json.decode(line, type=dict[str, Any])
        else:
            raise ResultsFileError(f"{path}: results are .parquet, .csv, .ndjson or .jsonl")
    except (OSError, pa.ArrowException, msgspec.DecodeError) as problem:
        raise ResultsFileError(f"{path}: cannot be read ({problem})") from None


def _outcome(row: Mapping[str, Any]) -> Outcome:
    """Returns a row as an outcome; without a verdict (fewer than three readings) nothing is reported."""
    flagged, score = row["is_anomaly"], row["anomaly_score"]
    if flagged is None or score is None:
        return Outcome(0.0, is_anomaly=False, confidence=UNKNOWN, units={})
    if not isinstance(flagged, bool) or not math.isfinite(float(score)):
        raise ValueError("is_anomaly must be true or false, anomaly_score a number")
    sure = row.get("anomaly_confidence")
    confidence = UNKNOWN if sure is None else float(sure)
    if not (math.isnan(confidence) or 0.0 <= confidence <= 1.0):
        raise ValueError("anomaly_confidence must lie between 0 and 1")
    return Outcome(float(score), flagged, confidence, _units(row) if flagged else {})


def _units(row: Mapping[str, Any]) -> dict[Category, frozenset[int]]:
    text = row.get("anomalies")
    if text:
        return placed(map(_span, msgspec.json.decode(text, type=list[dict[str, Any]])))
    named = row.get("categories") or []
    names = named.split(";") if isinstance(named, str) else named
    return {Category(name): frozenset() for name in names}


def _span(anomaly: Mapping[str, Any]) -> tuple[Category, int, int]:
    place = anomaly.get("bucket_range") or {}
    first, last = place.get("start_unit", 0), place.get("end_unit", -1)
    if last > LAST_UNIT or first < 0:
        raise ValueError(f"units go from 0 to {LAST_UNIT}")
    return Category(anomaly["category"]), int(first), int(last)
