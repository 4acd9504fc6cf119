"""The examples of the API document for OCPP frames."""

from typing import Any, Final

from chargewatch.server.sessions.examples import STATE_NORMAL

_START: Final = {
    "connectorId": 1,
    "idTag": "TAG",
    "meterStart": 154110,
    "timestamp": "2026-02-27T10:00:00Z",
}
_METER_VALUES: Final = {
    "connectorId": 1,
    "transactionId": 17,
    "meterValue": [
        {
            "timestamp": "2026-02-27T10:15:00Z",
            "sampledValue": [{"value": "159610", "measurand": "Energy.Active.Import.Register", "unit": "Wh"}],
        }
    ],
}
REQUEST: Final[dict[str, Any]] = {
    "a transaction begins": [
        [2, "m1", "StartTransaction", _START],
        [3, "m1", {"transactionId": 17, "idTagInfo": {"status": "Accepted"}}],
        [2, "m2", "MeterValues", _METER_VALUES],
    ]
}
_RESULT: Final[dict[str, Any]] = {
    "index": 0,
    "message_id": "m1",
    "action": "StartTransaction",
    "result": "accepted",
    "reason": "the session begins with the answer that names its transactionId",
    "code": None,
    "pointer": None,
    "sessions": [],
}
_TAKEN: Final[dict[str, Any]] = _RESULT | {"reason": None, "sessions": ["CP-1:17"]}
ANSWER: Final[dict[str, Any]] = {
    "all accepted": {
        "accepted": 3,
        "ignored": 0,
        "refused": 0,
        "messages": [
            _RESULT,
            _TAKEN | {"index": 1, "action": None},
            _TAKEN | {"index": 2, "message_id": "m2", "action": "MeterValues"},
        ],
        "sessions": [STATE_NORMAL["normal"] | {"session_id": "CP-1:17"}],
    }
}
