"""The OpenAPI 3.1 document, made from the routes themselves.

Each handler carries an `Operation` in its ``opt``; types become schemas, and what every call has in common
(the key, the problems, the headers) is added here. A route without an operation does not start, so that the
document, the routes and ``/docs`` cannot differ.
"""

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Litestar, Request, get
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp

import chargewatch
from chargewatch.domain import ids
from chargewatch.domain.ids import LONGEST_ID
from chargewatch.server.platform import problems
from chargewatch.server.platform.ocpi_envelope import http_status
from chargewatch.server.platform.problems import ProblemDocument
from chargewatch.server.platform.schemas import Schemas, without_null

Document = dict[str, Any]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What a call is for and what goes in and out of it."""

    summary: str
    description: str = ""
    tag: str = "Sessions"
    operation_id: str | None = None
    """Stable: clients are generated from it. The handler's name by default."""
    request: Any = None
    """The type of the body."""
    response: Any = None
    """The type of the answer; None: it has no body."""
    media_type: str = "application/json"
    query: Any = None
    """The struct of the query; None: the call takes no parameters."""
    status: int = 200
    path: Mapping[str, str] = {}
    """Path parameter -> what it is."""
    request_headers: Mapping[str, str] = {}
    response_headers: Mapping[str, str] = {}
    request_examples: Mapping[str, object] = {}
    response_examples: Mapping[str, object] = {}
    errors: tuple[int, ...] = ()
    """The statuses beyond those that follow from the kind of call."""
    error: Any = None
    """The type of error answers; None: problem documents."""

    def __deepcopy__(self, memo: object) -> "Operation":
        """Returns itself: the framework copies what handlers carry, and annotated types cannot be copied."""
        return self


class Route(msgspec.Struct, frozen=True):
    """One path and method with its handler."""

    path: str
    method: str
    handler: BaseRouteHandler

    @property
    def operation(self) -> Operation:
        """What the handler says of itself."""
        found: Operation = self.handler.opt["operation"]
        return found

    @property
    def operation_id(self) -> str:
        """The stable name of the call."""
        return self.operation.operation_id or self.handler.handler_name


def routes_of(app: Litestar) -> list[Route]:
    """Returns every route of an application in a stable order, without the automatic ones for OPTIONS.

    Raises:
        RuntimeError: a route without an operation, or two with one name.
    """
    routes = sorted(_routes(app), key=lambda route: (route.path, _METHOD_ORDER.index(route.method)))
    names: dict[str, Route] = {}
    for route in routes:
        if not isinstance(route.handler.opt.get("operation"), Operation):
            raise RuntimeError(f"{route.method} {route.path} does not say what it does: it has no operation")
        other = names.setdefault(route.operation_id, route)
        if other is not route:
            raise RuntimeError(f"{route.path} and {other.path} are both called {route.operation_id}")
    return routes


_METHOD_ORDER: Final = ("POST", "PUT", "PATCH", "GET", "DELETE", "HEAD", "OPTIONS", "TRACE")


def _routes(app: Litestar) -> Iterator[Route]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                for method in handler.http_methods:
                    if method != "OPTIONS":
                        yield Route(route.path_format, str(method), handler)


