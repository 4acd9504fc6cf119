"""A new database in the folder, and whether the one that is there is ours to start.

``data`` appears under that name when it is complete and on disk. What bears another name is the rest of a
broken attempt and goes; what is called ``data`` is never removed.
"""

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from chargewatch.server.db.postgres_binaries import EmbeddedPostgresError, major_version
from chargewatch.server.db.postgres_folder import StateFolder, sync_folder
from chargewatch.server.db.postgres_process import Deadline, command_line, failure, handed_down

SUPERUSER: Final = "postgres"

_INITDB_OPTIONS: Final = (
    f"--username={SUPERUSER}",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--locale=C.UTF-8",
    "--data-checksums",
    # one system call instead of a thousand; the default elsewhere is as safe
    *(["--sync-method=syncfs"] if sys.platform == "linux" else []),
)


def check_data(state: StateFolder, installation: Path) -> None:
    """Raises EmbeddedPostgresError when this PostgreSQL cannot start what is in ``data``."""
    ours = major_version(installation)
    try:
        theirs = int((state.data / "PG_VERSION").read_text())
    except (FileNotFoundError, ValueError):
        raise EmbeddedPostgresError(
            f"{state.data} is damaged (no PG_VERSION): restore it from a backup"
        ) from None
    if theirs != ours:
        raise EmbeddedPostgresError(
            f"{state.data} was made by PostgreSQL {theirs} and this is PostgreSQL {ours}: "
            "start the chargewatch that made it; backup and restore move its data to this one"
        )
    if not state.password.exists():
        raise EmbeddedPostgresError(f"{state.password} is missing: restore it from a backup of the folder")


def make_database(
    state: StateFolder, installation: Path, run: Path, server_lock: int, deadline: Deadline
) -> None:
    """Makes ``data``.

    Args:
        state: where.
        installation: the PostgreSQL that makes it.
        run: a folder that only the server's user can enter; the password passes through it.
        server_lock: stays locked while a process of initdb lives.
        deadline: by when.

    Raises:
        EmbeddedPostgresError: initdb failed.
    """
    draft = state.path / "data.draft"
    if draft.exists():
        shutil.rmtree(draft)
    state.make_private_folder(draft)
    password_file = run / "initdb.password"
    try:
        _write_password(state, password_file)
        _run_initdb(state, installation, draft, password_file, server_lock, deadline)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    finally:
        password_file.unlink(missing_ok=True)
    draft.rename(state.data)
    sync_folder(state.path)


def _write_password(state: StateFolder, password_file: Path) -> None:
    """The superuser's, once for the folder (an earlier attempt may have made it) and once for initdb."""
    if not state.password.exists():
        state.write(state.password.name, secrets.token_urlsafe(32).encode())
    password_file.touch(mode=0o600)
    password_file.write_bytes(state.password.read_bytes())
    state.give_to_account(password_file)


def _run_initdb(
    state: StateFolder,
    installation: Path,
    draft: Path,
    password_file: Path,
    server_lock: int,
    deadline: Deadline,
) -> None:
    with state.as_server_sees(draft, password_file.parent) as (names, descriptors):
        places = [f"--pgdata={names[0]}", f"--pwfile={names[1]}/{password_file.name}"]
        try:
            done = subprocess.run(  # noqa: S603 - our own program
                command_line(state.account, installation / "bin" / "initdb", *places, *_INITDB_OPTIONS),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                pass_fds=handed_down(*descriptors, server_lock),
                cwd=Path(os.sep),
                timeout=max(deadline.left_s, 1.0),
            )
        except subprocess.TimeoutExpired:
            raise EmbeddedPostgresError(
                f"{state.path}: making the database takes too long: is the disk slow or the machine busy?"
            ) from None
    if done.returncode:
        raise EmbeddedPostgresError(failure(state.path, "initdb failed", done.stderr or done.stdout))
