"""Comparing two versions of a contract: what holds for every pair of the table.

The gate contracts has the table, and judges that each pair has its changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from system.contracts.comparison.document import compare
from system.gates.contracts.pairs import VERSIONS, cases, document, line

CASES = cases()
KEYS = {
    *("name", "reason", "place", "old", "new", *VERSIONS),
    *("schemas", "old_schemas", "new_schemas"),
}


def test_cases_are_many_and_each_is_complete() -> None:
    """Many of each kind, each with a reason, and no key is missing or misspelt."""
    assert len({case["name"] for case in CASES}) == len(CASES)
    wrong = [
        case["name"]
        for case in CASES
        if not case.get("reason") or set(case) - KEYS or VERSIONS.keys() - case.keys()
    ]
    assert wrong == []
    kinds = [one.split()[0] for case in CASES for one in case["changes"]]
    assert min(kinds.count("breaking"), kinds.count("compatible")) >= 100
    assert len([case for case in CASES if not case["changes"]]) >= 20


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"].replace(" ", "-"))
def test_change_is_breaking_or_compatible(case: Mapping[str, Any]) -> None:
    """Each pair has the changes that the table has, in both directions, and no other."""
    for key, (older, newer) in VERSIONS.items():
        found = compare(document(case, older), document(case, newer))
        assert [line(vars(one)) for one in found] == case[key]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"].replace(" ", "-"))
def test_document_is_compatible_with_itself(case: Mapping[str, Any]) -> None:
    """No version of a case has a change against itself, except those that are undecided."""
    for version in ("old", "new"):
        found = compare(document(case, version), document(case, version))
        assert all(one.expected == "what can be compared" for one in found)


def test_keyword_that_the_comparison_does_not_know_is_never_compatible() -> None:
    """A keyword of tomorrow counts as breaking when it changes: nothing passes unjudged."""
    case = {"place": "request", "old": {"type": "string", "tomorrow": 1}, "new": {"type": "string"}}
    found = compare(document(case, "old"), document(case, "new"))
    assert [(one.name, one.is_breaking) for one in found] == [("undecided", True)]
