"""The channels that a station is watched on: each day's sessions against the forecast, as evidence by type."""

from typing import Final

import numpy as np

from chargewatch.domain.station_types import StationAnomaly
from chargewatch.domain.thresholds import ShadeThresholds
from chargewatch.shade import accumulate as evidence_of
from chargewatch.shade.accumulate import Accumulator, Best, Wander
from chargewatch.shade.arrays import Flags, Floats
from chargewatch.shade.classify import TYPES, Evidence
from chargewatch.shade.days import StationDays
from chargewatch.shade.expectation import Expectation
from chargewatch.shade.forecast import Forecast
from chargewatch.shade.silence import ConnectorSilence, StationSilence

_HEADROOM: Final = 2.0  # evidence beyond this multiple of the limit is not kept
_CAUTION: Final = (
    0.7  # standard errors by which an expectation is lowered before anything is held against a station
)
_MEAN_POWER: Final = 1.5  # what evidence from mean power is divided by: it wanders with how long cars stay
_AT: Final = {kind: number for number, kind in enumerate(TYPES)}


class Channels:
    """The accumulators of the stations of one time zone."""

    def __init__(self, days: StationDays, expectation: Expectation, thresholds: ShadeThresholds) -> None:
        self._days, self._expectation, self._limits = days, expectation, thresholds
        count = len(days.stations)
        self._count = Accumulator(len(evidence_of.COUNT_LEFT), count, _HEADROOM * thresholds.evidence_count)
        self._zero = Accumulator(len(evidence_of.ZERO_UP), count, _HEADROOM * thresholds.evidence_zero)
        energy = _HEADROOM * thresholds.evidence_energy
        self._energy = Accumulator(len(evidence_of.ENERGY_LEFT), count, energy)
        self._day_energy = Accumulator(len(evidence_of.ENERGY_LEFT), count, energy)
        power = _HEADROOM * thresholds.evidence_power
        self._power = Accumulator(len(evidence_of.POWER_LEFT), count, power)
        self._duration = Accumulator(len(evidence_of.POWER_LEFT), count, power)
        self._drift = Accumulator(len(evidence_of.DRIFT), count, _HEADROOM * thresholds.evidence_drift)
        self._wander = {name: Wander(count) for name in ("count", "zero", "energy", "day", "power", "drift")}
        self._silence = StationSilence(count)
        self._connectors = ConnectorSilence(days)

    @property
    def connectors(self) -> ConnectorSilence:
        """The silence of each connector."""
        return self._connectors

    def add(self, row: int, forecast: Forecast, active: Flags) -> None:
        """Adds a day of the active stations."""
        self._hear(self._days.sessions[row] > 0)
        cautious = forecast.sessions * (1.0 - _CAUTION * np.minimum(forecast.uncertainty, 0.8))
        self._add_counts(row, forecast, cautious, active)
        self._add_energies(row, forecast, cautious, active)
        self._add_zeros(row, forecast, active)
        self._add_powers(row, forecast, active)
        self._add_drift(row, forecast, active)
        self._silence.add(
            row,
            self._days,
            cautious,
            forecast.dispersion,
            self._expectation.hours_left(row, self._days.last_second[row].astype(np.int64)),
            self._wander["count"].factor(),
            active,
        )
        self._connectors.add(row, self._expectation, active)

    def _hear(self, heard: Flags) -> None:
        """A station that was silent and is heard again starts anew: its silence is no drop as well."""
        back = heard & (self._silence.best().evidence >= np.log(self._limits.silence_odds))
        self._count.clear(back)
        self._day_energy.clear(back)

    def _add_counts(self, row: int, forecast: Forecast, cautious: Floats, active: Flags) -> None:
        sessions = self._days.sessions[row].astype(np.float64)
        variance = forecast.sessions + forecast.dispersion * forecast.sessions**2
        wander = self._wander["count"]
        nats = evidence_of.count_nats(sessions, cautious, forecast.dispersion) / wander.factor()
        self._count.add(row, nats, sessions, forecast.sessions, active)
        wander.add(sessions - forecast.sessions, variance, active)

    def _add_energies(self, row: int, forecast: Forecast, cautious: Floats, active: Flags) -> None:
        days = self._days
        energy = days.energy_kwh[row].astype(np.float64)
        delivering = (days.measured[row] - days.zero[row]).astype(np.float64)
        mean, shape = forecast.session_kwh, forecast.energy_shape
        wander = self._wander["energy"]
        nats = evidence_of.energy_nats(energy, delivering, mean, shape) / wander.factor()
        self._energy.add(row, nats, energy, delivering * mean, active)
        wander.add(energy / mean - delivering, delivering / shape, active)
        counts = cautious * (1.0 - forecast.zero_share)
        unit = mean * (1.0 + 1.0 / shape + forecast.dispersion * counts)
        wander = self._wander["day"]
        measurable = active & (days.measured[row] >= days.sessions[row])
        nats = evidence_of.day_energy_nats(energy, counts * mean, unit) / wander.factor()
        self._day_energy.add(row, nats, energy, forecast.energy_kwh, measurable)
        wander.add((energy - forecast.energy_kwh) / unit, forecast.energy_kwh / unit, measurable)

    def _add_zeros(self, row: int, forecast: Forecast, active: Flags) -> None:
        zero, measured = (a[row].astype(np.float64) for a in (self._days.zero, self._days.measured))
        share = forecast.zero_share
        wander = self._wander["zero"]
        nats = evidence_of.zero_nats(zero, measured, share) / wander.factor()
        self._zero.add(row, nats, zero, measured, active)
        wander.add(zero - measured * share, measured * share * (1.0 - share), active)

    def _add_powers(self, row: int, forecast: Forecast, active: Flags) -> None:
        days = self._days
        log_power, count = days.log_power[row].astype(np.float64), days.powered[row].astype(np.float64)
        mean, variance = forecast.log_power, forecast.log_power_variance
        wander = self._wander["power"]
        shifts = np.log(evidence_of.POWER_LEFT)
        doubt = wander.factor() * np.where(self._expectation.tells_peaks(), 1.0, _MEAN_POWER)
        nats = evidence_of.shift_nats(log_power, count, mean, variance, shifts) / doubt
        self._power.add(row, nats, log_power - count * mean, count, active)
        longer = days.log_duration[row] - count * forecast.log_duration
        self._duration.add(row, nats, longer, count, active)
        wander.add((log_power - count * mean) / np.sqrt(variance), count, active)

    def _add_drift(self, row: int, forecast: Forecast, active: Flags) -> None:
        days = self._days
        ratio, count = days.log_ratio[row].astype(np.float64), days.witnessed[row].astype(np.float64)
        mean, variance = forecast.log_ratio, forecast.log_ratio_variance
        wander = self._wander["drift"]
        nats = evidence_of.shift_nats(ratio, count, mean, variance, np.array(evidence_of.DRIFT))
        self._drift.add(row, nats / wander.factor(), ratio - count * mean, count, active)
        wander.add((ratio - count * mean) / np.sqrt(variance), count, active)

    def evidence(self, forecast: Forecast) -> Evidence:
        """Returns what is held against each station; that of its site is left empty."""
        limits = self._limits
        count, zero, power = self._count.best(), self._zero.best(), self._power.best()
        drift, energy = self._drift.best(), self._stronger_energy()
        silent = self._silence.best()
        connector = self._connectors.best()
        empty = np.zeros(len(forecast.sessions))
        nothing = Best(empty, empty, empty, np.zeros(len(empty), np.int64))
        share = zero.observed / np.maximum(zero.expected, 1e-9)
        surge = (share >= limits.zero_surge_factor * forecast.zero_share) & (
            share >= forecast.zero_share + limits.zero_surge_points
        )
        shifted = drift.observed / np.maximum(drift.expected, 1e-9)
        by_type = {
            StationAnomaly.SITE_DROP: (nothing, np.zeros(len(share), np.bool_)),
            StationAnomaly.STATION_SILENT: (silent, silent.expected > 0),
            StationAnomaly.CONNECTOR_SILENT: (connector, connector.expected > 0),
            StationAnomaly.SESSION_COUNT_DROP: (
                count,
                (count.observed <= (1.0 - limits.count_drop) * count.expected) & (count.observed > 0),
            ),
            StationAnomaly.ZERO_SESSION_SURGE: (zero, surge),
            StationAnomaly.POWER_DERATE: (power, self._derated(power)),
            StationAnomaly.METER_DRIFT: (drift, np.abs(shifted) >= np.log1p(limits.meter_drift)),
            StationAnomaly.ENERGY_DROP: (
                energy,
                (energy.observed <= (1.0 - limits.energy_drop) * energy.expected) & (energy.observed > 0),
            ),
        }
        ordered = [by_type[kind] for kind in TYPES]
        bests = [best for best, _ in ordered]
        return Evidence(
            np.stack([best.evidence for best in bests]),
            np.stack([enough for _, enough in ordered]),
            np.stack([best.observed for best in bests]),
            np.stack([best.expected for best in bests]),
            np.stack([best.begun for best in bests]),
        )

    def _stronger_energy(self) -> Best:
        session, day = self._energy.best(), self._day_energy.best()
        first = session.evidence >= day.evidence
        return Best(
            np.where(first, session.evidence, day.evidence),
            np.where(first, session.observed, day.observed),
            np.where(first, session.expected, day.expected),
            np.where(first, session.begun, day.begun),
        )

    def _derated(self, power: Best) -> Flags:
        """Power down, with sessions as long; where only mean power is known, energy has to be down as well."""
        limits = self._limits
        sessions = np.maximum(power.expected, 1e-9)
        fall = power.observed / sessions
        longer = self._duration.best().observed / sessions
        long = longer >= np.log(limits.derate_duration)
        less = self._expectation.tells_peaks() | (fall + longer <= np.log(1.0 - limits.energy_drop))
        enough: Flags = (fall <= np.log(1.0 - limits.derate_drop)) & long & less & (power.expected > 0)
        return enough

    def clear(self, chosen: Flags) -> None:
        """Forgets the evidence against some stations."""
        for channel in (self._count, self._zero, self._energy, self._day_energy, self._power, self._duration):
            channel.clear(chosen)
        self._drift.clear(chosen)
        self._silence.clear(chosen)
        self._connectors.clear(chosen)


def place_of(kind: StationAnomaly) -> int:
    """Returns the row of a type in `Evidence`."""
    return _AT[kind]
