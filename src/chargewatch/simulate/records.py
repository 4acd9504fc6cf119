"""What a simulated session is: the readings as they were sent, and the truth about them.

Times are aware UTC, energies kWh, powers kW, durations seconds.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from chargewatch.domain.categories import Category

Kind: TypeAlias = Literal["ac", "dc"]
Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]


class SimulatedReading(NamedTuple):
    """One sampled value as a meter sends it (OCPP 1.6 section 7.43; a field that is not sent is None)."""

    timestamp: datetime
    value: str
    measurand: str
    unit: str
    phase: str | None
    location: str | None
    context: str | None


class Label(NamedTuple):
    """One fault of a session.

    ``start`` and ``end`` are the first and the last reading that show it (contract, section 4).
    ``visible`` is False when the readings, as sampled, do not prove the definition in
    ``categories.md``; the two times are then those of the fault itself.
    """

    category: Category
    mechanism: str
    start: datetime
    end: datetime
    visible: bool


@dataclass(frozen=True, slots=True)
class SimulatedSession:
    """One session. ``readings`` stand in the order in which they are sent; ``labels`` are empty when normal.

    ``near_miss`` names the look-alike of a fault that a normal session contains. ``energy_kwh`` and
    ``max_power_kw`` are the truth at the outlet, whatever the meter says.
    ``rated_power_known``: the operator declares ``rated_power_kw``.
    """

    session_id: str
    station_id: str
    connector_id: str
    kind: Kind
    rated_power_kw: float
    managed: bool
    started_at: datetime
    ended_at: datetime
    readings: list[SimulatedReading]
    labels: list[Label]
    near_miss: str | None
    sampling_s: float
    energy_kwh: float
    max_power_kw: float
    rated_power_known: bool = True


class Span(NamedTuple):
    """A value that holds from ``start_s`` until before ``end_s``, in seconds since the car was plugged in."""

    start_s: float
    end_s: float
    value: float


GRID_S: Final = 10.0
"""Step of the true trajectory in seconds: as fine as the fastest meter samples."""
