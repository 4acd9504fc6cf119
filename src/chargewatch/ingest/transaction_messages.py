"""What OCPP messages say about transactions, in words that all versions share.

`ocpp16` and `ocpp201` make these from frames; `transactions` turns them into sessions. Times are microseconds since
1970. ``transaction`` is the transactionId as exact text (it may be larger than a float can count), None where the
message names none. ``connector`` 0 or ``evse`` 0 is the station itself.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from chargewatch.ingest.readings import Reading


class TransactionStarted(NamedTuple):
    """A transaction began. In OCPP 1.6 its id is still to come, under the same message id."""

    message_id: str | None
    transaction: str | None
    evse: str | None
    connector: str | None
    at_us: int
    meter_start: str | None
    """The register in Wh, as sent; OCPP 1.6 only."""
    readings: Sequence[Reading] = ()


class TransactionIdentified(NamedTuple):
    """The answer to a StartTransaction (OCPP 1.6)."""

    message_id: str
    transaction: str | None
    """None: the backend gave no id (-1 and the like)."""


class StartFailed(NamedTuple):
    """The backend answered a call with an error."""

    message_id: str


class MeterValuesReported(NamedTuple):
    """Readings, of a transaction or of a connector."""

    transaction: str | None
    evse: str | None
    connector: str | None
    readings: Sequence[Reading]
    at_us: int | None = None
    """When the event happened, where the message says so beside its readings (OCPP 2.0.1)."""


class TransactionEnded(NamedTuple):
    """A transaction ended; ``readings`` include the register at the end."""

    transaction: str | None
    evse: str | None
    connector: str | None
    at_us: int
    reason: str | None
    readings: Sequence[Reading]


class StatusReported(NamedTuple):
    """A connector's status; it is acknowledged, and begins and ends nothing."""

    status: str | None


class NothingReported(NamedTuple):
    """A message that says nothing about a session, and why."""

    reason: str


Message: TypeAlias = (
    TransactionStarted
    | TransactionIdentified
    | StartFailed
    | MeterValuesReported
    | TransactionEnded
    | StatusReported
    | NothingReported
)
