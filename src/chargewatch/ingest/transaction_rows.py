"""The transactions of one station, found by their id, place, start or message."""

from collections.abc import Iterable, Iterator

from chargewatch.ingest.ocpp_transaction import Transaction

_Name = tuple[str, int]


class TransactionRows:
    """Transactions and waiting starts, and which of them changed.

    What a book asks for with each message is found without looking at every transaction: a log of a year has many.
    """

    def __init__(self, rows: Iterable[Transaction] = ()) -> None:
        self._starts: dict[str, Transaction] = {}
        self._uses: dict[str, dict[int, Transaction]] = {}
        self._named_by_start: dict[object, _Name] = {}
        self._named_by_message: dict[str, list[_Name]] = {}
        self._named_by_connector: dict[str | None, dict[_Name, None]] = {}
        self._changed: dict[_Name, None] = {}
        for row in rows:
            self.put(row)
        self._changed.clear()

    def put(self, row: Transaction) -> Transaction:
        """Adds or changes a row, and returns it."""
        name = (row.key, row.generation)
        before = (
            self._starts.get(row.key) if row.is_pending else self._uses.get(row.key, {}).get(row.generation)
        )
        if before == row:
            return row
        self._changed[name] = None
        if row.is_pending:
            self._starts[row.key] = row
            return row
        self._uses.setdefault(row.key, {})[row.generation] = row
        if before is None or before.is_at(row.evse, row.connector) is False:
            if before is not None:
                self._named_by_connector[before.evse or before.connector].pop(name, None)
            self._named_by_connector.setdefault(row.evse or row.connector, {})[name] = None
        if row.started and row != before:
            self._named_by_start[row.start] = name
        if row.message_id is not None and (before is None or before.message_id != row.message_id):
            self._named_by_message.setdefault(row.message_id, []).append(name)
        return row

    def changed(self) -> list[Transaction]:
        """Returns the rows that are new or changed and still there."""
        starts = [self._starts.get(key) for key, _ in self._changed]
        uses = [self._uses.get(key, {}).get(generation) for key, generation in self._changed]
        return [row for row in (*starts, *uses) if row is not None]

    def drop_start(self, key: str) -> None:
        """Removes a waiting start."""
        self._starts.pop(key, None)

    def forget_changes(self) -> None:
        """Takes all rows as stored."""
        self._changed.clear()

    def starts(self) -> list[Transaction]:
        """Returns the starts that wait for their transactionId."""
        return list(self._starts.values())

    def start_of_message(self, message_id: str) -> Transaction | None:
        """Returns the waiting start that came with a message id."""
        return next((row for row in self._starts.values() if row.message_id == message_id), None)

    def uses(self, transaction: str) -> list[Transaction]:
        """Returns the uses of a transactionId, the newest first."""
        rows = self._uses.get(transaction)
        return [] if rows is None else sorted(rows.values(), key=lambda row: -row.generation)

    def with_start(self, start: Transaction) -> Transaction | None:
        """Returns the transaction that a start began."""
        name = self._named_by_start.get(start.start)
        return None if name is None else self._uses[name[0]][name[1]]

    def with_message(self, message_id: str, transaction: str | None) -> Transaction | None:
        """Returns the transaction that began with a message id and has a transactionId."""
        for key, generation in self._named_by_message.get(message_id, ()):
            if key == transaction:
                return self._uses[key][generation]
        return None

    def at(self, evse: str | None, connector: str | None) -> Iterator[Transaction]:
        """Yields the transactions of an EVSE (OCPP 2) or connector (OCPP 1.6)."""
        for key, generation in self._named_by_connector.get(evse or connector, ()):
            row = self._uses[key][generation]
            if row.is_at(evse, connector):
                yield row
