"""From request bodies to the words of the domain; what is wrong is named with its place in the body."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

import msgspec

from chargewatch.domain.decimals import parse_decimal
from chargewatch.domain.ids import external_id, session_external_id
from chargewatch.domain.instants import parse_instant
from chargewatch.domain.vocabulary import DEFAULT_FORMAT
from chargewatch.ingest.readings import Reading, Source, source_of
from chargewatch.server.clock import from_microseconds
from chargewatch.server.sessions.schemas import MeterValueIn, ReadingsIn, SessionIn

LARGEST_METADATA: Final = 16 * 1024
DEEPEST_METADATA: Final = 8
LONGEST_NUMBER: Final = 40
LONGEST_SIGNED: Final = 10_000

Place = tuple[str | int, ...]
T = TypeVar("T")


class InvalidField(Exception):
    """A field of a body is not what it should be: where, and what would be right."""

    def __init__(self, place: Place, message: str, kind: str = "value_error") -> None:
        super().__init__(message)
        self.place = place
        self.message = message
        self.kind = kind


class Attributes(NamedTuple):
    """The attributes that a call sets; None means unchanged."""

    metadata: str | None
    started_at: datetime | None
    ended_at: datetime | None
    stop_reason: str | None
    managed: bool | None


class Whereabouts(NamedTuple):
    """Where a session takes place."""

    station: str
    evse_id: str | None
    connector_id: str | None


def session_id(body: SessionIn) -> str:
    """Returns the session's external id."""
    return _checked(("session_id",), session_external_id, body.session_id)


def location(body: SessionIn) -> Whereabouts:
    """Returns the station and connector of a session."""
    name = "charging_station_id" if body.charging_station_id is not None else "charging_point_id"
    station = body.charging_station_id if body.charging_station_id is not None else body.charging_point_id
    if station is None:
        raise InvalidField(("charging_station_id",), "is required", "missing")
    checked = _checked((name,), external_id, station)
    other = body.charging_point_id
    if other is not None and _checked(("charging_point_id",), external_id, other) != checked:
        raise InvalidField(("charging_point_id",), "differs from charging_station_id, whose other name it is")
    return Whereabouts(
        checked,
        _optional_id("evse_id", body.evse_id),
        _optional_id("connector_id", body.connector_id),
    )


def _optional_id(name: str, value: str | int | None) -> str | None:
    return None if value is None else _checked((name,), external_id, str(value))


def attributes(body: SessionIn | ReadingsIn) -> Attributes:
    """Returns the attributes that a body sets."""
    started_at, ended_at = _time("started_at", body.started_at), _time("ended_at", body.ended_at)
    if started_at is not None and ended_at is not None and ended_at < started_at:
        raise InvalidField(("ended_at",), "must not be before started_at")
    if body.stop_reason is not None and any(ord(c) < 32 for c in body.stop_reason):
        raise InvalidField(("stop_reason",), "must not contain control characters")
    return Attributes(_metadata(body.metadata), started_at, ended_at, body.stop_reason, body.managed)


def _time(name: str, text: str | None) -> datetime | None:
    return None if text is None else from_microseconds(_checked((name,), parse_instant, text))


def _metadata(raw: msgspec.Raw) -> str | None:
    """Checks metadata and returns its text; null means absent."""
    if bytes(raw) == b"null":
        return None
    text = bytes(raw).decode()
    if not text.startswith("{"):
        raise InvalidField(("metadata",), "must be a JSON object", "type_error")
    if len(text.encode()) > LARGEST_METADATA:
        raise InvalidField(("metadata",), f"must not be larger than {LARGEST_METADATA} bytes", "too_large")
    value = json.loads(text, parse_float=_short_number, parse_int=_short_number)
    if _depth(value) > DEEPEST_METADATA:
        raise InvalidField(("metadata",), f"must not be deeper than {DEEPEST_METADATA} levels", "too_deep")
    return text


def _short_number(text: str) -> float:
    if len(text) > LONGEST_NUMBER:
        raise InvalidField(("metadata",), f"numbers must not have more than {LONGEST_NUMBER} characters")
    return float(text)


def _depth(value: object) -> int:
    """Returns how deep a value is nested; in a loop, because what was sent may be deeper than calls can be."""
    deepest, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        deepest += 1
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return deepest


def readings(values: Sequence[MeterValueIn] | None) -> list[Reading]:
    """Returns the readings of a body, in its order."""
    sources: dict[tuple[str | None, ...], Source] = {}
    return [_reading(("meter_values", i), value, sources) for i, value in enumerate(values or ())]


def _reading(place: Place, value: MeterValueIn, sources: dict[tuple[str | None, ...], Source]) -> Reading:
    names = (value.measurand, value.unit, value.phase, value.location, value.context, value.format)
    source = sources.get(names)
    if source is None:
        for name, text in zip(
            ("measurand", "unit", "phase", "location", "context", "format"), names, strict=True
        ):
            if text is not None and any(ord(c) < 32 for c in text):
                raise InvalidField((*place, name), "must not contain control characters")
        source = sources[names] = source_of(*names)
    at_us = _checked((*place, "timestamp"), parse_instant, value.timestamp)
    return Reading(at_us, _number((*place, "value"), bytes(value.value), source), source)


def _number(place: Place, raw: bytes, source: Source) -> str:
    """Returns the number's text; numbers come bare or as text."""
    if raw[:1] == b'"':
        text = msgspec.json.decode(raw, type=str)
        if source.format != DEFAULT_FORMAT:
            if len(text) > LONGEST_SIGNED:
                raise InvalidField(place, f"must not have more than {LONGEST_SIGNED} characters")
            return text
    elif raw[:1] in b"-0123456789":
        text = raw.decode()
    else:
        raise InvalidField(place, "must be a number or a number as text, such as 5.5", "type_error")
    _checked(place, parse_decimal, text)
    return text


def _checked(place: Place, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as problem:
        raise InvalidField(place, str(problem)) from None
