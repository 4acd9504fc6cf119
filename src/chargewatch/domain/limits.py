"""What each threshold means, in which unit, and within which bounds a tenant may set it.

One row for each field of `chargewatch.domain.thresholds.Thresholds`: the command line, the HTTP API and the
documentation are made from this table. A limit is *relaxed* where fewer sessions are reported with it. The limits of
`NEVER_RELAXED` categories can be made stricter, and never more lenient than their default.
"""

import difflib
import math
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from chargewatch.domain.categories import CONCERNS, Category, Concern
from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS, Thresholds

#: What a tenant may not relax: falling registers, and whatever concerns safety.
NEVER_RELAXED: Final = frozenset(
    {Category.KWH_DECREASE} | {one for one, concern in CONCERNS.items() if concern is Concern.SAFETY}
)


class RelaxedBy(StrEnum):
    """What one does to a limit so that fewer sessions are reported."""

    RAISING = "raising"
    LOWERING = "lowering"
    NEITHER = "neither"
    """It changes how a report looks, not whether there is one."""


class Limit(NamedTuple):
    """One limit. ``category`` is None where several share it; ``least`` and ``most`` bind tenants, inclusive."""

    category: Category | None
    unit: str
    relaxed_by: RelaxedBy
    least: float
    most: float
    meaning: str


class ThresholdError(ValueError):
    """A limit that there is not, or a value that it cannot have; the text is one line."""


class UnknownLimit(ThresholdError):
    """There is no limit of that name."""


class OutOfBounds(ThresholdError):
    """The value is no number, or outside of the limit's bounds."""


_UP, _DOWN, _NEITHER = RelaxedBy.RAISING, RelaxedBy.LOWERING, RelaxedBy.NEITHER
_DECREASE, _PIT, _ZERO = Category.KWH_DECREASE, Category.ENERGY_PIT, Category.ZERO_SESSION
_EXPECTED, _SOC, _FROZEN = Category.CHARGING_EXPECTED, Category.SOC_DROP, Category.METER_FROZEN
_MISMATCH, _SPIKE, _PHASE = Category.POWER_ENERGY_MISMATCH, Category.ENERGY_SPIKE, Category.PHASE_LOSS
_VOLTAGE, _THERMAL = Category.VOLTAGE_OUT_OF_RANGE, Category.THERMAL_DERATING
_UNUSUAL = Category.UNUSUAL_PROFILE

