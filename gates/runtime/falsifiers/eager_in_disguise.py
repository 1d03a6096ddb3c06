"""What ran on the spot looks as if it had been published."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def disguise(app: ModuleType) -> None:
    """Give the caller an ordinary result instead of the eager one."""

    def apply_async(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.AsyncResult(apply(self, *args, **kwargs).id)

    apply = app.app.Task.apply_async
    app.app.Task.apply_async = apply_async


CHANGES = {"system.app": disguise}
