"""A launcher of the embedded PostgreSQL in a process of its own, and questions to its server."""

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import psutil
import pytest

import chargewatch
from chargewatch.server.db.embedded import (
    EmbeddedPostgres,
    EmbeddedPostgresError,
)
from chargewatch.server.db.postgres_binaries import find_installation, service_account
from tests.patience import PATIENCE_S, wait_until

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
root_only = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="needs root: an account to drop to"
)

#: Less than any patience of a start that waits for something. The promise of 5 s is measured by `make faults`.
START_WITHIN_S = 15.0
SOURCES = Path(chargewatch.__file__).parents[1]
#: Starts the launcher, says so, and goes on until its input ends.
LAUNCH = """
import sys
from collections.abc import Iterator
from pathlib import Path
from chargewatch.server.db.embedded import EmbeddedPostgres, EmbeddedPostgresError
postgres = EmbeddedPostgres(Path(sys.argv[1]))
try:
    postgres.start()
except EmbeddedPostgresError as problem:
    print(type(problem).__name__, problem, sep=": ", flush=True)
else:
    print("ready", postgres.pid, flush=True)
    sys.stdin.read()
    postgres.stop()
"""


class Launcher:
    """A process with an `EmbeddedPostgres` in it."""

    def __init__(self, folder: Path, python: str = sys.executable, **popen: Any) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCES), *packages()])}
        self.process = subprocess.Popen(
            [python, "-c", LAUNCH, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            **popen,
        )

    def said(self) -> str:
        """Its one line: ready and the postmaster's pid, or the error."""
        assert self.process.stdout is not None
        line: str = self.process.stdout.readline()
        return line.rstrip("\n")

    def postmaster(self) -> int:
        said = self.said()
        assert said.startswith("ready "), said
        return int(said.split()[1])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Ends it the polite way, if it still runs."""
        self.process.communicate(timeout=PATIENCE_S)

    def clear_away(self) -> None:
        """Nothing of it is left, whatever the test did to it: no process, no open pipe."""
        try:
            self.end()
        finally:
            self.kill()
            for pipe in (self.process.stdin, self.process.stdout):
                assert pipe is not None
                pipe.close()


def packages() -> set[str]:
    """Where the dependencies are, for an interpreter that has none of its own."""
    return {str(Path(module.__file__).parents[1]) for module in (asyncpg, msgspec)}


def query(dsn: str, statement: str) -> Any:
    """The first value of the answer."""

    async def ask() -> Any:
        connection = await asyncpg.connect(dsn, timeout=PATIENCE_S)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


def store(dsn: str) -> int:
    """The number of a row that is committed now."""
    query(dsn, "CREATE TABLE IF NOT EXISTS kept (number int GENERATED ALWAYS AS IDENTITY)")
    return int(query(dsn, "INSERT INTO kept DEFAULT VALUES RETURNING number"))


def assert_kept(postgres: EmbeddedPostgres, number: int) -> None:
    assert query(postgres.dsn(), f"SELECT count(*) FROM kept WHERE number = {number}") == 1
    assert len(postmasters(postgres)) == 1


def postmasters(postgres: EmbeddedPostgres) -> list[int]:
    """The processes at home in its data folder whose parent is not one of them."""
    home = Path(f"/proc/{postgres.pid}/cwd").resolve() if sys.platform == "linux" else None
    if home is None:
        return [postgres.pid]
    here = {pid for pid in psutil.pids() if working_folder(pid) == home}
    return [pid for pid in here if psutil.Process(pid).ppid() not in here]


def working_folder(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def server_user() -> dict[str, Any]:
    """Arguments of Popen that make the user the one that PostgreSQL runs as."""
    account = service_account(Path("nowhere"))
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def ordinary_user() -> dict[str, Any]:
    """Arguments of `Launcher` that make it run as nobody in particular."""
    if os.geteuid() != 0:
        return {}
    user: dict[str, Any] = {"user": "nobody", "group": postgres_group("nobody"), "extra_groups": []}
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/local/bin/python{version}", f"/usr/bin/python{version}"):
        with suppress(OSError):
            if subprocess.run([python, "-c", ""], check=False, **user).returncode == 0:
                return {"python": python, **user}
    pytest.skip(f"no Python {version} that user nobody may run")


def postgres_group(name: str) -> int:
    import pwd

    return pwd.getpwnam(name).pw_gid


@contextmanager
def busy_backend(dsn: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A client, and the process that works for it and never stops."""
    with psql(dsn, "DO $$ BEGIN LOOP END LOOP; END $$") as client:
        try:
            busy = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'DO %' AND state = 'active'"
            wait_until(lambda: query(dsn, busy) is not None)
            yield client, int(query(dsn, busy))
        finally:
            client.kill()


def psql(dsn: str, statement: str) -> subprocess.Popen[bytes]:
    program = find_installation() / "bin" / "psql"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([program, dsn, "-c", statement], **quiet)  # type: ignore[call-overload,no-any-return]


def refusal(folder: Path) -> str:
    """The error of a start, which is one line and takes nothing along."""
    with pytest.raises(EmbeddedPostgresError) as refused:
        EmbeddedPostgres(folder, start_timeout_s=PATIENCE_S).start()
    assert "\n" not in str(refused.value)
    assert str(folder) in str(refused.value)
    assert refused.value.__cause__ is None
    return str(refused.value)
