"""The HTTP calls on sessions (API reference, ``/v1/sessions``)."""

from collections.abc import Container, Sequence
from typing import Any, Final

import msgspec
from litestar import Router, delete, get, patch, post, put
from litestar.params import FromPath
from litestar.types import ASGIApp

from chargewatch.domain.decimals import json_number
from chargewatch.domain.vocabulary import DEFAULT_FORMAT
from chargewatch.ingest.readings import Reading
from chargewatch.server.clock import from_microseconds
from chargewatch.server.platform import idempotency
from chargewatch.server.platform.entity_tags import (
    entity_tag,
    versions_of_if_match,
    versions_of_if_none_match,
)
from chargewatch.server.platform.http import (
    Answer,
    ApiRequest,
    convert,
    empty_response,
    json_response,
    read_json,
    read_query,
)
from chargewatch.server.platform.idempotency import Keeping
from chargewatch.server.platform.openapi import Operation
from chargewatch.server.platform.problems import Problem, ProblemTable, invalid_field, not_found
from chargewatch.server.sessions import examples, payloads
from chargewatch.server.sessions.payloads import InvalidField
from chargewatch.server.sessions.rows import Stored
from chargewatch.server.sessions.schemas import (
    MeterValueOut,
    ReadingsIn,
    ReplacementIn,
    SessionDetail,
    SessionDetailQuery,
    SessionIn,
    SessionListQuery,
    SessionPage,
    SessionState,
)
from chargewatch.server.sessions.service import (
    MOST_READINGS,
    Sealing,
    SessionNotFound,
    TooManyReadings,
    VersionMismatch,
)
from chargewatch.server.sessions.states import session_state
from chargewatch.server.wiring import services


def _not_found(_: SessionNotFound) -> Problem:
    return not_found("There is no such session.", "session_not_found")


def _too_many(_: TooManyReadings) -> Problem:
    detail = f"A session holds at most {MOST_READINGS} readings; nothing of this call was stored."
    return Problem(413, "too_many_readings", detail)


def _mismatch(_: VersionMismatch) -> Problem:
    detail = "The session is not at the version that If-Match names; read it again, then repeat the change."
    return Problem(412, "version_mismatch", detail)


def _invalid(error: InvalidField) -> Problem:
    return invalid_field(error.place, error.message, error.kind)


PROBLEMS: Final[ProblemTable] = {
    SessionNotFound: _not_found,
    TooManyReadings: _too_many,
    VersionMismatch: _mismatch,
    InvalidField: _invalid,
}


_ETAG_HEADER: Final = {"ETag": "The session's version, in quotes."}
_IF_MATCH: Final = {"If-Match": "Only when the session is at this version (an `ETag`); 412 otherwise."}
_CHANGE_HEADERS: Final = {**_IF_MATCH, **idempotency.REQUEST_HEADER}
_CHANGED_HEADERS: Final = {**_ETAG_HEADER, **idempotency.RESPONSE_HEADER}
_IF_NONE_MATCH: Final = {"If-None-Match": "304 without a body when the session is still at this version."}
_SESSION_ID: Final = {"session_id": "The session's own id, else its internal UUID; percent-encoded."}


def _opt(scope: str, operation: Operation) -> dict[str, Any]:
    return {"scope": scope, "operation": operation, "problems": PROBLEMS}


@post(
    "/",
    status_code=200,
    opt=_opt(
        "write",
        Operation(
            summary="Create Session",
            description=(
                "Creates a session, or changes the one with this id. Meter values replace the stored ones; without "
                "them the stored ones stay. With three or more stored readings CSAR-2 runs before the answer, over "
                "the last 6 hours of the session."
            ),
            request=SessionIn,
            response=SessionState,
            request_examples=examples.CREATE_REQUEST,
            request_headers=_CHANGE_HEADERS,
            response_headers=_CHANGED_HEADERS,
            response_examples=examples.STATE_ANOMALOUS,
            errors=(409, 412),
        ),
    ),
)
async def create_session(request: ApiRequest) -> ASGIApp:
    """Creates or changes a session."""
    body = await read_json(request, SessionIn)
    external_id, where = payloads.session_id(body), payloads.location(body)
    attributes = payloads.attributes(body)
    readings = await convert(request, payloads.readings, body.meter_values)

    async def work(keeping: Keeping | None) -> Answer:
        return _state_answer(
            await services(request).sessions.upsert(
                request.auth.tenant_id,
                external_id,
                where,
                attributes,
                readings,
                _expected_versions(request),
                _sealing(keeping),
            )
        )

    return await services(request).idempotency.answer(request, work)


@put(
    "/{session_id:str}",
    opt=_opt(
        "write",
        Operation(
            summary="Replace Session",
            description="Replaces all meter values of a session (at least one) and judges it anew.",
            request=ReplacementIn,
            response=SessionState,
            request_examples=examples.REPLACE_REQUEST,
            request_headers=_CHANGE_HEADERS,
            response_headers=_CHANGED_HEADERS,
            path=_SESSION_ID,
            response_examples=examples.STATE_NORMAL,
            errors=(404, 409, 412),
        ),
    ),
)
async def replace_session(request: ApiRequest, session_id: FromPath[str]) -> ASGIApp:
    """Replaces a session's readings."""
    body = await read_json(request, ReplacementIn)
    if not body.meter_values:
        raise InvalidField(("meter_values",), "must hold at least one reading", "too_short")
    return await _change(request, session_id, body, replace=True)


