"""The back-test of the station detector: quiet sessions, the same with faults, and the same false alarms for all.

The quiet run is taken as it is: what really went wrong in a real network counts as false alarm, for every method
alike. A fault counts as found when an episode opens at its station (its site) within 14 days; one that was open before
is a miss. SHADE is measured as it is, at its own threshold; and all methods are compared at the same realised false
alarms, one episode a station-year in the quiet run, each with the threshold that gives so many.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from chargewatch.domain.station_types import StationAnomaly
from chargewatch.evaluate.metrics import auroc
from chargewatch.evaluate.station_peers import Forecaster, Forecasts, Span, Watched, cusum
from chargewatch.shade.classify import NONE, TYPES
from chargewatch.shade.detect import Replay
from chargewatch.shade.run import replay_all
from chargewatch.shade.sessions import Connector, Sessions, Station
from chargewatch.simulate.station_faults import StationFault, inject
from chargewatch.simulate.station_fleet import Flags, Floats, StationSessions

Scores: TypeAlias = npt.NDArray[np.floating[Any]]

WITHIN_DAYS: Final = 14
MOST_A_YEAR: Final = 1.0
_GAP_DAYS: Final = 2
_DAY_S: Final = 86_400.0
_PARTS: Final = 4  # a quarter of the stations is faulty at a time
_HISTORY_DAYS: Final = 90
_USED: Final = 5  # sessions in the 30 days before a fault, and in the 30 days after it without it
_LEFT: Final = {
    StationAnomaly.SITE_DROP: 0.1,
    StationAnomaly.STATION_SILENT: 0.0,
    StationAnomaly.CONNECTOR_SILENT: 0.0,
    StationAnomaly.SESSION_COUNT_DROP: 0.35,
    StationAnomaly.ZERO_SESSION_SURGE: 0.5,
    StationAnomaly.POWER_DERATE: 0.4,
    StationAnomaly.METER_DRIFT: 1.08,
    StationAnomaly.ENERGY_DROP: 0.4,
}
AS_IT_IS: Final = "SHADE, as it is"
SHADE: Final = "SHADE"


class Outcome(msgspec.Struct, frozen=True):
    """What became of a fault: days until an episode opened (NaN: never within 60 days), and as what it was named."""

    kind: StationAnomaly
    volume: float
    delay_days: float
    named: str | None


class MethodResult(msgspec.Struct, frozen=True):
    """One method on one set.

    Args:
        name: of the method.
        false_alarms: episodes a station-year in the quiet run, at the threshold that it was compared at.
        outcomes: of the faults, in the same order for every method.
        auroc: of the highest score in the 14 days from a fault against quiet stretches of 14 days.
        absolute_error: summed absolute error of the forecasts of the evening before, in kWh.
        naive_error: the same of the naive forecast (a week before) on the same days.
    """

    name: str
    false_alarms: float
    outcomes: tuple[Outcome, ...]
    auroc: float
    absolute_error: float
    naive_error: float


class SetResult(msgspec.Struct, frozen=True):
    """All methods on one set."""

    name: str
    stations: int
    station_years: float
    methods: tuple[MethodResult, ...]


Told = Callable[[str, int], None]


def as_sessions(fleet: StationSessions) -> Sessions:
    """Returns sessions as SHADE takes them."""
    stations = zip(fleet.station_ids, fleet.sites, strict=True)
    return Sessions(
        fleet.station,
        fleet.connector,
        fleet.start_s,
        fleet.end_s,
        fleet.energy_kwh,
        fleet.power_kw,
        fleet.reference_kwh,
        np.zeros(fleet.size, np.bool_),
        tuple(Station(name, site, fleet.timezone, fleet.country) for name, site in stations),
        tuple(Connector(int(owner), str(number)) for number, owner in enumerate(fleet.connector_station)),
    )


# --- faults ----------------------------------------------------------------------------------------------------------


def plan_faults(fleet: StationSessions, seed: int) -> list[list[StationFault]]:
    """Returns the faults of each part of the back-test: one a station, types in turn, times at random."""
    rng = np.random.default_rng([seed, 515])
    days = _session_days(fleet)
    order = rng.permutation(len(fleet.station_ids)).tolist()
    size = -(-len(order) // _PARTS)
    parts = [_part(fleet, days, order[i * size : (i + 1) * size], i, rng) for i in range(_PARTS)]
    return [part for part in parts if part]


def _part(
    fleet: StationSessions, days: Floats, stations: list[int], turn: int, rng: np.random.Generator
) -> list[StationFault]:
    faults: list[StationFault] = []
    taken: set[str] = set()
    kinds = list(StationAnomaly)
    for station in stations:
        site = fleet.sites[station]
        if site and site in taken:
            continue
        begin = _begin(days[fleet.station == station], rng)
        if begin is None:
            continue
        for _ in kinds:
            kind = kinds[turn % len(kinds)]
            turn += 1
            if _possible(fleet, station, kind, begin):
                break
        if kind == StationAnomaly.SITE_DROP:
            if any(fleet.sites[fault.station] == site for fault in faults):
                continue
            taken.add(site)
        faults.append(StationFault(kind, station, begin * _DAY_S, _LEFT[kind]))
    return faults


def _session_days(fleet: StationSessions) -> Floats:
    instants = np.where(np.isnan(fleet.end_s), fleet.start_s, fleet.end_s)
    days: Floats = np.floor(instants / _DAY_S)
    return days


def _begin(days: Floats, rng: np.random.Generator) -> float | None:
    """Returns a day after 90 days of history, on which the station is in use; None when there is none."""
    if len(days) < 4 * _USED:
        return None
    candidates = np.arange(days.min() + _HISTORY_DAYS, days.max() - 30)
    before = np.searchsorted(days, candidates) - np.searchsorted(days, candidates - 30)
    after = np.searchsorted(days, candidates + 30) - np.searchsorted(days, candidates)
    usable = candidates[(before >= _USED) & (after >= _USED)]
    return float(rng.choice(usable)) if len(usable) else None


def _possible(fleet: StationSessions, station: int, kind: StationAnomaly, begin: float) -> bool:
    """Whether this fault could show in this data at all."""
    mine = fleet.station == station
    if kind == StationAnomaly.SITE_DROP:
        return bool(fleet.sites[station]) and fleet.sites.count(fleet.sites[station]) >= 3
    if kind == StationAnomaly.CONNECTOR_SILENT:
        recent = mine & (fleet.start_s < begin * _DAY_S) & (fleet.start_s > (begin - 60) * _DAY_S)
        used = np.sort(np.bincount(fleet.connector[recent], minlength=len(fleet.connector_station)))
        return bool(used[-2] >= 10)
    if kind == StationAnomaly.METER_DRIFT:
        return bool(np.isfinite(fleet.reference_kwh[mine]).any())
    return True


# --- runs ------------------------------------------------------------------------------------------------------------


def run_set(
    name: str, fleet: StationSessions, seed: int, peers: dict[str, Forecaster], told: Told = lambda *_: None
) -> SetResult:
    """Measures SHADE and its peers on one set of sessions."""
    quiet = _replayed(fleet)
    watched = quiet.watching
    years = float(watched.sum()) / 365.25
    seen = _seen(quiet)
    forecasts = {peer: forecaster(seen, None, None) for peer, forecaster in peers.items()}
    told(f"{name}: quiet", int(fleet.size))
    evidence = {peer: cusum(found.shortfall) for peer, found in forecasts.items()}
    thresholds = {peer: threshold_for(scores, watched, MOST_A_YEAR) for peer, scores in evidence.items()}
    thresholds |= {AS_IT_IS: 0.5, SHADE: threshold_for(quiet.score, watched, MOST_A_YEAR)}
    outcomes: dict[str, list[Outcome]] = {method: [] for method in (AS_IT_IS, SHADE, *peers)}
    highest: dict[str, list[float]] = {method: [] for method in outcomes}
    for number, faults in enumerate(plan_faults(fleet, seed)):
        faulty = _replayed(inject(fleet, faults, seed + number), quiet)
        told(f"{name}: faults", len(faults))
        for fault in faults:
            case = _case(fleet, faulty, fault)
            for method in (AS_IT_IS, SHADE):
                named = faulty if method == AS_IT_IS else None
                _measure(case, faulty.score, thresholds[method], named, outcomes[method], highest[method])
            for peer, forecaster in peers.items():
                peer_scores = _peer_scores(faulty, case, forecaster, forecasts[peer])
                _measure(case, peer_scores, thresholds[peer], None, outcomes[peer], highest[peer])
    results = []
    for method in outcomes:
        scores: Scores = quiet.score if method in {AS_IT_IS, SHADE} else evidence[method]
        expected: Scores = quiet.ahead_kwh if method in {AS_IT_IS, SHADE} else forecasts[method].energy_kwh
        results.append(
            MethodResult(
                method,
                episodes((scores >= thresholds[method]) & watched) / years,
                tuple(outcomes[method]),
                _auroc(np.array(highest[method]), scores, watched),
                *_errors(quiet, expected, list(forecasts.values())),
            )
        )
    return SetResult(name, len(fleet.station_ids), years, tuple(results))


def _replayed(fleet: StationSessions, like: Replay | None = None) -> Replay:
    """Replays a fleet of one time zone, to the same last day as another replay."""
    last = None if like is None else like.days.first_day + like.days.days - 1
    found: Replay = next(replay_all(as_sessions(fleet), last)).replay
    assert like is None or found.days.first_day == like.days.first_day
    return found


def _seen(quiet: Replay) -> Watched:
    there = np.arange(quiet.days.days)[:, None] >= quiet.days.born
    energy = np.where(there, quiet.days.actual_kwh, np.nan).astype(np.float64)
    return Watched(energy, np.where(there, quiet.days.sessions, np.nan).astype(np.float64))


class _Case(NamedTuple):
    fault: StationFault
    columns: list[int]  # stations whose alarm counts
    row: int
    volume: float


def _case(fleet: StationSessions, faulty: Replay, fault: StationFault) -> _Case:
    columns = [fault.station]
    if fault.kind == StationAnomaly.SITE_DROP:
        columns = [s for s, site in enumerate(fleet.sites) if site == fleet.sites[fault.station]]
    days = _session_days(fleet)[fleet.station == fault.station]
    begin = fault.begin_s / _DAY_S
    volume = float(((days >= begin - 60) & (days < begin)).sum()) / 60.0
    return _Case(fault, columns, int(begin) - faulty.days.first_day, volume)


def _measure(
    case: _Case,
    scores: Scores,
    threshold: float,
    named: Replay | None,
    outcomes: list[Outcome],
    highest: list[float],
) -> None:
    """Adds what became of a fault; ``scores`` are of all stations, or of the case's alone."""
    mine = scores[:, case.columns] if scores.shape[1] > len(case.columns) else scores
    flagged = mine >= threshold
    opened = flagged & ~_recent(flagged)
    days, places = np.nonzero(opened[case.row : case.row + 60])
    first = int(np.argmin(days)) if len(days) else -1
    delay = float(days[first]) if len(days) else np.nan
    kind = None
    if named is not None and len(days):
        number = int(named.kind[case.row + int(days[first]), case.columns[int(places[first])]])
        kind = None if number == NONE else TYPES[number].value
    outcomes.append(Outcome(case.fault.kind, case.volume, delay, kind))
    highest.append(float(mine[case.row : case.row + WITHIN_DAYS].max()))


