"""A run of ``shade``: from a table of sessions to a file of verdicts, with a progress bar and a summary."""

import time
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Final, NamedTuple, Self

import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from chargewatch.cli.result_files import STDOUT, ResultFile, ResultsError, check_output, stem_of
from chargewatch.shade.local_days import day_number
from chargewatch.shade.run import last_local_day, replay_all
from chargewatch.shade.tables import VERDICTS, SessionTableError, read_session_table, verdict_batches

_AHEAD_S: Final = 86_400.0


class RequestError(Exception):
    """What was asked for cannot be done; the text is one line."""


class Request(NamedTuple):
    """What to replay and where the verdicts go; days are day numbers, None where none was named."""

    sessions: Path
    output: Path
    start_day: int | None
    end_day: int | None

    @classmethod
    def checked(cls, sessions: Path, output: Path | None, start: str | None, end: str | None) -> Self:
        """Returns a request that makes sense.

        Raises:
            RequestError: it makes none.
        """
        start_day, end_day = _day("--start", start), _day("--end", end)
        if start_day is not None and end_day is not None and end_day < start_day:
            raise RequestError(f"--end {end} is before --start {start}")
        try:
            target = check_output(output or Path(f"{stem_of(sessions)}.shade.parquet"))
        except ResultsError as problem:
            raise RequestError(str(problem)) from None
        if not sessions.exists():
            raise RequestError(f"{sessions}: no such file or folder")
        if target == sessions.resolve():
            raise RequestError(f"{output}: the verdicts would replace the sessions")
        return cls(sessions, target, start_day, end_day)


def _day(option: str, text: str | None) -> int | None:
    try:
        return None if text is None else day_number(date.fromisoformat(text))
    except ValueError:
        raise RequestError(f"{option} {text}: a date, as 2026-02-27") from None


def run(request: Request) -> None:
    """Replays; prints the output's name to stdout and the rest to stderr.

    Raises:
        RequestError: nothing could be judged.
        OSError: the verdicts cannot be written.
    """
    console = Console(stderr=True, highlight=False)
    began = time.monotonic()
    try:
        table = read_session_table(request.sessions)
    except SessionTableError as problem:
        raise RequestError(str(problem)) from None
    if table.ignored:
        console.print(f"ignored columns: {', '.join(table.ignored)}", markup=False, soft_wrap=True)
    if not table.sessions.size:
        raise RequestError(
            f"{request.sessions}: nothing to judge: {table.refused} rows, none of them a session"
        )
    latest_s = time.time() + _AHEAD_S
    last_day = last_local_day(table.sessions, latest_s) if request.end_day is None else request.end_day
    rows, kinds = 0, Counter[str]()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
        ResultFile(request.output, VERDICTS) as results,
    ):
        task = progress.add_task("judging days", total=None)
        told = lambda days: progress.update(task, completed=days)  # noqa: E731
        for zone in replay_all(table.sessions, last_day, latest_s, told=told):
            progress.update(task, total=zone.replay.days.days)
            for batch in verdict_batches(table.sessions, zone, request.start_day, request.end_day):
                results.write(batch)
                rows += batch.num_rows
                kinds.update(_types(batch))
        if not rows:
            raise RequestError(f"{request.sessions}: no station had a session by the days asked for")
        results.commit()
    if request.output != STDOUT:
        print(request.output, flush=True)
    found = ", ".join(f"{name} {count}" for name, count in sorted(kinds.items())) or "none"
    refused = f"; {table.refused} rows are no sessions" if table.refused else ""
    console.print(
        f"judged {rows} days of {len(table.sessions.stations)} stations from {table.sessions.size} sessions{refused}; "
        f"anomalous days: {found}; {time.monotonic() - began:.1f} s",
        markup=False,
        soft_wrap=True,
    )


def _types(batch: pa.RecordBatch) -> list[str]:
    return [str(kind) for kind in batch.column("anomaly_type").drop_null().to_pylist()]
