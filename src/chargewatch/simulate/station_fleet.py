"""Simulated sessions of stations over months, for the station detector: drivers with habits, not rates.

Nothing here is drawn from a distribution that the detector assumes. A driver drives each day, comes by on days of
a habit, plugs in when enough has been driven, has a favourite connector, goes on holiday, falls away; passers-by come
with the weather and with events; who finds a connector taken goes to the next one or leaves. Counts, shares and
energies follow from that.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_DAY_S: Final = 86_400.0
_FIRST_DAY: Final = 19_358  # 2023-01-01, a Sunday
#: Public holidays of Germany in 2023 and 2024, as days from 2023-01-01 on.
_FEASTS: Final = (0, 96, 99, 120, 137, 148, 275, 358, 359, 365, 453, 456, 486, 494, 505, 641, 724, 725)
_KINDS: Final = ("work", "street", "fast")
_KWH_PER_KM: Final = 0.18


class StationSessions(NamedTuple):
    """Sessions as columns; times in seconds since 1970 (UTC). What is not known is NaN.

    Args:
        station: the number of the station.
        connector: the number of the connector, over all stations.
        start_s: when it began.
        end_s: when it ended.
        energy_kwh: by the register.
        power_kw: the highest of the session.
        reference_kwh: by the integral of power.
        station_ids: the stations.
        sites: the site of each station; empty for none.
        connector_station: the station of each connector.
        timezone: of all of them.
        country: of all of them.
    """

    station: Integers
    connector: Integers
    start_s: Floats
    end_s: Floats
    energy_kwh: Floats
    power_kw: Floats
    reference_kwh: Floats
    station_ids: tuple[str, ...]
    sites: tuple[str, ...]
    connector_station: Integers
    timezone: str
    country: str

    @property
    def size(self) -> int:
        """The number of sessions."""
        return len(self.station)

    def rows(self, chosen: Flags | Integers) -> "StationSessions":
        """Returns some of the sessions, marked or by number."""
        return self.with_columns([getattr(self, name)[chosen] for name in COLUMNS])

    def with_columns(self, columns: Sequence[npt.NDArray[Any]]) -> "StationSessions":
        """Returns other sessions (columns in the order of `COLUMNS`) of the same stations."""
        station, connector, start_s, end_s, energy_kwh, power_kw, reference_kwh = columns
        return self._replace(
            station=station,
            connector=connector,
            start_s=start_s,
            end_s=end_s,
            energy_kwh=energy_kwh,
            power_kw=power_kw,
            reference_kwh=reference_kwh,
        )


#: The columns that have an element a session.
COLUMNS: Final = ("station", "connector", "start_s", "end_s", "energy_kwh", "power_kw", "reference_kwh")


class _Site(NamedTuple):
    kind: str
    stations: Integers
    connectors: Integers
    volume: float  # sessions a day and station that it is made for
    power_kw: float


class _Weather(NamedTuple):
    celsius: Floats
    rain: Flags


def simulate_stations(stations: int, days: int, seed: int, volume: float | None = None) -> StationSessions:
    """Returns the sessions of a fleet without faults, in order of their ends.

    Args:
        stations: how many.
        days: how many, from 2023-01-01 on.
        seed: another one is another fleet.
        volume: sessions a day of every station; default: from 0.3 to 8, most 1 to 3.
    """
    rng = np.random.default_rng([seed, 7_013])
    sites, sites_of = _sites(stations, rng, volume)
    weather = _weather(days, rng)
    parts = [_site_sessions(site, days, weather, rng) for site in sites]
    connector, start_s, end_s, energy, power, reference = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    connectors = np.concatenate([np.repeat(s.stations, 2) for s in sites]).astype(np.int64)
    fleet = StationSessions(
        connectors[connector.astype(np.int64)],
        connector.astype(np.int64),
        start_s,
        end_s,
        energy,
        power,
        reference,
        tuple(f"S{number:05d}" for number in range(stations)),
        sites_of,
        connectors,
        "Europe/Berlin",
        "DE",
    )
    return fleet.rows(np.argsort(fleet.end_s, kind="stable"))


def _sites(
    stations: int, rng: np.random.Generator, volume: float | None
) -> tuple[list[_Site], tuple[str, ...]]:
    sites: list[_Site] = []
    names: list[str] = []
    placed = 0
    while placed < stations:
        size = min(int(rng.choice((1, 1, 2, 3, 4, 6))), stations - placed)
        kind = str(rng.choice(_KINDS, p=(0.35, 0.45, 0.2)))
        busy = volume or float(np.clip(rng.lognormal(np.log(1.7), 0.75), 0.3, 8.0))
        power = float(rng.choice((50.0, 75.0, 150.0))) if kind == "fast" else float(rng.choice((11.0, 22.0)))
        numbers = np.arange(placed, placed + size)
        connectors = np.arange(2 * placed, 2 * (placed + size))
        sites.append(_Site(kind, numbers, connectors, busy, power))
        names += [f"site-{len(sites)}"] * size
        placed += size
    return sites, tuple(names)


def _weather(days: int, rng: np.random.Generator) -> _Weather:
    noise = np.zeros(days)
    for day in range(1, days):
        noise[day] = 0.8 * noise[day - 1] + rng.normal(0.0, 2.2)
    year = 2 * np.pi * (np.arange(days) - 20) / 365.25
    rain = np.zeros(days, np.bool_)
    for day in range(1, days):
        rain[day] = rng.random() < (0.62 if rain[day - 1] else 0.22)
    return _Weather(10.0 - 9.5 * np.cos(year) + noise, rain)


def _site_sessions(site: _Site, days: int, weather: _Weather, rng: np.random.Generator) -> list[Floats]:
    """Columns connector, start, end, energy, power, reference of all that happens at a site."""
    target = site.volume * len(site.stations)
    regular = {"work": 0.85, "street": 0.65, "fast": 0.15}[site.kind]
    arrivals: list[Floats] = []
    expected = 0.0
    while expected < target * regular:
        visits = _driver(site, days, weather, rng)
        arrivals.append(visits)
        expected += max(visits.shape[1] / days, 0.02)
    arrivals.append(_passers_by(site, target * (1.0 - regular), days, weather, rng))
    visits = np.concatenate(arrivals, axis=1)
    visits = visits[:, np.argsort(visits[0], kind="stable")]
    return _plugged(site, visits, rng)


def _driver(site: _Site, days: int, weather: _Weather, rng: np.random.Generator) -> Floats:
    """Visits of a driver: rows start (s), stay (s), wanted energy (kWh), car's power (kW), favourite connector."""
    habit = (
        np.full(7, rng.beta(4, 2)) if site.kind != "work" else np.r_[np.full(5, rng.beta(5, 2)), 0.02, 0.02]
    )
    if site.kind == "work":
        habit[rng.integers(5)] *= rng.choice((0.15, 1.0))  # a day at home
    weekday = (np.arange(days) + _FIRST_DAY + 3) % 7
    there = rng.random(days) < habit[weekday]
    there &= ~_away(days, 0.95 if site.kind == "work" else 0.4, rng)
    km = rng.lognormal(np.log(rng.uniform(18, 55)), 0.7, days)
    need = km * _KWH_PER_KM * (1.0 + 0.012 * np.maximum(18.0 - weather.celsius, 0.0))
    patience, battery = rng.uniform(0.12, 0.6), rng.choice((40.0, 58.0, 77.0))
    share = rng.uniform(0.5, 1.0)  # of what is driven that is charged here
    wanted, owed = np.zeros(days), 0.0
    for day in range(days):
        owed = min(owed + need[day] * share, 0.9 * battery)
        if there[day] and owed > patience * battery:
            wanted[day], owed = owed, 0.0
    plugged = np.flatnonzero(wanted)
    hour = rng.normal(
        rng.uniform(7.0, 9.5) if site.kind == "work" else rng.uniform(9.0, 20.0), 0.6, len(plugged)
    )
    stay_h = rng.lognormal(np.log({"work": 7.0, "street": 5.0, "fast": 0.6}[site.kind]), 0.35, len(plugged))
    car_kw = float(rng.choice((3.7, 7.4, 11.0, 22.0), p=(0.15, 0.25, 0.5, 0.1)))
    if site.kind == "fast":
        car_kw = float(rng.choice((50.0, 80.0, 120.0)))
    start = (_FIRST_DAY + plugged + np.clip(hour, 0.2, 23.5) / 24.0) * _DAY_S
    favourite = float(rng.choice(site.connectors))
    count = len(plugged)
    return np.stack(
        [start, stay_h * 3_600, wanted[plugged], np.full(count, car_kw), np.full(count, favourite)]
    )


