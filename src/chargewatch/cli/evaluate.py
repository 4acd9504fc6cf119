"""``evaluate``: the open benchmark. Writes its suite, measures chargewatch or a file of results, and peers.

Tables go to stdout, everything said about them to stderr. Exit status: 1 when something could not be read or
written, 2 when the command line is wrong, 130 after Ctrl-C.
"""

from pathlib import Path
from typing import Annotated, Final

import typer

_INTERRUPTED: Final = 130


def register(app: typer.Typer) -> None:
    """Adds the command to the program's."""
    app.command()(evaluate)


def evaluate(
    suite: Annotated[
        str, typer.Option(help="standard (sessions) or shade (stations, day by day).")
    ] = "standard",
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another suite.")] = 0,
    seeds: Annotated[
        str | None, typer.Option(help="Several seeds, as 0,1,2,3,4; gives intervals over them.")
    ] = None,
    scale: Annotated[float, typer.Option(help="Of the number of sessions; 0.05 is a small table.")] = 1.0,
    peers: Annotated[
        bool, typer.Option("--peers", help="Compare with other detectors (extra: peers).")
    ] = False,
    write: Annotated[
        Path | None, typer.Option(help="Only write the suite into this folder.", show_default=False)
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Measure this file of results (columns of score) instead.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the report: .json or .md.", show_default=False)
    ] = None,
    examples: Annotated[
        Path | None, typer.Option(help="Draw ten examples a category into this folder.", show_default=False)
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Show every table.")] = False,
) -> None:
    """Measures detection on labelled simulated sessions, and on real ones where there are any."""
    from chargewatch.cli.evaluation_run import STATIONS, Request, RequestError, run
    from chargewatch.cli.station_evaluation import run_stations

    try:
        request = Request.checked(
            suite, seeds or str(seed), scale, peers, write, results, output, examples, full
        )
    except RequestError as problem:
        raise _failed(str(problem), 2) from None
    try:
        (run_stations if request.suite == STATIONS else run)(request)
    except RequestError as problem:
        raise _failed(str(problem), 1) from None
    except OSError as problem:
        raise _failed(f"{problem.filename or 'output'}: {problem.strerror or problem}", 1) from None
    except KeyboardInterrupt:
        raise _failed("interrupted", _INTERRUPTED) from None


def _failed(text: str, status: int) -> typer.Exit:
    typer.echo(f"chargewatch: {text}", err=True)
    return typer.Exit(status)
