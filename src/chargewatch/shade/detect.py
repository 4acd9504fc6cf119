"""The station detector: replays SHADE day by day, each day judged from what had happened by its end.

Stations of one time zone are one fleet: their days end at the same instant, so that what the others did on a day is
known when it ends, and nothing else is.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from chargewatch.domain.station_types import StationAnomaly
from chargewatch.domain.thresholds import DEFAULT_SHADE_THRESHOLDS, ShadeThresholds
from chargewatch.shade.arrays import Flags, Floats, Integers, Singles
from chargewatch.shade.channels import Channels, place_of
from chargewatch.shade.classify import NONE, TYPES, Evidence, Judgement, judge
from chargewatch.shade.days import StationDays
from chargewatch.shade.expectation import Expectation
from chargewatch.shade.forecast import Forecast
from chargewatch.shade.sites import Sites, site_numbers

#: Days that a day waits before it is learnt, so that a fault is noticed before it is taken for usual.
LEARNING_LAG: Final = 12
_LOW, _HIGH = 0.05, 0.95
_SITE: Final = place_of(StationAnomaly.SITE_DROP)
Told = Callable[[int], None]


class Finding(NamedTuple):
    """What the evidence was on the days of one row on which something was reported, or that were asked for.

    Args:
        row: the day.
        stations: the numbers of the stations.
        evidence: of these.
        connector_nats: against every connector of the fleet.
    """

    row: int
    stations: Integers
    evidence: Evidence
    connector_nats: Floats


class Replay(NamedTuple):
    """The verdicts, days × stations.

    Args:
        days: what happened.
        kind: index into `classify.TYPES`; -1 for none.
        score: 0 to 1; at least 0.5 exactly on anomalous days.
        watching: False before a station could be judged.
        expected_kwh: NaN before a station could be judged; so are the limits and the sessions.
        low_kwh: 5 % of such days have less energy.
        high_kwh: 5 % of such days have more.
        expected_sessions: expected number of sessions.
        ahead_kwh: median energy expected on the evening before; no look at the fleet on the day.
        since: the row on which the episode began; -1 outside.
        findings: the evidence of the days with a report and of the last day.
    """

    days: StationDays
    kind: npt.NDArray[np.int8]
    score: Singles
    watching: Flags
    expected_kwh: Singles
    low_kwh: Singles
    high_kwh: Singles
    expected_sessions: Singles
    ahead_kwh: Singles
    since: npt.NDArray[np.int32]
    findings: tuple[Finding, ...]

    @property
    def is_anomaly(self) -> Flags:
        """Whether each day is anomalous."""
        anomalous: Flags = self.kind != NONE
        return anomalous


def replay(
    days: StationDays, thresholds: ShadeThresholds = DEFAULT_SHADE_THRESHOLDS, told: Told | None = None
) -> Replay:
    """Judges every day of the stations of one time zone, in order.

    Args:
        days: the station-days; ``known`` may be cleared on days that turn out to be missing.
        thresholds: the limits.
        told: is told the number of days done.
    """
    watch = _Watch(days, thresholds)
    for row in range(days.days):
        watch.judge(row)
        if told is not None:
            told(row + 1)
    return watch.result()


class _Watch:
    """The state between two days."""

    def __init__(self, days: StationDays, thresholds: ShadeThresholds) -> None:
        self._days, self._limits = days, thresholds
        self._site = site_numbers(days)
        self._expectation = Expectation(days, self._site)
        self._channels = Channels(days, self._expectation, thresholds)
        self._sites = Sites(days, self._site, thresholds)
        count, shape = len(days.stations), days.sessions.shape
        self._age, self._active_days, self._sessions = np.zeros((3, count))
        self._carrier = np.full(int(self._site.max()) + 1 if count else 0, -1, np.int64)
        self._last_alarm, self._since = np.full((2, count), -1, np.int64)
        self._learnt, self._suspect = np.zeros((2, *shape), np.bool_)
        self._findings: list[Finding] = []
        self._kind = np.full(shape, NONE, np.int8)
        self._score, self._low, self._high = np.zeros((3, *shape), np.float32)
        self._expected, self._due, self._ahead = np.full((3, *shape), np.nan, np.float32)
        self._watching = np.zeros(shape, np.bool_)
        self._since_rows = np.full(shape, -1, np.int32)

    def judge(self, row: int) -> None:
        """Judges a day, then learns."""
        if not len(self._age):
            return
        days = self._days
        born = days.born <= row
        watched = born & self._knows_enough()
        calm = watched & (self._since < 0)
        forecast = self._expectation.forecast(row, calm)
        counted = watched & days.known[row] & ~days.excluded[row]
        self._write_expected(row, forecast, watched)
        fell, site_judgement = self._judge_sites(row, forecast, counted)
        alone = counted & ~fell
        self._channels.add(row, forecast, alone)
        evidence = self._channels.evidence(forecast)
        verdict = _merged(judge(evidence, alone, self._limits), site_judgement)
        self._write_verdict(row, verdict, evidence)
        self._learn(row, born, watched)
        self._grow_old(row, born)

    def _knows_enough(self) -> Flags:
        """14 days with sessions, or 20 sessions in at least as many days."""
        limits = self._limits
        enough: Flags = (self._active_days >= limits.learning_days) | (
            (self._sessions >= limits.learning_sessions) & (self._age >= limits.learning_days)
        )
        return enough

    def _grow_old(self, row: int, born: Flags) -> None:
        days = self._days
        known = born & days.known[row] & ~days.excluded[row]
        self._age += born
        self._active_days += known & (days.sessions[row] > 0)
        self._sessions += np.where(known, days.sessions[row], 0.0)

    def _judge_sites(self, row: int, forecast: Forecast, counted: Flags) -> tuple[Flags, Judgement]:
        """Returns the stations of sites that fell, and the verdict on the station that carries the report."""
        self._sites.add(row, forecast, counted)
        fell, nats, begun = self._sites.fallen(counted)
        strength = nats / self._limits.evidence_site
        score = np.where(fell, np.maximum(strength / (1.0 + strength), 0.5), 0.0)
        first = np.full(len(fell), len(counted), np.int64)
        np.minimum.at(first, self._site[counted], np.flatnonzero(counted))
        self._carrier = np.where(fell, np.where(self._carrier >= 0, self._carrier, first), -1)
        carrying = self._carrier[fell]
        kind = np.full(len(counted), NONE, np.int8)
        kind[carrying] = _SITE
        at_station = np.zeros(len(counted))
        at_station[carrying] = score[fell]
        mine = fell[self._site]
        for station in np.flatnonzero(mine & counted):
            self._suspect[begun[self._site[station]] : row + 1, station] = True
        self._channels.clear(mine)
        return mine, Judgement(kind, at_station, begun[self._site])

    def _write_expected(self, row: int, forecast: Forecast, watched: Flags) -> None:
        self._watching[row] = watched
        self._expected[row] = np.where(watched, forecast.energy_kwh, np.nan)
        self._due[row] = np.where(watched, forecast.sessions, np.nan)
        self._low[row] = np.where(watched, forecast.energy_quantile(_LOW), np.nan)
        self._high[row] = np.where(watched, forecast.energy_quantile(_HIGH), np.nan)
        self._ahead[row] = np.where(watched, forecast.energy_quantile(0.5, forecast.ahead), np.nan)

    def _write_verdict(self, row: int, verdict: Judgement, evidence: Evidence) -> None:
        self._kind[row], self._score[row] = verdict.kind, verdict.score
        alarmed = verdict.kind != NONE
        gone = row - self._last_alarm > self._limits.episode_gap_days + 1
        self._since = np.where(alarmed & (self._since < 0), row, np.where(gone & ~alarmed, -1, self._since))
        self._last_alarm = np.where(alarmed, row, self._last_alarm)
        self._since_rows[row] = np.where(alarmed, self._since, -1)
        for station in np.flatnonzero(alarmed):
            self._suspect[verdict.begun[station] : row + 1, station] = True
        self._keep(row, alarmed if row + 1 < self._days.days else np.ones(len(alarmed), np.bool_), evidence)
        self._relearn(row, verdict)

    def _keep(self, row: int, wanted: Flags, evidence: Evidence) -> None:
        chosen = np.flatnonzero(wanted)
        if len(chosen):
            part = Evidence(
                evidence.nats[:, chosen],
                evidence.enough[:, chosen],
                evidence.observed[:, chosen],
                evidence.expected[:, chosen],
                evidence.begun[:, chosen],
            )
            self._findings.append(Finding(row, chosen, part, self._channels.connectors.of_connectors()))

    def _relearn(self, row: int, verdict: Judgement) -> None:
        """What lasted for so long is how the station is now; it learns again."""
        long = (self._since >= 0) & (row - self._since >= self._limits.relearn_after_days)
        long &= verdict.kind != NONE
        if long.any():
            self._expectation.forget(long)
            self._channels.clear(long)
            for counter in (self._age, self._active_days, self._sessions):
                counter[long] = 0.0
            self._since[long] = -1
            self._learnt[: row + 1, long] = True

    def _learn(self, row: int, born: Flags, watched: Flags) -> None:
        """Stations that are still learning learn the day at once, the others what is old enough and was calm."""
        days = self._days
        usable = born & days.known[row] & ~days.excluded[row]
        self._expectation.remember(row, usable)
        young = usable & ~watched
        self._expectation.learn(row, young)
        self._learnt[row] |= young
        due = row - LEARNING_LAG
        if due >= 0:
            ready = (days.born <= due) & days.known[due] & ~days.excluded[due]
            ready &= ~self._learnt[due] & ~self._suspect[due]
            self._expectation.learn(due, ready)
            self._learnt[due] |= ready

    def result(self) -> Replay:
        """Returns what was found."""
        return Replay(
            self._days,
            self._kind,
            self._score,
            self._watching,
            self._expected,
            self._low,
            self._high,
            self._due,
            self._ahead,
            self._since_rows,
            tuple(self._findings),
        )


def _merged(alone: Judgement, sites: Judgement) -> Judgement:
    """A station that carries its site's report says that, and nothing of its own."""
    carries = sites.kind != NONE
    return Judgement(
        np.where(carries, sites.kind, alone.kind).astype(np.int8),
        np.where(carries, sites.score, alone.score),
        np.where(carries, sites.begun, alone.begun),
    )


def type_name(kind: int) -> str | None:
    """Returns the name of a type by its index; None for `NONE`."""
    return None if kind == NONE else TYPES[kind].value
