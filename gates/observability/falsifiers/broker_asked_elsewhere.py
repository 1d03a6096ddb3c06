"""Health asks the database where it should ask the broker."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any


def ask_database_twice(health: ModuleType) -> None:
    """Put the database's address in the place of the broker's."""

    def health_of(connections: Any, deadline_s: float) -> Any:
        url = f"sqla+{connections.database_url}"
        return make(replace(connections, broker_url=url), deadline_s)

    make = health.health_of
    vars(health)["health_of"] = health_of


CHANGES = {"system.health": ask_database_twice}
