"""The receiver of OCPI 2.2.1 Session objects (mod_sessions 2.2): ``/ocpi/2.2.1/sessions/…``."""

import re
from typing import Any, Final

import msgspec
from litestar import Router, get, patch, put
from litestar.params import FromPath
from litestar.types import ASGIApp

from chargewatch.domain.ids import external_id
from chargewatch.ingest.foreign_json import Unreadable
from chargewatch.ingest.ocpi import OcpiId
from chargewatch.server.clock import utc_now
from chargewatch.server.ocpi import examples
from chargewatch.server.ocpi.schemas import (
    OcpiSessionFound,
    OcpiSessionIn,
    OcpiSessionPatch,
    OcpiSessionStored,
)
from chargewatch.server.platform.http import Answer, ApiRequest, json_response, read_json
from chargewatch.server.platform.ocpi_envelope import OcpiError
from chargewatch.server.platform.openapi import Operation
from chargewatch.server.platform.problems import Problem, ProblemTable, invalid_field, not_found
from chargewatch.server.sessions.service import MOST_READINGS, SessionNotFound, TooManyReadings
from chargewatch.server.sessions.states import session_state
from chargewatch.server.wiring import services

_COUNTRY: Final = re.compile(r"[A-Za-z]{2}")
_PARTY: Final = re.compile(r"[A-Za-z0-9]{3}")


def _not_found(_: SessionNotFound) -> Problem:
    return not_found("There is no such session.", "session_not_found")


def _too_many(_: TooManyReadings) -> Problem:
    detail = f"A session holds at most {MOST_READINGS} readings; nothing of this call was stored."
    return Problem(413, "too_many_readings", detail)


def _unreadable(fault: Unreadable) -> Problem:
    return invalid_field(fault.place, fault.message, fault.code)


PROBLEMS: Final[ProblemTable] = {
    SessionNotFound: _not_found,
    TooManyReadings: _too_many,
    Unreadable: _unreadable,
}
_PATH: Final = {
    "country_code": "The country of the CPO, ISO 3166-1 alpha-2.",
    "party_id": "The CPO's id, ISO 15118.",
    "session_id": "The id of the Session object.",
}
_HEADERS: Final = {"X-Correlation-ID": "Comes back in the answer."}


def _opt(scope: str, operation: Operation) -> dict[str, Any]:
    return {"scope": scope, "operation": operation, "problems": PROBLEMS}


@put(
    "/{country_code:str}/{party_id:str}/{session_id:str}",
    opt=_opt(
        "write",
        Operation(
            summary="Put OCPI Session",
            description=(
                "Stores a Session object and judges the session `COUNTRY*PARTY*id`. Earlier readings stay: each PUT "
                "adds the total at its last_updated and the charging periods. The answer's data are the analysis."
            ),
            tag="OCPP and OCPI",
            request=OcpiSessionIn,
            request_examples=examples.PUT_REQUEST,
            response=OcpiSessionStored,
            error=OcpiError,
            path=_PATH,
            request_headers=_HEADERS,
        ),
    ),
)
async def put_ocpi_session(
    request: ApiRequest, country_code: FromPath[str], party_id: FromPath[str], session_id: FromPath[str]
) -> ASGIApp:
    """Stores a Session object."""
    return await _store(request, _ocpi_id(country_code, party_id, session_id), partial=False)


@patch(
    "/{country_code:str}/{party_id:str}/{session_id:str}",
    opt=_opt(
        "write",
        Operation(
            summary="Patch OCPI Session",
            description="Stores the fields of a Session object that changed, and judges the session anew.",
            tag="OCPP and OCPI",
            request=OcpiSessionPatch,
            request_examples=examples.PATCH_REQUEST,
            response=OcpiSessionStored,
            error=OcpiError,
            path=_PATH,
            request_headers=_HEADERS,
        ),
    ),
)
async def patch_ocpi_session(
    request: ApiRequest, country_code: FromPath[str], party_id: FromPath[str], session_id: FromPath[str]
) -> ASGIApp:
    """Stores a part of a Session object."""
    return await _store(request, _ocpi_id(country_code, party_id, session_id), partial=True)


@get(
    "/{country_code:str}/{party_id:str}/{session_id:str}",
    opt=_opt(
        "read",
        Operation(
            summary="Get OCPI Session",
            description=(
                "Returns a Session object with what is kept of it: neither token, tariff, cost nor charging periods."
            ),
            tag="OCPP and OCPI",
            response=OcpiSessionFound,
            error=OcpiError,
            path=_PATH,
            request_headers=_HEADERS,
        ),
    ),
)
async def get_ocpi_session(
    request: ApiRequest, country_code: FromPath[str], party_id: FromPath[str], session_id: FromPath[str]
) -> ASGIApp:
    """Returns a Session object."""
    ocpi_id = _ocpi_id(country_code, party_id, session_id)
    found = await services(request).ocpi.find(request.auth.tenant_id, ocpi_id)
    return json_response(OcpiSessionFound(data=found, timestamp=utc_now()))


def _ocpi_id(country: str, party: str, session: str) -> OcpiId:
    """Returns the names in a URL."""
    if not _COUNTRY.fullmatch(country):
        raise Unreadable(("country_code",), "must be two letters")
    if not _PARTY.fullmatch(party):
        raise Unreadable(("party_id",), "must be three letters or digits")
    try:
        return OcpiId(country, party, external_id(session))
    except ValueError as fault:
        raise Unreadable(("session_id",), str(fault)) from None


async def _store(request: ApiRequest, ocpi_id: OcpiId, *, partial: bool) -> Answer:
    body = await read_json(request, msgspec.Raw)
    stored = await services(request).ocpi.store(request.auth.tenant_id, ocpi_id, bytes(body), partial=partial)
    passed_over = ", ".join(stored.passed_over)
    return json_response(
        OcpiSessionStored(
            data=session_state(stored.session),
            status_message=f"Success; not used: {passed_over}" if passed_over else "Success",
            timestamp=utc_now(),
        )
    )


ocpi_router: Final = Router(
    path="/ocpi/2.2.1/sessions", route_handlers=[put_ocpi_session, patch_ocpi_session, get_ocpi_session]
)
