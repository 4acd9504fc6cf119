"""The HTTP call with OCPP frames (``POST /v1/ocpp/{charging_station_id}``)."""

import asyncio
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec
from litestar import Router, post
from litestar.params import FromPath
from litestar.types import ASGIApp

from chargewatch.domain.ids import external_id
from chargewatch.ingest.transactions import Outcome
from chargewatch.server.ocpp import examples, payloads
from chargewatch.server.ocpp.payloads import Body, Read
from chargewatch.server.ocpp.schemas import OcppAnswer, OcppBody, OcppMessageResult
from chargewatch.server.ocpp.service import Pushed
from chargewatch.server.platform.http import ApiRequest, json_response, read_json
from chargewatch.server.platform.openapi import Operation
from chargewatch.server.platform.problems import Problem, invalid_field, json_pointer
from chargewatch.server.sessions.service import MOST_READINGS
from chargewatch.server.sessions.states import session_state
from chargewatch.server.stations.service import StationNotFound
from chargewatch.server.wiring import services

#: Bodies with more bytes are read in a thread, so that other calls go on meanwhile.
_LARGE_BODY: Final = 128 * 1024


@post(
    "/{charging_station_id:str}",
    status_code=200,
    opt={
        "scope": "write",
        "operation": Operation(
            summary="Push OCPP Frames",
            description=(
                "Takes frames of OCPP 1.6-J, 2.0.1 and 2.1 as a backend receives or logs them, both directions, in "
                "order of arrival; makes sessions of transactions and judges them. Each message has its own result: a "
                "faulty one does not refuse its neighbours. Sending frames again changes nothing."
            ),
            tag="OCPP and OCPI",
            request=OcppBody,
            response=OcppAnswer,
            request_examples=examples.REQUEST,
            response_examples=examples.ANSWER,
            path={"charging_station_id": "The station's own id, else its internal UUID; percent-encoded."},
        ),
    },
)
async def push_ocpp(request: ApiRequest, charging_station_id: FromPath[str]) -> ASGIApp:
    """Stores what OCPP frames of a station say."""
    raw = await read_json(request, msgspec.Raw)
    if len(bytes(raw)) < _LARGE_BODY:
        body = payloads.read_body(raw)
    else:
        body = await asyncio.to_thread(payloads.read_body, raw)
    station = await _station(request, charging_station_id)
    messages = [read.message for read in body.messages if read.message is not None]
    pushed = await services(request).ocpp.push(request.auth.tenant_id, station, messages)
    return json_response(_answer(body, pushed))


async def _station(request: ApiRequest, text: str) -> str:
    """Returns the station's own id; an internal UUID stands for it, unless a station is called like that."""
    try:
        station = external_id(text)
    except ValueError as fault:
        raise invalid_field(("charging_station_id",), str(fault)) from None
    try:
        UUID(station)
    except ValueError:
        return station
    try:
        detail = await services(request).stations.detail(request.auth.tenant_id, station)
    except StationNotFound:
        return station
    return detail.external_station_id


def _answer(body: Body, pushed: Pushed) -> OcppAnswer:
    if body.alone and pushed.full:
        detail = f"A session holds at most {MOST_READINGS} readings; nothing of this message was stored."
        raise Problem(413, "too_many_readings", detail)
    results = _results(body.messages, pushed)
    count = {
        word: sum(result.result == word for result in results) for word in ("accepted", "ignored", "refused")
    }
    return OcppAnswer(
        **count, messages=results, sessions=[session_state(stored) for stored in pushed.sessions.values()]
    )


def _results(messages: Sequence[Read], pushed: Pushed) -> list[OcppMessageResult]:
    outcomes = iter(pushed.outcomes)
    return [
        _result(i, read, None if read.message is None else next(outcomes), pushed.full)
        for i, read in enumerate(messages)
    ]


def _result(index: int, read: Read, outcome: Outcome | None, full: frozenset[str]) -> OcppMessageResult:
    result = OcppMessageResult(
        index=index,
        message_id=read.frame.message_id if read.frame else None,
        action=read.frame.action if read.frame else None,
        result="accepted",
    )
    if read.fault is not None:
        result.result, result.reason, result.code = "refused", read.fault.message, read.fault.code
        result.pointer = read.fault.pointer
    elif outcome is not None and outcome.ignored is not None:
        result.result, result.reason = "ignored", outcome.ignored
    elif outcome is not None and outcome.push is not None and outcome.push.session in full:
        result.result, result.code = "refused", "too_many_readings"
        result.reason = f"a session holds at most {MOST_READINGS} readings"
        result.pointer = json_pointer(read.place)
    elif outcome is not None:
        result.reason = outcome.note
        result.sessions = [] if outcome.push is None else [outcome.push.session]
    return result


ocpp_router: Final = Router(path="/v1/ocpp", route_handlers=[push_ocpp])
