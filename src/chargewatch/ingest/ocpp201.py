"""OCPP 2.0.1 (and 2.1, whose messages extend them): TransactionEvent, MeterValues, StatusNotification.

Only what is needed is looked at (part 2, sections 1.60, 1.38 and 1.56, types in section 2). Values are numbers with
a unit and a multiplier: the value that is kept is the sent one times 10 to the power of the multiplier, with exactly
its digits, in the unit as sent. A signed value is kept as data only where there is no number beside it.
"""

from decimal import Decimal
from typing import Any, Final

import msgspec

from chargewatch.domain.decimals import parse_decimal
from chargewatch.ingest.foreign_json import (
    ABSENT,
    Place,
    Unreadable,
    checked,
    decode,
    id_text,
    instant,
    is_absent,
    name,
    place_id,
    remark,
)
from chargewatch.ingest.readings import Reading
from chargewatch.ingest.sampled_values import LONGEST_SIGNED, SIGNED, known_source, listed, value_text
from chargewatch.ingest.transaction_messages import (
    Message,
    MeterValuesReported,
    NothingReported,
    StatusReported,
    TransactionEnded,
    TransactionStarted,
)

#: Actions with readings or transactions that OCPP 1.6 does not have.
OWN_ACTIONS: Final = frozenset({"TransactionEvent"})
LARGEST_MULTIPLIER: Final = 30


class _UnitOfMeasure(msgspec.Struct):
    unit: str | None = None
    multiplier: msgspec.Raw = ABSENT


class _SignedMeterValue(msgspec.Struct):
    signedMeterData: str  # noqa: N815


class _SampledValue(msgspec.Struct):
    value: msgspec.Raw = ABSENT
    context: str | None = None
    measurand: str | None = None
    phase: str | None = None
    location: str | None = None
    unitOfMeasure: _UnitOfMeasure | None = None  # noqa: N815
    signedMeterValue: _SignedMeterValue | None = None  # noqa: N815


class _MeterValue(msgspec.Struct):
    timestamp: str
    sampledValue: list[_SampledValue] | _SampledValue = []  # noqa: N815


class _Evse(msgspec.Struct):
    id: msgspec.Raw = ABSENT
    connectorId: msgspec.Raw = ABSENT  # noqa: N815


class _TransactionInfo(msgspec.Struct):
    transactionId: msgspec.Raw  # noqa: N815
    stoppedReason: Any = None  # noqa: N815


class _TransactionEvent(msgspec.Struct):
    eventType: str  # noqa: N815
    timestamp: str
    transactionInfo: _TransactionInfo  # noqa: N815
    evse: _Evse | None = None
    meterValue: list[_MeterValue] | _MeterValue | None = None  # noqa: N815


class _MeterValues(msgspec.Struct):
    evseId: msgspec.Raw  # noqa: N815
    meterValue: list[_MeterValue] | _MeterValue  # noqa: N815


def read_call(action: str, message_id: str | None, payload: bytes) -> Message:
    """Returns what a CALL says.

    Raises:
        Unreadable: the place in the payload, and what is wrong there.
    """
    if action == "TransactionEvent":
        return _event(decode(payload, _EVENT), message_id)
    if action == "MeterValues":
        return _meter_values(decode(payload, _METER_VALUES))
    if action == "StatusNotification":
        return StatusReported(remark(decode(payload, _ANY_OBJECT).get("connectorStatus")))
    return NothingReported("says nothing about a session")


def _event(body: _TransactionEvent, message_id: str | None) -> Message:
    kind = body.eventType.casefold()
    if kind not in ("started", "updated", "ended"):
        raise Unreadable(("eventType",), "must be one of Started, Updated, Ended", "unknown_value")
    transaction = id_text(body.transactionInfo.transactionId, ("transactionInfo", "transactionId"))
    if transaction is None:
        raise Unreadable(("transactionInfo", "transactionId"), "is required", "missing")
    evse, connector = _whereabouts(body.evse)
    at_us = instant(body.timestamp, ("timestamp",))
    readings = readings_of(body.meterValue or [], ("meterValue",))
    if kind == "started":
        return TransactionStarted(message_id, transaction, evse, connector, at_us, None, readings)
    if kind == "updated":
        return MeterValuesReported(transaction, evse, connector, readings, at_us)
    reason = remark(body.transactionInfo.stoppedReason)
    return TransactionEnded(transaction, evse, connector, at_us, reason, readings)


