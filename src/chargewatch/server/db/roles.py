"""Makes the roles that work on the database, beside its owner.

The app role serves and is held by row-level security; it owns nothing. The directory role has no login; it
owns the two functions that look up an API key before the tenant is known. On the embedded database all of
them are made by its superuser, on a server by the owner, or by an administrator where the owner may not.
Passwords reach the server only as SCRAM verifiers: no statement log ever holds one.
"""

import base64
import hashlib
import hmac
from typing import Final

import asyncpg

from chargewatch.server.db.address import EMBEDDED_DATABASE, EMBEDDED_OWNER, DatabaseAddress, quoted
from chargewatch.server.db.connection import REFUSED_LOGIN, Connection, Login, connected
from chargewatch.server.db.errors import DatabaseError
from chargewatch.server.settings import Secret

_SCRAM_ITERATIONS: Final = 4096
_NEW_LOGIN: Final = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE"


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


async def prepare_embedded(address: DatabaseAddress) -> None:
    """Makes the roles and the database of the embedded cluster; a login there gets its password anew."""
    superuser = Login(address=address.owner.address, database="postgres")
    async with connected(superuser) as connection:
        # starters one by one, until this connection ends
        await connection.execute("SELECT pg_advisory_lock(1)")
        roles = await _embedded_roles(connection, address)
        await connection.execute(f"BEGIN;{';'.join(roles)};COMMIT")
        database, owner = quoted(EMBEDDED_DATABASE), quoted(EMBEDDED_OWNER)
        query = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
        if not await connection.fetchval(query, EMBEDDED_DATABASE):
            await connection.execute(f"CREATE DATABASE {database} OWNER {owner}")


async def _embedded_roles(connection: Connection, address: DatabaseAddress) -> list[str]:
    directory = address.roles.directory
    there = await _existing(connection, EMBEDDED_OWNER, address.roles.app, directory)
    statements = []
    for login in (address.owner, address.app):
        verb = "ALTER" if login.user in there else "CREATE"
        statements.append(f"{verb} ROLE {quoted(str(login.user))} {_NEW_LOGIN}{_password_clause(login)}")
    if directory not in there:
        statements.append(f"CREATE ROLE {quoted(directory)} NOLOGIN")
    return [*statements, f"GRANT {quoted(directory)} TO {quoted(EMBEDDED_OWNER)}"]


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
            "the user of CHARGEWATCH_DATABASE_URL may not create or grant roles;"
            f" an administrator must run: {by_hand};"
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
    """Raises DatabaseError when the app role cannot log in: most likely the secret key is another one."""
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
