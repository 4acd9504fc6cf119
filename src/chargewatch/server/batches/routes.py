"""The HTTP calls on batches (API reference, ``/v1/sessions/batch``)."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import Router, get, post
from litestar.params import FromPath
from litestar.types import ASGIApp

from chargewatch.server.batches import examples
from chargewatch.server.batches.parts import Part, divide
from chargewatch.server.batches.schemas import MOST_SESSIONS, BatchAccepted, BatchIn, BatchStatus
from chargewatch.server.batches.service import BatchNotFound, Sealing
from chargewatch.server.platform import idempotency
from chargewatch.server.platform.http import Answer, ApiRequest, convert, json_response, read_json
from chargewatch.server.platform.idempotency import Keeping
from chargewatch.server.platform.openapi import Operation
from chargewatch.server.platform.problems import Problem, ProblemTable, invalid_field, not_found
from chargewatch.server.wiring import services

#: As sent and as inflated.
LARGEST_BATCH: Final = 128 * 1024 * 1024
#: Its sessions are kept as they came; beside the body there is what it came as, and the compressed parts.
_MEMORY_FACTOR: Final = 3
#: Bytes; more of them are compressed in a thread.
_LARGE: Final = 64 * 1024
#: Seconds after which it is worth asking again.
_RETRY_AFTER: Final = {"Retry-After": "1"}


def _not_found(_: BatchNotFound) -> Problem:
    return not_found("There is no such batch.", "batch_not_found")


PROBLEMS: Final[ProblemTable] = {BatchNotFound: _not_found}
_RETRY_HEADER: Final = {"Retry-After": "Seconds after which to ask how the batch is getting on."}


def _opt(scope: str, operation: Operation) -> dict[str, Any]:
    return {"scope": scope, "operation": operation, "problems": PROBLEMS}


@post(
    "/",
    status_code=200,
    opt=_opt(
        "write",
        Operation(
            summary="Submit Batch",
            description=(
                "Takes up to 10,000 sessions at once (128 MiB), stores them durably and answers; workers then process "
                "them in the request's order, each as POST /v1/sessions would. A session at fault fails alone. Poll "
                "the address in `Location`."
            ),
            request=BatchIn,
            response=BatchAccepted,
            request_examples=examples.REQUEST,
            response_examples=examples.ACCEPTED,
            request_headers=idempotency.REQUEST_HEADER,
            response_headers={
                "Location": "Where to ask how the batch is getting on.",
                **_RETRY_HEADER,
                **idempotency.RESPONSE_HEADER,
            },
            errors=(409,),
        ),
    ),
)
async def submit_batch(request: ApiRequest) -> ASGIApp:
    """Stores a batch for the workers."""
    body = await read_json(request, BatchIn, limit=LARGEST_BATCH, factor=_MEMORY_FACTOR)
    is_long = sum(map(_size, body.sessions)) > _LARGE
    parts = await convert(request, _parts, body.sessions, is_long=is_long)

    async def work(keeping: Keeping | None) -> Answer:
        tenant_id = request.auth.tenant_id
        return _accepted(await services(request).batches.accept(tenant_id, parts, _sealing(keeping)))

    return await services(request).idempotency.answer(request, work)


def _size(session: msgspec.Raw) -> int:
    return len(memoryview(session))


def _parts(sessions: Sequence[msgspec.Raw]) -> list[Part]:
    """Checks the outer shape and returns the parts of a batch."""
    if not sessions:
        raise invalid_field(("sessions",), "must hold at least one session", "too_short")
    if len(sessions) > MOST_SESSIONS:
        detail = f"A batch holds at most {MOST_SESSIONS} sessions; send them in several calls."
        raise Problem(413, "too_many_sessions", detail)
    for place, session in enumerate(sessions):
        if bytes(memoryview(session)[:1]) != b"{":
            raise invalid_field(("sessions", place), "must be an object", "type_error")
    return divide(sessions)


def _sealing(keeping: Keeping | None) -> Sealing | None:
    """Returns what keeps the answer of a call with an ``Idempotency-Key`` in the batch's own transaction."""
    if keeping is None:
        return None
    return lambda connection, accepted: keeping(connection, _accepted(accepted))


def _accepted(accepted: BatchAccepted) -> Answer:
    where = {"Location": f"/v1/sessions/batch/{accepted.batch_id}"}
    return json_response(accepted, headers={**where, **_RETRY_AFTER})


@get(
    "/{batch_id:str}",
    opt=_opt(
        "read",
        Operation(
            summary="Get Batch Status",
            description=(
                "Tells how a batch is getting on: `pending`, `processing`, then `completed`, or `failed` when no "
                "session could be processed. `results` holds what is finished, in the request's order."
            ),
            response=BatchStatus,
            response_examples=examples.STATUS,
            response_headers=_RETRY_HEADER,
            path={"batch_id": "The id that Submit Batch answered."},
            errors=(404,),
        ),
    ),
)
async def get_batch_status(request: ApiRequest, batch_id: FromPath[str]) -> ASGIApp:
    """Tells how a batch is getting on."""
    status: BatchStatus = await services(request).batches.status(request.auth.tenant_id, batch_id)
    return json_response(status, headers=_RETRY_AFTER if status.completed_at is None else None)


batches_router: Final = Router(path="/v1/sessions/batch", route_handlers=[submit_batch, get_batch_status])
