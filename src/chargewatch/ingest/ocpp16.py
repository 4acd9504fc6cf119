"""OCPP 1.6 (edition 2): StartTransaction and its answer, MeterValues, StopTransaction, StatusNotification.

Only what is needed is looked at (sections 4.7, 4.8 and 4.10, types in section 7). Vendors' measurands, units and
contexts are kept as sent; one object where a list should be is taken as a list of one.
"""

from typing import Any, Final

import msgspec

from chargewatch.domain.vocabulary import DEFAULT_MEASURAND
from chargewatch.ingest.foreign_json import (
    ABSENT,
    Place,
    Unreadable,
    decode,
    id_text,
    instant,
    is_absent,
    number_text,
    place_id,
    remark,
)
from chargewatch.ingest.readings import Reading, Source, source_of
from chargewatch.ingest.sampled_values import known_source, listed, value_text
from chargewatch.ingest.transaction_messages import (
    Message,
    MeterValuesReported,
    NothingReported,
    StatusReported,
    TransactionEnded,
    TransactionIdentified,
    TransactionStarted,
)

#: Actions with readings or transactions that OCPP 2 does not have.
OWN_ACTIONS: Final = frozenset({"StartTransaction", "StopTransaction"})

#: transactionIds that mean "no transaction", as negative ones do: the largest of each width.
_NO_TRANSACTION: Final = frozenset({str(2**31 - 1), str(2**32 - 1), str(2**63 - 1), str(2**64 - 1)})


class _SampledValue(msgspec.Struct):
    value: msgspec.Raw
    context: str | None = None
    format: str | None = None
    measurand: str | None = None
    phase: str | None = None
    location: str | None = None
    unit: str | None = None


class _MeterValue(msgspec.Struct):
    timestamp: str
    sampledValue: list[_SampledValue] | _SampledValue = []  # noqa: N815


class _MeterValues(msgspec.Struct):
    connectorId: msgspec.Raw  # noqa: N815
    meterValue: list[_MeterValue] | _MeterValue  # noqa: N815
    transactionId: msgspec.Raw = ABSENT  # noqa: N815


class _StartTransaction(msgspec.Struct):
    connectorId: msgspec.Raw  # noqa: N815
    timestamp: str
    meterStart: msgspec.Raw = ABSENT  # noqa: N815


class _StopTransaction(msgspec.Struct):
    transactionId: msgspec.Raw  # noqa: N815
    timestamp: str
    meterStop: msgspec.Raw = ABSENT  # noqa: N815
    transactionData: list[_MeterValue] | _MeterValue | None = None  # noqa: N815
    reason: Any = None


class _StartAnswer(msgspec.Struct):
    transactionId: msgspec.Raw = ABSENT  # noqa: N815
    idTagInfo: Any = None  # noqa: N815


def read_call(action: str, message_id: str | None, payload: bytes) -> Message:
    """Returns what a CALL says.

    Raises:
        Unreadable: the place in the payload, and what is wrong there.
    """
    if action == "MeterValues":
        return _meter_values(decode(payload, _METER_VALUES))
    if action == "StartTransaction":
        return _started(decode(payload, _START), message_id)
    if action == "StopTransaction":
        return _ended(decode(payload, _STOP))
    if action == "StatusNotification":
        return StatusReported(remark(decode(payload, _ANY_OBJECT).get("status")))
    return NothingReported("says nothing about a session")


def read_result(message_id: str | None, payload: bytes) -> Message:
    """Returns what a CALLRESULT says: the transactionId, where it answers a StartTransaction.

    Raises:
        Unreadable: the payload is no object, or the id is none.
    """
    answer = decode(payload, _ANSWER)
    if message_id is None or is_absent(answer.transactionId):
        return NothingReported("an answer that says nothing about a session")
    transaction = _transaction(answer.transactionId)
    if transaction == "0" and _is_refusal(answer.idTagInfo):
        transaction = None
    return TransactionIdentified(message_id, transaction)


def _is_refusal(id_tag_info: object) -> bool:
    return isinstance(id_tag_info, dict) and id_tag_info.get("status") != "Accepted"


def _is_none(transaction: str) -> bool:
    return transaction in _NO_TRANSACTION or transaction.startswith("-")


def _transaction(raw: msgspec.Raw) -> str | None:
    """Returns the transactionId of a message, None where it names none."""
    text = id_text(raw, ("transactionId",))
    return None if text is None or _is_none(text) else text


def _meter_values(body: _MeterValues) -> MeterValuesReported:
    connector = place_id(body.connectorId, ("connectorId",))
    if connector is None:
        raise Unreadable(("connectorId",), "is required", "missing")
    readings = readings_of(body.meterValue, ("meterValue",))
    return MeterValuesReported(_transaction(body.transactionId), None, connector, readings)


def _started(body: _StartTransaction, message_id: str | None) -> TransactionStarted:
    connector = place_id(body.connectorId, ("connectorId",))
    if connector is None:
        raise Unreadable(("connectorId",), "is required", "missing")
    at_us = instant(body.timestamp, ("timestamp",))
    meter_start = _register(body.meterStart, "meterStart")
    return TransactionStarted(message_id, None, None, connector, at_us, meter_start)


def _ended(body: _StopTransaction) -> TransactionEnded:
    at_us = instant(body.timestamp, ("timestamp",))
    meter_stop = _register(body.meterStop, "meterStop")
    readings = [] if meter_stop is None else [Reading(at_us, meter_stop, METER_STOP)]
    readings += readings_of(body.transactionData or [], ("transactionData",))
    transaction = _transaction(body.transactionId)
    return TransactionEnded(transaction, None, None, at_us, remark(body.reason), readings)


def _register(raw: msgspec.Raw, field: str) -> str | None:
    return None if is_absent(raw) else number_text(raw, (field,))


def _meter_source(context: str) -> Source:
    return source_of(DEFAULT_MEASURAND.value, "Wh", None, "Outlet", context, None)


#: meterStart and meterStop are registers in Wh (sections 6.45 and 6.49).
METER_START: Final = _meter_source("Transaction.Begin")
METER_STOP: Final = _meter_source("Transaction.End")


def readings_of(values: list[_MeterValue] | _MeterValue, place: Place) -> list[Reading]:
    """Returns the readings of meter values, in their order.

    Raises:
        Unreadable: a time or a number that is none.
    """
    readings: list[Reading] = []
    for value, at in listed(values, place):
        at_us = instant(value.timestamp, (*at, "timestamp"))
        for sample, where in listed(value.sampledValue, (*at, "sampledValue")):
            source = _source(sample, where)
            readings.append(Reading(at_us, value_text(sample.value, source, (*where, "value")), source))
    return readings


def _source(sample: _SampledValue, place: Place) -> Source:
    return known_source(
        (sample.measurand, sample.unit, sample.phase, sample.location, sample.context, sample.format), place
    )


_METER_VALUES: Final = msgspec.json.Decoder(_MeterValues)
_START: Final = msgspec.json.Decoder(_StartTransaction)
_STOP: Final = msgspec.json.Decoder(_StopTransaction)
_ANSWER: Final = msgspec.json.Decoder(_StartAnswer)
_ANY_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])
