"""What the border makes of frames, as tests look at it: sessions with their readings and notes, without a server."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from chargewatch.ingest.ocpp_frames import read_frame, read_message
from chargewatch.ingest.readings import Reading, ReadingSet
from chargewatch.ingest.session_push import SessionPush, merge
from chargewatch.ingest.transactions import Outcome, TransactionBook
from chargewatch.server.analysis.service import Case, Declared, judge
from chargewatch.server.clock import from_microseconds

NOW = datetime(2025, 4, 1, tzinfo=UTC)


class Seen(NamedTuple):
    """One reading in short."""

    at: str
    measurand: str
    value: str
    unit: str
    phase: str = ""
    location: str = "Outlet"
    context: str = "Sample.Periodic"


def outcome(book: TransactionBook, frame: object, protocol: str | None = None) -> Outcome:
    """What becomes of one frame; the book takes it as stored."""
    result = book.apply(read_message(read_frame(json.dumps(frame).encode()), protocol))
    book.close()
    return result


def taken(frames: Iterable[object], station: str = "CP-1") -> dict[str, SessionPush]:
    """What frames become, by external id."""
    book = TransactionBook(station)
    outcomes = [outcome(book, frame) for frame in frames]
    return {push.session: push for push in merge(o.push for o in outcomes if o.push is not None)}


def seen(readings: Iterable[Reading]) -> list[Seen]:
    """Readings in short, with the time of day."""
    return [
        Seen(
            from_microseconds(r.at_us).isoformat()[11:23].removesuffix("+00:"),
            r.source.measurand,
            r.text,
            *r.source[1:5],
        )
        for r in readings
    ]


def verdict(push: SessionPush) -> Any:
    """CSAR-2's verdict on a session of that push alone."""
    readings, change = ReadingSet.replacing(push.readings)
    declared = Declared(
        managed=False,
        rated_power_kw=None,
        started_at=None if push.started_us is None else from_microseconds(push.started_us),
        ended_at=None if push.ended_us is None else from_microseconds(push.ended_us),
        over=push.ended_us is not None or readings.has_end(),
        duplicates=change.duplicates,
        out_of_order=change.out_of_order,
    )
    return judge([Case(readings, declared)], NOW)[0]


def notes(push: SessionPush) -> dict[str, int]:
    """The data-quality notes on a session of that push alone, with their counts."""
    return {note.code: note.count for note in verdict(push).data_quality}