def _away(days: int, feasts: float, rng: np.random.Generator) -> Flags:
    """Days on which a driver is not around: before moving here, after moving away, on holiday, ill."""
    away = np.zeros(days, np.bool_)
    if rng.random() < 0.18:
        away[: rng.integers(days)] = True
    if rng.random() < 0.15:
        away[rng.integers(days) :] = True
    for _ in range(rng.poisson(2.2 * days / 365.0)):
        middle = 205 if rng.random() < 0.4 else rng.integers(365)
        begin = int(middle + rng.normal(0, 12)) % max(days, 1)
        away[begin : begin + int(rng.integers(4, 19))] = True
    christmas = np.arange(days) % 365
    away |= (christmas >= 356) & (rng.random() < 0.7)
    away[[feast for feast in _FEASTS if feast < days]] |= rng.random() < feasts
    return away


def _passers_by(site: _Site, rate: float, days: int, weather: _Weather, rng: np.random.Generator) -> Floats:
    weekday = (np.arange(days) + _FIRST_DAY + 3) % 7
    rates = np.full(days, rate)
    rates *= np.where(weather.rain, 0.85, 1.05) * np.where(weekday >= 5, rng.uniform(0.6, 1.6), 1.0)
    for _ in range(rng.poisson(3 * days / 365.0)):  # fairs, road works
        begin = int(rng.integers(days))
        rates[begin : begin + int(rng.integers(1, 8))] *= rng.choice((0.6, 1.6, 2.2))
    rates *= np.linspace(1.0, rng.uniform(0.8, 1.5), days)
    day = np.repeat(np.arange(days), rng.poisson(rates))
    count = len(day)
    start = (_FIRST_DAY + day + np.clip(rng.normal(14.0, 4.0, count), 0.2, 23.5) / 24.0) * _DAY_S
    stay_h = rng.lognormal(np.log({"work": 4.0, "street": 2.5, "fast": 0.6}[site.kind]), 0.6, count)
    wanted = rng.choice((30.0, 45.0, 60.0), count) * rng.beta(2, 2.5, count)
    wanted *= 1.0 + 0.01 * np.maximum(18.0 - weather.celsius[day], 0.0)
    cars = (50.0, 80.0, 120.0) if site.kind == "fast" else (3.7, 7.4, 11.0, 22.0)
    return np.stack(
        [
            start,
            stay_h * 3_600,
            wanted,
            rng.choice(cars, count),
            rng.choice(site.connectors, count).astype(float),
        ]
    )


