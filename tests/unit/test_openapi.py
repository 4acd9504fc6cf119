"""The document and its page: complete, valid, stable, and the same as the routes (O7)."""

import re
from datetime import datetime
from enum import StrEnum
from html.parser import HTMLParser
from typing import Annotated, Any, Literal
from uuid import UUID

import jsonschema
import msgspec
import pytest
from litestar import Litestar, Router, get, post
from litestar.params import FromPath
from litestar.types import ASGIApp

from chargewatch.server.app import ROUTERS, assemble
from chargewatch.server.platform.health import Draining, ReadinessChecks
from chargewatch.server.platform.http import json_response
from chargewatch.server.platform.openapi import REASONS, Operation, build_document, routes_of
from chargewatch.server.platform.schemas import Schemas, without_null
from tests.asgi_driver import Driver, FakeAuthenticator

pytestmark = pytest.mark.anyio

CONTRACT_STATUSES = {400, 401, 403, 404, 405, 406, 408, 409, 412, 413, 415, 422, 429, 503}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def app_of(*routers: Any) -> Litestar:
    return assemble(
        routers, authenticator=FakeAuthenticator(), readiness=ReadinessChecks({}), draining=Draining()
    )


@pytest.fixture(scope="module")
def product() -> Litestar:
    return app_of(*ROUTERS)


@pytest.fixture(scope="module")
def document(product: Litestar) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.json.decode(product.state.openapi.body)
    return built


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method.upper(), call)
        for path, methods in document["paths"].items()
        for method, call in methods.items()
    ]


def resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        target: Any = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        node = target
    return node


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        found = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return found + [ref for value in node.values() for ref in references(value)]
    if isinstance(node, list):
        return [ref for value in node for ref in references(value)]
    return []


# --- the product's own document


async def test_every_route_is_documented_and_nothing_else(
    product: Litestar, document: dict[str, Any]
) -> None:
    served = {
        (route.path_format, method)
        for route in product.routes
        for method in getattr(route, "methods", ())
        if method != "OPTIONS"
    }
    assert served == {(path, method) for path, method, _ in operations(document)}


async def test_what_is_served_is_what_was_built(product: Litestar, document: dict[str, Any]) -> None:
    reply = await Driver(product).call("GET", "/openapi.json", key=None)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert (
        reply.json()
        == document
        == msgspec.json.decode(msgspec.json.encode(build_document(routes_of(product))))
    )


