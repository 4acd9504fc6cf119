"""OCPI 2.2.1 Sessions and CDRs (mod_sessions, mod_cdrs): what they say about a session.

- ``kwh`` of a Session and ``total_energy`` of a CDR are what was charged since the start: a register in kWh that is
  0 at ``start_date_time``.
- The dimensions of a charging period count at its end, which is the next period's start, or the session's end. A
  period that still runs gives no energy (it would be counted again when it has grown), but power, current and SoC.
- Dimensions that are no meter values (TIME, MAX_POWER, …) are passed over by name.
- CiStrings are case-insensitive; country and party are kept in capitals.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from chargewatch.domain.ids import external_id
from chargewatch.ingest.foreign_json import (
    ABSENT,
    Place,
    Unreadable,
    checked,
    decode,
    instant,
    is_absent,
    name,
    number_text,
    place_id,
    remark,
)
from chargewatch.ingest.readings import Reading, Source, source_of
from chargewatch.ingest.session_push import SessionPush, ocpi_session

#: The statuses with which a session is over, and those in which it has not begun.
_OVER: Final = frozenset({"COMPLETED", "INVALID"})
_BEFORE: Final = frozenset({"PENDING", "RESERVATION"})


class _Dimension(msgspec.Struct):
    type: str
    volume: msgspec.Raw


class _Period(msgspec.Struct):
    start_date_time: str
    dimensions: list[_Dimension] = []


class _Session(msgspec.Struct, kw_only=True):
    country_code: str | None = None
    party_id: str | None = None
    id: str | None = None
    start_date_time: str | None = None
    end_date_time: str | None = None
    kwh: msgspec.Raw = ABSENT
    location_id: str | None = None
    evse_uid: str | None = None
    connector_id: msgspec.Raw = ABSENT
    status: str | None = None
    last_updated: str | None = None
    charging_periods: list[_Period] | None = None


class _CdrLocation(msgspec.Struct, kw_only=True):
    id: str | None = None
    evse_uid: str | None = None
    evse_id: Any = None
    connector_id: msgspec.Raw = ABSENT


class _Cdr(msgspec.Struct, kw_only=True):
    country_code: str
    party_id: str
    id: str
    start_date_time: str
    end_date_time: str
    session_id: str | None = None
    cdr_location: _CdrLocation
    total_energy: msgspec.Raw = ABSENT
    charging_periods: list[_Period] | None = None
    credit: bool | None = None


class OcpiId(NamedTuple):
    """What names a session in OCPI."""

    country_code: str
    party_id: str
    session_id: str


class OcpiRead(NamedTuple):
    """A push, and the names of the dimensions that were passed over."""

    push: SessionPush
    passed_over: Sequence[str]


class _Span(NamedTuple):
    """When a session began, ended and was last updated."""

    started_us: int | None
    ended_us: int | None
    updated_us: int

    @property
    def now_us(self) -> int:
        """The instant that totals are of: the end, else the last update, never before the start."""
        at_us = self.updated_us if self.ended_us is None else self.ended_us
        return at_us if self.started_us is None else max(at_us, self.started_us)


def session_id(raw: bytes) -> OcpiId:
    """Returns how a Session object names itself.

    Raises:
        Unreadable: it does not.
    """
    body = decode(raw, _SESSION)
    return OcpiId(
        _named(body.country_code, "country_code"), _named(body.party_id, "party_id"), _named(body.id, "id")
    )


def _named(text: str | None, field: str) -> str:
    if not text:
        raise Unreadable((field,), "is required", "missing")
    return checked((field,), external_id, text)


def read_session(raw: bytes, ocpi_id: OcpiId, now_us: int, *, partial: bool = False) -> OcpiRead:
    """Reads a Session object, whole (PUT) or in part (PATCH).

    Args:
        raw: the object's JSON.
        ocpi_id: its names, from the URL; those in the object must be the same, whatever their case.
        now_us: the time of the call; the time of the object where it lacks ``last_updated``.
        partial: only the fields that changed are there; the station stays as it is.

    Raises:
        Unreadable: a field that is needed is missing or broken.
    """
    body = decode(raw, _SESSION)
    for field, named, sent in zip(
        ("country_code", "party_id", "id"), ocpi_id, (body.country_code, body.party_id, body.id), strict=True
    ):
        if sent is not None and sent.casefold() != named.casefold():
            raise Unreadable((field,), "differs from the one in the URL")
    span = _session_span(body, now_us, partial=partial)
    begun = (body.status or "").upper() not in _BEFORE
    readings = list(_registers(body.kwh, ("kwh",), span)) if begun else []
    periods = _Periods(body.charging_periods or [], span)
    readings += periods.readings
    station = "" if partial else _station(body.evse_uid, body.location_id, "evse_uid")
    push = SessionPush(
        ocpi_session(*ocpi_id),
        station,
        None,
        place_id(body.connector_id, ("connector_id",)),
        started_us=span.started_us,
        ended_us=span.ended_us,
        metadata=None if partial else _metadata(ocpi_id, body.location_id, body.evse_uid),
        readings=readings,
    )
    return OcpiRead(push, periods.passed_over)


def _session_span(body: _Session, now_us: int, *, partial: bool) -> _Span:
    started_us = _time(body.start_date_time, "start_date_time")
    if started_us is None and not partial:
        raise Unreadable(("start_date_time",), "is required", "missing")
    updated_us = _time(body.last_updated, "last_updated")
    updated_us = now_us if updated_us is None else updated_us
    ended_us = _time(body.end_date_time, "end_date_time")
    if ended_us is None and (body.status or "").upper() in _OVER:
        ended_us = updated_us
    if ended_us is not None and started_us is not None:
        ended_us = max(ended_us, started_us)
    return _Span(started_us, ended_us, updated_us)


def read_cdr(raw: bytes) -> OcpiRead:
    """Reads a CDR; it is of the session that it names, else a session of its own.

    Raises:
        Unreadable: a field that is needed is missing or broken, or it is a credit CDR.
    """
    body = decode(raw, _CDR)
    if body.credit:
        raise Unreadable(("credit",), "a credit CDR takes back another one and has no readings")
    started_us = instant(body.start_date_time, ("start_date_time",))
    ended_us = max(started_us, instant(body.end_date_time, ("end_date_time",)))
    span = _Span(started_us, ended_us, ended_us)
    place = body.cdr_location
    periods = _Periods(body.charging_periods or [], span)
    ocpi_id = OcpiId(
        _named(body.country_code, "country_code"),
        _named(body.party_id, "party_id"),
        _named(body.session_id or body.id, "session_id" if body.session_id else "id"),
    )
    push = SessionPush(
        ocpi_session(*ocpi_id),
        _station(place.evse_uid, place.id, "cdr_location"),
        None,
        place_id(place.connector_id, ("cdr_location", "connector_id")),
        started_us=started_us,
        ended_us=ended_us,
        metadata=_metadata(ocpi_id, place.id, place.evse_uid, cdr_id=body.id, evse_id=remark(place.evse_id)),
        readings=[*_registers(body.total_energy, ("total_energy",), span), *periods.readings],
    )
    return OcpiRead(push, periods.passed_over)


def _time(text: str | None, field: str) -> int | None:
    return None if text is None else instant(text, (field,))


def _station(evse_uid: str | None, location: str | None, field: str) -> str:
    """Returns the station of a session: OCPI's EVSE, else its location."""
    text = evse_uid or location
    if not text:
        raise Unreadable((field,), "is required", "missing")
    return checked((field,), external_id, text.strip())


