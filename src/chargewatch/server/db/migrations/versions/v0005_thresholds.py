"""The limits that a tenant has set otherwise than the defaults.

Revision ID: 0005
"""

from alembic import op

from chargewatch.server.db.migrations.tenant_tables import protect

revision = "0005"
down_revision = "0004"

# One row for each change, with all that then differs from the defaults; the newest one counts, the others say who
# changed what, and when. A tenant without a row is at version 1. `changed_by` is an API key; NULL: the command line.
TENANT_THRESHOLDS = """
CREATE TABLE tenant_thresholds (
    tenant_id  uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    version    bigint NOT NULL CHECK (version > 1),
    changes    json NOT NULL,
    changed_by uuid,
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, version)
)
"""

# For those who judge: in one round trip. It runs as its caller and sets the tenant for its own statement, so that it
# is as fenced as any other.
NEWEST_THRESHOLDS = """
CREATE FUNCTION newest_thresholds(tenant uuid) RETURNS json
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM set_config('app.tenant', tenant::text, true);
    RETURN (SELECT t.changes FROM tenant_thresholds t WHERE t.tenant_id = tenant ORDER BY t.version DESC LIMIT 1);
END
$$
"""


def upgrade() -> None:
    """Adds the table and the function."""
    op.execute(TENANT_THRESHOLDS)
    protect("tenant_thresholds")
    op.execute(NEWEST_THRESHOLDS)


def downgrade() -> None:
    """Migrations only go forward once released."""
    raise RuntimeError("revision 0005 cannot be undone: restore a backup instead")
