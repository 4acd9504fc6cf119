"""I3: each figure that the service keeps beside the same figure recomputed from the sessions themselves."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

from chargewatch.server.db.engine import Database
from chargewatch.server.housekeeping.repository import all_tenants
from chargewatch.server.verification.service import verify
from tests.faults.history import Summary
from tests.faults.recorder import Reader, path_of
from tests.faults.service import Service

PAGE = 100


async def summaries(service: Service, reader: Reader) -> tuple[Summary, ...]:
    """Compares statistics, stations and the session list, and all that ``chargewatch verify`` looks at."""
    found: list[Summary] = []
    for tenant in reader.tenants:
        get = partial(_get, reader, tenant.name)
        listed = [item async for item in _pages(get, "/v1/sessions?status=all&")]
        stations = [item async for item in _pages(get, "/v1/stations?")]
        found += _compare(tenant.name, listed, stations, await get("/v1/statistics"))
        for item in listed[:PAGE]:
            found.append(_as_listed(tenant.name, item, await get(path_of(item["external_session_id"]))))
    return (*found, *await _verified(service))


async def _get(reader: Reader, tenant: str, path: str) -> Any:
    return (await reader.get(tenant, path)).json()


def _as_listed(tenant: str, item: dict[str, Any], detail: dict[str, Any]) -> Summary:
    """A row of the list beside the session itself; they name their ids and their begin differently."""
    shared = item.keys() & detail.keys() - {"session_id", "started_at"}
    name = f"{tenant}: {item['external_session_id']} in the list"
    other = sorted(field for field in shared if item[field] != detail[field])
    return Summary(name, {field: item[field] for field in other}, {field: detail[field] for field in other})


async def _pages(get: Callable[[str], Awaitable[Any]], path: str) -> AsyncIterator[dict[str, Any]]:
    page = 0
    while page * PAGE < (answer := await get(f"{path}page={page + 1}&page_size={PAGE}"))["total"]:
        for item in answer["items"]:
            yield item
        page += 1


def _compare(
    tenant: str, listed: list[dict[str, Any]], stations: list[dict[str, Any]], statistics: dict[str, Any]
) -> list[Summary]:
    total, anomalous = _counts(listed)
    by_station = {station["external_station_id"]: station for station in stations}
    found = [
        Summary(f"{tenant}: sessions listed once", len(listed), len({i["session_id"] for i in listed})),
        Summary(f"{tenant}: total_sessions", statistics["total_sessions"], sum(total.values())),
        Summary(f"{tenant}: anomalous_sessions", statistics["anomalous_sessions"], sum(anomalous.values())),
        Summary(f"{tenant}: total_stations", statistics["total_stations"], len(by_station)),
        Summary(
            f"{tenant}: stations_with_anomalies",
            statistics["stations_with_anomalies"],
            sum(count > 0 for count in anomalous.values()),
        ),
    ]
    for name, station in by_station.items():
        kept = station["total_sessions"], station["anomalous_sessions"]
        found.append(Summary(f"{tenant}: sessions of {name}", kept, (total[name], anomalous[name])))
    return found


def _counts(listed: list[dict[str, Any]]) -> tuple[Counter[str], Counter[str]]:
    """Sessions and anomalous sessions of each station."""
    total = Counter(item["charging_station_id"] for item in listed)
    return total, Counter(item["charging_station_id"] for item in listed if item["is_anomaly"])


async def _verified(service: Service) -> list[Summary]:
    database = await Database.open(service.settings, service.address())
    try:
        result = await verify(database, await all_tenants(database))
    finally:
        await database.close()
    return [
        Summary(f"{one.where} of {one.tenant_id}: {one.what}", one.stored, one.recomputed)
        for one in result.differences
    ] + [Summary("tenants verified", result.tenants, 2)]
