"""Keeps the embedded server running: when it dies under a living service, it is started again.

Clients need not know: the address stays the same. Only the process that holds the folder does this, with the
folder's lock held throughout, so that a command beside it waits for the server instead of starting another.

It never gives up, for what keeps a server from starting may pass (a full disk). Each failure is an error in the
log, and readiness fails meanwhile.
"""

import threading
import time
from pathlib import Path
from typing import Final

import msgspec
import structlog

from chargewatch.server.db.embedded import EmbeddedPostgres

_log = structlog.get_logger(__name__)


class Pauses(msgspec.Struct, frozen=True):
    """How long to wait before a start: not at all at first, then twice as long each time."""

    first_s: float = 0.1
    longest_s: float = 2.0
    long_life_s: float = 5.0
    """A server that lived longer than this did not die of its start: there is no pause before the next one."""

    def after(self, pause_s: float) -> float:
        """The pause that follows a pause."""
        return min(max(self.first_s, 2 * pause_s), self.longest_s)


USUAL_PAUSES: Final = Pauses()


class PostgresKeeper:
    """An embedded server that comes back.

    Args:
        state_dir: as for `EmbeddedPostgres`.
        pauses: between attempts.
    """

    def __init__(self, state_dir: Path, pauses: Pauses = USUAL_PAUSES) -> None:
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._postgres = EmbeddedPostgres(state_dir, on_exit=self._wake.set)
        self._pauses = pauses
        self._thread = threading.Thread(target=self._keep, name="postgres-keeper", daemon=True)

    def start(self) -> str:
        """Starts the server for the first time; returns its superuser's address.

        Raises:
            DataFolderInUse: another process has the folder.
            EmbeddedPostgresError: it cannot run; the text says why.
        """
        self._postgres.start()
        self._thread.start()
        return self._postgres.dsn()

    def stop(self) -> None:
        """Ends the server, also in the middle of a restart, and gives the folder back."""
        self._stopping.set()
        self._wake.set()
        self._postgres.cancel()
        self._thread.join()
        self._postgres.stop()

    def _keep(self) -> None:
        pause_s, started_at = 0.0, time.monotonic()
        while self._wake.wait() and not self._stopping.is_set():
            self._wake.clear()
            if self._postgres.running:
                continue
            _log.error("database_ended", exit_code=self._postgres.exit_code)
            if time.monotonic() - started_at > self._pauses.long_life_s:
                pause_s = 0.0
            pause_s = self._restart(pause_s)
            started_at = time.monotonic()

    def _restart(self, pause_s: float) -> float:
        """Tries until the server runs or the service stops; returns the pause before a next attempt."""
        down_since, attempt = time.monotonic(), 0
        while not self._stopping.wait(pause_s):
            attempt += 1
            pause_s = self._pauses.after(pause_s)
            try:
                self._postgres.start()
            except Exception as problem:  # noqa: BLE001 - whatever it is, it may have passed next time
                if not self._stopping.is_set():
                    _log.error("database_restart_failed", attempt=attempt, reason=str(problem))
                continue
            _log.warning("database_restarted", after_s=round(time.monotonic() - down_since, 3))
            break
        return pause_s
