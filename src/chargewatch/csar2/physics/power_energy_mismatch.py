"""POWER_ENERGY_MISMATCH: the register and the integral of power tell different energies (``docs/categories.md``)."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final, Literal, NamedTuple

from chargewatch.csar2.physics.finding import Fact, Finding
from chargewatch.domain.categories import Category, Severity
from chargewatch.features.record import SessionRecord
from chargewatch.features.register import WH_PER_KWH

_MOMENT_S: Final = 1e-6
_UNIT: Final = 1000.0
_UNIT_LEAST: Final = 0.7
_UNIT_MOST: Final = 1.4

Side = Literal["too little", "too much"]


class Rise(NamedTuple):
    """The register between two moves, and what measured power allows for that time; energies in Wh."""

    start_s: float
    end_s: float
    before_wh: float
    after_wh: float
    low_wh: float
    high_wh: float

    @property
    def rise_wh(self) -> float:
        """How much the register counts."""
        return self.after_wh - self.before_wh


class Difference(NamedTuple):
    """By how much the register and power differ in one rise, and the bound that it is measured against."""

    beyond_wh: float
    bound_wh: float


def find(record: SessionRecord) -> list[Finding]:
    """Reports the times over which the register counts less or more than measured power allows."""
    if not record.sends_power or len(record.power.at_s) < 2:
        return []
    found = []
    for part in _parts(record):
        for side in ("too little", "too much"):
            differences = [_difference(record, rise, side) for rise in part]
            span = _best_span(record, part, differences)
            if span is None:
                continue
            first, last = span
            finding = _judge(record, part[first : last + 1], differences[first : last + 1], side)
            if finding is not None:
                found.append(finding)
    return found


def _parts(record: SessionRecord) -> list[list[Rise]]:
    """Returns the rises between the register's moves, cut where it falls or jumps and where power is not known."""
    at, wh = record.steady_register
    moves = [i for i in range(1, len(wh)) if wh[i] != wh[i - 1]]
    if moves and moves[0] == 1:
        moves.insert(0, 0)
    parts: list[list[Rise]] = [[]]
    for a, b in zip(moves, moves[1:], strict=False):
        bounds = record.power_bounds.between(at[a], at[b])
        could_wh = record.most_w * (at[b] - at[a]) / 3600.0
        could_wh += record.thresholds.spike_tolerances * record.grain_wh
        if bounds is None or not 0.0 <= wh[b] - wh[a] <= could_wh:
            parts.append([])
        else:
            parts[-1].append(Rise(at[a], at[b], wh[a], wh[b], *bounds))
    return [part for part in parts if len(part) > 1]


def _difference(record: SessionRecord, rise: Rise, side: Side) -> Difference:
    kept = 1.0 - record.thresholds.mismatch_losses if record.metered_apart else 1.0
    if side == "too little":
        return Difference(rise.low_wh * kept - rise.rise_wh, rise.low_wh * kept)
    return Difference(rise.rise_wh - rise.high_wh / kept, rise.high_wh / kept)


def _excess_mwh(record: SessionRecord, difference: Difference) -> int:
    """How far a difference is beyond the share that is allowed, in whole mWh: sums of them are exact."""
    return round((difference.beyond_wh - record.thresholds.mismatch_share * difference.bound_wh) * 1000.0)


def _best_span(
    record: SessionRecord, part: Sequence[Rise], differences: Sequence[Difference]
) -> tuple[int, int] | None:
    """Returns the first and last rise of the span, long enough, with the greatest excess; None without any."""
    total = list(accumulate((_excess_mwh(record, d) for d in differences), initial=0))
    shortest_s = record.thresholds.mismatch_shortest_s - _MOMENT_S
    best: tuple[int, int] | None = None
    greatest, lowest, candidate = 0, 0, 0
    for last, rise in enumerate(part):
        while candidate <= last and rise.end_s - part[candidate].start_s >= shortest_s:
            if total[candidate] < total[lowest] or candidate == 0:
                lowest = candidate
            candidate += 1
        if candidate and total[last + 1] - total[lowest] > greatest:
            greatest, best = total[last + 1] - total[lowest], (lowest, last)
    return best


def _judge(
    record: SessionRecord, rises: Sequence[Rise], differences: Sequence[Difference], side: Side
) -> Finding | None:
    limits = record.thresholds
    worst = max(range(len(rises)), key=lambda i: differences[i].beyond_wh)
    others = [d for i, d in enumerate(differences) if i != worst]
    grain_mwh = record.grain_wh * 1000.0
    if sum(_excess_mwh(record, d) for d in others) <= grain_mwh:
        return None  # one pause or burst between two readings is no fault of a meter
    beyond_wh = sum(d.beyond_wh for d in differences)
    bound_wh = sum(d.bound_wh for d in differences)
    counted_wh = sum(rise.rise_wh for rise in rises)
    certain_wh = beyond_wh - record.grain_wh
    if certain_wh <= limits.mismatch_energy_kwh * WH_PER_KWH or _is_other_unit(counted_wh, bound_wh):
        return None
    share = certain_wh / bound_wh if bound_wh > 0 else float(len(rises))
    seconds = rises[-1].end_s - rises[0].start_s
    allows = "at least" if side == "too little" else "at most"
    facts = (
        Fact("register at the beginning", "kWh", rises[0].before_wh / WH_PER_KWH, None, rises[0].start_s),
        Fact("register at the end", "kWh", rises[-1].after_wh / WH_PER_KWH, None, rises[-1].end_s),
        Fact(
            f"register counts {side}: measured power shows {allows} what is expected",
            "kWh",
            counted_wh / WH_PER_KWH,
            bound_wh / WH_PER_KWH,
        ),
        Fact("difference", "kWh", certain_wh / WH_PER_KWH, limits.mismatch_energy_kwh),
        Fact("difference against measured power", "%", 100.0 * share, 100.0 * limits.mismatch_share),
        Fact("lasts", "min", seconds / 60.0, limits.mismatch_shortest_s / 60.0),
    )
    return Finding(
        category=Category.POWER_ENERGY_MISMATCH,
        start_s=rises[0].start_s,
        end_s=rises[-1].end_s,
        severity=Severity.WARNING,
        strength=min(share / limits.mismatch_share, certain_wh / WH_PER_KWH / limits.mismatch_energy_kwh)
        - 1.0,
        facts=facts,
        disputed_wh=beyond_wh if side == "too much" else 0.0,
    )


def _is_other_unit(counted_wh: float, bound_wh: float) -> bool:
    """Tells whether the two differ as W and kW do: a fault of the data, not of a meter."""
    lower, higher = sorted((counted_wh, bound_wh))
    return lower > 0 and _UNIT_LEAST <= higher / (_UNIT * lower) <= _UNIT_MOST