def _recent(flagged: Flags) -> Flags:
    """Marks the days with an alarm in one of the three days before: an episode goes on over gaps of two days."""
    before = np.zeros_like(flagged)
    for back in range(1, _GAP_DAYS + 2):
        before[back:] |= flagged[:-back]
    return before


def _peer_scores(faulty: Replay, case: _Case, forecaster: Forecaster, known: Forecasts) -> Floats:
    """A peer's evidence at the stations of a case; before the fault all is as in the quiet run."""
    columns = case.columns
    all_seen = _seen(faulty)
    seen = Watched(all_seen.energy_kwh[:, columns], all_seen.sessions[:, columns])
    before = Forecasts(known.energy_kwh[:, columns], known.shortfall[:, columns])
    spans: list[Span] = [(case.row, case.row + WITHIN_DAYS)] * len(columns)
    found = forecaster(seen, spans, before)
    return cusum(found.shortfall)


# --- figures ---------------------------------------------------------------------------------------------------------


def episodes(flagged: Flags) -> int:
    """Returns the number of runs of flagged days (rows), over all columns; gaps of two days join."""
    return int((flagged & ~_recent(flagged)).sum())


def threshold_for(scores: Scores, watched: Flags, a_year: float) -> float:
    """Returns the lowest threshold (of 400 tried) from which on no more episodes a station-year are reported."""
    years = watched.sum() / 365.25
    positive = scores[watched & (scores > 0)]
    if not len(positive):
        return np.inf
    best = float(np.nextafter(float(positive.max()), np.inf))
    for share in np.linspace(1.0, 0.0, 400):
        threshold = float(np.quantile(positive, share))
        if episodes((scores >= threshold) & watched) / years > a_year:
            break
        best = threshold
    return best


def _auroc(highest: Floats, quiet: Scores, watched: Flags) -> float:
    rows = len(quiet) // WITHIN_DAYS * WITHIN_DAYS
    stretches = quiet[:rows].reshape(-1, WITHIN_DAYS, quiet.shape[1]).max(axis=1)
    whole = watched[:rows].reshape(-1, WITHIN_DAYS, quiet.shape[1]).all(axis=1)
    values = np.concatenate([highest, stretches[whole]]).astype(np.float64)
    return auroc(values, np.arange(len(values)) < len(highest))


def _errors(quiet: Replay, expected: Scores, others: list[Forecasts]) -> tuple[float, float]:
    """Summed absolute errors of a forecast and of the naive one, where every method has a forecast."""
    actual = quiet.days.actual_kwh.astype(np.float64)
    naive = np.full(actual.shape, np.nan)
    naive[7:] = actual[:-7]
    there = np.arange(len(actual))[:, None] >= quiet.days.born + 7
    both = quiet.watching & there & ~np.isnan(naive) & ~np.isnan(quiet.ahead_kwh)
    for other in others:
        both &= ~np.isnan(other.energy_kwh)
    return float(np.abs(actual - expected)[both].sum()), float(np.abs(actual - naive)[both].sum())
