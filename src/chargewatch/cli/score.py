"""``score``: verdicts on the sessions in files, without a server or a database.

The result goes to a file (its name to stdout) or, as NDJSON, to stdout; everything said about it goes to
stderr. Exit status: 1 when nothing could be scored, 2 when the command line is wrong, 130 after Ctrl-C.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

_INTERRUPTED: Final = 130
_TERMINATED: Final = 143


def register(app: typer.Typer) -> None:
    """Adds the command to the program's."""
    app.command()(score)


def score(
    readings: Annotated[Path, typer.Argument(help="A Parquet, CSV or NDJSON file, or a folder of them.")],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Where the results go: .parquet, .csv, .ndjson or .jsonl, or - for NDJSON on stdout. "
            "Default: NAME.scores.parquet in this folder.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model's id.", show_default="model-csar2-base")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes.", show_default="one for each core")
    ] = None,
    thresholds: Annotated[
        Path | None,
        typer.Option(
            help="A .json or .toml file with limits other than the defaults (`chargewatch thresholds` lists them).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Scores charging sessions from files: is each one anomalous, of what kind, where and why.

    Columns: session_id, timestamp, value; optional measurand, unit, phase, location, context, rated_power_kw,
    managed, station_id, connector_id. Rows that are no readings are reported and left out.
    """
    with _ended_cleanly():
        _run(readings, output, model, workers, thresholds)


def _run(
    readings: Path, output: Path | None, model: str | None, workers: int | None, thresholds: Path | None
) -> None:
    from concurrent.futures.process import BrokenProcessPool

    from chargewatch.cli.scoring_run import Request, RequestError, run
    from chargewatch.ingest.table_blocks import TableError

    try:
        request = Request.checked(readings, output, model, workers, thresholds)
    except RequestError as problem:
        raise _failed(str(problem), 2) from None
    try:
        run(request)
    except (TableError, RequestError) as problem:
        raise _failed(str(problem), 1) from None
    except BrokenProcessPool:
        raise _failed("a worker process was killed (out of memory?); --workers takes fewer", 1) from None
    except BrokenPipeError:  # whoever read stdout has seen enough
        _forget_stdout()
        raise typer.Exit(1) from None
    except OSError as problem:
        raise _failed(f"{problem.filename or request.output}: {problem.strerror or problem}", 1) from None


@contextlib.contextmanager
def _ended_cleanly() -> Iterator[None]:
    """Ctrl-C and SIGTERM leave nothing behind and say so."""
    import signal

    from chargewatch.cli.result_files import discard_unfinished

    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except KeyboardInterrupt:
        raise _failed("interrupted; nothing was written", _INTERRUPTED) from None
    finally:
        discard_unfinished()
        signal.signal(signal.SIGTERM, before)


def _terminate(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(_TERMINATED)


def _forget_stdout() -> None:
    import os
    import sys

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(text: str, status: int) -> typer.Exit:
    typer.echo(f"chargewatch: {text}", err=True)
    return typer.Exit(status)
