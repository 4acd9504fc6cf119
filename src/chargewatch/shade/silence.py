"""Silence: how unlikely it is that nothing was heard for so long, of a station or of a connector beside others."""

from typing import Final

import numpy as np

from chargewatch.shade.accumulate import Best, Wander
from chargewatch.shade.arrays import Flags, Floats, Integers
from chargewatch.shade.days import StationDays
from chargewatch.shade.expectation import Expectation
from chargewatch.shade.forecast import silence

_CONNECTOR_DISPERSION: Final = 0.3
_CONNECTOR_KNOWN: Final = (
    6.0  # sessions that a connector must have had (faded) before its silence says something
)
_SIBLING_SESSIONS: Final = 3.0
_LARGEST_SHARE: Final = 0.9


class StationSilence:
    """Minus the logarithm of the probability of no session since the last one, in nats.

    The day of the last session counts from its hour on, by the station's own hours of the week.
    """

    def __init__(self, stations: int) -> None:
        self._nats, self._due = np.zeros((2, stations))
        self._begun = np.zeros(stations, np.int64)

    def add(
        self,
        row: int,
        days: StationDays,
        expected: Floats,
        dispersion: Floats,
        left: Floats,
        wander: Floats,
        active: Flags,
    ) -> None:
        """Adds a day of the active stations.

        Args:
            row: the day.
            days: the station-days.
            expected: sessions expected of the day.
            dispersion: of their number.
            left: share of a day's sessions that comes after the last session of that day (1 without one).
            wander: what evidence is divided by.
            active: the stations whose day counts.
        """
        heard = days.sessions[row] > 0
        due = expected * left
        nats = silence(due, dispersion) / wander
        self._nats = np.where(heard, 0.0, self._nats) + np.where(active, nats, 0.0)
        self._due = np.where(heard, 0.0, self._due) + np.where(active, due, 0.0)
        self._begun = np.where(heard, row + 1, self._begun)

    def best(self) -> Best:
        """Returns the evidence; observed is always 0."""
        return Best(self._nats, np.zeros(len(self._nats)), self._due, self._begun)

    def clear(self, chosen: Flags) -> None:
        """Forgets the silence of some stations so far."""
        self._nats[chosen] = 0.0
        self._due[chosen] = 0.0


class ConnectorSilence:
    """The same for connectors, given how much their siblings were used: a quiet station says nothing about one."""

    def __init__(self, days: StationDays) -> None:
        count = len(days.connectors)
        self._days = days
        self._station: Integers = np.array([c.station for c in days.connectors], np.int64)
        self._nats, self._due, self._siblings = np.zeros((3, count))
        self._begun = np.zeros(count, np.int64)
        self._wander = Wander(count)

    def add(self, row: int, expectation: Expectation, active: Flags) -> None:
        """Adds a day of the connectors of the active stations."""
        if not len(self._station):
            return
        mine = self._days.connector_sessions[row].astype(np.float64)
        others = self._days.sessions[row][self._station] - mine
        share = expectation.connector_share()
        counts = active[self._station]
        bounded = np.clip(share, 1e-3, _LARGEST_SHARE)
        due = others * bounded / (1.0 - bounded)
        known = expectation.connector_sessions >= _CONNECTOR_KNOWN
        nats = np.where(counts & known, silence(due, np.full(len(due), _CONNECTOR_DISPERSION)), 0.0)
        quiet = mine == 0
        self._nats = np.where(quiet, self._nats + nats / self._wander.factor(), 0.0)
        self._due = np.where(quiet, self._due + np.where(counts & known, due, 0.0), 0.0)
        self._siblings = np.where(quiet, self._siblings + np.where(counts, others, 0.0), 0.0)
        self._begun = np.where(quiet, self._begun, row + 1)
        together = mine + others
        self._wander.add(mine - together * share, together * share * (1.0 - share), counts & known)

    def of_connectors(self) -> Floats:
        """Returns the evidence against each connector, in nats; 0 while its siblings were hardly used."""
        return np.where(self._siblings >= _SIBLING_SESSIONS, self._nats, 0.0)

    def best(self) -> Best:
        """Returns the evidence against each station's most silent connector; observed is always 0."""
        count = len(self._days.stations)
        nats, due = np.zeros((2, count))
        begun = np.zeros(count, np.int64)
        held = self.of_connectors()
        np.maximum.at(nats, self._station, held)
        chosen = (held > 0) & (held == nats[self._station])
        due[self._station[chosen]] = self._due[chosen]
        begun[self._station[chosen]] = self._begun[chosen]
        return Best(nats, np.zeros(count), due, begun)

    def clear(self, chosen: Flags) -> None:
        """Forgets the silence of the connectors of some stations so far."""
        rows = chosen[self._station]
        self._nats[rows] = self._due[rows] = self._siblings[rows] = 0.0
