"""What goes in and out of the calls on sessions. Names and types: the API reference; meaning: docs/api.md."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from chargewatch.domain import ids
from chargewatch.domain.categories import Category
from chargewatch.domain.data_quality import DataQualityNote
from chargewatch.domain.decimals import LONGEST
from chargewatch.domain.ids import LONGEST_ID
from chargewatch.domain.verdict import Anomaly

# Patterns are for readers of the OpenAPI document (ECMA-262); what is checked is in `domain` and `payloads`.
_NO_CONTROLS = r"^[^\x00-\x1f]*$"
_DECIMAL = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?$"
_ID_SIZE = {"minLength": 1, "maxLength": LONGEST_ID}

Name = Annotated[str, Meta(max_length=255, extra_json_schema={"pattern": _NO_CONTROLS})]
ExternalId = Annotated[str, Meta(extra_json_schema={**_ID_SIZE, "pattern": rf"^{ids.GRAMMAR}$"})]
SessionId = Annotated[str, Meta(extra_json_schema={**_ID_SIZE, "pattern": rf"^(?!batch$){ids.GRAMMAR}$"})]
Instant = Annotated[
    str,
    Meta(
        description="A time as in RFC 3339; without an offset it means UTC.",
        extra_json_schema={"format": "date-time"},
    ),
]
DateOrInstant = Annotated[
    str,
    Meta(
        description="A time; a date alone (2026-02-27) is taken as well and means the begin of its UTC day.",
        extra_json_schema={"format": "date-time"},
    ),
]
NumberOrText = Annotated[
    msgspec.Raw,
    Meta(
        description=(
            "A number, or a number as text with a decimal point (as OCPP 1.6 sends it). With `format` SignedData "
            "any text."
        ),
        extra_json_schema={"type": ["number", "string"]},
    ),
]
RawNumber = Annotated[
    msgspec.Raw,
    Meta(
        description="The number, with the digits that were sent; a text where `format` is not Raw.",
        extra_json_schema={"type": ["number", "string"]},
    ),
]
RawObject = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]
Metadata = Annotated[
    msgspec.Raw,
    Meta(
        description="Any JSON object, at most 16 KiB and 8 levels deep. Replaces the stored one; {} clears it.",
        extra_json_schema={"type": ["object", "null"]},
    ),
]


class MeterValueIn(msgspec.Struct, forbid_unknown_fields=True):
    """One reading as sent; names as OCPP has them, in any case of letters."""

    json_schema: ClassVar[dict[str, Any]] = {
        "if": {"properties": {"format": {"enum": ["Raw", "", None]}}},
        "then": {"properties": {"value": {"maxLength": LONGEST, "pattern": _DECIMAL}}},
        "else": {"properties": {"value": {"maxLength": 10_000}}},
    }

    timestamp: Instant
    value: NumberOrText
    measurand: Name | None = None
    unit: Name | None = None
    phase: Name | None = None
    location: Name | None = None
    context: Name | None = None
    format: Name | None = None


class _Attributes(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    metadata: Metadata = msgspec.Raw(b"null")
    started_at: Instant | None = None
    ended_at: Instant | None = None
    stop_reason: Name | None = None
    managed: bool | None = None


class SessionIn(_Attributes, kw_only=True):
    """Body of POST /v1/sessions. ``charging_point_id`` is another name of ``charging_station_id``."""

    json_schema: ClassVar[dict[str, Any]] = {
        "anyOf": [
            {
                "required": [one],
                "properties": {one: {"type": "string"}, other: {"type": "null"}},
            }
            for one, other in (
                ("charging_station_id", "charging_point_id"),
                ("charging_point_id", "charging_station_id"),
            )
        ]
    }

    session_id: SessionId
    charging_station_id: ExternalId | None = None
    charging_point_id: ExternalId | None = None
    connector_id: ExternalId | int | None = None
    evse_id: ExternalId | int | None = None
    meter_values: list[MeterValueIn] | None = None


class ReadingsIn(_Attributes, kw_only=True):
    """Body of PATCH /v1/sessions/{session_id}."""

    meter_values: list[MeterValueIn]


class ReplacementIn(ReadingsIn, kw_only=True):
    """Body of PUT /v1/sessions/{session_id}."""

    json_schema: ClassVar[dict[str, Any]] = {"properties": {"meter_values": {"minItems": 1}}}


class SessionState(msgspec.Struct, kw_only=True):
    """Answer of POST, PUT and PATCH: the session's analysis."""

    session_id: str
    status: Literal["pending", "active", "failed"]
    is_anomaly: bool | None
    anomaly_score: float | None
    anomaly_confidence: float | None
    is_incident: bool | None
    is_recurring: bool | None
    anomalies: Sequence[Anomaly] = ()
    analyzed_at: datetime | None
    version: int
    analyzed_version: int | None
    was_anomalous: bool
    past_anomalies: Sequence[Anomaly] = ()
    data_quality: Sequence[DataQualityNote] = ()
    sequence_length: int | None = None
    energy_kwh: float | None = None
    energy_source: str | None = None
    energy_disputed_kwh: float | None = None
    confidence_basis: str | None = None
    model_id: str | None
    model_version: str | None


