"""A session's readings as they were sent: a set with one reading per key, and what a new call changes in it.

The key of a reading is (timestamp, measurand, phase, location, context); of two readings with the same key
the later one counts (contract, section 2).
"""

import functools
import math
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from sys import getsizeof
from typing import Final, NamedTuple

import numpy as np

from chargewatch.domain.vocabulary import (
    CONTEXT_CODES,
    CONTEXTS,
    DEFAULT_CONTEXT,
    DEFAULT_FORMAT,
    DEFAULT_LOCATION,
    DEFAULT_MEASURAND,
    DEFAULT_UNITS,
    FORMAT_CODES,
    FORMATS,
    LOCATION_CODES,
    LOCATIONS,
    MEASURAND_CODES,
    MEASURANDS,
    PHASE_CODES,
    PHASES,
    UNIT_CODES,
    UNITS,
    canonical,
)
from chargewatch.ingest.builder import Kind, kind_of
from chargewatch.ingest.columns import AHEAD_US, EARLIEST_SANE_US, ReadingColumns

_UNIT_NAMES: Final = tuple(unit.name for unit in UNITS)
_MEASURAND_NAMES: Final = tuple(m.value for m in MEASURANDS)
#: Sources that are remembered; a fleet has some dozens. Their names are the client's: at most some 7 MB.
_REMEMBERED_SOURCES: Final = 1024
_VOCABULARY: Final = frozenset(
    ("", *_MEASURAND_NAMES, *_UNIT_NAMES, *PHASES, *LOCATIONS, *CONTEXTS, *FORMATS)
)
_END: Final = CONTEXTS[CONTEXT_CODES["transaction.end"]]


class Source(NamedTuple):
    """What a reading comes from, in the standards' spelling. ``unit`` is empty where none was sent."""

    measurand: str
    unit: str
    phase: str
    location: str
    context: str
    format: str

    @property
    def known_unit(self) -> str | None:
        """The unit that was sent, else the measurand's OCPP unit, None for an unknown measurand."""
        if self.unit:
            return self.unit
        code = MEASURAND_CODES.get(self.measurand.casefold())
        return None if code is None else DEFAULT_UNITS[MEASURANDS[code]]

    @property
    def kind(self) -> Kind:
        """The codes of the names."""
        return _kind(self)


@functools.lru_cache(maxsize=_REMEMBERED_SOURCES)
def _kind(source: Source) -> Kind:
    return kind_of(*source[:5], format=source.format)


@functools.lru_cache(maxsize=_REMEMBERED_SOURCES)
def same_source(source: Source) -> Source:
    """Returns the one object for equal sources: readings are compared and counted by it."""
    return source


@functools.lru_cache(maxsize=_REMEMBERED_SOURCES)
def source_of(
    measurand: str | None,
    unit: str | None,
    phase: str | None,
    location: str | None,
    context: str | None,
    format: str | None,
) -> Source:
    """Returns the source of a reading, with the defaults of OCPP filled in (the unit excepted)."""
    return same_source(
        Source(
            canonical(measurand or DEFAULT_MEASURAND.value, MEASURAND_CODES, _MEASURAND_NAMES),
            canonical(unit or "", UNIT_CODES, _UNIT_NAMES),
            canonical(phase or "", PHASE_CODES, PHASES),
            canonical(location or DEFAULT_LOCATION, LOCATION_CODES, LOCATIONS),
            canonical(context or DEFAULT_CONTEXT, CONTEXT_CODES, CONTEXTS),
            canonical(format or DEFAULT_FORMAT, FORMAT_CODES, FORMATS),
        )
    )


class Reading(NamedTuple):
    """One reading: UTC in microseconds since 1970, the number's text as sent, and its source."""

    at_us: int
    text: str
    source: Source


Key = tuple[int, str, str, str, str]


def key_of(reading: Reading) -> Key:
    """Returns what tells a reading from the others of its session."""
    source = reading.source
    return reading.at_us, source.measurand, source.phase, source.location, source.context


class Change(NamedTuple):
    """What a call changes: the readings to add (the last one per key), and what was noticed in it."""

    added: list[Reading]
    duplicates: int
    out_of_order: int


