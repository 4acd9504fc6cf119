"""The embedded server after the worst (R4): everything killed in the middle of heavy writing, its socket taken."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from chargewatch.server.db.embedded import EmbeddedPostgres, running_dsn
from tests.integration.embedded.launcher import START_WITHIN_S, Launcher, query
from tests.patience import wait_until
from tests.postgres_processes import frozen, postmaster, postmasters, processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes by their working folder")

WRITERS = 3
#: Of each statement, and how many are acknowledged before the end comes.
ROWS = 5_000
STATEMENTS = 25


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "postgres"


class Writers:
    """Clients that write as fast as they can until everything is killed."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._enough = asyncio.Event()
        self.acknowledged = [0] * WRITERS

    async def run(self, kill: Callable[[], None]) -> None:
        writers = [asyncio.create_task(self._write(number)) for number in range(WRITERS)]
        await self._enough.wait()
        kill()
        await asyncio.gather(*writers)
        await asyncio.sleep(0.01)  # the loop closes their sockets

    async def _write(self, number: int) -> None:
        connection = await asyncpg.connect(self._dsn)
        statement = "INSERT INTO written SELECT $1, $2, n, md5(n::text) FROM generate_series(1, $3) n"
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            while True:
                await connection.execute(statement, number, self.acknowledged[number], ROWS)
                self.acknowledged[number] += 1
                if sum(self.acknowledged) >= STATEMENTS:
                    self._enough.set()
        connection.terminate()


async def _write_and_kill(dsn: str, folder: Path, launcher: Launcher) -> list[int]:
    def kill() -> None:
        for pid in [launcher.process.pid, *processes(folder)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    writers = Writers(dsn)
    await writers.run(kill)
    return writers.acknowledged


@pytest.mark.parametrize("seed", range(2))
def test_everything_is_killed_while_it_writes(
    folder: Path, seed: int, launch: Callable[..., Launcher], start: Callable[[Path], EmbeddedPostgres]
) -> None:
    launcher = launch(folder)
    launcher.postmaster()
    dsn = running_dsn(folder)
    assert dsn is not None
    query(dsn, "CREATE TABLE IF NOT EXISTS written (writer int, batch int, number int, text text)")
    acknowledged = asyncio.run(_write_and_kill(dsn, folder, launcher))
    launcher.kill()

    began = time.monotonic()
    postgres = start(folder)
    took_s = time.monotonic() - began
    print(f"started in {took_s:.2f} s after {sum(acknowledged) * ROWS} rows")
    assert took_s < START_WITHIN_S
    assert len(postmasters(folder)) == 1
    for writer, statements in enumerate(acknowledged):
        rows = f"SELECT count(*) FROM written WHERE writer = {writer}"
        assert query(postgres.dsn(), f"{rows} AND batch < {statements}") == statements * ROWS
        # the last one was under way: it is there as a whole or not at all
        assert query(postgres.dsn(), f"{rows} AND batch >= {statements}") in (0, ROWS)
    postgres.stop()
    assert processes(folder) == {}


def test_somebody_listens_where_the_socket_should_be(folder: Path) -> None:
    """The name in our folder is ours; whoever listened there keeps a socket without a name."""
    postgres = EmbeddedPostgres(folder)
    postgres.start()
    dsn = postgres.dsn()
    postgres.stop()
    with socket.socket(socket.AF_UNIX) as squatter:
        squatter.bind(str(folder / "run" / ".s.PGSQL.5432"))
        squatter.listen()
        postgres.start()
        try:
            assert postgres.dsn() == dsn
            assert query(dsn, "SELECT 1") == 1
        finally:
            postgres.stop()


def test_a_postmaster_that_nobody_has_buried(
    folder: Path, launch: Callable[..., Launcher], start: Callable[[Path], EmbeddedPostgres]
) -> None:
    """Its parent stands still and has not asked how it went: a zombie, whose id still exists."""
    launcher = launch(folder)
    dead = launcher.postmaster()
    with frozen(launcher.process.pid):
        os.kill(dead, signal.SIGKILL)
        wait_until(lambda: dead not in postmasters(folder))
        assert Path(f"/proc/{dead}").exists()
        pid_file = (folder / "data" / "postmaster.pid").read_text()
        launcher.kill()
    (folder / "data" / "postmaster.pid").write_text(pid_file)
    began = time.monotonic()
    start(folder)
    assert time.monotonic() - began < START_WITHIN_S
    assert postmaster(folder) != dead
