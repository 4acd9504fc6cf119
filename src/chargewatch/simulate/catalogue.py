"""The catalogue: every mechanism of every category of fault, and every near-miss, by name."""

from collections.abc import Mapping
from typing import Final

from chargewatch.domain.categories import Category
from chargewatch.simulate.electrical_faults import (
    PHASE_MECHANISMS,
    SOC_MECHANISMS,
    THERMAL_MECHANISMS,
    VOLTAGE_MECHANISMS,
)
from chargewatch.simulate.electrical_near_misses import ELECTRICAL_NEAR_MISSES
from chargewatch.simulate.energy_near_misses import ENERGY_NEAR_MISSES
from chargewatch.simulate.faults import (
    EXPECTED_MECHANISMS,
    PIT_MECHANISMS,
    ZERO_MECHANISMS,
    Mechanism,
)
from chargewatch.simulate.frozen_faults import FROZEN_MECHANISMS
from chargewatch.simulate.mismatch_faults import MISMATCH_MECHANISMS
from chargewatch.simulate.near_misses import DELIVERY_NEAR_MISSES
from chargewatch.simulate.odd_control import CONTROL_MECHANISMS
from chargewatch.simulate.odd_readings import READING_MECHANISMS
from chargewatch.simulate.odd_shapes import SHAPE_MECHANISMS
from chargewatch.simulate.odd_signals import SIGNAL_MECHANISMS
from chargewatch.simulate.rare_normals import RARE_NORMALS
from chargewatch.simulate.register_faults import DECREASE_MECHANISMS
from chargewatch.simulate.register_near_misses import REGISTER_NEAR_MISSES
from chargewatch.simulate.restless_normals import RESTLESS_NORMALS
from chargewatch.simulate.spike_faults import SPIKE_MECHANISMS
from chargewatch.simulate.stations import Station, meets
from chargewatch.simulate.step_near_misses import STEP_NEAR_MISSES

MECHANISMS: Final[Mapping[Category, tuple[Mechanism, ...]]] = {
    Category.KWH_DECREASE: DECREASE_MECHANISMS,
    Category.ENERGY_PIT: PIT_MECHANISMS,
    Category.ZERO_SESSION: ZERO_MECHANISMS,
    Category.CHARGING_EXPECTED: EXPECTED_MECHANISMS,
    Category.SOC_DROP: SOC_MECHANISMS,
    Category.PHASE_LOSS: PHASE_MECHANISMS,
    Category.VOLTAGE_OUT_OF_RANGE: VOLTAGE_MECHANISMS,
    Category.THERMAL_DERATING: THERMAL_MECHANISMS,
    Category.METER_FROZEN: FROZEN_MECHANISMS,
    Category.POWER_ENERGY_MISMATCH: MISMATCH_MECHANISMS,
    Category.ENERGY_SPIKE: SPIKE_MECHANISMS,
    Category.UNUSUAL_PROFILE: (*SHAPE_MECHANISMS, *READING_MECHANISMS),
}
LOOK_ALIKES: Final[tuple[Mechanism, ...]] = (
    *DELIVERY_NEAR_MISSES,
    *REGISTER_NEAR_MISSES,
    *ELECTRICAL_NEAR_MISSES,
    *ENERGY_NEAR_MISSES,
    *STEP_NEAR_MISSES,
    *RESTLESS_NORMALS,
)

UNSEEN_MECHANISMS: Final[tuple[Mechanism, ...]] = (*CONTROL_MECHANISMS, *SIGNAL_MECHANISMS)
"""Odd shapes (UNUSUAL_PROFILE) by another author, written after the base model and made by name alone.

No fleet, suite or training set draws them: what is measured on them is measured on kinds that nobody who
worked on the detector chose, and what was seeded before them stays as it was.
"""

FAULTS: Final[Mapping[Category, tuple[str, ...]]] = {
    category: tuple(mechanism.name for mechanism in mechanisms) for category, mechanisms in MECHANISMS.items()
}
NEAR_MISSES: Final[tuple[str, ...]] = tuple(mechanism.name for mechanism in LOOK_ALIKES)

#: Those kept out of training and tuning: report on them apart.
HELD_OUT: Final[Mapping[Category, tuple[str, ...]]] = {
    category: tuple(m.name for m in mechanisms if m.held_out) for category, mechanisms in MECHANISMS.items()
}
HELD_OUT_NEAR_MISSES: Final[tuple[str, ...]] = tuple(m.name for m in LOOK_ALIKES if m.held_out)

#: Kinds of UNUSUAL_PROFILE that are made by name alone, beyond those of ``FAULTS``: held out from everything.
UNSEEN: Final[tuple[str, ...]] = tuple(mechanism.name for mechanism in UNSEEN_MECHANISMS)
#: Normal behaviour with unusual figures, by the same author: made by name alone too, beyond ``NEAR_MISSES``.
UNSEEN_NORMALS: Final[tuple[str, ...]] = tuple(mechanism.name for mechanism in RARE_NORMALS)


def fault_named(category: Category, name: str) -> Mechanism:
    """Returns the mechanism of a category. Raises ValueError for an unknown name."""
    unseen = UNSEEN_MECHANISMS if category is Category.UNUSUAL_PROFILE else ()
    for mechanism in (*MECHANISMS[category], *unseen):
        if mechanism.name == name:
            return mechanism
    raise ValueError(f"{category} has no mechanism {name!r}; there are {', '.join(FAULTS[category])}")


def near_miss_named(name: str) -> Mechanism:
    """Returns a near-miss, or normal behaviour made by name alone. Raises ValueError for an unknown name."""
    for mechanism in (*LOOK_ALIKES, *RARE_NORMALS):
        if mechanism.name == name:
            return mechanism
    raise ValueError(f"no near-miss {name!r}; there are {', '.join(NEAR_MISSES)}")


def possible_faults(station: Station) -> dict[Category, tuple[Mechanism, ...]]:
    """Returns what can go wrong, visibly, at a station that is and sends what this one does."""
    possible = {
        category: tuple(m for m in mechanisms if meets(station, m.needs))
        for category, mechanisms in MECHANISMS.items()
    }
    return {category: mechanisms for category, mechanisms in possible.items() if mechanisms}


def possible_near_misses(station: Station) -> tuple[Mechanism, ...]:
    """Returns the near-misses whose excuse a station like this one can show with the meter that it has."""
    return tuple(m for m in LOOK_ALIKES if not m.own_meter and meets(station, m.needs))
