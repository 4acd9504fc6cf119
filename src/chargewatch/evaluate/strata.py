"""The strata of ordinary sessions: hardware, load management, sampling, what is sent, how long."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

import numpy as np

from chargewatch.simulate import SimulatedSession
from chargewatch.simulate.meters import SLOWEST_FOR_POWER_ONLY_S
from chargewatch.simulate.records import Kind
from chargewatch.simulate.sessions import Identity, plan_session, play
from chargewatch.simulate.stations import Needs, Station, adapted, draw_station

Channels = Literal["energy", "power", "power and SoC"]
Length = Literal["any", "thin", "long"]

THIN_INSTANTS: Final = (3, 20)
LONG: Final = timedelta(hours=6)

_FIRST_START: Final = datetime(2026, 1, 5, tzinfo=UTC)
_DAYS: Final = 28
_MOST_TRIES: Final = 400
_BLIND_WH: Final = 1000


class Stratum(NamedTuple):
    """A kind of ordinary session. ``sampling_s``: seconds between readings.

    ``thin`` sessions have 3 to 20 instants with readings, ``long`` ones last more than 6 h.
    """

    kind: Kind
    managed: bool
    sampling_s: float
    channels: Channels
    length: Length = "any"

    @property
    def name(self) -> str:
        """What it is called in tables."""
        managed = "managed" if self.managed else "unmanaged"
        length = "" if self.length == "any" else f", {self.length}"
        return f"{self.kind.upper()}, {managed}, {self.channels}, {self.sampling_s:.0f} s{length}"


def ordinary_strata() -> tuple[Stratum, ...]:
    """Returns the strata of ordinary sessions."""
    return tuple(_strata())


def _strata() -> Iterator[Stratum]:
    every: tuple[Channels, ...] = ("energy", "power", "power and SoC")
    for managed in (False, True):
        for channels in every:
            yield from (Stratum("ac", managed, s, channels) for s in (60.0, 300.0, 900.0))
        for channels in every[1:]:
            yield from (Stratum("dc", managed, s, channels) for s in (10.0, 30.0, 60.0, 300.0))
        yield from (
            Stratum("ac", managed, s, c, "long") for c, s in zip(every, (900.0, 300.0, 300.0), strict=True)
        )
        yield Stratum("ac", managed, 900.0, "energy", "thin")
    for channels in every[1:]:
        yield from (Stratum("ac", False, s, channels) for s in (10.0, 30.0))
    yield from (Stratum("dc", False, s, "energy") for s in (60.0, 300.0))
    yield Stratum("ac", False, 900.0, "power", "thin")
    yield Stratum("ac", False, 300.0, "power", "thin")
    yield Stratum("dc", False, 300.0, "power and SoC", "thin")


def ordinary_session(stratum: Stratum, seed: int) -> SimulatedSession:
    """Returns an ordinary session of a stratum; the same arguments give the same session.

    Raises:
        ValueError: sessions of this stratum are too rare to be drawn.
    """
    rng = np.random.default_rng(seed)
    for _ in range(_MOST_TRIES):
        station = _station(stratum, rng)
        starts_at = _FIRST_START + timedelta(seconds=int(rng.integers(0, _DAYS * 86400)))
        plan = plan_session(rng, station, starts_at, float(rng.uniform(1e6, 3e7)), None)
        if stratum.length == "long" and plan.visit.stay_s <= LONG.total_seconds():
            continue
        session = play(rng, plan, None, Identity(f"sim-{seed}", f"station-{seed}", "1"))
        if _admits(stratum, session):
            return session
    raise ValueError(f"no session is like this: {stratum.name}")


def _station(stratum: Stratum, rng: np.random.Generator) -> Station:
    """Draws a station that sends what the stratum says."""
    energy_only = stratum.channels == "energy"
    needs = Needs(
        managed=stratum.managed,
        power=not energy_only,
        soc=stratum.channels == "power and SoC",
        register=True if energy_only else None,
        current=False if energy_only else None,
    )
    station = adapted(draw_station(rng, stratum.kind), needs, rng)
    meter = replace(
        station.meter,
        sampling_s=stratum.sampling_s,
        clock_aligned=station.meter.clock_aligned and stratum.sampling_s >= 300.0,
        voltage=station.meter.voltage and not energy_only,
    )
    if meter.register == "none" and stratum.sampling_s > SLOWEST_FOR_POWER_ONLY_S:
        meter = replace(meter, register="session")
    if energy_only and meter.resolution_wh >= _BLIND_WH:  # steps of 1 kWh do not tell rest from slow charging
        meter = replace(meter, offered="none")
    return Station(station.charger, meter)


def _admits(stratum: Stratum, session: SimulatedSession) -> bool:
    if stratum.length == "thin":
        return THIN_INSTANTS[0] <= len({r.timestamp for r in session.readings}) <= THIN_INSTANTS[1]
    if stratum.length == "long":
        return session.ended_at - session.started_at > LONG
    return True
