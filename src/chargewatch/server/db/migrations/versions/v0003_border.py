"""Counts of sessions, idempotency keys, sessions to look at again, and transactions of OCPP.

Revision ID: 0003
"""

from alembic import op

from chargewatch.server.db.migrations.tenant_tables import directory_role, protect

revision = "0003"
down_revision = "0002"

# How many sessions there are, by connector. Entries are only ever added, by the triggers below, so that no row is hot:
# the count is the sum, and the service folds entries into one now and then. `what` is `sessions`, `anomalous` or a
# category; an unknown evse or connector is ''. No foreign key: it would lock the station's row in every push.
SESSION_COUNTS = """
CREATE TABLE session_counts (
    tenant_id    uuid NOT NULL,
    station_id   uuid NOT NULL,
    evse_id      text NOT NULL,
    connector_id text NOT NULL,
    what         text NOT NULL,
    entry        bigint GENERATED ALWAYS AS IDENTITY,
    amount       bigint NOT NULL,
    PRIMARY KEY (tenant_id, station_id, evse_id, connector_id, what, entry)
)
"""

COUNT_SESSION = """
CREATE FUNCTION count_session(one sessions, amount integer) RETURNS void
LANGUAGE sql SET search_path = public, pg_temp AS $$
    INSERT INTO session_counts (tenant_id, station_id, evse_id, connector_id, what, amount)
    SELECT one.tenant_id, one.station_id, coalesce(one.evse_id, ''), coalesce(one.connector_id, ''), what, amount
      FROM unnest(CASE WHEN one.is_anomaly THEN '{sessions,anomalous}' || one.categories ELSE '{sessions}' END)
           AS what
$$
"""

# Whoever changes a session, and however (moves, erasure, an older program), its counts follow.
COUNT_CHANGE = """
CREATE FUNCTION count_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.is_anomaly IS NOT TRUE THEN
        INSERT INTO session_counts (tenant_id, station_id, evse_id, connector_id, what, amount)
        VALUES (NEW.tenant_id, NEW.station_id, coalesce(NEW.evse_id, ''), coalesce(NEW.connector_id, ''),
                'sessions', 1);
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        PERFORM count_session(OLD, -1);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM count_session(NEW, 1);
    END IF;
    RETURN NULL;
END
$$
"""

TRIGGERS = """
CREATE TRIGGER count_new AFTER INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION count_change();
CREATE TRIGGER count_gone AFTER DELETE ON sessions FOR EACH ROW EXECUTE FUNCTION count_change();
CREATE TRIGGER count_changed AFTER UPDATE ON sessions FOR EACH ROW
    WHEN (OLD.is_anomaly IS DISTINCT FROM NEW.is_anomaly OR OLD.categories IS DISTINCT FROM NEW.categories
          OR OLD.station_id <> NEW.station_id OR OLD.evse_id IS DISTINCT FROM NEW.evse_id
          OR OLD.connector_id IS DISTINCT FROM NEW.connector_id)
    EXECUTE FUNCTION count_change()
"""

# The sessions that are there already; the owner is bound by row-level security, which has to stand aside for it.
COUNT_STORED = """
ALTER TABLE sessions NO FORCE ROW LEVEL SECURITY;
INSERT INTO session_counts (tenant_id, station_id, evse_id, connector_id, what, amount)
SELECT tenant_id, station_id, coalesce(evse_id, ''), coalesce(connector_id, ''), what, count(*)
  FROM sessions, unnest(CASE WHEN is_anomaly THEN '{sessions,anomalous}' || categories ELSE '{sessions}' END) AS what
 GROUP BY 1, 2, 3, 4, 5
"""

# An answer that is kept for those who ask again with the same key; `answered_at` is NULL while the call runs.
IDEMPOTENCY_KEYS = """
CREATE TABLE idempotency_keys (
    tenant_id     uuid NOT NULL,
    route         text NOT NULL,
    key           text COLLATE "C" NOT NULL,
    fingerprint   bytea NOT NULL,
    claim         uuid NOT NULL,
    claimed_until timestamptz NOT NULL,
    answered_at   timestamptz,
    status        smallint,
    headers       json,
    body          bytea,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, route, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (tenant_id, created_at)
"""

# Sessions to judge again without a call: another one turned out to overlap them.
SESSION_RECHECKS = """
CREATE TABLE session_rechecks (
    tenant_id  uuid NOT NULL,
    session_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, session_id)
)
"""

