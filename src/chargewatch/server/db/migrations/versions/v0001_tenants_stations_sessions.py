"""Tenants, API keys, stations, sessions and their readings.

Revision ID: 0001
"""

from alembic import op

from chargewatch.server.db.migrations.tenant_tables import directory_role, protect

revision = "0001"
down_revision = None

TENANTS = """
CREATE TABLE tenants (
    tenant_id  uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name       text NOT NULL UNIQUE CHECK (name <> ''),
    created_at timestamptz NOT NULL DEFAULT now(),
    settings   jsonb NOT NULL DEFAULT '{}'
)
"""

# The index on the hash is unique over all tenants on purpose: a key names its tenant.
API_KEYS = """
CREATE TABLE api_keys (
    tenant_id    uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    key_id       uuid NOT NULL DEFAULT gen_random_uuid(),
    name         text,
    key_hash     bytea NOT NULL CHECK (octet_length(key_hash) = 32),
    hint         text NOT NULL,
    scopes       text[] NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    PRIMARY KEY (tenant_id, key_id)
);
CREATE UNIQUE INDEX api_keys_hash ON api_keys (key_hash)
"""

STATIONS = """
CREATE TABLE stations (
    tenant_id      uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    station_id     uuid NOT NULL DEFAULT gen_random_uuid(),
    external_id    text COLLATE "C" NOT NULL,
    metadata       json NOT NULL DEFAULT '{}',
    managed        boolean,
    rated_power_kw double precision,
    timezone       text,
    country        text,
    site_id        text,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, station_id),
    UNIQUE (tenant_id, external_id)
)
"""

# No foreign key to tenants: it follows from the station's, and would lock the tenant's row in every insert.
# A fifth of each page is left free, and what changes with every push (version, counts, verdict, times of the
# last reading and of the analysis) is in no index, so that those updates stay on their page (HOT).
SESSIONS = """
CREATE TABLE sessions (
    tenant_id          uuid NOT NULL,
    session_id         uuid NOT NULL DEFAULT gen_random_uuid(),
    external_id        text COLLATE "C" NOT NULL,
    station_id         uuid NOT NULL,
    evse_id            text,
    connector_id       text,
    metadata           json NOT NULL DEFAULT '{}',
    managed            boolean,
    started_at         timestamptz,
    ended_at           timestamptz,
    stop_reason        text,
    version            bigint NOT NULL DEFAULT 1,
    reading_count      integer NOT NULL DEFAULT 0,
    duplicate_count    integer NOT NULL DEFAULT 0,
    out_of_order_count integer NOT NULL DEFAULT 0,
    begins_at          timestamptz NOT NULL,
    last_reading_at    timestamptz,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    status             text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'active', 'failed')),
    analyzed_version   bigint,
    analyzed_at        timestamptz,
    model_id           text,
    model_version      text,
    is_anomaly         boolean,
    anomaly_score      double precision,
    anomaly_confidence double precision,
    is_recurring       boolean,
    is_incident        boolean,
    was_anomalous      boolean NOT NULL DEFAULT false,
    anomaly_count      integer NOT NULL DEFAULT 0,
    categories         text[] NOT NULL DEFAULT '{}',
    verdict            json,
    PRIMARY KEY (tenant_id, session_id),
    UNIQUE (tenant_id, external_id),
    FOREIGN KEY (tenant_id, station_id) REFERENCES stations (tenant_id, station_id) ON DELETE CASCADE
) WITH (fillfactor = 80);
CREATE INDEX sessions_analysed ON sessions (tenant_id, begins_at DESC, session_id) WHERE status = 'active';
CREATE INDEX sessions_anomalous ON sessions (tenant_id, begins_at DESC, session_id) WHERE is_anomaly;
CREATE INDEX sessions_of_station ON sessions (tenant_id, station_id, begins_at DESC);
CREATE INDEX sessions_of_connector
    ON sessions (tenant_id, station_id, evse_id, connector_id, begins_at DESC)
"""

# The payload is compressed by us; EXTERNAL keeps PostgreSQL from trying again.
READING_CHUNKS = """
CREATE TABLE reading_chunks (
    tenant_id     uuid NOT NULL,
    session_id    uuid NOT NULL,
    sequence      bigint NOT NULL,
    encoding      smallint NOT NULL,
    reading_count integer NOT NULL CHECK (reading_count > 0),
    payload       bytea NOT NULL,
    PRIMARY KEY (tenant_id, session_id, sequence),
    FOREIGN KEY (tenant_id, session_id) REFERENCES sessions (tenant_id, session_id) ON DELETE CASCADE
);
ALTER TABLE reading_chunks ALTER COLUMN payload SET STORAGE EXTERNAL
"""

# Every index begins with the tenant, and without statistics all of them look alike to the planner: it then
# reads all sessions of the tenant to find one, and keeps such a plan until the table is analysed. So that happens
# with the first rows, and not, as is usual, with the fiftieth at the earliest.
STATISTICS = "; ".join(
    f"ALTER TABLE {table} SET (autovacuum_analyze_threshold = 10)"
    for table in ("stations", "sessions", "reading_chunks")
)

# A key is looked up before its tenant is known. The functions run as the directory role, which may see the
# keys of all tenants and nothing else; they answer for one hash at a time, so that nothing can be listed.
FIND_API_KEY = """
CREATE FUNCTION find_api_key(wanted bytea)
RETURNS TABLE (
    tenant_id uuid, key_id uuid, scopes text[], expires_in_s double precision, is_touch_due boolean
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.tenant_id, k.key_id, k.scopes,
           extract(epoch FROM k.expires_at - now())::double precision,
           k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute'
      FROM public.api_keys k
     WHERE k.key_hash = wanted AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
$$
"""

TOUCH_API_KEY = """
CREATE FUNCTION touch_api_key(wanted_tenant uuid, wanted_key uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE public.api_keys k SET last_used_at = now()
     WHERE k.tenant_id = wanted_tenant AND k.key_id = wanted_key
       AND (k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute')
$$
"""


def upgrade() -> None:
    """From an empty database."""
    tables = {
        "tenants": TENANTS,
        "api_keys": API_KEYS,
        "stations": STATIONS,
        "sessions": SESSIONS,
        "reading_chunks": READING_CHUNKS,
    }
    for table, statement in tables.items():
        op.execute(statement)
        protect(table)
    op.execute(STATISTICS)
    _open_directory()


def _open_directory() -> None:
    directory = directory_role()
    op.execute(f"GRANT SELECT ON tenants, api_keys TO {directory}")
    op.execute(f"GRANT UPDATE (last_used_at) ON api_keys TO {directory}")
    for table in ("tenants", "api_keys"):
        op.execute(f"CREATE POLICY directory_reads ON {table} FOR SELECT TO {directory} USING (true)")
    op.execute(
        f"CREATE POLICY directory_touches ON api_keys FOR UPDATE TO {directory}"
        " USING (true) WITH CHECK (true)"
    )
    op.execute(FIND_API_KEY)
    op.execute(TOUCH_API_KEY)
    op.execute(f"GRANT CREATE ON SCHEMA public TO {directory}")
    for function in ("find_api_key(bytea)", "touch_api_key(uuid, uuid)"):
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"ALTER FUNCTION {function} OWNER TO {directory}")
    op.execute(f"REVOKE CREATE ON SCHEMA public FROM {directory}")


def downgrade() -> None:
    """There is nothing before the first revision; a database is dropped instead."""
    raise RuntimeError("the first revision cannot be undone: drop the database instead")
