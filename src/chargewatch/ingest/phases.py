"""Signals side by side: current, power and voltage of each phase, and the temperature at each place.

The channels of ``selection.py`` hold one value per instant; a lost phase or a hot cable shows only beside the
others. Built only for the sessions of a batch that send such readings.
"""

from typing import Final, NamedTuple

import numpy as np

from chargewatch.domain.vocabulary import LOCATION_CODES, MEASURAND_CODES
from chargewatch.ingest.channels import (
    CONTEXT_RANK,
    FACTOR_OF_UNIT,
    LOCATION_RANK,
    OFFSET_OF_UNIT,
    PHASE_NUMBER,
    QUANTITY_OF_MEASURAND,
    QUANTITY_OF_UNIT,
)
from chargewatch.ingest.columns import (
    AHEAD_US,
    EARLIEST_SANE_US,
    Codes,
    Floats,
    Integers,
    ReadingColumns,
    steps,
)
from chargewatch.ingest.selection import LARGEST_VALUE

#: How many signals stand side by side: three phases, or three places.
WIDTH: Final = 3
#: Where a temperature is the station's own, not the vehicle's or the grid's.
HOT_PLACES: Final = ("Outlet", "Cable", "Body")

_CURRENT: Final = MEASURAND_CODES["current.import"]
_POWER: Final = MEASURAND_CODES["power.active.import"]
_VOLTAGE: Final = MEASURAND_CODES["voltage"]
_TEMPERATURE: Final = MEASURAND_CODES["temperature"]
_PLACE_OF_LOCATION: Final = np.full(len(LOCATION_CODES) + 1, -1, np.int64)
for _column, _name in enumerate(HOT_PLACES):
    _PLACE_OF_LOCATION[LOCATION_CODES[_name.casefold()]] = _column
_PHASE_CODES: Final = 16  # more than there are


class Table(NamedTuple):
    """K instants of S sessions, those of session s in rows ``offsets[s]:offsets[s + 1]``, in order of time.

    ``at_s`` is in seconds since the session's first sane reading, ``value`` of shape (K, 3) in A, W, V or degrees
    Celsius; NaN where nothing was sent.
    """

    offsets: Integers
    at_s: Floats
    value: Floats


class Phases(NamedTuple):
    """What was sent of L1, L2 and L3 (columns 0 to 2)."""

    current: Table
    power: Table
    voltage: Table


def nothing(sessions: int) -> Table:
    """Returns the table of sessions that send nothing of the kind."""
    return Table(np.zeros(sessions + 1, np.int64), np.zeros(0), np.zeros((0, WIDTH)))


def select_phases(columns: ReadingColumns, first_us: Integers, now_us: int) -> Phases:
    """Returns the signals of single phases, of each instant those of the best context and location.

    ``first_us`` is each session's first sane reading. Of ``L1`` and ``L1-N`` the first counts; totals, ``N`` and
    phase-to-phase readings do not.
    """
    none = nothing(columns.sessions)
    if not np.any(columns.phase > 0):
        return Phases(none, none, none)
    phase = PHASE_NUMBER[columns.phase]
    rows = np.flatnonzero((phase > 0) & (phase <= WIDTH))
    of = columns.measurand[rows]
    by_kind = [rows[of == code] for code in (_CURRENT, _POWER, _VOLTAGE)]
    rows = np.concatenate(by_kind)
    kind = np.repeat(np.arange(len(by_kind)), [len(kind_rows) for kind_rows in by_kind])
    rank = CONTEXT_RANK[columns.context[rows]] * 8 + LOCATION_RANK[columns.location[rows]]
    return Phases(*_tables(columns, (rows, kind, phase[rows] - 1, rank), (first_us, now_us), len(by_kind)))


