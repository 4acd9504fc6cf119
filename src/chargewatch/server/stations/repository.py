"""Stations and the counts of their sessions. Every call runs inside a tenant's transaction.

A count is the sum of its entries (revision 0003). What cannot be added up, the highest score and the newest anomaly,
is read from the few anomalous sessions, by their index.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from chargewatch.domain.ids import external_id
from chargewatch.server.db.connection import Connection, Row

_PAGE: Final = """
WITH page AS (
    SELECT station_id, external_id FROM stations WHERE tenant_id = $1 ORDER BY external_id LIMIT $2 OFFSET $3
), counted AS (
    SELECT c.station_id,
           coalesce(sum(c.amount) FILTER (WHERE c.what = 'sessions'), 0)::bigint AS total_sessions,
           coalesce(sum(c.amount) FILTER (WHERE c.what = 'anomalous'), 0)::bigint AS anomalous_sessions
      FROM session_counts c JOIN page USING (station_id) WHERE c.tenant_id = $1 GROUP BY c.station_id
)
SELECT page.station_id, page.external_id, coalesce(total_sessions, 0) AS total_sessions,
       coalesce(anomalous_sessions, 0) AS anomalous_sessions, worst.max_anomaly_score, worst.last_anomaly_at
  FROM page LEFT JOIN counted USING (station_id) LEFT JOIN LATERAL (
    SELECT max(s.anomaly_score) AS max_anomaly_score, max(s.analyzed_at) AS last_anomaly_at FROM sessions s
     WHERE s.tenant_id = $1 AND s.station_id = page.station_id AND s.is_anomaly AND anomalous_sessions > 0
  ) worst ON true
 ORDER BY page.external_id
"""
_STATION: Final = "SELECT station_id, external_id, metadata FROM stations WHERE tenant_id = $1 AND"
_CONNECTORS: Final = """
SELECT evse_id, connector_id, what, sum(amount)::bigint AS amount FROM session_counts
 WHERE tenant_id = $1 AND station_id = $2
 GROUP BY evse_id, connector_id, what HAVING sum(amount) <> 0
 ORDER BY evse_id, connector_id, what
"""
_STATISTICS: Final = """
SELECT coalesce(sum(amount) FILTER (WHERE what = 'sessions'), 0)::bigint AS total_sessions,
       coalesce(sum(amount) FILTER (WHERE what = 'anomalous'), 0)::bigint AS anomalous_sessions,
       count(*) FILTER (WHERE what = 'anomalous' AND amount > 0) AS stations_with_anomalies,
       (SELECT count(*) FROM stations WHERE tenant_id = $1) AS total_stations
  FROM (SELECT station_id, what, sum(amount) AS amount FROM session_counts
         WHERE tenant_id = $1 AND what IN ('sessions', 'anomalous') GROUP BY station_id, what) counted
"""


async def count_stations(connection: Connection, tenant_id: UUID) -> int:
    """Counts the tenant's stations."""
    total: int = await connection.fetchval("SELECT count(*) FROM stations WHERE tenant_id = $1", tenant_id)
    return total


async def list_stations(connection: Connection, tenant_id: UUID, limit: int, offset: int) -> Sequence[Row]:
    """Returns stations with their counts, ordered by the client's own ids."""
    return await connection.fetch(_PAGE, tenant_id, limit, offset)


async def find_station(connection: Connection, tenant_id: UUID, station: str) -> Row | None:
    """Returns a station by its external id, else by its UUID."""
    try:
        station = external_id(station)
    except ValueError:
        return None
    found = await connection.fetchrow(f"{_STATION} external_id = $2", tenant_id, station)
    if found is not None:
        return found
    try:
        internal = UUID(station)
    except ValueError:
        return None
    return await connection.fetchrow(f"{_STATION} station_id = $2", tenant_id, internal)


async def connector_counts(connection: Connection, tenant_id: UUID, station_id: UUID) -> Sequence[Row]:
    """Returns the counts of a station's connectors, those of one connector one after another."""
    return await connection.fetch(_CONNECTORS, tenant_id, station_id)


async def statistics(connection: Connection, tenant_id: UUID) -> Row:
    """Returns the tenant's totals."""
    found = await connection.fetchrow(_STATISTICS, tenant_id)
    assert found is not None
    return found
