"""The folder of the embedded database: what lies where, who may read it, and how the server gets to it.

As root, the server runs as an account that need not reach this folder: it inherits open descriptors of the
folders that it needs and knows them as ``/proc/self/fd/N``. So no folder on the way is opened to anyone.
"""

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from chargewatch.server.db.postgres_binaries import Account

PORT: Final = 5432
#: The shorter of the limits of Linux (107) and macOS (103), less the name of the socket.
LONGEST_SOCKET_FOLDER_BYTES: Final = 103 - len(f"/.s.PGSQL.{PORT}")
LOG_LIMIT_BYTES: Final = 10_000_000


class StateFolder:
    """One folder; ``account`` is the user that the server runs as when that is not us."""

    def __init__(self, path: Path, account: Account | None = None) -> None:
        self.path = path
        self.account = account
        self.data = path / "data"
        self.password = path / "password"
        self.log = path / "postgres.log"

    def make(self) -> None:
        """Makes it, or closes it to others."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(self.path.stat().st_mode) != 0o700:
            self.path.chmod(0o700)

    def open(self, name: str, flags: int) -> int:
        """A file of the folder's owner (who is not us when root starts another user's database)."""
        descriptor = os.open(self.path / name, flags | os.O_CREAT, 0o600)
        if sys.platform != "win32" and self.account is not None:
            owner = self.path.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        return descriptor

    def open_log(self) -> int:
        """The server's log; a big one is put aside and the one put aside before is lost."""
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".log.old"))
        return self.open(self.log.name, os.O_WRONLY | os.O_APPEND)

    def write(self, name: str, content: bytes) -> None:
        """A file that is there as a whole or not at all."""
        draft = f"{name}.draft"
        descriptor = self.open(draft, os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        (self.path / draft).replace(self.path / name)

    def make_private_folder(self, folder: Path) -> None:
        """A folder that only the server's user and root can enter."""
        folder.mkdir(mode=0o700)
        self.give_to_account(folder)

    def give_to_account(self, path: Path) -> None:
        """Makes it the server's."""
        if sys.platform != "win32" and self.account is not None:
            os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)

    @contextmanager
    def as_server_sees(self, *folders: Path) -> Iterator[tuple[list[str], list[int]]]:
        """The names of the folders for the server, and the descriptors that it must inherit for them."""
        if sys.platform == "win32" or self.account is None:
            yield [str(folder) for folder in folders], []
            return
        descriptors = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY) for folder in folders]
        try:
            yield [f"/proc/self/fd/{descriptor}" for descriptor in descriptors], descriptors
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def socket_folder(self) -> Path:
        """Where the server's Unix socket is: ``run``, or elsewhere when no client could name that."""
        run = self.path / "run"
        return run if _fits_an_address(run) else self._recorded_socket_folder() or run

    def prepare_socket_folder(self) -> Path:
        """The same, made if need be and without what an earlier server left there."""
        run = self.path / "run"
        if not _fits_an_address(run):
            run = self._socket_folder_elsewhere()
        elif not run.exists():
            self.make_private_folder(run)
        for rest in run.iterdir():
            rest.unlink()
        return run

    def leave_socket_folder(self) -> None:
        """Takes a temporary one away; the next start makes it again under the same name."""
        folder = self.socket_folder()
        if folder.parent != self.path:
            with suppress(OSError):
                folder.rmdir()

    def _socket_folder_elsewhere(self) -> Path:
        """The one of the last time, so that clients find a restarted server, unless it is no longer ours."""
        recorded = self._recorded_socket_folder()
        if recorded is not None:
            with suppress(FileExistsError, FileNotFoundError):
                self.make_private_folder(recorded)
            if self._is_private(recorded):
                return recorded
        folder = Path(tempfile.mkdtemp(prefix="chargewatch-"))
        self.give_to_account(folder)
        self.write("socket_folder", os.fsencode(folder))
        return folder

    def _recorded_socket_folder(self) -> Path | None:
        with suppress(FileNotFoundError):
            return Path(os.fsdecode((self.path / "socket_folder").read_bytes()))
        return None

    def _is_private(self, folder: Path) -> bool:
        """The temporary folder belongs to everyone: another user could have put something in this place."""
        try:
            found = folder.lstat()
        except FileNotFoundError:
            return False
        owner = self.account.uid if self.account else self.path.stat().st_uid
        return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and stat.S_IMODE(found.st_mode) == 0o700


def sync_folder(folder: Path) -> None:
    """Makes the names in it outlive a power cut."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _fits_an_address(folder: Path) -> bool:
    """Whether a client can name it: short enough, and without a comma, which would separate two hosts."""
    name = str(folder)
    return len(os.fsencode(name)) <= LONGEST_SOCKET_FOLDER_BYTES and name.isprintable() and "," not in name
