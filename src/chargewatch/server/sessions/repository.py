"""Sessions, stations and reading chunks in PostgreSQL. Every call runs inside a tenant's transaction."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from chargewatch.domain.ids import external_id
from chargewatch.ingest.readings import Reading
from chargewatch.server.analysis.service import aside_if_large
from chargewatch.server.db.connection import Connection, Row
from chargewatch.server.db.contention import retrying
from chargewatch.server.db.engine import Database
from chargewatch.server.platform.idempotency import erase_answers
from chargewatch.server.sessions import chunks
from chargewatch.server.sessions.rows import SessionRow, StationFacts, Times
from chargewatch.server.sessions.states import ERASE_RESULTS, beginning_of_state

RECURRENCE_WINDOW: Final = timedelta(days=30)
RECURRENCE_SESSIONS: Final = 20

_COLUMNS: Final = """
    s.session_id, s.external_id, s.station_id, s.evse_id, s.connector_id, s.metadata, s.managed, s.started_at,
    s.ended_at, s.stop_reason, s.version, s.reading_count, s.duplicate_count, s.out_of_order_count, s.begins_at,
    s.last_reading_at, s.recheck_at, s.created_at, s.updated_at, s.status, s.analyzed_version, s.analyzed_at,
    s.model_id, s.model_version, s.is_anomaly, s.anomaly_score, s.anomaly_confidence, s.is_recurring,
    s.is_incident, s.was_anomalous, s.verdict
"""

# The station is made in the same statement that finds it; NULLs for a session that does not exist yet.
_OPEN: Final = f"""
WITH made AS (
    INSERT INTO stations (tenant_id, external_id) VALUES ($1, $2)
    ON CONFLICT (tenant_id, external_id) DO NOTHING
    RETURNING station_id, external_id, managed, rated_power_kw
), station AS (
    SELECT * FROM made
    UNION ALL
    SELECT station_id, external_id, managed, rated_power_kw FROM stations
     WHERE tenant_id = $1 AND external_id = $2
    LIMIT 1
)
SELECT station.station_id AS at_station_id, station.external_id AS station_external_id,
       station.managed AS station_managed, station.rated_power_kw, s.*
  FROM station LEFT JOIN LATERAL (
    SELECT {_COLUMNS} FROM sessions s WHERE s.tenant_id = $1 AND s.external_id = $3 FOR UPDATE
  ) s ON true
"""

_FIND: Final = f"""
SELECT station.station_id AS at_station_id, station.external_id AS station_external_id,
       station.managed AS station_managed, station.rated_power_kw, {_COLUMNS}
  FROM sessions s LEFT JOIN stations station USING (tenant_id, station_id)
 WHERE s.tenant_id = $1 AND
