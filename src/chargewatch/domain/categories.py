"""The categories of session anomalies and every threshold that decides them.

Definitions: ``docs/categories.md`` (version 1). Thresholds stand here and nowhere else.
"""

from enum import StrEnum
from typing import Final, NamedTuple

CATEGORIES_VERSION: Final = 1


class Category(StrEnum):
    """What is wrong with a session. New members are only ever appended."""

    KWH_DECREASE = "KWH_DECREASE"
    ENERGY_PIT = "ENERGY_PIT"
    ZERO_SESSION = "ZERO_SESSION"
    CHARGING_EXPECTED = "CHARGING_EXPECTED"


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
}


class Thresholds(NamedTuple):
    """The limits in the definitions. Energies in kWh, powers in kW, times in seconds, SoC in per cent."""

    # KWH_DECREASE
    tolerance_kwh: float = 0.01
    coarsest_resolution_kwh: float = 1.0
    # ENERGY_PIT
    pit_depth: float = 0.25
    pit_level_kw: float = 1.0
    pit_recovery: float = 0.5
    pit_shortest_s: float = 180.0
    pit_longest_s: float = 7200.0
    pit_soc_percent: float = 95.0
    # ZERO_SESSION
    zero_energy_kwh: float = 0.1
    zero_power_kw: float = 0.3
    zero_connected_s: float = 300.0
    zero_soc_percent: float = 95.0
    zero_live_ac_s: float = 3600.0
    zero_live_confidence: float = 0.6
    zero_offer_unused_s: float = 1800.0
    # CHARGING_EXPECTED
    expected_delivered_kwh: float = 0.1
    expected_idle_s: float = 1800.0
    expected_soc_percent: float = 80.0
    expected_offer_kw: float = 1.4
    expected_own_limit_kwh: float = 3.0
    expected_break_off: float = 0.5
    expected_early_kwh: float = 0.5
    expected_early_idle_s: float = 3600.0
    expected_resume_s: float = 7200.0
    # shared
    offer_fall: float = 0.25


DEFAULT_THRESHOLDS: Final = Thresholds()
