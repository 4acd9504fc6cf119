"""A session as one row: what is stored of it, and what calls and verdicts make of it. Pure functions."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import msgspec

from chargewatch.csar2.detect import MODEL_ID, MODEL_VERSION
from chargewatch.domain.data_quality import NoteCode
from chargewatch.domain.verdict import Anomaly, Verdict
from chargewatch.ingest.readings import Change, ReadingSet
from chargewatch.server.clock import from_microseconds, microseconds
from chargewatch.server.db.connection import Row
from chargewatch.server.sessions.payloads import Attributes, Whereabouts
from chargewatch.server.sessions.schemas import StoredVerdict

#: The time at which a session is looked at again moves in steps of this part of the idle time (an index holds it).
RECHECK_STEPS: Final = 24
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOWHERE: Final = UUID(int=0)


class SessionRow(NamedTuple):
    """Everything that is stored of a session; the names are those of the columns."""

    session_id: UUID
    external_id: str
    station_id: UUID
    evse_id: str | None
    connector_id: str | None
    metadata: str
    managed: bool | None
    started_at: datetime | None
    ended_at: datetime | None
    stop_reason: str | None
    version: int
    reading_count: int
    duplicate_count: int
    out_of_order_count: int
    begins_at: datetime
    last_reading_at: datetime | None
    recheck_at: datetime | None
    status: str
    analyzed_version: int | None
    analyzed_at: datetime | None
    model_id: str | None
    model_version: str | None
    is_anomaly: bool | None
    anomaly_score: float | None
    anomaly_confidence: float | None
    is_recurring: bool | None
    is_incident: bool | None
    was_anomalous: bool
    anomaly_count: int
    categories: list[str]
    verdict: str | None


class Times(NamedTuple):
    """When a stored session was made and last changed."""

    created_at: datetime
    updated_at: datetime


class StationFacts(NamedTuple):
    """The attributes of a station that a verdict depends on."""

    managed: bool | None = None
    rated_power_kw: float | None = None


class Stored(NamedTuple):
    """A session as it is stored after a call."""

    row: SessionRow
    times: Times
    station: str


#: The analysis fields of a session that has no verdict.
_UNJUDGED: Final[dict[str, Any]] = {
    "recheck_at": None,
    "status": "pending",
    "analyzed_version": None,
    "analyzed_at": None,
    "model_id": None,
    "model_version": None,
    "is_anomaly": None,
    "anomaly_score": None,
    "anomaly_confidence": None,
    "is_recurring": None,
    "is_incident": None,
    "anomaly_count": 0,
    "categories": [],
    "verdict": None,
}


def new_row(external_id: str, station_id: UUID, now: datetime) -> SessionRow:
    """Returns a session of which nothing is known yet; its version is 0 until it is stored."""
    return SessionRow(
        session_id=uuid4(),
        external_id=external_id,
        station_id=station_id,
        evse_id=None,
        connector_id=None,
        metadata="{}",
        managed=None,
        started_at=None,
        ended_at=None,
        stop_reason=None,
        version=0,
        reading_count=0,
        duplicate_count=0,
        out_of_order_count=0,
        begins_at=now,
        last_reading_at=None,
        was_anomalous=False,
        **_UNJUDGED,
    )


def stored_row(columns: Row) -> SessionRow:
    """Returns the row of a query that names all columns but those that follow from the verdict."""
    text = columns["verdict"]
    verdict = msgspec.json.decode(text, type=StoredVerdict) if text else StoredVerdict()
    fields = {name: columns[name] for name in SessionRow._fields if name not in _FROM_VERDICT}
    return SessionRow(
        **fields, anomaly_count=len(verdict.anomalies), categories=_categories(verdict.anomalies)
    )


_FROM_VERDICT: Final = frozenset({"anomaly_count", "categories"})


def located(row: SessionRow, station_id: UUID, where: Whereabouts) -> SessionRow:
    """Returns the row at the place that a call names; ids that it leaves out stay as they are."""
    return row._replace(
        station_id=station_id,
        evse_id=row.evse_id if where.evse_id is None else where.evse_id,
        connector_id=row.connector_id if where.connector_id is None else where.connector_id,
    )


def attributed(row: SessionRow, attributes: Attributes, *, joins_metadata: bool = False) -> SessionRow:
    """Returns the row with what a call sets; absent attributes stay as they are.

    Metadata takes the place of the stored object, or joins it: then names that are not sent stay.
    """
    sent = {name: value for name, value in attributes._asdict().items() if value is not None}
    if "metadata" in sent:
        if joins_metadata:
            sent["metadata"] = _joined_json(row.metadata, sent["metadata"])
        if _same_json(sent["metadata"], row.metadata):
            del sent["metadata"]
    return row._replace(**sent)


def _joined_json(stored: str, sent: str) -> str:
    """Returns an object with the members of both, as they were written; of one name the later one."""
    members = msgspec.json.decode(stored, type=_Members) | msgspec.json.decode(sent, type=_Members)
    return msgspec.json.encode(members).decode()


_Members = dict[str, msgspec.Raw]


def _same_json(a: str, b: str) -> bool:
    """Tells whether two documents say the same; to Python ``true`` and ``1.0`` were the same as ``1``."""
    return a == b or _value(a) == _value(b)


def _value(document: str) -> object:
    return json.loads(document, parse_int=_Number, parse_float=_Number)


class _Number(str):
    """A number with its digits, which no text equals."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Number) and str.__eq__(self, other)

    def __hash__(self) -> int:
        return str.__hash__(self)


