"""Bring a schema into a form that can be compared: alternatives without references.

Owns the meaning of ``allOf``, ``anyOf``, ``oneOf``, ``const`` and lists of types. Each alternative
is one flat schema: the base and one member of the union, merged.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from system.contracts.reading.document import Json
from system.contracts.reading.reference import is_data, resolved

TYPES = frozenset({"null", "boolean", "object", "array", "number", "string", "integer"})
MOST_DEPTH = 32
"""How deep references are followed where the whole text of a schema is compared."""
MOST_ALTERNATIVES = 256

Flat = Mapping[str, Any]


def alternatives(document: Json, schema: Json, depth: int = 0) -> list[Flat]:
    """Return flat schemas of which a value meets one exactly if it meets the schema.

    A ``oneOf`` is read as an ``anyOf``: that its members exclude each other is not checked.

    Raises:
        KeyError: a reference names nothing or itself, or the unions multiply beyond a limit.

    """
    schema = resolved(document, schema)
    if schema is True or schema is False:
        return [{}] if schema else []
    if depth > MOST_DEPTH:
        raise KeyError("a schema that contains itself directly")
    base = {key: value for key, value in schema.items() if key not in ("allOf", "anyOf", "oneOf")}
    factors = [alternatives(document, one, depth + 1) for one in schema.get("allOf", ())]
    factors += [
        [flat for one in schema[key] for flat in alternatives(document, one, depth + 1)]
        for key in ("anyOf", "oneOf")
        if key in schema
    ]
    found: list[Flat] = [_normal(base)]
    for factor in factors:
        if len(found) * len(factor) > MOST_ALTERNATIVES:
            raise KeyError("unions with too many combinations")
        found = [merged(one, other) for one, other in itertools.product(found, factor)]
    return found


def _normal(schema: Mapping[str, Json]) -> Flat:
    """Return a schema with a set of types, and a constant as an enumeration of one."""
    found = dict(schema)
    if "type" in found:
        types = found["type"]
        found["type"] = frozenset([types] if isinstance(types, str) else types)
    if "const" in found:
        found["enum"] = [found.pop("const")]
    return found


def merged(one: Flat, other: Flat) -> Flat:
    """Return the schema that both of two flat schemas make together."""
    found = dict(one)
    for key, value in other.items():
        if key not in found or found[key] == value:
            found[key] = value
        elif key in _JOINED:
            found[key] = _JOINED[key](found[key], value)
        elif key == "properties":
            found[key] = _both(found[key], value)
        elif key not in IGNORED:
            # Two values of one keyword apply both; no keyword says that, so allOf does.
            found["allOf"] = [*found.get("allOf", ()), {key: value}]
    return found


def types_of(flat: Flat) -> frozenset[str]:
    """Return the types that a flat schema allows; a number may be an integer."""
    types: frozenset[str] = flat.get("type", TYPES)
    if "enum" in flat and "type" not in flat:
        types = frozenset(_type_of(value) for value in flat["enum"])
    return types | {"integer"} if "number" in types else types


def _type_of(value: Json) -> str:
    by_type = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return "null" if value is None else by_type.get(type(value), "object")


def _both(one: Mapping[str, Json], other: Mapping[str, Json]) -> dict[str, Json]:
    """Return the properties of both; one that both have must meet both schemas."""
    found = dict(one)
    for name, schema in other.items():
        same = name not in found or found[name] == schema
        found[name] = schema if same else {"allOf": [found[name], schema]}
    return found


def _common_types(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    wide = (types_of({"type": one}), types_of({"type": other}))
    return wide[0] & wide[1]


_JOINED: dict[str, Any] = {
    "type": _common_types,
    "required": lambda one, other: [*one, *(name for name in other if name not in one)],
    "enum": lambda one, other: [value for value in one if value in other],
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems"), min),
    "minProperties": max,
    "maxProperties": min,
    "readOnly": lambda one, other: one or other,
    "writeOnly": lambda one, other: one or other,
}
"""The keywords of which one value has the meaning of two."""

IGNORED = frozenset(
    {
        *("title", "description", "example", "examples", "deprecated", "externalDocs", "xml"),
        *("$comment", "$defs"),
    }
)
"""The keywords that no value depends on."""


def text_of(document: Json, node: Json, depth: int = 0) -> str:
    """Return a schema as text, its references replaced, for keywords that are compared as a whole.

    Below a depth a reference stands as it is.
    """
    return json.dumps(_spelt_out(document, node, depth), sort_keys=True, ensure_ascii=False)


def _spelt_out(document: Json, node: Json, depth: int) -> Json:
    if depth > MOST_DEPTH:
        return node if not isinstance(node, dict | list) else "..."
    if isinstance(node, list):
        return [_spelt_out(document, one, depth + 1) for one in node]
    if not isinstance(node, dict):
        return sorted(node) if isinstance(node, frozenset) else node
    return {
        key: value if is_data(key, value) else _spelt_out(document, value, depth + 1)
        for key, value in resolved(document, node).items()
        if key not in IGNORED
    }
