"""Everything that is stored of a tenant's sessions, without what differs from one database to the next."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

import msgspec

from chargewatch.ingest.readings import ReadingSet
from chargewatch.server.db.engine import Database
from chargewatch.server.sessions import chunks

#: Internal ids, and when it was done.
VOLATILE = ("tenant_id", "session_id", "station_id", "created_at", "updated_at", "analyzed_at", "recheck_at")


async def state_of(
    database: Database, tenant_id: UUID, names: Collection[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Returns, by external id, every column of each session with its station and its readings."""
    async with database.tenant_transaction(tenant_id) as connection:
        sessions = await connection.fetch(
            "SELECT s.*, station.external_id AS station FROM sessions s JOIN stations station"
            " USING (tenant_id, station_id) WHERE s.tenant_id = $1",
            tenant_id,
        )
        stored = await connection.fetch(
            "SELECT session_id, encoding, payload FROM reading_chunks WHERE tenant_id = $1"
            " ORDER BY session_id, sequence",
            tenant_id,
        )
    readings: dict[UUID, ReadingSet] = {}
    for row in stored:
        found = readings.setdefault(row["session_id"], ReadingSet())
        found.apply(chunks.decode(row["encoding"], row["payload"]))
    state = {}
    for row in sessions:
        kept = {name: value for name, value in row.items() if name not in VOLATILE}
        for name in ("verdict", "metadata"):
            kept[name] = None if kept[name] is None else msgspec.json.decode(kept[name])
        kept["readings"] = readings.get(row["session_id"], ReadingSet()).ordered()
        if names is None or row["external_id"] in names:
            state[row["external_id"]] = kept
    return state