class MeterValueOut(msgspec.Struct, omit_defaults=True):
    """One stored reading, with the standards' names and defaults filled in."""

    timestamp: datetime
    value: RawNumber
    measurand: str
    unit: str | None
    phase: str | None
    location: str
    context: str
    format: str
    raw_value: str | None = None


class SessionDetail(SessionState, kw_only=True):
    """Answer of GET /v1/sessions/{session_id}."""

    charging_station_id: str
    evse_id: str | None
    connector_id: str | None
    started_at: datetime | None
    ended_at: datetime | None
    stop_reason: str | None
    managed: bool | None
    metadata: RawObject
    meter_values: list[MeterValueOut]
    created_at: datetime
    updated_at: datetime


class SessionItem(msgspec.Struct, kw_only=True):
    """One row of GET /v1/sessions; ``session_id`` is the internal UUID."""

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
    status: Literal["pending", "active", "failed"]
    started_at: datetime
    created_at: datetime
    last_analyzed_at: datetime | None


class SessionPage(msgspec.Struct, kw_only=True):
    """Answer of GET /v1/sessions. ``next_cursor`` is null on the last page."""

    items: list[SessionItem]
    total: int
    page: int | None
    page_size: int
    next_cursor: str | None


class SessionListQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Query of GET /v1/sessions. Dates are inclusive from, exclusive to; a date means its UTC day's begin."""

    page: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    page_size: Annotated[int, Meta(ge=1, le=100)] = 20
    cursor: Annotated[str, Meta(max_length=200)] | None = None
    charging_station_id: str | None = None
    evse_id: str | None = None
    connector_id: str | None = None
    is_anomaly: bool | None = None
    was_anomalous: bool | None = None
    category: Annotated[str, Meta(extra_json_schema={"enum": [*Category]})] | None = None
    min_score: Annotated[float, Meta(ge=0, le=1)] | None = None
    min_confidence: Annotated[float, Meta(ge=0, le=1)] | None = None
    date_from: DateOrInstant | None = None
    date_to: DateOrInstant | None = None
    status: Literal["active", "pending", "failed", "all"] = "active"


class SessionDetailQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Query of GET /v1/sessions/{session_id}. ``raw=true`` adds each value's text as sent."""

    raw: bool = False


class StoredVerdict(msgspec.Struct, kw_only=True):
    """The part of a verdict that is stored as one document beside the session's own columns."""

    anomalies: Sequence[Anomaly] = ()
    past_anomalies: Sequence[Anomaly] = ()
    data_quality: Sequence[DataQualityNote] = ()
    sequence_length: int | None = None
    energy_kwh: float | None = None
    energy_source: str | None = None
    energy_disputed_kwh: float | None = None
    confidence_basis: str | None = None


JsonObject = dict[str, Any]
