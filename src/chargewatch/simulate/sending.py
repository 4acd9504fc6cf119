"""Sending: the figures of a meter as decimal text, in the order in which they leave the station.

Messages may leave late or twice; their timestamps stay right.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import repeat
from typing import Final

import numpy as np

from chargewatch.domain.vocabulary import DEFAULT_LOCATION, Measurand
from chargewatch.simulate.chargers import Charger
from chargewatch.simulate.electrics import current_rows, phase_power_rows, voltage_rows
from chargewatch.simulate.meters import Meter, Observed
from chargewatch.simulate.records import Floats, Integers, SimulatedReading

_UNIT_OF_EXTRA: Final = {
    Measurand.ENERGY_ACTIVE_IMPORT_INTERVAL: "Wh",
    Measurand.ENERGY_ACTIVE_NET: "Wh",
    Measurand.DISPLAY_TARGET_SOC: "Percent",
}


class _Sender:
    """Turns columns of figures into readings that share timestamps and contexts."""

    def __init__(self, observed: Observed, starts_at: datetime, location: str | None) -> None:
        milliseconds = observed.at_ms.tolist()
        self._timestamps = [starts_at + timedelta(milliseconds=ms) for ms in milliseconds]
        self._contexts = observed.contexts
        self._location = location

    def column(
        self,
        texts: list[str],
        measurand: Measurand,
        unit: str,
        phase: str | None = None,
        location: str | None = None,
    ) -> list[SimulatedReading]:
        """Returns one reading an instant, all of one measurand and phase."""
        fields = zip(
            self._timestamps,
            texts,
            repeat(measurand.value),
            repeat(unit),
            repeat(phase),
            repeat(location or self._location),
            self._contexts,
            strict=False,
        )
        return list(map(SimulatedReading._make, fields))


def send(
    observed: Observed, charger: Charger, meter: Meter, starts_at: datetime, rng: np.random.Generator
) -> list[SimulatedReading]:
    """Returns the readings in the order of sending."""
    sender = _Sender(observed, starts_at, None if meter.terse else DEFAULT_LOCATION)
    messages = list(zip(*_columns(sender, observed, charger, meter), strict=True))
    return [
        reading
        for number in _sending_order(observed, len(messages), meter, rng)
        for reading in messages[number]
    ]


def _columns(
    sender: _Sender, observed: Observed, charger: Charger, meter: Meter
) -> Iterator[list[SimulatedReading]]:
    if observed.register_wh is not None:
        texts = _register_texts(observed.register_wh, observed.register_factor, meter)
        yield sender.column(texts, Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, meter.energy_unit)
    yield from _power_columns(sender, observed, charger, meter)
    if meter.offered == "current":
        yield sender.column(_fixed(observed.offered_a, 1), Measurand.CURRENT_OFFERED, "A")
    elif meter.offered == "power":
        yield sender.column(
            _power_texts(observed.offered_kw, meter), Measurand.POWER_OFFERED, meter.power_unit
        )
    if observed.current_a is not None:
        for phase, row in current_rows(observed.current_a, charger, meter.electrics):
            yield sender.column(_fixed(row, 2), Measurand.CURRENT_IMPORT, "A", phase)
    if observed.voltage_v is not None:
        for phase, row in voltage_rows(observed.voltage_v, charger, meter.electrics):
            yield sender.column(_fixed(row, 1), Measurand.VOLTAGE, "V", phase)
    for sensor, values in observed.temperature_c.items():
        texts = _fixed(values, 0 if meter.electrics.coarse_celsius else 1)
        yield sender.column(texts, Measurand.TEMPERATURE, "Celsius", location=sensor)
    if observed.soc is not None:
        yield sender.column(
            _fixed(observed.soc, 0), Measurand.SOC, "Percent", location=None if meter.terse else "EV"
        )
    if observed.sends_export:
        exported = _register_texts((observed.exported_kwh * 1000).astype(np.int64), None, meter)
        yield sender.column(exported, Measurand.ENERGY_ACTIVE_EXPORT_REGISTER, meter.energy_unit)
        yield sender.column(
            _power_texts(observed.export_kw, meter), Measurand.POWER_ACTIVE_EXPORT, meter.power_unit
        )
    for name, figures in observed.extra.items():
        measurand = Measurand(name)
        yield sender.column(_fixed(figures, 0), measurand, _UNIT_OF_EXTRA[measurand])


def _power_columns(
    sender: _Sender, observed: Observed, charger: Charger, meter: Meter
) -> Iterator[list[SimulatedReading]]:
    if observed.phase_power_kw is not None:
        for phase, row in phase_power_rows(observed.phase_power_kw, charger, meter.electrics):
            yield sender.column(
                _power_texts(row, meter), Measurand.POWER_ACTIVE_IMPORT, meter.power_unit, phase
            )
    elif observed.power_kw is not None:
        texts = _power_texts(observed.power_kw, meter)
        yield sender.column(
            texts, Measurand.POWER_ACTIVE_IMPORT, meter.power_unit, location=observed.power_location
        )


def _register_texts(register_wh: Integers, factor: Floats | None, meter: Meter) -> list[str]:
    """Returns the register as text; where ``factor`` (n,) is not 1 the meter counts in another scale."""
    if factor is not None:
        plain = meter.energy_unit == "Wh"
        values = (register_wh * factor if plain else register_wh * factor / 1000.0).tolist()
        return [f"{v:.3f}" if f != 1.0 else f"{v:.0f}" for v, f in zip(values, factor.tolist(), strict=True)]
    if meter.energy_unit == "Wh":
        return list(map(str, register_wh.tolist()))
    return _fixed(register_wh / 1000.0, _energy_decimals(meter.resolution_wh))


def _energy_decimals(resolution_wh: int) -> int:
    """Returns how many decimals of a kWh it takes to show every multiple of the resolution."""
    return next(n for n in range(4) if resolution_wh * 10**n % 1000 == 0)


def _power_texts(power_kw: Floats, meter: Meter) -> list[str]:
    return _fixed(power_kw, 2) if meter.power_unit == "kW" else _fixed(power_kw * 1000.0, 0)


def _fixed(values: Floats, decimals: int) -> list[str]:
    pattern = f"%.{decimals}f"
    return [pattern % value for value in values.tolist()]


def _sending_order(observed: Observed, messages: int, meter: Meter, rng: np.random.Generator) -> list[int]:
    order = _order(messages, meter, rng)
    if observed.held_back is None:
        return order
    begin, end = observed.held_back
    later = 2 * end - begin  # as many messages get through before the held ones are sent
    held = [n for n in order if begin <= n < end]
    before = [n for n in order if n < begin or end <= n < later]
    return [*before, *held, *(n for n in order if n >= later)]


def _order(messages: int, meter: Meter, rng: np.random.Generator) -> list[int]:
    """Returns the messages' numbers in the order of sending: late ones further back, some twice."""
    if not (meter.late or meter.repeated):
        return list(range(messages))
    position = np.arange(messages, dtype=np.float64)
    late = rng.random(messages) < meter.late
    position[late] += rng.integers(1, 6, size=int(late.sum())) + 0.5
    again = np.flatnonzero(rng.random(messages) < meter.repeated)
    positions = np.concatenate((position, again + 0.25))
    numbers = np.concatenate((np.arange(messages), again))
    return [int(n) for n in numbers[np.argsort(positions, kind="stable")].tolist()]
