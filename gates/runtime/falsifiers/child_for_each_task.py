"""The worker replaces its child after every task."""

from __future__ import annotations

from types import ModuleType


def replace_children(app: ModuleType) -> None:
    """Let a child run one task only."""
    app.app.conf.worker_max_tasks_per_child = 1


CHANGES = {"system.app": replace_children}
