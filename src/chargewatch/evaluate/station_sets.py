"""Sessions of real networks for the back-test of the station detector. The data is no part of the project.

What is known of each set's clock is in its publisher's notes: some publish local times as if they were UTC.
"""

import os
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chargewatch.simulate.station_fleet import Floats, Integers, StationSessions

VARIABLE: Final = "CHARGEWATCH_EVAL_DATA"
FILE: Final = "sessions_real.parquet"
_BEFORE_PANDEMIC_S: Final = 1_583_020_800.0  # 2020-03-01


class RealSet(NamedTuple):
    """A network: its name in the file, the zone in which its times are to be read, and what a station is.

    ``until_s``: later sessions are left out (traffic collapsed in March 2020).
    """

    dataset: str
    timezone: str
    country: str
    station_column: str
    until_s: float


#: The sets that are reported on. Norway publishes a pseudonym of the user as station, so a site is one.
REPORTED: Final = (
    RealSet("perth_kinross", "Europe/London", "GB", "station_id", np.inf),
    RealSet("acn_sessions", "America/Los_Angeles", "US", "station_id", _BEFORE_PANDEMIC_S),
    RealSet("boulder", "UTC", "US", "station_id", _BEFORE_PANDEMIC_S),
    RealSet("norway_trondheim", "UTC", "NO", "site", np.inf),
)


def station_data() -> Path | None:
    """Returns the file of real sessions; None when the variable is not set or the file is not there."""
    folder = os.environ.get(VARIABLE)
    file = Path(folder) / FILE if folder else None
    return file if file is not None and file.is_file() else None


def read_set(file: Path, wanted: RealSet) -> StationSessions:
    """Returns the sessions of a network, in order of their ends; those without any time are left out."""
    columns = ["station_id", "connector_id", "site", "start", "end", "total_energy_kwh", "power_max_kw"]
    table = pq.read_table(file, filters=[("dataset", "=", wanted.dataset)], columns=columns)
    by_site = wanted.station_column == "site"
    site_names = _texts(table, "site", "")
    names = _texts(table, wanted.station_column, "unknown")
    connector_ids = ["1"] * table.num_rows if by_site else _texts(table, "connector_id", "1")
    stations, station = _numbered(names)
    keys = [f"{name}\0{connector}" for name, connector in zip(names, connector_ids, strict=True)]
    connectors, connector = _numbered(keys)
    owner = {name: number for number, name in enumerate(stations)}
    sites = dict(zip(names, site_names, strict=True))
    sessions = StationSessions(
        station,
        connector,
        _seconds(table, "start"),
        _seconds(table, "end"),
        table.column("total_energy_kwh").to_numpy().astype(np.float64),
        table.column("power_max_kw").to_numpy().astype(np.float64),
        np.full(table.num_rows, np.nan),
        tuple(stations),
        tuple("" if by_site else sites[name] for name in stations),
        np.array([owner[key.split("\0")[0]] for key in connectors], np.int64),
        wanted.timezone,
        wanted.country,
    )
    instants = np.where(np.isnan(sessions.end_s), sessions.start_s, sessions.end_s)
    order = np.argsort(instants, kind="stable")
    usable = (instants < wanted.until_s) & ~(sessions.start_s >= wanted.until_s)  # false without any time
    return sessions.rows(order[usable[order]])


def _texts(table: pa.Table, column: str, missing: str) -> list[str]:
    return [missing if value is None else str(value) for value in table.column(column).to_pylist()]


def _numbered(texts: list[str]) -> tuple[list[str], Integers]:
    """Returns the distinct texts in order, and the number of each row's."""
    distinct = sorted(set(texts))
    place = {text: number for number, text in enumerate(distinct)}
    return distinct, np.array([place[text] for text in texts], np.int64)


def _seconds(table: pa.Table, column: str) -> Floats:
    times = table.column(column).to_numpy().astype("datetime64[ms]")
    return np.where(np.isnat(times), np.nan, times.astype(np.int64) / 1_000.0)
