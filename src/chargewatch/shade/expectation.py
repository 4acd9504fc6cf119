"""What a station's day should have been, learnt from the days before: slow level × weekday × holiday × season.

Every quantity is a sum that fades with the days that are learnt, shrunk to the fleet's as long as a station has
little of its own. All of it is strictly causal: `Expectation.forecast` knows the days that were learnt, and of the
day itself only what the *rest* of the fleet did (weather, a strike, a feast that no calendar knows). Sums over
stations run in their order, so that a station without sessions changes nothing, not even a rounding.
"""

from typing import Final

import numpy as np

from chargewatch.shade.arrays import Flags, Floats, Integers
from chargewatch.shade.days import StationDays
from chargewatch.shade.forecast import Forecast, half_life
from chargewatch.shade.local_days import weekday_of

_LEVEL: Final = half_life(35.0)
_SHAPE: Final = half_life(150.0)  # weekdays, hours, dispersion, shares: they hardly change
_SESSION: Final = half_life(60.0)  # energy and power of a session
_COMMON: Final = half_life(7.0)

# How much a station must have of its own to weigh as much as the fleet.
_LEVEL_DAYS: Final = 2.0
_SETTLED_DAYS: Final = 5.0  # of a level; before that nothing can be said of weekdays
_WEEKDAY_SESSIONS: Final = 8.0
_HOLIDAY_SESSIONS: Final = 20.0
_HOUR_SESSIONS: Final = 20.0
_ENERGY_SESSIONS: Final = 5.0
_SHAPE_SESSIONS: Final = 30.0
_ZERO_SESSIONS: Final = 25.0
_DISPERSION_DAYS: Final = 40.0
_CONNECTOR_SESSIONS: Final = 2.0
_COMMON_SESSIONS: Final = 60.0

_YEAR: Final = 364  # a whole number of weeks
_SEASON_REACH: Final = 10
_SEASON_SIGMAS: Final = 3.0
_SEASON_SESSIONS: Final = 10.0

_MISSING_SESSIONS: Final = 15.0
_MISSING_SITES: Final = 3

_SUNDAY: Final = 6
_DISPERSION: Final = 0.15  # where no station has any yet
_ZERO_SHARE: Final = 0.03
_ENERGY_KWH: Final = 12.0
_RATIO_VARIANCE: Final = 0.05**2


def total(values: Floats) -> float:
    """Returns a sum in order, whatever the number of elements: zeros between change nothing."""
    return float(np.cumsum(values)[-1]) if len(values) else 0.0


def by_group(values: Floats, group: Integers, groups: int) -> Floats:
    """Returns the sum of each group, in order."""
    return np.bincount(group, values, minlength=groups).astype(np.float64)


