"""Stations: hardware and meter together, and what a fault or near-miss needs of them.

A station keeps its meter from session to session, so a fleet picks only faults that a station can
show; otherwise the readings that it sends would give the fault away.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

import numpy as np

from chargewatch.simulate.chargers import Charger, ac_charger, draw_charger
from chargewatch.simulate.electrics import (
    CAR_SENSORS,
    CHARGER_SENSORS,
    Electrics,
    Sensor,
    VoltageForm,
    draw_electrics,
    draw_nominal_v,
    fitting,
)
from chargewatch.simulate.meters import SAMPLINGS_S, Meter, draw_meter
from chargewatch.simulate.records import Kind


@dataclass(frozen=True, slots=True)
class Station:
    """Hardware and meter of the connectors of one station."""

    charger: Charger
    meter: Meter


class Needs(NamedTuple):
    """What a station must be and send. None: it does not matter.

    ``current``: a reading a phase. ``voltage``: against neutral at each phase, between lines, or (DC)
    at the outlet; False: not sent. ``temperature``: taken at the charger, at a certain place of it, or in the car.
    """

    kind: Kind | None = None
    phases: int | None = None
    managed: bool | None = None
    register: bool | None = None
    lifetime: bool | None = None
    power: bool | None = None
    soc: bool | None = None
    offered: bool | None = None
    current: bool | None = None
    begin_end: bool | None = None
    clock_aligned: bool | None = None
    watt_hours: bool | None = None
    sampling_at_most_s: float | None = None
    resolution_at_most_wh: int | None = None
    voltage: Literal["neutral", "lines", "outlet"] | bool | None = None
    temperature: Literal["charger", "car", "Outlet", "Cable"] | None = None
    nominal_v: float | None = None


_SENSORS: Final[Mapping[str, tuple[Sensor, ...]]] = {
    "charger": CHARGER_SENSORS,
    "car": CAR_SENSORS,
    "Outlet": ("Outlet",),
    "Cable": ("Cable",),
}


def draw_station(rng: np.random.Generator, kind: Kind) -> Station:
    """Draws a station."""
    charger = draw_charger(rng, kind)
    meter, habits = draw_meter(rng, charger), rng.spawn(1)[0]
    if kind == "ac":
        volts = draw_nominal_v(habits, charger.phases, charger.current_a)
        charger = ac_charger(charger.phases, charger.current_a, managed=charger.managed, voltage_v=volts)
    return Station(charger, replace(meter, electrics=draw_electrics(habits, charger)))


def meets(station: Station, needs: Needs) -> bool:
    """Says whether the station is and sends what is needed."""
    charger, meter = station.charger, station.meter
    facts = (
        (needs.kind, charger.kind),
        (needs.phases, charger.phases),
        (needs.managed, charger.managed),
        (needs.register, meter.register != "none"),
        (needs.lifetime, meter.register == "lifetime"),
        (needs.power, meter.power != "none"),
        (needs.soc, meter.soc),
        (needs.offered, meter.offered != "none"),
        (needs.current, _phase_currents(station)),
        (needs.voltage, _voltage_sent(station, needs.voltage)),
        (needs.temperature, _temperature_sent(meter.electrics, needs.temperature)),
        (needs.nominal_v, charger.voltage_v),
        (needs.begin_end, meter.begin_end),
        (needs.clock_aligned, meter.clock_aligned),
        (needs.watt_hours, meter.energy_unit == "Wh"),
    )
    if any(wanted is not None and wanted != fact for wanted, fact in facts):
        return False
    slow = needs.sampling_at_most_s is not None and meter.sampling_s > needs.sampling_at_most_s
    coarse = needs.resolution_at_most_wh is not None and meter.resolution_wh > needs.resolution_at_most_wh
    return not (slow or coarse)


def _phase_currents(station: Station) -> bool:
    return station.meter.current and station.meter.electrics.current == "phases"


def _voltage_sent(station: Station, wanted: str | bool | None) -> str | bool:
    """How voltage is sent, in the words of what is wanted."""
    if not station.meter.voltage or isinstance(wanted, bool):
        return station.meter.voltage
    if station.charger.kind == "dc":
        return "outlet"
    form, one_phase = station.meter.electrics.voltage, station.charger.phases == 1
    if form in ("neutral", "phases") or (form == "plain" and one_phase):
        return "neutral"
    return form


def _temperature_sent(electrics: Electrics, wanted: str | None) -> str | None:
    """Where the first temperature is taken, in the words of what is wanted."""
    if not electrics.sensors:
        return None
    if wanted in CHARGER_SENSORS:
        return electrics.sensors[0]
    return "car" if electrics.sensors[0] in CAR_SENSORS else "charger"


def adapted(station: Station, needs: Needs, rng: np.random.Generator) -> Station:
    """Returns the station changed where it does not meet ``needs`` (``needs.kind`` must fit already)."""
    charger, meter = station.charger, station.meter
    if needs.kind is not None and needs.kind != charger.kind:
        raise ValueError(f"a {charger.kind} station cannot be made {needs.kind}")
    if needs.managed is not None:
        charger = replace(charger, managed=needs.managed)
    if needs.phases is not None and needs.phases != charger.phases:
        charger = ac_charger(needs.phases, float(rng.choice((16.0, 32.0))), managed=charger.managed)
    if needs.nominal_v is not None and needs.nominal_v != charger.voltage_v:
        charger = ac_charger(
            charger.phases, charger.current_a, managed=charger.managed, voltage_v=needs.nominal_v
        )
    meter = _adapted_meter(meter, charger, needs)
    return Station(charger, _adapted_electrics(meter, charger, needs, rng))


def _adapted_meter(meter: Meter, charger: Charger, needs: Needs) -> Meter:
    meter = _with_quantities(meter, needs)
    if needs.begin_end is not None:
        meter = replace(meter, begin_end=needs.begin_end)
    if needs.clock_aligned:
        meter = replace(meter, clock_aligned=True, begin_end=True, sampling_s=max(meter.sampling_s, 300.0))
    if needs.sampling_at_most_s is not None and meter.sampling_s > needs.sampling_at_most_s:
        slowest = max(s for s in SAMPLINGS_S if s <= needs.sampling_at_most_s)
        meter = replace(meter, sampling_s=slowest, clock_aligned=False)
    if needs.resolution_at_most_wh is not None:
        meter = replace(meter, resolution_wh=min(meter.resolution_wh, needs.resolution_at_most_wh))
    if meter.power == "phases" and charger.phases != 3:
        meter = replace(meter, power="total")
    return meter


def _adapted_electrics(meter: Meter, charger: Charger, needs: Needs, rng: np.random.Generator) -> Meter:
    electrics = meter.electrics
    if needs.current and electrics.current != "phases":
        electrics = replace(electrics, current="phases")
    if needs.voltage is not None:
        meter = replace(meter, voltage=bool(needs.voltage))
    wanted = "outlet" if charger.kind == "dc" else needs.voltage
    if wanted in ("neutral", "lines") and _voltage_sent(Station(charger, meter), wanted) != wanted:
        form: VoltageForm = "neutral" if wanted == "neutral" else "lines"
        electrics = replace(electrics, voltage=form)
    if needs.temperature is not None and _temperature_sent(electrics, needs.temperature) != needs.temperature:
        places = _SENSORS[needs.temperature]
        electrics = replace(electrics, sensors=(places[int(rng.integers(len(places)))],))
    if not fitting(electrics, charger.phases):
        electrics = replace(electrics, voltage="neutral", current="phases")
    return replace(meter, electrics=electrics)


def _with_quantities(meter: Meter, needs: Needs) -> Meter:
    """Adds or leaves out what is sent."""
    if needs.register is not None and (meter.register != "none") != needs.register:
        meter = replace(meter, register="session" if needs.register else "none")
    if needs.lifetime is not None and (meter.register == "lifetime") != needs.lifetime:
        meter = replace(meter, register="lifetime" if needs.lifetime else "session")
    if needs.power is not None and (meter.power != "none") != needs.power:
        meter = replace(meter, power="total" if needs.power else "none")
    if needs.offered is not None and (meter.offered != "none") != needs.offered:
        meter = replace(meter, offered="current" if needs.offered else "none")
    if needs.watt_hours is not None:
        meter = replace(meter, energy_unit="Wh" if needs.watt_hours else "kWh")
    soc = meter.soc if needs.soc is None else needs.soc
    current = meter.current if needs.current is None else needs.current
    return replace(meter, soc=soc, current=current)