#: Field of `Thresholds` -> what it means. `zero_power_kw` and `offer_fall` also excuse a lost phase: the one may not be
#: raised, the other not be lowered.
LIMITS: Final[Mapping[str, Limit]] = MappingProxyType(
    {
        "tolerance_kwh": Limit(
            _DECREASE, "kWh", _UP, 0.001, 0.01, "A register may fall by this much, or by its resolution."
        ),
        "coarsest_resolution_kwh": Limit(
            _DECREASE, "kWh", _UP, 1.0, 1.0, "No meter is taken to count in coarser steps than this."
        ),
        "pit_depth": Limit(
            _PIT, "share", _DOWN, 0.05, 0.4, "Power in a pit is at most this share of the level around it."
        ),
        "pit_level_kw": Limit(
            _PIT, "kW", _UP, 0.5, 10.0, "The levels before and after a pit are at least this high."
        ),
        "pit_recovery": Limit(
            _PIT, "share", _UP, 0.4, 0.9, "The level after a pit is at least this share of the level before."
        ),
        "pit_shortest_s": Limit(_PIT, "s", _UP, 60.0, 1800.0, "A pit lasts at least this long."),
        "pit_longest_s": Limit(
            _PIT, "s", _DOWN, 1800.0, 14400.0, "A pit lasts at most this long; what lasts longer is a pause."
        ),
        "pit_soc_percent": Limit(_PIT, "%", _DOWN, 80.0, 100.0, "From this SoC on a pit is not reported."),
        "zero_energy_kwh": Limit(
            _ZERO, "kWh", _DOWN, 0.01, 0.5, "A zero session imported less than this in all."
        ),
        "zero_power_kw": Limit(
            _ZERO, "kW", _DOWN, 0.05, 0.3, "Power up to this is no charging (for CHARGING_EXPECTED too)."
        ),
        "zero_connected_s": Limit(
            _ZERO, "s", _UP, 60.0, 1800.0, "A zero session was connected for at least this long."
        ),
        "zero_soc_percent": Limit(
            _ZERO, "%", _DOWN, 80.0, 100.0, "From this SoC at the start on a zero session is not reported."
        ),
        "zero_live_ac_s": Limit(
            _ZERO,
            "s",
            _UP,
            1800.0,
            21600.0,
            "A running AC session without SoC or unused offer is reported after this long.",
        ),
        "zero_live_confidence": Limit(
            _ZERO, "share", _NEITHER, 0.5, 0.6, "The confidence of such an early report is at most this."
        ),
        "zero_offer_unused_s": Limit(
            _ZERO, "s", _UP, 300.0, 7200.0, "An offer unused for this long makes it a warning."
        ),
        "expected_delivered_kwh": Limit(
            _EXPECTED, "kWh", _UP, 0.05, 2.0, "The session delivered at least this before it stopped."
        ),
        "expected_idle_s": Limit(
            _EXPECTED, "s", _UP, 900.0, 3600.0, "The session got no energy for at least this long."
        ),
        "expected_soc_percent": Limit(
            _EXPECTED, "%", _DOWN, 50.0, 95.0, "A vehicle below this SoC should be charging."
        ),
        "expected_offer_kw": Limit(
            _EXPECTED,
            "kW",
            _UP,
            0.5,
            10.0,
            "An offer of at least this should be used (for ZERO_SESSION too).",
        ),
        "expected_own_limit_kwh": Limit(
            _EXPECTED,
            "kWh",
            _DOWN,
            0.5,
            20.0,
            "Without SoC, a vehicle that got this much may have stopped by itself.",
        ),
        "expected_break_off": Limit(
            _EXPECTED,
            "share",
            _UP,
            0.3,
            0.9,
            "Charging broke off abruptly when it stopped from this share of the peak.",
        ),
        "expected_early_kwh": Limit(
            _EXPECTED, "kWh", _DOWN, 0.1, 3.0, "Without SoC, charging that stopped below this stopped early."
        ),
        "expected_early_idle_s": Limit(
            _EXPECTED, "s", _UP, 1800.0, 14400.0, "A session that stopped early is reported after this long."
        ),
        "expected_resume_s": Limit(
            _EXPECTED,
            "s",
            _UP,
            3600.0,
            28800.0,
            "A stop that ends by itself is reported when longer than this.",
        ),
        "soc_drop_points": Limit(
            _SOC, "points", _UP, 2.5, 20.0, "SoC falls by at least this much while energy is imported."
        ),
        "soc_drop_recalibration_percent": Limit(
            _SOC, "%", _DOWN, 90.0, 100.0, "Between this SoC and 100 a fall is taken for a recalibration."
        ),
        "frozen_power_kw": Limit(
            _FROZEN, "kW", _UP, 0.5, 5.0, "Power of at least this says that the vehicle is charging."
        ),
        "frozen_shortest_s": Limit(
            _FROZEN, "s", _UP, 300.0, 3600.0, "The register stands still for at least this long."
        ),
        "frozen_tolerances": Limit(
            _FROZEN,
            "times tol",
            _UP,
            3.0,
            20.0,
            "The integral of power exceeds the meter's tolerance this often.",
        ),
        "frozen_steps": Limit(
            _FROZEN,
            "steps",
            _UP,
            1.0,
            5.0,
            "The integral of power also exceeds this many steps of the register.",
        ),
        "mismatch_share": Limit(
            _MISMATCH, "share", _UP, 0.1, 0.5, "Register and integrated power differ by more than this share."
        ),
        "mismatch_energy_kwh": Limit(
            _MISMATCH, "kWh", _UP, 0.2, 5.0, "Register and integrated power differ by more than this energy."
        ),
        "mismatch_shortest_s": Limit(
            _MISMATCH, "s", _UP, 900.0, 7200.0, "They do so over at least this long."
        ),
        "mismatch_losses": Limit(
            _MISMATCH, "share", _UP, 0.05, 0.2, "Losses between AC and DC may be this share."
        ),
        "spike_margin": Limit(
            _SPIKE, "times", _UP, 1.05, 1.5, "No more than the rated power times this can be delivered."
        ),
        "spike_any_power_kw": Limit(
            _SPIKE,
            "kW",
            _UP,
            50.0,
            1500.0,
            "Where no rated power is known, no more than this can be delivered.",
        ),
        "spike_tolerances": Limit(
            _SPIKE, "times tol", _UP, 1.0, 10.0, "The register may rise this many tolerances beyond that."
        ),
        "spike_stand_s": Limit(
            _SPIKE, "s", _UP, 60.0, 1800.0, "A register that stood still may catch up on at most this long."
        ),
        "spike_inrush": Limit(
            _SPIKE, "times", _UP, 1.2, 3.0, "A short inrush goes up to the rated power times this."
        ),
        "spike_inrush_s": Limit(_SPIKE, "s", _UP, 10.0, 120.0, "A short inrush lasts at most this long."),
        "spike_inrush_before": Limit(
            _SPIKE, "share", _UP, 0.2, 0.8, "Before an inrush, power is at most this share of that after it."
        ),
        "phase_lost_a": Limit(_PHASE, "A", _DOWN, 0.5, 2.0, "A lost phase carries at most this."),
        "phase_carried_a": Limit(_PHASE, "A", _UP, 1.0, 3.0, "A phase that carries at least this is in use."),
        "phase_soc_percent": Limit(
            _PHASE, "%", _DOWN, 90.0, 100.0, "Above this SoC a phase may be switched off by the vehicle."
        ),
        "phase_others": Limit(
            _PHASE,
            "share",
            _UP,
            0.3,
            0.5,
            "The other phases go on with at least this share of their current.",
        ),
        "phase_fall": Limit(
            _PHASE,
            "share",
            _UP,
            0.3,
            0.5,
            "The total falls by at least this share of what the lost ones carried.",
        ),
        "phase_tail": Limit(
            _PHASE,
            "share",
            _UP,
            0.1,
            0.3,
            "Without SoC, below this share of the highest total charging is ending.",
        ),
        "phase_switch_s": Limit(
            _PHASE,
            "s",
            _DOWN,
            60.0,
            300.0,
            "A longer gap between readings may hide the pause of a phase switch.",
        ),
        "voltage_deviation": Limit(
            _VOLTAGE, "share", _UP, 0.05, 0.1, "The voltage is off the nominal one by more than this share."
        ),
        "voltage_offset": Limit(
            _VOLTAGE, "share", _UP, 0.0, 0.01, "The meter itself may be off by this share more."
        ),
        "voltage_readings": Limit(
            _VOLTAGE, "readings", _UP, 1.0, 2.0, "At least this many readings in a row show it."
        ),
        "voltage_nominal_fit": Limit(
            _VOLTAGE, "share", _UP, 0.01, 0.025, "Every nominal voltage this near to the median may be meant."
        ),
        "voltage_lowest_v": Limit(
            _VOLTAGE, "V", _UP, 90.0, 90.0, "A lower median is no voltage between phase and neutral."
        ),
        "voltage_highest_v": Limit(
            _VOLTAGE, "V", _DOWN, 346.0, 346.0, "A higher median is no voltage between phase and neutral."
        ),
        "voltage_off_v": Limit(
            _VOLTAGE, "V", _UP, 50.0, 50.0, "Below this, without current, a contactor is open."
        ),
        "thermal_step": Limit(_THERMAL, "share", _UP, 0.2, 0.6, "Power steps down by at least this share."),
        "thermal_celsius": Limit(
            _THERMAL,
            "°C",
            _UP,
            45.0,
            90.0,
            "The temperature is then at least this, and the session's highest.",
        ),
        "thermal_below_high_celsius": Limit(
            _THERMAL,
            "°C",
            _DOWN,
            0.5,
            5.0,
            "The temperature is at most this far below the session's highest.",
        ),
        "thermal_stale_s": Limit(
            _THERMAL, "s", _DOWN, 300.0, 1800.0, "A temperature older than this says nothing."
        ),
        "thermal_level_kw": Limit(
            _THERMAL, "kW", _UP, 0.5, 10.0, "The level before the step down is at least this high."
        ),
        "thermal_plateau": Limit(
            _THERMAL, "share", _UP, 0.9, 0.9, "The last high step is at least this share of the level."
        ),
        "thermal_held": Limit(
            _THERMAL, "share", _UP, 0.85, 0.85, "The reduced level is held to at least this share of it."
        ),
        "thermal_quick_s": Limit(
            _THERMAL, "s", _DOWN, 300.0, 300.0, "The step down takes at most this long."
        ),
        "thermal_sharp_s": Limit(
            _THERMAL,
            "s",
            _DOWN,
            60.0,
            300.0,
            "On DC, a step down within this time is no taper of the battery.",
        ),
        "thermal_soc_percent": Limit(
            _THERMAL, "%", _DOWN, 80.0, 100.0, "From this SoC on a step down is not reported."
        ),
        "thermal_taper_soc_percent": Limit(
            _THERMAL, "%", _DOWN, 50.0, 90.0, "On DC, from this SoC on only a sharp step down is reported."
        ),
        "unusual_per_thousand": Limit(
            _UNUSUAL,
            "in 1,000",
            _DOWN,
            0.0,
            20.0,
            "So many normal sessions in 1,000 may be reported as unusual; 0 reports none.",
        ),
        "offer_fall": Limit(
            None, "share", _DOWN, 0.25, 0.5, "An offer that falls by this share explains a fall of the power."
        ),
    }
)