def first_row(
    external_id: str,
    where: Whereabouts,
    attributes: Attributes,
    readings: ReadingSet,
    change: Change,
    now: datetime,
) -> SessionRow:
    """Returns the first version of a session; its station is still to be found."""
    row = attributed(located(new_row(external_id, _NOWHERE, now), _NOWHERE, where), attributes)
    return next_version(row, readings, change, now, now, replaced=True)


def next_version(
    row: SessionRow,
    readings: ReadingSet,
    change: Change,
    now: datetime,
    created_at: datetime,
    *,
    replaced: bool,
) -> SessionRow:
    """Returns the next version of a row, with what follows from its readings.

    It began as declared, else with its first sane reading, else when it was created. What was noticed in a call
    is added to what was noticed in those calls whose readings still stand.
    """
    span = readings.sane_span_us(microseconds(now))
    kept = 0 if replaced else 1
    return row._replace(
        version=row.version + 1,
        reading_count=len(readings),
        duplicate_count=kept * row.duplicate_count + change.duplicates,
        out_of_order_count=kept * row.out_of_order_count + change.out_of_order,
        begins_at=row.started_at or (from_microseconds(span[0]) if span else created_at),
        last_reading_at=from_microseconds(span[1]) if span else None,
    )


def unjudged(row: SessionRow) -> SessionRow:
    """Returns the row without a verdict: too few readings."""
    return row._replace(**_UNJUDGED)


def failed(row: SessionRow, now: datetime) -> SessionRow:
    """Returns the row of a session whose analysis failed."""
    return unjudged(row)._replace(status="failed", analyzed_at=now, analyzed_version=row.version)


def judged(
    row: SessionRow, verdict: Verdict, now: datetime, *, recurring: bool, over: bool, idle: timedelta
) -> SessionRow:
    """Returns the row with a verdict; while the session runs, with the time at which it is over unless it goes on."""
    stored = StoredVerdict(
        anomalies=verdict.anomalies,
        past_anomalies=verdict.past_anomalies,
        data_quality=verdict.data_quality,
        sequence_length=verdict.sequence_length,
        energy_kwh=verdict.energy_kwh,
        energy_source=verdict.energy_source,
        energy_disputed_kwh=verdict.energy_disputed_kwh,
        confidence_basis=verdict.confidence_basis,
    )
    return row._replace(
        recheck_at=None if over else _recheck_at(row.last_reading_at, idle),
        status="active",
        analyzed_version=row.version,
        analyzed_at=now,
        model_id=MODEL_ID,
        model_version=MODEL_VERSION,
        is_anomaly=verdict.is_anomaly,
        anomaly_score=verdict.score,
        anomaly_confidence=verdict.confidence,
        is_recurring=recurring,
        is_incident=bool(row.is_incident),
        was_anomalous=row.was_anomalous or verdict.is_anomaly or bool(verdict.past_anomalies),
        anomaly_count=len(verdict.anomalies),
        categories=_categories(verdict.anomalies),
        verdict=msgspec.json.encode(stored).decode(),
    )


def _recheck_at(last_reading_at: datetime | None, idle: timedelta) -> datetime | None:
    """Returns when the idle time after the last reading has passed, rounded up to the next step."""
    if last_reading_at is None:
        return None
    step = idle / RECHECK_STEPS
    steps = -((_EPOCH - last_reading_at - idle) // step)
    return _EPOCH + steps * step


def is_over(row: SessionRow, readings: ReadingSet, now: datetime, idle: timedelta) -> bool:
    """Tells whether a session is over: declared, ended by a reading at ``Transaction.End``, or idle for so long."""
    if row.ended_at is not None or readings.has_end():
        return True
    return row.last_reading_at is not None and now - row.last_reading_at >= idle


def is_overlapping(row: SessionRow) -> bool:
    """Tells whether the stored verdict notes an overlap with another session."""
    if not row.verdict or NoteCode.OVERLAPS_SESSION.value not in row.verdict:
        return False
    notes = msgspec.json.decode(row.verdict, type=StoredVerdict).data_quality
    return any(note.code == NoteCode.OVERLAPS_SESSION for note in notes)


def gives_up(before: SessionRow, after: SessionRow) -> bool:
    """Tells whether a change takes a session away from a place or time at which others may overlap it."""
    if before.connector_id is None or _ends_at(before) is None:
        return False
    place, new_place = (
        (row.station_id, row.evse_id or "", row.connector_id or "") for row in (before, after)
    )
    ended, ends = _ends_at(before), _ends_at(after)
    shorter = ends is None or (ended is not None and ends < ended) or after.begins_at > before.begins_at
    return place != new_place or shorter


def _ends_at(row: SessionRow) -> datetime | None:
    return row.ended_at or row.last_reading_at


def same_verdict(a: SessionRow, b: SessionRow) -> bool:
    """Tells whether two rows of a session say the same of it, whenever they were analysed."""
    kept: dict[str, Any] = {
        "version": 0,
        "analyzed_version": 0,
        "analyzed_at": None,
        "recheck_at": None,
        "verdict": None,
    }
    return a._replace(**kept) == b._replace(**kept) and _document(a) == _document(b)


def _document(row: SessionRow) -> object:
    return None if row.verdict is None else msgspec.json.decode(row.verdict)


def _categories(anomalies: Sequence[Anomaly]) -> list[str]:
    return sorted({a.category.value for a in anomalies})
