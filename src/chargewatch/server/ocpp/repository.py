"""What is known of stations' transactions, in SQL (table ``ocpp_transactions``).

A row whose ``session`` is empty is a start that waits for its transactionId. ``meter_start`` is NULL where no start
was seen (``started_at`` is then the first known instant), and empty where the start named no register.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from chargewatch.domain.instants import instant_text
from chargewatch.ingest.ocpp_transaction import AFTER_STOP_US, LONGEST_SILENCE_US, Transaction
from chargewatch.ingest.transaction_messages import (
    Message,
    MeterValuesReported,
    TransactionEnded,
    TransactionIdentified,
    TransactionStarted,
)
from chargewatch.server.clock import from_microseconds, microseconds
from chargewatch.server.db.connection import Connection, Row

# Hash collisions only make two stations wait for each other.
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended($1::text || $2::text, 0))"

_LOAD: Final = """
SELECT transaction_key, generation, session, evse_id, connector_id, message_id, started_at, ended_at, last_at,
       meter_start
  FROM ocpp_transactions
 WHERE tenant_id = $1 AND station = $2
   AND (session = '' OR transaction_key = ANY ($3) OR message_id = ANY ($4) OR started_at = ANY ($5)
        OR (coalesce(evse_id, connector_id) = ANY ($6)
            AND (ended_at IS NULL OR ended_at >= $7) AND (started_at IS NULL OR started_at <= $8)))
"""

_SAVE: Final = """
INSERT INTO ocpp_transactions AS t (tenant_id, station, transaction_key, generation, session, evse_id, connector_id,
                                    message_id, started_at, ended_at, last_at, meter_start)
SELECT $1, $2, r.* FROM json_to_recordset($3) AS r (
    transaction_key text, generation integer, session text, evse_id text, connector_id text, message_id text,
    started_at timestamptz, ended_at timestamptz, last_at timestamptz, meter_start text)
ON CONFLICT (tenant_id, station, transaction_key, generation) DO UPDATE
   SET (session, evse_id, connector_id, message_id, started_at, ended_at, last_at, meter_start, updated_at)
     = (excluded.session, excluded.evse_id, excluded.connector_id, excluded.message_id, excluded.started_at,
        excluded.ended_at, excluded.last_at, excluded.meter_start, now())
"""

_REMOVE: Final = """
DELETE FROM ocpp_transactions
 WHERE tenant_id = $1 AND station = $2 AND session = '' AND transaction_key = ANY ($3)
"""


class Wanted(NamedTuple):
    """What messages name: transactionIds, message ids, instants of starts; places and the span of readings there."""

    transactions: Sequence[str]
    message_ids: Sequence[str]
    starts_us: Sequence[int]
    places: Sequence[str]
    first_us: int
    last_us: int


def wanted_by(messages: Iterable[Message]) -> Wanted:
    """Returns which rows a book needs for messages."""
    transactions: set[str] = set()
    message_ids: set[str] = set()
    starts: set[int] = set()
    places: set[str] = set()
    times: set[int] = set()
    for message in messages:
        if isinstance(message, TransactionIdentified):
            message_ids.add(message.message_id)
        elif isinstance(message, TransactionStarted) and message.transaction is None:
            starts.add(message.at_us)
        elif isinstance(message, MeterValuesReported) and message.transaction in (None, "0"):
            places.add(message.evse or message.connector or "")
            times.update(reading.at_us for reading in message.readings)
        if isinstance(
            message, TransactionStarted | TransactionEnded | MeterValuesReported | TransactionIdentified
        ):
            transactions.add(message.transaction or "")
    first, last = min(times, default=0), max(times, default=0)
    return Wanted(list(transactions), list(message_ids), list(starts), list(places), first, last)


async def lock_station(connection: Connection, tenant_id: UUID, station: str) -> None:
    """Waits until no other call works on the station's transactions, until the end of the transaction."""
    await connection.execute(_LOCK, str(tenant_id), station)


async def load(connection: Connection, tenant_id: UUID, station: str, wanted: Wanted) -> list[Transaction]:
    """Returns the station's waiting starts and what is wanted of its transactions."""
    rows = await connection.fetch(
        _LOAD,
        tenant_id,
        station,
        wanted.transactions,
        wanted.message_ids,
        [from_microseconds(at_us) for at_us in wanted.starts_us],
        wanted.places,
        from_microseconds(max(wanted.first_us - AFTER_STOP_US, 0)),
        from_microseconds(wanted.last_us + LONGEST_SILENCE_US),
    )
    return [_transaction(row) for row in rows]


def _transaction(row: Row) -> Transaction:
    times = (row["started_at"], row["ended_at"], row["last_at"])
    began_us, ended_us, last_us = (None if at is None else microseconds(at) for at in times)
    return Transaction(
        key=row["transaction_key"],
        generation=row["generation"],
        session=row["session"],
        evse=row["evse_id"],
        connector=row["connector_id"],
        message_id=row["message_id"],
        started=row["meter_start"] is not None,
        began_us=began_us,
        ended_us=ended_us,
        last_us=last_us,
        meter_start=row["meter_start"] or None,
    )


async def save(
    connection: Connection, tenant_id: UUID, station: str, transactions: Sequence[Transaction]
) -> None:
    """Stores new and changed transactions."""
    documents = [_document(transaction) for transaction in transactions]
    await connection.execute(_SAVE, tenant_id, station, msgspec.json.encode(documents).decode())


def _document(transaction: Transaction) -> dict[str, object]:
    return {
        "transaction_key": transaction.key,
        "generation": transaction.generation,
        "session": transaction.session,
        "evse_id": transaction.evse,
        "connector_id": transaction.connector,
        "message_id": transaction.message_id,
        "started_at": _text(transaction.began_us),
        "ended_at": _text(transaction.ended_us),
        "last_at": _text(transaction.last_us),
        "meter_start": (transaction.meter_start or "") if transaction.started else None,
    }


def _text(at_us: int | None) -> str | None:
    return None if at_us is None else instant_text(at_us)


async def remove_starts(connection: Connection, tenant_id: UUID, station: str, keys: Sequence[str]) -> None:
    """Removes waiting starts that were settled."""
    await connection.execute(_REMOVE, tenant_id, station, keys)
