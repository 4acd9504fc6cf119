"""PHASE_LOSS: a phase that carried current no longer does, while others go on (``docs/categories.md``)."""

from itertools import accumulate
from typing import Final, NamedTuple

from chargewatch.csar2.physics.energy_pit import offer_fell
from chargewatch.csar2.physics.finding import Fact, Finding
from chargewatch.domain.categories import Category, Severity
from chargewatch.domain.thresholds import Thresholds
from chargewatch.features.phases import PHASE_NAMES, Row, Rows
from chargewatch.features.record import SessionRecord
from chargewatch.features.register import WH_PER_KWH
from chargewatch.ingest.phases import WIDTH

#: What a phase's power is divided by where its current is not sent.
NOMINAL_V: Final = 230.0


class Loss(NamedTuple):
    """Readings ``first`` to ``last`` without the ``lost`` phases, while ``others`` go on."""

    first: int
    last: int
    lost: list[int]
    others: list[int]


def find(record: SessionRecord) -> list[Finding]:
    """Reports every loss that is no switch between one and three phases, no offer and no taper."""
    currents = phase_currents(record)
    found = losses(currents, record.thresholds)
    if not found:
        return []
    highest = list(accumulate((_total(row) for row in currents.value), max))
    return [
        _report(currents, loss)
        for loss in found
        if not _explained(record, currents, loss, highest[loss.first - 1])
    ]


def phase_currents(record: SessionRecord) -> Rows:
    """Returns the current of each phase (A) at the instants with all of them, else from the power of each."""
    current = record.side_by_side.current.complete()
    if _phases_in(current) >= 2:
        return current
    power = record.side_by_side.power.complete()
    if _phases_in(power) < 2:
        return Rows([], [])
    possible = [
        (at, row) for at, row in zip(power.at_s, power.value, strict=True) if _total(row) <= record.most_w
    ]
    amperes = [(a / NOMINAL_V, b / NOMINAL_V, c / NOMINAL_V) for _, (a, b, c) in possible]
    return Rows([at for at, _ in possible], amperes)


def _phases_in(rows: Rows) -> int:
    return len(_sent(rows.value[0])) if rows.value else 0


def _sent(row: Row) -> list[int]:
    return [i for i in range(WIDTH) if row[i] == row[i]]


def _total(row: Row) -> float:
    return sum(row[i] for i in _sent(row))


def losses(currents: Rows, limits: Thresholds) -> list[Loss]:
    """Finds where phases stop and others go on, for two readings or more."""
    rows, found = currents.value, []
    position = 1
    while position < len(rows):
        before, now = rows[position - 1], rows[position]
        carried = [i for i in _sent(before) if before[i] >= limits.phase_carried_a]
        lost = [i for i in carried if now[i] <= limits.phase_lost_a]
        others = [i for i in carried if i not in lost]
        last = position
        if lost and others:
            while last < len(rows) and _goes_on_without(before, rows[last], lost, others, limits):
                last += 1
        if last - position >= 2:
            found.append(Loss(position, last - 1, lost, others))
        position = max(last, position + 1)
    return found


def _goes_on_without(before: Row, now: Row, lost: list[int], others: list[int], limits: Thresholds) -> bool:
    """Tells whether the lost phases carry nothing, the others at least half of before, and the total fell."""
    return (
        all(now[i] <= limits.phase_lost_a for i in lost)
        and sum(now[i] for i in others) >= limits.phase_others * sum(before[i] for i in others)
        and _total(before) - _total(now) >= limits.phase_fall * sum(before[i] for i in lost)
    )


def _explained(record: SessionRecord, currents: Rows, loss: Loss, highest_a: float) -> bool:
    start_s, end_s = currents.at_s[loss.first], currents.at_s[loss.last]
    soc = record.soc.last_before(start_s)
    if soc is None and record.soc.value:
        soc = record.soc.value[0]
    if soc is not None and soc > record.thresholds.phase_soc_percent:
        return True
    return (
        offer_fell(record, start_s, end_s)
        or (soc is None and _total(currents.value[loss.first - 1]) < record.thresholds.phase_tail * highest_a)
        or _is_switch(record, currents, loss)
    )


def _is_switch(record: SessionRecord, currents: Rows, loss: Loss) -> bool:
    """Tells whether the station may have switched phases: it pauses for that, and goes on with the first one alone."""
    limits = record.thresholds
    before_s, start_s = currents.at_s[loss.first - 1], currents.at_s[loss.first]
    between = record.power.between(before_s + 1e-3, start_s - 1e-3)
    if any(w <= limits.zero_power_kw * WH_PER_KWH for w in between):
        return True
    to_one_phase = len(loss.lost) > 1 and loss.others == [0]
    return to_one_phase and (record.managed or start_s - before_s > limits.phase_switch_s)


def _report(currents: Rows, loss: Loss) -> Finding:
    start_s, end_s = currents.at_s[loss.first], currents.at_s[loss.last]
    before_s, before, now = (
        currents.at_s[loss.first - 1],
        currents.value[loss.first - 1],
        currents.value[loss.first],
    )
    facts = []
    for i in loss.lost:
        facts.append(Fact(f"current on {PHASE_NAMES[i]} before", "A", before[i], None, before_s))
        facts.append(Fact(f"current on {PHASE_NAMES[i]}", "A", now[i], before[i], start_s))
    facts += [Fact(f"current on {PHASE_NAMES[i]}", "A", now[i], before[i], start_s) for i in loss.others]
    facts.append(Fact("duration", "min", (end_s - start_s) / 60.0))
    share = sum(before[i] for i in loss.lost) / sum(before[i] for i in (*loss.lost, *loss.others))
    return Finding(
        category=Category.PHASE_LOSS,
        start_s=start_s,
        end_s=end_s,
        severity=Severity.WARNING,
        strength=2.0 * share + 0.25 * (loss.last - loss.first),
        facts=tuple(facts),
    )
