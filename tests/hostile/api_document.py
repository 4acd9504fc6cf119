"""The served OpenAPI document, read: calls, their fields, statuses, and a body that each of them takes."""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

Schema = Mapping[str, Any]
Place = tuple[str | int, ...]

METHODS = ("post", "put", "patch", "get", "delete")
WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
#: Deeper parts of a schema are filled with something simple.
DEEPEST_SAMPLE = 12


class Parameter(NamedTuple):
    name: str
    schema: Schema


class Field(NamedTuple):
    """A place in a body and what is expected there."""

    place: Place
    schema: Schema


class Call:
    """One method of one path."""

    def __init__(self, document: Schema, method: str, path: str) -> None:
        self.document = document
        self.method = method.upper()
        self.path = path
        self.operation: Schema = document["paths"][path][method]

    @property
    def name(self) -> str:
        """As in ``PATCH /v1/sessions/{session_id}``."""
        return f"{self.method} {self.path}"

    @property
    def writes(self) -> bool:
        """Whether it may change something."""
        return self.method in WRITING

    @property
    def is_protected(self) -> bool:
        """Whether it needs a key."""
        return bool(self.operation.get("security", self.document.get("security")))

    @property
    def statuses(self) -> frozenset[int]:
        """Every status that it is documented to have."""
        return frozenset(int(status) for status in self.operation["responses"])

    def scheme(self) -> str:
        """The word before the key in ``Authorization``."""
        named = next(iter(self.operation.get("security") or self.document.get("security") or [{}]), {})
        schemes = self.document["components"].get("securitySchemes", {})
        words = [schemes[name].get("scheme", "bearer") for name in named]
        return str(words[0]).capitalize() if words else "Bearer"

    @property
    def scope(self) -> str | None:
        """The scope that a key needs, as the description says; None for a call without a key."""
        found = re.search(r"scope `(\w+)`", self.operation.get("description", ""))
        return found[1] if found else None

    def parameters(self, place: str) -> list[Parameter]:
        """Its parameters in ``path``, ``query`` or ``header``."""
        shared = self.document["paths"][self.path].get("parameters", [])
        found = [self.resolved(one) for one in [*shared, *self.operation.get("parameters", [])]]
        return [Parameter(one["name"], one.get("schema", {})) for one in found if one["in"] == place]

    def body_schema(self) -> Schema | None:
        """The schema of its JSON body; None for a call without one."""
        body = self.resolved(self.operation.get("requestBody", {}))
        content = body.get("content", {}).get("application/json")
        return None if content is None else content.get("schema", {})

    def bodies(self) -> list[Any]:
        """Bodies that it takes: its examples, else one made from its schema."""
        schema = self.body_schema()
        if schema is None:
            return []
        content = self.resolved(self.operation["requestBody"])["content"]["application/json"]
        examples = [self.resolved(one)["value"] for one in content.get("examples", {}).values()]
        return copy.deepcopy(examples) or [self.sample(schema)]

    def resolved(self, schema: Schema) -> Schema:
        """The schema itself instead of a reference to it."""
        while "$ref" in schema:
            target: Any = self.document
            for step in schema["$ref"].removeprefix("#/").split("/"):
                target = target[step.replace("~1", "/").replace("~0", "~")]
            schema = {**target, **{word: value for word, value in schema.items() if word != "$ref"}}
        return schema

    def alternatives(self, schema: Schema) -> list[Schema]:
        """The schemas of which one must hold, without null."""
        schema = self.resolved(schema)
        found = [inner for word in ("anyOf", "oneOf") for inner in schema.get(word, ())]
        if not found:
            return [schema]
        inner = [each for one in found for each in self.alternatives(one)]
        return [one for one in inner if one.get("type") != "null"] or [{}]

    def fields(self, body: Any) -> list[Field]:
        """Every field of the schema, and every place of a body that the schema leaves open."""
        found = dict(self._schema_fields(self.body_schema() or {}, (), 0))
        found = {place: schema for place, schema in found.items() if _can_be_in(body, place)}
        for place in _places(body, ()):
            found.setdefault(place, {})
        return [Field(place, schema) for place, schema in found.items()]

    def _schema_fields(self, schema: Schema, place: Place, depth: int) -> Iterator[tuple[Place, Schema]]:
        if depth > DEEPEST_SAMPLE:
            return
        for one in self.alternatives(schema):
            for name, inner in one.get("properties", {}).items():
                yield (*place, name), self.resolved(inner)
                yield from self._schema_fields(inner, (*place, name), depth + 1)
            if isinstance(one.get("items"), Mapping):
                yield from self._schema_fields(one["items"], (*place, 0), depth + 1)

    def sample(self, schema: Schema, depth: int = 0) -> Any:
        """Something that a schema takes, with the required fields only."""
        one = self.alternatives(schema)[0]
        kind = one.get("type")
        kind = next(word for word in kind if word != "null") if isinstance(kind, list) else kind
        for word in ("default", "const"):
            if one.get(word) is not None:
                return one[word]
        if "enum" in one:
            return one["enum"][0]
        if kind == "object" and depth < DEEPEST_SAMPLE:
            names = one.get("required", ())
            return {name: self.sample(one["properties"][name], depth + 1) for name in names}
        if kind == "array":
            return [self.sample(one.get("items", {}), depth + 1)] if depth < DEEPEST_SAMPLE else []
        if one.get("format") == "date-time":
            return "2026-02-27T10:00:00Z"
        return {"integer": one.get("minimum", 1), "number": 1.5, "boolean": True}.get(kind or "", "x")

    def schema_at(self, place: Place) -> Schema:
        """The schema of a place in the body; empty where it is left open."""
        schema: Schema = self.body_schema() or {}
        for step in place:
            inner = [
                one["items"]
                if isinstance(step, int) and "items" in one
                else one.get("properties", {}).get(step)
                for one in self.alternatives(schema)
            ]
            schema = next((one for one in inner if one), {})
        return schema


def _can_be_in(body: Any, place: Place) -> bool:
    """Whether a place leads through objects and lists as the body has them, as far as it has any."""
    for step in place:
        if not isinstance(body, list if isinstance(step, int) else Mapping):
            return False
        try:
            body = body[step]
        except (KeyError, IndexError):
            return True
    return True


def _places(value: Any, place: Place) -> Iterator[Place]:
    """Every place below the top, in lists only the first and the last."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield (*place, name)
            yield from _places(inner, (*place, name))
    elif isinstance(value, list) and value:
        for position in sorted({0, len(value) - 1} if place else set(range(len(value)))):
            yield (*place, position)
            yield from _places(value[position], (*place, position))


def calls(document: Schema, prefixes: tuple[str, ...] = ("/",)) -> list[Call]:
    """Every call of a document under these paths, in the document's order."""
    return [
        Call(document, method, path)
        for path, methods in document["paths"].items()
        if path.startswith(prefixes)
        for method in METHODS
        if method in methods
    ]
