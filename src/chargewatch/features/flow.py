"""The delivery of one session as steps of constant power, from measured power or from the register."""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

#: Neighbouring readings further apart than this many usual intervals leave a gap between them.
GAP: Final = 3.0
_MOMENT_S: Final = 1e-6
_HIDDEN: Final = 1.25  # losses between two meters and noise stay below this
_HIDDEN_W: Final = 300.0
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


def power_steps(
    at_s: Sequence[float], power_w: Sequence[float], register: Mapping[float, float], resolution_wh: float
) -> list[Step]:
    """Turns power readings into steps that reach half-way to their neighbours, over a gap only one usual interval.

    ``register`` (Wh by time, without drop-outs) fills the gaps that are left, and takes the place of two
    neighbouring power readings between which more was delivered than either of them shows. It tells energy to one
    resolution: of the powers that it allows the one nearest to the readings on both sides is taken. What was drawn
    while it stood, it counts later: that is nothing delivered unseen.
    """
    if len(at_s) < 2:
        return []
    usual = median([b - a for a, b in zip(at_s, at_s[1:], strict=False)])
    steps: list[Step] = []
    start_s, owed_wh = at_s[0], 0.0
    for i, (at, power) in enumerate(zip(at_s, power_w, strict=True)):
        if i + 1 == len(at_s):
            steps.append(Step(start_s, at, power, at, at))
            break
        after, between_w = at_s[i + 1], _mean_w(register, at, at_s[i + 1])
        reach = (after - at) / 2 if after - at <= GAP * usual else usual
        most_w = _HIDDEN * max(power, power_w[i + 1]) + _HIDDEN_W
        blur_w = resolution_wh * 3600.0 / (after - at)
        if between_w is not None and between_w - blur_w - owed_wh * 3600.0 / (after - at) > most_w:
            reach = 0.0
        owed_wh = (
            owed_wh + (power + power_w[i + 1]) / 2.0 * (after - at) / 3600.0 if between_w == 0.0 else 0.0
        )
        steps.append(Step(start_s, at + reach, power, at, at))
        start_s = after - reach
        if between_w is not None and start_s - steps[-1].end_s > _MOMENT_S:
            beside_w = (power + power_w[i + 1]) / 2
            nearest_w = max(min(beside_w, between_w + blur_w), between_w - blur_w, 0.0)
            steps.append(Step(steps[-1].end_s, start_s, nearest_w, at, after))
    return steps


def _mean_w(register: Mapping[float, float], start_s: float, end_s: float) -> float | None:
    """Returns the mean power between two times, None where the register has no reading then or fell."""
    before, after = register.get(start_s), register.get(end_s)
    if before is None or after is None or after < before:
        return None
    return (after - before) * 3600.0 / (end_s - start_s)


def register_steps(
    at_s: Sequence[float], wh: Sequence[float], resolution_wh: float, most_w: float = math.inf
) -> list[Step]:
    """Turns register readings into steps; readings between which the register could not show a move are merged.

    The first move after the register stood still may have been under way all the while. Falling steps and
    those above ``most_w`` are left out: what was delivered there is not known. A coarse register may show one
    resolution more than was delivered, so that much is no reason.
    """
    kept = _telling_readings(at_s, wh, resolution_wh, most_w)
    steps = []
    moved_s = at_s[0] if at_s else 0.0  # when the register moved last
    for a, b in zip(kept, kept[1:], strict=False):
        rise, seconds = wh[b] - wh[a], at_s[b] - at_s[a]
        if rise >= 0 and (rise - resolution_wh) * 3600.0 / seconds <= most_w:
            power_w = rise * 3600.0 / seconds
            if moved_s < at_s[a]:
                power_w = max(rise * 3600.0 / (at_s[b] - moved_s), (rise - resolution_wh) * 3600.0 / seconds)
            steps.append(Step(at_s[a], at_s[b], power_w, at_s[a], at_s[b]))
        if rise != 0:
            moved_s = at_s[b]
    return steps


def _telling_readings(
    at_s: Sequence[float], wh: Sequence[float], resolution_wh: float, most_w: float
) -> list[int]:
    moves = [i for i in range(1, len(wh)) if wh[i] != wh[i - 1]]
    if not moves:
        return [0, len(wh) - 1] if len(wh) > 1 else []
    still_s = _still_s(at_s, wh, moves, resolution_wh, most_w)
    kept = [0]
    for i in range(1, len(wh)):
        if wh[i] != wh[kept[-1]] or at_s[i] - at_s[kept[-1]] >= still_s:
            kept.append(i)
    last = len(wh) - 1
    if kept[-1] != last and at_s[last] - at_s[moves[-1]] >= still_s / 2:
        kept.append(last)
    return kept


def _still_s(
    at_s: Sequence[float], wh: Sequence[float], moves: list[int], resolution_wh: float, most_w: float
) -> float:
    """Returns how long a register may stand still before it tells that less than a quarter is delivered."""
    rises = [
        wh[i] - wh[i - 1]
        for i in moves
        if wh[i] >= wh[i - 1]
        and (wh[i] - wh[i - 1] - resolution_wh) * 3600.0 / (at_s[i] - at_s[i - 1]) <= most_w
    ]
    rise_wh = sum(rises)
    if rise_wh <= 0:
        return 0.0
    # A single step of the register may have been under way since the first reading.
    begin = moves[0] - 1 if rise_wh > resolution_wh else 0
    return _REGISTER_DEPTH * resolution_wh * (at_s[moves[-1]] - at_s[begin]) / rise_wh


def interval_steps(at_s: Sequence[float], wh: Sequence[float]) -> list[Step]:
    """Turns interval energies, each for the time since the reading before, into steps."""
    steps = []
    for i in range(1, len(at_s)):
        seconds = at_s[i] - at_s[i - 1]
        steps.append(Step(at_s[i - 1], at_s[i], max(wh[i], 0.0) * 3600.0 / seconds, at_s[i - 1], at_s[i]))
    return steps
