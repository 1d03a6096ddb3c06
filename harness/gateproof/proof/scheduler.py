"""Distributes items to the processes of pytest-xdist: a check and its proofs stay together.

The proofs of a check share its baseline within one process. The checks with the most proofs come
first, so that no process is left with a long one at the end; the longest are divided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from xdist.scheduler import LoadScopeScheduling

LARGEST = 8
"""The most items that stay together: a larger group would keep one process busy at the end."""


class CheckScheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """The scheduler of xdist that keeps groups together, with the groups of `group_of`."""

    _groups: dict[str, str] | None = None

    def _split_scope(self, nodeid: str) -> str:
        """Return the group of an item; xdist names this method for subclasses."""
        if self._groups is None:
            self._groups = groups_of(next(iter(self.registered_collections.values())))
        return self._groups[nodeid]


def groups_of(nodeids: Iterable[str]) -> dict[str, str]:
    """Return the group of each item: its check, and a number if the check has many proofs."""
    seen: Counter[str] = Counter()
    groups: dict[str, str] = {}
    for nodeid in nodeids:
        check = nodeid.partition("[")[0]
        groups[nodeid] = f"{check} {seen[check] // LARGEST}"
        seen[check] += 1
    return groups
