"""A session's first push in one round trip.

Revision ID: 0002
"""

from alembic import op

revision = "0002"
down_revision = "0001"

# Most pushes by POST create a session whose verdict is known before anything is stored. This stores station,
# session and readings in one statement, as the role that calls it and behind the same row-level security. What it
# cannot decide alone it leaves to the caller, having stored nothing: a session that exists, a station whose
# attributes are not those that the verdict assumed.
CREATE_SESSION = """
CREATE FUNCTION create_session(
    tenant uuid, station text, assumed_managed boolean, assumed_rated_power_kw double precision,
    new_session_id uuid, new_external_id text, new_evse_id text, new_connector_id text, new_metadata json,
    new_managed boolean, new_started_at timestamptz, new_ended_at timestamptz, new_stop_reason text,
    new_reading_count integer, new_duplicate_count integer, new_out_of_order_count integer,
    new_begins_at timestamptz, new_last_reading_at timestamptz, new_status text, new_analyzed_at timestamptz,
    new_model_id text, new_model_version text, new_is_anomaly boolean, new_score double precision,
    new_confidence double precision, new_was_anomalous boolean, new_verdict json,
    chunk_encoding smallint, chunk_readings integer, chunk_payload bytea)
RETURNS TABLE (
    outcome text, at_station_id uuid, station_managed boolean, rated_power_kw double precision,
    created_at timestamptz)
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('app.tenant', tenant::text, true);
    IF EXISTS (SELECT FROM sessions s WHERE s.tenant_id = tenant AND s.external_id = new_external_id) THEN
        RETURN QUERY SELECT 'exists', NULL::uuid, NULL::boolean, NULL::double precision, NULL::timestamptz;
        RETURN;
    END IF;
    SELECT k.station_id, k.managed, k.rated_power_kw INTO at_station_id, station_managed, rated_power_kw
      FROM stations k WHERE k.tenant_id = tenant AND k.external_id = station;
    IF NOT FOUND THEN
        INSERT INTO stations AS k (tenant_id, external_id) VALUES (tenant, station)
        ON CONFLICT (tenant_id, external_id) DO NOTHING
        RETURNING k.station_id, k.managed, k.rated_power_kw
             INTO at_station_id, station_managed, rated_power_kw;
        IF NOT FOUND THEN
            RETURN QUERY SELECT 'busy', NULL::uuid, NULL::boolean, NULL::double precision, NULL::timestamptz;
            RETURN;
        END IF;
    END IF;
    IF station_managed IS DISTINCT FROM assumed_managed
       OR rated_power_kw IS DISTINCT FROM assumed_rated_power_kw THEN
        outcome := 'assumed';
        RETURN NEXT;
        RETURN;
    END IF;
    INSERT INTO sessions AS s (
        tenant_id, session_id, external_id, station_id, evse_id, connector_id, metadata, managed, started_at,
        ended_at, stop_reason, version, reading_count, duplicate_count, out_of_order_count, begins_at,
        last_reading_at, status, analyzed_version, analyzed_at, model_id, model_version, is_anomaly,
        anomaly_score, anomaly_confidence, is_recurring, is_incident, was_anomalous, verdict)
    VALUES (
        tenant, new_session_id, new_external_id, at_station_id, new_evse_id, new_connector_id, new_metadata,
        new_managed, new_started_at, new_ended_at, new_stop_reason, 1, new_reading_count, new_duplicate_count,
        new_out_of_order_count, new_begins_at, new_last_reading_at, new_status,
        CASE WHEN new_analyzed_at IS NOT NULL THEN 1 END, new_analyzed_at, new_model_id, new_model_version,
        new_is_anomaly, new_score, new_confidence, CASE WHEN new_is_anomaly IS NOT NULL THEN false END, CASE WHEN new_is_anomaly IS NOT NULL THEN false END,
        new_was_anomalous, new_verdict)
    ON CONFLICT (tenant_id, external_id) DO NOTHING
    RETURNING s.created_at INTO created_at;
    IF NOT FOUND THEN
        outcome := 'exists';
        RETURN NEXT;
        RETURN;
    END IF;
    IF chunk_readings > 0 THEN
        INSERT INTO reading_chunks (tenant_id, session_id, sequence, encoding, reading_count, payload)
        VALUES (tenant, new_session_id, 1, chunk_encoding, chunk_readings, chunk_payload);
    END IF;
    outcome := 'created';
    RETURN NEXT;
END
$$
"""


def upgrade() -> None:
    """Adds the function; it runs as its caller, so that everybody may execute it."""
    op.execute(CREATE_SESSION)


def downgrade() -> None:
    """Takes the function away."""
    op.execute("DROP FUNCTION create_session")