def test_the_document_has_the_shape_of_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert document["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    for ref in references(document):
        resolved(document, {"$ref": ref})
    used = set(references(document))
    for kind in ("schemas", "responses", "headers"):
        for name in document["components"][kind]:
            assert f"#/components/{kind}/{name}" in used, f"{name} is not used"
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_operation_ids_are_stable_names(document: dict[str, Any]) -> None:
    names = [call["operationId"] for _, _, call in operations(document)]
    assert len(names) == len(set(names))
    assert all(re.fullmatch("[a-z][a-z_]+", name) for name in names)
    assert {"create_session", "list_sessions", "get_health", "get_openapi"} <= set(names)


def test_protected_calls_need_the_key_and_say_what_can_go_wrong(document: dict[str, Any]) -> None:
    for path, _, call in operations(document):
        statuses = {int(status) for status in call["responses"]}
        errors = {status for status in statuses if status >= 400}
        assert errors <= CONTRACT_STATUSES | {500}
        if not path.startswith(("/v1", "/ocpi")):
            assert call["security"] == []
            continue
        assert call["security"] == [{"apiKey": []}]
        assert {401, 403, 406, 500, 503} <= errors
        assert (422 in errors) == path.startswith("/v1"), "OCPI says 400 where others say 422"
        assert ("requestBody" in call) == ({400, 408, 413, 415} <= errors)
        assert 404 in errors or "{" not in path


def test_every_answer_names_its_headers(document: dict[str, Any]) -> None:
    for path, _, call in operations(document):
        for status, response in call["responses"].items():
            response = resolved(document, response)
            assert {"X-Request-Id", "traceparent"} <= response["headers"].keys()
            if status in {"429", "503"}:
                assert "Retry-After" in response["headers"]
            if status == "401":
                assert "WWW-Authenticate" in response["headers"]
            if int(status) >= 400:
                kind = "json" if path.startswith("/ocpi") else "problem+json"
                assert list(response["content"]) == [f"application/{kind}"]
            elif path.startswith(("/v1", "/ocpi")):
                assert "Cache-Control" in response["headers"]


def test_every_example_is_valid(document: dict[str, Any]) -> None:
    checked = 0
    for _, _, call in operations(document):
        contents = list(call.get("requestBody", {}).get("content", {}).values())
        for response in call["responses"].values():
            contents += resolved(document, response).get("content", {}).values()
        for content in contents:
            for example in content.get("examples", {}).values():
                jsonschema.validate(
                    example["value"], {**content["schema"], "components": document["components"]}
                )
                checked += 1
    assert checked >= 5


def test_parameters_are_described(document: dict[str, Any]) -> None:
    for path, _, call in operations(document):
        parameters = call.get("parameters", [])
        assert [one["name"] for one in parameters if one["in"] == "path"] == re.findall(r"{(\w+)}", path)
        for one in parameters:
            jsonschema.Draft202012Validator.check_schema(one["schema"])
            assert {"type": "null"} not in one["schema"].get("anyOf", [])


# --- what operations and types become


class Kind(StrEnum):
    """A kind."""

    ONE = "one"
    TWO = "two"


class Inner(msgspec.Struct):
    at: datetime
    uid: UUID | None = None


class Both(msgspec.Struct, forbid_unknown_fields=True):
    """Goes in and out."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=9, pattern="^a")]
    raw: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "number"})] = msgspec.Raw(b"0")
    share: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.5


class Out(msgspec.Struct):
    kind: Kind
    inner: list[Inner] = []
    size: int = 3
    maybe: int | msgspec.UnsetType = msgspec.UNSET
    table: dict[str, Both] = {}


class Sparse(msgspec.Struct, omit_defaults=True):
    a: int
    b: int = 0


class Query(msgspec.Struct, forbid_unknown_fields=True):
    wanted: Annotated[int, msgspec.Meta(ge=1, description="How many.")]
    flag: bool | None = None
    word: Literal["x", "y"] | None = None


def test_types_become_schemas() -> None:
    schemas = Schemas([Both, Query], [Both, Out, Sparse])
    assert schemas.of(Both) == {"$ref": "#/components/schemas/Both"}
    assert schemas.components["Both"] == {
        "description": "Goes in and out.",
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 9, "pattern": "^a"},
            "raw": {"type": "number"},
            "share": {"type": "number", "minimum": 0, "exclusiveMaximum": 1, "default": 0.5},
        },
        "required": ["name"],
        "additionalProperties": False,
    }
    assert schemas.components["Out"]["required"] == ["kind", "inner", "size", "table"]
    assert schemas.components["Out"]["properties"]["inner"]["items"] == {"$ref": "#/components/schemas/Inner"}
    assert schemas.components["Inner"]["required"] == ["at", "uid"]
    assert schemas.components["Sparse"]["required"] == ["a"]
    assert schemas.components["Kind"] == {"description": "A kind.", "enum": ["one", "two"]}


def test_a_type_without_a_schema_is_an_error() -> None:
    with pytest.raises(TypeError, match="no schema for"):
        Schemas([], [complex])


def test_two_types_of_one_name_are_an_error() -> None:
    with pytest.raises(TypeError, match="both have a type Kind"):
        Schemas([Out], [msgspec.defstruct("Kind", [("a", int)])])


def test_null_is_left_out_where_it_cannot_be_written() -> None:
    assert without_null({"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "d"}) == {
        "type": "integer",
        "description": "d",
    }
    assert without_null({"enum": ["a", None]}) == {"enum": ["a"]}


def _call(path: str, **operation: Any) -> Any:
    async def handler() -> ASGIApp:
        return json_response({})

    name = path.strip("/").replace("/", "_")
    handler.__name__ = name
    return get(path, name=name, opt={"operation": Operation(operation_id=name, **operation)})(handler)


def test_an_operation_becomes_a_call() -> None:
    @post(
        "/make/{name:str}",
        opt={
            "scope": "write",
            "operation": Operation(
                summary="Make",
                description="Makes it.",
                tag="Things",
                request=Both,
                response=Out,
                query=Query,
                status=201,
                path={"name": "Its name."},
                request_headers={"If-Match": "The version."},
                response_headers={"ETag": "The new version."},
                request_examples={"one": {"name": "a"}},
                errors=(409,),
            ),
        },
    )
    async def make_it(name: FromPath[str]) -> ASGIApp:
        return json_response({})

    document = msgspec.json.decode(app_of(Router("/v1", route_handlers=[make_it])).state.openapi.body)
    call = document["paths"]["/v1/make/{name}"]["post"]
    assert (call["operationId"], call["tags"]) == ("make_it", ["Things"])
    assert call["description"] == "Makes it.\n\nNeeds a key with the scope `write`."
    assert [(one["name"], one["in"], one.get("required")) for one in call["parameters"]] == [
        ("name", "path", True),
        ("wanted", "query", True),
        ("flag", "query", False),
        ("word", "query", False),
        ("If-Match", "header", None),
    ]
    assert call["parameters"][1] == {
        "name": "wanted",
        "in": "query",
        "required": True,
        "description": "How many.",
        "schema": {"type": "integer", "minimum": 1},
    }
    assert call["requestBody"]["content"]["application/json"]["examples"]["one"] == {"value": {"name": "a"}}
    assert call["responses"]["201"]["headers"]["ETag"]["description"] == "The new version."
    assert "409" in call["responses"]
    assert "Query" not in document["components"]["schemas"]
    assert document["components"]["responses"]["Problem409"]["description"] == REASONS[409]


def test_a_route_that_does_not_say_what_it_does_is_an_error() -> None:
    @get("/silent")
    async def silent() -> ASGIApp:
        return json_response({})

    with pytest.raises(RuntimeError, match="GET /silent does not say what it does"):
        app_of(silent)


def test_two_calls_of_one_name_are_an_error() -> None:
    with pytest.raises(RuntimeError, match="are both called get_health"):
        app_of(_named("get_health"))


def _named(name: str) -> Any:
    @get("/other", opt={"operation": Operation(summary="x", operation_id=name)})
    async def other() -> ASGIApp:
        return json_response({})

    return other


# --- the page


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_the_page_is_offline_without_scripts_and_complete(
    product: Litestar, document: dict[str, Any]
) -> None:
    reply = await Driver(product).call("GET", "/docs", key=None, headers={"accept": "text/html"})
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    page = _Page()
    page.feed(reply.body.decode())
    assert not {"script", "img", "iframe", "link", "form"} & set(page.tags)
    assert not {name for name in page.attributes if name.startswith("on") or name == "style"}
    assert "prefers-color-scheme: dark" in reply.body.decode()
    assert {link for link in page.links if not link.startswith("#")} == {"openapi.json"}
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    for path, _, call in operations(document):
        assert path in page.text
        assert call["operationId"] in page.ids


async def test_the_page_shows_texts_as_texts() -> None:
    evil = "<script>alert('x')</script>&\"`<b>`"
    app = app_of(
        _call(
            "/evil",
            summary=evil,
            description=evil,
            tag=evil,
            response=dict[str, int],
            response_examples={evil: evil},
        )
    )
    body = (await Driver(app).call("GET", "/docs", key=None)).body.decode()
    assert "<script" not in body
    assert "<b>" not in body
    assert "&lt;script&gt;" in body


def test_the_style_is_the_one_that_the_policy_allows(product: Litestar) -> None:
    import base64
    import hashlib

    answer = product.state.docs
    style = re.search(rb"<style>(.*?)</style>", answer.body, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1]).digest())
    policy = dict(answer.headers)[b"content-security-policy"]
    assert b"sha256-" + digest in policy
