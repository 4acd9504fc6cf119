"""A fleet: stations times days, as one stream of sessions in order of time.

Each connector plans its own sessions one after the other; the plans are merged by time and only
then carried out, so that the memory needed does not grow with the days.
"""

import heapq
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple

import numpy as np

from chargewatch.simulate.catalogue import possible_faults, possible_near_misses
from chargewatch.simulate.plans import Plan
from chargewatch.simulate.records import Kind, SimulatedSession
from chargewatch.simulate.sessions import Identity, Script, plan_session, play
from chargewatch.simulate.stations import Station, draw_station

_AC_SHARE: Final = 0.75
_PROFILES: Final[dict[str, tuple[float, ...]]] = {  # arrivals by hour of day, relative
    "home": (1, 0.5, 0.3, 0.2, 0.3, 0.6, 1.5, 2, 2, 2, 2, 3, 3, 3, 4, 6, 9, 11, 11, 9, 7, 5, 3, 2),
    "work": (0.2, 0.2, 0.2, 0.2, 0.5, 2, 6, 12, 11, 8, 5, 4, 5, 5, 3, 2, 1.5, 1, 1, 0.8, 0.5, 0.4, 0.3, 0.2),
    "road": (1, 0.7, 0.5, 0.5, 0.8, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 8, 8, 8, 7, 5, 4, 3, 2, 1.5),
}
_GAP_H: Final[dict[Kind, float]] = {"ac": 4.0, "dc": 2.2}


class _Connector(NamedTuple):
    """One connector; ``number`` is unique in the fleet and seeds its sessions."""

    number: int
    station: Station
    station_id: str
    connector_id: str
    hours: tuple[float, ...]
    weekend: float
    gap_h: float
    base_wh: float


class _Due(NamedTuple):
    """A planned session, comparable by time."""

    starts_at: datetime
    number: int
    turn: int
    plan: Plan
    script: Script | None
    rng: np.random.Generator
    identity: Identity


def simulate_fleet(
    *,
    stations: int,
    days: int,
    seed: int,
    start: date = date(2026, 1, 5),
    anomaly_share: float = 0.03,
    near_miss_share: float = 0.05,
) -> Iterator[SimulatedSession]:
    """Yields the sessions that begin within ``days`` from ``start`` (UTC), ordered by ``started_at``.

    Each session depends only on the seed, its connector and its number there, so a fleet is the same
    for the same arguments and more days only add sessions at the end.

    Args:
        stations: how many, with one or two connectors each.
        days: how many.
        seed: of everything that is drawn.
        start: first day.
        anomaly_share: share of the sessions that get a fault.
        near_miss_share: share of the sessions that look like a fault and are none.

    Raises:
        ValueError: shares outside [0, 1], or negative sizes.
    """
    if min(anomaly_share, near_miss_share, 1.0 - anomaly_share - near_miss_share) < 0:
        raise ValueError("the shares must lie between 0 and 1, together too")
    if min(stations, days) < 0:
        raise ValueError("stations and days must not be negative")
    begin = datetime.combine(start, time(), UTC)
    shares = (anomaly_share, near_miss_share)
    streams = [_planned(c, seed, begin, days, shares) for c in _connectors(stations, seed)]
    return (play(d.rng, d.plan, d.script, d.identity) for d in heapq.merge(*streams, key=lambda d: d[:3]))


def _connectors(stations: int, seed: int) -> Iterator[_Connector]:
    number = 0
    for index in range(stations):
        rng = np.random.default_rng((seed, 0, index))
        kind: Kind = "ac" if rng.random() < _AC_SHARE else "dc"
        station = draw_station(rng, kind)
        profile = "road" if kind == "dc" else str(rng.choice(("home", "work", "road")))
        weekend = 0.25 if profile == "work" else float(rng.uniform(0.8, 1.3))
        gap = _GAP_H[kind] * float(np.exp(rng.normal(0.0, 0.5)))
        for connector in range(1, int(rng.integers(1, 3)) + 1):
            base = float(rng.uniform(1e6, 3e7))
            hours = _PROFILES[profile]
            yield _Connector(
                number, station, f"station-{index + 1:04d}", str(connector), hours, weekend, gap, base
            )
            number += 1


def _planned(
    connector: _Connector, seed: int, begin: datetime, days: int, shares: tuple[float, float]
) -> Iterator[_Due]:
    """Yields a connector's sessions: the next car comes some time after the last one has left."""
    calendar = np.random.default_rng((seed, 1, connector.number))
    end, count = begin + timedelta(days=days), 0
    at = _next_arrival(calendar, connector, begin)
    while at < end:
        rng = np.random.default_rng((seed, 2, connector.number, count))
        script = _drawn_script(rng, connector.station, shares)
        base_wh = connector.base_wh + _counted_before_wh(connector, begin, at)
        plan = plan_session(rng, connector.station, at, base_wh, script)
        name = f"{connector.station_id}-{connector.connector_id}-{count:06d}"
        identity = Identity(name, connector.station_id, connector.connector_id)
        yield _Due(at, connector.number, count, plan, script, rng, identity)
        count += 1
        at = _next_arrival(calendar, connector, at + timedelta(seconds=int(plan.visit.stay_s) + 60))


def _counted_before_wh(connector: _Connector, begin: datetime, at: datetime) -> float:
    """A lifetime register's count since ``begin``: at least what all sessions so far can have added."""
    return connector.station.charger.rated_kw * (at - begin).total_seconds() / 3.6


def _next_arrival(rng: np.random.Generator, connector: _Connector, after: datetime) -> datetime:
    """Draws the next arrival: a Poisson process whose rate follows hour and weekday (thinning)."""
    busiest = max(connector.hours) * max(connector.weekend, 1.0)
    mean_h = connector.gap_h * (sum(connector.hours) / 24.0) / busiest
    at = after
    while True:
        at += timedelta(seconds=1 + int(rng.exponential(mean_h * 3600.0)))
        rate = connector.hours[at.hour] * (connector.weekend if at.weekday() >= 5 else 1.0)
        if rng.random() * busiest < rate:
            return at


def _drawn_script(rng: np.random.Generator, station: Station, shares: tuple[float, float]) -> Script | None:
    drawn = rng.random()
    if drawn < shares[0]:
        faults = list(possible_faults(station).items())
        category, mechanisms = faults[int(rng.integers(len(faults)))]
        return Script(category, mechanisms[int(rng.integers(len(mechanisms)))])
    if drawn < sum(shares):
        near_misses = possible_near_misses(station)
        return Script(None, near_misses[int(rng.integers(len(near_misses)))])
    return None
