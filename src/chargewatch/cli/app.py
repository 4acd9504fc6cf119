"""``chargewatch``: the program. Each command is a module of this folder; what it needs is imported when it runs."""

from typing import Annotated

import typer

from chargewatch.cli import (
    administration,
    backup,
    evaluate,
    import_history,
    score,
    serve,
    shade,
    simulate,
    thresholds,
    train,
    verify,
    worker,
)

app = typer.Typer(
    name="chargewatch",
    help="Tells whether the meter values of charging sessions are anomalous, and why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_COMMANDS = (
    serve,
    worker,
    score,
    shade,
    simulate,
    train,
    evaluate,
    import_history,
    administration,
    thresholds,
    backup,
    verify,
)
for module in _COMMANDS:
    module.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        from chargewatch import __version__

        typer.echo(f"chargewatch {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Tells whether the meter values of charging sessions are anomalous, and why."""


def main() -> None:
    """Runs the program."""
    app()
