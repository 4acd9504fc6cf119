"""The list of sessions: its filters, its order (newest begin first, then id) and its pages."""

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from chargewatch.domain.categories import Category
from chargewatch.domain.instants import parse_instant
from chargewatch.server.clock import from_microseconds, microseconds
from chargewatch.server.db.connection import Row
from chargewatch.server.db.engine import Database
from chargewatch.server.sessions import repository
from chargewatch.server.sessions.payloads import InvalidField
from chargewatch.server.sessions.repository import ListFilter
from chargewatch.server.sessions.schemas import SessionItem, SessionListQuery, SessionPage

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class _Position(NamedTuple):
    """The last row of a page: where the next one goes on."""

    begins_us: int
    session_id: UUID


class SessionList:
    """Lists sessions of any tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, tenant_id: UUID, query: SessionListQuery) -> SessionPage:
        """Returns one page of the sessions that match.

        Raises:
            InvalidField: a filter that makes no sense, or a cursor that is not ours.
        """
        if query.page is not None and query.cursor is not None:
            raise InvalidField(("cursor",), "must not be given together with page")
        position = None if query.cursor is None else _read_cursor(query.cursor)
        page = None if position else (query.page or 1)
        async with self._database.tenant_transaction(tenant_id, reads=True) as connection:
            station_id = None
            if query.charging_station_id is not None:
                station_id = await repository.find_station_id(
                    connection, tenant_id, query.charging_station_id
                )
                if station_id is None:
                    return SessionPage(
                        items=[], total=0, page=page, page_size=query.page_size, next_cursor=None
                    )
            wanted = _filter(query, station_id)
            total = await repository.count_sessions(connection, tenant_id, wanted)
            rows = await repository.list_sessions(
                connection,
                tenant_id,
                _after(wanted, position),
                limit=query.page_size + 1,
                offset=((page or 1) - 1) * query.page_size,
            )
        items = [_item(row) for row in rows[: query.page_size]]
        more = len(rows) > query.page_size
        return SessionPage(
            items=items,
            total=total,
            page=page,
            page_size=query.page_size,
            next_cursor=_write_cursor(items[-1]) if more else None,
        )


def _filter(query: SessionListQuery, station_id: UUID | None) -> ListFilter:
    """Returns the conditions of a query."""
    if query.category is not None and query.category not in Category.__members__:
        raise InvalidField(("category",), f"must be one of {', '.join(Category)}")
    chosen = {
        "s.status = ?": None if query.status == "all" else query.status,
        "s.station_id = ?": station_id,
        "s.evse_id = ?": _name(query.evse_id),
        "s.connector_id = ?": _name(query.connector_id),
        "s.is_anomaly = ?": query.is_anomaly,
        "s.was_anomalous = ?": query.was_anomalous,
        "? = ANY (s.categories)": query.category,
        "s.anomaly_score >= ?": query.min_score,
        "s.anomaly_confidence >= ?": query.min_confidence,
        "s.begins_at >= ?": _moment("date_from", query.date_from),
        "s.begins_at < ?": _moment("date_to", query.date_to),
    }
    used = {condition: value for condition, value in chosen.items() if value is not None}
    return ListFilter(list(used) or ["true"], list(used.values()))


def _name(text: str | None) -> str | None:
    return None if text is None else repository.normal_id(text)


def _after(wanted: ListFilter, position: _Position | None) -> ListFilter:
    if position is None:
        return wanted
    return ListFilter(
        [*wanted.conditions, "s.begins_at <= ?", "(s.begins_at < ? OR s.session_id > ?)"],
        [
            *wanted.parameters,
            from_microseconds(position.begins_us),
            from_microseconds(position.begins_us),
            position.session_id,
        ],
    )


def _moment(name: str, text: str | None) -> datetime | None:
    """Reads a date (the begin of its UTC day) or a time."""
    if text is None:
        return None
    try:
        if _DATE.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        return from_microseconds(parse_instant(text))
    except (ValueError, OverflowError):
        raise InvalidField((name,), "must be a date (2026-02-27) or a time (2026-02-27T10:00:00Z)") from None


def _item(row: Row) -> SessionItem:
    return SessionItem(
        session_id=str(row["session_id"]),
        external_session_id=row["external_id"],
        charging_station_id=row["station_external_id"],
        evse_id=row["evse_id"],
        connector_id=row["connector_id"],
        is_anomaly=row["is_anomaly"],
        anomaly_score=row["anomaly_score"],
        anomaly_confidence=row["anomaly_confidence"],
        anomaly_count=row["anomaly_count"],
        categories=list(row["categories"]),
        was_anomalous=row["was_anomalous"],
        status=row["status"],
        started_at=row["begins_at"],
        created_at=row["created_at"],
        last_analyzed_at=row["analyzed_at"],
    )


def _write_cursor(item: SessionItem) -> str:
    position = (microseconds(item.started_at), UUID(item.session_id).bytes)
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(position)).decode().rstrip("=")


def _read_cursor(text: str) -> _Position:
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        begins_us, session_id = msgspec.msgpack.decode(raw, type=tuple[int, bytes])
        from_microseconds(begins_us)
        return _Position(begins_us, UUID(bytes=session_id))
    except (ValueError, OverflowError, binascii.Error, msgspec.DecodeError, UnicodeEncodeError):
        raise InvalidField(("cursor",), "is not a cursor of this list; start again without one") from None
