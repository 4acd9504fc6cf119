"""The HTTP calls on stations and statistics (API reference, ``/v1/stations`` and ``/v1/statistics``)."""

from typing import Any, Final

from litestar import Router, get
from litestar.params import FromPath
from litestar.types import ASGIApp

from chargewatch.server.platform.http import ApiRequest, json_response, read_query
from chargewatch.server.platform.openapi import Operation
from chargewatch.server.platform.problems import Problem, ProblemTable, not_found
from chargewatch.server.stations import examples
from chargewatch.server.stations.schemas import (
    StationConnectors,
    StationDetail,
    StationListQuery,
    StationPage,
    Statistics,
)
from chargewatch.server.stations.service import StationNotFound
from chargewatch.server.wiring import services


def _not_found(_: StationNotFound) -> Problem:
    return not_found("There is no such station.", "station_not_found")


PROBLEMS: Final[ProblemTable] = {StationNotFound: _not_found}
_STATION_ID: Final = {"charging_station_id": "The station's own id, else its internal UUID; percent-encoded."}


def _opt(operation: Operation) -> dict[str, Any]:
    return {"scope": "read", "operation": operation, "problems": PROBLEMS}


@get(
    "/",
    opt=_opt(
        Operation(
            summary="List Stations",
            description=(
                "Lists stations with the counts of their sessions, ordered by external_station_id. "
                "charging_station_id is the internal id."
            ),
            tag="Stations",
            query=StationListQuery,
            response=StationPage,
            response_examples=examples.PAGE,
        )
    ),
)
async def list_stations(request: ApiRequest) -> ASGIApp:
    """Lists stations."""
    query = read_query(request, StationListQuery)
    page = await services(request).stations.page(request.auth.tenant_id, query.page, query.page_size)
    return json_response(page)


@get(
    "/{charging_station_id:str}",
    opt=_opt(
        Operation(
            summary="Get Station Detail",
            description="Returns a station with its connectors and how many of their sessions are anomalous.",
            tag="Stations",
            response=StationDetail,
            response_examples=examples.DETAIL,
            path=_STATION_ID,
            errors=(404,),
        )
    ),
)
async def get_station(request: ApiRequest, charging_station_id: FromPath[str]) -> ASGIApp:
    """Returns a station."""
    stations = services(request).stations
    return json_response(await stations.detail(request.auth.tenant_id, charging_station_id))


@get(
    "/{charging_station_id:str}/connectors",
    opt=_opt(
        Operation(
            summary="Get Station Connectors",
            description="Returns a station's connectors with the number of sessions in which each category was found.",
            tag="Stations",
            response=StationConnectors,
            response_examples=examples.CONNECTORS,
            path=_STATION_ID,
            errors=(404,),
        )
    ),
)
async def get_station_connectors(request: ApiRequest, charging_station_id: FromPath[str]) -> ASGIApp:
    """Returns a station's connectors."""
    stations = services(request).stations
    return json_response(await stations.connectors(request.auth.tenant_id, charging_station_id))


@get(
    "/v1/statistics",
    opt=_opt(
        Operation(
            summary="Get Statistics",
            description="Returns the totals of the tenant, exact at the moment of reading.",
            tag="Statistics",
            response=Statistics,
            response_examples=examples.STATISTICS,
        )
    ),
)
async def get_statistics(request: ApiRequest) -> ASGIApp:
    """Returns the tenant's totals."""
    return json_response(await services(request).stations.statistics(request.auth.tenant_id))


stations_router: Final = Router(
    path="/v1/stations", route_handlers=[list_stations, get_station, get_station_connectors]
)
statistics_router: Final = Router(path="/", route_handlers=[get_statistics])
