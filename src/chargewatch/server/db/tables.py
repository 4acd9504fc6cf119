"""What the database holds and what the service's login may do with it: one table for grants and tests."""

from collections.abc import Mapping
from typing import Final

from chargewatch.server.db.address import RoleNames, quoted
from chargewatch.server.db.connection import Connection

VERSION_TABLE: Final = "alembic_version"

#: tenant table -> what the app role may do with the rows of the tenant that is set.
TENANT_TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "tenants": ("SELECT",),
    "api_keys": (),
    "stations": ("SELECT", "INSERT", "UPDATE"),
    "sessions": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "reading_chunks": ("SELECT", "INSERT", "DELETE"),
    "session_counts": ("SELECT", "INSERT", "DELETE"),
    "session_rechecks": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "idempotency_keys": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "ocpp_transactions": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "tenant_thresholds": ("SELECT", "INSERT"),
    "jobs": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "batches": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "batch_parts": ("SELECT", "INSERT", "DELETE"),
    "batch_results": ("SELECT", "INSERT", "DELETE"),
}

#: What the app role may call before it knows the tenant.
APP_FUNCTIONS: Final = (
    "find_api_key(bytea)",
    "touch_api_key(uuid, uuid)",
    "all_tenants()",
    "claim_job(text[], uuid, double precision)",
    "next_job_s(text[])",
)


async def grant_to_app(owner: Connection, roles: RoleNames) -> None:
    """Gives the app role what it needs, where it lacks something (another role may have been configured)."""
    if await has_grants(owner, roles.app):
        return
    await owner.execute("BEGIN;" + ";".join(grant_statements(roles.app)) + ";COMMIT")


def grant_statements(role: str) -> tuple[str, ...]:
    """Everything that the app role is granted, and nothing else."""
    grantee = quoted(role)
    tables = [f"REVOKE ALL ON {table} FROM {grantee}" for table in TENANT_TABLES]
    tables += [
        f"GRANT {', '.join(privileges)} ON {table} TO {grantee}"
        for table, privileges in TENANT_TABLES.items()
        if privileges
    ]
    functions = [f"GRANT EXECUTE ON FUNCTION {function} TO {grantee}" for function in APP_FUNCTIONS]
    return (*tables, f"GRANT SELECT ON {VERSION_TABLE} TO {grantee}", *functions)


async def has_grants(connection: Connection, role: str) -> bool:
    """Whether the role may do everything that the service does."""
    wanted = [(table, word) for table, words in TENANT_TABLES.items() for word in words]
    wanted.append((VERSION_TABLE, "SELECT"))
    return bool(
        await connection.fetchval(
            """SELECT (SELECT bool_and(has_table_privilege($1, name, privilege))
                         FROM unnest($2::text[], $3::text[]) AS wanted (name, privilege))
                  AND (SELECT bool_and(has_function_privilege($1, name, 'EXECUTE'))
                         FROM unnest($4::text[]) AS wanted (name))""",
            role,
            [table for table, _ in wanted],
            [word for _, word in wanted],
            list(APP_FUNCTIONS),
        )
    )
