"""The examples of the API document, as the reference gives them (values are illustrations)."""

from typing import Any, Final

Example = dict[str, Any]


def _session(number: int, hour: int, register: tuple[float, ...]) -> Example:
    return {
        "session_id": f"sess-00{number}",
        "charging_point_id": f"CP-00{number}",
        "meter_values": [
            {"timestamp": f"2026-02-27T{hour}:{15 * step:02}:00Z", "unit": "kwh", "value": value}
            for step, value in enumerate(register)
        ],
    }


REQUEST: Final[Example] = {
    "two sessions": {"sessions": [_session(1, 10, (0.0, 5.5, 11.1)), _session(2, 11, (0.0, 7.2, 14.8))]}
}
_ID: Final = "batch-a1b2c3d40e5f4a6b8c7d9e0f1a2b3c4d"
ACCEPTED: Final[Example] = {"accepted": {"batch_id": _ID, "total_sessions": 2, "status": "pending"}}
STATUS: Final[Example] = {
    "completed": {
        "batch_id": _ID,
        "status": "completed",
        "total_sessions": 2,
        "processed_sessions": 1,
        "failed_sessions": 1,
        "results": [
            {
                "session_id": "sess-001",
                "position": 0,
                "status": "active",
                "is_anomaly": False,
                "anomaly_score": 0.12,
                "anomaly_confidence": 0.93,
                "sequence_length": 9,
                "anomalies": [],
                "version": 1,
                "error": None,
            },
            {
                "session_id": "sess-002",
                "position": 1,
                "status": "failed",
                "is_anomaly": None,
                "anomaly_score": None,
                "anomaly_confidence": None,
                "sequence_length": None,
                "anomalies": [],
                "version": None,
                "error": {
                    "code": "validation_error",
                    "detail": "charging_station_id: is required",
                    "errors": [
                        {
                            "loc": ["charging_station_id"],
                            "pointer": "/charging_station_id",
                            "msg": "is required",
                            "type": "missing",
                        }
                    ],
                },
            },
        ],
        "created_at": "2026-02-27T10:00:00Z",
        "completed_at": "2026-02-27T10:02:15Z",
    }
}
