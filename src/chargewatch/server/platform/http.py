"""What a slice's handlers use: bodies and queries into structs, structs into answers.

    @post("/sessions", status_code=200, opt={"scope": "write", "operation": Operation(…)})
    async def create(request: ApiRequest) -> ASGIApp:
        body = await read_json(request, SessionIn)
        state = await services(request).sessions.upsert(request.auth.tenant_id, …)
        return json_response(state)

Handlers return `Answer`s (annotated as ``ASGIApp``): the framework passes them through as they are.
"""

import functools
import hashlib
import math
import re
from collections.abc import Callable, Hashable, Mapping, Sized
from typing import Any, Final, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.types import Send
from msgspec import inspect

from chargewatch.server.platform import large_json, strict_json
from chargewatch.server.platform.problems import FieldError, Location, Problem, invalid_field
from chargewatch.server.platform.request_body import LARGEST_BODY, read_body
from chargewatch.server.platform.request_context import context_in
from chargewatch.server.platform.schema_places import alternatives
from chargewatch.server.tenants.service import Principal

T = TypeVar("T")
S = TypeVar("S", bound=Sized | None)

#: A call with a key: ``request.auth`` says whose.
ApiRequest = Request[Any, Principal, State]

#: Larger bodies are decoded in a thread and piece by piece, so that other calls go on meanwhile.
_LARGE_BODY: Final = 64 * 1024
#: A body takes this many times its size: twice while it is put together, 6 times decoded (the shortest readings).
_DECODED_FACTOR: Final = 8
#: Longer lists are converted there, too: a thousand readings take about 5 ms.
_LONG_LIST: Final = 1000
_JSON_TYPE: Final = re.compile(
    r'application/(?:[\w.!#$&^-]+\+)?json(?:\s*;\s*charset="?utf-?8"?)?\s*;?', re.IGNORECASE
)
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})", re.ASCII)
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_BOOLEANS: Final = {"true": True, "false": False}
_MOST_PARAMETERS: Final = 100


class Answer:
    """A response, ready to be sent; also an ASGI application, which is how the framework takes it."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.body = body
        self.headers = headers

    async def __call__(self, _scope: object, _receive: object, send: Send) -> None:
        """Sends it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


def json_response(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Returns a value (structs and what they hold) as a JSON answer."""
    return raw_response(msgspec.json.encode(value), "application/json", status=status, headers=headers)


def raw_response(
    body: bytes, content_type: str, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    """Returns bytes of any type as an answer."""
    fields = [(b"content-type", content_type.encode("latin-1")), (b"content-length", b"%d" % len(body))]
    return Answer(status, body, fields + _encoded(headers) if headers else fields)


def empty_response(status: int, headers: Mapping[str, str] | None = None) -> Answer:
    """Returns an answer without a body: 204 or 304."""
    return Answer(status, b"", _encoded(headers or {}))


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


async def read_json(
    request: Request[Any, Any, Any],
    type_: type[T],
    *,
    limit: int = LARGEST_BODY,
    factor: int = _DECODED_FACTOR,
) -> T:
    """Reads the body as this type.

    A missing ``Content-Type`` is taken as JSON: nothing else is spoken here.

    Args:
        request: the call.
        type_: what the body must be; a struct with ``forbid_unknown_fields``.
        limit: the most bytes, as sent and as inflated.
        factor: how many bytes of memory the call takes for each byte of its body.

    Raises:
        Problem: 400, 408, 413, 415, 422 or 503.
    """
    context = context_in(request.scope)
    sent = context.headers.get(b"content-type", b"application/json")
    if sent != b"application/json" and not _JSON_TYPE.fullmatch(sent.decode("latin-1").strip()):
        detail = "The body must be JSON in UTF-8: send Content-Type: application/json."
        raise Problem(415, "unsupported_media_type", detail, headers={"Accept": "application/json"})
    body = await read_body(request, limit, factor=factor)
    if b"idempotency-key" in context.headers:
        context.body_digest = hashlib.sha256(body).digest()
    if len(body) < _LARGE_BODY:
        return strict_json.decode(body, type_)
    return await context.body_share.in_thread(large_json.decode, body, type_)


async def convert(
    request: Request[Any, Any, Any], work: Callable[[S], T], items: S, *, is_long: bool | None = None
) -> T:
    """Converts what a body listed: a long list in the thread of large bodies.

    Args:
        request: the call.
        work: what converts the list.
        items: the list; None where the body had none.
        is_long: whether its conversion would hold other calls up; by the number of its items when None.

    Raises:
        Problem: 503. What the work raises, too.
    """
    if is_long is None:
        is_long = items is not None and len(items) >= _LONG_LIST
    if not is_long:
        return work(items)
    return await context_in(request.scope).body_share.in_thread(work, items)


def read_query(request: Request[Any, Any, Any], type_: type[T]) -> T:
    """Reads the query as a struct; an unknown, repeated or unreadable parameter is refused.

    Raises:
        Problem: 422.
    """
    readers = _readers(cast("Hashable", type_))
    values: dict[str, object] = {}
    for name, text in parameters(request.scope["query_string"]):
        if name not in readers:
            known = ", ".join(sorted(readers))
            raise invalid_field(
                (), f"There is an unknown parameter; this call takes {known}.", "unknown_field"
            )
        if name in values:
            raise invalid_field((name,), "must not be given twice", "duplicate_key")
        values[name] = readers[name]((name,), text)
    try:
        return msgspec.convert(values, type_)
    except msgspec.ValidationError as error:
        raise strict_json.validation_problem(error, type_, what="query") from None


def parameters(query: bytes) -> list[tuple[str, str]]:
    """Returns the names and values of a query, decoded.

    Raises:
        Problem: 422 for what is no UTF-8, has NUL in it, or has too many parts.
    """
    if not query:
        return []
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS
        )
    except ValueError:
        detail = f"The query is no UTF-8 text, or has more than {_MOST_PARAMETERS} parameters."
        raise Problem(
            422, "malformed_query", detail, errors=[FieldError((), detail, "value_error")]
        ) from None
    for _, text in pairs:
        if "\0" in text:
            raise invalid_field((), "A parameter holds NUL.", "invalid_character")
    return pairs


Reader = Callable[[Location, str], object]


@functools.cache
def _readers(type_: Hashable) -> dict[str, Reader]:
    """Returns how to read each parameter of a query struct."""
    info = inspect.type_info(type_)
    assert isinstance(info, inspect.StructType)
    return {field.encode_name: _reader(field.type) for field in info.fields}


def _reader(node: inspect.Type) -> Reader:
    for member in alternatives(node):
        if isinstance(member, inspect.BoolType):
            return _boolean
        if isinstance(member, inspect.IntType):
            return _integer
        if isinstance(member, inspect.FloatType):
            return _float
    return _text


def _text(_place: Location, text: str) -> object:
    return text


def _boolean(place: Location, text: str) -> object:
    if text not in _BOOLEANS:
        raise invalid_field(place, "must be true or false", "type_error")
    return _BOOLEANS[text]


def _integer(place: Location, text: str) -> object:
    if not _INTEGER.fullmatch(text):
        raise invalid_field(place, "must be an integer", "type_error")
    return int(text)


def _float(place: Location, text: str) -> object:
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise invalid_field(place, "must be a number", "type_error")
    return float(text)
