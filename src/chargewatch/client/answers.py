"""What the API answers, as structs: names and types of the API reference, whose newer fields are passed over.

Words that may grow (categories, statuses, note codes) are plain text here, so that an older client goes on reading
a newer server. ``tests/contract/test_client.py`` holds every struct against the OpenAPI document.
"""

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from chargewatch.client.errors import WrongField

if TYPE_CHECKING:
    ExactValue = Decimal | str
else:  # the digits of a number are only kept in its JSON text; a reading makes a Decimal of it
    ExactValue = msgspec.Raw


class BucketRange(msgspec.Struct, frozen=True):
    """The first and the last 15-minute unit of the analysed window that an anomaly touches, inclusive."""

    start_unit: int
    end_unit: int


class TimeRange(msgspec.Struct, frozen=True):
    """The times (UTC) of the first and the last reading that show an anomaly."""

    start_timestamp: datetime
    end_timestamp: datetime


class Evidence(msgspec.Struct, frozen=True):
    """One figure that supports an anomaly: what was looked at, when, what was seen and expected, in ``unit``."""

    what: str
    unit: str
    observed: float
    expected: float | None = None
    timestamp: datetime | None = None


class Anomaly(msgspec.Struct, frozen=True):
    """One anomaly of a session; categories: ``docs/categories.md``."""

    category: str
    score: float
    confidence: float
    bucket_range: BucketRange
    time_range: TimeRange
    severity: str
    concern: str
    evidence: list[Evidence]


class DataQualityNote(msgspec.Struct, frozen=True):
    """A repair or a doubt about a session's readings, and how often."""

    code: str
    count: int
    detail: str


class SessionState(msgspec.Struct, kw_only=True):
    """The analysis of a session, as every push is answered; the fields of a pending one are None.

    ``version`` is what ``if_match`` takes.
    """

    session_id: str
    status: str
    is_anomaly: bool | None
    anomaly_score: float | None
    anomaly_confidence: float | None
    is_incident: bool | None
    is_recurring: bool | None
    anomalies: list[Anomaly]
    analyzed_at: datetime | None
    version: int
    analyzed_version: int | None
    was_anomalous: bool
    past_anomalies: list[Anomaly]
    data_quality: list[DataQualityNote]
    sequence_length: int | None
    energy_kwh: float | None
    energy_source: str | None
    energy_disputed_kwh: float | None
    confidence_basis: str | None
    model_id: str | None
    model_version: str | None


class StoredMeterValue(msgspec.Struct):
    """One stored reading: time in UTC, the standards' names, ``value`` with the digits that were sent.

    Signed data is text. ``raw_value`` is the text as sent, where ``raw=True`` asked for it.
    """

    timestamp: datetime
    value: ExactValue
    measurand: str
    unit: str | None = None
    phase: str | None = None
    location: str = "Outlet"
    context: str = "Sample.Periodic"
    format: str = "Raw"
    raw_value: str | None = None

    def __post_init__(self) -> None:
        """Makes the value's JSON text a number."""
        value: object = self.value
        if isinstance(value, msgspec.Raw):
            text = bytes(value)
            signed = text.startswith(b'"')
            self.value = msgspec.json.decode(text, type=str) if signed else Decimal(text.decode())


class SessionDetail(SessionState, kw_only=True):
    """A session with its verdict and its readings in order of time."""

    charging_station_id: str
    evse_id: str | None
    connector_id: str | None
    started_at: datetime | None
    ended_at: datetime | None
    stop_reason: str | None
    managed: bool | None
    metadata: dict[str, Any]
    meter_values: list[StoredMeterValue]
    created_at: datetime
    updated_at: datetime


class SessionItem(msgspec.Struct, kw_only=True):
    """One row of the list. ``session_id`` is the internal UUID, ``external_session_id`` your own id."""

    session_id: str
    external_session_id: str
    charging_station_id: str
    evse_id: str | None
    connector_id: str | None
    is_anomaly: bool | None
    anomaly_score: float | None
    anomaly_confidence: float | None
    anomaly_count: int
    categories: list[str]
    was_anomalous: bool
    status: str
    started_at: datetime
    created_at: datetime
    last_analyzed_at: datetime | None


