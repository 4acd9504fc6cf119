"""Rows of a file: from Arrow columns to columns of readings, with a reason for every row that is none."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

from chargewatch.domain import decimals, instants
from chargewatch.domain.ids import LONGEST_ID
from chargewatch.domain.vocabulary import (
    CONTEXT_CODES,
    DEFAULT_CONTEXT,
    DEFAULT_LOCATION,
    DEFAULT_MEASURAND,
    DEFAULT_UNITS,
    LOCATION_CODES,
    MEASURAND_CODES,
    MEASURANDS,
    PHASE_CODES,
    UNIT_CODES,
)
from chargewatch.ingest.columns import Codes, Flags, Floats, Integers
from chargewatch.ingest.table_blocks import BadRow, Block, Column
from chargewatch.ingest.table_values import Words, choices, names, numbers, times, words

Report = Callable[[BadRow], None]

_W_PER_KW: Final = 1000.0
_MISSING: Final = -2
#: Unit by measurand where none is given; the last entry serves unknown measurands (as ``ingest.builder``).
_UNIT_OF_MEASURAND: Final = np.array(
    [UNIT_CODES[DEFAULT_UNITS[m].casefold()] for m in MEASURANDS] + [UNIT_CODES["wh"]], np.int8
)
_DEFAULTS: Final = {
    "measurand": (MEASURAND_CODES, MEASURAND_CODES[DEFAULT_MEASURAND.value.casefold()]),
    "phase": (PHASE_CODES, PHASE_CODES[""]),
    "location": (LOCATION_CODES, LOCATION_CODES[DEFAULT_LOCATION.casefold()]),
    "context": (CONTEXT_CODES, CONTEXT_CODES[DEFAULT_CONTEXT.casefold()]),
}


class Rows(NamedTuple):
    """N rows that belong to sessions. ``good`` is False for a row that is no reading (its values mean nothing).

    ``session`` numbers the sessions; codes are as in ``ReadingColumns``; ``other`` tells unknown names apart.
    ``managed`` is -1 and ``rated_power_w`` NaN where the row does not say.
    """

    session: Integers
    good: Flags
    at_us: Integers
    value: Floats
    measurand: Codes
    unit: Codes
    phase: Codes
    location: Codes
    context: Codes
    unit_assumed: Flags
    other: Integers
    managed: Codes
    rated_power_w: Floats

    def take(self, index: Integers | Flags | slice) -> "Rows":
        """Returns some of the rows."""
        return Rows._make(column[index] for column in self)


def joined(parts: Sequence[Rows]) -> Rows:
    """Returns rows one after the other."""
    return parts[0] if len(parts) == 1 else Rows._make(map(np.concatenate, zip(*parts, strict=True)))


class _Faults:
    """Collects what is wrong with the rows of a block; the first reason found for a row stays."""

    def __init__(self, block: Block) -> None:
        self._reasons = dict(block.faults)
        self.bad = np.zeros(block.rows, np.bool_)
        self.bad[list(block.faults)] = True

    def add(self, rows: Flags, reason: str) -> None:
        fresh = rows & ~self.bad
        if fresh.any():
            self._reasons.update(dict.fromkeys(np.flatnonzero(fresh).tolist(), reason))
            self.bad |= fresh

    def tell(self, file: str, block: Block, report: Report) -> None:
        for i in sorted(self._reasons):
            report(BadRow(file, block.first_row + i, block.line_of(i), self._reasons[i]))


def sessions_of(column: Column) -> tuple[Words, Flags]:
    """Returns the sessions of rows (-1 for none), and which rows have an id that is too long."""
    number, texts = words(column)
    if max(map(len, filter(None, texts)), default=0) <= LONGEST_ID:
        return Words(number, texts), np.zeros(len(number), np.bool_)
    too_long = np.isin(number, [i for i, text in enumerate(texts) if text and len(text) > LONGEST_ID])
    return Words(np.where(too_long, np.int32(-1), number), texts), too_long


def decode(file: str, block: Block, report: Report) -> tuple[Words, Rows]:
    """Returns the sessions of a block's rows, and the rows that belong to one (``session`` as in the words).

    Every row that is no reading is reported.
    """
    faults = _Faults(block)
    sessions, too_long = sessions_of(block.columns["session_id"])
    faults.add(too_long, f"session_id is longer than {LONGEST_ID} characters")
    faults.add(sessions.number < 0, "no session_id")
    at = times(block.columns["timestamp"])
    faults.add(at.missing, "no timestamp")
    faults.add(at.wrong, f"timestamp is not a time: {instants.EXPECTED}")
    value = numbers(block.columns["value"])
    faults.add(value.missing, "no value")
    faults.add(value.wrong, f"value is not a number: {decimals.EXPECTED}")
    managed = _managed(block, faults)
    rated_w = _rated_power_w(block, faults)
    other = np.zeros(block.rows, np.int64)
    measurand, phase, location, context = (_codes(block, column, other) for column in _DEFAULTS)
    unit, assumed = _units(block, measurand)
    faults.tell(file, block, report)
    rows = Rows(
        session=sessions.number.astype(np.int64),
        good=~faults.bad,
        at_us=at.at_us,
        value=value.value,
        measurand=measurand,
        unit=unit,
        phase=phase,
        location=location,
        context=context,
        unit_assumed=assumed,
        other=other,
        managed=managed,
        rated_power_w=rated_w,
    )
    return sessions, rows if (sessions.number >= 0).all() else rows.take(sessions.number >= 0)


def _managed(block: Block, faults: _Faults) -> Codes:
    column = block.columns.get("managed")
    if column is None:
        return np.full(block.rows, -1, np.int8)
    managed = choices(column)
    faults.add(managed.wrong, "managed is not true or false")
    return managed.value


def _rated_power_w(block: Block, faults: _Faults) -> Floats:
    column = block.columns.get("rated_power_kw")
    if column is None:
        return np.full(block.rows, np.nan)
    rated = numbers(column)
    # A data frame has no other word for "none" than NaN.
    wrong = rated.wrong & ~_not_a_number(column) | (rated.value <= 0)
    faults.add(wrong, "rated_power_kw is not a number above 0")
    return np.where(wrong, np.nan, rated.value * _W_PER_KW)


def _not_a_number(column: Column) -> Flags:
    nan: Flags = column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    return nan


def _codes(block: Block, column: str, other: Integers) -> Codes:
    """Returns the codes of a column of names with OCPP's default; adds what tells unknown names apart."""
    codes, default = _DEFAULTS[column]
    values = block.columns.get(column)
    if values is None:
        return np.full(block.rows, default, np.int8)
    found = names(values, codes, column)
    if found.other is not None:
        other ^= found.other
    return np.where(found.code == _MISSING, np.int8(default), found.code)


def _units(block: Block, measurand: Codes) -> tuple[Codes, Flags]:
    """Returns the units, OCPP's own for the measurand where none was sent, and where that is so."""
    default = _UNIT_OF_MEASURAND[measurand]
    values = block.columns.get("unit")
    if values is None:
        return default, np.ones(block.rows, np.bool_)
    code = names(values, UNIT_CODES, "unit").code
    return np.where(code == _MISSING, default, code), code == _MISSING
