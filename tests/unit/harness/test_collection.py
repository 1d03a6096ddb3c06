"""Collections of objects that a check judges one by one."""

from __future__ import annotations

import pytest

from gateproof import InconclusiveError, Rows, at_least_one


@pytest.mark.parametrize(
    "found", [["a"], ("a", "b"), {"a": 1}, {"a"}, "a line", Rows(rows=(("a",),), count=1)]
)
def test_collection_with_objects_is_returned(found: object) -> None:
    """Any collection with a length is accepted, and returned unchanged."""
    assert at_least_one("tables", found) is found  # type: ignore[type-var]


@pytest.mark.parametrize("found", [[], (), {}, set(), "", Rows(columns=("name",))])
def test_collection_without_objects_is_inconclusive(found: object) -> None:
    """The message names the objects that were missing."""
    with pytest.raises(InconclusiveError, match="tables with a key: got 0, expected at least 1"):
        at_least_one("tables with a key", found)  # type: ignore[type-var]
