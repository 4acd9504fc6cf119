"""The examples of the API document, as the reference gives them (values are illustrations)."""

from typing import Any, Final

Example = dict[str, Any]


def _reading(time: str, value: float) -> Example:
    return {
        "timestamp": f"2026-02-27T{time}:00Z",
        "measurand": "Energy.Active.Import.Register",
        "unit": "kWh",
        "value": value,
    }


_READINGS: Final = [_reading("10:00", 0.0), _reading("10:15", 5.5), _reading("10:30", 11.1)]
_ANOMALY: Final[Example] = {
    "category": "KWH_DECREASE",
    "score": 0.87,
    "confidence": 0.92,
    "bucket_range": {"start_unit": 4, "end_unit": 7},
    "time_range": {"start_timestamp": "2026-02-27T11:00:00Z", "end_timestamp": "2026-02-27T11:45:00Z"},
    "severity": "critical",
    "concern": "billing",
    "evidence": [
        {
            "what": "register before the fall",
            "unit": "kWh",
            "observed": 22.4,
            "timestamp": "2026-02-27T11:00:00Z",
        }
    ],
}
_STATE: Final[Example] = {
    "session_id": "sess-abc-001",
    "status": "active",
    "is_anomaly": True,
    "anomaly_score": 0.87,
    "anomaly_confidence": 0.92,
    "is_incident": False,
    "is_recurring": True,
    "anomalies": [_ANOMALY],
    "analyzed_at": "2026-02-27T10:31:02Z",
    "version": 3,
    "analyzed_version": 3,
    "was_anomalous": True,
    "past_anomalies": [],
    "data_quality": [],
    "sequence_length": 8,
    "energy_kwh": 33.1,
    "energy_source": "register",
    "energy_disputed_kwh": 0.0,
    "confidence_basis": "simulated",
    "model_id": "model-csar2-base",
    "model_version": "0.2.0",
}
_NORMAL: Final[Example] = _STATE | {
    "is_anomaly": False,
    "anomaly_score": 0.05,
    "anomaly_confidence": 0.95,
    "is_recurring": False,
    "anomalies": [],
    "was_anomalous": False,
    "sequence_length": 3,
    "energy_kwh": 11.1,
}

CREATE_REQUEST: Final[dict[str, Example]] = {
    "three readings": {
        "session_id": "sess-abc-001",
        "charging_station_id": "CP-NL-AMS-0042",
        "connector_id": "1",
        "meter_values": _READINGS,
    }
}
REPLACE_REQUEST: Final[dict[str, Example]] = {"three readings": {"meter_values": _READINGS}}
UPDATE_REQUEST: Final[dict[str, Example]] = {"one more reading": {"meter_values": [_reading("10:45", 16.5)]}}
STATE_ANOMALOUS: Final[dict[str, Example]] = {"anomalous": _STATE}
STATE_NORMAL: Final[dict[str, Example]] = {"normal": _NORMAL}
PAGE: Final[dict[str, Example]] = {
    "one page": {
        "items": [
            {
                "session_id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
                "external_session_id": "sess-abc-001",
                "charging_station_id": "CP-NL-AMS-0042",
                "evse_id": None,
                "connector_id": "1",
                "is_anomaly": True,
                "anomaly_score": 0.85,
                "anomaly_confidence": 0.92,
                "anomaly_count": 2,
                "categories": ["KWH_DECREASE"],
                "was_anomalous": True,
                "status": "active",
                "started_at": "2026-02-27T10:00:00Z",
                "created_at": "2026-02-27T10:00:00Z",
                "last_analyzed_at": "2026-02-27T10:31:02Z",
            }
        ],
        "total": 1250,
        "page": 1,
        "page_size": 20,
        "next_cursor": "ks8ABc4W...",
    }
}
DETAIL: Final[dict[str, Example]] = {
    "with readings": _NORMAL
    | {
        "charging_station_id": "CP-NL-AMS-0042",
        "evse_id": None,
        "connector_id": "1",
        "started_at": None,
        "ended_at": None,
        "stop_reason": None,
        "managed": None,
        "metadata": {},
        "meter_values": [
            r | {"phase": None, "location": "Outlet", "context": "Sample.Periodic", "format": "Raw"}
            for r in _READINGS
        ],
        "created_at": "2026-02-27T09:58:00Z",
        "updated_at": "2026-02-27T10:31:02Z",
    }
}
