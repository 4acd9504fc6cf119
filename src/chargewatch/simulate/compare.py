"""The simulator's distributions beside those of real sessions.

``python -m chargewatch.simulate.compare DATA_FOLDER`` prints quartiles side by side. The folder holds
``sessions_real.parquet`` (start, end, total_energy_kwh, charge_end, evse_type) and
``readings_dc_real.parquet`` (SoC and Power.Active.Import by session); what is missing is left out.
"""

import sys
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from chargewatch.simulate.fleet import simulate_fleet
from chargewatch.simulate.records import SimulatedSession

SESSIONS_FILE: Final = "sessions_real.parquet"
CURVES_FILE: Final = "readings_dc_real.parquet"
_DC_TYPES: Final = ("dc", "rapid")
_HOUR: Final = timedelta(hours=1)
_LEAST_KWH: Final = 0.1
_LONGEST_H: Final = 72.0
_HIGHEST_SOC: Final = 80.0

Samples = dict[str, list[float]]


class Row(NamedTuple):
    """One quantity: quartiles and number of sessions, simulated and real; None where there are no real ones."""

    quantity: str
    simulated: tuple[float, float, float] | None
    simulated_count: int
    real: tuple[float, float, float] | None
    real_count: int


def compare(sessions: Iterable[SimulatedSession], folder: Path) -> list[Row]:
    """Returns quartiles of each quantity in simulated sessions and in the real ones of ``folder``."""
    simulated, real = simulated_samples(sessions), real_samples(folder)
    return [
        Row(
            q,
            _quartiles(simulated.get(q, ())),
            len(simulated.get(q, ())),
            _quartiles(real.get(q, ())),
            len(real.get(q, ())),
        )
        for q in dict.fromkeys((*simulated, *real))
    ]


def table(rows: Iterable[Row]) -> str:
    """Returns the rows as aligned text."""
    lines = [f"{'quantity':32} {'simulated: quartiles':>26} {'n':>7} {'real: quartiles':>26} {'n':>7}"]
    lines += [
        f"{r.quantity:32} {_text(r.simulated):>26} {r.simulated_count:7d} {_text(r.real):>26} {r.real_count:7d}"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def simulated_samples(sessions: Iterable[SimulatedSession]) -> Samples:
    """Returns each quantity of the sessions that delivered 0.1 kWh or more."""
    samples: Samples = {}
    for session in sessions:
        if session.energy_kwh < _LEAST_KWH:
            continue
        kind = session.kind.upper()
        hours = (session.ended_at - session.started_at) / _HOUR
        _add(samples, f"{kind} energy kWh", session.energy_kwh)
        _add(samples, f"{kind} duration h", hours)
        power = _course(session, "Power.Active.Import")
        if session.kind == "ac" and len(power) > 2:
            charging = [at for at, kw in power if kw >= 0.3]
            _add(samples, "AC idle after charging h", hours - charging[-1] / 3600.0 if charging else 0.0)
        soc = dict(_course(session, "SoC"))
        if session.kind == "dc" and not session.managed:
            _add_taper(samples, [(soc[at], kw) for at, kw in power if at in soc])
        if len(power) > 2:
            _add(samples, f"{kind} readings interval s", float(np.median(np.diff([at for at, _ in power]))))
    return samples


def _course(session: SimulatedSession, measurand: str) -> list[tuple[float, float]]:
    """Seconds and values (kW for powers) of a measurand, phases added up, in order of time."""
    values: dict[float, dict[str | None, float]] = {}
    for r in session.readings:
        if r.measurand == measurand:
            at = (r.timestamp - session.started_at) / timedelta(seconds=1)
            values.setdefault(at, {})[r.phase] = float(r.value) / (1000.0 if r.unit == "W" else 1.0)
    return [(at, sum(by_phase.values())) for at, by_phase in sorted(values.items())]


def real_samples(folder: Path) -> Samples:
    """Returns each quantity of the real sessions of ``folder`` that delivered 0.1 kWh or more within 72 h."""
    samples: Samples = {}
    if (folder / SESSIONS_FILE).exists():
        _add_sessions(samples, folder / SESSIONS_FILE)
    if (folder / CURVES_FILE).exists():
        _add_curves(samples, folder / CURVES_FILE)
    return samples


def _add_sessions(samples: Samples, path: Path) -> None:
    columns = ["evse_type", "start", "end", "total_energy_kwh", "charge_end"]
    read = pq.read_table(path, columns=columns)
    for evse, start, end, energy, charge_end in zip(
        *(read.column(c).to_pylist() for c in columns), strict=True
    ):
        kind = _kind(evse)
        if kind is None or start is None or end is None or energy is None or energy < _LEAST_KWH:
            continue
        hours = (end - start) / _HOUR
        if not 0.0 < hours <= _LONGEST_H:
            continue
        _add(samples, f"{kind} energy kWh", energy)
        _add(samples, f"{kind} duration h", hours)
        if kind == "AC" and charge_end is not None:
            _add(samples, "AC idle after charging h", max((end - charge_end) / _HOUR, 0.0))


def _kind(evse_type: str | None) -> str | None:
    """AC or DC; None for stations that may be either."""
    if evse_type is None or evse_type == "mixed":
        return None
    return "DC" if evse_type.casefold() in _DC_TYPES else "AC"


def _add_curves(samples: Samples, path: Path) -> None:
    columns = ["session_id", "timestamp", "measurand", "unit", "value"]
    courses: dict[str, dict[str, dict[object, float]]] = {}
    read = pq.read_table(path, columns=columns)
    for name, at, measurand, unit, value in zip(*(read.column(c).to_pylist() for c in columns), strict=True):
        if measurand in ("SoC", "Power.Active.Import"):
            scaled = value / 1000.0 if unit == "W" else value
            courses.setdefault(name, {}).setdefault(measurand, {})[at] = scaled
    for course in courses.values():
        soc, power = course.get("SoC", {}), course.get("Power.Active.Import", {})
        times = [at for at in power if at in soc]
        _add_taper(samples, [(soc[at], power[at]) for at in times])


def _add_taper(samples: Samples, course: Sequence[tuple[float, float]]) -> None:
    """Adds the last SoC at which power is within 5 % of its plateau, of courses from below 50 to 80 % or more.

    Measured curves end at 80 %, so no course is followed further.
    """
    if len(course) < 4 or min(s for s, _ in course) >= 50.0 or max(s for s, _ in course) < _HIGHEST_SOC:
        return
    course = [(s, kw) for s, kw in course if s <= _HIGHEST_SOC]
    plateau = float(np.percentile([kw for _, kw in course], 95))
    _add(samples, "DC taper begins at SoC %", max(s for s, kw in course if kw >= 0.95 * plateau))


def _add(samples: Samples, quantity: str, value: float) -> None:
    samples.setdefault(quantity, []).append(value)


def _quartiles(values: Sequence[float]) -> tuple[float, float, float] | None:
    if not values:
        return None
    low, middle, high = np.percentile(values, (25, 50, 75)).tolist()
    return low, middle, high


def _text(quartiles: tuple[float, float, float] | None) -> str:
    return "-" if quartiles is None else " ".join(f"{q:8.2f}" for q in quartiles)


def main(arguments: Sequence[str]) -> int:
    """Prints the table for the folder named; returns the exit status."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        sys.stderr.write("usage: python -m chargewatch.simulate.compare DATA_FOLDER\n")
        return 2
    fleet = simulate_fleet(stations=60, days=7, seed=1, anomaly_share=0.0, near_miss_share=0.0)
    sys.stdout.write(table(compare(fleet, Path(arguments[0]))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
