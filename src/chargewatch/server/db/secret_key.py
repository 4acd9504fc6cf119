"""The installation's secret key, from which passwords and encryption keys are made.

``CHARGEWATCH_SECRET_KEY`` where it is set (several machines on one database must agree), else the file
``secret_key`` in the data folder, readable by its owner only and made on first use.
"""

import base64
import hashlib
import hmac
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from chargewatch.server.settings import HIDDEN, Secret, Settings, SettingsError

FILE_NAME: Final = "secret_key"


class SecretKey:
    """Makes a key for each purpose; the purposes tell nothing about each other."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def derive(self, purpose: str) -> bytes:
        """32 bytes that only this key gives for this purpose (HMAC-SHA-256)."""
        return hmac.new(self._key, purpose.encode(), hashlib.sha256).digest()

    def password(self, purpose: str) -> Secret:
        """The same as 43 URL-safe characters."""
        return Secret(base64.urlsafe_b64encode(self.derive(purpose)).decode().rstrip("="))

    def fingerprint(self) -> str:
        """Four bytes in hexadecimal, by which two installations see whether they have the same key."""
        return self.derive("fingerprint")[:4].hex()

    def reveal(self) -> bytes:
        """The key itself, for a backup that is to hold it."""
        return self._key

    def __repr__(self) -> str:
        return f"SecretKey({HIDDEN})"


def load_secret_key(settings: Settings) -> SecretKey:
    """The key of this installation; its file is made when there is none.

    Raises:
        SettingsError: the file cannot be read or made, is too short, or others may read it.
    """
    if settings.secret_key is not None:
        return SecretKey(settings.secret_key.reveal().encode())
    path = settings.data_dir / FILE_NAME
    try:
        if not path.exists():
            _make(path, secrets.token_urlsafe(32).encode())
        return SecretKey(_read(path))
    except OSError as problem:
        raise SettingsError(f"cannot use {path}: {problem.strerror}") from None


def adopt_secret_key(settings: Settings, key: SecretKey) -> None:
    """Makes a restored key that of this installation, which must have none yet, or the same.

    Raises:
        SettingsError: there is another one.
    """
    path = settings.data_dir / FILE_NAME
    try:
        if settings.secret_key is None and not path.exists():
            _make(path, key.reveal())
    except OSError as problem:
        raise SettingsError(f"cannot use {path}: {problem.strerror}") from None
    if load_secret_key(settings).reveal() != key.reveal():
        place = path if settings.secret_key is None else "CHARGEWATCH_SECRET_KEY"
        raise SettingsError(
            f"{place} holds another secret key than the backup: restore into a new data folder,"
            " with CHARGEWATCH_SECRET_KEY not set"
        )


def _read(path: Path) -> bytes:
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SettingsError(f"{path} can be read by others; run: chmod 600 {path}")
    key = path.read_bytes().strip()
    if len(key) < 32:
        raise SettingsError(f"{path} holds no key (fewer than 32 bytes); restore it from a backup")
    return key


def _make(path: Path, key: bytes) -> None:
    """Two starters at once agree: the file appears whole, and the second finds it there."""
    make_data_dir(path.parent)
    draft = path.with_name(f".{FILE_NAME}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def make_data_dir(folder: Path) -> None:
    """The data folder; made here, it is closed to other users."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
