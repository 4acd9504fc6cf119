"""SHADE over sessions of many time zones: each zone is a fleet of its own."""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np

from chargewatch.domain.thresholds import DEFAULT_SHADE_THRESHOLDS, ShadeThresholds
from chargewatch.shade.arrays import Integers
from chargewatch.shade.days import day_line, station_days
from chargewatch.shade.detect import Replay, replay
from chargewatch.shade.local_days import DAY_S, local_seconds, zone_of
from chargewatch.shade.sessions import Sessions, repaired, rows_of

#: Times before this are those of clocks that were never set: 2000-01-02, as the contract has it.
CLOCKS_FROM_S: Final = 10_958 * DAY_S


class ZoneReplay(NamedTuple):
    """The verdicts on the stations of one time zone; ``stations`` are their numbers in the whole table."""

    stations: Integers
    replay: Replay


def replay_all(
    sessions: Sessions,
    last_day: int | None = None,
    latest_s: float = np.inf,
    thresholds: ShadeThresholds = DEFAULT_SHADE_THRESHOLDS,
    told: Callable[[int], None] | None = None,
) -> Iterator[ZoneReplay]:
    """Judges every day from the first session of each time zone to a last day.

    Args:
        sessions: as they came; impossible values become unknown, times of clocks that were never set are left out.
        last_day: a day number; default: the local day of the last session.
        latest_s: sessions that ended (began, where no end is known) after this are left out; seconds since 1970.
        thresholds: the limits.
        told: is told the number of days done in a zone.
    """
    usable = repaired(sessions)
    instants = np.where(np.isnan(usable.end_s), usable.start_s, usable.end_s)
    usable = rows_of(usable, (instants >= CLOCKS_FROM_S) & (instants <= latest_s))
    zones = np.array([station.timezone for station in usable.stations])
    for zone in sorted(set(zones.tolist())):
        stations = np.flatnonzero(zones == zone)
        line = day_line(usable.of_stations(stations), zone_of(str(zone)))
        if not line.sessions.size:
            continue
        last = int(line.day[-1]) if last_day is None else last_day
        first = int(line.day[0])
        if first <= last:
            yield ZoneReplay(stations, replay(station_days(line, first, last), thresholds, told))


def last_local_day(sessions: Sessions, latest_s: float = np.inf) -> int:
    """Returns the latest local day on which a session counts, over all time zones.

    Args:
        sessions: as they came; at least one of them.
        latest_s: sessions that ended (began, where no end is known) after this are left out; seconds since 1970.
    """
    usable = repaired(sessions)
    instants = np.where(np.isnan(usable.end_s), usable.start_s, usable.end_s)
    instants = np.where(instants <= latest_s, instants, -np.inf)
    latest: dict[str, float] = {}
    for number in np.unique(usable.station):
        zone = usable.stations[int(number)].timezone
        latest[zone] = -np.inf
    zones = np.array([station.timezone for station in usable.stations])[usable.station]
    for name in latest:
        latest[name] = float(instants[zones == name].max(initial=-np.inf))
    days = [
        int(local_seconds(np.array([instant]), zone_of(name))[0] // DAY_S)
        for name, instant in latest.items()
        if np.isfinite(instant)
    ]
    return max(days, default=0)
