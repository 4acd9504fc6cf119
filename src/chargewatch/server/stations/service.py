"""What is known of stations: their connectors and how many of their sessions are anomalous, exact at the moment."""

from itertools import groupby
from uuid import UUID

import msgspec

from chargewatch.server.db.connection import Connection, Row
from chargewatch.server.db.engine import Database
from chargewatch.server.stations import repository
from chargewatch.server.stations.schemas import (
    ConnectorCategories,
    ConnectorCounts,
    StationConnectors,
    StationDetail,
    StationItem,
    StationPage,
    Statistics,
)

UNSPECIFIED = "unspecified"


class StationNotFound(Exception):
    """The tenant has no station of that id."""


class StationService:
    """The calls on stations of any tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, tenant_id: UUID, page: int, page_size: int) -> StationPage:
        """Returns one page of the stations."""
        async with self._database.tenant_transaction(tenant_id, reads=True) as connection:
            total = await repository.count_stations(connection, tenant_id)
            rows = await repository.list_stations(connection, tenant_id, page_size, (page - 1) * page_size)
        return StationPage(items=[_item(row) for row in rows], total=total, page=page, page_size=page_size)

    async def detail(self, tenant_id: UUID, station: str) -> StationDetail:
        """Returns a station.

        Raises:
            StationNotFound: no such station.
        """
        async with self._database.tenant_transaction(tenant_id, reads=True) as connection:
            found = await _find(connection, tenant_id, station)
            connectors = await _connectors(connection, tenant_id, found["station_id"])
        return StationDetail(
            charging_station_id=str(found["station_id"]),
            external_station_id=found["external_id"],
            connectors=[
                ConnectorCounts(
                    evse_id=one.evse_id,
                    connector_id=one.connector_id,
                    total_sessions=one.total_sessions,
                    anomalous_sessions=one.anomalous_sessions,
                )
                for one in connectors
            ],
            total_sessions=sum(one.total_sessions for one in connectors),
            anomalous_sessions=sum(one.anomalous_sessions for one in connectors),
            metadata=msgspec.Raw(found["metadata"].encode()),
        )

    async def connectors(self, tenant_id: UUID, station: str) -> StationConnectors:
        """Returns a station's connectors with what was found at each.

        Raises:
            StationNotFound: no such station.
        """
        async with self._database.tenant_transaction(tenant_id, reads=True) as connection:
            found = await _find(connection, tenant_id, station)
            connectors = await _connectors(connection, tenant_id, found["station_id"])
        return StationConnectors(charging_station_id=found["external_id"], connectors=connectors)

    async def statistics(self, tenant_id: UUID) -> Statistics:
        """Returns the tenant's totals."""
        async with self._database.tenant_transaction(tenant_id, reads=True) as connection:
            found = await repository.statistics(connection, tenant_id)
        total, anomalous = found["total_sessions"], found["anomalous_sessions"]
        return Statistics(
            total_sessions=total,
            anomalous_sessions=anomalous,
            total_stations=found["total_stations"],
            stations_with_anomalies=found["stations_with_anomalies"],
            anomaly_rate=round(anomalous / total, 4) if total else 0.0,
        )


async def _find(connection: Connection, tenant_id: UUID, station: str) -> Row:
    found = await repository.find_station(connection, tenant_id, station)
    if found is None:
        raise StationNotFound
    return found


async def _connectors(connection: Connection, tenant_id: UUID, station_id: UUID) -> list[ConnectorCategories]:
    rows = await repository.connector_counts(connection, tenant_id, station_id)
    return [
        _connector(evse_id, connector_id, {row["what"]: row["amount"] for row in group})
        for (evse_id, connector_id), group in groupby(
            rows, key=lambda row: (row["evse_id"], row["connector_id"])
        )
    ]


def _connector(evse_id: str, connector_id: str, counts: dict[str, int]) -> ConnectorCategories:
    return ConnectorCategories(
        evse_id=evse_id or None,
        connector_id=connector_id or UNSPECIFIED,
        total_sessions=counts.pop("sessions", 0),
        anomalous_sessions=counts.pop("anomalous", 0),
        anomaly_categories=counts,
    )


def _item(row: Row) -> StationItem:
    return StationItem(
        charging_station_id=str(row["station_id"]),
        external_station_id=row["external_id"],
        total_sessions=row["total_sessions"],
        anomalous_sessions=row["anomalous_sessions"],
        max_anomaly_score=row["max_anomaly_score"] or 0.0,
        last_anomaly_at=row["last_anomaly_at"],
    )
