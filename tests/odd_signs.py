"""What the readings show of each unseen odd shape, in figures: how often they turn, and by how much.

Read from the readings alone, within the labelled range. A kind whose sign is missing in a session is not seen there.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np

from chargewatch.simulate import SimulatedSession

Column = dict[datetime, float]


def columns(session: SimulatedSession, measurand: str) -> dict[str | None, Column]:
    """Values by phase and instant within the labelled range; kW, kWh, A, V, per cent or °C."""
    (label,) = session.labels
    found: dict[str | None, Column] = {}
    for r in sorted(session.readings, key=lambda r: r.timestamp):
        if r.measurand == measurand and label.start <= r.timestamp <= label.end:
            factor = 0.001 if r.unit in ("W", "Wh") else 1.0
            found.setdefault(r.phase, {})[r.timestamp] = float(r.value) * factor
    return found


def total(session: SimulatedSession, measurand: str) -> Column:
    """The sum over the phases."""
    rows = columns(session, measurand).values()
    added: Column = {}
    for row in rows:
        for at, value in row.items():
            added[at] = added.get(at, 0.0) + value
    return added


def rates(session: SimulatedSession) -> Column:
    """The register's slope (kW) at the later of two readings, over as many as make it sure to 5 %."""
    register = list(total(session, "Energy.Active.Import.Register").items())
    found: Column = {}
    for place, (at, value) in enumerate(register):
        for before, old in reversed(register[:place]):
            if value - old >= 0.2 or (value - old >= 0.02 and len(register) < 150):
                found[at] = (value - old) / ((at - before).total_seconds() / 3600.0)
                break
    return found


def turns(values: Sequence[float], least: float) -> int:
    """How often a course turns round, after having gone at least ``least`` one way."""
    count, low, high, way = 0, values[0], values[0], 0
    for value in values:
        low, high = min(low, value), max(high, value)
        if way >= 0 and high - value >= least:
            count, way, low, high = count + 1, -1, value, value
        elif way <= 0 and value - low >= least:
            count, way, low, high = count + 1, 1, value, value
    return count


def turning(column: Column, least: float, times: int) -> bool:
    """Whether a course, as a share of its usual high, turns so many times."""
    values = np.array(list(column.values()))
    return len(values) > 1 and turns((values / np.quantile(values, 0.95)).tolist(), least) >= times


def power_turns(least: float, times: int) -> Callable[[SimulatedSession], bool]:
    """Whether power, where it is not sent the register's slope, turns so many times."""

    def shown(session: SimulatedSession) -> bool:
        return turning(total(session, "Power.Active.Import") or rates(session), least, times)

    return shown


def flat(session: SimulatedSession, within: float = 0.12) -> bool:
    """Whether the power stays within so much of its median."""
    power = np.array(list(total(session, "Power.Active.Import").values()))
    return bool(np.quantile(np.abs(power / np.median(power) - 1.0), 0.95) <= within)


def pack_swings(session: SimulatedSession) -> bool:
    volts, amperes = total(session, "Voltage"), total(session, "Current.Import")
    return turning(volts, 0.08, 3) and turning(amperes, 0.08, 3)


def pack_falls(session: SimulatedSession) -> bool:
    volts, soc = list(total(session, "Voltage").values()), list(total(session, "SoC").values())
    return volts[-1] <= 0.93 * volts[0] and soc[-1] - soc[0] >= 2.0


def soc_goes_back(session: SimulatedSession) -> bool:
    soc = np.array(list(total(session, "SoC").values()))
    drawdown = float((np.maximum.accumulate(soc) - soc).max())
    return turns(soc.tolist(), 1.0) >= 5 and drawdown <= 2.0


def soc_stalls(session: SimulatedSession) -> bool:
    soc = np.array(list(total(session, "SoC").values()))
    power = np.array(list(total(session, "Power.Active.Import").values()))
    stands = soc == soc[-1]
    return bool(stands.mean() >= 0.3 and 75 <= soc[-1] <= 93 and power[stands].mean() >= 0.85 * power.max())


def one_wanders(session: SimulatedSession) -> bool:
    rows = np.array([list(row.values()) for row in columns(session, "Current.Import").values()])
    shares = rows / np.maximum(np.median(rows, axis=0), 0.1)
    return bool(
        len(rows) == 3 and shares.min() <= 0.85 and rows.min() >= 3.0 and sorted(shares.min(axis=1))[1] >= 0.9
    )


def offer_disobeyed(session: SimulatedSession) -> bool:
    power = np.array(list(total(session, "Power.Active.Import").values()))
    offered = total(session, "Current.Offered") or total(session, "Power.Offered")
    share = np.array(list(offered.values()))
    ratio = power / power.max() / (share / share.max())
    return bool((ratio >= 1.2).sum() >= 3 and (ratio <= 0.8).sum() >= 3)


def current_beyond_power(session: SimulatedSession) -> bool:
    power, amperes = total(session, "Power.Active.Import"), total(session, "Current.Import")
    return turning({at: amperes[at] / power[at] for at in power}, 0.15, 4) and flat(session)


def temperature_turns(session: SimulatedSession) -> bool:
    celsius = list(total(session, "Temperature").values())
    return turns(celsius, 6.0) >= 4 and max(celsius) < 60.0 and flat(session)


def register_against_power(session: SimulatedSession) -> bool:
    return turning(rates(session), 0.2, 4) and flat(session)


SIGNS: dict[str, Callable[[SimulatedSession], bool]] = {
    "modules_come_and_go": power_turns(0.12, 3),
    "throttles_in_stairs": power_turns(0.3, 3),
    "module_trips_by_turns": power_turns(0.25, 4),
    "slow_saw": power_turns(0.25, 3),
    "contactor_chatters": power_turns(0.4, 4),
    "restarts_over_and_over": power_turns(0.6, 4),
    "rings_and_settles": power_turns(0.1, 4),
    "fallback_notches": power_turns(0.3, 4),
    "two_loops_beat": power_turns(0.12, 6),
    "pack_voltage_swings": pack_swings,
    "pack_voltage_falls": pack_falls,
    "soc_oscillates": soc_goes_back,
    "soc_rushes_then_stalls": soc_stalls,
    "one_phase_wanders": one_wanders,
    "offer_obeyed_late": offer_disobeyed,
    "current_hunts": current_beyond_power,
    "temperature_zigzags": temperature_turns,
    "register_limps": register_against_power,
    "counts_in_gulps": power_turns(0.3, 4),
}
