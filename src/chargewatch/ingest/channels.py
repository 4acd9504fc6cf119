"""The channels that the analysis reads, and which measurands feed each of them."""

from enum import IntEnum
from typing import Final

import numpy as np

from chargewatch.domain.vocabulary import (
    CONTEXTS,
    DEFAULT_UNITS,
    LOCATIONS,
    MEASURANDS,
    PHASES,
    UNIT_CODES,
    UNITS,
    Measurand,
    Quantity,
)


class Channel(IntEnum):
    """One physical signal of a session. Energies in Wh, powers in W, currents in A, voltage in V, SoC in %."""

    REGISTER = 0
    INTERVAL = 1
    POWER = 2
    CURRENT = 3
    CURRENT_OFFERED = 4
    POWER_OFFERED = 5
    SOC = 6
    VOLTAGE = 7
    POWER_EXPORT = 8
    EXPORT_REGISTER = 9
    EXPORT_INTERVAL = 10
    TARGET_SOC = 11


class PhaseRule(IntEnum):
    """How the readings of single phases become one value."""

    SUM = 0
    LARGEST = 1
    MEAN = 2


_FEEDS: Final = {
    Measurand.ENERGY_ACTIVE_IMPORT_REGISTER: Channel.REGISTER,
    Measurand.ENERGY_ACTIVE_IMPORT_INTERVAL: Channel.INTERVAL,
    Measurand.POWER_ACTIVE_IMPORT: Channel.POWER,
    Measurand.CURRENT_IMPORT: Channel.CURRENT,
    Measurand.CURRENT_OFFERED: Channel.CURRENT_OFFERED,
    Measurand.CURRENT_IMPORT_OFFERED: Channel.CURRENT_OFFERED,
    Measurand.POWER_OFFERED: Channel.POWER_OFFERED,
    Measurand.POWER_IMPORT_OFFERED: Channel.POWER_OFFERED,
    Measurand.SOC: Channel.SOC,
    Measurand.DISPLAY_PRESENT_SOC: Channel.SOC,
    Measurand.VOLTAGE: Channel.VOLTAGE,
    Measurand.POWER_ACTIVE_EXPORT: Channel.POWER_EXPORT,
    Measurand.ENERGY_ACTIVE_EXPORT_REGISTER: Channel.EXPORT_REGISTER,
    Measurand.ENERGY_ACTIVE_EXPORT_INTERVAL: Channel.EXPORT_INTERVAL,
    Measurand.DISPLAY_TARGET_SOC: Channel.TARGET_SOC,
}

PHASE_RULES: Final = {
    Channel.REGISTER: PhaseRule.SUM,
    Channel.INTERVAL: PhaseRule.SUM,
    Channel.POWER: PhaseRule.SUM,
    Channel.CURRENT: PhaseRule.SUM,
    Channel.CURRENT_OFFERED: PhaseRule.LARGEST,
    Channel.POWER_OFFERED: PhaseRule.SUM,
    Channel.SOC: PhaseRule.MEAN,
    Channel.VOLTAGE: PhaseRule.MEAN,
    Channel.POWER_EXPORT: PhaseRule.SUM,
    Channel.EXPORT_REGISTER: PhaseRule.SUM,
    Channel.EXPORT_INTERVAL: PhaseRule.SUM,
    Channel.TARGET_SOC: PhaseRule.MEAN,
}

# Lookups by code; the last entry serves the code -1 (unknown).
CHANNEL_OF_MEASURAND: Final = np.array([_FEEDS.get(m, -1) for m in MEASURANDS] + [-1], np.int8)
_QUANTITIES: Final = tuple(Quantity)
QUANTITY_OF_UNIT: Final = np.array([_QUANTITIES.index(u.quantity) for u in UNITS] + [-1], np.int8)
QUANTITY_OF_MEASURAND: Final = np.array(
    [_QUANTITIES.index(UNITS[UNIT_CODES[DEFAULT_UNITS[m].casefold()]].quantity) for m in MEASURANDS] + [-2],
    np.int8,
)
FACTOR_OF_UNIT: Final = np.array([u.factor for u in UNITS] + [np.nan])
OFFSET_OF_UNIT: Final = np.array([u.offset for u in UNITS] + [np.nan])

_CONTEXT_ORDER: Final = (
    "Transaction.End",
    "Transaction.Begin",
    "Sample.Periodic",
    "Sample.Clock",
    "Interruption.Begin",
    "Interruption.End",
    "Trigger",
    "Other",
)
_LOCATION_ORDER: Final = ("Outlet", "Inlet", "Cable", "EV", "Body", "Upstream")
#: Which of several readings of one instant counts (contract, section 2): the smallest rank.
CONTEXT_RANK: Final = np.array([_CONTEXT_ORDER.index(c) for c in CONTEXTS] + [8], np.int64)
LOCATION_RANK: Final = np.array([_LOCATION_ORDER.index(loc) for loc in LOCATIONS] + [6], np.int64)
_NEVER_ANALYSED: Final = 9
#: 0 a total, 1 to 3 the phase, 9 between phases or neutral (never analysed).
PHASE_NUMBER: Final = np.array(
    [0 if p == "" else (int(p[1]) if p in {"L1", "L2", "L3", "L1-N", "L2-N", "L3-N"} else 9) for p in PHASES]
    + [9],
    np.int64,
)

# Lookups by two codes, each with a last entry for the code -1.
#: Whether a measurand can be in a unit.
FITS: Final = QUANTITY_OF_MEASURAND[:, None] == QUANTITY_OF_UNIT[None]
#: The channel of a measurand at a phase, -1 where the two are not analysed.
CHANNEL_OF: Final = np.where(PHASE_NUMBER < _NEVER_ANALYSED, CHANNEL_OF_MEASURAND[:, None], np.int8(-1))