def default_of(name: str) -> float:
    """Returns a limit's default.

    Raises:
        UnknownLimit: there is none of that name.
    """
    _limit(name)
    return float(getattr(DEFAULT_THRESHOLDS, name))


def checked(name: str, value: object) -> float:
    """Returns a value that a tenant may give to a limit, as a float.

    Raises:
        UnknownLimit: there is no limit of that name; the text names those that look like it.
        OutOfBounds: the value is no number or outside of the bounds; the text says them.
    """
    limit = _limit(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OutOfBounds(f"{name} must be a number, {bounds_text(limit)}")
    if not limit.least <= value <= limit.most:  # NaN is not either
        raise OutOfBounds(f"{name} must be {bounds_text(limit)}")
    return float(value)


def thresholds_with(values: Mapping[str, object]) -> Thresholds:
    """Returns the defaults with some values in place of theirs.

    >>> thresholds_with({"pit_depth": 0.2}).pit_depth
    0.2

    Raises:
        ThresholdError: as `checked` says.
    """
    return DEFAULT_THRESHOLDS._replace(**{name: checked(name, value) for name, value in values.items()})


def thresholds_of_stored(values: Mapping[str, float]) -> Thresholds:
    """Returns the defaults with values that were stored, perhaps by a program with other limits and bounds.

    Names that this program does not know are left out, and a value outside of today's bounds counts as the bound.
    """
    known = {name: value for name, value in values.items() if name in LIMITS and math.isfinite(value)}
    bound = {name: min(max(value, LIMITS[name].least), LIMITS[name].most) for name, value in known.items()}
    return DEFAULT_THRESHOLDS._replace(**bound)


def bounds_text(limit: Limit) -> str:
    """Returns a limit's bounds as they are told to people.

    >>> bounds_text(LIMITS["pit_depth"])
    '0.05 to 0.4 (share)'
    """
    if limit.least == limit.most:
        return f"{limit.least:g} ({limit.unit}), which nobody may change"
    return f"{limit.least:g} to {limit.most:g} ({limit.unit})"


def _limit(name: str) -> Limit:
    found = LIMITS.get(name)
    if found is not None:
        return found
    near = difflib.get_close_matches(name, LIMITS, n=3, cutoff=0.5)
    near = near or [one for one in LIMITS if name and one.startswith(name.partition("_")[0])][:3]
    hint = f"did you mean {', '.join(near)}?" if near else "`chargewatch thresholds` lists them"
    raise UnknownLimit(f"there is no limit {name[:80]!r}; {hint}")
