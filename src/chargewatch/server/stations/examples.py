"""The examples of the API document, as the reference gives them."""

from typing import Any, Final

Example = dict[str, Any]

PAGE: Final[Example] = {
    "page": {
        "items": [
            {
                "charging_station_id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
                "external_station_id": "ST-NL-AMS-01",
                "total_sessions": 142,
                "anomalous_sessions": 7,
                "max_anomaly_score": 0.91,
                "last_anomaly_at": "2026-02-27T09:45:00Z",
            }
        ],
        "total": 12,
        "page": 1,
        "page_size": 20,
    }
}
DETAIL: Final[Example] = {
    "station": {
        "charging_station_id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
        "external_station_id": "ST-NL-AMS-01",
        "connectors": [
            {"evse_id": None, "connector_id": "1", "total_sessions": 80, "anomalous_sessions": 3},
            {"evse_id": None, "connector_id": "2", "total_sessions": 62, "anomalous_sessions": 4},
        ],
        "total_sessions": 142,
        "anomalous_sessions": 7,
        "metadata": {"address": "Keizersgracht 100, Amsterdam", "operator": "FastNed"},
    }
}
CONNECTORS: Final[Example] = {
    "connectors": {
        "charging_station_id": "ST-NL-AMS-01",
        "connectors": [
            {
                "evse_id": None,
                "connector_id": "1",
                "total_sessions": 80,
                "anomalous_sessions": 3,
                "anomaly_categories": {"ENERGY_PIT": 1, "KWH_DECREASE": 2},
            },
            {
                "evse_id": None,
                "connector_id": "2",
                "total_sessions": 62,
                "anomalous_sessions": 4,
                "anomaly_categories": {"CHARGING_EXPECTED": 1, "ZERO_SESSION": 3},
            },
        ],
    }
}
STATISTICS: Final[Example] = {
    "statistics": {
        "total_sessions": 1250,
        "anomalous_sessions": 47,
        "total_stations": 12,
        "stations_with_anomalies": 4,
        "anomaly_rate": 0.0376,
    }
}
