"""From sessions to station-days: everything SHADE knows of a day, as arrays of days × stations.

A session counts on the local day of its end; on that of its start where no end is known.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from chargewatch.shade.arrays import Flags, Floats, Integers, Singles
from chargewatch.shade.local_days import DAY_S, holidays_between, local_seconds
from chargewatch.shade.sessions import Connector, Sessions, Station, rows_of

#: Sessions shorter than this have no mean power worth the name (hours).
SHORTEST_POWER_H: Final = 0.05
_HOUR_S: Final = 3_600


class DayLine(NamedTuple):
    """The sessions of the stations of one time zone, each with its local day; ordered by day.

    ``day`` is a day number (`local_days`), ``second`` the second of the local day at which it ended (else began).
    """

    sessions: Sessions
    day: Integers
    second: Integers


class StationDays(NamedTuple):
    """What happened on each day (rows, from ``first_day`` on) at each station (columns).

    Args:
        sessions: how many sessions ended.
        measured: of these, with a known energy.
        zero: of these, below 0.1 kWh.
        energy_kwh: delivered by sessions that were no zero sessions.
        energy_squares: the sum of their squares, in kWh².
        zero_energy_kwh: delivered by zero sessions.
        powered: sessions with a power, no zero sessions.
        peaked: of these, with a peak power of their own (else the mean power is taken).
        log_power: sum of the logarithms of their power in kW (the peak where given, else the mean).
        log_power_squares: sum of the squares of these.
        log_duration: sum of the logarithms of their duration in hours.
        witnessed: sessions whose energy another witness tells too.
        log_ratio: sum of the logarithms of register energy over that of the witness.
        log_ratio_squares: sum of the squares of these.
        connector_sessions: sessions of each connector (columns: ``connectors``).
        last_second: second of the day of the last session; -1 without one.
        born: the row of the first session of each station; the number of rows where there is none.
        known: False on days whose data is missing.
        excluded: True on days of declared events.
        holiday: public holidays at each station.
    """

    first_day: int
    stations: tuple[Station, ...]
    connectors: tuple[Connector, ...]
    sessions: Singles
    measured: Singles
    zero: Singles
    energy_kwh: Singles
    energy_squares: Singles
    zero_energy_kwh: Singles
    powered: Singles
    peaked: Singles
    log_power: Singles
    log_power_squares: Singles
    log_duration: Singles
    witnessed: Singles
    log_ratio: Singles
    log_ratio_squares: Singles
    connector_sessions: Singles
    last_second: npt.NDArray[np.int32]
    hour_of_sessions: "HourLine"
    born: Integers
    known: Flags
    excluded: Flags
    holiday: Flags

    @property
    def days(self) -> int:
        """The number of days."""
        return len(self.sessions)

    @property
    def actual_kwh(self) -> Singles:
        """The energy of each station-day, zero sessions included."""
        total: Singles = self.energy_kwh + self.zero_energy_kwh
        return total


class HourLine(NamedTuple):
    """Station and hour of day (0 to 23) of every session, ordered by day; row d is ``begins[d]:begins[d + 1]``."""

    station: npt.NDArray[np.int32]
    hour: npt.NDArray[np.int8]
    begins: Integers

    def on(self, row: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int8]]:
        """Returns stations and hours of the sessions of one day."""
        rows = slice(int(self.begins[row]), int(self.begins[row + 1]))
        return self.station[rows], self.hour[rows]


def day_line(sessions: Sessions, zone: ZoneInfo) -> DayLine:
    """Returns repaired sessions of one time zone by local day."""
    instants = np.where(np.isnan(sessions.end_s), sessions.start_s, sessions.end_s)
    local = local_seconds(instants, zone)
    day, second = local // DAY_S, local % DAY_S
    if np.all(day[1:] >= day[:-1]):
        return DayLine(sessions, day, second)
    order = np.argsort(day, kind="stable")
    return DayLine(rows_of(sessions, order), day[order], second[order])


def station_days(
    line: DayLine, first_day: int, last_day: int, missing: Flags | None = None, excluded: Flags | None = None
) -> StationDays:
    """Returns the station-days from one day to another, both included.

    Args:
        line: the sessions; those of other days are left out.
        first_day: a day number.
        last_day: a day number.
        missing: days × stations, True where data is missing.
        excluded: days × stations, True on days of declared events.
    """
    inside = (line.day >= first_day) & (line.day <= last_day)
    sessions, row = line.sessions, (line.day - first_day)
    shape = (last_day - first_day + 1, len(sessions.stations))
    place = row * shape[1] + sessions.station
    energy, delivering = sessions.energy_kwh, ~sessions.zero & (sessions.energy_kwh > 0)
    measured = ~np.isnan(energy) | sessions.zero

    def summed(chosen: Flags, weights: Floats | None = None) -> Singles:
        rows = chosen & inside
        weight = None if weights is None else weights[rows]
        return _grid(place[rows], weight, shape)

    everything = np.ones(sessions.size, np.bool_)
    log_power, log_hours, powered = _powers(sessions, delivering)
    witnessed = delivering & ~np.isnan(sessions.reference_kwh)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_ratio = np.log(energy / sessions.reference_kwh)
    last = np.full(shape[0] * shape[1], -1, np.int32)
    np.maximum.at(last, place[inside], line.second[inside].astype(np.int32))
    born = np.full(shape[1], shape[0], np.int64)
    np.minimum.at(born, sessions.station[inside], row[inside])
    nothing = np.zeros(shape, np.bool_)
    return StationDays(
        first_day,
        sessions.stations,
        sessions.connectors,
        summed(everything),
        summed(measured),
        summed(sessions.zero),
        summed(delivering, energy),
        summed(delivering, energy**2),
        summed(sessions.zero & ~np.isnan(energy), energy),
        summed(powered),
        summed(powered & ~np.isnan(sessions.power_kw)),
        summed(powered, log_power),
        summed(powered, log_power**2),
        summed(powered, log_hours),
        summed(witnessed),
        summed(witnessed, log_ratio),
        summed(witnessed, log_ratio**2),
        _grid(
            (row * len(sessions.connectors) + sessions.connector)[inside],
            None,
            (shape[0], len(sessions.connectors)),
        ),
        last.reshape(shape),
        _hours(line, inside, row, shape[0]),
        born,
        ~missing if missing is not None else ~nothing,
        excluded if excluded is not None else nothing,
        _holidays(sessions.stations, first_day, last_day),
    )


def _grid(place: Integers, weights: Floats | None, shape: tuple[int, int]) -> Singles:
    total = np.bincount(place, weights, minlength=shape[0] * shape[1])
    return total.astype(np.float32).reshape(shape)


def _powers(sessions: Sessions, delivering: Flags) -> tuple[Floats, Floats, Flags]:
    """Logarithms of power (kW) and duration (h) of each session, and where both are known."""
    with np.errstate(divide="ignore", invalid="ignore"):
        hours = (sessions.end_s - sessions.start_s) / _HOUR_S
        power = np.where(np.isnan(sessions.power_kw), sessions.energy_kwh / hours, sessions.power_kw)
        usable: Flags = delivering & (hours >= SHORTEST_POWER_H) & (power > 0)
        return np.log(power), np.log(hours), usable


def _hours(line: DayLine, inside: Flags, row: Integers, rows: int) -> HourLine:
    station = line.sessions.station[inside].astype(np.int32)
    hour = (line.second[inside] // _HOUR_S).astype(np.int8)
    begins = np.searchsorted(row[inside], np.arange(rows + 1))
    return HourLine(station, hour, begins.astype(np.int64))


def _holidays(stations: Sequence[Station], first_day: int, last_day: int) -> Flags:
    marked = np.zeros((last_day - first_day + 1, len(stations)), np.bool_)
    countries = np.array([station.country for station in stations])
    for country in np.unique(countries):
        if country:
            marked[:, countries == country] = holidays_between(str(country), first_day, last_day)[:, None]
    return marked
