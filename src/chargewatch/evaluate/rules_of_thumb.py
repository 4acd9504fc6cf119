"""Rules of thumb on plain features: what somebody would write in an afternoon. Peers, not the detector."""

from collections.abc import Mapping

import numpy as np

from chargewatch.domain.categories import Category
from chargewatch.evaluate.metrics import Flags, Floats
from chargewatch.evaluate.session_features import FEATURES


def hits(features: Floats) -> Mapping[Category, Flags]:
    """Returns which rule hits which session: flags (n,) by category, from features (n, F).

    What a session does not send hits no rule.
    """

    def column(name: str) -> Floats:
        return features[:, FEATURES.index(name)]

    energy = _first_known(column("register_rise_kwh"), column("power_integral_kwh"))
    idle_h = _first_known(column("power_idle_at_end_h"), column("register_after_last_rise_h"))
    with np.errstate(invalid="ignore"):
        limited = (column("managed") > 0) | (column("offer_least_share") < 0.75)
        hungry = (column("soc_last") < 80.0) | (np.isnan(column("soc_last")) & (energy < 0.5))
        low = (column("power_low_between_h") > 0.05) | (
            np.isnan(column("power_peak_kw")) & (column("register_still_between_h") > 0.5)
        )
        return {
            Category.KWH_DECREASE: column("register_largest_fall_kwh") > 0.01,
            Category.ENERGY_SPIKE: (column("register_peak_kw") > 400.0)
            | (column("power_peak_of_rated") > 1.15),
            Category.METER_FROZEN: column("frozen_h") > 10.0 / 60.0,
            Category.POWER_ENERGY_MISMATCH: (np.abs(column("register_of_power") - 1.0) > 0.2)
            & (np.abs(column("register_less_power_kwh")) > 0.5)
            & (column("usual_gap_s") <= 60.0),
            Category.ZERO_SESSION: (energy < 0.1) & (column("duration_h") > 5.0 / 60.0),
            Category.PHASE_LOSS: column("phase_least_share") < 0.1,
            Category.VOLTAGE_OUT_OF_RANGE: (column("voltage_least") < 0.9)
            | (column("voltage_largest") > 1.1),
            Category.THERMAL_DERATING: (column("temperature_largest") >= 60.0)
            & (column("power_largest_fall") > 0.3),
            Category.SOC_DROP: column("soc_largest_fall") >= 3.0,
            Category.ENERGY_PIT: low & ~limited,
            Category.CHARGING_EXPECTED: (energy >= 0.1) & (idle_h > 0.5) & hungry & ~limited,
        }


def one_liner(features: Floats) -> Flags:
    """Returns whether the register falls or there is no energy: flags (n,) from features (n, F)."""
    fall = features[:, FEATURES.index("register_largest_fall_kwh")]
    rise = features[:, FEATURES.index("register_rise_kwh")]
    with np.errstate(invalid="ignore"):
        flags: Flags = (fall > 0.01) | (rise < 0.1)
    return flags


def _first_known(first: Floats, second: Floats) -> Floats:
    known: Floats = np.where(np.isnan(first), second, first)
    return known
