"""The one way in which a table of tenants' rows is protected; every revision that makes one calls it."""

from alembic import context, op

from chargewatch.server.db.address import RoleNames, quoted

#: The tenant of this transaction; after a transaction the setting is '', not NULL, hence nullif.
CURRENT_TENANT = "nullif(current_setting('app.tenant', true), '')::uuid"


def protect(table: str) -> None:
    """Row-level security that binds the owner too: rows of the tenant that is set, and no others."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY tenant_isolation ON {table}"
        f" USING (tenant_id = {CURRENT_TENANT}) WITH CHECK (tenant_id = {CURRENT_TENANT})"
    )


def directory_role() -> str:
    """The quoted name of the role that may look across tenants, inside two functions only."""
    roles: RoleNames = context.config.attributes["roles"]
    return quoted(roles.directory)
