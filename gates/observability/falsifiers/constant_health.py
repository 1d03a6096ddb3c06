"""Health says ok without looking."""

from __future__ import annotations

from types import ModuleType


def say_ok(health: ModuleType) -> None:
    """Answer from a constant."""
    health.Health.ask = lambda _: {"status": "ok", "broker": "ok", "database": "ok"}


CHANGES = {"system.health": say_ok}
