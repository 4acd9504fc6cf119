"""Sessions as columns, and the stations they belong to: what SHADE works on."""

from typing import NamedTuple

import numpy as np

from chargewatch.shade.arrays import Flags, Floats, Integers

#: More energy than this is a sentinel of a broken meter, not a session (kWh).
IMPOSSIBLE_KWH = 2_000.0
#: Sessions with less energy count as zero sessions (kWh); the definition's limit.
ZERO_KWH = 0.1


class Station(NamedTuple):
    """A station: ``site`` is empty where none is known, ``country`` an ISO 3166 code or empty."""

    station_id: str
    site: str = ""
    timezone: str = "UTC"
    country: str = ""


class Connector(NamedTuple):
    """A connector of the station with this number."""

    station: int
    connector_id: str


class Sessions(NamedTuple):
    """Sessions as columns of equal length. Times are seconds since 1970 in UTC; NaN is unknown.

    ``reference_kwh`` is the energy by another witness than the register: the integral of power, or state of
    charge times capacity. ``stations`` are sorted by id.
    """

    station: Integers
    connector: Integers
    start_s: Floats
    end_s: Floats
    energy_kwh: Floats
    power_kw: Floats
    reference_kwh: Floats
    zero: Flags
    stations: tuple[Station, ...]
    connectors: tuple[Connector, ...]

    @property
    def size(self) -> int:
        """The number of sessions."""
        return len(self.station)

    def of_stations(self, wanted: Integers) -> "Sessions":
        """Returns the sessions of some stations, numbered anew in the order given."""
        number = np.full(len(self.stations), -1, np.int64)
        number[wanted] = np.arange(len(wanted))
        rows = number[self.station] >= 0
        mine = [i for i, c in enumerate(self.connectors) if number[c.station] >= 0]
        place = np.full(len(self.connectors), -1, np.int64)
        place[mine] = np.arange(len(mine))
        return Sessions(
            number[self.station[rows]],
            place[self.connector[rows]],
            self.start_s[rows],
            self.end_s[rows],
            self.energy_kwh[rows],
            self.power_kw[rows],
            self.reference_kwh[rows],
            self.zero[rows],
            tuple(self.stations[i] for i in wanted),
            tuple(
                Connector(int(number[c.station]), c.connector_id)
                for c in map(self.connectors.__getitem__, mine)
            ),
        )


def repaired(sessions: Sessions) -> Sessions:
    """Returns the sessions with impossible values made unknown; what has no usable time is left out.

    Energy below 0 or beyond 2,000 kWh, an end before the start and power that is not above 0 are unknown.
    """
    energy = np.where(
        (sessions.energy_kwh >= 0) & (sessions.energy_kwh <= IMPOSSIBLE_KWH), sessions.energy_kwh, np.nan
    )
    end = np.where(sessions.end_s >= sessions.start_s, sessions.end_s, np.nan)
    end = np.where(np.isnan(sessions.start_s), sessions.end_s, end)
    power = np.where(sessions.power_kw > 0, sessions.power_kw, np.nan)
    reference = np.where(sessions.reference_kwh > 0, sessions.reference_kwh, np.nan)
    zero = sessions.zero | (energy < ZERO_KWH)
    whole = sessions._replace(
        end_s=end, energy_kwh=energy, power_kw=power, reference_kwh=reference, zero=zero
    )
    timed = ~(np.isnan(whole.start_s) & np.isnan(whole.end_s))
    return whole if timed.all() else rows_of(whole, timed)


def rows_of(sessions: Sessions, chosen: Flags | Integers) -> Sessions:
    """Returns some of the sessions, marked or by number; stations and connectors stay as they are."""
    return sessions._replace(
        station=sessions.station[chosen],
        connector=sessions.connector[chosen],
        start_s=sessions.start_s[chosen],
        end_s=sessions.end_s[chosen],
        energy_kwh=sessions.energy_kwh[chosen],
        power_kw=sessions.power_kw[chosen],
        reference_kwh=sessions.reference_kwh[chosen],
        zero=sessions.zero[chosen],
    )
