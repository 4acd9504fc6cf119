"""A session's first push with less work: the document is read once, and the count is written with the session.

Revision ID: 0006
"""

from alembic import op

revision = "0006"
down_revision = "0005"

COLUMNS = """
        session_id uuid, external_id text, evse_id text, connector_id text, metadata json, managed boolean,
        started_at timestamptz, ended_at timestamptz, stop_reason text, version bigint, reading_count integer,
        duplicate_count integer, out_of_order_count integer, begins_at timestamptz, last_reading_at timestamptz,
        recheck_at timestamptz, status text, analyzed_version bigint, analyzed_at timestamptz, model_id text,
        model_version text, is_anomaly boolean, anomaly_score double precision,
        anomaly_confidence double precision, is_recurring boolean, is_incident boolean, was_anomalous boolean,
        anomaly_count integer, categories text[], verdict json"""

NAMES = (
    "evse_id, connector_id, metadata, managed, started_at, ended_at, stop_reason, version, reading_count,"
    " duplicate_count, out_of_order_count, begins_at, last_reading_at, recheck_at, status, analyzed_version,"
    " analyzed_at, model_id, model_version, is_anomaly, anomaly_score, anomaly_confidence, is_recurring, is_incident,"
    " was_anomalous, anomaly_count, categories, verdict"
)
VALUES = ", ".join(f"new.{name.strip()}" for name in NAMES.split(","))

# Whoever inserts a session, its counts follow, but for the one session whose count the same transaction has written:
# its id stands in `app.counted`, which is local to the transaction.
COUNT_NEW = """
CREATE OR REPLACE TRIGGER count_new AFTER INSERT ON sessions FOR EACH ROW
    WHEN (current_setting('app.counted', true) IS DISTINCT FROM NEW.session_id::text)
    EXECUTE FUNCTION count_change()
"""

# As in revision 0004. A session that exists already may now be told as `overlaps` or `assumed` before it is looked for;
# the caller goes the long way then, as it does for `exists`.
CREATE_SESSION = f"""
CREATE OR REPLACE FUNCTION create_session(
    tenant uuid, station text, assumed_managed boolean, assumed_rated_power_kw double precision, pushed json,
    chunk_encoding smallint, chunk_readings integer, chunk_payload bytea)
RETURNS TABLE (
    outcome text, at_station_id uuid, station_managed boolean, rated_power_kw double precision,
    created_at timestamptz)
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    new record;
BEGIN
    SELECT * INTO new FROM json_to_record(pushed) AS r ({COLUMNS});
    PERFORM set_config('app.tenant', tenant::text, true);
    SELECT k.station_id, k.managed, k.rated_power_kw INTO at_station_id, station_managed, rated_power_kw
      FROM stations k WHERE k.tenant_id = tenant AND k.external_id = station;
    IF NOT FOUND THEN
        IF EXISTS (SELECT FROM sessions s WHERE s.tenant_id = tenant AND s.external_id = new.external_id) THEN
            outcome := 'exists';
            RETURN NEXT;
            RETURN;
        END IF;
        INSERT INTO stations AS k (tenant_id, external_id) VALUES (tenant, station)
        ON CONFLICT (tenant_id, external_id) DO NOTHING
        RETURNING k.station_id, k.managed, k.rated_power_kw
             INTO at_station_id, station_managed, rated_power_kw;
        IF NOT FOUND THEN
            outcome := 'busy';
            RETURN NEXT;
            RETURN;
        END IF;
    ELSIF new.connector_id IS NOT NULL AND EXISTS (
        SELECT FROM overlapping_sessions(
            tenant, at_station_id, new.evse_id, new.connector_id, new.session_id, new.begins_at,
            coalesce(new.ended_at, new.last_reading_at))
    ) THEN
        outcome := 'overlaps';
        RETURN NEXT;
        RETURN;
    END IF;
    IF station_managed IS DISTINCT FROM assumed_managed
       OR rated_power_kw IS DISTINCT FROM assumed_rated_power_kw THEN
        outcome := 'assumed';
        RETURN NEXT;
        RETURN;
    END IF;
    IF new.is_anomaly IS NOT TRUE THEN  -- it has one count, which is written below
        PERFORM set_config('app.counted', new.session_id::text, true);
    END IF;
    WITH made AS (
        INSERT INTO sessions AS s (tenant_id, session_id, external_id, station_id, {NAMES})
        VALUES (tenant, new.session_id, new.external_id, at_station_id, {VALUES})
        ON CONFLICT (tenant_id, external_id) DO NOTHING
        RETURNING s.created_at
    ), counted AS (
        INSERT INTO session_counts (tenant_id, station_id, evse_id, connector_id, what, amount)
        SELECT tenant, at_station_id, coalesce(new.evse_id, ''), coalesce(new.connector_id, ''), 'sessions', 1
          FROM made WHERE new.is_anomaly IS NOT TRUE
    ), stored AS (
        INSERT INTO reading_chunks (tenant_id, session_id, sequence, encoding, reading_count, payload)
        SELECT tenant, new.session_id, 1, chunk_encoding, chunk_readings, chunk_payload
          FROM made WHERE chunk_readings > 0
    )
    SELECT m.created_at INTO created_at FROM made m;
    outcome := CASE WHEN FOUND THEN 'created' ELSE 'exists' END;
    RETURN NEXT;
END
$$
"""


def upgrade() -> None:
    """Replaces the trigger and the function."""
    op.execute(COUNT_NEW)
    op.execute(CREATE_SESSION)


def downgrade() -> None:
    """Migrations only go forward once released."""
    raise RuntimeError("revision 0006 cannot be undone: restore a backup instead")