def select_temperatures(columns: ReadingColumns, first_us: Integers, now_us: int) -> Table:
    """Returns the temperatures at Outlet, Cable and Body, of each instant those of the best context.

    Of several phases a total counts, else the first.
    """
    rows = np.flatnonzero(columns.measurand == _TEMPERATURE)
    if not len(rows):
        return nothing(columns.sessions)
    place = _PLACE_OF_LOCATION[columns.location[rows]]
    hot = (place >= 0) & (PHASE_NUMBER[columns.phase[rows]] <= WIDTH)
    rows, place = rows[hot], place[hot]
    placed = (rows, np.zeros(len(rows), np.int64), place, CONTEXT_RANK[columns.context[rows]])
    return _tables(columns, placed, (first_us, now_us), 1)[0]


def _tables(
    columns: ReadingColumns,
    placed: tuple[Integers, Integers, Integers, Integers],
    clock: tuple[Integers, int],
    kinds: int,
) -> list[Table]:
    """Puts rows into one table a kind: per instant the smallest rank, per column the first phase name's last value.

    ``placed`` are the rows, in order of kind and row, and the kind, column and rank of each; ``clock`` is the first
    sane reading of each session and the present.
    """
    rows, kind, column, rank = placed
    first_us, now_us = clock
    unit, at = columns.unit[rows], columns.at_us[rows]
    usable = (
        (unit >= 0)
        & (QUANTITY_OF_UNIT[unit] == QUANTITY_OF_MEASURAND[columns.measurand[rows]])
        & ~columns.signed[rows]
        & (at >= EARLIEST_SANE_US)
        & (at <= now_us + AHEAD_US)
        & (np.abs(columns.value[rows]) <= LARGEST_VALUE)
    )
    if not usable.all():
        rows, kind, column, rank, at = (part[usable] for part in (rows, kind, column, rank, at))
    if not len(rows):
        return [nothing(columns.sessions)] * kinds
    owner = kind * columns.sessions + np.searchsorted(columns.offsets, rows, side="right") - 1
    name: Codes = columns.phase[rows]
    fine = (rank * WIDTH + column) * _PHASE_CODES + name
    if not _in_order(owner, at, fine):
        order = np.lexsort((fine, at, owner))  # stable: the last of one key stays last
        rows, column, rank, name = rows[order], column[order], rank[order], name[order]
        at, owner = at[order], owner[order]
    instant = _numbered(owner, at)
    starts = np.flatnonzero(steps(np.concatenate(([-1], instant))))
    best = rank == rank[starts][instant]
    signal = _numbered(instant, column)
    firsts = np.flatnonzero(steps(np.concatenate(([-1], signal))))
    # Sorted by rank before column, a signal's rows of a worse rank make signals of their own: ``best`` leaves them out.
    keep = best & (name == name[firsts][signal])
    unit = columns.unit[rows]
    sent = np.round(columns.value[rows] * FACTOR_OF_UNIT[unit] + OFFSET_OF_UNIT[unit], 3)
    value = np.full((len(starts), WIDTH), np.nan)
    value[instant[keep], column[keep]] = sent[keep]
    owner = owner[starts]
    at_s = (at[starts] - first_us[owner % columns.sessions]) / 1e6
    bounds = np.searchsorted(owner, np.arange(kinds * columns.sessions + 1))
    tables = []
    for number in range(kinds):
        part = bounds[number * columns.sessions : (number + 1) * columns.sessions + 1]
        cut = slice(int(part[0]), int(part[-1]))
        tables.append(Table(part - part[0], at_s[cut], value[cut]))
    return tables


def _in_order(owner: Integers, at: Integers, fine: Integers) -> bool:
    """Tells whether rows are sorted by session, time and the rest, as most meters send them; owners are."""
    later = (steps(owner) > 0) | (steps(at) > 0)
    return bool(np.all(later | ((steps(at) == 0) & (steps(fine) >= 0))))


def _numbered(first: Integers, second: Integers) -> Integers:
    """Numbers the runs of equal pairs, from 0."""
    fresh = np.ones(len(first), np.int64)
    fresh[1:] = (steps(first) != 0) | (steps(second) != 0)
    numbers: Integers = np.cumsum(fresh) - 1
    return numbers
