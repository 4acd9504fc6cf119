"""Repairs of one session's energy register before the analysis; each leaves a data-quality note.

A repair removes or rescales what is a fault of the data and no fault of the session (``docs/categories.md``):
a zero placeholder at Transaction.Begin, Begin or End taken from another register, a switch between Wh and kWh.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from chargewatch.domain.data_quality import NoteCode
from chargewatch.domain.vocabulary import CONTEXT_CODES

BEGIN: Final = CONTEXT_CODES["transaction.begin"]
END: Final = CONTEXT_CODES["transaction.end"]
_SENTINELS_WH: Final = frozenset({float(2**31 - 1), float(2**32 - 1)})
_SCALE: Final = 1000.0
_SLACK_WH: Final = 500.0


class RegisterReadings(NamedTuple):
    """The register of one session: ``at_s`` in order of time, ``wh``, and the OCPP context code of each."""

    at_s: list[float]
    wh: list[float]
    context: list[int]


def foreign_ends(register: RegisterReadings, tolerance_wh: float, limit_w: float) -> dict[int, NoteCode]:
    """Finds readings at Transaction.Begin and .End that do not belong to the register of the samples.

    ``limit_w`` is the most power that could be delivered. Returns position → note.
    """
    samples = [i for i, code in enumerate(register.context) if code not in (BEGIN, END)]
    if not samples:
        return _sentinels(register)
    found: dict[int, NoteCode] = {}
    for i in range(samples[0]):
        note = None
        if register.context[i] == BEGIN:
            note = _judge_begin(register, i, samples, tolerance_wh, limit_w)
        if note is not None:
            found[i] = note
    foreign_begin = register.wh[min(found)] if found else None
    for i in range(samples[-1] + 1, len(register.wh)):
        if register.context[i] == END and _is_foreign_end(
            register, i, foreign_begin, samples, tolerance_wh, limit_w
        ):
            found[i] = NoteCode.REGISTER_MIXED
    return found


def _sentinels(register: RegisterReadings) -> dict[int, NoteCode]:
    """Finds the values that stand for no value, where Begin and End are all there is to compare with."""
    sentinels = [i for i, value in enumerate(register.wh) if value in _SENTINELS_WH]
    return dict.fromkeys(sentinels, NoteCode.REGISTER_MIXED) if len(sentinels) < len(register.wh) else {}


def _judge_begin(
    register: RegisterReadings, begin: int, samples: list[int], tolerance_wh: float, limit_w: float
) -> NoteCode | None:
    at, wh = register.at_s, register.wh
    value, first = wh[begin], wh[samples[0]]
    rise = limit_w * (at[samples[0]] - at[begin]) / 3600.0 + 2 * tolerance_wh
    if value in _SENTINELS_WH and first != value:
        return NoteCode.REGISTER_MIXED
    if first > value + rise:
        if value <= tolerance_wh:
            return NoteCode.BEGIN_ZERO_PLACEHOLDER
        return None if _an_end_follows(register, samples, tolerance_wh, limit_w) else NoteCode.REGISTER_MIXED
    starts_anew = first < value - tolerance_wh and first <= rise
    if starts_anew and max(wh[i] for i in samples) < value:
        return NoteCode.REGISTER_MIXED
    return None


def _an_end_follows(
    register: RegisterReadings, samples: list[int], tolerance_wh: float, limit_w: float
) -> bool:
    """Tells whether an End goes on from the samples: a Begin below them is then of the same register."""
    last = samples[-1]
    return any(
        register.context[i] == END and _follows(register, last, i, tolerance_wh, limit_w)
        for i in range(last + 1, len(register.wh))
    )


def _follows(
    register: RegisterReadings, before: int, after: int, tolerance_wh: float, limit_w: float
) -> bool:
    rise = limit_w * (register.at_s[after] - register.at_s[before]) / 3600.0 + 2 * tolerance_wh
    return register.wh[before] - tolerance_wh <= register.wh[after] <= register.wh[before] + rise


def _is_foreign_end(
    register: RegisterReadings,
    end: int,
    foreign_begin: float | None,
    samples: list[int],
    tolerance_wh: float,
    limit_w: float,
) -> bool:
    """Tells whether the End follows from another register: from that of a foreign Begin, or one that starts at 0."""
    wh = register.wh
    value, first, last = wh[end], wh[samples[0]], wh[samples[-1]]
    if value in _SENTINELS_WH and last != value:
        return True
    if _follows(register, samples[-1], end, tolerance_wh, limit_w):
        return False
    delivered = last - first
    slack = max(_SLACK_WH, 0.1 * delivered) + tolerance_wh
    if foreign_begin is not None and abs(value - foreign_begin - delivered) <= slack:
        return True
    if value < last:
        return first > 2 * slack and abs(value - delivered) <= slack
    return first <= 10 * _SCALE and value > 10 * (last + _SCALE)


def undo_unit_switches(
    at_s: Sequence[float], wh: Sequence[float], tolerance_wh: float, limit_w: float
) -> tuple[list[float], int]:
    """Rescales the register where it continues 1000 times larger or smaller; returns it and the switches.

    ``limit_w`` is the most power that could be delivered.
    """
    repaired = [wh[0]] if wh else []
    scale = 1.0
    switches = 0
    for i in range(1, len(wh)):
        rise = limit_w * (at_s[i] - at_s[i - 1]) / 3600.0 + tolerance_wh
        for factor in (_SCALE, 1 / _SCALE):
            candidate = wh[i] * scale * factor
            if not _continues(repaired[-1], wh[i] * scale, candidate, rise, tolerance_wh):
                continue
            until = _switched_until(at_s, wh, i, scale, repaired[-1], tolerance_wh, limit_w)
            if _keeps_pace(at_s, wh, i, until, scale, factor, repaired):
                scale *= factor
                switches += 1
                break
        repaired.append(wh[i] * scale)
    return repaired, switches


def _continues(before: float, plain: float, rescaled: float, rise: float, tolerance_wh: float) -> bool:
    """Tells whether the rescaled value continues the register where the plain one cannot."""
    impossible = plain < before - tolerance_wh or plain > before + rise
    return impossible and before >= 10 * tolerance_wh and before - tolerance_wh <= rescaled <= before + rise


def _switched_until(
    at_s: Sequence[float],
    wh: Sequence[float],
    i: int,
    scale: float,
    before: float,
    tolerance_wh: float,
    limit_w: float,
) -> int:
    """Returns the last reading before one that follows in the old scale, else the last of all."""
    for j in range(i + 1, len(wh)):
        rise = limit_w * (at_s[j] - at_s[i - 1]) / 3600.0 + tolerance_wh
        if before - tolerance_wh <= wh[j] * scale <= before + rise:
            return j - 1
    return len(wh) - 1


def _keeps_pace(
    at_s: Sequence[float],
    wh: Sequence[float],
    i: int,
    until: int,
    scale: float,
    factor: float,
    repaired: Sequence[float],
) -> bool:
    """Compares the pace after the switch with the pace before, rescaled and plain; True without either."""
    if until <= i or len(repaired) < 2:
        return True
    pace = (repaired[-1] - repaired[0]) / (at_s[i - 1] - at_s[0])
    after = (wh[until] - wh[i]) * scale / (at_s[until] - at_s[i])
    if pace <= 0 or after <= 0:
        return True
    return abs(math.log(after * factor / pace)) < abs(math.log(after / pace))
