"""``backup`` and ``restore``: all of a database in one file, and back into an empty one.

What was done goes to stdout (with ``--json`` as one object), progress and warnings to stderr. Exit status: 1 when
it could not be done, 2 when the command line or the settings are wrong, 130 when it was interrupted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from chargewatch.cli.administration import (
    AsJson,
    DataDir,
    failed,
    print_result,
    reports_errors,
    settings_from,
)

if TYPE_CHECKING:
    from chargewatch.server.db.backups.archive import Archive, Manifest
    from chargewatch.server.settings import Settings

INTERRUPTED: Final = 130


def register(app: typer.Typer) -> None:
    """Adds these commands to the program's."""
    app.command()(backup)
    app.command()(restore)


@reports_errors
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to make.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")] = False,
    with_secret_key: Annotated[
        bool,
        typer.Option(
            "--with-secret-key", help="Put the secret key in, too: the file is then as secret as the key."
        ),
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Copies the database, as it is at one moment, into a file; the service may go on meanwhile."""
    import asyncio

    from chargewatch.server.db.access import database_for_command
    from chargewatch.server.db.backups.archive import check_target, new_archive
    from chargewatch.server.db.backups.take import take_backup
    from chargewatch.server.db.secret_key import load_secret_key

    settings = settings_from(data_dir)
    target = check_target(file, overwrite=force)
    _check_there_is_a_database(settings)
    with (
        _interruptible("no backup was made"),
        _progress() as progress,
        database_for_command(settings) as address,
    ):
        key = load_secret_key(settings)
        with new_archive(target) as archive:
            manifest = asyncio.run(
                take_backup(address, archive, key, progress, with_secret_key=with_secret_key)
            )
    size = target.stat().st_size
    answer = _answer(target, manifest) | {"bytes": size, "has_secret_key": with_secret_key}
    print_result(as_json, answer, f"{_counts(manifest)}\nbacked up to {file} ({size / 1e6:.1f} MB)")


@reports_errors
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `backup` made.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Brings a backup back, whole or not at all, into an empty database: a new data folder, or one by URL."""
    import asyncio

    from chargewatch.cli.verify import verify_database
    from chargewatch.server.db.access import database_for_service
    from chargewatch.server.db.backups.archive import open_archive
    from chargewatch.server.db.backups.restore import check_known, restore_backup
    from chargewatch.server.db.secret_key import SecretKey, adopt_secret_key

    settings = settings_from(data_dir)
    with _interruptible("run the restore again"), open_archive(file) as archive, _progress() as progress:
        check_known(archive)
        archive.verify(progress)
        if archive.manifest.has_secret_key:
            adopt_secret_key(settings, SecretKey(archive.secret_key()))
        with database_for_service(settings) as address:
            schema = asyncio.run(restore_backup(settings, address, archive, progress))
            progress("verifying", 0)
            found = asyncio.run(verify_database(settings, address))
    _warn_of_another_key(settings, archive)
    text = f"{_counts(archive.manifest)}\nrestored from {file}; the database is at schema {schema}"
    answer = _answer(file.resolve(), archive.manifest)
    print_result(as_json, answer | {"schema": schema, "differences": len(found.differences)}, text)
    if found.differences:
        raise failed(
            f"all rows are back, but {len(found.differences)} of them do not agree:"
            " chargewatch verify lists them",
            1,
        )


def _check_there_is_a_database(settings: "Settings") -> None:
    """A mistyped folder must not become a new, empty database."""
    from chargewatch.server.db.address import state_folder
    from chargewatch.server.db.errors import DatabaseError

    if settings.database_url is None and not (state_folder(settings) / "data").exists():
        raise DatabaseError(f"there is nothing to back up: {settings.data_dir} holds no database")


def _warn_of_another_key(settings: "Settings", archive: "Archive") -> None:
    from chargewatch.server.db.secret_key import load_secret_key

    if load_secret_key(settings).fingerprint() != archive.manifest.secret_key_fingerprint:
        typer.echo(
            "chargewatch: this installation's secret key is not the one of the backup: secrets that were stored"
            " encrypted (those of webhooks) cannot be read without it; see `restore` in docs/howto/back-up.md",
            err=True,
        )


def _answer(file: Path, manifest: "Manifest") -> dict[str, object]:
    return {
        "file": str(file),
        "created_at": manifest.created_at,
        "schema": manifest.schema,
        "rows": manifest.rows(),
    }


def _counts(manifest: "Manifest") -> str:
    return "\n".join(f"{name:24}{rows:>14,}" for name, rows in manifest.rows().items())


@contextmanager
def _progress() -> "Iterator[Callable[[str, int], None]]":
    """On a terminal, a line with what is being done and how much of it is."""
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, SpinnerColumn, TaskID, TextColumn, TransferSpeedColumn

    console = Console(stderr=True, highlight=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, more: int) -> None:
            if what not in tasks:
                for earlier in tasks.values():
                    shown.update(earlier, visible=False)
                tasks[what] = shown.add_task(what, total=None)
            shown.advance(tasks[what], more)

        yield progress


@contextmanager
def _interruptible(outcome: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the command with all its files and transactions; ``outcome`` is then said."""
    import signal

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        raise failed(f"interrupted; {outcome}", INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
