"""The delivery of one session as steps of constant power, from measured power or from the register."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

_REGISTER_DEPTH: Final = 4.0  # a register that did not move for 4 resolutions of energy ran at 25 % or less


class Step(NamedTuple):
    """Delivery between two times (seconds since the session's first reading) at a mean power in W.

    ``first_s`` and ``last_s`` are the times of the readings that show the step; ``start_s`` and ``end_s``
    the time that it stands for.
    """

    start_s: float
    end_s: float
    power_w: float
    first_s: float
    last_s: float

    @property
    def duration_s(self) -> float:
        """How long the step lasts."""
        return self.end_s - self.start_s


def median(values: Sequence[float]) -> float:
    """Returns the lower median."""
    return sorted(values)[(len(values) - 1) // 2]


def power_steps(at_s: Sequence[float], power_w: Sequence[float]) -> list[Step]:
    """Turns power readings into steps that reach half-way to their neighbours, at most one usual interval."""
    if len(at_s) < 2:
        return []
    usual = median([b - a for a, b in zip(at_s, at_s[1:], strict=False)])
    steps = []
    for i, (at, power) in enumerate(zip(at_s, power_w, strict=True)):
        before = min((at - at_s[i - 1]) / 2, usual) if i else 0.0
        after = min((at_s[i + 1] - at) / 2, usual) if i + 1 < len(at_s) else 0.0
        steps.append(Step(at - before, at + after, power, at, at))
    return steps


def register_steps(
    at_s: Sequence[float], wh: Sequence[float], resolution_wh: float, most_w: float = math.inf
) -> list[Step]:
    """Turns register readings into steps; readings between which the register could not show a move are merged.

    Falling steps and those above ``most_w`` are left out: what was delivered there is not known.
    """
    kept = _telling_readings(at_s, wh, resolution_wh, most_w)
    steps = []
    for a, b in zip(kept, kept[1:], strict=False):
        power_w = (wh[b] - wh[a]) * 3600.0 / (at_s[b] - at_s[a])
        if 0 <= power_w <= most_w:
            steps.append(Step(at_s[a], at_s[b], power_w, at_s[a], at_s[b]))
    return steps


def _telling_readings(
    at_s: Sequence[float], wh: Sequence[float], resolution_wh: float, most_w: float
) -> list[int]:
    moves = [i for i in range(1, len(wh)) if wh[i] != wh[i - 1]]
    if not moves:
        return [0, len(wh) - 1] if len(wh) > 1 else []
    moving_s = at_s[moves[-1]] - at_s[moves[0] - 1]
    rise = sum(
        wh[i] - wh[i - 1]
        for i in moves
        if 0 <= (wh[i] - wh[i - 1]) * 3600.0 / (at_s[i] - at_s[i - 1]) <= most_w
    )
    still_s = _REGISTER_DEPTH * resolution_wh * moving_s / rise if rise > 0 else 0.0
    kept = [0]
    for i in range(1, len(wh)):
        if wh[i] != wh[kept[-1]] or at_s[i] - at_s[kept[-1]] >= still_s or i == len(wh) - 1:
            kept.append(i)
    return kept


def interval_steps(at_s: Sequence[float], wh: Sequence[float]) -> list[Step]:
    """Turns interval energies, each for the time since the reading before, into steps."""
    steps = []
    for i in range(1, len(at_s)):
        seconds = at_s[i] - at_s[i - 1]
        steps.append(Step(at_s[i - 1], at_s[i], max(wh[i], 0.0) * 3600.0 / seconds, at_s[i - 1], at_s[i]))
    return steps


def bridge_gaps(steps: list[Step], at_s: Sequence[float], wh: Sequence[float]) -> list[Step]:
    """Fills gaps between power steps with the mean power that the register shows across them.

    ``at_s`` and ``wh`` are the register's readings, without drop-outs.
    """
    if len(at_s) < 2:
        return steps
    known = dict(zip(at_s, wh, strict=True))
    filled: list[Step] = []
    for step in steps:
        if filled and step.start_s - filled[-1].end_s > 1e-6:
            a, b = filled[-1].last_s, step.first_s
            if a in known and b in known and known[b] >= known[a]:
                mean_w = (known[b] - known[a]) * 3600.0 / (b - a)
                filled.append(Step(filled[-1].end_s, step.start_s, mean_w, a, b))
        filled.append(step)
    return filled