def _whereabouts(evse: _Evse | None) -> tuple[str | None, str | None]:
    """Returns the ids of EVSE and connector; EVSE 0 is the station itself and says nothing about where."""
    if evse is None:
        return None, None
    number = place_id(evse.id, ("evse", "id"))
    if number is None or number == "0":
        return None, None
    connector = place_id(evse.connectorId, ("evse", "connectorId"))
    return number, None if connector == "0" else connector


def _meter_values(body: _MeterValues) -> MeterValuesReported:
    evse = place_id(body.evseId, ("evseId",))
    if evse is None:
        raise Unreadable(("evseId",), "is required", "missing")
    return MeterValuesReported(None, evse, None, readings_of(body.meterValue, ("meterValue",)))


def readings_of(values: list[_MeterValue] | _MeterValue, place: Place) -> list[Reading]:
    """Returns the readings of meter values, in their order.

    Raises:
        Unreadable: a time or a number that is none.
    """
    readings: list[Reading] = []
    for value, at in listed(values, place):
        at_us = instant(value.timestamp, (*at, "timestamp"))
        for sample, where in listed(value.sampledValue, (*at, "sampledValue")):
            readings.append(_reading(at_us, sample, where))
    return readings


def _reading(at_us: int, sample: _SampledValue, place: Place) -> Reading:
    measure = sample.unitOfMeasure
    unit = measure.unit if measure is not None else None
    only_signed = sample.signedMeterValue is not None and is_absent(sample.value)
    names = (
        sample.measurand,
        unit,
        sample.phase,
        sample.location,
        sample.context,
        SIGNED if only_signed else None,
    )
    source = known_source(names, place)
    if only_signed and sample.signedMeterValue is not None:
        at = (*place, "signedMeterValue", "signedMeterData")
        return Reading(at_us, name(sample.signedMeterValue.signedMeterData, at, LONGEST_SIGNED), source)
    text = value_text(sample.value, source, (*place, "value"))
    multiplier = _multiplier(measure, (*place, "unitOfMeasure", "multiplier"))
    return Reading(at_us, scaled(text, multiplier, (*place, "value")) if multiplier else text, source)


def _multiplier(measure: _UnitOfMeasure | None, place: Place) -> int:
    text = None if measure is None else id_text(measure.multiplier, place)
    if text is None:
        return 0
    try:
        exponent = int(text)
    except ValueError:
        exponent = LARGEST_MULTIPLIER + 1
    if abs(exponent) > LARGEST_MULTIPLIER:
        raise Unreadable(place, f"must be an integer from -{LARGEST_MULTIPLIER} to {LARGEST_MULTIPLIER}")
    return exponent


def scaled(text: str, exponent: int, place: Place) -> str:
    """Returns a number times 10 to the power of ``exponent``, with all its digits and no other ones.

    Raises:
        Unreadable: the result is too long or beyond float64.

    >>> scaled("1.52", 3, ())
    '1520'
    """
    sign, digits, shift = Decimal(text).as_tuple()
    assert isinstance(shift, int)
    whole = Decimal((sign, digits, shift + exponent))
    number = format(whole, "f") if abs(shift + exponent) <= 2 * LARGEST_MULTIPLIER else str(whole)
    checked(place, parse_decimal, number)
    return number


_EVENT: Final = msgspec.json.Decoder(_TransactionEvent)
_METER_VALUES: Final = msgspec.json.Decoder(_MeterValues)
_ANY_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])
