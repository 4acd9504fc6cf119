"""Every threshold that decides a category. They stand here and nowhere else.

Definitions: ``docs/categories.md`` (version 1).
"""

from typing import Final, NamedTuple


class Thresholds(NamedTuple):
    """The limits in the definitions. Energies in kWh, powers in kW, currents in A, times in seconds, SoC in per cent.

    Voltages are in V, temperatures in degrees Celsius; shares are of 1.
    """

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
    # SOC_DROP
    soc_drop_points: float = 3.0
    soc_drop_recalibration_percent: float = 97.0
    # METER_FROZEN
    frozen_power_kw: float = 1.0
    frozen_shortest_s: float = 600.0
    frozen_tolerances: float = 5.0
    frozen_steps: float = 1.5
    # POWER_ENERGY_MISMATCH
    mismatch_share: float = 0.2
    mismatch_energy_kwh: float = 0.5
    mismatch_shortest_s: float = 1800.0
    mismatch_losses: float = 0.12
    # ENERGY_SPIKE
    spike_margin: float = 1.15
    spike_any_power_kw: float = 400.0
    spike_tolerances: float = 2.0
    spike_stand_s: float = 300.0
    spike_inrush: float = 2.0
    spike_inrush_s: float = 60.0
    spike_inrush_before: float = 0.5
    # PHASE_LOSS
    phase_lost_a: float = 0.5
    phase_carried_a: float = 3.0
    phase_soc_percent: float = 90.0
    phase_others: float = 0.5
    phase_fall: float = 0.5
    phase_tail: float = 0.3
    phase_switch_s: float = 60.0
    # VOLTAGE_OUT_OF_RANGE
    voltage_deviation: float = 0.1
    voltage_offset: float = 0.01
    voltage_readings: float = 2.0
    voltage_nominal_fit: float = 0.025
    voltage_lowest_v: float = 90.0
    voltage_highest_v: float = 346.0
    voltage_off_v: float = 50.0
    # THERMAL_DERATING
    thermal_step: float = 0.3
    thermal_celsius: float = 60.0
    thermal_below_high_celsius: float = 2.0
    thermal_stale_s: float = 900.0
    thermal_level_kw: float = 1.0
    thermal_plateau: float = 0.9
    thermal_held: float = 0.85
    thermal_quick_s: float = 300.0
    thermal_sharp_s: float = 120.0
    thermal_soc_percent: float = 90.0
    thermal_taper_soc_percent: float = 70.0
    # UNUSUAL_PROFILE: how many normal sessions in 1,000 may be reported; 0: none is
    unusual_per_thousand: float = 1.0
    # shared
    offer_fall: float = 0.25


DEFAULT_THRESHOLDS: Final = Thresholds()


class ShadeThresholds(NamedTuple):
    """The limits of the station detector. Shares and effects are of 1; evidence is in nats (log of a likelihood ratio).

    Effects are the smallest that a type reports, whatever the evidence. The evidence a type needs was set on
    quiet simulated fleets (``docs/decisions/0013-shade.md``).
    """

    # the least effect of each type
    count_drop: float = 0.3
    zero_surge_factor: float = 2.0
    zero_surge_points: float = 0.15
    derate_drop: float = 0.25
    derate_duration: float = 0.9
    meter_drift: float = 0.03
    energy_drop: float = 0.15
    site_share: float = 0.6
    site_stations: int = 3
    silence_odds: float = 1_000.0
    # how much evidence a type needs, and how little supports a type once another has shown that something is wrong
    evidence_site: float = 7.0
    evidence_connector: float = 8.5
    evidence_count: float = 7.0
    evidence_zero: float = 7.5
    evidence_power: float = 7.5
    evidence_drift: float = 8.0
    evidence_energy: float = 7.5
    supporting_share: float = 0.35
    false_discoveries: float = 0.2
    # learning
    learning_days: int = 14
    learning_sessions: int = 20
    episode_gap_days: int = 2
    relearn_after_days: int = 90


DEFAULT_SHADE_THRESHOLDS: Final = ShadeThresholds()