#: Why a call is refused, for every status that can occur.
REASONS: Final[Mapping[int, str]] = {
    400: "The body is not JSON, or the request is not HTTP.",
    401: "No API key, or one that is unknown, revoked or expired.",
    403: "The key lacks the scope that this call needs (`insufficient_scope`).",
    404: "There is nothing of this name; what belongs to another tenant is not there either.",
    406: "`Accept` excludes JSON.",
    408: "The body did not arrive in time.",
    409: "The call contradicts another one.",
    412: "`If-Match` names another version than the current one.",
    413: "The body, or what it would lead to, is too large.",
    415: "The body is not declared as JSON in UTF-8, or compressed in another way than gzip.",
    422: "The content is not acceptable; `errors` says what is wrong where.",
    429: "Too many calls; wait as long as `Retry-After` says.",
    500: "Something went wrong on our side.",
    503: "The service cannot answer just now; repeat the call after `Retry-After` seconds.",
}
_WITH_KEY: Final = (401, 403, 406, 422, 500, 503)
_WITH_BODY: Final = (400, 408, 413, 415, 422)
_ERROR_HEADERS: Final[Mapping[int, Mapping[str, str]]] = {
    401: {"WWW-Authenticate": "`Bearer`."},
    403: {"WWW-Authenticate": "The scope that is needed."},
    429: {"Retry-After": "Seconds to wait."},
    503: {"Retry-After": "Seconds to wait."},
}
_AN_ID: Final[Document] = {"minLength": 1, "maxLength": LONGEST_ID, "pattern": f"^{ids.GRAMMAR}$"}
#: What stands in a path, where it is no id of the tenant's own.
_PATH_PARAMETERS: Final[Mapping[str, Document]] = {
    "country_code": {"pattern": "^[A-Za-z]{2}$"},
    "party_id": {"pattern": "^[A-Za-z0-9]{3}$"},
}
_EXAMPLES: Final[Mapping[str, str]] = {
    "session_id": "sess-abc-001",
    "charging_station_id": "CP-NL-AMS-0042",
    "country_code": "NL",
    "party_id": "ABC",
}
#: What a request header looks like.
_REQUEST_HEADERS: Final[Mapping[str, Document]] = {
    "Idempotency-Key": {"pattern": r"^[\x21-\x7e]{1,255}$"},
    "If-Match": {"pattern": r'^(\*|"[0-9]{1,18}")$'},
}
_COMMON_HEADERS: Final[Mapping[str, str]] = {
    "X-Request-Id": "The id of this call in the logs: the one that was sent when it has 1 to 128 of"
    " `A-Z a-z 0-9 . _ -`, else a new one.",
    "traceparent": "The trace that this call belongs to (W3C Trace Context).",
}
_DESCRIPTION: Final = """\
chargewatch judges the meter values of charging sessions while they run.

Send `Authorization: Bearer <API key>`; the key names the tenant. Bodies are JSON in UTF-8 (also gzip),
unknown fields are refused, and null counts as absent. Every error is a problem document (RFC 9457) with a
stable `code`. Times are RFC 3339, answers in UTC. Ids in paths are percent-encoded.

Addresses under `/ocpi` speak OCPI 2.2.1: they take `Authorization: Token <API key in base64>` as well, pass over fields
that they do not need, and answer, also with errors, in OCPI's envelope.
"""


def statuses_of(route: "Route", *, protected: bool) -> tuple[int, ...]:
    """Returns the error statuses that a call can have."""
    operation, path = route.operation, route.path
    found = set(operation.errors)
    if protected:
        found.update(_WITH_KEY)
    if operation.request is not None:
        found.update(_WITH_BODY)
    elif protected and route.method != "GET":
        found.add(408)
    if "{" in path:
        found.add(404)
    if operation.error is not None:
        found = {http_status(status) for status in found}
    return tuple(sorted(found))


#: What the API is for comes first; other ways in and how to run it come last.
_LATER_TAGS: Final = {"OCPP and OCPI": 1, "Operation": 2}


def build_document(routes: Iterable[Route]) -> Document:
    """Returns the document of these routes; what the API is for comes first, how to run it last."""
    routes = sorted(routes, key=lambda route: _LATER_TAGS.get(route.operation.tag, 0))
    operations = [route.operation for route in routes]
    incoming = [
        one for operation in operations for one in (operation.request, operation.query) if one is not None
    ]
    outgoing = [
        one for operation in operations for one in (operation.response, operation.error) if one is not None
    ]
    schemas = Schemas(incoming, [*outgoing, ProblemDocument])
    paths: dict[str, dict[str, Any]] = {}
    used: set[int] = set()
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas, used)
    queries = {_name(schemas.of(operation.query)) for operation in operations if operation.query is not None}
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "chargewatch",
            "version": chargewatch.__version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.operation.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": {name: one for name, one in schemas.components.items() if name not in queries},
            "responses": {f"Problem{status}": _problem_response(status, schemas) for status in sorted(used)},
            "headers": {name: _header(text) for name, text in _COMMON_HEADERS.items()},
            "securitySchemes": {
                "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key of the tenant."}
            },
        },
    }


