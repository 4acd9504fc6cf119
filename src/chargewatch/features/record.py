"""The record of one session: every channel as a curve, repaired, with what is declared about the session."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from chargewatch.domain.thresholds import Thresholds
from chargewatch.features import flow as flows
from chargewatch.features.flow import Step
from chargewatch.features.phases import SideBySide
from chargewatch.features.power_bounds import PowerBounds
from chargewatch.features.register import (
    WH_PER_KWH,
    Fall,
    falls,
    most_power_w,
    steady,
    tolerance_wh,
)
from chargewatch.features.resolution import resolution_wh

_EXPORTING_W: Final = 100.0  # less is the noise of a meter at rest
_SAME_MOMENT_S: Final = 1e-6


class Curve(NamedTuple):
    """A channel of one session: ``value`` at ``at_s`` seconds after its first sane reading."""

    at_s: list[float]
    value: list[float]

    def last_before(self, at_s: float) -> float | None:
        """Returns the newest value at or before ``at_s``, None where there is none."""
        position = bisect_right(self.at_s, at_s + _SAME_MOMENT_S)
        return self.value[position - 1] if position else None

    def between(self, start_s: float, end_s: float) -> list[float]:
        """Returns the values from ``start_s`` to ``end_s``, both inclusive."""
        first = bisect_left(self.at_s, start_s - _SAME_MOMENT_S)
        return self.value[first : bisect_right(self.at_s, end_s + _SAME_MOMENT_S)]


@dataclass(frozen=True)
class SessionRecord:
    """One session. Energies in Wh, powers in W, SoC in per cent, times in seconds since ``first_us``.

    ``connected_s`` is how long the vehicle was connected as far as readings and declared times show;
    ``register`` is repaired but still falls where the meter fell. ``offered_w`` is the power on offer.
    ``export_w`` is power to the grid, exported or as negative import. ``current`` (A, of phases the
    sum) and ``voltage`` (V, of phases the mean) are as sent. ``drawn_w`` is measured power, else what current
    says; ``sends_power`` tells whether power was sent. ``metered_apart``: the register and power were not
    measured at one location throughout.
    """

    first_us: int
    last_s: float
    instants: int
    connected_s: float
    over: bool
    managed: bool
    rated_power_w: float
    register: Curve
    interval: Curve
    power: Curve
    drawn_w: Curve
    soc: Curve
    target_soc: Curve
    offered_w: Curve
    export_w: Curve
    export_register: Curve
    export_interval: Curve
    phases: Curve
    current: Curve
    voltage: Curve
    side_by_side: SideBySide
    is_dc: bool
    sends_power: bool
    metered_apart: bool
    thresholds: Thresholds

    @cached_property
    def resolution_wh(self) -> float:
        """The resolution of the register as seen in its values, from 1 Wh to 1 kWh."""
        coarsest = self.thresholds.coarsest_resolution_kwh * WH_PER_KWH
        return resolution_wh(self.register.value, coarsest)

    @cached_property
    def tolerance_wh(self) -> float:
        """``tol`` of the definitions: the meter's resolution, at least 0.01 kWh."""
        least_wh = self.thresholds.tolerance_kwh * WH_PER_KWH
        return tolerance_wh(self.register.value, self.resolution_wh, least_wh)

    @cached_property
    def most_w(self) -> float:
        """The most power that could be delivered."""
        return most_power_w(self.rated_power_w, self.thresholds)

    @cached_property
    def grain_wh(self) -> float:
        """What the register may hide between two of its readings: ``tol``, and its steps as far as seen."""
        return max(self.tolerance_wh, self.resolution_wh)

    @cached_property
    def power_bounds(self) -> PowerBounds:
        """What was delivered at least and at most, as the power that was drawn allows."""
        return PowerBounds(*self.drawn_w, self.most_w)

    @cached_property
    def falls(self) -> list[Fall]:
        """Where the register falls; positions are those in ``register``."""
        return falls(self.register.at_s, self.register.value, self.tolerance_wh, self.most_w)

    @cached_property
    def steady_register(self) -> Curve:
        """The register without its drop-outs and without rounding."""
        return Curve(*steady(self.register.at_s, self.register.value, self.falls))

    @cached_property
    def flow_source(self) -> str | None:
        """What the flow is drawn from: ``power``, ``register``, ``interval`` or None."""
        power, register, interval = len(self.power.at_s), len(self.register.at_s), len(self.interval.at_s)
        if power >= 2 and 2 * power >= register:
            return "power"
        if register >= 2:
            return "register"
        if interval >= 2:
            return "interval"
        return "power" if power >= 2 else None

    @cached_property
    def flow(self) -> list[Step]:
        """The delivery as steps, in order of time; gaps are where nothing is known."""
        if self.flow_source == "power":
            register = dict(zip(*self.steady_register, strict=True))
            possible = [(at, w) for at, w in zip(*self.power, strict=True) if w <= self.most_w]
            at_s, power_w = [at for at, _ in possible], [w for _, w in possible]
            return self._possible(flows.power_steps(at_s, power_w, register, self.resolution_wh))
        if self.flow_source == "register":
            curve = self.steady_register
            return flows.register_steps(curve.at_s, curve.value, self.resolution_wh, self.most_w)
        if self.flow_source == "interval":
            return self._possible(flows.interval_steps(self.interval.at_s, self.interval.value))
        return []

    def _possible(self, steps: list[Step]) -> list[Step]:
        """Leaves out what is beyond what could be delivered: no level to compare with."""
        return [step for step in steps if step.power_w <= self.most_w]

    @cached_property
    def flow_readings(self) -> int:
        """How many readings the flow is drawn from."""
        curves = {"power": self.power, "register": self.register, "interval": self.interval}
        return len(curves[self.flow_source].at_s) if self.flow_source else 0

    @cached_property
    def imported_wh(self) -> float | None:
        """The energy of the session (contract, section 2, ``energy_kwh``)."""
        return self.imported_until(self.last_s)

    @cached_property
    def energy_source(self) -> str | None:
        """Which channel the energy comes from."""
        if len(self.register.at_s) >= 2:
            return "register"
        if self.interval.at_s:
            return "interval"
        return "power" if len(self.power.at_s) >= 2 else None

    def imported_until(self, at_s: float) -> float | None:
        """Returns the energy imported up to ``at_s``: register steps, else intervals, else the integral of power."""
        if self.energy_source == "register":
            curve = self.steady_register
            pairs = zip(curve.value, curve.value[1:], curve.at_s[1:], strict=False)
            return sum(max(b - a, 0.0) for a, b, at in pairs if at <= at_s + 1e-6)
        if self.energy_source == "interval":
            return sum(v for at, v in zip(*self.interval, strict=True) if at <= at_s + 1e-6)
        if self.energy_source == "power":
            at, power = self.power
            return sum(
                (power[i] + power[i - 1]) / 2 * (at[i] - at[i - 1]) / 3600.0
                for i in range(1, len(at))
                if at[i] <= at_s + 1e-6
            )
        return None

    def exported(self, start_s: float, end_s: float) -> bool:
        """Tells whether the readings from ``start_s`` to ``end_s`` show energy going to the grid."""
        if any(w >= _EXPORTING_W for w in self.export_w.between(start_s, end_s)):
            return True
        least_wh = self.thresholds.tolerance_kwh * WH_PER_KWH
        values = self.export_register.between(start_s, end_s)
        before = self.export_register.last_before(start_s)
        rise_wh = values[-1] - (values[0] if before is None else before) if values else 0.0
        return rise_wh > least_wh or sum(self.export_interval.between(start_s, end_s)) > least_wh

    def register_rise_wh(self, start_s: float, end_s: float) -> float | None:
        """Returns how much the register rose between its readings within two times, None with fewer than two."""
        values = self.steady_register.between(start_s, end_s)
        if len(values) < 2:
            return None
        return sum(max(b - a, 0.0) for a, b in zip(values, values[1:], strict=False))
