"""Every method is answered as if it were GET."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def answer_any_method(monitoring: ModuleType) -> None:
    """Take each request for a GET."""

    def _answer(self: Any) -> None:
        self.command = "GET"
        answer(self)

    handler = monitoring._Handler  # noqa: SLF001 (the fault is inside)
    answer, handler._answer = handler._answer, _answer  # noqa: SLF001


CHANGES = {"system.monitoring": answer_any_method}