def _operation(route: Route, schemas: Schemas, used: set[int]) -> Document:
    operation = route.operation
    scope = route.handler.opt.get("scope")
    errors = statuses_of(route, protected=scope is not None)
    if operation.error is None:
        used.update(errors)
        refusals = {status: {"$ref": f"#/components/responses/Problem{status}"} for status in errors}
    else:
        refusals = {status: _refusal(status, schemas.of(operation.error)) for status in errors}
    built: Document = {
        "operationId": route.operation_id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "security": [{"apiKey": []}] if scope is not None else [],
        "responses": {
            str(operation.status): _success(operation, schemas, protected=scope is not None),
            **{str(status): refusal for status, refusal in refusals.items()},
        },
    }
    if "If-None-Match" in operation.request_headers:
        built["responses"]["304"] = _not_modified(operation)
    text = operation.description
    if scope is not None:
        text = f"{text}\n\nNeeds a key with the scope `{scope}`.".strip()
    if text:
        built["description"] = text
    if parameters := _parameters(route, schemas):
        built["parameters"] = parameters
    if operation.request is not None:
        content = _content(schemas.of(operation.request), operation.request_examples)
        built["requestBody"] = {"required": True, "content": {"application/json": content}}
    return built


def _success(operation: Operation, schemas: Schemas, *, protected: bool) -> Document:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in _COMMON_HEADERS}
    headers |= {name: _header(text) for name, text in operation.response_headers.items()}
    if protected:
        headers["Cache-Control"] = _header("`no-store`.")
    built: Document = {"description": HTTPStatus(operation.status).phrase, "headers": headers}
    if operation.response is not None:
        content = _content(schemas.of(operation.response), operation.response_examples)
        built["content"] = {operation.media_type: content}
    return built


def _not_modified(operation: Operation) -> Document:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in _COMMON_HEADERS}
    headers |= {name: _header(text) for name, text in operation.response_headers.items()}
    headers["Cache-Control"] = _header("`no-store`.")
    return {"description": HTTPStatus(304).phrase, "headers": headers}


def _problem_response(status: int, schemas: Schemas) -> Document:
    return _refusal(status, schemas.of(ProblemDocument), problems.CONTENT_TYPE)


def _refusal(status: int, schema: Document, content_type: str = "application/json") -> Document:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in _COMMON_HEADERS}
    headers |= {name: _header(text) for name, text in _ERROR_HEADERS.get(status, {}).items()}
    return {
        "description": REASONS[status],
        "headers": headers,
        "content": {content_type: {"schema": schema}},
    }


def _header(text: str) -> Document:
    return {"description": text, "schema": {"type": "string"}}


def _content(schema: Document, examples: Mapping[str, object]) -> Document:
    if not examples:
        return {"schema": schema}
    return {"schema": schema, "examples": {name: {"value": value} for name, value in examples.items()}}


def _parameters(route: Route, schemas: Schemas) -> list[Document]:
    operation = route.operation
    in_path = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": operation.path.get(name, "An id, percent-encoded."),
            "schema": {"type": "string", **_PATH_PARAMETERS.get(name, _AN_ID)},
            **({"example": _EXAMPLES[name]} if name in _EXAMPLES else {}),
        }
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    headers = [
        {
            "name": name,
            "in": "header",
            "description": text,
            "schema": {"type": "string", **_REQUEST_HEADERS.get(name, {})},
        }
        for name, text in operation.request_headers.items()
    ]
    return in_path + list(_query_parameters(operation.query, schemas)) + headers


def _query_parameters(type_: Hashable, schemas: Schemas) -> Iterator[Document]:
    """Yields the parameters that a query struct stands for."""
    if type_ is None:
        return
    struct = schemas.components[_name(schemas.of(type_))]
    for name, field in struct["properties"].items():
        schema = without_null(field)
        parameter = {"name": name, "in": "query", "required": name in struct.get("required", ())}
        if "description" in schema:
            parameter["description"] = schema.pop("description")
        yield {**parameter, "schema": schema}


def _name(reference: Document) -> str:
    name: str = reference["$ref"].rpartition("/")[2]
    return name


def documentation_routes() -> list[HTTPRouteHandler]:
    """Returns the routes of the document and of its page; the application's state holds both."""

    @get("/openapi.json", opt={"operation": _DOCUMENT})
    async def openapi(request: Request[Any, Any, State]) -> ASGIApp:
        answer: ASGIApp = request.app.state.openapi
        return answer

    @get("/docs", opt={"operation": _PAGE})
    async def docs(request: Request[Any, Any, State]) -> ASGIApp:
        answer: ASGIApp = request.app.state.docs
        return answer

    return [openapi, docs]


_DOCUMENT: Final = Operation(
    operation_id="get_openapi",
    tag="Operation",
    summary="This API as an OpenAPI 3.1 document",
    response=dict[str, Any],
)
_PAGE: Final = Operation(
    operation_id="get_docs",
    tag="Operation",
    summary="This API as a page to read",
    response=str,
    media_type="text/html",
)
