"""Readings of many sessions in file order: brought into order of time, one reading per key.

Counts what is noticed on the way as ``ingest.readings`` does for the calls of the API: a repeated key is a
duplicate, another reading that is older than one before it is out of order.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from chargewatch.domain.vocabulary import CONTEXTS, LOCATIONS, MEASURANDS, PHASES
from chargewatch.ingest.columns import Codes, Flags, Integers


def _alphabetical(names: tuple[str, ...]) -> Integers:
    """Returns the place of each name in alphabetical order; unknown names (code -1) come last."""
    places = np.empty(len(names) + 1, np.int64)
    places[np.argsort(np.array(names, dtype=object), kind="stable")] = np.arange(len(names))
    places[-1] = len(names)
    return places


_MEASURAND: Final = _alphabetical(tuple(m.value for m in MEASURANDS)) << 12
_PHASE: Final = _alphabetical(PHASES) << 8
_LOCATION: Final = _alphabetical(LOCATIONS) << 4
_CONTEXT: Final = _alphabetical(CONTEXTS)


class Keys(NamedTuple):
    """What tells the N readings of S sessions apart; rows of a session stand together, in file order.

    ``session`` counts from 0. ``other`` tells unknown names apart (0 for known ones).
    """

    session: Integers
    at_us: Integers
    measurand: Codes
    phase: Codes
    location: Codes
    context: Codes
    other: Integers


class Settled(NamedTuple):
    """``rows`` are the rows that count, by session and time; the counts are per session."""

    rows: Integers
    duplicates: Integers
    out_of_order: Integers


def settle(keys: Keys, sessions: int) -> Settled:
    """Orders readings by session, time and names; of those with the same key only the last one stays.

    Names come in alphabetical order as in the API, unknown ones last and in no particular order.
    """
    kind = _MEASURAND[keys.measurand] + _PHASE[keys.phase] + _LOCATION[keys.location] + _CONTEXT[keys.context]
    rows = len(kind)
    none = np.zeros(sessions, np.int64)
    if _in_order(keys, kind):
        return Settled(np.arange(rows), none, none)
    order = np.lexsort((keys.other, kind, keys.at_us, keys.session))
    repeats = np.ones(rows - 1, np.bool_)
    for column in (keys.session, keys.at_us, kind, keys.other):
        ordered = column[order]
        repeats &= ordered[1:] == ordered[:-1]
    repeated = np.zeros(rows, np.bool_)
    repeated[order[1:][repeats]] = True
    duplicates = np.bincount(keys.session[repeated], minlength=sessions)
    stays = np.append(~repeats, True)
    return Settled(order[stays], duplicates, _out_of_order(keys, repeated, sessions))


def _in_order(keys: Keys, kind: Integers) -> bool:
    """Tells whether the keys of every session already grow from row to row."""
    later = np.diff(keys.at_us)
    grows = (later > 0) | ((later == 0) & (np.diff(kind) > 0)) | (np.diff(keys.session) > 0)
    return bool(grows.all())


def _out_of_order(keys: Keys, repeated: Flags, sessions: int) -> Integers:
    """Counts the readings that are older than one before them and no repetition."""
    counts = np.zeros(sessions, np.int64)
    back = (np.diff(keys.at_us) < 0) & (np.diff(keys.session) == 0)
    bounds: npt.NDArray[np.int64] = np.searchsorted(keys.session, np.arange(sessions + 1))
    for s in np.unique(keys.session[1:][back]).tolist():
        cut = slice(int(bounds[s]), int(bounds[s + 1]))
        at = keys.at_us[cut]
        late = at[1:] < np.maximum.accumulate(at)[:-1]
        counts[s] = np.count_nonzero(late & ~repeated[cut][1:])
    return counts
