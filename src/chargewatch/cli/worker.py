"""``worker``: background jobs only, on any machine that reaches the database; any number of them.

Beside a running ``serve`` with the same data folder, or with CHARGEWATCH_DATABASE_URL. One line on stdout when it is
ready, the log on stderr. SIGTERM and Ctrl-C end it with status 0 when the part of a job that it is at is done.
"""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Adds the command to the program's."""
    app.command()(worker)


def worker(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="The data folder (CHARGEWATCH_DATA_DIR; default ./.chargewatch).", show_default=False
        ),
    ] = None,
) -> None:
    """Does background jobs until it is stopped: batches, and what else calls leave for later."""
    from chargewatch.server.db.address import find_address
    from chargewatch.server.db.errors import DatabaseError
    from chargewatch.server.platform.logging import configure_logging, secrets_of
    from chargewatch.server.settings import SettingsError, load_settings

    try:
        settings = load_settings({"data_dir": data_dir})
        address = find_address(settings)
        from chargewatch.server.worker import run_worker  # a second's worth of modules

        configure_logging(settings.log_level, secrets_of(settings))
        run_worker(settings, address, lambda: typer.echo("chargewatch worker is ready"))
    except (SettingsError, DatabaseError) as problem:
        typer.echo(f"chargewatch: {problem}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
