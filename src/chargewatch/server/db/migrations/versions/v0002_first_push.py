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
    tenant uuid, station text, assumed_managed boolean, assumed_rated_power_kw double precision, pushed json,
    chunk_encoding smallint, chunk_readings integer, chunk_payload bytea)
RETURNS TABLE (
    outcome text, at_station_id uuid, station_managed boolean, rated_power_kw double precision,
    created_at timestamptz)
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    new_id uuid := pushed ->> 'session_id';
BEGIN
    PERFORM set_config('app.tenant', tenant::text, true);
    IF EXISTS (
        SELECT FROM sessions s WHERE s.tenant_id = tenant AND s.external_id = pushed ->> 'external_id'
    ) THEN
        outcome := 'exists';
        RETURN NEXT;
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
            outcome := 'busy';
            RETURN NEXT;
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
        anomaly_score, anomaly_confidence, is_recurring, is_incident, was_anomalous, anomaly_count, categories,
        verdict)
    SELECT
        tenant, new_id, external_id, at_station_id, evse_id, connector_id, metadata, managed, started_at,
        ended_at, stop_reason, version, reading_count, duplicate_count, out_of_order_count, begins_at,
        last_reading_at, status, analyzed_version, analyzed_at, model_id, model_version, is_anomaly,
        anomaly_score, anomaly_confidence, is_recurring, is_incident, was_anomalous, anomaly_count, categories,
        verdict
      FROM json_to_record(pushed) AS r (
        external_id text, evse_id text, connector_id text, metadata json, managed boolean,
        started_at timestamptz, ended_at timestamptz, stop_reason text, version bigint, reading_count integer,
        duplicate_count integer, out_of_order_count integer, begins_at timestamptz,
        last_reading_at timestamptz, status text, analyzed_version bigint, analyzed_at timestamptz,
        model_id text, model_version text, is_anomaly boolean, anomaly_score double precision,
        anomaly_confidence double precision, is_recurring boolean, is_incident boolean,
        was_anomalous boolean, anomaly_count integer, categories text[], verdict json)
    ON CONFLICT (tenant_id, external_id) DO NOTHING
    RETURNING s.created_at INTO created_at;
    IF NOT FOUND THEN
        outcome := 'exists';
        RETURN NEXT;
        RETURN;
    END IF;
    IF chunk_readings > 0 THEN
        INSERT INTO reading_chunks (tenant_id, session_id, sequence, encoding, reading_count, payload)
        VALUES (tenant, new_id, 1, chunk_encoding, chunk_readings, chunk_payload);
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