def _plugged(site: _Site, visits: Floats, rng: np.random.Generator) -> list[Floats]:
    """Gives each visit a free connector, or sends it away; then charges. Some first attempts fail."""
    first = int(site.connectors[0])
    free_at = np.zeros(len(site.connectors))
    trouble = rng.beta(1.2, 40.0)
    rows: list[tuple[float, ...]] = []
    for start, stay, wanted, car_kw, favourite in visits.T:
        begin = start
        at = int(favourite) - first
        if free_at[at] > begin:
            at = int(np.argmin(free_at))
            if free_at[at] > begin:
                continue
        if rng.random() < trouble:
            length = rng.uniform(60, 400)
            rows.append((at + first, begin, begin + length, rng.choice((0.0, 0.02, 0.06)), 0.0, 0.0))
            begin += length + 90.0
        power = min(car_kw, site.power_kw) * rng.uniform(0.92, 1.0)
        effective = power * (0.72 if site.kind == "fast" else 0.97)
        energy = min(wanted, effective * stay / 3_600)
        end = begin + (stay if site.kind != "fast" else max(energy / effective * 3_600, 240.0))
        free_at[at] = end + 120.0
        reading = round(max(energy, 0.0) * (1.0 + rng.normal(0.0, 0.004)), 3)
        rows.append((at + first, begin, end, reading, power, energy * (1.0 + rng.normal(0.0, 0.02))))
    table = np.array(rows, np.float64).reshape(-1, 6)
    return [table[:, column] for column in range(6)]
