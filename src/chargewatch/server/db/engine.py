"""The database as the service uses it: a pool of the app role's connections, one door in.

Nothing outlives its transaction on these connections (no session settings, no listeners, no temporary
tables), so none is reset when it goes back: a call costs the round trips of its own statements and two more.
"""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple, Self, TypeVar
from uuid import UUID
from weakref import WeakSet

import asyncpg

from chargewatch.server.db.address import DatabaseAddress, find_address, state_folder
from chargewatch.server.db.connection import REFUSED_LOGIN, Connection, Row, check_server_version, outages
from chargewatch.server.db.contention import retrying
from chargewatch.server.db.disk import DiskWatch
from chargewatch.server.db.errors import DatabaseError, DatabaseUnavailable, DiskFull, one_line
from chargewatch.server.db.fitness import check_fitness
from chargewatch.server.db.migrations.runner import check_current, known_versions, schema_version
from chargewatch.server.db.pulse import Pulse
from chargewatch.server.db.roles import refused_app_login
from chargewatch.server.db.tables import has_grants
from chargewatch.server.db.tenancy import begin_for, commit, roll_back, transaction
from chargewatch.server.settings import Settings

T = TypeVar("T")

#: Connections that are kept open when there is nothing to do.
IDLE_CONNECTIONS: Final = 4
#: How much longer than the server's own statement timeout we wait: it acts first when it lives.
GRACE_S: Final = 1.0
STATEMENT_CACHE: Final = 200
_SILENT: Final = "the database does not answer"

# Its warnings tell of an outage with a stack trace for each attempt; `Pulse` tells of it once, in one line.
logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)


