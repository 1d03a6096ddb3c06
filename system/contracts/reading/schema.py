"""Walk the schemas of a document.

Owns which keywords of JSON Schema 2020-12 hold schemas. Leaves their meaning to the rules and to
`comparison`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from system.contracts.reading.document import Json, escaped
from system.contracts.reading.reference import nodes

ONE = frozenset(
    {
        *("items", "contains", "not", "if", "then", "else", "additionalProperties"),
        *("unevaluatedItems", "unevaluatedProperties", "propertyNames", "contentSchema"),
    }
)
LIST = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
MAP = frozenset({"properties", "patternProperties", "$defs", "dependentSchemas"})

Schema = Mapping[str, Any]


def schemas(document: Json) -> Iterator[tuple[str, Schema]]:
    """Yield every schema of a document, with its JSON pointer; truth values are left out."""
    for pointer, node in nodes(document):
        if isinstance(node.get("schema"), dict):
            yield from _within(node["schema"], f"{pointer}/schema")
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        yield from _within(schema, f"/components/schemas/{escaped(name)}")


def _within(schema: Json, pointer: str) -> Iterator[tuple[str, Schema]]:
    """Yield a schema and those inside of it, without what references name."""
    if isinstance(schema, dict):
        yield pointer, schema
        for more, child in children(schema):
            yield from _within(child, f"{pointer}/{more}")


def children(schema: Schema) -> Iterator[tuple[str, Json]]:
    """Yield the schemas directly inside of a schema, with their relative pointers."""
    for keyword, value in schema.items():
        if keyword in ONE:
            yield keyword, value
        elif keyword in LIST:
            for index, child in enumerate(value):
                yield f"{keyword}/{index}", child
        elif keyword in MAP:
            for name, child in value.items():
                yield f"{keyword}/{escaped(name)}", child
