"""Whether a type of the Python client says the same as a schema of the OpenAPI document."""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import inspect

Document = Mapping[str, Any]

#: Type of the client -> what a schema may say of it. Words that may grow are plain text in the client.
_FITTING: Mapping[type[inspect.Type], tuple[str, ...]] = {
    inspect.StrType: ("string",),
    inspect.DateTimeType: ("string:date-time",),
    inspect.IntType: ("integer",),
    inspect.FloatType: ("number", "integer"),
    inspect.DecimalType: ("number",),
    inspect.BoolType: ("boolean",),
    inspect.ListType: ("array",),
    inspect.VarTupleType: ("array",),
    inspect.DictType: ("object",),
    inspect.StructType: ("object",),
}


def differences(document: Document, type_: Any, schema: Document, place: str = "$") -> Iterator[str]:
    """Yields every way in which a type of an answer differs from its schema: names, null, kinds."""
    yield from _compare(document, inspect.type_info(type_), schema, place)


def resolved(document: Document, schema: Document) -> Document:
    """A schema, or the component that it refers to."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def alternatives(document: Document, schema: Document) -> list[Document]:
    """What a value may be: one schema, or several."""
    schema = resolved(document, schema)
    if isinstance(schema.get("type"), list):
        return [{**schema, "type": one} for one in schema["type"]]
    parts = schema.get("anyOf", schema.get("oneOf"))
    return [schema] if parts is None else [one for part in parts for one in alternatives(document, part)]


def _kinds(node: inspect.Type) -> tuple[list[inspect.Type], bool]:
    """The kinds of a type without null, and whether null is one of them."""
    nodes = node.types if isinstance(node, inspect.UnionType) else (node,)
    plain = [one for one in nodes if not isinstance(one, inspect.NoneType)]
    return plain, len(plain) < len(nodes)


def _word(schema: Document) -> str:
    if "enum" in schema or "const" in schema:
        return "string"
    word = schema.get("type", "anything")
    return "string:date-time" if schema.get("format") == "date-time" else str(word)


def _compare(document: Document, node: inspect.Type, schema: Document, place: str) -> Iterator[str]:
    found = alternatives(document, schema)
    values = [one for one in found if one.get("type") != "null"]
    kinds, has_null = _kinds(node)
    if has_null != (len(values) < len(found)):
        yield f"{place}: null is {'un' if has_null else ''}known to the document, not so to the client"
    for kind in kinds:
        if isinstance(kind, inspect.AnyType | inspect.RawType):
            continue
        fitting = [one for one in values if _word(one) in _FITTING[type(kind)]]
        if not fitting:
            yield f"{place}: {type(kind).__name__} in the client, {[_word(one) for one in values]} in the document"
        for one in fitting[:1]:
            yield from _inside(document, kind, one, place)


def _inside(document: Document, node: inspect.Type, schema: Document, place: str) -> Iterator[str]:
    if isinstance(node, inspect.ListType | inspect.VarTupleType):
        yield from _compare(document, node.item_type, schema["items"], f"{place}[]")
    elif isinstance(node, inspect.StructType):
        yield from _fields(document, node, schema, place)


def _fields(document: Document, node: inspect.StructType, schema: Document, place: str) -> Iterator[str]:
    mine = {field.encode_name: field for field in node.fields}
    theirs, required = schema["properties"], set(schema.get("required", ()))
    for name in sorted(set(mine) ^ set(theirs)):
        yield f"{place}.{name}: only in the {'client' if name in mine else 'document'}"
    for name in sorted(set(mine) & set(theirs)):
        if name not in required and mine[name].required:
            yield f"{place}.{name}: may be left out, but has no default in the client"
        field = mine[name].type
        if name not in required:  # left out is None here
            field = _kinds(field)[0][0]
            values = [one for one in alternatives(document, theirs[name]) if one.get("type") != "null"]
            yield from _compare(document, field, {"anyOf": values}, f"{place}.{name}")
        else:
            yield from _compare(document, field, theirs[name], f"{place}.{name}")
