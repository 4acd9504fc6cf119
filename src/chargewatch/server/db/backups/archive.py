"""A backup as a file: a zip archive of one text file a table, and a manifest with their checksums.

The members are ``data/<table>.copy`` (PostgreSQL's COPY text format, which every version of it reads),
``secret_key`` where that was asked for, and ``manifest.json``, last. The file is written under a hidden name
beside its own, closed to other users, and takes its own name when all of it has reached the disk.
"""

import hashlib
import os
import secrets
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Final, cast

import msgspec

FORMAT: Final = "chargewatch backup"
FORMAT_VERSION: Final = 1
MANIFEST: Final = "manifest.json"
SECRET_KEY: Final = "secret_key"  # noqa: S105 - the name of a member
LONGEST_MANIFEST_BYTES: Final = 16 * 2**20
READ_BYTES: Final = 2**20
#: Speed before size, because a snapshot is held meanwhile (measured in decision 10).
COMPRESSION: Final = 1

#: What a damaged archive makes Python's zipfile raise.
_DAMAGE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    OverflowError,
    RuntimeError,
    ValueError,
)

#: What is being done, and how many bytes of it are done more than at the last call.
Progress = Callable[[str, int], None]


class BackupError(Exception):
    """A backup cannot be written or read; the text is one line for the operator."""


class TableEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One table of a backup."""

    name: str
    columns: tuple[str, ...]
    rows: int
    bytes: int
    """Of the text, before compression."""
    sha256: str
    """Of the text, in hexadecimal."""


class SequenceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sequence stood: what it gave last, or will give first where it was not called yet."""

    name: str
    last_value: int
    is_called: bool


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds, and where it is from."""

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    chargewatch: str
    schema: str
    postgresql: str
    created_at: datetime
    secret_key_fingerprint: str
    has_secret_key: bool
    tables: tuple[TableEntry, ...]
    """Each after those that it refers to."""
    sequences: tuple[SequenceEntry, ...]

    def rows(self) -> dict[str, int]:
        """The number of rows of each table."""
        return {table.name: table.rows for table in self.tables}


class _Heading(msgspec.Struct, frozen=True):
    """As much of a manifest as every version of the format has."""

    format: str
    format_version: int
    chargewatch: str


# ----------------------------------------------------------------------------------------- writing


def check_target(path: Path, *, overwrite: bool) -> Path:
    """Where a backup of this name really goes.

    Raises:
        BackupError: it cannot be made there, or a file is there that may not be overwritten.
    """
    real = path.resolve()
    if not real.parent.is_dir():
        raise BackupError(f"cannot write {path}: there is no folder {real.parent}")
    if real.exists() and not real.is_file():
        raise BackupError(f"cannot write {path}: something else than a file is there")
    if real.exists() and not overwrite:
        raise BackupError(f"{path} exists already: choose another name, or overwrite it with --force")
    return real


class _Part:
    """The file while it is being written. What the system refuses is told once; later writes go nowhere."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        with self._told():
            self._descriptor = os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._is_lost = False

    def write(self, data: bytes) -> int:
        with self._told():
            rest = memoryview(data)
            while rest and not self._is_lost:
                rest = rest[os.write(self._descriptor, rest) :]
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def commit(self) -> None:
        with self._told():
            os.fsync(self._descriptor)
            self._draft.replace(self._path)
            if os.name == "posix":
                _sync_folder(self._path.parent)

    def close(self) -> None:
        """Leaves nothing behind but what was committed."""
        self._is_lost = True
        os.close(self._descriptor)
        self._draft.unlink(missing_ok=True)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            self._is_lost = True
            raise BackupError(
                f"cannot write {self._path}: {problem.strerror}; no backup was made:"
                " choose another place, or make room there"
            ) from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Member:
    """One table on its way into an archive."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> None:
        """Adds to it."""
        self._file.write(data)
        self._digest.update(data)
        self.bytes += len(data)

    @property
    def sha256(self) -> str:
        """Of what was written."""
        return self._digest.hexdigest()


class NewArchive:
    """An archive that is being written (see `new_archive`)."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    @contextmanager
    def table(self, name: str) -> Iterator[Member]:
        """Where the rows of a table go."""
        with self._archive.open(_member(name), "w", force_zip64=True) as file:
            yield Member(file)

    def finish(self, manifest: Manifest, secret_key: bytes | None) -> None:
        """Writes what comes last."""
        if secret_key is not None:
            self._archive.writestr(SECRET_KEY, secret_key)
        self._archive.writestr(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))


