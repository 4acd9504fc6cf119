"""OCPP frames for tests: small builders of what stations send."""

from typing import Any

Frame = list[Any]


def clock(minutes: float) -> str:
    """A time on a day in March, so many minutes after ten."""
    seconds = round(minutes * 60)
    return f"2025-03-04T{10 + seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}Z"


def register(wh: float | str, context: str = "Sample.Periodic", unit: str = "Wh") -> dict[str, Any]:
    return {"value": str(wh), "context": context, "measurand": "Energy.Active.Import.Register", "unit": unit}


def meter_value(minutes: float, *sampled: dict[str, Any]) -> dict[str, Any]:
    return {"timestamp": clock(minutes), "sampledValue": list(sampled)}


def start16(message_id: str, minutes: float = 0, connector: int = 1, meter_start: int = 1000) -> Frame:
    payload = {
        "connectorId": connector,
        "idTag": "TAG",
        "meterStart": meter_start,
        "timestamp": clock(minutes),
    }
    return [2, message_id, "StartTransaction", payload]


def answer16(message_id: str, transaction: int) -> Frame:
    return [3, message_id, {"transactionId": transaction, "idTagInfo": {"status": "Accepted"}}]


def values16(
    message_id: str, minutes: float, wh: float | str, transaction: int | None = None, connector: int = 1
) -> Frame:
    payload: dict[str, Any] = {"connectorId": connector, "meterValue": [meter_value(minutes, register(wh))]}
    if transaction is not None:
        payload["transactionId"] = transaction
    return [2, message_id, "MeterValues", payload]


def stop16(
    message_id: str, minutes: float, transaction: int, meter_stop: int, reason: str = "Local"
) -> Frame:
    payload = {
        "transactionId": transaction,
        "meterStop": meter_stop,
        "timestamp": clock(minutes),
        "reason": reason,
    }
    return [2, message_id, "StopTransaction", payload]


def session16(transaction: int, begins: float = 0, connector: int = 1, prefix: str = "m") -> list[Frame]:
    """A whole transaction of 1.6: start, its answer, a reading every 10 minutes at 6 kW, stop after 40 minutes."""
    return [
        start16(f"{prefix}0", begins, connector),
        answer16(f"{prefix}0", transaction),
        *(
            values16(f"{prefix}{i}", begins + 10 * i, 1000 * (1 + i), transaction, connector)
            for i in range(1, 4)
        ),
        stop16(f"{prefix}9", begins + 40, transaction, 5000),
    ]


def event201(
    kind: str,
    minutes: float,
    transaction: str,
    *values: dict[str, Any],
    evse: dict[str, int] | None = None,
    **info: object,
) -> Frame:
    payload: dict[str, Any] = {
        "eventType": kind,
        "timestamp": clock(minutes),
        "triggerReason": "MeterValuePeriodic",
        "seqNo": 0,
        "transactionInfo": {"transactionId": transaction, **info},
    }
    if values:
        payload["meterValue"] = list(values)
    if evse is not None:
        payload["evse"] = evse
    return [2, f"{transaction}-{kind}-{minutes}", "TransactionEvent", payload]


def register201(value: float, unit: str = "Wh", **unit_of_measure: object) -> dict[str, Any]:
    return {
        "value": value,
        "measurand": "Energy.Active.Import.Register",
        "unitOfMeasure": {"unit": unit, **unit_of_measure},
    }
