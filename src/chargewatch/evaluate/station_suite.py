"""``evaluate --suite shade``: the back-test of the station detector on real networks and on a simulated fleet."""

from typing import Final

from chargewatch.evaluate.station_backtest import SetResult, Told, run_set
from chargewatch.evaluate.station_peers import FITTED, SIMPLE, Forecaster
from chargewatch.evaluate.station_report import StationReport
from chargewatch.evaluate.station_sets import FILE, REPORTED, VARIABLE, read_set, station_data
from chargewatch.simulate.station_fleet import simulate_stations

#: Stations, days, and sessions a day (None: as it comes) of the simulated fleets; their seeds are nobody else's.
_SIMULATED: Final = (("simulated, any volume", 200, 400, None), ("simulated, 4 a day", 100, 300, 4.0))
_SEED_OFFSET: Final = 50_000


def run_station_suite(seed: int, scale: float, fitted: bool, told: Told = lambda *_: None) -> StationReport:
    """Runs the back-test.

    Args:
        seed: another one is another simulated fleet, and other faults.
        scale: of the number of simulated stations.
        fitted: whether to compare with MSTL and AutoETS as well (extra ``peers``; minutes).
        told: is told what is going on.
    """
    peers: dict[str, Forecaster] = SIMPLE | FITTED if fitted else SIMPLE
    sets: list[SetResult] = []
    file = station_data()
    if file is not None:
        sets += [run_set(wanted.dataset, read_set(file, wanted), seed, peers, told) for wanted in REPORTED]
    for name, stations, days, volume in _SIMULATED:
        fleet = simulate_stations(max(round(stations * scale), 12), days, _SEED_OFFSET + seed, volume)
        told(f"{name}: simulated", fleet.size)
        sets.append(run_set(name, fleet, seed, peers, told))
    return StationReport(seed, tuple(sets))


def why_no_real_sets() -> str | None:
    """Returns a line on what is missing when there is no real data; None when it is there."""
    return None if station_data() is not None else f"{VARIABLE} names no folder with {FILE}"
