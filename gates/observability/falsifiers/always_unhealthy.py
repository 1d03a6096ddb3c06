"""Health says that both are away, whatever there is."""

from __future__ import annotations

from types import ModuleType


def say_away(health: ModuleType) -> None:
    """Answer from a constant."""
    constant = {"status": "unhealthy", "broker": "error", "database": "error"}
    health.Health.ask = lambda _: dict(constant)


CHANGES = {"system.health": say_away}
