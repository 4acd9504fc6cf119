"""A ``chargewatch serve`` process in a folder of its own, and the tenants and keys that a run needs."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from uuid import UUID

import msgspec
import psutil

from chargewatch.server.db.address import embedded_address, state_folder
from chargewatch.server.db.connection import connected
from chargewatch.server.db.embedded import running_dsn
from chargewatch.server.db.secret_key import load_secret_key
from chargewatch.server.settings import load_settings
from tests.made_database import put_into

PATIENCE_S = 60.0
ROOMY_BYTES = 2 * 2**30
_PROGRAM = [sys.executable, "-c", "from chargewatch.cli.app import main; main()"]


class Served:
    """A running service.

    Attributes:
        port: where it listens on 127.0.0.1.
        folder: its data folder.
        log_file: what it writes to stderr, one JSON object a line.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        put_into(folder)
        self.log_file = folder.with_name("serve.log")
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [*_PROGRAM, "serve", "--data-dir", str(folder), "--port", "0"],
                env=_environment(),
                cwd=folder.parent,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.log_file.read_text()
        self.port = int(line.rpartition(":")[2])

    def rss_bytes(self) -> int:
        """Memory of the process that answers calls."""
        size: int = psutil.Process(self._process.pid).memory_info().rss
        return size

    def is_running(self) -> bool:
        """Whether it is still the process that was started."""
        return self._process.poll() is None

    def document(self) -> dict[str, Any]:
        """The served OpenAPI document."""
        with urlopen(f"http://127.0.0.1:{self.port}/openapi.json", timeout=PATIENCE_S) as answer:
            found: dict[str, Any] = msgspec.json.decode(answer.read())
        return found

    def create_tenant(self, name: str) -> str:
        """Makes a tenant; returns its key (scopes read, write and models)."""
        return str(self._administer("tenant", "create", name)["api_key"])

    def create_key(self, tenant: str, *options: str) -> dict[str, Any]:
        """Makes one more key."""
        return self._administer("key", "create", tenant, *options)

    def revoke_key(self, key_id: str) -> None:
        """Ends a key, in every process within two seconds."""
        self._administer("key", "revoke", key_id)

    def end_key(self, key_id: str) -> None:
        """Moves the end of a key to this moment."""
        settings = load_settings({"data_dir": self.folder}, environ={}, dotenv=None)
        superuser = running_dsn(state_folder(settings))
        assert superuser is not None
        owner = embedded_address(superuser, load_secret_key(settings)).owner

        async def end() -> str:
            async with connected(owner) as connection:
                ended = "UPDATE api_keys SET expires_at = now() WHERE key_id = $1"
                return await connection.execute(ended, UUID(key_id))

        assert asyncio.run(end()) == "UPDATE 1"

    def _administer(self, *words: str) -> dict[str, Any]:
        done = subprocess.run(
            [*_PROGRAM, *words, "--json", "--data-dir", str(self.folder)],
            env=_environment(),
            cwd=self.folder.parent,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def stop(self) -> None:
        """Ends it and waits."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        self._process.wait(PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()


def _environment() -> dict[str, str]:
    """This machine's environment without its settings; nothing is judged again while a run looks for changes."""
    plain = {name: text for name, text in os.environ.items() if not name.startswith("CHARGEWATCH_")}
    return plain | {"CHARGEWATCH_HOUSEKEEPING_S": "3600", "CHARGEWATCH_JOB_POLL_S": "0.05"}


@contextlib.contextmanager
def serving() -> Iterator[Served]:
    """A service in a temporary folder, in memory where there is plenty: every commit waits for an fsync."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOMY_BYTES
    parent = Path(tempfile.mkdtemp(prefix="cwh-", dir=memory if roomy else None))
    try:
        service = Served(parent / "data")
        try:
            yield service
        finally:
            service.stop()
    finally:
        shutil.rmtree(parent, ignore_errors=True)


def settled(seconds: float) -> None:
    """Waits until a server has thrown away what it only held for a moment."""
    time.sleep(seconds)