class Expectation:
    """What has been learnt of the stations of one time zone.

    Args:
        days: the station-days; only rows that were passed to ``learn``, and the fleet's of the row that is forecast,
            are looked at.
        site: the number of each station's site; a station without one has a site of its own.
    """

    def __init__(self, days: StationDays, site: Integers) -> None:
        count = len(days.stations)
        self._days, self._site = days, site
        self._sites = int(site.max()) + 1 if count else 0
        self._owner = np.array([c.station for c in days.connectors], np.int64)
        self.level, self.exposure = np.zeros(count), np.zeros(count)
        self._by_weekday, self._weekday_exposure = np.zeros((7, count)), np.zeros((7, count))
        self._holiday = np.zeros(2)
        self._hours = np.zeros((2, 24, count))
        self._over, self._squares = np.zeros(count), np.zeros(count)
        self._energy, self._energy_squares, self._delivering = np.zeros((3, count))
        self._zero, self._measured = np.zeros((2, count))
        self._power, self._power_squares, self._duration = np.zeros((3, count))
        self._powered, self._peaked = np.zeros((2, count))
        self._ratio, self._ratio_squares, self._witnessed = np.zeros((3, count))
        self._connector = np.zeros(len(days.connectors))
        self._common = np.zeros((2, self._sites))
        self._common_energy = np.zeros((2, self._sites))
        rows = days.days
        self.sessions, self.factor = np.zeros((2, rows, count), np.float32)
        self._usual = np.zeros((rows, count), np.float32)  # sessions without weekday and without surprise
        self._seen, self._due = np.zeros((2, rows + 1, count))

    # --- forecasting -------------------------------------------------------------------------------------------------

    def forecast(self, row: int, trusted: Flags) -> Forecast:
        """Returns the expectation of a day.

        Args:
            row: the day.
            trusted: the stations that say something about the day of the others: watched, and not in an episode.
        """
        days = self._days
        fleet_level = total(self.level) / max(total(self.exposure), 1e-9)
        own = self.exposure + _LEVEL_DAYS
        level = (self.level + _LEVEL_DAYS * fleet_level) / own
        weekday = self._weekday(weekday_of(days.first_day + row), days.holiday[row])
        season = self._season(row, level * weekday)
        dispersion = self._dispersion()
        alone = level * weekday * season
        ahead = alone * self._shared(self._common, _COMMON_SESSIONS)
        self._notice_missing(row, trusted, ahead)
        usable = trusted & days.known[row] & ~days.excluded[row]
        observed = np.where(usable, days.sessions[row], 0.0).astype(np.float64)
        slow, sudden = self._common_day(observed, np.where(usable, alone, 0.0))
        sessions = np.maximum(alone * slow * sudden, 1e-6)
        # The level learns the fleet's slow course itself: were it divided out, nothing would hold the two together.
        self.sessions[row], self.factor[row] = sessions, weekday * season * sudden
        settled = self.exposure >= _SETTLED_DAYS
        self._usual[row] = np.where(settled, level * season * slow, 0.0)
        session_kwh, shape = self._energies()
        self._learn_common_energy(row, usable, session_kwh)
        session_kwh = session_kwh * self._shared(self._common_energy, _COMMON_SESSIONS)
        power, power_variance = self._moments(self._power, self._power_squares, self._powered, 0.3)
        ratio, ratio_variance = self._moments(
            self._ratio, self._ratio_squares, self._witnessed, _RATIO_VARIANCE
        )
        return Forecast(
            sessions,
            np.maximum(ahead, 1e-6),
            np.sqrt((1.0 + dispersion * level) / (self.level + _LEVEL_DAYS * fleet_level + 1e-6)),
            dispersion,
            session_kwh,
            shape,
            self._zero_share(),
            power,
            power_variance,
            self._duration / np.maximum(self._powered, 1e-9),
            ratio,
            ratio_variance,
        )

    def _notice_missing(self, row: int, trusted: Flags, ahead: Floats) -> None:
        """A day on which nobody heard anything, though many sessions were due at several sites, is missing data."""
        due = total(np.where(trusted, ahead, 0.0))
        sites = len(np.unique(self._site[trusted]))
        if due >= _MISSING_SESSIONS and sites >= _MISSING_SITES and not self._days.sessions[row].any():
            self._days.known[row] = False

    def _weekday(self, weekday: int, holiday: Flags) -> Floats:
        """The factor of a weekday; a holiday is like a station's Sunday, and less so as the fleet shows."""
        ordinary = self._weekday_factor(weekday)
        if not holiday.any():
            return ordinary
        busy = (self._holiday[0] + _HOLIDAY_SESSIONS) / (self._holiday[1] + _HOLIDAY_SESSIONS)
        sunday = np.minimum(self._weekday_factor(_SUNDAY), ordinary)
        return np.where(holiday, sunday * min(max(busy, 0.3), 2.0), ordinary)

    def _weekday_factor(self, weekday: int) -> Floats:
        counts, exposure = self._by_weekday[weekday], self._weekday_exposure[weekday]
        fleet = (total(counts) + _WEEKDAY_SESSIONS) / (total(exposure) + _WEEKDAY_SESSIONS)
        factor: Floats = (counts + _WEEKDAY_SESSIONS * fleet) / (exposure + _WEEKDAY_SESSIONS)
        return factor

    def _season(self, row: int, usual: Floats) -> Floats:
        """How quiet the same weeks were a year before, where that was no chance; 1 elsewhere."""
        middle = row - _YEAR
        if middle - _SEASON_REACH < 0:
            return np.ones(len(usual))
        begin, end = middle - _SEASON_REACH, middle + _SEASON_REACH + 1
        seen = self._seen[end] - self._seen[begin]
        due = self._due[end] - self._due[begin]
        spread = np.sqrt(due + self._dispersion() * due * usual + 1e-9)
        quiet = seen - due < -_SEASON_SIGMAS * spread
        return np.where(quiet, (seen + _SEASON_SESSIONS) / (due + _SEASON_SESSIONS), 1.0)

    def _dispersion(self) -> Floats:
        fleet = (total(self._over) + _DISPERSION * 50.0) / (total(self._squares) + 50.0)
        fleet = max(fleet, 0.02)
        own = (self._over + _DISPERSION_DAYS * fleet) / (self._squares + _DISPERSION_DAYS)
        return np.clip(own, 0.01, 5.0)

    def _energies(self) -> tuple[Floats, Floats]:
        """Mean energy of a session that delivers, and the shape of its gamma distribution."""
        sessions = total(self._delivering)
        fleet = (total(self._energy) + _ENERGY_KWH) / (sessions + 1.0)
        mean = (self._energy + _ENERGY_SESSIONS * fleet) / (self._delivering + _ENERGY_SESSIONS)
        within = self._energy_squares - self._energy**2 / np.maximum(self._delivering, 1e-9)
        relative = np.maximum(within, 0.0) / np.maximum(mean, 1e-6) ** 2
        usual = (total(relative) + 0.6 * _SHAPE_SESSIONS) / (sessions + _SHAPE_SESSIONS)
        variance = (relative + _SHAPE_SESSIONS * usual) / (self._delivering + _SHAPE_SESSIONS)
        return mean, 1.0 / np.clip(variance, 0.05, 4.0)

    def _zero_share(self) -> Floats:
        fleet = (total(self._zero) + 20.0 * _ZERO_SHARE) / (total(self._measured) + 20.0)
        share: Floats = (self._zero + _ZERO_SESSIONS * fleet) / (self._measured + _ZERO_SESSIONS)
        return share

    @staticmethod
    def _moments(first: Floats, second: Floats, count: Floats, usual: float) -> tuple[Floats, Floats]:
        """Mean and variance between sessions; the variance is shrunk to a usual one."""
        mean = first / np.maximum(count, 1e-9)
        within = np.maximum(second - count * mean**2, 0.0)
        return mean, (within + _ENERGY_SESSIONS * 2.0 * usual) / (count + _ENERGY_SESSIONS * 2.0)

    def hours_left(self, row: int, second: Integers) -> Floats:
        """Returns the share of a day's sessions that are expected after a second of the day (below 0: all of it)."""
        kind = int(weekday_of(self._days.first_day + row) >= 5)
        hours = self._hours[kind]
        fleet = np.cumsum(hours, axis=1)[:, -1] + 0.5
        own = hours + _HOUR_SESSIONS * (fleet / fleet.sum())[:, None]
        own = own / own.sum(axis=0)
        passed = np.vstack([np.zeros(own.shape[1]), np.cumsum(own, axis=0)])
        hour = np.clip(second, 0, 86_399) // 3_600
        column = np.arange(own.shape[1])
        part = (np.clip(second, 0, 86_399) % 3_600) / 3_600.0
        left = 1.0 - passed[hour, column] - part * own[hour, column]
        return np.where(second < 0, 1.0, left)

    def connector_share(self) -> Floats:
        """Returns the share of each connector in its station's sessions."""
        station = np.bincount(self._owner, self._connector, minlength=len(self.level))
        siblings = np.bincount(self._owner, minlength=len(self.level))[self._owner]
        share: Floats = (self._connector + _CONNECTOR_SESSIONS / siblings) / (
            station[self._owner] + _CONNECTOR_SESSIONS
        )
        return share

    def tells_peaks(self) -> Flags:
        """Marks the stations whose sessions mostly tell their peak power."""
        return self._peaked > 0.5 * self._powered

    @property
    def connector_sessions(self) -> Floats:
        """Sessions of each connector that were learnt and have not faded."""
        return self._connector

    # --- the rest of the fleet on the same day -----------------------------------------------------------------------

    def _shared(self, sums: Floats, own_weight: float) -> Floats:
        """Observed over expected of the fleet without a station's own site, shrunk to 1."""
        observed = total(sums[0]) - sums[0][self._site]
        expected = total(sums[1]) - sums[1][self._site]
        ratio: Floats = (observed + own_weight) / (expected + own_weight)
        return ratio

    def _common_day(self, observed: Floats, alone: Floats) -> tuple[Floats, Floats]:
        """How the rest of the fleet fares against its levels: over the last days, and today against these."""
        today = np.stack(
            [by_group(observed, self._site, self._sites), by_group(alone, self._site, self._sites)]
        )
        self._common = _COMMON * self._common + today
        slow = self._shared(self._common, _COMMON_SESSIONS)
        seen = total(today[0]) - today[0][self._site]
        due = slow * (total(today[1]) - today[1][self._site])
        return slow, (seen + _COMMON_SESSIONS) / (due + _COMMON_SESSIONS)

    def _learn_common_energy(self, row: int, usable: Flags, session_kwh: Floats) -> None:
        days = self._days
        delivering = np.where(usable, days.measured[row] - days.zero[row], 0.0)
        observed = np.where(usable, days.energy_kwh[row], 0.0) / np.maximum(session_kwh, 1e-6)
        today = np.stack(
            [by_group(observed, self._site, self._sites), by_group(delivering, self._site, self._sites)]
        )
        self._common_energy = half_life(10.0) * self._common_energy + today

    # --- learning ----------------------------------------------------------------------------------------------------

    def learn(self, row: int, chosen: Flags) -> None:
        """Learns a day of the chosen stations; the days before fade."""
        days = self._days
        counts = days.sessions[row].astype(np.float64)
        expected, factor = self.sessions[row].astype(np.float64), self.factor[row].astype(np.float64)
        self._fade(chosen)
        mine = np.where(chosen, 1.0, 0.0)
        self.level += mine * counts
        self.exposure += mine * factor
        self._over += mine * ((counts - expected) ** 2 - expected)
        self._squares += mine * expected**2
        self._learn_calendar(row, mine, counts)
        self._learn_hours(row, mine)
        delivering = days.measured[row] - days.zero[row]
        self._energy += mine * days.energy_kwh[row]
        self._energy_squares += mine * days.energy_squares[row]
        self._delivering += mine * delivering
        self._zero += mine * days.zero[row]
        self._measured += mine * days.measured[row]
        self._power += mine * days.log_power[row]
        self._power_squares += mine * days.log_power_squares[row]
        self._duration += mine * days.log_duration[row]
        self._powered += mine * days.powered[row]
        self._peaked += mine * days.peaked[row]
        self._ratio += mine * days.log_ratio[row]
        self._ratio_squares += mine * days.log_ratio_squares[row]
        self._witnessed += mine * days.witnessed[row]
        self._connector += mine[self._owner] * days.connector_sessions[row]

    def _fade(self, chosen: Flags) -> None:
        level, shape, session = (np.where(chosen, rate, 1.0) for rate in (_LEVEL, _SHAPE, _SESSION))
        for sums in (self.level, self.exposure):
            sums *= level
        for sums in (self._over, self._squares, self._zero, self._measured, self._hours, self._by_weekday):
            sums *= shape
        self._weekday_exposure *= shape
        for sums in (self._energy, self._energy_squares, self._delivering):
            sums *= session
        for sums in (self._power, self._power_squares, self._duration, self._powered, self._peaked):
            sums *= session
        for sums in (self._ratio, self._ratio_squares, self._witnessed):
            sums *= session
        self._connector *= level[self._owner]

    def _learn_calendar(self, row: int, mine: Floats, counts: Floats) -> None:
        """Weekdays and feasts: against the usual level, as a surprise of the whole fleet may be the weekday itself."""
        days = self._days
        without_weekday = self._usual[row].astype(np.float64)
        mine = np.where(without_weekday > 0, mine, 0.0)
        holiday = days.holiday[row]
        ordinary = np.where(holiday, 0.0, mine)
        weekday = weekday_of(days.first_day + row)
        self._by_weekday[weekday] += ordinary * counts
        self._weekday_exposure[weekday] += ordinary * without_weekday
        if holiday.any():
            feast = np.where(holiday, mine, 0.0)
            sunday = (
                np.minimum(self._weekday_factor(_SUNDAY), self._weekday_factor(weekday)) * without_weekday
            )
            self._holiday += (total(feast * counts), total(feast * sunday))

    def _learn_hours(self, row: int, mine: Floats) -> None:
        stations, hours = self._days.hour_of_sessions.on(row)
        kind = int(weekday_of(self._days.first_day + row) >= 5)
        np.add.at(self._hours[kind], (hours, stations), mine[stations])

    def remember(self, row: int, chosen: Flags) -> None:
        """Keeps what a day was and should have been, for the same weeks of the next year."""
        days = self._days
        self._seen[row + 1] = self._seen[row] + np.where(chosen, days.sessions[row], 0.0)
        self._due[row + 1] = self._due[row] + np.where(chosen, self.sessions[row], 0.0)

    def forget(self, chosen: Flags) -> None:
        """Lets what is known of some stations fade, so that the next days say what is usual."""
        keep = np.where(chosen, 0.02, 1.0)
        for sums in (self.level, self.exposure, self._energy, self._energy_squares, self._delivering):
            sums *= keep
        for sums in (self._zero, self._measured, self._power, self._power_squares, self._duration):
            sums *= keep
        for sums in (self._powered, self._peaked, self._ratio, self._ratio_squares, self._witnessed):
            sums *= keep
        self._connector *= keep[self._owner]
