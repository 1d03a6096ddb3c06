"""Comparing two versions of a contract: which changes break a client, case by case."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from system.contracts.comparison.document import compare

CASES = YAML(typ="safe").load(Path(__file__).with_name("cases.yaml"))
KEYS = {
    *("name", "reason", "place", "old", "new", "breaking", "compatible"),
    *("schemas", "old_schemas", "new_schemas"),
}


def document(case: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Return the older or the newer document of a case."""
    content, place = case[version], case["place"]
    if place == "document":
        return {"openapi": "3.1.0", **content}
    schemas = {**case.get("schemas", {}), **case.get(f"{version}_schemas", {})}
    return {
        "openapi": "3.1.0",
        "paths": content if place == "paths" else {"/a": {"post": operation(place, content)}},
        "components": {"schemas": schemas},
    }


def operation(place: str, content: Any) -> dict[str, Any]:
    """Return an operation with a part of a case in its place."""
    body = {"content": {"application/json": {"schema": content}}}
    by_place: dict[str, dict[str, Any]] = {
        "request": {"requestBody": body, "responses": {}},
        "response": {"responses": {"200": {"description": "a", **body}}},
        "parameters": {"parameters": content, "responses": {}},
        "operation": content if place == "operation" else {},
    }
    return by_place[place]


def names(case: Mapping[str, Any], *, breaking: bool) -> list[str]:
    """Return the names of the changes that a case has."""
    changes = compare(document(case, "old"), document(case, "new"))
    return sorted(one.name for one in changes if one.is_breaking is breaking)


def test_cases_are_many_and_each_is_complete() -> None:
    """There are at least 40 of them, of both kinds, each with a reason, and no key is misspelt."""
    assert len(CASES) >= 40
    assert len({case["name"] for case in CASES}) == len(CASES)
    assert [case["name"] for case in CASES if not case.get("reason") or set(case) - KEYS] == []
    breaking = [case for case in CASES if case.get("breaking")]
    assert min(len(breaking), len(CASES) - len(breaking)) >= 20


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"].replace(" ", "-"))
def test_change_is_breaking_or_compatible(case: Mapping[str, Any]) -> None:
    """Each case has the changes that its entry names, and no other."""
    assert names(case, breaking=True) == sorted(case.get("breaking", []))
    assert names(case, breaking=False) == sorted(case.get("compatible", []))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"].replace(" ", "-"))
def test_document_is_compatible_with_itself(case: Mapping[str, Any]) -> None:
    """Neither version of a case has a change when it is compared with itself."""
    for version in ("old", "new"):
        assert compare(document(case, version), document(case, version)) == ()


def test_keyword_that_the_comparison_does_not_know_is_never_compatible() -> None:
    """A keyword of tomorrow counts as breaking when it changes: nothing passes unjudged."""
    old = {"place": "request", "old": {"type": "string", "tomorrow": 1}, "new": {"type": "string"}}
    assert names(old, breaking=True) == ["undecided"]


def test_unions_that_multiply_are_not_decided() -> None:
    """Unions with too many combinations end as a finding, in bounded time."""
    union = {"anyOf": [{"type": "object", "required": [str(one)]} for one in range(20)]}
    case = {"place": "request", "old": {"allOf": [union] * 3}, "new": {"allOf": [union] * 3}}
    assert names(case, breaking=True) == ["undecided"]


def test_schema_that_contains_itself_directly_is_not_decided() -> None:
    """An allOf of itself has no meaning, and ends as a finding."""
    loop = {"allOf": [{"$ref": "#/components/schemas/A"}]}
    case = {"place": "request", "old": loop, "new": loop, "schemas": {"A": loop}}
    assert names(case, breaking=True) == ["undecided"]