def _metadata(ocpi_id: OcpiId, location: str | None, evse_uid: str | None, **more: str | None) -> str:
    names = {**ocpi_id._asdict(), "location_id": location, "evse_uid": evse_uid, **more}
    sent = {field: name(text, (field,)) for field, text in names.items() if text}
    return msgspec.json.encode({"ocpi": sent}).decode()


def _registers(raw: msgspec.Raw, place: Place, span: _Span) -> Iterator[Reading]:
    """Yields the register of a session: 0 at its start, and what was charged since."""
    if is_absent(raw):
        return
    total = number_text(raw, place)
    if span.started_us is not None and span.started_us < span.now_us:
        yield Reading(span.started_us, "0", _TOTAL_AT_START)
    yield Reading(span.now_us, total, _TOTAL if span.ended_us is None else _TOTAL_AT_END)


class _Periods:
    """The readings of charging periods."""

    def __init__(self, periods: Sequence[_Period], span: _Span) -> None:
        self.readings: list[Reading] = []
        self.passed_over: list[str] = []
        starts = [
            instant(period.start_date_time, ("charging_periods", i, "start_date_time"))
            for i, period in enumerate(periods)
        ]
        order = sorted(range(len(periods)), key=lambda i: starts[i])
        for i, following in itertools.zip_longest(order, order[1:]):
            closed = following is not None or span.ended_us is not None
            end_us = span.now_us if following is None else starts[following]
            if end_us > starts[i]:
                self._read(
                    periods[i].dimensions, ("charging_periods", i, "dimensions"), end_us, closed=closed
                )

    def _read(self, dimensions: Sequence[_Dimension], place: Place, end_us: int, *, closed: bool) -> None:
        named = {dimension.type.upper() for dimension in dimensions}
        for i, dimension in enumerate(dimensions):
            kind = dimension.type.upper()
            text = number_text(dimension.volume, (*place, i, "volume"))
            source = _SOURCES.get(kind)
            if source is None:
                self._pass_over(name(kind, (*place, i, "type")))
                continue
            if kind in _ENERGIES and not closed:
                continue
            if kind == "ENERGY_IMPORT" and "ENERGY" in named:
                continue
            opposite = _OPPOSITES.get(kind)
            if opposite is not None and text.startswith("-"):
                text, source = text[1:], opposite
            self.readings.append(Reading(end_us, text, source))

    def _pass_over(self, kind: str) -> None:
        if kind not in self.passed_over:
            self.passed_over.append(kind)


