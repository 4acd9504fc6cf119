"""The calls on stations and totals (API reference, ``/v1/stations`` and ``/v1/statistics``)."""

from chargewatch.client.answers import StationConnectors, StationDetail, StationPage, Statistics
from chargewatch.client.bodies import StationQuery
from chargewatch.client.calls import Call, listing, reader, segment

_detail = reader(StationDetail)
_connectors = reader(StationConnectors)
_statistics = reader(Statistics)

list_stations = listing("/v1/stations", StationQuery, StationPage)


def get_station(charging_station_id: str) -> Call[StationDetail]:
    """Returns a station with its connectors and how many of their sessions are anomalous.

    Args:
        charging_station_id: your own id, or the internal one of the list.
    """
    return Call(method="GET", path=_path(charging_station_id), read=_detail)


def get_station_connectors(charging_station_id: str) -> Call[StationConnectors]:
    """Returns a station's connectors with the number of sessions in which each category was found."""
    return Call(method="GET", path=f"{_path(charging_station_id)}/connectors", read=_connectors)


def get_statistics() -> Call[Statistics]:
    """Returns the tenant's totals."""
    return Call(method="GET", path="/v1/statistics", read=_statistics)


def _path(charging_station_id: str) -> str:
    return f"/v1/stations/{segment('charging_station_id', charging_station_id)}"
