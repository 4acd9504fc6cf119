"""A real ``serve`` in a folder of its own that can be hurt: its processes, its PostgreSQL, its restarts."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from chargewatch.server.db.access import prepare_database
from chargewatch.server.db.address import DatabaseAddress, find_address, quoted, server_address
from chargewatch.server.db.connection import Login, connected
from chargewatch.server.db.secret_key import load_secret_key
from chargewatch.server.settings import Secret, Settings, load_settings
from chargewatch.server.tenants.service import TenantService
from tests.faults.recorder import Tenant
from tests.faults.wire import Address
from tests.integration.conftest import ROOMY_BYTES
from tests.made_database import put_into

PROGRAM = [sys.executable, "-c", "from chargewatch.cli.app import main; main()"]
PATIENCE_S = 60.0


class Service:
    """The service and whoever works for it. ``server_url`` names a PostgreSQL server instead of the embedded one."""

    def __init__(self, folder: Path, processes: int = 1, server_url: str | None = None) -> None:
        self.folder = folder
        self.processes = processes
        self.embedded = server_url is None
        self.where: Address | None = None
        self.log_file = folder / "serve.log"
        flags = {"data_dir": folder / "data"} | ({"database_url": server_url} if server_url else {})
        self.settings: Settings = load_settings(flags, environ={}, dotenv=None)
        self._url = server_url
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> float:
        """Starts it; returns the seconds until it was ready."""
        began = time.monotonic()
        if self._url is None:
            put_into(self.folder / "data")
        plain = {name: text for name, text in os.environ.items() if not name.startswith("CHARGEWATCH_")}
        database = {"CHARGEWATCH_DATABASE_URL": self._url} if self._url else {}
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *PROGRAM,
                    *("serve", "--port", "0", "--data-dir", str(self.folder / "data")),
                    *("--processes", str(self.processes)),
                ],
                env=plain | database | {"CHARGEWATCH_LOG_LEVEL": "warning"},
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"serve did not start: {self.log_file.read_text()[-2000:]}")
        parts = urlsplit(line.split()[-1])
        assert parts.hostname is not None
        assert parts.port is not None
        self.where = parts.hostname, parts.port
        return time.monotonic() - began

    def stop(self) -> int:
        """Stops it as Ctrl-C does; returns its exit status."""
        assert self._process is not None
        self.where = None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        return self._wait()

    def address(self) -> DatabaseAddress:
        """Where its database is."""
        return find_address(self.settings)

    def make_tenants(self) -> list[Tenant]:
        """Makes two tenants, each with a canary that no other text holds."""

        async def make() -> list[Tenant]:
            address = self.address()
            async with connected(address.owner) as owner:
                service = TenantService(owner, address.roles)
                made = [(name, await service.create_tenant(name)) for name in ("north", "south")]
            return [Tenant(name, key.api_key.reveal(), f"canary-of-{name}") for name, key in made]

        return asyncio.run(make())

    def family(self) -> list[psutil.Process]:
        """The service's processes, those of its PostgreSQL included."""
        assert self._process is not None
        first = psutil.Process(self._process.pid)
        return [first, *first.children(recursive=True)]

    def api_processes(self) -> list[psutil.Process]:
        """Those that answer calls."""
        family = self.family()
        return [p for p in family[1:] if "chargewatch.server.child" in command_of(p)] or family[:1]

    def postmaster(self) -> psutil.Process:
        """The first process of the embedded PostgreSQL."""
        (found,) = [p for p in self.family() if "-D" in command_of(p).split()]
        return found

    def backends(self) -> list[psutil.Process]:
        """The embedded PostgreSQL's processes that serve connections."""
        return [p for p in self.postmaster().children() if "[local]" in command_of(p)]

    def kill_everything(self) -> None:
        """Ends every process at once, without notice."""
        self.where = None
        for process in self.family():
            with contextlib.suppress(ProcessLookupError):  # it may have ended by itself meanwhile
                os.kill(process.pid, signal.SIGKILL)
        self._wait()

    def _wait(self) -> int:
        assert self._process is not None
        assert self._process.stdout is not None
        status = self._process.wait(PATIENCE_S)
        self._process.stdout.close()
        return status


def command_of(process: psutil.Process) -> str:
    """A process's command line; empty for one that is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@contextlib.contextmanager
def running(processes: int = 1, server: str | None = None) -> Iterator[Service]:
    """A service in a folder of its own, on a database of its own, started and at the end stopped and erased."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOMY_BYTES
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="cw-faults-", dir=memory if roomy else None)
            )
        )
        url = stack.enter_context(_database_of(server, folder)) if server else None
        service = Service(folder, processes, url)
        service.start()
        try:
            yield service
        except BaseException:
            service.stop()
            raise
        status = service.stop()
        if status != 0:
            raise RuntimeError(f"serve ended with {status}: {service.log_file.read_text()[-2000:]}")


@contextlib.contextmanager
def _database_of(server: str, folder: Path) -> Iterator[str]:
    """A database of its own on a server; yields its URL."""
    name = f"cw_faults_{os.getpid()}_{time.monotonic_ns()}"
    administrator = Login(address=Secret(server), database=None)
    url = urlsplit(server)._replace(path=f"/{name}").geturl()

    async def execute(statement: str) -> None:
        async with connected(administrator) as connection:
            await connection.execute(statement)

    async def drop() -> None:
        await execute(f"DROP DATABASE {name} WITH (FORCE)")
        async with connected(administrator) as connection:
            pattern = name.replace("_", r"\_") + "%"
            rows = await connection.fetch("SELECT rolname FROM pg_roles WHERE rolname LIKE $1", pattern)
            for row in rows:
                await connection.execute(f"DROP ROLE {quoted(row['rolname'])}")

    asyncio.run(execute(f"CREATE DATABASE {name}"))
    try:
        settings = load_settings({"data_dir": folder / "data", "database_url": url}, environ={}, dotenv=None)
        address = server_address(settings, load_secret_key(settings))
        asyncio.run(prepare_database(settings, address, may_migrate=True))
        yield url
    finally:
        asyncio.run(drop())
