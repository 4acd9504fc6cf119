"""Whatever goes wrong becomes one shape of answer, and tells nothing that it should not."""

import errno
from typing import Any

import asyncpg
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.exceptions import (
    ClientException,
    HTTPException,
    InternalServerException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)

from chargewatch.server.db.errors import DatabaseError, DatabaseUnavailable
from chargewatch.server.platform.problems import (
    FieldError,
    Problem,
    invalid_field,
    json_pointer,
    not_found,
    problem_for,
    unavailable,
    with_head,
)

ALLOWED = {400, 401, 403, 404, 405, 406, 408, 409, 412, 413, 415, 422, 429, 500, 503}


class Strange(Exception):
    """An exception of some slice."""


class Stranger(Strange):
    pass


def document(problem: Problem) -> Any:
    return msgspec.json.decode(problem.document("req-1"))


def test_a_document_has_every_member() -> None:
    problem = Problem(
        422, "validation_error", "id: is required", errors=[FieldError(("a", 0, "b"), "x", "missing")]
    )
    assert document(problem) == {
        "type": "urn:chargewatch:problem:validation_error",
        "title": "Validation error",
        "status": 422,
        "detail": "id: is required",
        "instance": "urn:chargewatch:request:req-1",
        "request_id": "req-1",
        "code": "validation_error",
        "errors": [{"loc": ["a", 0, "b"], "pointer": "/a/0/b", "msg": "x", "type": "missing"}],
    }


def test_errors_are_left_out_where_there_are_none() -> None:
    assert "errors" not in document(not_found())


def test_further_members_are_kept() -> None:
    assert document(Problem(503, "not_ready", "x", extra={"checks": {"disk": "full"}}))["checks"] == {
        "disk": "full"
    }


@given(st.text(alphabet=st.characters(codec=None)), st.text(alphabet=st.characters(codec=None)))
def test_any_text_can_be_answered(detail: str, step: str) -> None:
    problem = Problem(
        422, "x", detail, errors=[FieldError((step, 1), detail, "y")], extra={"a": [step, {step: 1}]}
    )
    document(problem)


@pytest.mark.parametrize(
    ("loc", "pointer"), [((), ""), (("a", 0), "/a/0"), (("a/b", "c~d"), "/a~1b/c~0d"), (("",), "/")]
)
def test_pointers_follow_rfc_6901(loc: tuple[str | int, ...], pointer: str) -> None:
    assert json_pointer(loc) == pointer


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (not_found(), 404, "not_found"),
        (NotFoundException(), 404, "not_found"),
        (ValidationException("SECRET"), 422, "validation_error"),
        (ClientException("SECRET"), 400, "bad_request"),
        (HTTPException("SECRET", status_code=413), 413, "request_entity_too_large"),
        (InternalServerException("SECRET"), 500, "internal_error"),
        (HTTPException("SECRET", status_code=599), 500, "internal_error"),
        (DatabaseUnavailable("SECRET"), 503, "database_unavailable"),
        (DatabaseError("SECRET"), 500, "internal_error"),
        (asyncpg.ConnectionDoesNotExistError("SECRET"), 503, "database_unavailable"),
        (asyncpg.CannotConnectNowError("SECRET"), 503, "database_unavailable"),
        (asyncpg.QueryCanceledError("SECRET"), 503, "database_unavailable"),
        (asyncpg.DiskFullError("SECRET"), 503, "database_unavailable"),
        (asyncpg.DeadlockDetectedError("SECRET"), 503, "database_unavailable"),
        (asyncpg.UniqueViolationError("SECRET"), 500, "internal_error"),
        (asyncpg.PostgresSyntaxError("SELECT SECRET"), 500, "internal_error"),
        (ConnectionResetError("SECRET"), 503, "service_unavailable"),
        (TimeoutError("SECRET"), 503, "service_unavailable"),
        (OSError(errno.ENOSPC, "SECRET"), 503, "service_unavailable"),
        (FileNotFoundError(errno.ENOENT, "SECRET"), 500, "internal_error"),
        (RecursionError("SECRET"), 422, "too_deep"),
        (ValueError("SECRET"), 500, "internal_error"),
        (KeyError("SECRET"), 500, "internal_error"),
        (MemoryError("SECRET"), 500, "internal_error"),
        (UnicodeEncodeError("utf-8", "\ud800SECRET", 0, 1, "SECRET"), 500, "internal_error"),
    ],
    ids=lambda case: type(case).__name__ if isinstance(case, Exception) else str(case),
)
def test_every_exception_has_an_answer_without_its_text(error: Exception, status: int, code: str) -> None:
    problem = problem_for(error)
    assert (problem.status, problem.code) == (status, code)
    assert status in ALLOWED
    assert b"SECRET" not in problem.document("r")
    assert ("Retry-After" in problem.headers) == (status == 503)


def test_a_wrong_method_is_told_the_right_ones() -> None:
    problem = problem_for(MethodNotAllowedException(headers={"allow": "POST, GET, OPTIONS"}))
    assert (problem.status, problem.headers) == (405, {"Allow": "GET, HEAD, OPTIONS, POST"})


def test_a_route_names_its_own_problems() -> None:
    table = {Strange: lambda _: Problem(409, "strange", "It is strange.")}
    assert problem_for(Stranger(), table).code == "strange"
    assert problem_for(Strange(), table).code == "strange"
    assert problem_for(ValueError(), table).code == "internal_error"
    assert problem_for(Strange()).code == "internal_error"


def test_head_goes_with_get_only() -> None:
    assert with_head("GET, OPTIONS") == "GET, HEAD, OPTIONS"
    assert with_head("POST") == "POST"
    assert with_head("") == ""


def test_a_field_error_reads_as_a_sentence() -> None:
    problem = invalid_field(("meter_values", 3, "value"), "must be a number")
    assert problem.detail == "meter_values.3.value: must be a number"
    assert invalid_field((), "The cursor is not ours.").detail == "The cursor is not ours."


def test_an_outage_says_when_to_come_back() -> None:
    assert unavailable(retry_after_s=7).headers == {"Retry-After": "7"}
