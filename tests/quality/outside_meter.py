"""What truly happens in a charging session, and what a meter sends of it: the ground of the outside set.

Written from the definitions of the categories and OCPP alone, so that it shares no idea with the rules or with the
simulator. Times are minutes after the session's begin, powers kW, energies kWh.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tests.sessions import Sent, us

Array = NDArray[np.float64]
#: Seconds between two points of the truth.
STEP_S = 5
ENERGY = "Energy.Active.Import.Register"
PERIODIC = "Sample.Periodic"
PHASES = ("L1", "L2", "L3")
ALL = ("energy", "power", "amps", "volts")


def course(*pieces: tuple[float, float]) -> Array:
    """Returns a quantity that holds (minutes, value), one piece after the other, per 5 s."""
    parts = [np.full(round(minutes * 60 / STEP_S), value) for minutes, value in pieces]
    return np.concatenate([*parts, [pieces[-1][1]]])


def ramp(minutes: float, begin: float, end: float) -> Array:
    """Returns a quantity that goes straight from one value to another, per 5 s, without the last point."""
    return np.linspace(begin, end, round(minutes * 60 / STEP_S), endpoint=False)


@dataclass
class Truth:
    """What happens, per 5 s.

    ``kw`` (n,), ``share`` (n, 3) of the power that each phase carries, ``volts`` (n, 3), and, where the meter
    has them, ``soc`` in per cent, ``offer`` in kW and ``celsius``, each (n,). ``energy`` (n,) is what the
    register shows in kWh since the begin; the integral of the power unless something is wrong with it.
    """

    kw: Array
    share: Array
    volts: Array
    energy: Array
    soc: Array | None = None
    offer: Array | None = None
    celsius: Array | None = None
    export_kw: Array | None = None

    @property
    def minutes(self) -> Array:
        """The time of each point."""
        return np.arange(len(self.kw)) * (STEP_S / 60.0)

    def between(self, start: float, end: float) -> NDArray[np.bool_]:
        """Returns which points lie in [start, end)."""
        return (self.minutes >= start - 1e-6) & (self.minutes < end - 1e-6)


def integral(kw: Array) -> Array:
    """Returns the energy since the begin; each power holds until the next point."""
    return np.concatenate([[0.0], np.cumsum(kw[:-1]) * STEP_S / 3600.0])


def session(kw: Array, phases: int = 3, nominal_v: float = 230.0) -> Truth:
    """Returns a session with this power on the first phases; with 0 phases (DC) nothing is sent per phase."""
    share = np.zeros((len(kw), 3))
    share[:, :phases] = 1.0 / max(phases, 1)
    return Truth(kw, share, np.full((len(kw), 3), nominal_v), integral(kw))


def with_soc(truth: Truth, begin: float, capacity_kwh: float) -> Truth:
    """Adds the state of charge that follows from the energy."""
    truth.soc = np.minimum(100.0, begin + truth.energy / capacity_kwh * 100.0)
    return truth


def taper_dc(minutes: float, peak_kw: float, soc: float, capacity_kwh: float) -> Truth:
    """Returns a DC session: constant up to 60 %, then falling with the state of charge to a tenth at 100 %."""
    n = round(minutes * 60 / STEP_S) + 1
    kw, level = np.empty(n), soc
    for i in range(n):
        ease = min(1.0, 0.1 + 0.9 * max(0.0, (100.0 - level) / 40.0))
        kw[i] = peak_kw * ease if level < 100.0 else 0.0
        level = min(100.0, level + kw[i] * STEP_S / 3600.0 / capacity_kwh * 100.0)
    return with_soc(session(kw, phases=0), soc, capacity_kwh)


@dataclass(frozen=True)
class Meter:
    """How a meter sends: every so many seconds, what, in which unit, from which count on."""

    every_s: int = 60
    sends: Sequence[str] = ALL
    unit: str = "Wh"
    resolution_wh: float = 1.0
    begin_kwh: float = 0.0
    transaction: bool = False
    location: str | None = None
    power_location: str | None = None
    celsius_location: str = "Body"
    noise: float = 0.0
    seed: int = 0

    def send(self, truth: Truth, lost: Sequence[tuple[float, float]] = ()) -> list[Sent]:
        """Returns the readings in order of time, without those strictly between the minutes of ``lost``."""
        every = self.every_s // STEP_S
        at = [i for i in range(0, len(truth.kw), every) if not any(a < truth.minutes[i] < b for a, b in lost)]
        rng = np.random.default_rng(self.seed)
        sent: list[Sent] = []
        used = [p for p in range(3) if truth.share[:, p].any()]
        for i in at:
            wobble = 1.0 + self.noise * rng.standard_normal()
            context = PERIODIC
            if self.transaction and i == at[0]:
                context = "Transaction.Begin"
            elif self.transaction and i == at[-1]:
                context = "Transaction.End"
            sent += [
                (us(float(truth.minutes[i])), value, measurand, unit, phase, location, context)
                for value, measurand, unit, phase, location in self._values(truth, i, wobble, used)
            ]
        return sent

    def _values(
        self, truth: Truth, i: int, wobble: float, used: Sequence[int]
    ) -> list[tuple[float, str, str | None, str | None, str | None]]:
        """Returns what is sent at one point: (value, measurand, unit, phase, location)."""
        values: list[tuple[float, str, str | None, str | None, str | None]] = []
        if "energy" in self.sends:
            wh = (truth.energy[i] + self.begin_kwh) * 1000.0
            wh = float(np.floor(wh / self.resolution_wh + 1e-6) * self.resolution_wh)
            shown = round(wh / 1000.0, 6) if self.unit == "kWh" else round(wh, 3)
            values.append((shown, ENERGY, self.unit, None, self.location))
        kw = float(truth.kw[i]) * wobble
        if "power" in self.sends:
            where = self.power_location or self.location
            values.append((round(kw * 1000.0, 1), "Power.Active.Import", "W", None, where))
        for p in used:
            volts = float(truth.volts[i, p])
            if "amps" in self.sends:
                amps = kw * float(truth.share[i, p]) * 1000.0 / volts
                values.append((round(amps, 2), "Current.Import", "A", PHASES[p], self.location))
            if "volts" in self.sends:
                values.append((round(volts, 1), "Voltage", "V", f"{PHASES[p]}-N", self.location))
        return values + self._vehicle(truth, i)

    def _vehicle(self, truth: Truth, i: int) -> list[tuple[float, str, str | None, str | None, str | None]]:
        """Returns what is sent beside the electricity, where there is any."""
        values: list[tuple[float, str, str | None, str | None, str | None]] = []
        if truth.soc is not None:
            values.append((float(np.floor(truth.soc[i] + 1e-6)), "SoC", "Percent", None, "EV"))
        if truth.offer is not None:
            values.append((round(float(truth.offer[i]) * 1000.0), "Power.Offered", "W", None, None))
        if truth.celsius is not None:
            heat = round(float(truth.celsius[i]), 1)
            values.append((heat, "Temperature", "Celsius", None, self.celsius_location))
        if truth.export_kw is not None:
            out = round(float(truth.export_kw[i]) * 1000.0, 1)
            values.append((out, "Power.Active.Export", "W", None, None))
        return values


@dataclass(frozen=True)
class Case:
    """One session of the set: what is sent, what is declared, and from when to when the event lasts.

    ``slack`` is how far, in minutes, the readings may place the event beside its true time.
    """

    sent: Sequence[Sent]
    span: tuple[float, float] = (0.0, 0.0)
    slack: float = 1.0
    declared: dict[str, object] = field(default_factory=dict)