class ReadingSet:
    """The readings of one session, one per key."""

    def __init__(self, readings: Iterable[Reading] = ()) -> None:
        self._by_key: dict[Key, Reading] = {}
        self.apply(readings)

    def __len__(self) -> int:
        return len(self._by_key)

    def apply(self, readings: Iterable[Reading]) -> None:
        """Adds readings; later ones replace earlier ones with the same key."""
        for reading in readings:
            self._by_key[key_of(reading)] = reading

    def change(self, readings: Sequence[Reading]) -> Change:
        """Tells what ``readings`` would change, and changes nothing."""
        added: dict[Key, Reading] = {}
        duplicates = out_of_order = 0
        newest = max((key[0] for key in self._by_key), default=None)
        for reading in readings:
            key = key_of(reading)
            before = added.get(key) or self._by_key.get(key)
            if before is not None:
                duplicates += 1
                if same_value(before, reading):
                    continue
            elif newest is not None and reading.at_us < newest:
                out_of_order += 1
            newest = reading.at_us if newest is None else max(newest, reading.at_us)
            added[key] = reading
        new = [r for r in added.values() if not self.holds(r)] if self._by_key else list(added.values())
        return Change(new, duplicates, out_of_order)

    @classmethod
    def replacing(cls, readings: Sequence[Reading]) -> "tuple[ReadingSet, Change]":
        """Returns the set of ``readings`` alone, and what was noticed in them."""
        alone = cls()
        change = alone.change(readings)
        if len(change.added) == len(readings):  # every key once: as they are
            alone._by_key = {key_of(reading): reading for reading in readings}
        else:
            alone.apply(change.added)
        return alone, change

    def holds(self, reading: Reading) -> bool:
        """Tells whether the same value is stored for the reading's key."""
        stored = self._by_key.get(key_of(reading))
        return stored is not None and same_value(stored, reading)

    def same_as(self, other: "ReadingSet") -> bool:
        """Tells whether both hold the same values for the same keys."""
        if len(self) != len(other):
            return False
        return all(other.holds(reading) for reading in self._by_key.values())

    def ordered(self) -> list[Reading]:
        """Returns the readings in order of time."""
        return [self._by_key[key] for key in sorted(self._by_key)]

    def sane_span_us(self, now_us: int) -> tuple[int, int] | None:
        """Returns the first and the last instant that no clock fault shows in, None without any."""
        sane = [k[0] for k in self._by_key if EARLIEST_SANE_US <= k[0] <= now_us + AHEAD_US]
        return (min(sane), max(sane)) if sane else None

    def values(self) -> Collection[Reading]:
        """Returns the readings in no particular order."""
        return self._by_key.values()

    def has_end(self) -> bool:
        """Tells whether a reading was taken at ``Transaction.End``."""
        return any(key[4] == _END for key in self._by_key)


def text_bytes(readings: Collection[Reading]) -> int:
    """Returns the bytes of what clients wrote in readings: their texts, and names outside of the vocabulary."""
    sources = {id(reading.source): reading.source for reading in readings}
    names = [name for source in sources.values() for name in source if name not in _VOCABULARY]
    return sum([getsizeof(reading.text) for reading in readings]) + sum(map(getsizeof, names))


def same_value(a: Reading, b: Reading) -> bool:
    """Tells whether two readings with the same key say the same."""
    if a.source.known_unit != b.source.known_unit or a.source.format != b.source.format:
        return False
    return a.text == b.text or (number(a) == number(b) and _exact(a.text) == _exact(b.text))


def _exact(text: str) -> Decimal | str:
    """Returns the number with all its digits, of which a float keeps 17."""
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent that not even Decimal holds
        return text


def number(reading: Reading) -> float:
    """Returns a reading's value, NaN for signed data, which is no number."""
    return math.nan if reading.source.format != DEFAULT_FORMAT else float(reading.text)


def columns_of(sessions: Sequence[ReadingSet]) -> ReadingColumns:
    """Returns the readings of several sessions as one batch."""
    readings = [reading for session in sessions for reading in session.ordered()]
    # Readings of one call share their sources: telling those apart by identity saves a hash a reading.
    sources = {id(reading.source): reading.source for reading in readings}
    places = {identity: place for place, identity in enumerate(sources)}
    index = [places[id(reading.source)] for reading in readings]
    kinds = [source.kind for source in sources.values()]
    table = np.array(kinds, np.int8).reshape(len(kinds), len(Kind._fields))[index]
    return ReadingColumns(
        offsets=np.cumsum([0, *map(len, sessions)]),
        at_us=np.array([reading.at_us for reading in readings], np.int64),
        value=np.array([number(reading) for reading in readings], np.float64),
        measurand=table[:, 0],
        unit=table[:, 1],
        phase=table[:, 2],
        location=table[:, 3],
        context=table[:, 4],
        unit_assumed=table[:, 5].astype(np.bool_),
        signed=table[:, 6].astype(np.bool_),
    )
