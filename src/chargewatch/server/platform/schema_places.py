"""What a type expects at a place in it: for error texts that name what would be right.

Places are as in problems: names of fields, positions in lists, ``*`` for a value of a mapping.
"""

from collections.abc import Iterator

from msgspec import inspect

from chargewatch.server.platform.problems import Location


def field_names_at(type_: object, loc: Location) -> tuple[str, ...]:
    """Returns the names of the fields that an object at this place may have."""
    return tuple(
        field.encode_name
        for node in _nodes_at(type_, loc)
        if isinstance(node, inspect.StructType)
        for field in node.fields
    )


def choices_at(type_: object, loc: Location) -> tuple[str, ...]:
    """Returns the values that an enumeration or literal at this place has."""
    found: list[str] = []
    for node in _nodes_at(type_, loc):
        if isinstance(node, inspect.LiteralType):
            found += [str(value) for value in node.values]
        elif isinstance(node, inspect.EnumType):
            found += [str(member.value) for member in node.cls]
    return tuple(found)


def _nodes_at(type_: object, loc: Location) -> list[inspect.Type]:
    nodes = list(alternatives(inspect.type_info(type_)))
    for step in loc:
        nodes = [
            alternative
            for node in nodes
            for inner in _inside(node, step)
            for alternative in alternatives(inner)
        ]
    return nodes


def alternatives(node: inspect.Type) -> Iterator[inspect.Type]:
    """Yields the type itself, or each member of a union."""
    if isinstance(node, inspect.Metadata):
        yield from alternatives(node.type)
    elif isinstance(node, inspect.UnionType):
        for member in node.types:
            yield from alternatives(member)
    else:
        yield node


def _inside(node: inspect.Type, step: str | int) -> Iterator[inspect.Type]:
    if isinstance(node, inspect.StructType):
        yield from (field.type for field in node.fields if field.encode_name == step)
    elif isinstance(node, inspect.ListType | inspect.VarTupleType):
        yield node.item_type
    elif isinstance(node, inspect.DictType):
        yield node.value_type
