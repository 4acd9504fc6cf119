"""Two faults in one session that do not touch each other: one of delivery, one of the register.

The first shapes what happens, the second falsifies the register at another time. The second is drawn
anew until the two are apart in time. Where they never are, the session has the first fault alone.
"""

from copy import deepcopy
from typing import Any, Final, NamedTuple

import numpy as np

from chargewatch.domain.categories import Category
from chargewatch.simulate.faults import Mechanism
from chargewatch.simulate.labels import label_faults
from chargewatch.simulate.meters import Observed
from chargewatch.simulate.plans import Plan
from chargewatch.simulate.records import Label
from chargewatch.simulate.stations import Needs

FIRST: Final = {
    Category.ENERGY_PIT: ("collapse_to_zero", "collapse_to_trickle", "weak_recovery", "sloping_edges"),
    Category.CHARGING_EXPECTED: ("soc_stop", "soc_stop_standby"),
}
"""Faults that change what happens, and their mechanisms that do not rest on how much the register has counted."""

SECOND: Final = {
    Category.KWH_DECREASE: ("drop_out", "stale_count"),
    Category.ENERGY_SPIKE: ("jump_that_stays", "bit_flip_up", "several_jumps"),
    Category.METER_FROZEN: ("stuck_then_goes_on", "stuck_then_jumps"),
}
"""Faults that change only what the register says, and their mechanisms that any session with charging can have."""

_TRIES: Final = 40


class Fault(NamedTuple):
    """What goes wrong, and how."""

    category: Category
    mechanism: Mechanism


def common_needs(first: Needs, second: Needs) -> Needs:
    """Returns what a station must be and send for both faults, power included.

    Raises:
        ValueError: the two exclude each other.
    """
    merged: dict[str, Any] = {"power": True, "register": True}
    for needs in (first, second):
        for name, value in needs._asdict().items():
            if value is None:
                continue
            known = merged.setdefault(name, value)
            if name.endswith(("_at_most_s", "_at_most_wh")):
                merged[name] = min(known, value)
            elif known != value:
                raise ValueError(f"the two faults exclude each other: one needs {name} {known}, one {value}")
    return Needs(**merged)


def falsified(
    plan: Plan, observed: Observed, first: Fault, second: Fault, rng: np.random.Generator
) -> tuple[Observed, list[Label]]:
    """Returns the readings with the second fault added to those of the first, and both labels; or the first alone."""
    assert second.mechanism.tamper is not None
    for _ in range(_TRIES):
        seen, span = second.mechanism.tamper(plan, deepcopy(observed), rng)
        labels = [
            *label_faults(first.category, first.mechanism.name, plan, seen, None),
            *label_faults(second.category, second.mechanism.name, plan, seen, span),
        ]
        if all(label.visible for label in labels) and _apart(labels):
            return seen, labels
    return observed, label_faults(first.category, first.mechanism.name, plan, observed, None)


def _apart(labels: list[Label]) -> bool:
    ordered = sorted(labels, key=lambda label: label.start)
    return all(a.end < b.start for a, b in zip(ordered, ordered[1:], strict=False))
