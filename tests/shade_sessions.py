"""Small tables of sessions for the tests of the station detector."""

import numpy as np

from chargewatch.shade.sessions import Connector, Sessions, Station, rows_of
from chargewatch.simulate.station_fleet import StationSessions

DAY_S = 86_400.0


def as_sessions(fleet: StationSessions) -> Sessions:
    """Returns simulated sessions as the detector takes them."""
    return Sessions(
        fleet.station,
        fleet.connector,
        fleet.start_s,
        fleet.end_s,
        fleet.energy_kwh,
        fleet.power_kw,
        fleet.reference_kwh,
        np.zeros(fleet.size, np.bool_),
        tuple(
            Station(name, site, fleet.timezone, fleet.country)
            for name, site in zip(fleet.station_ids, fleet.sites, strict=True)
        ),
        tuple(Connector(int(owner), str(number)) for number, owner in enumerate(fleet.connector_station)),
    )


def steady(
    stations: int, days: int, a_day: int = 3, energy_kwh: float = 10.0, seed: int = 0, site: str = ""
) -> Sessions:
    """Returns a fleet where chance decides little: so many sessions a day, each of about one energy, from 1970 on."""
    rng = np.random.default_rng(seed)
    station = np.repeat(np.arange(stations), days * a_day)
    day = np.tile(np.repeat(np.arange(days), a_day), stations)
    start = (day + rng.uniform(0.2, 0.8, len(day))) * DAY_S
    energy = energy_kwh * rng.uniform(0.7, 1.3, len(day))
    nothing = np.full(len(day), np.nan)
    connector = 2 * station + rng.integers(0, 2, len(day))
    table = Sessions(
        station,
        connector,
        start,
        start + 3_600.0,
        energy,
        energy.copy(),
        nothing,
        np.zeros(len(day), np.bool_),
        tuple(Station(f"s{number:03d}", site) for number in range(stations)),
        tuple(Connector(number // 2, str(number % 2 + 1)) for number in range(2 * stations)),
    )
    return rows_of(table, np.argsort(table.end_s, kind="stable"))
