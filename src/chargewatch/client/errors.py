"""What can go wrong with a call: an exception for each kind, made from the API's problem documents (RFC 9457)."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import msgspec

_SECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


class CallFailed(Exception):
    """A call brought no result; every exception of a call is one of these."""


class ConnectionFailed(CallFailed):
    """No answer came. Where the request had been sent, it may have been carried out all the same."""


class UnexpectedAnswer(CallFailed):
    """An answer came that is none of this API: the address may be another service's, or a proxy's."""


class WrongField(msgspec.Struct, frozen=True):
    """One thing that is wrong in a request, with its place."""

    loc: tuple[str | int, ...]
    pointer: str
    msg: str
    type: str


class ApiError(CallFailed):
    """The API refused a call.

    ``code`` is the stable name of the reason and ``detail`` a sentence about it; ``errors`` says what is wrong
    where (422); ``request_id`` finds the call in the service's log; ``retry_after`` is the wait in seconds that was
    asked for; ``problem`` is the whole document.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[WrongField] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail} (request {request_id or 'without an id'})")
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.request_id = request_id
        self.retry_after = retry_after
        self.problem = dict(problem or {})


class Unauthorized(ApiError):
    """401: no such key, or one that is revoked or expired."""


class Forbidden(ApiError):
    """403: the key lacks the scope that the call needs."""


class NotFound(ApiError):
    """404: there is nothing of this name."""


class Conflict(ApiError):
    """409: the call contradicts another one."""


class PreconditionFailed(ApiError):
    """412: the session is not at the version that ``if_match`` named."""


class TooLarge(ApiError):
    """413: the body, or what it would lead to, is too large."""


class Unprocessable(ApiError):
    """422: the content is not acceptable; ``errors`` says what is wrong where."""


class RateLimited(ApiError):
    """429: too many calls."""


class Unavailable(ApiError):
    """503: the service cannot answer just now."""


_KINDS: Final[Mapping[int, type[ApiError]]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    413: TooLarge,
    422: Unprocessable,
    429: RateLimited,
    503: Unavailable,
}


class _Problem(msgspec.Struct):
    """The members of a problem document that an `ApiError` has a name for."""

    code: str
    detail: str
    request_id: str | None = None
    errors: list[WrongField] = []


class _Envelope(msgspec.Struct):
    """An error of the calls under ``/ocpi`` (OCPI 2.2.1, 4.1.7); 2001 becomes ``ocpi_2001``."""

    status_code: int
    status_message: str = "no reason given"


def error_of(response: httpx.Response, now: float) -> ApiError:
    """Returns the exception for an answer of 400 and above.

    Args:
        response: the answer, read to its end.
        now: seconds since 1970, for a ``Retry-After`` that is a date.
    """
    kind = _KINDS.get(response.status_code, ApiError)
    wait = retry_after_s(response.headers.get("Retry-After"), now)
    request_id = response.headers.get("X-Request-Id")
    try:
        document = msgspec.json.decode(response.content, type=dict[str, Any])
        problem = _problem(document)
    except (msgspec.MsgspecError, UnicodeDecodeError):  # a proxy in between has its own words
        code, detail = f"http_{response.status_code}", response.reason_phrase or "no reason given"
        return kind(response.status_code, code, detail, request_id=request_id, retry_after=wait)
    return kind(
        response.status_code,
        problem.code,
        problem.detail,
        errors=problem.errors,
        request_id=problem.request_id or request_id,
        retry_after=wait,
        problem=document,
    )


def _problem(document: dict[str, Any]) -> _Problem:
    if "status_code" in document and "code" not in document:
        envelope = msgspec.convert(document, _Envelope)
        return _Problem(f"ocpi_{envelope.status_code}", envelope.status_message)
    return msgspec.convert(document, _Problem)


def retry_after_s(text: str | None, now: float) -> float | None:
    """Returns the seconds of a ``Retry-After`` (RFC 9110, 10.2.3), 0 for a time that is past; None for none.

    >>> retry_after_s("Fri, 27 Feb 2026 10:00:30 GMT", now=1772186400.0)
    30.0
    """
    if text is None:
        return None
    if _SECONDS.fullmatch(text.strip()):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, aware.timestamp() - now)
