"""Errors as clients see them: RFC 9457 problem documents, all of one shape.

A `Problem` is raised anywhere and answered by the middleware. Whatever else is raised becomes one here:
by the route's own table first (``opt={"problems": {SessionNotFound: to_problem}}``), then as what the
framework or the database means. A problem says what would be right; it never repeats what was sent.
"""

import errno
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import asyncpg
import msgspec
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)

from chargewatch.server.db.errors import DatabaseUnavailable, DiskFull, is_passing

CONTENT_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 1
#: Somebody must make room first.
DISK_RETRY_AFTER_S: Final = 10
_DISK_FULL: Final = (
    "There is no room to store more, so nothing of this call is stored; reading works. Repeat it later."
)

Location = tuple[str | int, ...]
ProblemTable = Mapping[type[Exception], Callable[[Any], "Problem"]]


class FieldErrorDocument(msgspec.Struct, frozen=True):
    """One thing that is wrong in a request, as it is answered."""

    loc: Location
    pointer: str
    """The same place as a JSON pointer (RFC 6901)."""
    msg: str
    type: str


class FieldError(msgspec.Struct, frozen=True):
    """One thing that is wrong in a request, with its place."""

    loc: Location
    """The way to the place: names and positions in a body, or the name of a query parameter."""
    msg: str
    type: str
    """A stable word for what is wrong, such as ``missing``."""

    def document(self) -> FieldErrorDocument:
        """Returns it as it is answered."""
        return FieldErrorDocument(self.loc, json_pointer(self.loc), self.msg, self.type)


class ProblemDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every error answer."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    code: str
    errors: list[FieldErrorDocument] | msgspec.UnsetType = msgspec.UNSET


class Problem(Exception):
    """An error answer. ``code`` is its stable name, ``detail`` a sentence for the person at the other end."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        title: str | None = None,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """Makes a problem.

        Args:
            status: the HTTP status.
            code: the stable, machine-readable name, in snake_case.
            detail: what is wrong here, in words of ours.
            title: the same for every problem of this code; made from the code by default.
            errors: what is wrong where, for 422.
            headers: further response headers.
            extra: further members of the document.
        """
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.title = title or code.replace("_", " ").capitalize()
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    def document(self, request_id: str) -> bytes:
        """Returns the problem document as JSON; any text can be encoded."""
        document = ProblemDocument(
            type=f"urn:chargewatch:problem:{self.code}",
            title=self.title,
            status=self.status,
            detail=self.detail,
            instance=f"urn:chargewatch:request:{request_id}",
            request_id=request_id,
            code=self.code,
            errors=[error.document() for error in self.errors] or msgspec.UNSET,
        )
        members = {**msgspec.to_builtins(document), **self.extra}
        try:
            return msgspec.json.encode(members)
        except UnicodeEncodeError:
            return msgspec.json.encode(_encodable(members))


def invalid_field(loc: Location, message: str, kind: str = "value_error") -> Problem:
    """Returns the 422 for one field: ``message`` goes on where its place ends, as in "must be a number"."""
    where = ".".join(str(step) for step in loc)
    detail = f"{where}: {message}" if where else message
    return Problem(422, "validation_error", detail, errors=[FieldError(loc, message, kind)])


def not_found(detail: str = "There is nothing at this address.", code: str = "not_found") -> Problem:
    """Returns the 404; what belongs to another tenant gets the very same."""
    return Problem(404, code, detail)


def unavailable(
    detail: str = "The service cannot answer just now; repeat the call.",
    code: str = "service_unavailable",
    retry_after_s: int = RETRY_AFTER_S,
) -> Problem:
    """Returns the 503 with its ``Retry-After``."""
    return Problem(503, code, detail, headers={"Retry-After": str(retry_after_s)})


def problem_for(error: Exception, table: ProblemTable | None = None) -> Problem:
    """Returns the problem that answers an exception.

    Args:
        error: what was raised.
        table: exception type -> its problem, for the exceptions of the route that was called.
    """
    if isinstance(error, Problem):
        return error
    for kind in type(error).__mro__:
        if table and kind in table:
            return table[kind](error)
    if isinstance(error, HTTPException):
        return _framework_problem(error)
    if isinstance(error, RecursionError):  # nothing of ours is nested like that: the body was
        detail = "The body is nested too deeply."
        return Problem(422, "too_deep", detail, errors=[FieldError((), detail, "too_deep")])
    if isinstance(error, DiskFull):
        return unavailable(_DISK_FULL, "disk_full", DISK_RETRY_AFTER_S)
    if is_outage(error):
        return unavailable(code="database_unavailable" if _is_database(error) else "service_unavailable")
    return Problem(
        500, "internal_error", "Something went wrong on our side. The request id finds it in the log."
    )


def is_outage(error: BaseException) -> bool:
    """Whether the same call may succeed a little later: the database or the machine is in trouble."""
    if isinstance(error, OSError):
        return error.errno not in _FAULTS_OF_OURS
    return isinstance(error, DatabaseUnavailable) or is_passing(error)


#: What no waiting mends.
_FAULTS_OF_OURS: Final = frozenset({errno.ENOENT, errno.EACCES, errno.EPERM, errno.EBADF, errno.ENOTDIR})


def _is_database(error: BaseException) -> bool:
    return isinstance(error, DatabaseUnavailable | asyncpg.PostgresError | asyncpg.InternalClientError)


def _framework_problem(error: HTTPException) -> Problem:
    if isinstance(error, NotFoundException):
        return not_found()
    if isinstance(error, MethodNotAllowedException):
        allowed = with_head((error.headers or {}).get("allow", ""))
        detail = f"This address takes {allowed}."
        return Problem(405, "method_not_allowed", detail, headers={"Allow": allowed})
    if isinstance(error, ValidationException):
        return Problem(422, "validation_error", "A parameter of this call has the wrong type.")
    try:
        phrase = HTTPStatus(error.status_code).phrase
    except ValueError:
        phrase = "Error"
    if not 400 <= error.status_code < 500:
        return Problem(500, "internal_error", "Something went wrong on our side.")
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    return Problem(error.status_code, code, f"The request was refused: {phrase.lower()}.")


def with_head(allowed: str) -> str:
    """Returns a list of methods in order, with HEAD, which is answered wherever GET is."""
    methods = {method.strip() for method in allowed.split(",") if method.strip()}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def json_pointer(loc: Location) -> str:
    """Returns the JSON pointer (RFC 6901) to a place."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in loc)


def _encodable(value: object) -> object:
    """Returns the same without lone surrogates, which no JSON text can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value
