"""Tasks are counted when they start and never when they succeed."""

from __future__ import annotations

from types import ModuleType


def count_no_success(metrics: ModuleType) -> None:
    """Count nothing at the end."""

    def _count_success(*_: object, **__: object) -> None:
        return None

    metrics.TaskMetrics._count_success = _count_success  # noqa: SLF001 (the fault is inside)


CHANGES = {"system.metrics": count_no_success}
