"""Failures are not counted."""

from __future__ import annotations

from types import ModuleType


def count_no_failure(metrics: ModuleType) -> None:
    """Count nothing when a task fails."""

    def _count_failure(*_: object, **__: object) -> None:
        return None

    metrics.TaskMetrics._count_failure = _count_failure  # noqa: SLF001 (the fault is inside)


CHANGES = {"system.metrics": count_no_failure}
