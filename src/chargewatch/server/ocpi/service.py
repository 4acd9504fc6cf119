"""OCPI Session objects into sessions, and back as far as they are kept."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from chargewatch.domain.decimals import json_number
from chargewatch.ingest.ocpi import TOTALS, OcpiId, read_session
from chargewatch.ingest.readings import Reading
from chargewatch.ingest.session_push import ocpi_session
from chargewatch.server.clock import microseconds, utc_now
from chargewatch.server.ocpi.schemas import OcpiSession
from chargewatch.server.ocpp.service import store_push
from chargewatch.server.sessions.rows import Stored
from chargewatch.server.sessions.service import SessionNotFound, SessionService


class OcpiStored(NamedTuple):
    """A stored Session object, and the names of the dimensions that were passed over."""

    session: Stored
    passed_over: Sequence[str]


class OcpiService:
    """The calls with OCPI Session objects of any tenant."""

    def __init__(self, sessions: SessionService) -> None:
        self._sessions = sessions

    async def store(self, tenant_id: UUID, ocpi_id: OcpiId, body: bytes, *, partial: bool) -> OcpiStored:
        """Stores a Session object, whole or in part.

        Raises:
            Unreadable: a field that is needed is missing or broken.
            SessionNotFound: a part of a session that is unknown.
            TooManyReadings: the session has no room for its readings.
        """
        read = read_session(body, ocpi_id, microseconds(utc_now()), partial=partial)
        return OcpiStored(await store_push(self._sessions, tenant_id, read.push), read.passed_over)

    async def find(self, tenant_id: UUID, ocpi_id: OcpiId) -> OcpiSession:
        """Returns a Session object.

        Raises:
            SessionNotFound: the session is unknown, or was not made by OCPI.
        """
        stored, readings = await self._sessions.get(tenant_id, ocpi_session(*ocpi_id))
        if stored.row.external_id != ocpi_session(*ocpi_id):
            raise SessionNotFound
        row = stored.row
        kept: dict[str, Any] = msgspec.json.decode(row.metadata).get("ocpi") or {}
        location, evse = (kept.get(name) for name in ("location_id", "evse_uid"))
        return OcpiSession(
            country_code=ocpi_id.country_code.upper(),
            party_id=ocpi_id.party_id.upper(),
            id=ocpi_id.session_id,
            start_date_time=row.started_at,
            end_date_time=row.ended_at,
            kwh=msgspec.Raw(json_number(_newest_total(readings)).encode()),
            location_id=location if isinstance(location, str) else None,
            evse_uid=evse if isinstance(evse, str) else None,
            connector_id=row.connector_id,
            status="ACTIVE" if row.ended_at is None else "COMPLETED",
            last_updated=stored.times.updated_at,
        )


def _newest_total(readings: Sequence[Reading]) -> str:
    """Returns the newest register in kWh as text."""
    totals = [reading for reading in readings if reading.source in TOTALS]
    return max(totals, key=lambda reading: reading.at_us).text if totals else "0"
