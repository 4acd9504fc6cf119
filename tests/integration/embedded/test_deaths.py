"""The launcher of the embedded PostgreSQL (R4, R6): all kinds of deaths.

Every bad state of its folder is made here on purpose. A launcher that shall be killed runs in a process of its
own (`Launcher`). As root, some tests also run one as user ``nobody``; the interpreter for that is one that
everybody may use.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from chargewatch.server.db.embedded import (
    EmbeddedPostgres,
    EmbeddedPostgresError,
    running_dsn,
)
from tests.integration.embedded.launcher import (
    Launcher,
    assert_kept,
    busy_backend,
    is_alive,
    linux_only,
    query,
    store,
)
from tests.patience import PATIENCE_S, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals and Unix sockets")


def test_the_postmaster_dies_and_is_started_again(
    folder: Path, start: Callable[[Path], EmbeddedPostgres]
) -> None:
    postgres = start(folder)
    number = store(postgres.dsn())
    os.kill(postgres.pid, signal.SIGKILL)
    wait_until(lambda: running_dsn(folder) is None)
    with pytest.raises(EmbeddedPostgresError, match="no database is running"):
        wait_until(lambda: postgres.pid < 0)
    postgres.start()
    assert_kept(postgres, number)


def test_a_backend_dies(folder: Path, start: Callable[[Path], EmbeddedPostgres]) -> None:
    postgres = start(folder)
    number = store(postgres.dsn())
    with pytest.raises((asyncpg.PostgresError, OSError)):
        query(postgres.dsn(), "COPY (SELECT pg_backend_pid()) TO PROGRAM 'kill -9 $(cat)'")

    def recovered() -> bool:
        with suppress(asyncpg.PostgresError, OSError):
            return bool(query(postgres.dsn(), "SELECT 1"))
        return False

    # Until the postmaster hears of the death it still answers, only to end everybody a moment later.
    wait_until(lambda: "reinitializing" in (folder / "postgres.log").read_text())
    wait_until(recovered)
    assert_kept(postgres, number)


@linux_only
def test_the_server_goes_when_its_launcher_is_killed(folder: Path, launch: Callable[..., Launcher]) -> None:
    launcher = launch(folder)
    postmaster = launcher.postmaster()
    launcher.kill()
    wait_until(lambda: not is_alive(postmaster))
    assert "database system is shut down" in (folder / "postgres.log").read_text()


def test_a_start_right_after_the_launcher_was_killed(
    folder: Path, launch: Callable[..., Launcher], start: Callable[[Path], EmbeddedPostgres]
) -> None:
    launcher = launch(folder)
    postmaster = launcher.postmaster()
    dsn = running_dsn(folder)
    assert dsn is not None
    number = store(dsn)
    launcher.kill()
    postgres = start(folder)
    assert not is_alive(postmaster)
    assert_kept(postgres, number)


@linux_only
def test_nothing_is_left_when_everything_is_killed(folder: Path, launch: Callable[..., Launcher]) -> None:
    """Launcher, postmaster and client at once, and nobody starts again: a busy backend ends all the same."""
    launcher = launch(folder)
    postmaster = launcher.postmaster()
    dsn = running_dsn(folder)
    assert dsn is not None
    with busy_backend(dsn) as (client, backend):
        for pid in (launcher.process.pid, postmaster, client.pid):
            os.kill(pid, signal.SIGKILL)
        client.wait()
        wait_until(lambda: not is_alive(backend))


@linux_only
def test_launcher_and_postmaster_are_killed_together(
    folder: Path, launch: Callable[..., Launcher], start: Callable[[Path], EmbeddedPostgres]
) -> None:
    """A backend that never looks up is left: it has the shared memory, and nobody to tell it to end."""
    launcher = launch(folder)
    postmaster = launcher.postmaster()
    dsn = running_dsn(folder)
    assert dsn is not None
    number = store(dsn)
    with busy_backend(dsn) as (client, backend):
        os.kill(postmaster, signal.SIGKILL)  # first, or it hears of its parent's end and ends the backend
        launcher.kill()

        assert (folder / "data" / "postmaster.pid").exists()
        assert is_alive(backend)
        postgres = start(folder)
        assert not is_alive(backend)
        assert_kept(postgres, number)
        assert client.wait(PATIENCE_S) != 0


def test_the_thread_that_started_it_may_end(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder)
    thread = threading.Thread(target=postgres.start)
    thread.start()
    thread.join()
    try:
        time.sleep(0.2)
        assert query(postgres.dsn(), "SELECT 1") == 1
    finally:
        postgres.stop()


def test_a_launcher_whose_shell_ignores_interrupts(folder: Path, launch: Callable[..., Launcher]) -> None:
    """As ``command &`` in a script does; the server still goes with it."""
    launcher = launch(folder, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    postmaster = launcher.postmaster()
    launcher.kill()
    wait_until(lambda: not is_alive(postmaster))
