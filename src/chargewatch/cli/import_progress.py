"""How far an import has come: a small file in the data folder, by which the same command goes on after any end.

It never says more than what the database has committed. A session that was stored after it was last written is sent
once more, which changes nothing.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from chargewatch.ingest.sent_sessions import Refusal
from chargewatch.server.db.postgres_process import try_lock, unlock

_HASHED: Final = 64 * 1024
_FILE: Final = "progress.json"
_LOCK: Final = "lock"


class ImportBusy(Exception):
    """Another process is at this very import; the text is one line for whoever began it."""


class Progress(msgspec.Struct):
    """What is done of an import; ``done`` is the number of the first session that may not be stored yet."""

    fingerprint: str
    began: datetime | None = None
    done: int = 0
    fates: dict[str, int] = msgspec.field(
        default_factory=lambda: {"created": 0, "changed": 0, "unchanged": 0}
    )
    added: int = 0
    repeated: int = 0
    refused: list[Refusal] = []
    """Sessions that the service refused; what the file itself shows is found again when it is read again."""

    @property
    def sessions(self) -> int:
        """The number of sessions that were taken."""
        return sum(self.fates.values())


class ImportFolder:
    """The folder of one import: its progress, and room for temporary files, which a killed process may have left."""

    def __init__(self, path: Path, every_s: float) -> None:
        self.path = path
        self._every_s = every_s
        self._saved = -every_s

    def load(self, fingerprint: str) -> tuple[Progress, str | None]:
        """Returns the progress of an import of files with this fingerprint, and what is to be said about it."""
        try:
            found = msgspec.json.decode((self.path / _FILE).read_bytes(), type=Progress)
        except FileNotFoundError:
            return Progress(fingerprint), None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return Progress(fingerprint), "the note on its progress is damaged: the import begins anew"
        if found.fingerprint != fingerprint:
            return Progress(
                fingerprint
            ), "the file was changed since it was imported in part: the import begins anew"
        return found, None

    def save(self, progress: Progress, *, now: bool = False) -> None:
        """Writes the progress from time to time, or ``now``."""
        if now or time.monotonic() - self._saved >= self._every_s:
            part = self.path / f"{_FILE}.part"
            part.write_bytes(msgspec.json.encode(progress))
            part.replace(self.path / _FILE)
            self._saved = time.monotonic()

    def forget(self) -> None:
        """Removes the progress: the import is at its end, or is to begin anew."""
        (self.path / _FILE).unlink(missing_ok=True)


@contextmanager
def import_folder(parent: Path, key: str, every_s: float = 0.05) -> Iterator[ImportFolder]:
    """The folder of the import that is told from others by ``key``, held while the block runs.

    Raises:
        ImportBusy: another process holds it.
    """
    path = parent / key
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    if not try_lock(lock):
        os.close(lock)
        raise ImportBusy("this file is being imported by another process")
    try:
        for left in path.glob("rows-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield ImportFolder(path, every_s)
    finally:
        unlock(lock)


def key_of(*parts: str) -> str:
    """Returns what tells an import from others, as the name of a folder."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def fingerprint_of(paths: Iterable[Path]) -> str:
    """Returns what changes when one of the files does: names, sizes, times, and the bytes at both ends."""
    found = hashlib.sha256()
    for path in paths:
        state = path.stat()
        found.update(
            f"{path.name}\0{state.st_size}\0{state.st_mtime_ns}\0".encode("utf-8", "surrogateescape")
        )
        with path.open("rb") as file:
            found.update(file.read(_HASHED))
            file.seek(max(0, state.st_size - _HASHED))
            found.update(file.read(_HASHED))
    return found.hexdigest()
