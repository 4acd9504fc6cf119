"""Examples for the OpenAPI document."""

from typing import Any, Final

CHANGE: Final[dict[str, Any]] = {
    "a deeper pit only, and the default again": {"thresholds": {"pit_depth": 0.2, "pit_shortest_s": None}}
}

ANSWER: Final[dict[str, Any]] = {
    "one limit of many": {
        "version": 2,
        "updated_at": "2026-02-27T11:00:00Z",
        "thresholds": [
            {
                "name": "pit_depth",
                "value": 0.2,
                "default": 0.25,
                "minimum": 0.05,
                "maximum": 0.4,
                "unit": "share",
                "category": "ENERGY_PIT",
                "relaxed_by": "lowering",
                "meaning": "Power in a pit is at most this share of the level around it.",
            }
        ],
    }
}
