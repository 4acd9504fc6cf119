"""From settings to a usable database: the embedded one, running or started for the occasion, or a server.

``serve`` holds the database for as long as it runs (`database_for_service`); a command uses the one that
is running in the same data folder, or starts it and stops it afterwards (`database_for_command`). Both may
take seconds and block: call them outside of asyncio.
"""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import asyncpg

from chargewatch.server.db.address import DatabaseAddress, embedded_address, server_address, state_folder
from chargewatch.server.db.bootstrap import bootstrap
from chargewatch.server.db.connection import REFUSED_LOGIN, connected
from chargewatch.server.db.embedded import DataFolderInUse, EmbeddedPostgres, running_dsn
from chargewatch.server.db.errors import DatabaseError, one_line
from chargewatch.server.db.migrations.runner import (
    MigrationResult,
    check_current,
    migrate,
    only_starter,
    schema_version,
)
from chargewatch.server.db.postgres_keeper import PostgresKeeper
from chargewatch.server.db.postgres_process import POLL_S, try_lock
from chargewatch.server.db.roles import check_app_login, ensure_roles, prepare_embedded
from chargewatch.server.db.secret_key import SecretKey, load_secret_key, make_data_dir
from chargewatch.server.db.tables import grant_to_app
from chargewatch.server.settings import Settings, SettingsError

#: How long one waits for a data folder that another command or a starting or stopping service holds.
FOLDER_PATIENCE_S: Final = 10.0
#: Held by who starts the embedded database: a service until it runs, a command until it has stopped it again.
TURN_FILE: Final = "turn.lock"


@contextmanager
def database_for_service(settings: Settings) -> Iterator[DatabaseAddress]:
    """Holds the database while the block runs: the embedded one is ours from start to stop.

    When the embedded one dies meanwhile, it is started again at the same address (`PostgresKeeper`).

    Raises:
        DataFolderInUse: another process holds the embedded one.
    """
    if settings.database_url is not None:
        yield server_address(settings, load_secret_key(settings))
        return
    key = _open_folder(settings)
    with ExitStack() as stack:
        with _turn(settings):
            keeper = PostgresKeeper(state_folder(settings))
            address = embedded_address(keeper.start(), key)
            stack.callback(keeper.stop)
        yield address


@contextmanager
def database_for_command(settings: Settings) -> Iterator[DatabaseAddress]:
    """The database for the length of a command, beside a running service or alone."""
    with ExitStack() as stack:
        if settings.database_url is not None:
            yield server_address(settings, load_secret_key(settings))
        else:
            yield _attach_or_start(settings, stack)


def _attach_or_start(settings: Settings, stack: ExitStack) -> DatabaseAddress:
    """Uses the database of a running service, else starts it; tries both again while a service is stopping.

    Commands that start it take turns, so that none works on a database that another one is about to stop.
    """
    key = _open_folder(settings)
    deadline = time.monotonic() + FOLDER_PATIENCE_S
    with ExitStack() as attempt:
        attempt.enter_context(_turn(settings))
        while True:
            superuser = running_dsn(state_folder(settings))
            if superuser is not None:
                return embedded_address(superuser, key)
            try:
                address = attempt.enter_context(_started(settings, key))
            except DataFolderInUse:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)
            else:
                stack.enter_context(attempt.pop_all())
                return address


@contextmanager
def _turn(settings: Settings) -> Iterator[None]:
    lock = os.open(settings.data_dir / TURN_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + FOLDER_PATIENCE_S
        while not try_lock(lock):
            if time.monotonic() > deadline:
                raise DataFolderInUse(
                    f"another chargewatch command is at work in {settings.data_dir}; try again later"
                )
            time.sleep(POLL_S)
        yield
    finally:
        os.close(lock)


@contextmanager
def _started(settings: Settings, key: SecretKey) -> Iterator[DatabaseAddress]:
    postgres = EmbeddedPostgres(state_folder(settings))
    postgres.start()
    try:
        yield embedded_address(postgres.dsn(), key)
    finally:
        postgres.stop()


def _open_folder(settings: Settings) -> SecretKey:
    try:
        make_data_dir(settings.data_dir)
        if not os.access(settings.data_dir, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "this user may not write there")
    except OSError as problem:
        raise SettingsError(f"cannot use the data folder {settings.data_dir}: {problem.strerror}") from None
    return load_secret_key(settings)


async def prepare_database(
    settings: Settings, address: DatabaseAddress, *, may_migrate: bool, reset_app_password: bool = False
) -> MigrationResult:
    """Makes the database ready for `Database.open`: roles, schema, grants, the tenant of an empty one.

    The embedded database is always migrated, a server only where ``may_migrate`` says so
    (``chargewatch migrate``), and only there may the app role's password be set anew.

    Raises:
        SchemaMismatch: the database is newer than this program, or older and may not be migrated here.
        DatabaseError: something is missing that only an administrator can give.
    """
    await ensure_owner_login(address)
    return await _prepare(settings, address, may_migrate, reset_app_password)


async def ensure_owner_login(address: DatabaseAddress) -> None:
    """Makes sure that the owner can log in: on the embedded database the roles are ours to make.

    Raises:
        DatabaseError: a server turns the login down.
    """
    try:
        async with connected(address.owner):
            return
    except (*REFUSED_LOGIN, asyncpg.InvalidCatalogNameError) as problem:
        if not address.embedded:
            raise DatabaseError(f"cannot open the database: {one_line(problem)}") from None
    await prepare_embedded(address)


async def _prepare(
    settings: Settings, address: DatabaseAddress, may_migrate: bool, reset_app_password: bool
) -> MigrationResult:
    async with only_starter(address) as owner:
        if not (may_migrate or address.embedded):
            version = check_current(await schema_version(owner))
            result = MigrationResult(before=version, after=version)
        else:
            if not address.embedded:
                await ensure_roles(owner, address, reset_password=reset_app_password)
            result = await migrate(owner, address.roles)
            await grant_to_app(owner, address.roles)
            if not address.embedded:
                await check_app_login(address)
        await bootstrap(settings, owner, address.roles)
        return result
