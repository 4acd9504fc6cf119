"""The embedded server under a living service (R3): whatever ends it, it comes back at the same address.

Its processes are killed and stopped here with real signals.
"""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import structlog

from chargewatch.server.db.access import database_for_command, database_for_service
from chargewatch.server.db.address import state_folder
from chargewatch.server.db.embedded import DataFolderInUse, EmbeddedPostgres, running_dsn
from chargewatch.server.db.postgres_keeper import Pauses, PostgresKeeper
from chargewatch.server.settings import Settings, load_settings
from tests.patience import PATIENCE_S, wait_until
from tests.postgres_processes import checkpointer, frozen, postmaster, postmasters, processes, stopped

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes by their working folder")

QUICK = Pauses(first_s=0.01, longest_s=0.05, long_life_s=0.3)
#: How long things take that do not wait for what would take a minute.
AT_ONCE_S = 20.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a database in it."""
    folder = tmp_path_factory.mktemp("kept") / "postgres"
    postgres = EmbeddedPostgres(folder)
    postgres.start()
    postgres.stop()
    return folder


@pytest.fixture
def kept(folder: Path) -> Iterator[tuple[PostgresKeeper, str]]:
    """A keeper at work, and its address."""
    keeper = PostgresKeeper(folder, QUICK)
    yield keeper, keeper.start()
    keeper.stop()
    assert processes(folder) == {}


@pytest.fixture
def log() -> Iterator[list[dict[str, object]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines  # type: ignore[misc]


def query(dsn: str, statement: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(dsn, timeout=PATIENCE_S)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


def comes_back(folder: Path, dead: int, dsn: str) -> bool:
    alive = postmasters(folder)
    return len(alive) == 1 and dead not in alive and running_dsn(folder) == dsn


def events(log: list[dict[str, object]]) -> list[object]:
    return [line["event"] for line in log]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGQUIT, signal.SIGTERM])
def test_whatever_ends_it_it_comes_back(
    folder: Path, kept: tuple[PostgresKeeper, str], how: int, log: list[dict[str, object]]
) -> None:
    """SIGQUIT is `pg_ctl stop -m immediate`, SIGTERM `-m smart`."""
    _, dsn = kept
    query(dsn, "CREATE TABLE IF NOT EXISTS kept (number int)")
    query(dsn, f"INSERT INTO kept VALUES ({int(how)})")
    dead = postmaster(folder)
    os.kill(dead, how)
    began = time.monotonic()
    wait_until(lambda: comes_back(folder, dead, dsn))
    print(f"back after {time.monotonic() - began:.2f} s")
    assert query(dsn, f"SELECT count(*) FROM kept WHERE number = {int(how)}") == 1
    wait_until(lambda: "database_restarted" in events(log))
    assert events(log) == ["database_ended", "database_restarted"]
    assert log[0]["log_level"] == "error"
    if how == signal.SIGKILL:
        assert log[0]["exit_code"] == -signal.SIGKILL


def test_it_comes_back_each_time(folder: Path, kept: tuple[PostgresKeeper, str]) -> None:
    _, dsn = kept
    for _ in range(4):
        dead = postmaster(folder)
        os.kill(dead, signal.SIGKILL)
        wait_until(lambda dead=dead: comes_back(folder, dead, dsn))  # type: ignore[misc]
    assert query(dsn, "SELECT 1") == 1


def test_backends_that_are_stopped_do_not_keep_it_down(
    folder: Path, kept: tuple[PostgresKeeper, str]
) -> None:
    """They hold the shared memory of a postmaster that is dead, and hear no polite signal."""
    _, dsn = kept
    dead = postmaster(folder)
    family = processes(folder)
    with stopped(folder):
        os.kill(dead, signal.SIGKILL)
        wait_until(lambda: comes_back(folder, dead, dsn))
    assert not set(family) & set(processes(folder))


def test_what_keeps_it_from_starting_may_pass(
    folder: Path, kept: tuple[PostgresKeeper, str], log: list[dict[str, object]]
) -> None:
    _, dsn = kept
    version = folder / "data" / "PG_VERSION"
    version.rename(folder / "PG_VERSION")
    os.kill(postmaster(folder), signal.SIGKILL)
    wait_until(lambda: events(log).count("database_restart_failed") >= 3)
    failed = [line for line in log if line["event"] == "database_restart_failed"]
    assert [line["attempt"] for line in failed[:3]] == [1, 2, 3]
    assert "PG_VERSION" in str(failed[0]["reason"])
    # nobody else gets the folder meanwhile
    with pytest.raises(DataFolderInUse):
        EmbeddedPostgres(folder).start()
    (folder / "PG_VERSION").rename(version)
    wait_until(lambda: running_dsn(folder) == dsn)


def test_stopping_ends_a_restart_that_is_under_way(
    folder: Path, log: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chargewatch.server.db.postgres_process.ORPHAN_PATIENCE_S", 60.0)
    keeper = PostgresKeeper(folder, QUICK)
    keeper.start()
    dead, orphan = postmaster(folder), checkpointer(folder)
    with frozen(orphan):  # the restart waits for it
        os.kill(dead, signal.SIGKILL)
        wait_until(lambda: "database_ended" in events(log))
        began = time.monotonic()
        keeper.stop()
        assert time.monotonic() - began < AT_ONCE_S
        assert "database_restart_failed" not in events(log)
        wait_until(lambda: set(processes(folder)) == {orphan})
    again = EmbeddedPostgres(folder)  # the folder is free
    again.start()
    again.stop()
    assert processes(folder) == {}


def test_stopping_in_a_pause_between_attempts(folder: Path, log: list[dict[str, object]]) -> None:
    keeper = PostgresKeeper(folder, Pauses(first_s=60, longest_s=60))
    keeper.start()
    version = folder / "data" / "PG_VERSION"
    version.rename(folder / "PG_VERSION")
    os.kill(postmaster(folder), signal.SIGKILL)
    wait_until(lambda: "database_restart_failed" in events(log))
    began = time.monotonic()
    keeper.stop()
    assert time.monotonic() - began < AT_ONCE_S
    (folder / "PG_VERSION").rename(version)


def test_pauses_grow_to_a_bound() -> None:
    pauses, pause_s, seen = Pauses(first_s=0.1, longest_s=1.0), 0.0, []
    for _ in range(6):
        pause_s = pauses.after(pause_s)
        seen.append(pause_s)
    assert seen == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


# --- beside a service


@pytest.fixture
def settings(folder: Path) -> Settings:
    settings = load_settings({"data_dir": folder.parent}, environ={}, dotenv=None)
    assert state_folder(settings) == folder
    return settings


def test_a_command_waits_for_the_restart(folder: Path, settings: Settings) -> None:
    with database_for_service(settings) as of_service:
        dead = postmaster(folder)
        with frozen(checkpointer(folder)):  # so that the restart takes its time
            os.kill(dead, signal.SIGKILL)
            wait_until(lambda: running_dsn(folder) is None)
            with database_for_command(settings) as of_command:
                assert postmaster(folder) != dead
                assert of_command == of_service
        assert postmaster(folder) != dead
    assert processes(folder) == {}


def test_commands_and_restarts_never_make_two_servers(folder: Path, settings: Settings) -> None:
    over, seen = threading.Event(), set()

    def watch() -> None:
        """Who is there in two looks after one another; what a dead one has just forked does not stay."""
        before: set[int] = set()
        while not over.is_set():
            now = set(postmasters(folder))
            seen.add(len(now & before))
            before = now

    with database_for_service(settings) as of_service:
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            for _ in range(3):
                dead = postmaster(folder)
                os.kill(dead, signal.SIGKILL)
                wait_until(lambda dead=dead: dead not in postmasters(folder))  # type: ignore[misc]
                with database_for_command(settings) as of_command:
                    assert of_command == of_service
        finally:
            over.set()
            watcher.join()
    assert 1 in seen
    assert seen <= {0, 1}
