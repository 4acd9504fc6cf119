"""The true course of a session on a fine grid: power, energy, state of charge, offer, phases.

What is offered, what the car accepts and what goes wrong are given as spans; this file alone turns
them into power, so that energy, power and state of charge always agree with each other.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chargewatch.simulate.behaviour import Visit
from chargewatch.simulate.chargers import Charger
from chargewatch.simulate.records import GRID_S, Floats, Span
from chargewatch.simulate.vehicles import POINTS_PER_SOC, Vehicle


@dataclass(frozen=True, slots=True)
class Course:
    """What limits the power when. Where spans of one kind overlap the later one holds.

    Attributes:
        acceptance: share of what it could take that the car, or a failing contactor, lets through.
        cap_kw: an upper limit of the power on the car's side.
        offer: share of its rated power that the station offers.
        phases: phases in use, when other than the usual ones.
        lost: phases that carry nothing, as bits (1, 2, 4 for the first, second, third in use).
        volts: share of the usual voltage on each phase; a lower voltage lowers the power.
        celsius: what the first sensor shows, as points in time (seconds) and °C.
        pack_v: voltage of the battery of a DC car, as points of SoC and V.
    """

    acceptance: tuple[Span, ...] = ()
    cap_kw: tuple[Span, ...] = ()
    offer: tuple[Span, ...] = ()
    phases: tuple[Span, ...] = ()
    lost: tuple[Span, ...] = ()
    volts: tuple["Volts", ...] = ()
    celsius: "Points | None" = None
    pack_v: "Points | None" = None


class Volts(NamedTuple):
    """Shares of the usual voltage, by phase, that hold from ``start_s`` until before ``end_s``."""

    start_s: float
    end_s: float
    shares: tuple[float, float, float]


class Points(NamedTuple):
    """Points of a course, between which it is straight: where, and what."""

    at: tuple[float, ...]
    values: tuple[float, ...]


class Truth(NamedTuple):
    """A session's course over n steps of ``GRID_S``.

    ``power_kw``, ``export_kw``, ``offered_kw``, ``phases`` and ``lost``: shape (n,), constant within a step;
    ``volts``: shape (3, n). ``lost`` and ``volts`` are None where nothing is lost or out of the usual.
    ``energy_kwh``, ``exported_kwh`` and ``soc``: shape (n + 1,), at the steps' edges.
    """

    power_kw: Floats
    export_kw: Floats
    offered_kw: Floats
    phases: NDArray[np.int64]
    energy_kwh: Floats
    exported_kwh: Floats
    soc: Floats
    charge_end_s: float
    ended_s: float
    lost: NDArray[np.int64] | None = None
    volts: Floats | None = None
    celsius: Points | None = None
    pack_v: Points | None = None


def drive(charger: Charger, vehicle: Vehicle, visit: Visit, course: Course) -> Truth:
    """Lets the session happen."""
    steps = max(int(visit.stay_s // GRID_S), 1)
    offered = _filled(steps, charger.rated_kw, course.offer, scale=charger.rated_kw)
    phases = _filled(steps, float(charger.phases_with(vehicle)), course.phases)
    lost = _filled(steps, 0.0, course.lost).astype(np.int64) if course.lost else None
    volts = _volts(steps, course.volts) if course.volts else None
    limit = _limits(charger, vehicle, visit, course, offered, _carrying(phases, lost))
    acceptance = _filled(steps, 1.0, course.acceptance)
    if volts is not None:
        acceptance *= _power_share(volts, phases)
    charging, soc = _charge(limit, acceptance, vehicle, visit)
    charge_end = (int(np.flatnonzero(charging > 0)[-1]) + 1 if charging.any() else 0) * GRID_S
    ended = visit.stay_s
    if visit.leaves_after_s is not None and charge_end > 0:
        ended = min(ended, charge_end + visit.leaves_after_s)
    truth = _settle(charging, soc, offered, phases, vehicle, visit, charge_end, ended)
    count = len(truth.power_kw)
    return truth._replace(
        lost=None if lost is None else lost[:count],
        volts=None if volts is None else volts[:, :count],
        celsius=course.celsius,
        pack_v=course.pack_v,
    )


def _filled(steps: int, default: float, spans: tuple[Span, ...], *, scale: float = 1.0) -> Floats:
    values = np.full(steps, default)
    for start, end, value in spans:
        values[_step(start) : _step(min(end, steps * GRID_S))] = value * scale
    return values


def _carrying(phases: Floats, lost: NDArray[np.int64] | None) -> Floats:
    """Returns how many of the phases in use carry current."""
    if lost is None:
        return phases
    gone = sum((((lost >> place) & 1) * (phases > place) for place in range(3)), np.zeros(len(phases)))
    return phases - gone


def _volts(steps: int, spans: tuple[Volts, ...]) -> Floats:
    shares = np.ones((3, steps))
    for start, end, values in spans:
        window = slice(_step(start), _step(min(end, steps * GRID_S)))
        shares[:, window] = np.array(values)[:, None]
    return shares


def _power_share(volts: Floats, phases: Floats) -> Floats:
    """Returns which share of the power is left: cars draw no more current when the voltage is lower."""
    used = np.arange(3)[:, None] < np.maximum(phases, 1.0)[None, :]
    share: Floats = (np.minimum(volts, 1.0) * used).sum(axis=0) / used.sum(axis=0)
    return share


def _step(at_s: float) -> int:
    return round(max(at_s, 0.0) / GRID_S)


def _limits(
    charger: Charger, vehicle: Vehicle, visit: Visit, course: Course, offered: Floats, phases: Floats
) -> Floats:
    """Returns the highest power at each step that offer, phases, caps and the start allow."""
    if charger.kind == "ac":
        limit = np.minimum(
            offered / charger.phases, charger.power_with(vehicle) / charger.phases_with(vehicle)
        )
        limit *= phases
        limit[offered < charger.rated_kw * charger.lowest_share() * 0.999] = 0.0
    else:
        limit = np.minimum(offered, vehicle.peak_kw)
    for start, end, cap in course.cap_kw:
        window = slice(_step(start), _step(min(end, visit.stay_s)))
        limit[window] = np.minimum(limit[window], cap)
    begin = _step(visit.start_s) + 1
    limit[:begin] = 0.0
    ramp = limit[begin : begin + 3]
    ramp *= np.array([0.3, 0.6, 0.9])[: len(ramp)]
    if visit.warm_up is not None:
        limit[begin : begin + _step(visit.warm_up.end_s)] *= visit.warm_up.value
    return limit


def _charge(limit: Floats, acceptance: Floats, vehicle: Vehicle, visit: Visit) -> tuple[Floats, Floats]:
    """Returns power (n,) and SoC (n + 1,): each step takes the least of limit and battery's curve."""
    curve, per_step = vehicle.curve_kw, vehicle.soc_per_kwh() * GRID_S / 3600.0
    soc, target = visit.arrival_soc, min(visit.target_soc, 100.0)
    power, reached = [0.0] * len(limit), [soc] * (len(limit) + 1)
    if soc >= target:
        return np.array(power), np.array(reached)
    step = -1
    for step, (most, share) in enumerate(zip(limit.tolist(), acceptance.tolist(), strict=True)):
        accepted = curve[int(soc * POINTS_PER_SOC)]
        taken = min(most, accepted) * share
        power[step] = taken
        soc += taken * per_step
        reached[step + 1] = soc
        if soc >= target:
            break
    states = np.array(reached)
    states[step + 2 :] = soc
    return np.array(power), np.minimum(states, 100.0)