class Database:
    """An open database. Make one with `Database.open`; close it at the end."""

    def __init__(self, pool: "_Pool", settings: Settings, *, embedded: bool = False) -> None:
        self._pool = pool.pool
        self._pooled = settings.database_pooler
        self._acquire_timeout_s = settings.pool_timeout_s
        self._begin = _begin_statement(settings)
        self._begin_reading = _begin_statement(settings, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self._connections = pool.connections
        self._waiting: set[asyncio.Timeout] = set()
        self._pulse = Pulse(pool.connect, settings.database_silence_s, self._drop_everything)
        self._disk = DiskWatch(state_folder(settings), settings.disk_reserve_percent, settings.disk_check_s)
        self._watches: list[asyncio.Task[None]] = []
        if not self._pooled:  # a question behind a pooler would wait in its queue: full is not silent
            self._watches.append(asyncio.create_task(self._pulse.keep()))
        if embedded:  # a server minds its own disk
            self._watches.append(asyncio.create_task(self._disk.keep()))

    @classmethod
    async def open(cls, settings: Settings, address: DatabaseAddress | None = None) -> Self:
        """Connects as the app role; checks that the database is fit (`fitness`) and at this schema.

        Without an address the database is found from the settings; the embedded one must be running.

        Raises:
            DatabaseError: it cannot be used; DatabaseUnavailable when it does not answer.
        """
        address = address or find_address(settings)
        pool = await _make_pool(settings, address)
        try:
            begin = _begin_statement(settings)
            async with pool.pool.acquire() as connection, transaction(connection, begin):
                await _check(connection)
        except BaseException:
            pool.pool.terminate()
            raise
        return cls(pool, settings, embedded=address.embedded)

    async def close(self) -> None:
        """Waits for the running transactions, at most a few seconds."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        if self._pulse.silent:
            self._pool.terminate()
            return
        try:
            async with asyncio.timeout(5):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    def _drop_everything(self) -> None:
        """A silent database: calls that wait for it end now, and no connection to it is used again."""
        for connection in list(self._connections):
            connection.terminate()
        now = asyncio.get_running_loop().time()
        for patience in self._waiting:
            if not patience.expired():
                patience.reschedule(now)

    async def in_tenant_transaction(
        self, tenant_id: UUID, work: Callable[[Connection], Awaitable[T]], *, reads: bool = False
    ) -> T:
        """Returns what the work returns, done in a tenant's transaction (`tenant_transaction`).

        Where another transaction is in the way, it is done again from the start, a few times (`retrying`).
        """

        async def attempt() -> T:
            async with self.tenant_transaction(tenant_id, reads=reads) as connection:
                return await work(connection)

        return await retrying(attempt)

    @asynccontextmanager
    async def tenant_transaction(self, tenant_id: UUID, *, reads: bool = False) -> AsyncIterator[Connection]:
        """A transaction that sees and writes the rows of one tenant; rolled back on any error.

        Args:
            tenant_id: whose rows.
            reads: it only reads: PostgreSQL holds it to that, all its statements see one moment, and it goes on
                when the disk is full.

        Raises:
            DatabaseUnavailable: no connection was free or the database failed; the transaction may or may not
                have been applied, wholly, when that was at its end.
            Contention: another transaction was in the way; not applied.
            DiskFull: there is no room to write; not applied.
        """
        # `transaction` within `_connection`, spelled out: nesting them took 8 µs of 70, in every call of the API
        begin = begin_for(tenant_id, self._begin_reading if reads else self._begin)
        if not reads:
            self._check_room()
        connection = await self._acquire()
        try:
            with outages(connection):
                try:
                    await connection.execute(begin)
                    self._pulse.signs += 1
                    yield connection
                    await commit(connection)
                    self._pulse.signs += 1
                except asyncpg.ReadOnlySQLTransactionError as problem:
                    await roll_back(connection)
                    if reads:  # no outage: the caller is wrong
                        raise DatabaseError("a transaction that reads was told to write") from problem
                    raise
                except BaseException:
                    await roll_back(connection)
                    raise
        finally:
            await self._release(connection)

    async def fetch_without_tenant(self, query: str, *args: object, reads: bool = False) -> list[Row]:
        """The answer to a query outside of any tenant, to which row-level security shows no row of a tenant.

        It is for functions that know their tenant, or look up a key, and for the server's state.

        Args:
            query: one statement.
            args: its parameters.
            reads: it only reads, so that it goes on when the disk is full.

        Raises:
            DatabaseUnavailable: as in `tenant_transaction`.
        """
        if not reads:
            self._check_room()
        async with self._connection() as connection:
            if not self._pooled:
                return await connection.fetch(query, *args)
            # a pooler could send the preparing and the running of the query to two servers
            async with transaction(connection, self._begin):
                return await connection.fetch(query, *args)

    async def schema_is_current(self) -> bool:
        """Whether the database answers and is at this program's schema (for readiness)."""
        rows = await self.fetch_without_tenant("SELECT version_num FROM public.alembic_version", reads=True)
        return [row[0] for row in rows] == [known_versions()[-1]]

    def _check_room(self) -> None:
        if self._disk.short:
            raise DiskFull("the disk of the database is nearly full")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        connection = await self._acquire()
        try:
            with outages(connection):
                yield connection
            self._pulse.signs += 1
        finally:
            await self._release(connection)

    async def _release(self, connection: Connection) -> None:
        """A connection that cannot be given back is closed by the pool; the call that had it is over as it was."""
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            await self._pool.release(connection, timeout=self._acquire_timeout_s)

    async def _acquire(self) -> Connection:
        if self._pulse.silent:
            raise DatabaseUnavailable(_SILENT)
        try:
            async with asyncio.timeout(self._acquire_timeout_s) as patience:
                self._waiting.add(patience)
                try:
                    connection: Connection = await self._pool.acquire()
                finally:
                    self._waiting.discard(patience)
        except TimeoutError as problem:
            reason = _SILENT if self._pulse.silent else "no database connection is free"
            raise DatabaseUnavailable(reason) from problem
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
            raise DatabaseUnavailable(f"cannot connect to the database: {one_line(problem)}") from problem
        return connection


async def _check(connection: Connection) -> None:
    """Raises DatabaseError when this server, schema or login is not what the service needs."""
    check_server_version(connection)
    role = await connection.fetchval("SELECT current_user")
    lacking = DatabaseError(f"role {role} lacks rights on the database: run chargewatch migrate")
    try:
        check_current(await schema_version(connection))
    except asyncpg.InsufficientPrivilegeError:
        raise lacking from None
    if not await has_grants(connection, role):
        raise lacking
    await check_fitness(connection)


class _Pool(NamedTuple):
    """An asyncpg pool (which carries no types), every connection that it has opened, and how to open one more."""

    pool: Any
    connections: WeakSet[Any]
    connect: Callable[[], Awaitable[Connection]]


async def _make_pool(settings: Settings, address: DatabaseAddress) -> _Pool:
    """Every connection is alike: the settings that it needs travel in its first message."""
    timeouts = {} if settings.database_pooler else _session_settings(settings)
    connections: WeakSet[Any] = WeakSet()

    async def remember(connection: object) -> None:
        connections.add(connection)

    alike = {
        **address.app.arguments(),
        "timeout": settings.pool_timeout_s,
        "statement_cache_size": 0 if settings.database_pooler else STATEMENT_CACHE,
        "command_timeout": settings.statement_timeout_s + GRACE_S,
        "server_settings": {"application_name": "chargewatch", **timeouts},
    }
    try:
        pool = await asyncpg.create_pool(
            **alike,
            min_size=min(IDLE_CONNECTIONS, settings.pool_size),
            max_size=settings.pool_size,
            init=remember,
            reset=_nothing_to_reset,
        )
    except REFUSED_LOGIN:
        raise DatabaseError(refused_app_login(address)) from None
    except (OSError, TimeoutError, asyncpg.PostgresError) as problem:
        raise DatabaseUnavailable(f"cannot connect to the database: {one_line(problem)}") from problem
    patient = {
        "timeout": 2 * settings.database_silence_s,
        "command_timeout": None,
    }  # the pulse has its own limit
    return _Pool(pool, connections, functools.partial(asyncpg.connect, **alike | patient))


def _session_settings(settings: Settings) -> dict[str, str]:
    """What is acknowledged is on disk, whatever the server's default is.

    Planning a short query must not wait for the JIT compiler; a stuck statement or caller must end.

    Every statement finds its rows through an index that begins with the tenant. A plan made while a table was
    nearly empty would read the whole of it, and be kept while the table grows.
    """
    return {
        "synchronous_commit": "on",
        "statement_timeout": f"{settings.statement_timeout_s * 1000:.0f}ms",
        "idle_in_transaction_session_timeout": f"{settings.idle_in_transaction_timeout_s * 1000:.0f}ms",
        "jit": "off",
        "enable_seqscan": "off",
    }


def _begin_statement(settings: Settings, begin: str = "BEGIN") -> str:
    """A pooler takes no session settings, so each transaction brings its own, in the same message."""
    if not settings.database_pooler:
        return begin
    settled = (f"SET LOCAL {name} = '{value}'" for name, value in _session_settings(settings).items())
    return ";".join([begin, *settled])


async def _nothing_to_reset(_connection: object) -> None:
    """See the module's docstring; asyncpg itself still ends a transaction that was left open."""
