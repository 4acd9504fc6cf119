"""Sites: stations that fall together are one cause, reported once."""

from typing import Final

import numpy as np

from chargewatch.domain.thresholds import ShadeThresholds
from chargewatch.shade.accumulate import COUNT_LEFT, Accumulator, Wander, count_nats
from chargewatch.shade.arrays import Flags, Floats, Integers
from chargewatch.shade.days import StationDays
from chargewatch.shade.expectation import by_group
from chargewatch.shade.forecast import Forecast

_TOGETHER: Final = 0.03  # dispersion that the stations of a site share (weather, streets)
_HEADROOM: Final = 1.5
_LEAST_DUE: Final = 0.5  # sessions that a station must have been due to count as fallen


def site_numbers(days: StationDays) -> Integers:
    """Returns the number of each station's site; a station without a site has one of its own."""
    names = [station.site or f"\0{station.station_id}" for station in days.stations]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)


class Sites:
    """The evidence that a whole site fell."""

    def __init__(self, days: StationDays, site: Integers, thresholds: ShadeThresholds) -> None:
        self._days, self._site, self._limits = days, site, thresholds
        self._sites = int(site.max()) + 1 if len(site) else 0
        self._count = Accumulator(len(COUNT_LEFT), self._sites, _HEADROOM * thresholds.evidence_site)
        self._wander = Wander(self._sites)
        self._seen, self._due = np.zeros((2, len(site)))

    def add(self, row: int, forecast: Forecast, active: Flags) -> None:
        """Adds a day of the active stations."""
        sessions = np.where(active, self._days.sessions[row], 0.0).astype(np.float64)
        expected = np.where(active, forecast.sessions, 0.0)
        own = np.where(active, forecast.dispersion * forecast.sessions**2, 0.0)
        seen, due, spread = (by_group(a, self._site, self._sites) for a in (sessions, expected, own))
        relative = spread / np.maximum(due, 1e-9) ** 2 + _TOGETHER
        some = due > 0
        nats = count_nats(seen, np.maximum(due, 1e-9), relative) / self._wander.factor()
        self._count.add(row, nats, seen, due, some)
        self._wander.add(seen - due, due + relative * due**2, some)
        best = self._count.best()
        fresh = (best.begun == row) | (best.evidence <= 0)
        anew = fresh[self._site]
        self._seen = np.where(anew, 0.0, self._seen) + sessions
        self._due = np.where(anew, 0.0, self._due) + expected

    def fallen(self, watched: Flags) -> tuple[Flags, Floats, Integers]:
        """Returns which sites fell, the evidence in nats and the row on which it began, an element a site."""
        limits = self._limits
        best = self._count.best()
        down = watched & (self._due >= _LEAST_DUE) & (self._seen <= (1.0 - limits.count_drop) * self._due)
        stations = by_group(watched.astype(np.float64), self._site, self._sites)
        low = by_group(down.astype(np.float64), self._site, self._sites)
        together = (low >= limits.site_stations) & (low >= limits.site_share * stations)
        effect = best.observed <= (1.0 - limits.count_drop) * best.expected
        fell: Flags = together & effect & (best.evidence >= limits.evidence_site)
        return fell, best.evidence, best.begun
