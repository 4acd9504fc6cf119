"""Drivers: how full the battery is on arrival, how much is wanted, how long the car stays.

Sources: quantiles of public session tables. AC: 3.8 h plugged in at the median, half of the cars
still plugged in an hour after charging ended. DC: about 25 minutes.

An ordinary visit never looks like a fault by the definitions in ``categories.md``: a car that rests
without its state of charge being known has taken 3 kWh, one whose state of charge is known has
reached 80 %, or it leaves within 25 minutes.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from chargewatch.simulate.chargers import Charger
from chargewatch.simulate.records import Span
from chargewatch.simulate.vehicles import Vehicle

FULL_SOC: Final = 99.9
OWN_LIMIT_KWH: Final = 3.0
KNOWN_SOC_REST: Final = 80.0

_QUANTILES: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_AC_STAY_H: Final = (0.25, 0.45, 1.75, 3.8, 8.8, 16.0, 26.0)
_AC_WANTED_KWH: Final = (3.5, 4.0, 6.5, 10.5, 19.0, 42.0, 70.0)
_DC_ARRIVAL_SOC: Final = (4.0, 9.0, 19.0, 30.0, 43.0, 62.0, 72.0)
_DC_STAY_MEDIAN_S: Final = 27.0 * 60.0
_LONGEST_DC_S: Final = 2.5 * 3600.0


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What a station's meter makes necessary for an ordinary visit to be told from a fault.

    Attributes:
        resolution_kwh: step of the register.
        soc_sent: the state of charge is among the readings.
        offer_sent: the offered current or power is among the readings.
    """

    resolution_kwh: float
    soc_sent: bool
    offer_sent: bool

    def least_kwh(self) -> float:
        """The least energy of a session that is no test plug, beyond the register's steps."""
        return 0.6 + 1.5 * self.resolution_kwh

    def resting_kwh(self) -> float:
        """The least energy after which an ordinary car may rest, beyond the register's steps."""
        return OWN_LIMIT_KWH + 0.3 + 1.5 * self.resolution_kwh


@dataclass(frozen=True, slots=True)
class Visit:
    """What the driver and the car intend. Seconds count from plugging in, SoC in per cent.

    Attributes:
        start_s: when charging begins (handshake, or a timer of the car).
        target_soc: where the car stops by itself.
        stay_s: when the car is unplugged at the latest.
        leaves_after_s: unplugged so long after charging ended (None: not before ``stay_s``).
        warm_up: a cold battery's share of power, until ``end_s`` of charging.
        afterwards: power (kW) drawn beyond the battery, exported when negative; from the end of charging.
        standby_kw: the idle draw of car and cable.
    """

    arrival_soc: float
    target_soc: float
    start_s: float
    stay_s: float
    leaves_after_s: float | None = None
    warm_up: Span | None = None
    afterwards: tuple[Span, ...] = ()
    standby_kw: float = 0.0


def draw_visit(
    rng: np.random.Generator, charger: Charger, vehicle: Vehicle, restrictions: Restrictions
) -> Visit:
    """Draws an ordinary visit."""
    if charger.kind == "dc":
        return _dc_visit(rng, charger, vehicle, restrictions)
    return _ac_visit(rng, charger, vehicle, restrictions)


def _ac_visit(
    rng: np.random.Generator, charger: Charger, vehicle: Vehicle, restrictions: Restrictions
) -> Visit:
    power = charger.power_with(vehicle)
    start = float(rng.uniform(8, 50))
    least_stay = start + 180 + 3600 * restrictions.least_kwh() / power
    stay = max(3600 * float(np.interp(rng.random(), _QUANTILES, _AC_STAY_H)), least_stay)
    wanted = max(float(np.interp(rng.random(), _QUANTILES, _AC_WANTED_KWH)), restrictions.resting_kwh())
    target = float(rng.choice((80.5, 90.0, FULL_SOC), p=(0.2, 0.15, 0.65)))
    unseen = not (restrictions.offer_sent or restrictions.soc_sent)
    if unseen and rng.random() < 0.06:  # tops up: nobody can tell that it might have taken more
        wanted = float(rng.uniform(restrictions.least_kwh(), restrictions.resting_kwh()))
    wanted = min(wanted, vehicle.kwh_between(3.0, target))
    spare = stay - 3600 * wanted / power - 1800
    if rng.random() < 0.06 and spare > 1800 and stay < 16 * 3600:  # waits for a tariff
        start = float(rng.uniform(1800, spare))
    visit = Visit(target - wanted * vehicle.soc_per_kwh(), target, start, stay)
    return _with_idle_draw(rng, visit, power)


def _with_idle_draw(rng: np.random.Generator, visit: Visit, power: float) -> Visit:
    """Adds standby of a few watts, and now and then air-conditioning once the battery has its fill.

    What follows the end of charging within two hours stays below 1 kW: charging that seems to come
    back after a short pause would be a pit by the definition.
    """
    standby = float(rng.uniform(0.001, 0.006)) if rng.random() < 0.3 else 0.0
    afterwards: tuple[Span, ...] = ()
    if rng.random() < 0.05:
        soon = rng.random() < 0.4
        begin = float(rng.uniform(900, 7200) if soon else rng.uniform(9600, 18000))
        draw = float(rng.uniform(0.3, 0.9)) if soon else power * float(rng.uniform(0.1, 0.4))
        afterwards = (Span(begin, begin + float(rng.uniform(600, 1500)), draw),)
    return Visit(
        visit.arrival_soc,
        visit.target_soc,
        visit.start_s,
        visit.stay_s,
        afterwards=afterwards,
        standby_kw=standby,
    )


def _dc_visit(
    rng: np.random.Generator, charger: Charger, vehicle: Vehicle, restrictions: Restrictions
) -> Visit:
    power = charger.power_with(vehicle)
    arrival = float(np.interp(rng.random(), _QUANTILES, _DC_ARRIVAL_SOC))
    arrival = min(arrival, 76.0 - restrictions.resting_kwh() * vehicle.soc_per_kwh())
    start = float(rng.uniform(15, 70))
    least_stay = start + 150 + 3600 * restrictions.least_kwh() / (0.4 * power)
    stay = _DC_STAY_MEDIAN_S * float(np.exp(rng.normal(0.0, 0.5)))
    target = float(rng.choice((80.5, 90.0, 95.5, FULL_SOC), p=(0.3, 0.15, 0.1, 0.45)))
    lingers = float(rng.uniform(360, 2700) if rng.random() < 0.06 else rng.uniform(10, 300))
    warm_up = None
    if rng.random() < 0.08:  # a cold battery
        warm_up = Span(0.0, float(rng.uniform(240, 900)), float(rng.uniform(0.4, 0.7)))
    stay = min(max(stay, least_stay), _LONGEST_DC_S)
    return Visit(max(arrival, 3.0), target, start, stay, leaves_after_s=lingers, warm_up=warm_up)
