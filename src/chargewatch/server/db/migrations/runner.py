"""Brings a database to the schema of this program, once, whoever else tries at the same time.

The revisions are the files ``versions/v<number>_<what>.py``, in the order of their numbers, so that what is
newest is known without importing Alembic (a third of a second). Each is one transaction that waits for a
lock at most `LOCK_TIMEOUT` and is tried again, so that a running service is never held up for long.
"""

import asyncio
import functools
import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

from chargewatch.server.db.address import DatabaseAddress, RoleNames
from chargewatch.server.db.connection import Connection, connected
from chargewatch.server.db.errors import DatabaseError, SchemaMismatch, one_line

FOLDER: Final = Path(__file__).parent
LOCK_TIMEOUT: Final = "2s"
STATEMENT_TIMEOUT: Final = "10min"
LOCK_ATTEMPTS: Final = 10
#: How long a second starter waits for the first one's migration.
WAIT_FOR_OTHERS_S: Final = 900.0

#: The key of the advisory lock: "chargewa" as a number.
_STARTERS_LOCK: Final = int.from_bytes(b"chargewa", "big")
_POLL_S: Final = 0.05


class MigrationResult(msgspec.Struct, frozen=True):
    """From which version to which; None is an empty database."""

    before: str | None
    after: str


@functools.cache
def known_versions() -> tuple[str, ...]:
    """The schema versions that this program knows, oldest first."""
    return tuple(sorted(path.stem[1:].partition("_")[0] for path in (FOLDER / "versions").glob("v*.py")))


async def schema_version(connection: Connection) -> str | None:
    """The version that the database is at, None when it is empty."""
    if await connection.fetchval("SELECT to_regclass('public.alembic_version')") is None:
        return None
    version: str | None = await connection.fetchval("SELECT version_num FROM public.alembic_version")
    return version


async def schema_is_current(connection: Connection) -> bool:
    """Whether the database is at the newest version that this program knows: one small query."""
    return await schema_version(connection) == known_versions()[-1]


def check_not_newer(version: str | None) -> None:
    """Raises SchemaMismatch when a newer program has been at this database."""
    known = known_versions()
    if version is not None and version not in known:
        raise SchemaMismatch(
            f"the database is at schema {version}, but this chargewatch knows up to {known[-1]}:"
            " use the newer chargewatch"
        )


def check_current(version: str | None) -> str:
    """The version again; raises SchemaMismatch unless it is this program's."""
    check_not_newer(version)
    newest = known_versions()[-1]
    if version == newest:
        return newest
    state = "empty" if version is None else f"at schema {version}"
    raise SchemaMismatch(
        f"the database is {state}, this chargewatch needs schema {newest}: run chargewatch migrate"
    )


@asynccontextmanager
async def only_starter(address: DatabaseAddress) -> AsyncIterator[Connection]:
    """The owner's connection, while no other starter has one; the others wait.

    They ask again and again instead of queueing: a queued session holds a snapshot, for which
    CREATE INDEX CONCURRENTLY would wait, for ever.
    """
    timeouts = {"lock_timeout": LOCK_TIMEOUT, "statement_timeout": STATEMENT_TIMEOUT}
    async with connected(address.owner, timeouts) as owner:
        deadline = time.monotonic() + WAIT_FOR_OTHERS_S
        while not await owner.fetchval("SELECT pg_try_advisory_lock($1)", _STARTERS_LOCK):
            if time.monotonic() > deadline:
                raise DatabaseError("another process has been migrating this database for too long")
            await asyncio.sleep(_POLL_S)
        yield owner


async def migrate(owner: Connection, roles: RoleNames, target: str | None = None) -> MigrationResult:
    """Applies the revisions that are missing; to be called as `only_starter`.

    Args:
        owner: the owner's connection.
        roles: the roles beside the owner.
        target: the version to stop at, not before the database's; None is the newest.

    Raises:
        SchemaMismatch: the database is newer than this program.
        DatabaseError: a revision could not be applied; it was rolled back, those before it stand.
    """
    before = await schema_version(owner)
    check_not_newer(before)
    target = target or known_versions()[-1]
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        version = await schema_version(owner)
        if version == target:
            return MigrationResult(before, version)
        try:
            for statement in plan(version, roles, target):
                await owner.execute(statement)
        except asyncpg.LockNotAvailableError:
            await owner.execute("ROLLBACK")
            await asyncio.sleep(_POLL_S * attempt)
        except asyncpg.PostgresError as problem:
            await owner.execute("ROLLBACK")
            raise DatabaseError(f"cannot migrate the database: {one_line(problem)}") from problem
    raise DatabaseError("cannot migrate the database: its tables are locked; try again when it is quieter")


def plan(version: str | None, roles: RoleNames, target: str = "head") -> list[str]:
    """The statements that lead from this version to a later one, BEGIN and COMMIT among them."""
    from alembic import command
    from alembic.config import Config

    statements = _Statements()
    config = Config(output_buffer=statements, attributes={"roles": roles})
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    command.upgrade(config, target if version is None else f"{version}:{target}", sql=True)
    return statements.texts


class _Statements(io.StringIO):
    """Takes Alembic's output, one statement a call, where a text file is expected."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def write(self, text: str) -> int:
        statement = text.strip()
        if statement and not statement.startswith("-- Running"):
            self.texts.append(statement)
        return len(text)
