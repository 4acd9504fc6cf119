"""What every answer to a hostile request is held to."""

from collections.abc import Iterator
from typing import Any

import msgspec

from tests.hostile.api_document import Call
from tests.hostile.attacks import Attack
from tests.hostile.connection import Reply

#: What a request gets that is no HTTP, or that names another address.
ELSEWHERE = frozenset({400, 404, 405})
PROBLEM = "application/problem+json"
#: Headers that hold what a client sent, where it is sane.
_SENT_BACK = frozenset({"x-request-id", "x-correlation-id"})
_MEMBERS = {"type", "title", "status", "detail", "instance", "request_id", "code"}
_ERROR_MEMBERS = {"loc", "pointer", "msg", "type"}
#: Words of our own inside that no answer needs.
_INNARDS = (b"Traceback", b"asyncpg", b"msgspec", b"SELECT ", b"INSERT ", b"site-packages", b".py")


def faults_of(call: Call, attack: Attack, reply: Reply) -> Iterator[str]:
    """Yields what is wrong with an answer."""
    allowed = call.statuses | (ELSEWHERE if attack.elsewhere else frozenset())
    if reply.status >= 500:
        yield f"answered {reply.status}"
    elif reply.status not in allowed:
        yield f"answered {reply.status}, which the document does not name for {call.name}"
    if attack.refused and reply.status < 400:
        yield f"accepted with {reply.status}"
    if not reply.header("x-request-id"):
        yield "no X-Request-Id"
    if reply.status >= 400:
        yield from _faults_of_refusal(call, attack, reply)


def _faults_of_refusal(call: Call, attack: Attack, reply: Reply) -> Iterator[str]:
    if attack.canary and attack.canary in reply.body:
        yield "the refusal repeats what was sent"
    if attack.canary and any(
        attack.canary.decode() in value for name, value in reply.headers if name not in _SENT_BACK
    ):
        yield "a header of the refusal repeats what was sent"
    if any(name == "x-injected" for name, _ in reply.headers):
        yield "a header was injected"
    if any(word in reply.body for word in _INNARDS):
        yield "the refusal shows our innards"
    if PROBLEM in _documented_types(call, reply.status):
        yield from problem_faults(reply)


def _documented_types(call: Call, status: int) -> list[str]:
    """The content types of a status; what is not documented is like the 401, which every call has."""
    responses = call.operation["responses"]
    response = responses.get(str(status), responses.get("401", {}))
    return list(call.resolved(response).get("content", {PROBLEM: {}}))


def problem_faults(reply: Reply) -> Iterator[str]:
    """Yields what is wrong with a problem document (RFC 9457)."""
    if reply.header("content-type") != PROBLEM:
        yield f"a refusal of type {reply.header('content-type')}"
        return
    try:
        problem: Any = msgspec.json.decode(reply.body)
    except msgspec.DecodeError:
        yield "a refusal that is not JSON"
        return
    if missing := _MEMBERS - problem.keys():
        yield f"a problem without {', '.join(sorted(missing))}"
        return
    if problem["status"] != reply.status or problem["request_id"] != reply.header("x-request-id"):
        yield "a problem with another status or id than its answer"
    if reply.status == 422 and not problem.get("errors"):
        yield "a 422 without errors"
    if any(error.keys() != _ERROR_MEMBERS for error in problem.get("errors", ())):
        yield "an error without loc, pointer, msg or type"


def log_faults(log: bytes, canary_stem: bytes) -> Iterator[str]:
    """Yields what is wrong with a server's log after hostile requests: it is JSON and repeats nothing."""
    for number, line in enumerate(log.splitlines(), 1):
        try:
            entry: Any = msgspec.json.decode(line)
        except msgspec.DecodeError:
            yield f"log line {number} is not JSON: {line[:120]!r}"
            continue
        rest = {name: text for name, text in entry.items() if name != "request_id"}
        if canary_stem in msgspec.json.encode(rest):
            yield f"log line {number} repeats what was sent: {line[:120]!r}"
        if entry.get("level") in ("error", "critical"):
            yield f"log line {number} is an error: {line[:200]!r}"