"""

# A row travels as one JSON document: thirty parameters cost the process that answers calls three times as much.
_TYPES: Final = {
    "session_id": "uuid",
    "external_id": "text",
    "station_id": "uuid",
    "evse_id": "text",
    "connector_id": "text",
    "metadata": "json",
    "managed": "boolean",
    "started_at": "timestamptz",
    "ended_at": "timestamptz",
    "stop_reason": "text",
    "version": "bigint",
    "reading_count": "integer",
    "duplicate_count": "integer",
    "out_of_order_count": "integer",
    "begins_at": "timestamptz",
    "last_reading_at": "timestamptz",
    "recheck_at": "timestamptz",
    "status": "text",
    "analyzed_version": "bigint",
    "analyzed_at": "timestamptz",
    "model_id": "text",
    "model_version": "text",
    "is_anomaly": "boolean",
    "anomaly_score": "double precision",
    "anomaly_confidence": "double precision",
    "is_recurring": "boolean",
    "is_incident": "boolean",
    "was_anomalous": "boolean",
    "anomaly_count": "integer",
    "categories": "text[]",
    "verdict": "json",
}
_NAMES: Final = ", ".join(_TYPES)
_RECORD: Final = f"json_to_record($2) AS r ({', '.join(f'{name} {type_}' for name, type_ in _TYPES.items())})"

_INSERT: Final = f"""
WITH made AS (
    INSERT INTO sessions (tenant_id, {_NAMES}) SELECT $1, {_NAMES} FROM {_RECORD}
    ON CONFLICT (tenant_id, external_id) DO NOTHING
    RETURNING tenant_id, session_id, version, created_at, updated_at
), stored AS (
    INSERT INTO reading_chunks (tenant_id, session_id, sequence, encoding, reading_count, payload)
    SELECT tenant_id, session_id, version, $3::smallint, $4::integer, $5::bytea FROM made WHERE $4::integer > 0
)
SELECT created_at, updated_at FROM made
"""

_UPDATE: Final = f"""
WITH changed AS (
    UPDATE sessions SET ({_NAMES}, updated_at) = (SELECT {_NAMES}, now() FROM {_RECORD})
     WHERE tenant_id = $1 AND session_id = $6
    RETURNING tenant_id, session_id, version, created_at, updated_at
), cleared AS (
    DELETE FROM reading_chunks USING changed
     WHERE reading_chunks.tenant_id = $1 AND reading_chunks.session_id = $6 AND $7::boolean
       AND sequence < changed.version
), stored AS (
    INSERT INTO reading_chunks (tenant_id, session_id, sequence, encoding, reading_count, payload)
    SELECT tenant_id, session_id, version, $3::smallint, $4::integer, $5::bytea FROM changed
     WHERE $4::integer > 0
)
SELECT created_at, updated_at FROM changed
"""

_CREATE: Final = "SELECT * FROM create_session($1, $2, $3, $4, $5, $6, $7, $8)"
# One after the other, each seeing those before it.
_CREATE_ALL: Final = """
SELECT made.* FROM unnest($2::text[], $3::boolean[], $4::double precision[], $5::text[], $6::smallint[],
                          $7::integer[], $8::bytea[]) WITH ORDINALITY
       AS new (station, managed, rated_power_kw, document, encoding, readings, payload, place)
 CROSS JOIN LATERAL create_session($1, new.station, new.managed, new.rated_power_kw, new.document::json, new.encoding,
                                   new.readings, new.payload) AS made
 ORDER BY new.place
"""
_EXISTING: Final = "SELECT external_id FROM sessions WHERE tenant_id = $1 AND external_id = ANY ($2)"
_STATION_FACTS: Final = """
SELECT external_id, managed, rated_power_kw FROM stations WHERE tenant_id = $1 AND external_id = ANY ($2)
"""
_CHANGE: Final = "SELECT * FROM change_session($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
_OVERLAPPING: Final = "SELECT * FROM overlapping_sessions($1, $2, $3, $4, $5, $6, $7)"

# What is asked for already is locked: whoever judges it now would not see yet what this transaction stores.
_ASK_FOR_RECHECKS: Final = """
INSERT INTO session_rechecks (tenant_id, session_id) SELECT $1, unnest($2::uuid[])
ON CONFLICT (tenant_id, session_id) DO UPDATE SET session_id = excluded.session_id
"""
_SET_RECHECK: Final = """
UPDATE sessions SET recheck_at = $3
 WHERE tenant_id = $1 AND session_id = $2 AND recheck_at IS DISTINCT FROM $3
"""

# As the index on connectors has it: an unknown evse or connector is ''.
_RECENT: Final = """
SELECT categories FROM sessions
 WHERE tenant_id = $1 AND station_id = $2 AND coalesce(evse_id, '') = $3 AND coalesce(connector_id, '') = $4
   AND status = 'active' AND session_id <> $5 AND begins_at < $6
   AND begins_at >= $6::timestamptz - $7::interval
 ORDER BY begins_at DESC, session_id LIMIT $8
