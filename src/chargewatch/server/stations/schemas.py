"""What goes in and out of the calls on stations and statistics. Names and types: the API reference."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

RawObject = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]


class StationListQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Query of GET /v1/stations."""

    page: Annotated[int, Meta(ge=1, le=10_000_000)] = 1
    page_size: Annotated[int, Meta(ge=1, le=100)] = 20


class StationItem(msgspec.Struct, kw_only=True):
    """One row of GET /v1/stations; ``charging_station_id`` is the internal UUID."""

    charging_station_id: str
    external_station_id: str
    total_sessions: int
    anomalous_sessions: int
    max_anomaly_score: float
    last_anomaly_at: datetime | None


class StationPage(msgspec.Struct, kw_only=True):
    """Answer of GET /v1/stations, ordered by the client's own ids."""

    items: list[StationItem]
    total: int
    page: int
    page_size: int


class ConnectorCounts(msgspec.Struct, kw_only=True):
    """A connector of a station; ``unspecified`` where sessions name none."""

    evse_id: str | None
    connector_id: str
    total_sessions: int
    anomalous_sessions: int


class StationDetail(msgspec.Struct, kw_only=True):
    """Answer of GET /v1/stations/{charging_station_id}; ``charging_station_id`` is the internal UUID."""

    charging_station_id: str
    external_station_id: str
    connectors: list[ConnectorCounts]
    total_sessions: int
    anomalous_sessions: int
    metadata: RawObject


class ConnectorCategories(ConnectorCounts, kw_only=True):
    """A connector with the number of its sessions in which each category was found."""

    anomaly_categories: dict[str, int]


class StationConnectors(msgspec.Struct, kw_only=True):
    """Answer of GET /v1/stations/{charging_station_id}/connectors; the id is the client's own."""

    charging_station_id: str
    connectors: list[ConnectorCategories]


class Statistics(msgspec.Struct, kw_only=True):
    """Answer of GET /v1/statistics. ``anomaly_rate`` is anomalous / total sessions, to four places."""

    total_sessions: int
    anomalous_sessions: int
    total_stations: int
    stations_with_anomalies: int
    anomaly_rate: float
