"""A session's first push, and each push that follows what the caller knows, in one round trip.

Revision ID: 0004
"""

from alembic import op

revision = "0004"
down_revision = "0003"

COLUMNS = """
        external_id text, station_id uuid, evse_id text, connector_id text, metadata json, managed boolean,
        started_at timestamptz, ended_at timestamptz, stop_reason text, version bigint, reading_count integer,
        duplicate_count integer, out_of_order_count integer, begins_at timestamptz, last_reading_at timestamptz,
        recheck_at timestamptz, status text, analyzed_version bigint, analyzed_at timestamptz, model_id text,
        model_version text, is_anomaly boolean, anomaly_score double precision,
        anomaly_confidence double precision, is_recurring boolean, is_incident boolean, was_anomalous boolean,
        anomaly_count integer, categories text[], verdict json"""

NAMES = """
        evse_id, connector_id, metadata, managed, started_at, ended_at, stop_reason, version, reading_count,
        duplicate_count, out_of_order_count, begins_at, last_reading_at, recheck_at, status, analyzed_version,
        analyzed_at, model_id, model_version, is_anomaly, anomaly_score, anomaly_confidence, is_recurring,
        is_incident, was_anomalous, anomaly_count, categories, verdict"""

# As in revision 0002; besides, it leaves a session that overlaps another one to the caller.
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
    ELSIF pushed ->> 'connector_id' IS NOT NULL AND EXISTS (
        SELECT FROM overlapping_sessions(
            tenant, at_station_id, pushed ->> 'evse_id', pushed ->> 'connector_id', new_id,
            (pushed ->> 'begins_at')::timestamptz,
            coalesce(pushed ->> 'ended_at', pushed ->> 'last_reading_at')::timestamptz)
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
    INSERT INTO sessions AS s (tenant_id, session_id, external_id, station_id, {NAMES})
    SELECT tenant, new_id, external_id, at_station_id, {NAMES} FROM json_to_record(pushed) AS r ({COLUMNS})
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

# Stores the next version of a session whose present one the caller knows. It stores nothing when the session has
# `moved_on`, is `gone`, `overlaps` another one, or when the station's attributes are not the `assumed` ones.
CHANGE_SESSION = f"""
CREATE FUNCTION change_session(
    tenant uuid, session uuid, known_version bigint, assumed_managed boolean,
    assumed_rated_power_kw double precision, changed json, replaces boolean,
    chunk_encoding smallint, chunk_readings integer, chunk_payload bytea)
RETURNS TABLE (outcome text, created_at timestamptz, updated_at timestamptz)
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    present record;
BEGIN
    PERFORM set_config('app.tenant', tenant::text, true);
    SELECT s.version, s.station_id, k.managed, k.rated_power_kw INTO present
      FROM sessions s JOIN stations k USING (tenant_id, station_id)
     WHERE s.tenant_id = tenant AND s.session_id = session FOR UPDATE OF s;
    IF NOT FOUND THEN
        outcome := 'gone';
    ELSIF present.version <> known_version THEN
        outcome := 'moved_on';
    ELSIF present.managed IS DISTINCT FROM assumed_managed
          OR present.rated_power_kw IS DISTINCT FROM assumed_rated_power_kw THEN
        outcome := 'assumed';
    ELSIF changed ->> 'connector_id' IS NOT NULL AND EXISTS (
        SELECT FROM overlapping_sessions(
            tenant, present.station_id, changed ->> 'evse_id', changed ->> 'connector_id', session,
            (changed ->> 'begins_at')::timestamptz,
            coalesce(changed ->> 'ended_at', changed ->> 'last_reading_at')::timestamptz)
    ) THEN
        outcome := 'overlaps';
    ELSE
        outcome := 'changed';
        UPDATE sessions AS s SET ({NAMES}, updated_at) = (
            SELECT {NAMES}, now() FROM json_to_record(changed) AS r ({COLUMNS}))
         WHERE s.tenant_id = tenant AND s.session_id = session
        RETURNING s.created_at, s.updated_at INTO created_at, updated_at;
        IF replaces THEN
            DELETE FROM reading_chunks c WHERE c.tenant_id = tenant AND c.session_id = session;
        END IF;
        IF chunk_readings > 0 THEN
            INSERT INTO reading_chunks (tenant_id, session_id, sequence, encoding, reading_count, payload)
            VALUES (tenant, session, known_version + 1, chunk_encoding, chunk_readings, chunk_payload);
        END IF;
    END IF;
    RETURN NEXT;
END
$$
"""


def upgrade() -> None:
    """Replaces the one function and adds the other; they run as their caller, so that everybody may execute them."""
    op.execute(CREATE_SESSION)
    op.execute(CHANGE_SESSION)


def downgrade() -> None:
    """Migrations only go forward once released."""
    raise RuntimeError("revision 0004 cannot be undone: restore a backup instead")
