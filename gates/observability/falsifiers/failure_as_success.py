"""A failed task counts as a success too."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def count_both(metrics: ModuleType) -> None:
    """Count every failure twice: as what it is, and as a success."""

    def _count_failure(self: Any, sender: Any, **more: object) -> None:
        count(self, sender, **more)
        self._count_success(sender, **more)

    own = metrics.TaskMetrics
    count, own._count_failure = own._count_failure, _count_failure  # noqa: SLF001 (the fault is inside)


CHANGES = {"system.metrics": count_both}