"""


class FirstPush(NamedTuple):
    """What became of a first push.

    ``outcome`` is ``created``, or nothing is stored because the session ``exists``, ``overlaps`` another one, the
    station's attributes are not the ``assumed`` ones (they are given), or another call is making the station
    (``busy``).
    """

    outcome: str
    station_id: UUID | None
    station: StationFacts
    created_at: datetime | None


async def create_session(
    database: Database,
    tenant_id: UUID,
    station: str,
    assumed: StationFacts,
    row: SessionRow,
    readings: Sequence[Reading],
) -> FirstPush:
    """Stores a new session without anomalies in one round trip, in a transaction of its own.

    The function sets the tenant for its own statement, so that this is as fenced as ``tenant_transaction``.
    """
    parameters = (tenant_id, station, *assumed, _document(row), *_chunk(readings))
    (made,) = await retrying(lambda: database.fetch_without_tenant(_CREATE, *parameters))
    station_now = StationFacts(made["station_managed"], made["rated_power_kw"])
    return FirstPush(made["outcome"], made["at_station_id"], station_now, made["created_at"])


class NewSession(NamedTuple):
    """A new session to store: its station's external id, what is assumed of the station, its row and readings."""

    station: str
    assumed: StationFacts
    row: SessionRow
    readings: Sequence[Reading]


async def create_sessions(
    connection: Connection, tenant_id: UUID, new: Sequence[NewSession]
) -> list[FirstPush]:
    """Stores new sessions without anomalies in one round trip, in the caller's transaction (`create_session`)."""
    rows = [(one.station, *one.assumed, _document(one.row), *_chunk(one.readings)) for one in new]
    made = await connection.fetch(_CREATE_ALL, tenant_id, *map(list, zip(*rows, strict=True)))
    return [
        FirstPush(
            one["outcome"],
            one["at_station_id"],
            StationFacts(one["station_managed"], one["rated_power_kw"]),
            one["created_at"],
        )
        for one in made
    ]


async def existing_sessions(connection: Connection, tenant_id: UUID, external_ids: Sequence[str]) -> set[str]:
    """Returns which of these sessions are stored."""
    return {row[0] for row in await connection.fetch(_EXISTING, tenant_id, external_ids)}


async def station_facts(
    connection: Connection, tenant_id: UUID, stations: Sequence[str]
) -> dict[str, StationFacts]:
    """Returns what is declared about those of these stations that are stored."""
    found = await connection.fetch(_STATION_FACTS, tenant_id, stations)
    return {row[0]: StationFacts(row[1], row[2]) for row in found}


async def change_session(
    database: Database,
    tenant_id: UUID,
    known_version: int,
    assumed: StationFacts,
    row: SessionRow,
    readings: Sequence[Reading],
    *,
    replaces: bool,
) -> Times | None:
    """Stores the next version of a session in one round trip, in a transaction of its own.

    None: nothing is stored, since the session is not at ``known_version`` any more or overlaps another one, or the
    station's attributes are not the assumed ones.
    """
    known = (tenant_id, row.session_id, known_version, *assumed)
    parameters = (*known, _document(row), replaces, *_chunk(readings))
    (made,) = await retrying(lambda: database.fetch_without_tenant(_CHANGE, *parameters))
    return Times(made["created_at"], made["updated_at"]) if made["outcome"] == "changed" else None


async def open_session(connection: Connection, tenant_id: UUID, station: str, session: str) -> Row | None:
    """Locks the session and makes its station where it is new; None: try again, another call is making it."""
    return await connection.fetchrow(_OPEN, tenant_id, station, session)


async def find_session(
    connection: Connection, tenant_id: UUID, session: str, *, lock: bool = False
) -> Row | None:
    """Returns a session by its external id, else by its UUID, with its station's attributes."""
    ending = " FOR UPDATE OF s" if lock else ""
    session = normal_id(session)
    row = await _find(connection, f"{_FIND} s.external_id = $2{ending}", tenant_id, session)
    internal = _uuid(session)
    if row is None and internal is not None:
        row = await _find(connection, f"{_FIND} s.session_id = $2{ending}", tenant_id, internal)
    return row


