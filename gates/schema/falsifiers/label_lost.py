"""The Celery branch has lost its label, as when a revision file forgot it."""

from types import ModuleType
from typing import Any

FIRST = "celery_0001"


def lose_label(base: ModuleType) -> None:
    """Take the label from the first revision of the branch when its file is read."""
    original = base.Script.__init__

    def init(self: Any, module: Any, rev_id: str, path: Any) -> None:
        if rev_id == FIRST:
            module.branch_labels = None
        original(self, module, rev_id, path)

    base.Script.__init__ = init


CHANGES = {"alembic.script.base": lose_label}
