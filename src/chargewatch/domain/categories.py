"""The categories of session anomalies: whom they concern, and which of them exclude each other.

Definitions: ``docs/categories.md`` (version 1); their limits: `chargewatch.domain.thresholds`.
"""

from enum import StrEnum
from typing import Final

CATEGORIES_VERSION: Final = 1


class Category(StrEnum):
    """What is wrong with a session. New members are only ever appended."""

    KWH_DECREASE = "KWH_DECREASE"
    ENERGY_PIT = "ENERGY_PIT"
    ZERO_SESSION = "ZERO_SESSION"
    CHARGING_EXPECTED = "CHARGING_EXPECTED"
    SOC_DROP = "SOC_DROP"
    METER_FROZEN = "METER_FROZEN"
    POWER_ENERGY_MISMATCH = "POWER_ENERGY_MISMATCH"
    ENERGY_SPIKE = "ENERGY_SPIKE"
    PHASE_LOSS = "PHASE_LOSS"
    VOLTAGE_OUT_OF_RANGE = "VOLTAGE_OUT_OF_RANGE"
    THERMAL_DERATING = "THERMAL_DERATING"
    UNUSUAL_PROFILE = "UNUSUAL_PROFILE"


class Severity(StrEnum):
    """How much it matters."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Concern(StrEnum):
    """Whom it concerns."""

    BILLING = "billing"
    SAFETY = "safety"
    DRIVER = "driver"
    DATA = "data"


CONCERNS: Final[dict[Category, Concern]] = {
    Category.KWH_DECREASE: Concern.BILLING,
    Category.ENERGY_PIT: Concern.DRIVER,
    Category.ZERO_SESSION: Concern.DRIVER,
    Category.CHARGING_EXPECTED: Concern.DRIVER,
    Category.SOC_DROP: Concern.DRIVER,
    Category.METER_FROZEN: Concern.BILLING,
    Category.POWER_ENERGY_MISMATCH: Concern.BILLING,
    Category.ENERGY_SPIKE: Concern.BILLING,
    Category.PHASE_LOSS: Concern.SAFETY,
    Category.VOLTAGE_OUT_OF_RANGE: Concern.SAFETY,
    Category.THERMAL_DERATING: Concern.DRIVER,
    Category.UNUSUAL_PROFILE: Concern.DRIVER,
}

#: What yields to which other categories where both rest on the same readings: one cause, one category.
YIELDS_TO: Final[dict[Category, frozenset[Category]]] = {
    Category.ENERGY_SPIKE: frozenset({Category.KWH_DECREASE}),
    Category.METER_FROZEN: frozenset({Category.KWH_DECREASE, Category.ENERGY_SPIKE}),
    Category.POWER_ENERGY_MISMATCH: frozenset(
        {Category.KWH_DECREASE, Category.ENERGY_SPIKE, Category.METER_FROZEN}
    ),
    # A register that stands while energy is drawn hides no absence of energy.
    Category.ZERO_SESSION: frozenset({Category.METER_FROZEN}),
    Category.CHARGING_EXPECTED: frozenset({Category.ZERO_SESSION, Category.METER_FROZEN}),
    # What lies between two jumps, or beside one, is low against them alone.
    Category.ENERGY_PIT: frozenset(
        {
            Category.PHASE_LOSS,
            Category.THERMAL_DERATING,
            Category.METER_FROZEN,
            Category.ENERGY_SPIKE,
        }
    ),
    Category.UNUSUAL_PROFILE: frozenset(Category) - {Category.UNUSUAL_PROFILE},
}
