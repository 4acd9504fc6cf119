"""Energy or power beyond anything that could be: jumps of the register, flipped bits, absurd readings of power."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from chargewatch.simulate.charging import charging_for, charging_stretch, counted, span_between
from chargewatch.simulate.energy_evidence import highest_power_kw
from chargewatch.simulate.faults import SHARE_SHOWN, Mechanism
from chargewatch.simulate.meters import Observed
from chargewatch.simulate.plans import Plan, shown_s
from chargewatch.simulate.records import Span
from chargewatch.simulate.stations import Needs

_Tampered = tuple[Observed, Span]
_LARGEST_WH: Final = 3_000_000
_HIDDEN_WH: Final = 250.0


def _charging(plan: Plan, rng: np.random.Generator) -> Plan:
    seconds = max(shown_s(plan.sampling_s(), 600.0), 6.0 * plan.sampling_s(), 5.0 * plan.steps_s())
    return charging_for(plan, rng, seconds * float(rng.uniform(1.2, 2.5)))


def _unrated(plan: Plan, rng: np.random.Generator) -> Plan:
    """Nobody declared what the station can deliver: only 400 kW for certain is too much."""
    charger = replace(plan.station.charger, rated_known=False)
    return _charging(replace(plan, station=replace(plan.station, charger=charger)), rng)


def _least_wh(plan: Plan, observed: Observed, at: int) -> float:
    """A rise between the readings before and at ``at`` that nothing could explain."""
    seconds, register = observed.at_s(), counted(observed)
    still = np.flatnonzero(register[:at] == register[at - 1])
    hours = float(seconds[at] - seconds[still[0]]) / 3600.0
    resolution = max(plan.station.meter.resolution_wh, 10)
    return 1.05 * (1000.0 * highest_power_kw(plan) * hours + 2.0 * resolution)


def _drawn_jump(plan: Plan, observed: Observed, at: int, rng: np.random.Generator, *, shown: bool) -> int:
    """Draws by how much (Wh) the register jumps; a hidden jump could still be energy that flowed."""
    resolution = plan.station.meter.resolution_wh
    least = _least_wh(plan, observed, at)
    if not shown:
        return max(int(rng.uniform(0.2, 1.0) * _HIDDEN_WH) // resolution, 1) * resolution
    jump = float(np.exp(rng.uniform(np.log(least * 1.1), np.log(max(4.0 * least, _LARGEST_WH)))))
    return (int(jump) // resolution + 1) * resolution


def _place(observed: Observed, rng: np.random.Generator) -> int:
    """Draws a reading in the middle of charging."""
    first, last = charging_stretch(observed)
    first, last = max(first + 1, 1), min(last, len(observed.at_ms) - 2)
    return int(rng.integers(first, max(last, first) + 1)) if last > first else max(first, 1)


def _jump(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """Once, upwards; then it counts on from there."""
    register, at = counted(observed), _place(observed, rng)
    register[at:] += _drawn_jump(plan, observed, at, rng, shown=bool(rng.random() < SHARE_SHOWN))
    observed.register_wh = register
    return observed, span_between(observed, at - 1, at)


def _jump_at_end(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """The last samples and the reading at the end stand far too high."""
    register = counted(observed)
    at = max(len(register) - int(rng.integers(2, 4)), 1)
    register[at:] += _drawn_jump(plan, observed, at, rng, shown=True)
    observed.register_wh = register
    return observed, span_between(observed, at - 1, at)


def _several_jumps(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """Two to five jumps."""
    register = counted(observed)
    places = sorted({_place(observed, rng) for _ in range(int(rng.integers(2, 6)))})
    for at in places:
        register[at:] += _drawn_jump(plan, observed, at, rng, shown=True)
    observed.register_wh = register
    return observed, span_between(observed, places[0] - 1, places[-1])


def _bit_flip(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """A bit of the counter flips from 0 to 1 and stays."""
    register, at = counted(observed), _place(observed, rng)
    resolution = plan.station.meter.resolution_wh
    count, least = int(register[at]) // resolution, _least_wh(plan, observed, at) / resolution
    bits = [k for k in range(5, 31) if not count >> k & 1 and 2**k > least]
    register[at:] += 2 ** int(rng.choice(bits[:6])) * resolution
    observed.register_wh = register
    return observed, span_between(observed, at - 1, at)


def _runs_away(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """For three to eight readings the register races, then counts on as before."""
    register, at = counted(observed), _place(observed, rng)
    end = min(at + int(rng.integers(3, 9)), len(register) - 1)
    for place in range(at, max(end, at + 1)):
        step = plan.station.meter.resolution_wh
        register[place:] += (int(_least_wh(plan, observed, place) * rng.uniform(1.2, 4.0)) // step + 1) * step
    observed.register_wh = register
    return observed, span_between(observed, at - 1, max(end - 1, at))


def _power(
    low: float, high: float, longest: int
) -> Callable[[Plan, Observed, np.random.Generator], _Tampered]:
    """Power readings of ``low`` to ``high`` times the rated power, while the register counts what flowed."""

    def tamper(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
        assert observed.power_kw is not None
        at = min(_place(observed, rng) + 2, len(observed.at_ms) - 2)
        end = min(at + int(rng.integers(1, longest + 1)), len(observed.at_ms) - 1)
        factor = np.exp(rng.uniform(np.log(low), np.log(high), size=max(end - at, 1)))
        power = np.round(plan.station.charger.rated_kw * factor, 2)
        window = slice(at, at + len(power))
        observed.power_kw[window] = power
        if observed.phase_power_kw is not None:
            observed.phase_power_kw[:, window] = np.round(power / len(observed.phase_power_kw), 2)
        return observed, span_between(observed, at, at + len(power) - 1)

    return tamper


def _by_phase(plan: Plan, rng: np.random.Generator) -> Plan:
    meter = replace(plan.station.meter, power="phases")
    return _charging(replace(plan, station=replace(plan.station, meter=meter)), rng)


def _phase_power(plan: Plan, observed: Observed, rng: np.random.Generator) -> _Tampered:
    """One of three phases reads many times what the station can deliver."""
    assert observed.phase_power_kw is not None
    at = min(_place(observed, rng) + 2, len(observed.at_ms) - 2)
    observed.phase_power_kw[int(rng.integers(3)), at] = round(
        plan.station.charger.rated_kw * float(rng.uniform(3.0, 60.0)), 2
    )
    observed.power_kw = observed.phase_power_kw.sum(axis=0)
    return observed, span_between(observed, at, at)


_REGISTER: Final = Needs(register=True)
_POWER: Final = Needs(register=True, power=True)

SPIKE_MECHANISMS: Final = (
    Mechanism("jump_that_stays", _REGISTER, _charging, _jump),
    Mechanism("jump_at_end", _REGISTER, _charging, _jump_at_end),
    Mechanism("bit_flip_up", _REGISTER, _charging, _bit_flip),
    Mechanism("power_beyond_rating", _POWER, _charging, _power(2.8, 8.0, 4)),
    Mechanism("power_absurd", _POWER, _charging, _power(100.0, 10_000.0, 1)),
    Mechanism("several_jumps", _REGISTER, _charging, _several_jumps, held_out=True),
    Mechanism("runs_away", _REGISTER, _charging, _runs_away, held_out=True),
    Mechanism("jump_without_rating", _REGISTER, _unrated, _jump, held_out=True),
    Mechanism(
        "phase_power_beyond", _POWER._replace(kind="ac", phases=3), _by_phase, _phase_power, held_out=True
    ),
)
