"""Who logs in: the owner, which migrates and administers, and the app role, which serves.

The app role owns nothing and is held by row-level security; a third role without a login, the directory,
owns the two functions that look up an API key before the tenant is known. On the embedded database all of
them are made here. On a server the owner is the user of ``CHARGEWATCH_DATABASE_URL``; the other two are
named after the database and made by the owner, or by an administrator where the owner may not.

Passwords are derived from the secret key, so that every machine with the same key can log in, and reach
the server only as SCRAM verifiers: no statement log ever holds one.
"""

import base64
import hashlib
import hmac
from typing import Final
from urllib.parse import unquote, urlsplit

import asyncpg
import msgspec

from chargewatch.server.db.connection import REFUSED_LOGIN, Connection, Login, connected
from chargewatch.server.db.errors import DatabaseError
from chargewatch.server.db.secret_key import SecretKey
from chargewatch.server.settings import Secret, Settings

EMBEDDED_DATABASE: Final = "chargewatch"
EMBEDDED_OWNER: Final = "chargewatch_owner"
#: PostgreSQL cuts longer names off (NAMEDATALEN - 1).
LONGEST_NAME_BYTES: Final = 63

_SCRAM_ITERATIONS: Final = 4096
_NEW_LOGIN: Final = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE"


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


def scram_verifier(password: Secret, user: str) -> str:
    """What PostgreSQL stores for a password (RFC 5802), so that the password itself need not be sent.

    The salt follows from both, so that the same SQL comes out each time.
    """
    text = password.reveal().encode()
    salt = hmac.new(text, b"salt " + user.encode(), hashlib.sha256).digest()[:16]
    salted = hashlib.pbkdf2_hmac("sha256", text, salt, _SCRAM_ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_SCRAM_ITERATIONS}:{parts[0]}${parts[1]}:{parts[2]}"


def _password_clause(login: Login) -> str:
    if login.password is None or login.user is None:
        return ""
    return f" PASSWORD '{scram_verifier(login.password, login.user)}'"


async def prepare_embedded(superuser: str, address: DatabaseAddress) -> None:
    """Makes the roles and the database of the embedded cluster; what is there already gets its password again."""
    async with connected(Login(address=Secret(superuser), database="postgres")) as connection:
        there = await _existing(connection, EMBEDDED_OWNER, address.roles.app, address.roles.directory)
        directory, owner = quoted(address.roles.directory), quoted(EMBEDDED_OWNER)
        statements = []
        for login in (address.owner, address.app):
            verb = "ALTER" if login.user in there else "CREATE"
            statements.append(
                f"{verb} ROLE {quoted(str(login.user))} {_NEW_LOGIN}{_password_clause(login)}"
            )
        if address.roles.directory not in there:
            statements.append(f"CREATE ROLE {directory} NOLOGIN")
        statements.append(f"GRANT {directory} TO {owner}")
        await connection.execute("BEGIN;" + ";".join(statements) + ";COMMIT")
        if not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", EMBEDDED_DATABASE
        ):
            await connection.execute(f"CREATE DATABASE {quoted(EMBEDDED_DATABASE)} OWNER {owner}")


async def ensure_roles(owner: Connection, address: DatabaseAddress, *, reset_password: bool = False) -> None:
    """On a server: makes the app role and the directory role where they are missing.

    Raises:
        DatabaseError: the owner may not; the text is the SQL that an administrator must run.
    """
    statements = await _missing_roles(owner, address, reset_password)
    if not statements:
        return
    script = "; ".join(statements)
    try:
        await owner.execute(f"BEGIN; {script}; COMMIT")
    except asyncpg.InsufficientPrivilegeError:
        await owner.execute("ROLLBACK")
        user = quoted(await owner.fetchval("SELECT current_user"))
        by_hand = script.replace("CURRENT_USER", user)
        raise DatabaseError(
            f"the user of CHARGEWATCH_DATABASE_URL may not create roles; an administrator must run: {by_hand};"
        ) from None


async def _missing_roles(owner: Connection, address: DatabaseAddress, reset_password: bool) -> list[str]:
    app, directory = address.roles.app, address.roles.directory
    there = await _existing(owner, app, directory)
    statements = []
    if app not in there:
        if address.app.password is None:
            raise DatabaseError(f"the user {app} of CHARGEWATCH_DATABASE_APP_URL does not exist")
        statements.append(f"CREATE ROLE {quoted(app)} {_NEW_LOGIN}{_password_clause(address.app)}")
    elif reset_password and address.app.password is not None:
        statements.append(f"ALTER ROLE {quoted(app)}{_password_clause(address.app)}")
    if directory not in there:
        statements.append(f"CREATE ROLE {quoted(directory)} NOLOGIN")
    if directory not in there or not await owner.fetchval("SELECT pg_has_role($1, 'MEMBER')", directory):
        statements.append(f"GRANT {quoted(directory)} TO CURRENT_USER")
    return statements


async def _existing(connection: Connection, *names: str) -> set[str]:
    rows = await connection.fetch("SELECT rolname FROM pg_roles WHERE rolname = ANY($1::text[])", names)
    return {row["rolname"] for row in rows}


async def check_app_login(address: DatabaseAddress) -> None:
    """Raises DatabaseError when the app role cannot log in, most likely because the secret key is another one."""
    try:
        async with connected(address.app):
            pass
    except REFUSED_LOGIN:
        raise DatabaseError(refused_app_login(address)) from None


def refused_app_login(address: DatabaseAddress) -> str:
    """What to say when the server turns the app role's login down."""
    if address.app.password is None:
        return "the server refuses the login of CHARGEWATCH_DATABASE_APP_URL"
    return (
        f"the server refuses the login of role {address.roles.app}: this database was set up with another"
        " CHARGEWATCH_SECRET_KEY; set that one, or run once: chargewatch migrate --reset-app-password"
    )