def _settle(
    charging: Floats,
    soc: Floats,
    offered: Floats,
    phases: Floats,
    vehicle: Vehicle,
    visit: Visit,
    charge_end: float,
    ended: float,
) -> Truth:
    """Adds what is drawn or given back beyond charging, and cuts the session where it ends."""
    steps = max(min(int(ended // GRID_S), len(charging)), 1)
    power, export = charging[:steps].copy(), np.zeros(steps)
    soc = soc[: steps + 1].copy()
    if visit.standby_kw:
        power[power == 0.0] = visit.standby_kw
    for start, end, value in visit.afterwards:
        window = slice(_step(charge_end + start), _step(charge_end + end))
        if value >= 0:
            power[window] = value
        else:
            power[window], export[window] = 0.0, -value
    exported = _cumulated(export)
    return Truth(
        power_kw=power,
        export_kw=export,
        offered_kw=offered[:steps],
        phases=phases[:steps].astype(np.int64),
        energy_kwh=_cumulated(power),
        exported_kwh=exported,
        soc=soc - exported * vehicle.soc_per_kwh(),
        charge_end_s=charge_end,
        ended_s=ended,
    )


def _cumulated(power_kw: Floats) -> Floats:
    return np.concatenate(([0.0], np.cumsum(power_kw) * (GRID_S / 3600.0)))
