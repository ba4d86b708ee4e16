"""What a body that was refused could have held at that place: the fields of an object, or the values of a choice."""

from __future__ import annotations

import re
from typing import Any

from msgspec import inspect

PLACE = re.compile(r" - at `(key in )?\$(?P<path>[^`]*)`$")
STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<place>[^\]]*)\]")
MOST = 40  # that are named; the OpenAPI document has all


def hint(body: Any, message: str) -> str:
    """ "; fields: a, b" or "; choices: a, b" for a message of msgspec about a body of that type, or "" where nothing helps.

    body: the type that the body was decoded as. message: msgspec names what it found and, as a path from `$`, where."""
    unknown, bad = "unknown field" in message, "Invalid enum value" in message
    if not (unknown or bad):
        return ""
    found = PLACE.search(message)
    for kind in _at([inspect.type_info(body)], found["path"] if found else ""):
        if unknown and isinstance(kind, inspect.StructType):
            return f"; fields: {_words(each.encode_name for each in kind.fields)}"
        if bad and isinstance(kind, inspect.LiteralType):
            return f"; choices: {_words(kind.values)}"
        if bad and isinstance(kind, inspect.EnumType):
            return f"; choices: {_words(each.value for each in kind.cls)}"
    return ""


def _at(kinds: list[Any], path: str) -> list[Any]:
    """The types that may stand at a path; alternatives of a union are types of their own."""
    kinds = _alternatives(kinds)
    for step in STEP.finditer(path):
        inner: list[Any] = []
        for kind in kinds:
            if step["name"] is not None and isinstance(kind, inspect.StructType):
                inner += [each.type for each in kind.fields if each.encode_name == step["name"]]
            elif step["name"] is None and isinstance(kind, inspect.ListType | inspect.VarTupleType):
                inner.append(kind.item_type)
            elif step["name"] is None and isinstance(kind, inspect.DictType):
                inner.append(kind.value_type)
        kinds = _alternatives(inner)
    return kinds


def _alternatives(kinds: list[Any]) -> list[Any]:
    made: list[Any] = []
    for kind in kinds:
        inner = kind.type if isinstance(kind, inspect.Metadata) else kind
        made += _alternatives(list(inner.types)) if isinstance(inner, inspect.UnionType) else [inner]
    return made


def _words(values: Any) -> str:
    words = [str(value) for value in values]
    return (", ".join(words[:MOST]) or "none") + (f" ... ({len(words)} in all)" if len(words) > MOST else "")
