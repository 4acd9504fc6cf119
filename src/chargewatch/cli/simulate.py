"""``simulate``: writes a labelled simulated fleet, the same for the same arguments.

The folder's name goes to stdout, everything said about it to stderr. Exit status: 1 when it could not be
written, 2 when the command line is wrong, 130 after Ctrl-C.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

    from chargewatch.simulate import SimulatedSession

_INTERRUPTED: Final = 130
_DAY_S: Final = 86_400.0


def register(app: typer.Typer) -> None:
    """Adds the command to the program's."""
    app.command()(simulate)


def simulate(
    output: Annotated[
        Path, typer.Option(help="The folder for readings.parquet, sessions.parquet and labels.parquet.")
    ],
    stations: Annotated[int, typer.Option(min=1, help="Stations, with one or two connectors each.")] = 20,
    days: Annotated[int, typer.Option(min=1, help="Days.")] = 14,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another fleet.")] = 1,
) -> None:
    """Writes a labelled simulated fleet: what meters sent, what was true, and which faults were put in."""
    try:
        sessions = _write(output, stations, days, seed)
    except OSError as problem:
        raise _failed(f"{problem.filename or output}: {problem.strerror or problem}", 1) from None
    except KeyboardInterrupt:
        raise _failed("interrupted; nothing was written", _INTERRUPTED) from None
    print(output, flush=True)
    typer.echo(f"simulated {sessions} sessions at {stations} stations over {days} days", err=True)


def _write(output: Path, stations: int, days: int, seed: int) -> int:
    """Writes the fleet, all of it or nothing; returns the number of its sessions."""
    from tempfile import TemporaryDirectory

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from chargewatch.simulate import simulate_fleet, write_fleet

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    count = 0

    def counted(number: int) -> None:
        nonlocal count
        count = number

    output.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix=".chargewatch-", dir=output) as folder,
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        fleet = simulate_fleet(stations=stations, days=days, seed=seed)
        files = write_fleet(Path(folder), _watched(fleet, days, progress), counted)
        for file in files:
            file.replace(output / file.name)
    return count


def _watched(
    fleet: "Iterator[SimulatedSession]", days: int, progress: "Progress"
) -> "Iterator[SimulatedSession]":
    """Passes sessions on; their times show how far the fleet is."""
    task = progress.add_task("simulating", total=days)
    first = None
    for session in fleet:
        first = first or session.started_at
        progress.update(task, completed=(session.started_at - first).total_seconds() / _DAY_S)
        yield session


def _failed(text: str, status: int) -> typer.Exit:
    typer.echo(f"chargewatch: {text}", err=True)
    return typer.Exit(status)
