"""Faults of stations, put into sessions from a day on: simulated or real ones, in the same way."""

from typing import Final, NamedTuple

import numpy as np

from chargewatch.domain.station_types import StationAnomaly
from chargewatch.simulate.station_fleet import COLUMNS, Flags, Floats, StationSessions

_DAY_S: Final = 86_400.0
_ZERO_KWH: Final = 0.03


class StationFault(NamedTuple):
    """A fault of one station (of a whole site for ``site_drop``) from an instant on.

    ``left`` is what is left: of sessions, energy or power. For ``zero_session_surge`` it is the share of sessions
    that still deliver; for ``meter_drift`` the register's gain once the drift has reached its end, after ten days.
    """

    kind: StationAnomaly
    station: int
    begin_s: float
    left: float
    until_s: float = np.inf


def inject(sessions: StationSessions, faults: list[StationFault], seed: int) -> StationSessions:
    """Returns the sessions as they would have been with these faults. In order of their ends."""
    rng = np.random.default_rng([seed, 9_241])
    for fault in faults:
        sessions = _INJECTORS[fault.kind](sessions, fault, rng)
    return sessions.rows(np.argsort(_instants(sessions), kind="stable"))


def _instants(sessions: StationSessions) -> Floats:
    return np.where(np.isnan(sessions.end_s), sessions.start_s, sessions.end_s)


def _hit(sessions: StationSessions, fault: StationFault) -> Flags:
    """Marks the station's sessions that began under the fault."""
    begin = np.where(np.isnan(sessions.start_s), sessions.end_s, sessions.start_s)
    hit: Flags = (sessions.station == fault.station) & (begin >= fault.begin_s) & (begin < fault.until_s)
    return hit


def _silent(sessions: StationSessions, fault: StationFault, _: np.random.Generator) -> StationSessions:
    return sessions.rows(~_hit(sessions, fault))


def _fewer(sessions: StationSessions, fault: StationFault, rng: np.random.Generator) -> StationSessions:
    lost = _hit(sessions, fault) & (rng.random(sessions.size) >= fault.left)
    return sessions.rows(~lost)


def _site(sessions: StationSessions, fault: StationFault, rng: np.random.Generator) -> StationSessions:
    site = sessions.sites[fault.station]
    for station, name in enumerate(sessions.sites):
        if name == site:
            sessions = _fewer(sessions, fault._replace(station=station), rng)
    return sessions


def _connector(sessions: StationSessions, fault: StationFault, rng: np.random.Generator) -> StationSessions:
    """The station's busiest connector dies; half of its users take another one."""
    hit = _hit(sessions, fault)
    mine = np.flatnonzero(sessions.connector_station == fault.station)
    before = (sessions.station == fault.station) & ~hit
    used = np.bincount(sessions.connector[before], minlength=len(sessions.connector_station))[mine]
    dead, other = mine[np.argsort(used)[-1]], mine[np.argsort(used)[-2]]
    concerned = hit & (sessions.connector == dead)
    moved = concerned & (rng.random(sessions.size) < 0.5)
    connector = np.where(moved, other, sessions.connector)
    return sessions._replace(connector=connector).rows(~(concerned & ~moved))


def _zeros(sessions: StationSessions, fault: StationFault, rng: np.random.Generator) -> StationSessions:
    """Sessions deliver nothing; every third such driver tries once more, in vain."""
    failed = _hit(sessions, fault) & (rng.random(sessions.size) >= fault.left)
    length = rng.uniform(60, 500, sessions.size)
    changed = sessions._replace(
        energy_kwh=np.where(failed, rng.choice((0.0, _ZERO_KWH), sessions.size), sessions.energy_kwh),
        reference_kwh=np.where(failed, np.nan, sessions.reference_kwh),
        power_kw=np.where(failed, np.nan, sessions.power_kw),
        end_s=np.where(failed, sessions.start_s + length, sessions.end_s),
    )
    again = changed.rows(np.flatnonzero(failed & (rng.random(sessions.size) < 1 / 3)))
    again = again._replace(start_s=again.end_s + 60.0, end_s=again.end_s + 200.0)
    return _joined(changed, again)


def _derate(sessions: StationSessions, fault: StationFault, rng: np.random.Generator) -> StationSessions:
    """Less power at the same stay, and so less energy."""
    hit = _hit(sessions, fault)
    factor = np.where(hit, fault.left * rng.uniform(0.95, 1.05, sessions.size), 1.0)
    return sessions._replace(
        energy_kwh=sessions.energy_kwh * factor,
        reference_kwh=sessions.reference_kwh * factor,
        power_kw=sessions.power_kw * factor,
    )


def _drift(sessions: StationSessions, fault: StationFault, _: np.random.Generator) -> StationSessions:
    hit = _hit(sessions, fault)
    way = np.clip((sessions.start_s - fault.begin_s) / (10 * _DAY_S), 0.0, 1.0)
    gain = np.where(hit, 1.0 + (fault.left - 1.0) * way, 1.0)
    return sessions._replace(energy_kwh=sessions.energy_kwh * gain)


def _break_off(sessions: StationSessions, fault: StationFault, rng: np.random.Generator) -> StationSessions:
    """Sessions break off early: less energy at the same power."""
    hit = _hit(sessions, fault)
    factor = np.where(hit, np.clip(fault.left * rng.uniform(0.5, 1.5, sessions.size), 0.02, 1.0), 1.0)
    return sessions._replace(
        energy_kwh=sessions.energy_kwh * factor,
        reference_kwh=sessions.reference_kwh * factor,
        end_s=sessions.start_s + (sessions.end_s - sessions.start_s) * factor,
    )


def _joined(first: StationSessions, second: StationSessions) -> StationSessions:
    return first.with_columns(
        [np.concatenate([getattr(first, name), getattr(second, name)]) for name in COLUMNS]
    )


_INJECTORS: Final = {
    StationAnomaly.SITE_DROP: _site,
    StationAnomaly.STATION_SILENT: _silent,
    StationAnomaly.CONNECTOR_SILENT: _connector,
    StationAnomaly.SESSION_COUNT_DROP: _fewer,
    StationAnomaly.ZERO_SESSION_SURGE: _zeros,
    StationAnomaly.POWER_DERATE: _derate,
    StationAnomaly.METER_DRIFT: _drift,
    StationAnomaly.ENERGY_DROP: _break_off,
}
