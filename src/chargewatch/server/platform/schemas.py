"""JSON Schemas (2020-12) of the types that go in and out, for the OpenAPI document.

Unlike msgspec's own generator, whose words this uses: fields of `msgspec.Raw` may have defaults, and a field
of an answer is required when it is always there, whether or not the struct has a default for it.
"""

import inspect as documentation
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect

Schema = dict[str, Any]

_REFERENCE: Final = "#/components/schemas/"
_PLAIN: Final[Mapping[type[inspect.Type], Schema]] = {
    inspect.AnyType: {},
    inspect.RawType: {},
    inspect.NoneType: {"type": "null"},
    inspect.BoolType: {"type": "boolean"},
    inspect.IntType: {"type": "integer"},
    inspect.FloatType: {"type": "number"},
    inspect.StrType: {"type": "string"},
    inspect.DateTimeType: {"type": "string", "format": "date-time"},
    inspect.DateType: {"type": "string", "format": "date"},
    inspect.UUIDType: {"type": "string", "format": "uuid"},
    inspect.DictType: {"type": "object"},
    inspect.ListType: {"type": "array"},
    inspect.VarTupleType: {"type": "array"},
}
_LIMITS: Final = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "pattern": "pattern",
}
_SIZES: Final = {"string": "Length", "array": "Items", "object": "Properties"}


class Schemas:
    """The schemas of some types; structs and enumerations are components that the others refer to."""

    def __init__(self, incoming: Iterable[Any], outgoing: Iterable[Any]) -> None:
        """Collects the types.

        Args:
            incoming: types of bodies; a field with a default may be left out.
            outgoing: types of answers; a field is always there unless its struct leaves defaults out. A
                struct that goes both ways is described as incoming.
        """
        self.components: dict[str, Schema] = {}
        self._owners: dict[str, type[Any]] = {}
        self._always_full = False
        self._by_type: dict[Any, Schema] = {}
        for type_ in incoming:
            self._by_type[type_] = self._schema(inspect.type_info(type_))
        self._always_full = True
        for type_ in outgoing:
            self._by_type.setdefault(type_, self._schema(inspect.type_info(type_)))
        self.components = dict(sorted(self.components.items()))

    def of(self, type_: Hashable) -> Schema:
        """Returns the schema of one of the types, a reference where it has a name."""
        return self._by_type[type_]

    def _schema(self, node: inspect.Type) -> Schema:
        if isinstance(node, inspect.Metadata):
            return {**self._schema(node.type), **(node.extra_json_schema or {})}
        if isinstance(node, inspect.StructType | inspect.EnumType):
            return self._reference(node)
        if isinstance(node, inspect.UnionType):
            return {"anyOf": [self._schema(member) for member in node.types]}
        if isinstance(node, inspect.LiteralType):
            return {"enum": list(node.values)}
        if type(node) not in _PLAIN:
            raise TypeError(f"there is no schema for {type(node).__name__} yet")
        return {**_PLAIN[type(node)], **self._inside(node), **_limits(node)}

    def _inside(self, node: inspect.Type) -> Schema:
        if isinstance(node, inspect.CollectionType):
            return {"items": self._schema(node.item_type)}
        if isinstance(node, inspect.DictType):
            return {"additionalProperties": self._schema(node.value_type)}
        return {}

    def _reference(self, node: inspect.StructType | inspect.EnumType) -> Schema:
        name = node.cls.__name__
        owner = self._owners.setdefault(name, node.cls)
        if owner is not node.cls:
            raise TypeError(f"{owner.__module__} and {node.cls.__module__} both have a type {name}")
        if name not in self.components:
            self.components[name] = {}  # so that a type may hold itself
            self.components[name] = self._component(node)
        return {"$ref": _REFERENCE + name}

    def _component(self, node: inspect.StructType | inspect.EnumType) -> Schema:
        text = documentation.cleandoc(node.cls.__doc__ or "")
        described: Schema = {"description": text} if text else {}
        if isinstance(node, inspect.EnumType):
            return {**described, "enum": [member.value for member in node.cls]}
        fields = {field.encode_name: self._field(field) for field in node.fields}
        schema = {**described, "type": "object", "properties": fields}
        if required := [field.encode_name for field in node.fields if self._is_required(node, field)]:
            schema["required"] = required
        if node.forbid_unknown_fields:
            schema["additionalProperties"] = False
        return _with_words_of(node.cls, schema)

    def _field(self, field: inspect.Field) -> Schema:
        schema = self._schema(field.type)
        plain = isinstance(field.default, bool | int | float | str)
        return {**schema, "default": field.default} if plain and not self._always_full else schema

    def _is_required(self, node: inspect.StructType, field: inspect.Field) -> bool:
        if field.required or not self._always_full:
            return field.required
        may_be_unset = field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT
        return not (node.cls.__struct_config__.omit_defaults or may_be_unset)


def _with_words_of(struct: type[Any], schema: Schema) -> Schema:
    """Adds what a struct says of itself (``json_schema``): what holds between its fields."""
    more = getattr(struct, "json_schema", {})
    fields = more.get("properties", {})
    properties = {name: {**one, **fields.get(name, {})} for name, one in schema["properties"].items()}
    return {**schema, **more, "properties": properties}


def _limits(node: inspect.Type) -> Schema:
    found = {word: getattr(node, name, None) for name, word in _LIMITS.items()}
    size = _SIZES.get(_PLAIN[type(node)].get("type", ""), "")
    found |= {f"{edge}{size}": getattr(node, f"{edge}_length", None) for edge in ("min", "max")}
    return {word: value for word, value in found.items() if value is not None}


def without_null(schema: Schema) -> Schema:
    """Returns a schema without null, for places where null cannot be written."""
    if "anyOf" in schema:
        choices = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
        rest = {word: value for word, value in schema.items() if word != "anyOf"}
        return {**choices[0], **rest} if len(choices) == 1 else {**rest, "anyOf": choices}
    if None in schema.get("enum", ()):
        return {**schema, "enum": [value for value in schema["enum"] if value is not None]}
    return schema
