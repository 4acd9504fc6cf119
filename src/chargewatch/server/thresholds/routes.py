"""The HTTP calls on a tenant's thresholds (``/v1/thresholds``, an addition to the API reference)."""

from typing import Any, Final

from litestar import Router, get, put
from litestar.types import ASGIApp

from chargewatch.domain.limits import LIMITS, default_of
from chargewatch.server.platform import idempotency
from chargewatch.server.platform.entity_tags import (
    entity_tag,
    versions_of_if_match,
    versions_of_if_none_match,
)
from chargewatch.server.platform.http import Answer, ApiRequest, empty_response, json_response, read_json
from chargewatch.server.platform.idempotency import Keeping
from chargewatch.server.platform.openapi import Operation
from chargewatch.server.platform.problems import Problem, ProblemTable
from chargewatch.server.thresholds import examples
from chargewatch.server.thresholds.schemas import Threshold, Thresholds, ThresholdsIn, values_of
from chargewatch.server.thresholds.service import Sealing, StoredThresholds, ThresholdsMovedOn
from chargewatch.server.wiring import services


def _mismatch(_: ThresholdsMovedOn) -> Problem:
    detail = (
        "The thresholds are not at the version that If-Match names; read them again, then repeat the change."
    )
    return Problem(412, "version_mismatch", detail)


PROBLEMS: Final[ProblemTable] = {ThresholdsMovedOn: _mismatch}
_ETAG_HEADER: Final = {"ETag": "The version of the tenant's thresholds, in quotes."}
_IF_NONE_MATCH: Final = {"If-None-Match": "304 without a body when the thresholds are still at this version."}
_IF_MATCH: Final = {"If-Match": "Only when the thresholds are at this version (an `ETag`); 412 otherwise."}


def _opt(scope: str, operation: Operation) -> dict[str, Any]:
    return {"scope": scope, "operation": operation, "problems": PROBLEMS}


@get(
    "/",
    opt=_opt(
        "read",
        Operation(
            summary="Get Thresholds",
            description=(
                "Returns the limits by which sessions are judged: the values in force, the defaults, the bounds and "
                "what each means."
            ),
            tag="Models",
            response=Thresholds,
            response_examples=examples.ANSWER,
            request_headers=_IF_NONE_MATCH,
            response_headers=_ETAG_HEADER,
        ),
    ),
)
async def get_thresholds(request: ApiRequest) -> ASGIApp:
    """Returns the thresholds."""
    stored = await services(request).thresholds.get(request.auth.tenant_id)
    if stored.version in versions_of_if_none_match(request.headers.getall("if-none-match", [])):
        return empty_response(304, _headers(stored))
    return _answer(stored)


@put(
    "/",
    opt=_opt(
        "models",
        Operation(
            summary="Change Thresholds",
            description=(
                "Gives limits other values; null sets the default again, and limits that are not named stay. "
                "KWH_DECREASE and the categories of safety cannot be relaxed beyond the defaults. Sessions are judged "
                "by the new values within two seconds; a session keeps its verdict until it is judged again."
            ),
            tag="Models",
            request=ThresholdsIn,
            response=Thresholds,
            request_examples=examples.CHANGE,
            request_headers={**_IF_MATCH, **idempotency.REQUEST_HEADER},
            response_examples=examples.ANSWER,
            response_headers={**_ETAG_HEADER, **idempotency.RESPONSE_HEADER},
            errors=(409, 412),
        ),
    ),
)
async def change_thresholds(request: ApiRequest) -> ASGIApp:
    """Changes thresholds."""
    values = values_of(await read_json(request, ThresholdsIn))

    async def work(keeping: Keeping | None) -> Answer:
        return _answer(
            await services(request).thresholds.change(
                request.auth.tenant_id,
                values,
                request.auth.key_id,
                versions_of_if_match(request.headers.getall("if-match", [])),
                _sealing(keeping),
            )
        )

    return await services(request).idempotency.answer(request, work)


def _sealing(keeping: Keeping | None) -> Sealing | None:
    """Returns what keeps the answer of a call with an ``Idempotency-Key`` in the call's own transaction."""
    if keeping is None:
        return None
    return lambda connection, stored: keeping(connection, _answer(stored))


def _answer(stored: StoredThresholds) -> Answer:
    effective = stored.effective
    body = Thresholds(
        version=stored.version,
        updated_at=stored.changed_at,
        thresholds=[
            Threshold(
                name=name,
                value=getattr(effective, name),
                default=default_of(name),
                minimum=limit.least,
                maximum=limit.most,
                unit=limit.unit,
                category=limit.category,
                relaxed_by=limit.relaxed_by,
                meaning=limit.meaning,
            )
            for name, limit in LIMITS.items()
        ],
    )
    return json_response(body, headers=_headers(stored))


def _headers(stored: StoredThresholds) -> dict[str, str]:
    return {"ETag": entity_tag(stored.version)}


thresholds_router: Final = Router(path="/v1/thresholds", route_handlers=[get_thresholds, change_thresholds])
