"""What goes in and out of the receiver of OCPI 2.2.1 Session objects."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from chargewatch.server.sessions.schemas import RawNumber, SessionState

_TIME: Final = {"type": ["string", "null"]}
_TEXT: Final = {"type": ["string", "null"]}
_FIELDS: Final[dict[str, Any]] = {
    "country_code": _TEXT,
    "party_id": _TEXT,
    "id": _TEXT,
    "start_date_time": _TIME,
    "end_date_time": _TIME,
    "kwh": {"type": ["number", "string", "null"]},
    "location_id": _TEXT,
    "evse_uid": _TEXT,
    "connector_id": {"type": ["string", "integer", "null"]},
    "status": _TEXT,
    "last_updated": _TIME,
    "charging_periods": {
        "type": ["array", "null"],
        "items": {
            "type": "object",
            "required": ["start_date_time"],
            "properties": {
                "start_date_time": {"type": "string"},
                "dimensions": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["type", "volume"],
                        "properties": {"type": {"type": "string"}, "volume": {"type": ["number", "string"]}},
                    },
                },
            },
        },
    },
}
OcpiSessionIn = Annotated[
    msgspec.Raw,
    Meta(
        description="A Session object of OCPI 2.2.1; its other fields are passed over.",
        extra_json_schema={"type": "object", "required": ["start_date_time"], "properties": _FIELDS},
    ),
]
OcpiSessionPatch = Annotated[
    msgspec.Raw,
    Meta(
        description="The fields of a Session object that changed, with last_updated.",
        extra_json_schema={"type": "object", "properties": _FIELDS},
    ),
]


class OcpiSessionStored(msgspec.Struct, kw_only=True):
    """Answer of PUT and PATCH: OCPI's envelope, with the session's analysis as data."""

    data: SessionState
    status_code: int = 1000
    status_message: str = "Success"
    timestamp: datetime


class OcpiSession(msgspec.Struct, kw_only=True):
    """A Session object with what is kept of it."""

    country_code: str
    party_id: str
    id: str
    start_date_time: datetime | None
    end_date_time: datetime | None
    kwh: RawNumber
    location_id: str | None
    evse_uid: str | None
    connector_id: str | None
    status: str
    last_updated: datetime


class OcpiSessionFound(msgspec.Struct, kw_only=True):
    """Answer of GET: OCPI's envelope with the Session object."""

    data: OcpiSession
    status_code: int = 1000
    status_message: str = "Success"
    timestamp: datetime
