"""What can be wrong with a station over days, in order of precedence. Definitions: ``docs/categories.md``."""

from enum import StrEnum


class StationAnomaly(StrEnum):
    """What is wrong with a station. The order is the precedence: of one cause only the first is reported."""

    SITE_DROP = "site_drop"
    STATION_SILENT = "station_silent"
    CONNECTOR_SILENT = "connector_silent"
    SESSION_COUNT_DROP = "session_count_drop"
    ZERO_SESSION_SURGE = "zero_session_surge"
    POWER_DERATE = "power_derate"
    METER_DRIFT = "meter_drift"
    ENERGY_DROP = "energy_drop"


class StationState(StrEnum):
    """Whether a station can be judged yet."""

    LEARNING = "learning"
    WATCHING = "watching"
