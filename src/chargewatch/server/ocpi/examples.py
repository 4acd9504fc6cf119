"""The examples of the API document for OCPI Session objects."""

from typing import Any, Final

_SESSION: Final[dict[str, Any]] = {
    "country_code": "NL",
    "party_id": "ABC",
    "id": "sess-abc-001",
    "start_date_time": "2026-02-27T10:00:00Z",
    "kwh": 5.5,
    "location_id": "LOC1",
    "evse_uid": "3256",
    "connector_id": "1",
    "charging_periods": [
        {"start_date_time": "2026-02-27T10:00:00Z", "dimensions": [{"type": "ENERGY", "volume": 5.5}]}
    ],
    "status": "ACTIVE",
    "last_updated": "2026-02-27T10:15:00Z",
}
PUT_REQUEST: Final[dict[str, Any]] = {"a session under way": _SESSION}
PATCH_REQUEST: Final[dict[str, Any]] = {
    "more energy": {"kwh": 11.1, "status": "ACTIVE", "last_updated": "2026-02-27T10:30:00Z"}
}
