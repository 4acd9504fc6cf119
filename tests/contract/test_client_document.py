"""The Python client against the OpenAPI document: every operation has its method, every struct is its schema."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from chargewatch.client import AsyncClient, Client, MeterValue, SessionState
from chargewatch.client.bodies import BatchBody, ReadingsBody, SessionBody, ThresholdsBody
from chargewatch.client.clients import Method
from chargewatch.server.app import ROUTERS, assemble
from chargewatch.server.platform.health import Draining, ReadinessChecks
from tests.asgi_driver import FakeAuthenticator
from tests.openapi_types import differences, resolved

#: Operations that are for browsers and monitors, not for programs with a key.
NOT_FOR_PROGRAMS = {"get_openapi", "get_docs", "get_metrics"}
#: Method -> the operation that it is another way to use.
OTHER_WAYS = {
    "iterate_sessions": "list_sessions",
    "iterate_stations": "list_stations",
    "get_session_if_changed": "get_session",
    "get_thresholds_if_changed": "get_thresholds",
}
#: Methods for If-None-Match, whose result is None while nothing has changed.
IF_CHANGED = ("get_session_if_changed", "get_thresholds_if_changed")
#: Method -> arguments that make its call.
SAMPLES: Mapping[str, tuple[Any, ...]] = {
    "create_session": ("s", "CP"),
    "replace_session": ("s", []),
    "update_session": ("s",),
    "list_sessions": (),
    "iterate_sessions": (),
    "get_session": ("s",),
    "get_session_if_changed": ("s", 1),
    "delete_session": ("s",),
    "submit_batch": ([],),
    "get_batch_status": ("batch-1",),
    "push_ocpp": ("CP", [[2, "1", "Heartbeat", {}]]),
    "put_ocpi_session": ("NL", "TNM", "s", {}),
    "patch_ocpi_session": ("NL", "TNM", "s", {}),
    "get_ocpi_session": ("NL", "TNM", "s"),
    "list_stations": (),
    "iterate_stations": (),
    "get_station": ("CP",),
    "get_station_connectors": ("CP",),
    "get_statistics": (),
    "get_thresholds": (),
    "get_thresholds_if_changed": (1,),
    "change_thresholds": ({},),
    "get_health": (),
    "get_readiness": (),
}
#: Operation -> the struct of its body.
BODIES = {
    "create_session": SessionBody,
    "replace_session": ReadingsBody,
    "update_session": ReadingsBody,
    "submit_batch": BatchBody,
    "change_thresholds": ThresholdsBody,
}
#: Operations whose bodies are in the words of OCPP and OCPI, which a backend has already.
NATIVE = {
    "push_ocpp": {"messages", "protocol"},
    "put_ocpi_session": {"session"},
    "patch_ocpi_session": {"session"},
}
#: Fields of bodies that the client has no use for, and why.
NOT_SENT = {"charging_point_id": "another name of charging_station_id"}
#: Header -> the argument that sets it.
OPTIONS = {
    "If-Match": "if_match",
    "If-None-Match": "if_none_match",
    "Idempotency-Key": "idempotency_key",
    "X-Correlation-ID": "correlation_id",
}

Json = Mapping[str, Any]
Operations = Mapping[str, tuple[str, str, Json]]


@pytest.fixture(scope="module")
def document() -> Json:
    app = assemble(
        ROUTERS, authenticator=FakeAuthenticator(), readiness=ReadinessChecks({}), draining=Draining()
    )
    built: Json = msgspec.json.decode(app.state.openapi.body)
    return built


@pytest.fixture(scope="module")
def operations(document: Json) -> Operations:
    """Operation id -> method, path, operation."""
    return {
        operation["operationId"]: (method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def methods(kind: type[Any]) -> dict[str, Method[..., Any]]:
    return {name: one for name, one in vars(kind).items() if isinstance(one, Method)}


def operation_of(name: str) -> str:
    return OTHER_WAYS.get(name, name)


def body_of(document: Json, operation: Json) -> Json:
    return resolved(document, operation["requestBody"]["content"]["application/json"]["schema"])


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_every_operation_has_a_method_and_the_other_way_round(
    operations: Operations, kind: type[Any]
) -> None:
    wanted = set(operations) - NOT_FOR_PROGRAMS
    offered = set(methods(kind)) - set(OTHER_WAYS)
    assert not wanted - offered, (
        f"{kind.__name__} has no method for {sorted(wanted - offered)}: write a function of that name in"
        " chargewatch/client/*_calls.py, name it in both classes of clients.py, and add its arguments to SAMPLES here"
    )
    assert not offered - wanted, (
        f"{kind.__name__} has methods without an operation: {sorted(offered - wanted)}"
    )
    assert set(OTHER_WAYS.values()) <= wanted


def test_both_clients_make_the_same_calls() -> None:
    blocking = {name: one.make for name, one in methods(Client).items()}
    assert blocking == {name: one.make for name, one in methods(AsyncClient).items()}
    assert set(blocking) == set(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_method_calls_the_operation_of_its_name(operations: Operations, name: str) -> None:
    method, path, operation = operations[operation_of(name)]
    call = methods(Client)[name].make(*SAMPLES[name])
    pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))
    assert (call.method, call.body is not None) == (method, "requestBody" in operation)
    assert re.fullmatch(pattern, call.path), f"{call.path} for {path}"


@pytest.mark.parametrize("name", [name for name in SAMPLES if name not in IF_CHANGED])
def test_every_parameter_is_an_argument_and_the_other_way_round(
    document: Json, operations: Operations, name: str
) -> None:
    _, _, operation = operations[operation_of(name)]
    wanted = {OPTIONS.get(one["name"], one["name"]) for one in operation.get("parameters", ())}
    wanted -= {"Authorization"}  # the client's own
    if name in NATIVE:
        wanted |= NATIVE[name]
    elif "requestBody" in operation:
        wanted |= set(body_of(document, operation)["properties"]) - set(NOT_SENT)
    if f"{name}_if_changed" in IF_CHANGED:
        wanted.remove("if_none_match")
    assert set(inspect.signature(methods(Client)[name].make).parameters) == wanted


@pytest.mark.parametrize("name", SAMPLES)
def test_an_answer_is_the_struct_that_the_document_describes(
    document: Json, operations: Operations, name: str
) -> None:
    _, _, operation = operations[operation_of(name)]
    (success,) = [one for status, one in operation["responses"].items() if status.startswith("2")]
    (result,) = inspect.signature(methods(Client)[name].make).return_annotation.__args__
    if "content" not in success:
        assert result is type(None)
        return
    schema = success["content"]["application/json"]["schema"]
    if name in IF_CHANGED:
        schema = {"anyOf": [schema, {"type": "null"}]}
    assert list(differences(document, result, schema)) == []


def test_every_body_is_what_the_document_describes(document: Json, operations: Operations) -> None:
    assert set(BODIES) | set(NATIVE) == {
        name for name, (_, _, one) in operations.items() if "requestBody" in one
    }
    for name, struct in BODIES.items():
        schema = body_of(document, operations[name][2])
        fields = {field.name: field for field in msgspec.structs.fields(struct)}
        assert set(fields) == set(schema["properties"]) - set(NOT_SENT), name
        assert set(schema["required"]) <= {one.name for one in fields.values() if one.required}, name
    value = document["components"]["schemas"]["MeterValueIn"]
    required = {one.name for one in msgspec.structs.fields(MeterValue) if one.required}
    assert set(value["required"]) == required
    assert set(value["properties"]) == set(MeterValue.__struct_fields__)


def changed(**fields: Any) -> type[Any]:
    """`SessionState` with some fields of other types; None: without the field."""
    hints = {one.name: one.type for one in msgspec.structs.fields(SessionState)} | fields
    return msgspec.defstruct("Changed", [(n, t) for n, t in hints.items() if t is not None], kw_only=True)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"version": None}, "$.version: only in the document"),
        ({"colour": str}, "$.colour: only in the client"),
        ({"version": int | None}, "$.version: null is unknown to the document, not so to the client"),
        ({"energy_kwh": float}, "$.energy_kwh: null is known to the document, not so to the client"),
        ({"version": str}, "$.version: StrType in the client, ['integer'] in the document"),
        (
            {"analyzed_at": str | None},
            "$.analyzed_at: StrType in the client, ['string:date-time'] in the document",
        ),
        ({"anomalies": list[int]}, "$.anomalies[]: IntType in the client, ['object'] in the document"),
    ],
)
def test_the_comparison_itself_sees_every_difference(document: Json, fields: Json, said: str) -> None:
    schema = document["components"]["schemas"]["SessionState"]
    assert list(differences(document, changed(), schema)) == []
    assert list(differences(document, changed(**fields), schema)) == [said]