async def find_internal(connection: Connection, tenant_id: UUID, session_id: UUID) -> Row | None:
    """Locks and returns a session by its UUID."""
    return await _find(connection, f"{_FIND} s.session_id = $2 FOR UPDATE OF s", tenant_id, session_id)


async def _find(connection: Connection, query: str, tenant_id: UUID, name: str | UUID) -> Row | None:
    """Returns a session with its station.

    A session that was moved while we waited for its lock comes with its new place and the stations of before, and so
    without a station. It is locked then, and a second look sees both.
    """
    row = await connection.fetchrow(query, tenant_id, name)
    if row is not None and row["at_station_id"] is None:
        row = await connection.fetchrow(query, tenant_id, name)
    return row


async def overlapping_sessions(connection: Connection, tenant_id: UUID, row: SessionRow) -> list[UUID]:
    """Returns the connector's sessions that run at the same time; none for an unknown connector."""
    ends_at = row.ended_at or row.last_reading_at
    if row.connector_id is None or ends_at is None:
        return []
    found = await connection.fetch(
        _OVERLAPPING,
        tenant_id,
        row.station_id,
        row.evse_id,
        row.connector_id,
        row.session_id,
        row.begins_at,
        ends_at,
    )
    return [one[0] for one in found]


async def ask_for_rechecks(connection: Connection, tenant_id: UUID, sessions: Collection[UUID]) -> None:
    """Has sessions judged again soon (see ``housekeeping``)."""
    if sessions:
        await connection.execute(_ASK_FOR_RECHECKS, tenant_id, sorted(sessions))


async def set_recheck(
    connection: Connection, tenant_id: UUID, session_id: UUID, recheck_at: datetime | None
) -> None:
    """Notes when a session is to be looked at again; what clients see of it stays the same."""
    await connection.execute(_SET_RECHECK, tenant_id, session_id, recheck_at)


def normal_id(text: str) -> str:
    """Returns an id to look up in normal form; what cannot be an id becomes one that nothing has."""
    try:
        return external_id(text)
    except ValueError:
        return ""


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


async def load_readings(connection: Connection, tenant_id: UUID, session_id: UUID) -> list[Reading]:
    """Returns the stored readings in the order in which they were acknowledged."""
    rows = await connection.fetch(
        "SELECT encoding, payload, reading_count FROM reading_chunks"
        " WHERE tenant_id = $1 AND session_id = $2 ORDER BY sequence",
        tenant_id,
        session_id,
    )
    return await aside_if_large(
        sum([row["reading_count"] for row in rows]),
        lambda: [reading for row in rows for reading in chunks.decode(row["encoding"], row["payload"])],
    )


async def insert_session(
    connection: Connection, tenant_id: UUID, row: SessionRow, readings: Sequence[Reading]
) -> Times | None:
    """Stores a new session with its readings; None when another call stored it first."""
    stored = await connection.fetchrow(_INSERT, tenant_id, _document(row), *_chunk(readings))
    return None if stored is None else Times(*stored.values())


async def update_session(
    connection: Connection, tenant_id: UUID, row: SessionRow, readings: Sequence[Reading], *, replace: bool
) -> Times:
    """Stores a changed session; ``readings`` are added to what is stored, or replace it."""
    stored = await connection.fetchrow(
        _UPDATE, tenant_id, _document(row), *_chunk(readings), row.session_id, replace
    )
    if stored is None:
        raise LookupError("the locked session is gone")
    return Times(*stored.values())


def _document(row: SessionRow) -> str:
    """Returns a row as JSON; the documents in it stay as they are, to the letter."""
    fields = row._asdict()
    fields["metadata"] = msgspec.Raw(row.metadata.encode())
    fields["verdict"] = None if row.verdict is None else msgspec.Raw(row.verdict.encode())
    return msgspec.json.encode(fields).decode()


