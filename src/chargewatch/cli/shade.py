"""``shade``: replays the station detector day by day over a table of sessions, without a server or a database.

The verdicts go to a file (its name to stdout) or, as NDJSON, to stdout; everything said about them goes to stderr.
Exit status: 1 when nothing could be judged, 2 when the command line is wrong, 130 after Ctrl-C.
"""

from pathlib import Path
from typing import Annotated, Final

import typer

_INTERRUPTED: Final = 130


def register(app: typer.Typer) -> None:
    """Adds the command to the program's."""
    app.command()(shade)


def shade(
    sessions: Annotated[
        Path, typer.Argument(help="A Parquet, CSV or NDJSON file of sessions, or a folder of them.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Where the verdicts go: .parquet, .csv, .ndjson or .jsonl, or - for NDJSON on stdout. "
            "Default: NAME.shade.parquet in this folder.",
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help="First day of the verdicts, as 2026-02-27.", show_default="first session"),
    ] = None,
    end: Annotated[
        str | None, typer.Option(help="Last day of the verdicts.", show_default="last session")
    ] = None,
) -> None:
    """Replays SHADE over sessions: was each station well on each day, and if not, what was wrong?

    Columns: session_id, station_id, start, energy_kwh; optional connector_id, site_id, end, max_power_kw, is_zero,
    timezone, country, reference_energy_kwh. Each day is judged only from what had happened by its end; a session
    counts on the local day of its end, else of its start. Days before --start are learnt from all the same.
    """
    from chargewatch.cli.result_files import discard_unfinished
    from chargewatch.cli.shade_run import Request, RequestError, run

    try:
        request = Request.checked(sessions, output, start, end)
    except RequestError as problem:
        raise _failed(str(problem), 2) from None
    try:
        run(request)
    except RequestError as problem:
        raise _failed(str(problem), 1) from None
    except OSError as problem:
        raise _failed(f"{problem.filename or request.output}: {problem.strerror or problem}", 1) from None
    except KeyboardInterrupt:
        raise _failed("interrupted; nothing was written", _INTERRUPTED) from None
    finally:
        discard_unfinished()


def _failed(text: str, status: int) -> typer.Exit:
    typer.echo(f"chargewatch: {text}", err=True)
    return typer.Exit(status)
