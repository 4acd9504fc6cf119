"""Near-misses of registers whose step is no power of ten: pulses per kWh times the ratio of a transformer.

Between two steps such a register stands while the car charges on. To whoever takes it for a finer one it seems frozen,
or, where nothing but the register is sent, delivery seems to collapse again and again.
"""

from typing import Final

import numpy as np

from chargewatch.simulate.energy_near_misses import charging_slowly
from chargewatch.simulate.faults import Mechanism
from chargewatch.simulate.meters import Observed
from chargewatch.simulate.plans import Plan
from chargewatch.simulate.records import Span
from chargewatch.simulate.stations import Needs

STEPS_WH: Final = (125, 200, 250, 400, 500, 600)
_POWERS_KW: Final = (1.4, 3.4)
_SHARE_OFF_GRID: Final = 0.3
_SHARE_FINE_END: Final = 0.3


def _in_odd_steps(plan: Plan, rng: np.random.Generator) -> Plan:
    """A register in steps of 0.125 to 0.6 kWh, and a car at low power."""
    return charging_slowly(plan, rng, int(rng.choice(STEPS_WH)), _POWERS_KW)


def _odd_count(plan: Plan, observed: Observed, rng: np.random.Generator) -> tuple[Observed, Span]:
    """Some registers began at no multiple of their step, and some stations read the meter itself at the end."""
    register = observed.register_wh
    assert register is not None
    step = plan.station.meter.resolution_wh
    if plan.station.meter.energy_unit == "Wh" and rng.random() < _SHARE_OFF_GRID:
        register = register + int(rng.integers(1, step))
    if observed.contexts[-1] == "Transaction.End" and rng.random() < _SHARE_FINE_END:
        decimal = 1 if plan.station.meter.energy_unit == "Wh" else _decimal_wh(step)
        register[-1] += int(rng.integers(0, step)) // decimal * decimal
    observed.register_wh = register
    return observed, Span(0.0, 0.0, 0.0)


def _decimal_wh(step_wh: int) -> int:
    """Returns the last decimal that a step takes in kWh."""
    return max(wh for wh in (1, 10, 100) if step_wh % wh == 0)


_SEEN_TO_STAND: Final = Needs(
    kind="ac", managed=False, register=True, soc=False, begin_end=True, sampling_at_most_s=60.0
)

STEP_NEAR_MISSES: Final = (
    Mechanism(
        "odd_steps_beside_power",
        _SEEN_TO_STAND._replace(power=True),
        _in_odd_steps,
        _odd_count,
        held_out=True,
        own_meter=True,
    ),
    Mechanism(
        "odd_steps_alone",
        _SEEN_TO_STAND._replace(power=False, current=False),
        _in_odd_steps,
        _odd_count,
        held_out=True,
        own_meter=True,
    ),
)