def _of(measurand: str, unit: str, location: str = "Outlet", context: str = "Sample.Periodic") -> Source:
    return source_of(measurand, unit, None, location, context, None)


_REGISTER: Final = "Energy.Active.Import.Register"
_TOTAL: Final = _of(_REGISTER, "kWh")
_TOTAL_AT_START: Final = _of(_REGISTER, "kWh", context="Transaction.Begin")
_TOTAL_AT_END: Final = _of(_REGISTER, "kWh", context="Transaction.End")
#: The sources of a session's register.
TOTALS: Final = frozenset({_TOTAL, _TOTAL_AT_START, _TOTAL_AT_END})
#: The dimensions that are meter values (CdrDimensionType, mod_cdrs 1.4.3).
_SOURCES: Final = {
    "ENERGY": _of("Energy.Active.Import.Interval", "kWh"),
    "ENERGY_IMPORT": _of("Energy.Active.Import.Interval", "kWh"),
    "ENERGY_EXPORT": _of("Energy.Active.Export.Interval", "kWh"),
    "POWER": _of("Power.Active.Import", "kW"),
    "CURRENT": _of("Current.Import", "A"),
    "STATE_OF_CHARGE": _of("SoC", "Percent", "EV"),
}
_ENERGIES: Final = frozenset({"ENERGY", "ENERGY_IMPORT", "ENERGY_EXPORT"})
#: What a negative volume is: energy, power and current from the vehicle to the grid.
_OPPOSITES: Final = {
    "ENERGY": _SOURCES["ENERGY_EXPORT"],
    "POWER": _of("Power.Active.Export", "kW"),
    "CURRENT": _of("Current.Export", "A"),
}

_SESSION: Final = msgspec.json.Decoder(_Session)
_CDR: Final = msgspec.json.Decoder(_Cdr)
