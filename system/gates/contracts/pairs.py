"""Read the table of pairs of documents, and put each pair into documents of its own.

Owns the form of `changes.yaml`: a case has a part of a document in two versions, its place, and the
exact changes from the older to the newer version and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

TABLE = Path(__file__).with_name("changes.yaml")
VERSIONS = {"changes": ("old", "new"), "back": ("new", "old")}
"""The keys of results, and the two versions that are compared for each."""


@cache
def cases() -> list[dict[str, Any]]:
    """Return the cases of the table, which is read once."""
    found: list[dict[str, Any]] = YAML(typ="safe").load(TABLE)
    return found


def document(case: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Return the older or the newer document of a case."""
    content, place = case[version], case["place"]
    if place == "document":
        return {"openapi": "3.1.0", **content}
    schemas = {**case.get("schemas", {}), **case.get(f"{version}_schemas", {})}
    return {
        "openapi": "3.1.0",
        "paths": content if place == "paths" else {"/a": {"post": _operation(place, content)}},
        "components": {"schemas": schemas},
    }


def _operation(place: str, content: Any) -> dict[str, Any]:
    """Return an operation with a part of a case in its place."""
    body = {"content": {"application/json": {"schema": content}}}
    answers = {"responses": {"200": {"description": "a", **body}}}
    by_place: dict[str, dict[str, Any]] = {
        "request": {"requestBody": body, "responses": {}},
        "response": answers,
        "both": {"requestBody": body, **answers},
        "parameters": {"parameters": content, "responses": {}},
        "operation": content if place == "operation" else {},
    }
    return by_place[place]


def line(change: Mapping[str, Any]) -> str:
    """Return a change as one line of the table."""
    kind = "breaking" if change["is_breaking"] else "compatible"
    where, got = change["where"], change["got"]
    return f"{kind} {change['name']}: {where}: {got}, was {change['expected']}"
