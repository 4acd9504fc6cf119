"""``import``: history from a file into a tenant, resumable, with a report of what was refused and why.

The summary goes to stdout (with ``--json`` as one object), everything said about it to stderr. Exit status: 1 when
nothing could be taken or the file cannot be read, 2 when the command line or the settings are wrong, 130 after Ctrl-C,
143 after SIGTERM. Refused rows and sessions beside taken ones leave it 0, as bad rows do with ``score``.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from chargewatch.cli.administration import AsJson, DataDir, reports_errors, settings_from


class Kind(StrEnum):
    """What a file holds."""

    CSV = "csv"
    PARQUET = "parquet"
    OCPP_LOG = "ocpp-log"
    OCPI_CDRS = "ocpi-cdrs"


def register(app: typer.Typer) -> None:
    """Adds the command to the program's."""
    app.command("import")(import_history)


@reports_errors
def import_history(
    kind: Annotated[Kind, typer.Argument(help="What the file holds.", show_default=False)],
    file: Annotated[
        Path, typer.Argument(help="The file; of tables also a folder of them.", show_default=False)
    ],
    tenant: Annotated[str, typer.Option(help="The tenant's name or id.", show_default=False)],
    station: Annotated[
        str | None,
        typer.Option(help="The station of sessions for which the file names none.", show_default=False),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Where it is written what was refused and why: .ndjson, .jsonl or .csv. "
            "Default: NAME.import-report.ndjson in this folder, when something was refused.",
            show_default=False,
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Sessions that are stored at once.")] = 16,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew instead of going on where an earlier run stopped.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Brings history into a tenant: tables of readings, logs of OCPP frames, OCPI CDRs.

    Sessions are judged as the API would judge them. Readings are added to what is stored, so that importing a file
    twice changes nothing. An import that was stopped, or killed, goes on with the same command.
    """
    from chargewatch.cli.import_progress import ImportBusy
    from chargewatch.cli.import_run import NothingTaken, Request, RequestError, run
    from chargewatch.cli.import_work import Stopped
    from chargewatch.ingest.table_blocks import TableError
    from chargewatch.server.platform.logging import configure_logging, secrets_of

    settings = settings_from(data_dir)
    configure_logging("warning", secrets_of(settings))
    try:
        request = Request.checked(kind.value, file, tenant, station, report, concurrency, restart=restart)
        summary = run(request, settings)
    except RequestError as problem:
        raise _failed(str(problem), 2) from None
    except (TableError, NothingTaken, ImportBusy) as problem:
        raise _failed(str(problem), 1) from None
    except Stopped as stop:
        raise _failed(str(stop), stop.status) from None
    except OSError as problem:
        raise _failed(f"{problem.filename or report or file}: {problem.strerror or problem}", 1) from None
    if as_json:
        from msgspec.json import encode

        typer.echo(encode(summary).decode())
    else:
        typer.echo(summary.text())


def _failed(text: str, status: int) -> typer.Exit:
    typer.echo(f"chargewatch: {text}", err=True)
    return typer.Exit(status)
