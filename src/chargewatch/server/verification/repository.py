"""The statements of the check. Each compares within one statement, and so within one snapshot."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from chargewatch.server.db.connection import Connection, Row

_COUNTS: Final = """
WITH recounted AS (
    SELECT station_id, coalesce(evse_id, '') AS evse_id, coalesce(connector_id, '') AS connector_id, what,
           count(*) AS amount
      FROM sessions, unnest(
        CASE WHEN is_anomaly THEN '{sessions,anomalous}' || categories ELSE '{sessions}' END) AS what
     WHERE tenant_id = $1 GROUP BY 1, 2, 3, 4
), counted AS (
    SELECT station_id, evse_id, connector_id, what, sum(amount) AS amount FROM session_counts
     WHERE tenant_id = $1 GROUP BY 1, 2, 3, 4 HAVING sum(amount) <> 0
)
SELECT k.external_id AS station, evse_id, connector_id, what, coalesce(c.amount, 0)::bigint AS counted,
       coalesce(r.amount, 0)::bigint AS recounted
  FROM recounted r FULL JOIN counted c USING (station_id, evse_id, connector_id, what)
  LEFT JOIN stations k ON k.tenant_id = $1 AND k.station_id = coalesce(r.station_id, c.station_id)
 WHERE r.amount IS DISTINCT FROM c.amount
 ORDER BY 1, 2, 3, 4 LIMIT 100
"""
_SESSIONS: Final = """
SELECT s.session_id, s.external_id, s.version, s.reading_count, s.status, s.analyzed_version, s.is_anomaly,
       s.anomaly_score, s.anomaly_count, s.categories, s.verdict, chunks.encodings, chunks.payloads, chunks.counts,
       chunks.newest
  FROM sessions s LEFT JOIN LATERAL (
    SELECT array_agg(encoding ORDER BY sequence) AS encodings, array_agg(payload ORDER BY sequence) AS payloads,
           array_agg(reading_count ORDER BY sequence) AS counts, max(sequence) AS newest
      FROM reading_chunks c WHERE c.tenant_id = $1 AND c.session_id = s.session_id
  ) chunks ON true
 WHERE s.tenant_id = $1 AND s.session_id > $2
 ORDER BY s.session_id LIMIT $3
"""


async def count_differences(connection: Connection, tenant_id: UUID) -> Sequence[Row]:
    """Returns the counts that differ from the sessions, the first hundred of them."""
    return await connection.fetch(_COUNTS, tenant_id)


async def sessions_after(
    connection: Connection, tenant_id: UUID, session_id: UUID, most: int
) -> Sequence[Row]:
    """Returns sessions with their chunks, in the order of their UUIDs, those after one."""
    return await connection.fetch(_SESSIONS, tenant_id, session_id, most)
