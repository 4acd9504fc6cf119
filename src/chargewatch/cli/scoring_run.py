"""A run of ``score``: from readings to a file of results, with a progress bar and a summary."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple, Self

import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from chargewatch.cli.bad_rows import BadRows
from chargewatch.cli.result_files import STDOUT, ResultFile, ResultsError, check_output, stem_of
from chargewatch.cli.threshold_file import ThresholdFileError, read_thresholds
from chargewatch.csar2.detect import MODEL_ID
from chargewatch.csar2.scoring import RESULTS, available_cores, score_all
from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS, Thresholds
from chargewatch.ingest.table_sessions import Survey, survey
from chargewatch.ingest.table_slices import SLICE_ROWS, SLICE_SESSIONS
from chargewatch.ingest.tables import open_table, read_sessions, unknown_columns

_BAD_ROWS: Final = ".bad-rows.ndjson"


class RequestError(Exception):
    """What was asked for cannot be done; the text is one line."""


class Request(NamedTuple):
    """What to score and where the results go; ``output`` and ``bad_rows`` are absolute, or output is ``-``."""

    readings: Path
    output: Path
    bad_rows: Path
    scratch: Path
    workers: int
    thresholds: Thresholds = DEFAULT_THRESHOLDS

    @classmethod
    def checked(
        cls,
        readings: Path,
        output: Path | None,
        model: str | None,
        workers: int | None,
        thresholds: Path | None = None,
    ) -> Self:
        """Returns a request that makes sense.

        Raises:
            RequestError: it makes none.
        """
        if model not in {None, MODEL_ID}:
            raise RequestError(f"there is no model {model}; there is {MODEL_ID}")
        named = Path(f"{stem_of(readings)}.scores.parquet")
        try:
            target = check_output(output or named)
        except ResultsError as problem:
            raise RequestError(str(problem)) from None
        if target == readings.resolve():
            raise RequestError(f"{output}: the results would replace the readings")
        try:
            limits = DEFAULT_THRESHOLDS if thresholds is None else read_thresholds(thresholds)
        except ThresholdFileError as problem:
            raise RequestError(str(problem)) from None
        beside = named.resolve().with_suffix("") if target == STDOUT else target
        scratch = Path(tempfile.gettempdir()) if target == STDOUT else target.parent
        return cls(
            readings,
            target,
            beside.with_name(beside.name + _BAD_ROWS),
            scratch,
            workers or available_cores(),
            limits,
        )


class _Tally:
    """What the summary says."""

    def __init__(self) -> None:
        self.sessions = self.anomalous = self.pending = self.readings = 0
        self.categories: Counter[str] = Counter()
        self._began = time.monotonic()

    def add(self, rows: pa.RecordBatch, readings: int) -> None:
        verdicts = rows.column("is_anomaly").to_pylist()
        self.sessions += len(verdicts)
        self.readings += readings
        self.anomalous += verdicts.count(True)
        self.pending += verdicts.count(None)
        for found in rows.column("categories").to_pylist():
            self.categories.update(found)

    def summary(self, bad_rows: int) -> str:
        seconds = time.monotonic() - self._began
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(self.categories.items()))
        parts = [
            f"{self.sessions} sessions ({self.readings} readings)",
            f"{self.anomalous} anomalous" + (f" ({kinds})" if kinds else ""),
            f"{bad_rows} bad rows",
            f"{seconds:.1f} s, {self.sessions / max(seconds, 1e-3):.0f} sessions/s",
        ]
        if self.pending:
            parts.insert(2, f"{self.pending} with fewer than 3 readings and so without verdict")
        return "scored " + "; ".join(parts)


def run(request: Request) -> None:
    """Scores; prints the output's name to stdout and the rest to stderr.

    Raises:
        RequestError: nothing could be scored.
        TableError: the readings cannot be read.
        OSError: the results cannot be written.
    """
    console = Console(stderr=True, highlight=False)

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    tally = _Tally()
    with BadRows(request.bad_rows, say) as bad_rows:
        _score(request, tally, bad_rows, console, say)
        bad_rows.commit()
        if not tally.readings:
            raise RequestError(_nothing(request, bad_rows.count))
    if request.output != STDOUT:
        print(request.output, flush=True)
    say(tally.summary(bad_rows.count))
    if bad_rows.count:
        say(f"bad rows: {request.bad_rows}")


def _nothing(request: Request, bad_rows: int) -> str:
    why = f"all {bad_rows} rows are bad, see {request.bad_rows}" if bad_rows else "there is no reading"
    return f"{request.readings}: nothing to score: {why}"


def _score(
    request: Request, tally: _Tally, bad_rows: BadRows, console: Console, say: Callable[[str], None]
) -> None:
    now_us = time.time_ns() // 1_000
    files, passed_over = open_table(request.readings, frozenset({request.output, request.bad_rows}))
    for line in passed_over:
        say(f"passed over: {line}")
    if ignored := unknown_columns(files):
        say(f"ignored columns: {', '.join(ignored)}")
    with _progress(console) as progress:
        looking = progress.add_task("finding sessions", total=None)
        found = survey(files, lambda rows: progress.advance(looking, rows))
        progress.remove_task(looking)
        scoring = progress.add_task("scoring sessions", total=found.sessions)
        with (
            ResultFile(request.output, RESULTS) as results,
            closing(read_sessions(files, found, bad_rows.add, request.scratch)) as parts,
            closing(score_all(parts, now_us, _workers(request, found), request.thresholds)) as scored,
        ):
            for rows, readings in scored:
                results.write(rows)
                tally.add(rows, readings)
                progress.advance(scoring, rows.num_rows)
            if tally.readings:
                results.commit()


def _workers(request: Request, found: Survey) -> int:
    """Returns how many processes there is work for."""
    parts = max(found.sessions // SLICE_SESSIONS, int(found.counts.sum()) // SLICE_ROWS)
    return max(min(request.workers, parts), 1)


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    """Shows progress on a terminal, and nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress
