"""What the calls in the words of OCPP and OCPI answer."""

from datetime import datetime
from decimal import Decimal

import msgspec

from chargewatch.client.answers import SessionState


class OcppMessageResult(msgspec.Struct, kw_only=True):
    """What became of one message: ``accepted``, ``ignored`` (it is about no session) or ``refused``.

    ``reason`` says why, ``code`` in a stable word, ``pointer`` where in the body; ``sessions`` are those that it was
    about.
    """

    index: int
    message_id: str | None
    action: str | None
    result: str
    reason: str | None
    code: str | None
    pointer: str | None
    sessions: list[str]


class OcppAnswer(msgspec.Struct, kw_only=True):
    """What became of some OCPP frames; ``sessions`` are those that they touched."""

    accepted: int
    ignored: int
    refused: int
    messages: list[OcppMessageResult]
    sessions: list[SessionState]


class OcpiSessionStored(msgspec.Struct, kw_only=True):
    """OCPI's envelope, with the session's analysis as data; ``status_message`` names fields that are not used."""

    data: SessionState
    status_code: int
    status_message: str
    timestamp: datetime


class OcpiSession(msgspec.Struct, kw_only=True):
    """A Session object of OCPI with what is kept of it."""

    country_code: str
    party_id: str
    id: str
    start_date_time: datetime | None
    end_date_time: datetime | None
    kwh: Decimal
    location_id: str | None
    evse_uid: str | None
    connector_id: str | None
    status: str
    last_updated: datetime


class OcpiSessionFound(msgspec.Struct, kw_only=True):
    """OCPI's envelope with the Session object."""

    data: OcpiSession
    status_code: int
    status_message: str
    timestamp: datetime