@contextmanager
def new_archive(path: Path) -> Iterator[NewArchive]:
    """A file that appears, whole, at the end of the block, and not when the block fails.

    Raises:
        BackupError: it cannot be written.
    """
    part = _Part(path)
    try:
        with zipfile.ZipFile(
            cast("IO[bytes]", part), "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION
        ) as archive:
            yield NewArchive(archive)
        part.commit()
    finally:
        part.close()


def _member(table: str) -> str:
    return f"data/{table}.copy"


# ----------------------------------------------------------------------------------------- reading


class Archive:
    """A backup that is being read (see `open_archive`)."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive
        with _damage_told(path):
            self.manifest = self._read_manifest()

    def verify(self, progress: Progress) -> None:
        """Reads everything once.

        Raises:
            BackupError: it is not what the manifest says.
        """
        for table in self.manifest.tables:
            digest = hashlib.sha256()
            for chunk in self.rows_of(table):
                digest.update(chunk)
                progress(f"checking {table.name}", len(chunk))
            if digest.hexdigest() != table.sha256:
                raise _damaged(self.path)
        if self.manifest.has_secret_key:
            self.secret_key()

    def rows_of(self, table: TableEntry) -> Iterator[bytes]:
        """The rows of a table as COPY text, in pieces; no more of it than the manifest says."""
        read = 0
        with _damage_told(self.path), self._archive.open(_member(table.name)) as file:
            while chunk := file.read(READ_BYTES):
                read += len(chunk)
                if read > table.bytes:
                    break
                yield chunk
        if read != table.bytes:
            raise _damaged(self.path)

    def secret_key(self) -> bytes:
        """The installation's secret key, where the backup has it."""
        with _damage_told(self.path):
            return self._small_member(SECRET_KEY)

    def _small_member(self, name: str) -> bytes:
        with self._archive.open(name) as file:
            content = file.read(LONGEST_MANIFEST_BYTES + 1)
        if len(content) > LONGEST_MANIFEST_BYTES:
            raise _damaged(self.path)
        return content

    def _read_manifest(self) -> Manifest:
        text = self._small_member(MANIFEST)
        try:
            heading = msgspec.json.decode(text, type=_Heading)
        except msgspec.DecodeError:
            heading = _Heading("", 0, "")
        if heading.format != FORMAT:
            raise BackupError(f"{self.path} is no backup of chargewatch")
        if heading.format_version != FORMAT_VERSION:
            raise BackupError(
                f"{self.path} was made by chargewatch {heading.chargewatch}, in a format that this one"
                " does not know: use that version or a newer one"
            )
        try:
            return msgspec.json.decode(text, type=Manifest)
        except msgspec.DecodeError:
            raise _damaged(self.path) from None


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """A backup, to be read.

    Raises:
        BackupError: it is none, damaged, or of a newer format.
    """
    try:
        file = path.open("rb")
    except OSError as problem:
        raise BackupError(f"cannot read {path}: {problem.strerror}") from None
    with file:
        try:
            archive = zipfile.ZipFile(file)
            archive.getinfo(MANIFEST)
        except (*_DAMAGE, OSError):
            raise BackupError(f"{path} is no backup of chargewatch, or not the whole of one") from None
        with archive:
            yield Archive(path, archive)


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise BackupError(f"cannot read {path}: {problem.strerror or problem}") from None
    except _DAMAGE as problem:
        raise _damaged(path) from problem


def _damaged(path: Path) -> BackupError:
    return BackupError(f"{path} is damaged: restore from another copy of it; nothing was changed")
