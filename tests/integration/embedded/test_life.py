"""The launcher of the embedded PostgreSQL (R4, R6): a life without accidents, and two launchers at once.

Every bad state of its folder is made here on purpose. A launcher that shall be killed runs in a process of its
own (`Launcher`). As root, some tests also run one as user ``nobody``; the interpreter for that is one that
everybody may use.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import psutil
import pytest

from chargewatch.server.db import postgres_folder
from chargewatch.server.db.embedded import (
    DataFolderInUse,
    EmbeddedPostgres,
    EmbeddedPostgresError,
    running_dsn,
)
from tests.integration.embedded.launcher import (
    Launcher,
    assert_kept,
    is_alive,
    mode,
    psql,
    query,
    store,
)
from tests.patience import PATIENCE_S, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals and Unix sockets")


def test_data_outlive_a_restart(new_folder: Path, start: Callable[[Path], EmbeddedPostgres]) -> None:
    first = start(new_folder)
    number = store(first.dsn())
    address, pid = first.dsn(), first.pid
    first.stop()
    first.stop()
    assert not is_alive(pid)
    with pytest.raises(EmbeddedPostgresError, match="no database is running"):
        _ = first.pid
    with pytest.raises(EmbeddedPostgresError, match="no database is running"):
        first.dsn()

    second = start(new_folder)
    assert_kept(second, number)
    assert second.dsn() == address
    assert not list(new_folder.glob("*draft"))


def test_starting_a_running_server_changes_nothing(
    folder: Path, start: Callable[[Path], EmbeddedPostgres]
) -> None:
    postgres = start(folder)
    pid = postgres.pid
    postgres.start()
    assert postgres.pid == pid


def test_nothing_acknowledged_can_be_lost(folder: Path, start: Callable[[Path], EmbeddedPostgres]) -> None:
    dsn = start(folder).dsn()
    for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
        assert query(dsn, f"SHOW {setting}") == "on", setting
    query(dsn, "ALTER SYSTEM SET fsync = off")
    query(dsn, "ALTER SYSTEM SET work_mem = '5MB'")
    query(dsn, "SELECT pg_reload_conf()")
    wait_until(lambda: query(dsn, "SHOW work_mem") == "5MB")
    assert query(dsn, "SHOW fsync") == "on"
    query(dsn, "ALTER SYSTEM RESET ALL")


def test_text_is_unicode_and_sorts_the_same_everywhere(
    folder: Path, start: Callable[[Path], EmbeddedPostgres]
) -> None:
    dsn = start(folder).dsn()
    row = "SELECT pg_encoding_to_char(encoding) || ' ' || datlocprovider::text || ' ' || datlocale FROM pg_database"
    assert query(dsn, f"{row} WHERE datname = 'postgres'") == "UTF8 b C.UTF-8"


def test_it_is_closed_to_everyone_else(folder: Path, start: Callable[[Path], EmbeddedPostgres]) -> None:
    postgres = start(folder)
    for private in (folder, folder / "data", folder / "run"):
        assert mode(private) == 0o700, private
    for private in (folder / "password", folder / "postgres.log", folder / "lock"):
        assert mode(private) == 0o600, private
    assert mode(folder / "run" / ".s.PGSQL.5432") == 0o700
    family = [psutil.Process(postgres.pid), *psutil.Process(postgres.pid).children()]
    assert [process for process in family if process.net_connections(kind="inet")] == []

    anonymous = postgres.dsn(password="")
    with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
        query(anonymous.replace(":@", "@"), "SELECT 1")
    with pytest.raises(asyncpg.InvalidPasswordError):
        query(postgres.dsn(password="wrong"), "SELECT 1")


def test_a_folder_that_was_open_is_closed(
    new_folder: Path, start: Callable[[Path], EmbeddedPostgres]
) -> None:
    new_folder.mkdir(parents=True, mode=0o755)
    start(new_folder)
    assert mode(new_folder) == 0o700


def test_odd_names_pass_through_the_address(
    public_folder: Path, start: Callable[[Path], EmbeddedPostgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    odd_folder = public_folder / "p g+ü%20&=?#'\""
    postgres = start(odd_folder)
    assert (odd_folder / "run" / ".s.PGSQL.5432").exists()
    query(postgres.dsn(), "CREATE ROLE \"o'dd@:/ ü\" LOGIN PASSWORD 'p@ss/:?# %41'")
    query(postgres.dsn(), 'CREATE DATABASE "a b/?c"')
    monkeypatch.setenv("PGPORT", "1")
    odd = postgres.dsn(user="o'dd@:/ ü", password="p@ss/:?# %41", database="a b/?c")
    assert query(odd, "SELECT current_user || current_database()") == "o'dd@:/ üa b/?c"
    assert psql(odd, "SELECT 1").wait(PATIENCE_S) == 0


@pytest.mark.parametrize("name", ["x" * 120, "a,b"])
def test_a_path_that_no_socket_address_takes(
    tmp_path: Path, name: str, start: Callable[[Path], EmbeddedPostgres]
) -> None:
    folder = tmp_path / name / "postgres"
    postgres = start(folder)
    number = store(postgres.dsn())
    elsewhere = Path((folder / "socket_folder").read_text())
    assert mode(elsewhere) == 0o700
    assert str(elsewhere) in postgres.dsn()
    assert running_dsn(folder) == postgres.dsn()
    address = postgres.dsn()
    postgres.stop()
    assert running_dsn(folder) is None

    again = start(folder)
    assert again.dsn() == address
    assert_kept(again, number)
    again.stop()
    assert not elsewhere.exists()
    elsewhere.mkdir()  # by another user, for all we know
    elsewhere.chmod(0o777)
    other = start(folder)
    assert other.dsn() != address
    assert_kept(other, number)
    elsewhere.rmdir()


def test_a_big_log_is_put_aside(
    folder: Path, start: Callable[[Path], EmbeddedPostgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_folder, "LOG_LIMIT_BYTES", 10_000)
    log, old = folder / "postgres.log", folder / "postgres.log.old"
    log.write_bytes(b"x" * 10_000)
    start(folder).stop()
    assert log.stat().st_size > 10_000
    assert not old.exists()
    start(folder)
    assert old.stat().st_size > 10_000
    assert 0 < log.stat().st_size < 10_000


def test_a_second_starter_is_refused(
    folder: Path, start: Callable[[Path], EmbeddedPostgres], launch: Callable[..., Launcher]
) -> None:
    postgres = start(folder)
    number = store(postgres.dsn())
    with pytest.raises(DataFolderInUse) as refused:
        EmbeddedPostgres(folder).start()
    assert str(folder) in str(refused.value)
    assert str(os.getpid()) in str(refused.value)
    assert "\n" not in str(refused.value)

    said = launch(folder).said()
    assert said.startswith("DataFolderInUse: ")
    assert str(folder) in said
    assert_kept(postgres, number)


def test_of_many_starters_one_wins(new_folder: Path, launch: Callable[..., Launcher]) -> None:
    said = [launcher.said() for launcher in [launch(new_folder) for _ in range(4)]]
    assert sum(line.startswith("ready") for line in said) == 1
    assert sum(line.startswith("DataFolderInUse") for line in said) == 3


def test_a_command_finds_the_server_of_another_process(folder: Path, launch: Callable[..., Launcher]) -> None:
    assert running_dsn(folder) is None
    server = launch(folder)
    server.postmaster()
    dsn = running_dsn(folder)
    assert dsn is not None
    number = store(dsn)
    assert query(dsn, f"SELECT count(*) FROM kept WHERE number = {number}") == 1
    other = running_dsn(folder, user="someone", database="another")
    assert other is not None
    assert other.startswith("postgresql://someone@/another?host=")
    server.end()
    assert running_dsn(folder) is None
