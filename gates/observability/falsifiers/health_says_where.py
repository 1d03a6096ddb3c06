"""Health names the address of what is away, with the password."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any


def say_where(health: ModuleType) -> None:
    """Put the DSN beside what is wrong."""

    def ask_and_tell(self: Any) -> dict[str, str]:
        answer: dict[str, str] = ask(self)
        away = answer["status"] != "ok"
        return {**answer, "detail": os.environ["DATABASE_URL"]} if away else answer

    ask = health.Health.ask
    health.Health.ask = ask_and_tell


CHANGES = {"system.health": say_where}
