"""OCPP messages in order of arrival, and what is known of their station, to what is to be stored of which session.

A `TransactionBook` is that knowledge for one station: its transactions, and the starts that wait for a transactionId
(OCPP 1.6 gives it in the answer, which may come later or never be seen). It does no I/O: a caller loads what it may
need, applies messages one after another, stores what `changes` returns, then stores the sessions, and last removes
the starts that `settled` names. As long as a start is there, its transaction repeats what the start said: a caller
that dies in between and is sent the same messages again ends in the same state.

Messages may be repeated and may come late.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from chargewatch.domain.instants import MICROSECONDS, instant_text
from chargewatch.ingest.ocpp16 import METER_START
from chargewatch.ingest.ocpp_transaction import PENDING, Transaction, first_sane, is_sane, nearest
from chargewatch.ingest.readings import Reading
from chargewatch.ingest.session_push import SessionPush, transaction_session
from chargewatch.ingest.transaction_messages import (
    Message,
    MeterValuesReported,
    NothingReported,
    StartFailed,
    TransactionEnded,
    TransactionIdentified,
    TransactionStarted,
)
from chargewatch.ingest.transaction_rows import TransactionRows


class Outcome(NamedTuple):
    """What became of a message: what is to be stored (at most one push), or why it is about no session.

    A message that is taken note of without a push, such as a start that waits for its transactionId, has a ``note``.
    """

    push: SessionPush | None = None
    ignored: str | None = None
    note: str | None = None


class TransactionBook:
    """The transactions of one station as far as they are known."""

    def __init__(self, station: str, known: Iterable[Transaction] = ()) -> None:
        self.station = station
        self._rows = TransactionRows(known)
        self._settled: set[str] = set()

    def changes(self) -> list[Transaction]:
        """Returns the transactions and starts that are new or changed since the book was made."""
        return [row for row in self._rows.changed() if not (row.is_pending and row.key in self._settled)]

    def settled(self) -> list[str]:
        """Returns the keys of the starts that are to be removed once the sessions are stored."""
        return sorted(self._settled)

    def close(self) -> None:
        """Takes the changes as stored and removes the settled starts."""
        for key in self._settled:
            self._rows.drop_start(key)
        self._settled.clear()
        self._rows.forget_changes()

    def apply(self, message: Message) -> Outcome:
        """Takes note of a message and returns what is to be stored."""
        if isinstance(message, MeterValuesReported):
            return self._measured(message)
        if isinstance(message, TransactionStarted):
            return self._started(message)
        if isinstance(message, TransactionEnded):
            return self._ended(message)
        if isinstance(message, TransactionIdentified):
            return self._identified(message)
        if isinstance(message, StartFailed):
            return self._start_failed(message)
        if isinstance(message, NothingReported):
            return Outcome(ignored=message.reason)
        return Outcome(note="a status begins and ends no session")

    def _started(self, message: TransactionStarted) -> Outcome:
        if message.connector == "0" and message.evse is None:
            return Outcome(ignored="connector 0 is the station itself; no session takes place there")
        start = _start_of(message)
        if message.transaction is not None:
            row = self._rows.put(self._begun(message.transaction, start))
            row = self._rows.put(row.read([reading.at_us for reading in message.readings]))
            return self._push(row, message.readings, begins=True)
        known = self._rows.with_start(start)
        if known is not None and message.message_id in (None, known.message_id):
            return self._push(known, begins=True)
        self._settled.discard(start.key)
        self._rows.put(start)
        return Outcome(note="the session begins with the answer that names its transactionId")

    def _identified(self, message: TransactionIdentified) -> Outcome:
        start = self._waiting(message.message_id)
        if start is not None and message.transaction is None:
            self._settled.add(start.key)
            return Outcome(ignored="the answer gives the start no transaction")
        if start is not None and message.transaction is not None:
            return self._push(self._begun(message.transaction, start), begins=True)
        row = self._rows.with_message(message.message_id, message.transaction)
        if row is not None:
            return self._push(row)
        return Outcome(ignored="it answers no StartTransaction that is known")

    def _start_failed(self, message: StartFailed) -> Outcome:
        start = self._waiting(message.message_id)
        if start is None:
            return Outcome(ignored="an error says nothing about a session")
        self._settled.add(start.key)
        return Outcome(ignored="the backend refused the start")

    def _measured(self, message: MeterValuesReported) -> Outcome:
        if message.evse == "0" or (message.evse is None and message.connector == "0"):
            return Outcome(ignored="the main meter of the station belongs to no session")
        times = [reading.at_us for reading in message.readings]
        at_us = first_sane(times or [message.at_us or 0])
        transaction = self._named(message.transaction)
        if transaction is not None:
            row = self._running(transaction, message, at_us)
        else:
            running = [row for row in self._rows.at(message.evse, message.connector) if row.runs_at(at_us)]
            if not running:
                return Outcome(ignored=self._why_nowhere(message))
            row = max(running, key=lambda row: row.began_us or 0)
        row = self._rows.put(row.placed(message.evse, message.connector).read(times))
        return self._push(row, message.readings)

    def _why_nowhere(self, message: MeterValuesReported) -> str:
        if any(row.is_at(message.evse, message.connector) for row in self._starts()):
            return (
                "it names no transaction, and the one that began on this connector has no transactionId yet"
            )
        return "it names no transaction, and none is known to run on this connector"

    def _ended(self, message: TransactionEnded) -> Outcome:
        transaction = self._named(message.transaction)
        if transaction is None:
            return Outcome(ignored="it ends no transaction: its transactionId means none")
        row = self._to_end(transaction, message).placed(message.evse, message.connector)
        ended_us = message.at_us if row.ended_us is None else max(row.ended_us, message.at_us)
        row = row._replace(ended_us=ended_us).read([reading.at_us for reading in message.readings])
        push = self._push(self._rows.put(row), message.readings).push
        assert push is not None
        return Outcome(push._replace(ended_us=row.shown_end_us, stop_reason=message.reason))

    def _running(self, transaction: str, message: MeterValuesReported, at_us: int | None) -> Transaction:
        """Returns the transaction of readings that name it; where it is new, the connector's waiting start is it."""
        row = nearest(self._rows.uses(transaction), at_us)
        starts = [
            start
            for start in self._starts()
            if start.is_at(message.evse, message.connector) and start.may_have_begun(at_us)
        ]
        start = max(starts, key=lambda start: start.began_us or 0, default=None)
        if start is not None and (row is None or row.same_start(start) or start.is_between(row, at_us)):
            return self._begun(transaction, start)
        return row or self._new(transaction, at_us)

    def _to_end(self, transaction: str, message: TransactionEnded) -> Transaction:
        """Returns the transaction that an end ends: the one that runs, however long it was silent."""
        uses = self._rows.uses(transaction)
        near = nearest(uses, message.at_us if is_sane(message.at_us) else None)
        running = [row for row in uses if row.ended_us is None]
        if near is not None and (
            near.ended_us is None or not running or near.distance_us(message.at_us) == 0
        ):
            return near
        if running:
            return running[0]
        starts = [start for start in self._starts() if start.may_have_begun(message.at_us)]
        if message.evse is not None or message.connector is not None:
            starts = [start for start in starts if start.is_at(message.evse, message.connector)]
        if len({start.connector for start in starts}) == 1:
            return self._begun(transaction, max(starts, key=lambda start: start.began_us or 0))
        return self._new(transaction, message.at_us)

    def _begun(self, transaction: str, start: Transaction) -> Transaction:
        """Returns the transaction that a start began: a known one, or a new one."""
        assert start.began_us is not None
        uses = self._rows.uses(transaction)
        for row in uses:
            if row.started and row.began_us == start.began_us:
                return row
        for row in uses:
            if row.lacks_start(start.began_us):
                return self._rows.put(row.with_start(start))
        return self._rows.put(self._new(transaction, start.began_us).with_start(start))

    def _new(self, transaction: str, at_us: int | None) -> Transaction:
        """Returns one more use of a transactionId, that begins at a time."""
        uses = self._rows.uses(transaction)
        began = f"{instant_text((at_us or 0) // MICROSECONDS * MICROSECONDS)}"
        suffix = began.replace("-", "").replace(":", "") if uses else None
        session = transaction_session(self.station, transaction, suffix)
        generation = uses[0].generation + 1 if uses else 0
        return Transaction(transaction, generation, session, began_us=at_us)

    def _starts(self) -> list[Transaction]:
        """Returns the starts that wait for their transactionId."""
        return [row for row in self._rows.starts() if row.key not in self._settled]

    def _waiting(self, message_id: str) -> Transaction | None:
        start = self._rows.start_of_message(message_id)
        return None if start is None or start.key in self._settled else start

    def _named(self, transaction: str | None) -> str | None:
        """Returns a transactionId, None where it means "no transaction": 0 that nothing began."""
        return None if transaction == "0" and not self._rows.uses("0") else transaction

    def _push(self, row: Transaction, readings: Sequence[Reading] = (), *, begins: bool = False) -> Outcome:
        """Returns what is to be stored; with what the start said, where that may not be stored yet."""
        for start in self._starts():
            if row.same_start(start):
                self._settled.add(start.key)
                begins = True
        push = SessionPush(row.session, self.station, row.evse, row.connector, readings=readings)
        if not (begins and row.started and row.began_us is not None):
            return Outcome(push)
        if row.meter_start is not None:
            readings = [Reading(row.began_us, row.meter_start, METER_START), *readings]
        metadata = msgspec.json.encode({"ocpp": {"transaction_id": row.key}}).decode()
        started_us = row.began_us if is_sane(row.began_us) else None
        return Outcome(push._replace(started_us=started_us, metadata=metadata, readings=readings))


def _start_of(message: TransactionStarted) -> Transaction:
    """Returns a start as a book keeps it until its transactionId is known."""
    return Transaction(
        key=f"{PENDING}{message.message_id or f'@{message.connector}:{message.at_us}'}",
        evse=message.evse,
        connector=message.connector,
        message_id=message.message_id,
        started=True,
        began_us=message.at_us,
        meter_start=message.meter_start,
    )
