"""OCPP's sampled values, as all its versions have them: the names of a reading, and its value."""

from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

from chargewatch.domain.vocabulary import DEFAULT_FORMAT, FORMATS
from chargewatch.ingest.foreign_json import Place, decode, name, number_text
from chargewatch.ingest.readings import Source, source_of

T = TypeVar("T")

LONGEST_SIGNED: Final = 10_000
SIGNED: Final = FORMATS[1]

#: measurand, unit, phase, location, context, format, as sent.
Names = tuple[str | None, str | None, str | None, str | None, str | None, str | None]
_FIELDS: Final = ("measurand", "unit", "phase", "location", "context", "format")
_MOST_SOURCES: Final = 4096
_sources: dict[Names, Source] = {}


def listed(values: list[T] | T, place: Place) -> Iterable[tuple[T, Place]]:
    """Yields the items of a list with their places; one object stands for a list of one."""
    if isinstance(values, list):
        return ((value, (*place, i)) for i, value in enumerate(values))
    return ((values, place),)


def known_source(names: Names, place: Place) -> Source:
    """Returns the source for names as sent; what stations send is nearly always what they sent before.

    Raises:
        Unreadable: a name that cannot be stored.
    """
    source = _sources.get(names)
    if source is None:
        for field, text in zip(_FIELDS, names, strict=True):
            if text is not None:
                name(text, (*place, field))
        if len(_sources) >= _MOST_SOURCES:
            _sources.clear()
        source = _sources[names] = source_of(*names)
    return source


def value_text(raw: msgspec.Raw, source: Source, place: Place) -> str:
    """Returns a value's text: a number as sent, or signed data.

    Raises:
        Unreadable: a number is due and it is none.
    """
    if source.format != DEFAULT_FORMAT and bytes(raw)[:1] == b'"':
        return name(decode(raw, _TEXT, place), place, LONGEST_SIGNED)
    return number_text(raw, place)


_TEXT: Final = msgspec.json.Decoder(str)
