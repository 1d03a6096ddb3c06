"""Health waits for the database as long as it takes."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def wait_for_ever(health: ModuleType) -> None:
    """Give the checks an hour."""

    def begin(self: Any, checks: Any, _: float) -> None:
        init(self, checks, 3600.0)

    init = health.Health.__init__
    health.Health.__init__ = begin


CHANGES = {"system.health": wait_for_ever}
