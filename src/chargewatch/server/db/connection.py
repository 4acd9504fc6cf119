"""A connection as the rest of the program sees it, and a login as text-free data.

asyncpg carries no types; `Connection` and `Row` name the part of it that is used.
"""

# ruff: noqa: ANN401, ASYNC109  the signatures are asyncpg's

from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Protocol

import asyncpg
import msgspec

from chargewatch.server.db.errors import DatabaseError, DatabaseUnavailable, is_passing, one_line, outage
from chargewatch.server.settings import Secret

CONNECT_TIMEOUT_S: Final = 10.0
OLDEST_SERVER: Final = 15

#: A login that the server turns down.
REFUSED_LOGIN: Final = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError)


class Row(Protocol):
    """One row of an answer, by column name or position."""

    def __getitem__(self, key: str | int) -> Any: ...

    def __len__(self) -> int: ...

    def get(self, key: str, default: Any = ...) -> Any:
        """Returns a column, or the default where the answer has no such column."""

    def keys(self) -> Iterable[str]:
        """Returns the columns' names, in order."""
        ...

    def values(self) -> Iterable[Any]:
        """Returns the columns' values, in order."""
        ...


class Connection(Protocol):
    """The part of an asyncpg connection that is used. json and jsonb come and go as text."""

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        """Runs a statement, or without arguments several; returns the last one's command tag."""
        ...

    async def executemany(
        self, command: str, args: Iterable[Sequence[object]], *, timeout: float | None = None
    ) -> None:
        """Runs a statement for each set of arguments."""

    async def fetch(self, query: str, *args: object, timeout: float | None = None) -> list[Row]:
        """Returns all rows."""
        ...

    async def fetchrow(self, query: str, *args: object, timeout: float | None = None) -> Row | None:
        """Returns the first row, None when there is none."""
        ...

    async def fetchval(self, query: str, *args: object, column: int = 0, timeout: float | None = None) -> Any:
        """Returns one column of the first row, None when there is none."""

    async def copy_from_query(
        self, query: str, *, output: Callable[[bytes], Awaitable[None]], format: str
    ) -> str:
        """Sends the answer to a query through ``output``; returns the command tag."""
        ...

    async def copy_to_table(
        self,
        table_name: str,
        *,
        source: AsyncIterable[bytes],
        columns: Sequence[str],
        schema_name: str,
        format: str,
    ) -> str:
        """Fills a table from ``source``; returns the command tag."""
        ...

    def get_server_version(self) -> asyncpg.ServerVersion:
        """Returns what server this is."""
        ...

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open, failed ones included."""
        ...

    def is_closed(self) -> bool:
        """Whether the connection is gone."""
        ...

    def terminate(self) -> None:
        """Drops the connection at once."""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """Who connects where. What is given beside the address takes its part's place."""

    address: Secret
    user: str | None = None
    password: Secret | None = None
    database: str | None = None

    def arguments(self) -> dict[str, Any]:
        """The arguments of ``asyncpg.connect`` and ``asyncpg.create_pool``."""
        parts = {"user": self.user, "database": self.database}
        parts["password"] = self.password.reveal() if self.password else None
        given = {name: part for name, part in parts.items() if part is not None}
        return {"dsn": self.address.reveal(), "timeout": CONNECT_TIMEOUT_S, **given}


@asynccontextmanager
async def connected(login: Login, settings: Mapping[str, str] | None = None) -> AsyncIterator[Connection]:
    """One connection of its own, closed at the end.

    Raises:
        DatabaseUnavailable: nothing answers there, or no longer.
        DatabaseError: the server is older than PostgreSQL 15.
        asyncpg.PostgresError: it answers and turns the login down, or a statement in the block.
    """
    server_settings = {"application_name": "chargewatch administration", **(settings or {})}
    try:
        connection = await asyncpg.connect(**login.arguments(), server_settings=server_settings)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as problem:
        if isinstance(problem, asyncpg.PostgresError) and not is_passing(problem):
            raise
        raise DatabaseUnavailable(f"the database does not answer: {one_line(problem)}") from problem
    try:
        with outages(connection):
            check_server_version(connection)
            yield connection
    finally:
        await _close(connection)


async def _close(connection: Any) -> None:
    """Closes politely, and when the server does not answer, at once."""
    try:
        await connection.close(timeout=5)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


@contextmanager
def outages(connection: Connection) -> Iterator[None]:
    """Turns what a failing server makes of a statement into DatabaseUnavailable."""
    try:
        yield
    except asyncpg.InterfaceError as problem:
        if is_lost(connection):
            raise DatabaseUnavailable("the connection to the database was lost") from problem
        raise
    except TimeoutError as problem:
        raise DatabaseUnavailable("the database takes too long") from problem
    except (asyncpg.PostgresError, asyncpg.InternalClientError, ConnectionError) as problem:
        if is_passing(problem):
            raise outage(problem) from problem
        raise


def is_lost(connection: Connection) -> bool:
    """Whether the connection is closed, or broke and was taken back by its pool for that."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


def check_server_version(connection: Connection) -> None:
    """Raises DatabaseError when the server is older than what the SQL here needs."""
    version = connection.get_server_version()
    if version.major < OLDEST_SERVER:
        raise DatabaseError(
            f"PostgreSQL {version.major} is too old: chargewatch needs {OLDEST_SERVER} or newer"
        )