# The transactions of OCPP and the sessions that they became (docs/howto/push-ocpp.md).
OCPP_TRANSACTIONS = """
CREATE TABLE ocpp_transactions (
    tenant_id       uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    station         text COLLATE "C" NOT NULL,
    transaction_key text COLLATE "C" NOT NULL,
    generation      integer NOT NULL DEFAULT 0,
    evse_id         text,
    connector_id    text,
    session         text NOT NULL DEFAULT '',
    message_id      text,
    started_at      timestamptz,
    ended_at        timestamptz,
    last_at         timestamptz,
    meter_start     text,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, station, transaction_key, generation)
)
"""

# `recheck_at`: when the session will be over for want of readings, if none comes. It moves in steps of a quarter of
# an hour, since an update that changes an indexed column leaves its page.
RECHECK_AT = """
ALTER TABLE sessions ADD COLUMN recheck_at timestamptz;
CREATE INDEX sessions_to_recheck ON sessions (tenant_id, recheck_at) WHERE recheck_at IS NOT NULL;
UPDATE sessions SET recheck_at = last_reading_at + interval '6 hours'
 WHERE status = 'active' AND ended_at IS NULL AND analyzed_at < last_reading_at + interval '6 hours'
"""

# All sessions of a tenant by begin (the list of any status, retention); the connector's with unknown ids as ''.
INDEXES = """
CREATE INDEX sessions_by_begin ON sessions (tenant_id, begins_at DESC, session_id);
DROP INDEX sessions_analysed;
CREATE INDEX sessions_by_connector ON sessions
    (tenant_id, station_id, coalesce(evse_id, ''), coalesce(connector_id, ''), begins_at DESC);
DROP INDEX sessions_of_connector;
CREATE INDEX sessions_anomalous_of_station ON sessions (tenant_id, station_id, begins_at DESC) WHERE is_anomaly
"""

STATISTICS = "; ".join(
    f"ALTER TABLE {table} SET (autovacuum_analyze_threshold = 10)"
    for table in ("session_counts", "idempotency_keys", "session_rechecks", "ocpp_transactions")
)

# The background work of the service goes from tenant to tenant; it learns their ids and nothing else.
ALL_TENANTS = """
CREATE FUNCTION all_tenants() RETURNS TABLE (tenant_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.tenant_id FROM public.tenants t ORDER BY t.tenant_id
$$
"""

# Of the connector's sessions that began last before the end of a span, those that reach into it by more than a minute.
OVERLAPPING = """
CREATE FUNCTION overlapping_sessions(
    tenant uuid, station uuid, evse text, connector text, session uuid, begins timestamptz, ends timestamptz)
RETURNS SETOF uuid
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT o.session_id FROM (
        SELECT s.session_id, coalesce(s.ended_at, s.last_reading_at) AS ended
          FROM sessions s
         WHERE s.tenant_id = tenant AND s.station_id = station
           AND coalesce(s.evse_id, '') = coalesce(evse, '') AND coalesce(s.connector_id, '') = coalesce(connector, '')
           AND s.begins_at < ends - interval '1 minute' AND s.begins_at > begins - interval '31 days'
           AND s.session_id <> session
         ORDER BY s.begins_at DESC LIMIT 10) o
     WHERE o.ended > begins + interval '1 minute' AND connector IS NOT NULL
$$
"""


def upgrade() -> None:
    """Adds them, and counts what is stored."""
    op.execute(SESSION_COUNTS)
    op.execute(COUNT_SESSION)
    op.execute(COUNT_CHANGE)
    op.execute(COUNT_STORED)
    op.execute(RECHECK_AT)
    op.execute("ALTER TABLE sessions FORCE ROW LEVEL SECURITY")
    op.execute(TRIGGERS)
    op.execute(INDEXES)
    op.execute(IDEMPOTENCY_KEYS)
    op.execute(SESSION_RECHECKS)
    op.execute(OCPP_TRANSACTIONS)
    for table in ("session_counts", "idempotency_keys", "session_rechecks", "ocpp_transactions"):
        protect(table)
    op.execute(STATISTICS)
    op.execute(OVERLAPPING)
    _open_directory()


def _open_directory() -> None:
    directory = directory_role()
    op.execute(ALL_TENANTS)
    op.execute(f"GRANT CREATE ON SCHEMA public TO {directory}")
    op.execute("REVOKE EXECUTE ON FUNCTION all_tenants() FROM PUBLIC")
    op.execute(f"ALTER FUNCTION all_tenants() OWNER TO {directory}")
    op.execute(f"REVOKE CREATE ON SCHEMA public FROM {directory}")


def downgrade() -> None:
    """Migrations only go forward once released."""
    raise RuntimeError("revision 0003 cannot be undone: restore a backup instead")
