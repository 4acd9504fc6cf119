"""Tables of what the simulator makes: each mechanism of each category, and where normal behaviour comes from.

``python -m chargewatch.simulate.mechanisms`` prints them (Markdown).
"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np

from chargewatch.simulate.catalogue import LOOK_ALIKES, MECHANISMS, UNSEEN_MECHANISMS
from chargewatch.simulate.faults import Mechanism
from chargewatch.simulate.plans import Plan, draw_plan
from chargewatch.simulate.rare_normals import RARE_NORMALS
from chargewatch.simulate.records import Kind
from chargewatch.simulate.stations import Needs, draw_station

DRAWS: Final = 3000
"""Ordinary visits of each kind, each at a station of its own, from which the shares are counted."""

_SEED: Final = 0
_START: Final = datetime(2026, 1, 5, tzinfo=UTC)


class Behaviour(NamedTuple):
    """One item of the closing list of ``categories.md``.

    ``made_by``: ``module.name`` within this package. ``shown_by``: near-misses that make it on purpose.
    ``ordinary``: says whether an ordinary visit has it; None: only the near-misses have it.
    """

    item: str
    made_by: tuple[str, ...]
    shown_by: tuple[str, ...]
    ordinary: Callable[[Plan], bool] | None


NORMAL_BEHAVIOUR: Final = (
    Behaviour(
        "end-of-charge taper and balancing tail",
        ("vehicles.ac_curve", "vehicles.draw_dc_curve", "restless_normals._balancing"),
        ("taper_before_end", "nearly_full_pause", "hot_taper", "balancing", "curve_in_stairs"),
        lambda p: p.visit.target_soc >= 90.0,
    ),
    Behaviour(
        "climate draw after full",
        ("behaviour._with_idle_draw",),
        ("climate_by_turns",),
        lambda p: bool(p.visit.afterwards),
    ),
    Behaviour(
        "scheduled and tariff charging",
        ("behaviour._ac_visit",),
        ("scheduled_start",),
        lambda p: p.visit.start_s >= 1800.0,
    ),
    Behaviour(
        "load management in steps",
        ("chargers.managed_offers", "restless_normals._offer_in_fine_steps"),
        (
            "managed_pause",
            "offer_falls_with_pit",
            "offer_withdrawn",
            "hot_offer_steps_down",
            "offer_in_fine_steps",
            "offer_follows_the_sun",
        ),
        lambda p: p.station.charger.managed,
    ),
    Behaviour(
        "DC power shared between two outlets",
        ("electrical_near_misses._shares_with_neighbour", "restless_normals._power_by_modules"),
        ("dc_shared_outlets", "shallow_dip", "power_by_modules"),
        None,
    ),
    Behaviour(
        "one- and two-phase cars on three-phase sockets",
        ("vehicles.draw_onboard_charger",),
        ("one_phase_car", "two_phase_car"),
        lambda p: p.station.charger.phases == 3 and p.vehicle.phases < 3,
    ),
    Behaviour(
        "1p/3p switching on solar surplus",
        ("electrical_near_misses._solar_switching",),
        ("solar_switching", "switch_through_zero", "phase_switch"),
        None,
    ),
    Behaviour(
        "cold batteries that start low",
        ("behaviour._dc_visit", "near_misses._warming_battery"),
        ("warming_battery",),
        lambda p: p.visit.warm_up is not None,
    ),
    Behaviour("full cars plugged in", ("near_misses._full_at_start",), ("full_at_start",), None),
    Behaviour(
        "registers that move on by a few Wh after the end",
        ("behaviour._with_idle_draw",),
        (),
        lambda p: p.visit.standby_kw > 0,
    ),
    Behaviour(
        "lifetime registers", ("meters.draw_meter",), (), lambda p: p.station.meter.register == "lifetime"
    ),
    Behaviour("no SoC at all", ("meters.draw_meter",), (), lambda p: not p.station.meter.soc),
    Behaviour(
        "energy-only readings every 15 minutes",
        ("meters.draw_meter",),
        (),
        lambda p: p.station.meter.power == "none" and p.sampling_s() >= 900.0,
    ),
    Behaviour(
        "V2G export",
        ("electrical_near_misses._gives_back",),
        ("v2g_soc_falls", "export_and_net"),
        None,
    ),
    Behaviour(
        "late and repeated readings",
        ("sending._order",),
        ("late_readings", "repeated_readings"),
        lambda p: p.station.meter.late > 0 or p.station.meter.repeated > 0,
    ),
    Behaviour(
        "sessions longer than 6 h", ("behaviour._ac_visit",), (), lambda p: p.visit.stay_s > 6 * 3600.0
    ),
)


def mechanism_table() -> str:
    """Returns a Markdown table: each mechanism of each category, near-misses, and what is made by name alone."""
    rows = [
        _row(str(category), mechanism)
        for category, mechanisms in MECHANISMS.items()
        for mechanism in mechanisms
    ]
    rows += [_row("near-miss", mechanism) for mechanism in LOOK_ALIKES]
    rows += [_row("unseen odd shape", mechanism) for mechanism in UNSEEN_MECHANISMS]
    rows += [_row("unseen normal", mechanism) for mechanism in RARE_NORMALS]
    return "\n".join(("| of | mechanism | held out | the station must |", "|---|---|---|---|", *rows))


def _row(of: str, mechanism: Mechanism) -> str:
    held_out = "yes" if mechanism.held_out else ""
    return f"| {of} | `{mechanism.name}` | {held_out} | {_conditions(mechanism.needs)} |"


def _conditions(needs: Needs) -> str:
    wanted = ((name, value) for name, value in needs._asdict().items() if value is not None)
    return ", ".join(f"{name}: {value}" for name, value in wanted)


def behaviour_table(draws: int = DRAWS) -> str:
    """Returns a Markdown table: normal behaviour, what makes it, and its share of ``draws`` ordinary visits a kind."""
    ac, dc = _plans("ac", draws), _plans("dc", draws)
    rows = [
        f"| {b.item} | {_names(b.made_by)} | {_names(b.shown_by)} | {_share(b, ac)} | {_share(b, dc)} |"
        for b in NORMAL_BEHAVIOUR
    ]
    head = "| behaviour | made by | near-misses | ordinary, AC | ordinary, DC |"
    return "\n".join((head, "|---|---|---|---|---|", *rows))


def _plans(kind: Kind, draws: int) -> list[Plan]:
    rng = np.random.default_rng(_SEED)
    return [draw_plan(rng, draw_station(rng, kind), _START, 0.0) for _ in range(draws)]


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _share(behaviour: Behaviour, plans: list[Plan]) -> str:
    if behaviour.ordinary is None:
        return "0 %"
    return f"{100.0 * sum(map(behaviour.ordinary, plans)) / len(plans):.1f} %"


if __name__ == "__main__":
    sys.stdout.write(f"{behaviour_table()}\n\n{mechanism_table()}\n")