@patch(
    "/{session_id:str}",
    opt=_opt(
        "write",
        Operation(
            summary="Update Session",
            description=(
                "Adds meter values to a session and judges it anew. Readings may come in any order; a repeat changes "
                "nothing. An empty list returns the current state."
            ),
            request=ReadingsIn,
            response=SessionState,
            request_examples=examples.UPDATE_REQUEST,
            request_headers=_CHANGE_HEADERS,
            response_headers=_CHANGED_HEADERS,
            path=_SESSION_ID,
            response_examples=examples.STATE_ANOMALOUS,
            errors=(404, 409, 412),
        ),
    ),
)
async def update_session(request: ApiRequest, session_id: FromPath[str]) -> ASGIApp:
    """Adds readings to a session."""
    return await _change(request, session_id, await read_json(request, ReadingsIn), replace=False)


async def _change(request: ApiRequest, session_id: str, body: ReadingsIn, *, replace: bool) -> Answer:
    attributes = payloads.attributes(body)
    readings = await convert(request, payloads.readings, body.meter_values)

    async def work(keeping: Keeping | None) -> Answer:
        return _state_answer(
            await services(request).sessions.change(
                request.auth.tenant_id,
                session_id,
                attributes,
                readings,
                replace=replace,
                expected_versions=_expected_versions(request),
                sealing=_sealing(keeping),
            )
        )

    return await services(request).idempotency.answer(request, work)


def _sealing(keeping: Keeping | None) -> Sealing | None:
    """Returns what keeps the answer of a call with an ``Idempotency-Key`` in the call's own transaction."""
    if keeping is None:
        return None
    return lambda connection, stored: keeping(connection, _state_answer(stored))


@get(
    "/",
    opt=_opt(
        "read",
        Operation(
            summary="List Sessions",
            description=(
                "Lists sessions, newest begin first, then by id; analysed ones unless status says otherwise. "
                "session_id is the internal id. Use page, or next_cursor as cursor, which is stable while sessions "
                "are added."
            ),
            query=SessionListQuery,
            response=SessionPage,
            response_examples=examples.PAGE,
        ),
    ),
)
async def list_sessions(request: ApiRequest) -> ASGIApp:
    """Lists sessions."""
    query = read_query(request, SessionListQuery)
    return json_response(await services(request).session_list.page(request.auth.tenant_id, query))


@get(
    "/{session_id:str}",
    opt=_opt(
        "read",
        Operation(
            summary="Get Session Detail",
            description="Returns a session with its verdict and its readings in order of time.",
            query=SessionDetailQuery,
            response=SessionDetail,
            response_examples=examples.DETAIL,
            request_headers=_IF_NONE_MATCH,
            response_headers=_ETAG_HEADER,
            path=_SESSION_ID,
            errors=(404,),
        ),
    ),
)
async def get_session(request: ApiRequest, session_id: FromPath[str]) -> ASGIApp:
    """Returns a session."""
    query = read_query(request, SessionDetailQuery)
    stored, readings = await services(request).sessions.get(request.auth.tenant_id, session_id)
    headers = _headers(stored)
    if stored.row.version in versions_of_if_none_match(request.headers.getall("if-none-match", [])):
        return empty_response(304, headers)
    return json_response(_detail(stored, readings, raw=query.raw), headers=headers)


@delete(
    "/{session_id:str}",
    status_code=200,  # what is sent is 204; the framework would refuse a handler that makes its own answer
    opt=_opt(
        "write",
        Operation(
            summary="Erase Session",
            description="Erases a session with all its readings and verdicts. There is no way back.",
            errors=(404, 412),
            status=204,
            request_headers=_IF_MATCH,
            path=_SESSION_ID,
        ),
    ),
)
async def delete_session(request: ApiRequest, session_id: FromPath[str]) -> ASGIApp:
    """Erases a session."""
    await services(request).sessions.delete(request.auth.tenant_id, session_id, _expected_versions(request))
    return empty_response(204)


def _expected_versions(request: ApiRequest) -> Container[int] | None:
    return versions_of_if_match(request.headers.getall("if-match", []))


def _headers(stored: Stored) -> dict[str, str]:
    return {"ETag": entity_tag(stored.row.version)}


def _state_answer(stored: Stored) -> Answer:
    return json_response(session_state(stored), headers=_headers(stored))


def _detail(stored: Stored, readings: Sequence[Reading], *, raw: bool) -> SessionDetail:
    row, state = stored.row, session_state(stored)
    return SessionDetail(
        **{name: getattr(state, name) for name in SessionState.__struct_fields__},
        charging_station_id=stored.station,
        evse_id=row.evse_id,
        connector_id=row.connector_id,
        started_at=row.started_at,
        ended_at=row.ended_at,
        stop_reason=row.stop_reason,
        managed=row.managed,
        metadata=msgspec.Raw(row.metadata.encode()),
        meter_values=[_meter_value(reading, raw=raw) for reading in readings],
        created_at=stored.times.created_at,
        updated_at=stored.times.updated_at,
    )


def _meter_value(reading: Reading, *, raw: bool) -> MeterValueOut:
    source = reading.source
    return MeterValueOut(
        timestamp=from_microseconds(reading.at_us),
        value=msgspec.Raw(_number(reading)),
        measurand=source.measurand,
        unit=source.known_unit,
        phase=source.phase or None,
        location=source.location,
        context=source.context,
        format=source.format,
        raw_value=reading.text if raw else None,
    )


def _number(reading: Reading) -> bytes:
    """Returns the value as JSON: a number with its digits, signed data as text."""
    if reading.source.format != DEFAULT_FORMAT:
        return msgspec.json.encode(reading.text)
    return json_number(reading.text).encode()


sessions_router: Final = Router(
    path="/v1/sessions",
    route_handlers=[
        create_session,
        replace_session,
        update_session,
        list_sessions,
        get_session,
        delete_session,
    ],
)
