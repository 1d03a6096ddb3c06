"""Find the references of a document, without those that an example or a property's name spells.

Owns which keys of an OpenAPI document have literal values and which have names as keys. Leaves
reading other files to `bundle`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from system.contracts.reading.document import Json, at, escaped

LITERALS = frozenset({"example", "const", "enum", "default", "value"})
"""Keys whose values are data."""

NAMED = frozenset(
    {
        *("properties", "patternProperties", "$defs", "dependentSchemas", "schemas", "responses"),
        *("examples", "requestBodies", "headers", "securitySchemes", "links", "callbacks"),
        *("pathItems", "paths", "webhooks", "content", "encoding", "variables", "mapping"),
        *("scopes", "parameters", "dependentRequired"),
    }
)
"""Keys of maps whose keys are names."""

MOST_STEPS = 64
"""The longest chain of references that is followed."""


def nodes(node: Json, where: str = "", *, named: bool = False) -> Iterator[tuple[str, Json]]:
    """Yield every object of a document that is not data, each with its JSON pointer.

    Args:
        node: a part of the document.
        where: its pointer.
        named: whether it is a map whose keys are names.

    """
    if isinstance(node, list):
        for index, child in enumerate(node):
            yield from nodes(child, f"{where}/{index}")
    elif isinstance(node, dict):
        if not named:
            yield where, node
        for key, child in node.items():
            if named:
                yield from nodes(child, f"{where}/{escaped(key)}")
            elif not is_data(key, child):
                yield from nodes(child, f"{where}/{escaped(key)}", named=key in NAMED)


def is_data(key: str, value: Json) -> bool:
    """Return whether a key has data as its value: an example, a constant, an extension."""
    return (
        key in LITERALS or key.startswith("x-") or (key == "examples" and isinstance(value, list))
    )


def resolved(document: Json, node: Json) -> Any:
    """Return what a reference inside of one document stands for; any other value as it is.

    Keys next to a ``$ref`` of a schema are kept: they apply in addition to what it names.

    Raises:
        KeyError: it names nothing, or itself.

    """
    for _ in range(MOST_STEPS):
        if not (isinstance(node, dict) and isinstance(node.get("$ref"), str)):
            return node
        more = {key: value for key, value in node.items() if key != "$ref"}
        node = at(document, node["$ref"].removeprefix("#"))
        if set(more) - {"summary", "description"}:
            return {**more, "allOf": [*more.get("allOf", []), node]}
    raise KeyError("a chain of references without an end")