def _chunk(readings: Sequence[Reading]) -> tuple[int, int, bytes]:
    encoding, payload = chunks.encode(readings) if readings else (chunks.COLUMNAR, b"")
    return encoding, len(readings), payload


async def recent_categories(connection: Connection, tenant_id: UUID, row: SessionRow) -> list[list[str]]:
    """Returns the categories of the newest analysed sessions of the same connector that began before this one."""
    rows = await connection.fetch(
        _RECENT,
        tenant_id,
        row.station_id,
        row.evse_id or "",
        row.connector_id or "",
        row.session_id,
        row.begins_at,
        RECURRENCE_WINDOW,
        RECURRENCE_SESSIONS,
    )
    return [list(r["categories"]) for r in rows]


async def delete_session(connection: Connection, tenant_id: UUID, row: SessionRow) -> None:
    """Erases a session with its readings, the answers that tell of it, and what OCPP called it."""
    await connection.execute(
        "DELETE FROM sessions WHERE tenant_id = $1 AND session_id = $2", tenant_id, row.session_id
    )
    await connection.execute(
        "DELETE FROM session_rechecks WHERE tenant_id = $1 AND session_id = $2", tenant_id, row.session_id
    )
    await connection.execute(
        "DELETE FROM ocpp_transactions WHERE tenant_id = $1 AND session = $2", tenant_id, row.external_id
    )
    await erase_answers(connection, tenant_id, [beginning_of_state(row.external_id)])
    await connection.execute(ERASE_RESULTS, tenant_id, [row.external_id])


class ListFilter(NamedTuple):
    """Conditions on the list, as SQL with ``?`` for parameters, and the parameters."""

    conditions: Sequence[str]
    parameters: Sequence[object]

    def sql(self, first: int) -> str:
        """Returns the conditions with numbered parameters, the first one ``first``."""
        text = " AND ".join(self.conditions)
        for number in range(first, first + len(self.parameters)):
            text = text.replace("?", f"${number}", 1)
        return text


_ITEM: Final = """
SELECT s.session_id, s.external_id, station.external_id AS station_external_id, s.evse_id, s.connector_id,
       s.is_anomaly, s.anomaly_score, s.anomaly_confidence, s.anomaly_count, s.categories, s.was_anomalous,
       s.status, s.begins_at, s.created_at, s.analyzed_at
  FROM sessions s JOIN stations station USING (tenant_id, station_id)
"""


async def find_station_id(connection: Connection, tenant_id: UUID, station: str) -> UUID | None:
    """Returns a station's UUID by its external id, else by the UUID itself."""
    station = normal_id(station)
    found: UUID | None = await connection.fetchval(
        "SELECT station_id FROM stations WHERE tenant_id = $1 AND external_id = $2", tenant_id, station
    )
    internal = _uuid(station)
    if found is None and internal is not None:
        found = await connection.fetchval(
            "SELECT station_id FROM stations WHERE tenant_id = $1 AND station_id = $2", tenant_id, internal
        )
    return found


async def count_sessions(connection: Connection, tenant_id: UUID, wanted: ListFilter) -> int:
    """Counts the sessions that match."""
    query = f"SELECT count(*) FROM sessions s WHERE s.tenant_id = $1 AND {wanted.sql(2)}"
    total: int = await connection.fetchval(query, tenant_id, *wanted.parameters)
    return total


async def list_sessions(
    connection: Connection, tenant_id: UUID, wanted: ListFilter, *, limit: int, offset: int
) -> Sequence[Row]:
    """Returns matching sessions, newest begin first, then by id."""
    query = (
        f"{_ITEM} WHERE s.tenant_id = $1 AND {wanted.sql(4)} "
        "ORDER BY s.begins_at DESC, s.session_id LIMIT $2 OFFSET $3"
    )
    return await connection.fetch(query, tenant_id, limit, offset, *wanted.parameters)