class SessionPage(msgspec.Struct, kw_only=True):
    """One page of the list. ``next_cursor`` is None on the last one."""

    items: list[SessionItem]
    total: int
    page: int | None
    page_size: int
    next_cursor: str | None

    def following(self) -> dict[str, str] | None:
        """Returns the parameters of the next page."""
        return None if self.next_cursor is None else {"cursor": self.next_cursor}


class BatchAccepted(msgspec.Struct, kw_only=True):
    """A batch that was stored and waits for workers."""

    batch_id: str
    total_sessions: int
    status: str


class BatchError(msgspec.Struct, kw_only=True):
    """Why a session of a batch failed."""

    code: str
    detail: str
    errors: list[WrongField]


class BatchResult(msgspec.Struct, kw_only=True):
    """What became of one session of a batch; ``position`` is its place, from 0."""

    session_id: str | None
    position: int
    status: str
    is_anomaly: bool | None
    anomaly_score: float | None
    anomaly_confidence: float | None
    sequence_length: int | None
    anomalies: list[Anomaly]
    version: int | None
    error: BatchError | None


class BatchStatus(msgspec.Struct, kw_only=True):
    """How a batch is getting on: ``pending``, ``processing``, then ``completed`` or ``failed``."""

    batch_id: str
    status: str
    total_sessions: int
    processed_sessions: int
    failed_sessions: int
    results: list[BatchResult]
    created_at: datetime
    completed_at: datetime | None


class StationItem(msgspec.Struct, kw_only=True):
    """One row of the list of stations; ``charging_station_id`` is internal, ``external_station_id`` your own id."""

    charging_station_id: str
    external_station_id: str
    total_sessions: int
    anomalous_sessions: int
    max_anomaly_score: float
    last_anomaly_at: datetime | None


class StationPage(msgspec.Struct, kw_only=True):
    """One page of the stations, ordered by your own ids."""

    items: list[StationItem]
    total: int
    page: int
    page_size: int

    def following(self) -> dict[str, str] | None:
        """Returns the parameters of the next page; stations that are added meanwhile may move rows between pages."""
        return {"page": str(self.page + 1)} if self.page * self.page_size < self.total else None


class ConnectorCounts(msgspec.Struct, kw_only=True):
    """A connector of a station; ``unspecified`` where sessions name none."""

    evse_id: str | None
    connector_id: str
    total_sessions: int
    anomalous_sessions: int


class StationDetail(msgspec.Struct, kw_only=True):
    """A station; ``charging_station_id`` is internal, ``external_station_id`` your own id."""

    charging_station_id: str
    external_station_id: str
    connectors: list[ConnectorCounts]
    total_sessions: int
    anomalous_sessions: int
    metadata: dict[str, Any]


class ConnectorCategories(ConnectorCounts, kw_only=True):
    """A connector with the number of its sessions in which each category was found."""

    anomaly_categories: dict[str, int]


class StationConnectors(msgspec.Struct, kw_only=True):
    """The connectors of a station; the id is your own."""

    charging_station_id: str
    connectors: list[ConnectorCategories]


class Statistics(msgspec.Struct, kw_only=True):
    """The tenant's totals. ``anomaly_rate`` is anomalous / total sessions, to four places."""

    total_sessions: int
    anomalous_sessions: int
    total_stations: int
    stations_with_anomalies: int
    anomaly_rate: float


class Threshold(msgspec.Struct, kw_only=True):
    """A limit: its value in force, the default, and the bounds within which it can be set.

    ``category`` is None where several share the limit; ``relaxed_by`` (``raising``, ``lowering`` or ``neither``) says
    what makes fewer sessions be reported.
    """

    name: str
    value: float
    default: float
    minimum: float
    maximum: float
    unit: str
    category: str | None
    relaxed_by: str
    meaning: str


class Thresholds(msgspec.Struct, kw_only=True):
    """The limits by which sessions are judged; ``version`` is what ``if_match`` takes."""

    version: int
    updated_at: datetime | None
    thresholds: list[Threshold]


class Health(msgspec.Struct):
    """The process answers."""

    status: str


class Readiness(msgspec.Struct):
    """Calls may be sent here; ``checks`` names what was looked at."""

    status: str
    checks: dict[str, str]
