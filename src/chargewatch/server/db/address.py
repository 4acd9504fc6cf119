"""Where the database is and how each role logs in, from the settings alone.

On the embedded database every role is ours. On a server the owner is the user of
``CHARGEWATCH_DATABASE_URL``; the app role and the directory role are named after the database. Passwords
that are not in an address are derived from the secret key, so that every machine with that key can log in.
"""

import hashlib
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from chargewatch.server.db.connection import Login
from chargewatch.server.db.embedded import running_dsn
from chargewatch.server.db.errors import DatabaseError, DatabaseUnavailable
from chargewatch.server.db.secret_key import SecretKey, load_secret_key
from chargewatch.server.settings import Secret, Settings

EMBEDDED_DATABASE: Final = "chargewatch"
EMBEDDED_OWNER: Final = "chargewatch_owner"
#: PostgreSQL cuts longer names off (NAMEDATALEN - 1).
LONGEST_NAME_BYTES: Final = 63


class RoleNames(msgspec.Struct, frozen=True):
    """The two roles beside the owner."""

    app: str
    directory: str


class DatabaseAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where the database is and how each role logs in."""

    owner: Login
    app: Login
    roles: RoleNames
    embedded: bool


def embedded_address(superuser: str, key: SecretKey) -> DatabaseAddress:
    """The address of the embedded database, whose launcher's own login is ``superuser``."""
    roles = role_names(EMBEDDED_DATABASE)
    place = Secret(superuser)
    return DatabaseAddress(
        owner=Login(
            address=place,
            database=EMBEDDED_DATABASE,
            user=EMBEDDED_OWNER,
            password=key.password(f"role {EMBEDDED_OWNER}"),
        ),
        app=Login(
            address=place,
            database=EMBEDDED_DATABASE,
            user=roles.app,
            password=key.password(f"role {roles.app}"),
        ),
        roles=roles,
        embedded=True,
    )


def server_address(settings: Settings, key: SecretKey) -> DatabaseAddress:
    """The address of the server that ``CHARGEWATCH_DATABASE_URL`` names."""
    url = settings.database_url
    if url is None:
        raise DatabaseError("CHARGEWATCH_DATABASE_URL is not set")
    roles = role_names(unquote(urlsplit(url.reveal()).path.strip("/")))
    app = Login(address=url, user=roles.app, password=key.password(f"role {roles.app}"))
    if settings.database_app_url is not None:
        app = Login(address=settings.database_app_url)
        user = unquote(urlsplit(settings.database_app_url.reveal()).username or "")
        roles = RoleNames(app=user or roles.app, directory=roles.directory)
    return DatabaseAddress(owner=Login(address=url), app=app, roles=roles, embedded=False)


def role_names(database: str) -> RoleNames:
    """The names of the roles that belong to this database; roles are shared by all databases of a server."""
    return RoleNames(app=_role_name(database, "_app"), directory=_role_name(database, "_directory"))


def _role_name(database: str, suffix: str) -> str:
    name = (database + suffix).encode()
    if len(name) <= LONGEST_NAME_BYTES:
        return name.decode()
    digest = "_" + hashlib.sha256(database.encode()).hexdigest()[:8]
    room = LONGEST_NAME_BYTES - len(suffix) - len(digest)
    return database.encode()[:room].decode(errors="ignore") + digest + suffix


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def state_folder(settings: Settings) -> Path:
    """Where the embedded database lives."""
    return settings.data_dir / "postgres"


def find_address(settings: Settings) -> DatabaseAddress:
    """Where the database is, started by whomever.

    Raises:
        DatabaseUnavailable: the embedded one is not running.
    """
    if settings.database_url is not None:
        return server_address(settings, load_secret_key(settings))
    superuser = running_dsn(state_folder(settings))
    if superuser is None:
        raise DatabaseUnavailable(f"no database is running in {settings.data_dir}: start chargewatch serve")
    return embedded_address(superuser, load_secret_key(settings))
