"""Register and power disagree by more than a fifth: wrong gains, a phase not counted, wrong scales.

Where the register counts too fast the car's power is limited, so that what is counted stays below
what the station could deliver: more than that would be another category.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from chargewatch.simulate.charging import (
    charging_for,
    charging_stretch,
    counted,
    mean_power_kw,
    position_after,
    span_between,
)
from chargewatch.simulate.faults import SHARE_SHOWN, Mechanism
from chargewatch.simulate.meters import Observed
from chargewatch.simulate.plans import Plan
from chargewatch.simulate.records import Floats, Span
from chargewatch.simulate.stations import Needs

_Tampered = tuple[Observed, Span]
_FASTEST: Final = 1.6


def _long_s(plan: Plan, rng: np.random.Generator) -> float:
    """Draws how long the car charges: mostly long enough for half an hour of readings to prove it."""
    shown = max(2400.0 + 3.0 * plan.sampling_s(), 8.0 * plan.sampling_s(), 14.0 * plan.steps_s())
    energy_s = 3600.0 * 3.5 / plan.power_kw()
    if rng.random() < SHARE_SHOWN:
        return max(shown, energy_s) * float(rng.uniform(1.0, 1.5))
    return float(rng.uniform(900.0, 1500.0))


def _charging(plan: Plan, rng: np.random.Generator) -> Plan:
    return charging_for(plan, rng, _long_s(plan, rng))


def _charging_gently(plan: Plan, rng: np.random.Generator) -> Plan:
    """Leaves room for readings that are too high."""
    cap = 1.05 * plan.station.charger.rated_kw / _FASTEST
    seconds = _long_s(plan, rng) * max(plan.power_kw() / cap, 1.0)
    return charging_for(plan, rng, seconds, cap_kw=cap)


def _charging_twice(plan: Plan, rng: np.random.Generator) -> Plan:
    return charging_for(plan, rng, 2.2 * _long_s(plan, rng))


def _recounted(plan: Plan, observed: Observed, gains: Floats) -> Observed:
    """Counts anew: what flowed between two readings times its gain, shape (n - 1,)."""
    register, resolution = counted(observed), plan.station.meter.resolution_wh
    flows = np.diff(observed.energy_kwh) * 1000.0 * gains
    count = register[0] + np.concatenate(([0.0], np.cumsum(flows)))
    observed.register_wh = np.floor(count / resolution + 1e-9).astype(np.int64) * resolution
    return observed


def _gain(low: float, high: float) -> Callable[[Plan, Observed, np.random.Generator], _Tampered]:
    def tamper(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
        stretch = charging_stretch(observed)
        gains = np.full(len(observed.at_ms) - 1, float(rng.uniform(low, high)))
        return _recounted(plan, observed, gains), span_between(observed, stretch.first, stretch.last)

    return tamper


def _gain_changes(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """Right at first; later the register counts too slowly."""
    stretch, at = charging_stretch(observed), observed.at_s()
    first, last = float(at[stretch.first]), float(at[stretch.last])
    change = position_after(observed, stretch.first, float(rng.uniform(0.2, 0.5)) * (last - first))
    gains = np.ones(len(at) - 1)
    gains[change:] = float(rng.uniform(0.4, 0.7))
    return _recounted(plan, observed, gains), span_between(observed, change, max(stretch.last, change))


def _scale_for_part(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """For a part of the session the register counts in tenths of what it says."""
    stretch, at = charging_stretch(observed), observed.at_s()
    lasts = float(at[stretch.last] - at[stretch.first])
    begin = position_after(observed, stretch.first, float(rng.uniform(0.1, 0.25)) * lasts)
    end = min(position_after(observed, begin, float(rng.uniform(0.5, 0.65)) * lasts), stretch.last)
    gains = np.ones(len(at) - 1)
    gains[begin:end] = 0.1
    return _recounted(plan, observed, gains), span_between(observed, begin, max(end, begin))


def _saturates(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """Pulses come faster than the counter can follow: what lies above a limit is lost."""
    stretch, power = charging_stretch(observed), mean_power_kw(observed)
    limit = float(np.max(power, initial=0.0)) * float(rng.uniform(0.4, 0.6))
    gains = np.minimum(1.0, limit / np.maximum(power, 1e-6))
    held_back = np.flatnonzero(gains < 0.8)
    first, last = (
        (int(held_back[0]), int(held_back[-1]) + 1) if len(held_back) else (stretch.first, stretch.last)
    )
    return _recounted(plan, observed, gains), span_between(observed, first, last)


def _transformer(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """A current transformer of another ratio: power and current are wrong, the register is right."""
    highest = plan.station.charger.rated_kw / max(float(np.max(mean_power_kw(observed), initial=1.0)), 0.1)
    ratios = [0.4, 0.5, 0.6] + [r for r in (1.5, 2.0, 2.5) if r < 1.05 * highest]
    ratio = float(rng.choice(ratios))
    assert observed.power_kw is not None
    observed.power_kw = np.round(observed.power_kw * ratio, 3)
    if observed.phase_power_kw is not None:
        observed.phase_power_kw = np.round(observed.phase_power_kw * ratio, 3)
    if observed.current_a is not None:
        observed.current_a = np.round(observed.current_a * ratio, 2)
    stretch = charging_stretch(observed)
    return observed, span_between(observed, stretch.first, stretch.last)


_BOTH: Final = Needs(register=True, power=True, resolution_at_most_wh=100)

MISMATCH_MECHANISMS: Final = (
    Mechanism("counts_too_slowly", _BOTH, _charging, _gain(0.4, 0.72)),
    Mechanism("counts_too_fast", _BOTH, _charging_gently, _gain(1.35, _FASTEST)),
    Mechanism(
        "phase_not_counted", _BOTH._replace(kind="ac", phases=3), _charging, _gain(2.0 / 3.0, 2.0 / 3.0)
    ),
    Mechanism("gain_changes", _BOTH, _charging_twice, _gain_changes),
    Mechanism("transformer_ratio", _BOTH, _charging_gently, _transformer, held_out=True),
    Mechanism(
        "scale_for_part",
        _BOTH._replace(resolution_at_most_wh=10),
        _charging_twice,
        _scale_for_part,
        held_out=True,
    ),
    Mechanism("counter_saturates", _BOTH, _charging, _saturates, held_out=True),
)
