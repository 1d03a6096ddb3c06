"""The system imports the client of another broker."""

from __future__ import annotations

import importlib
from types import ModuleType


def import_client(_: ModuleType) -> None:
    """Import what stands in for the client of Redis."""
    importlib.import_module("redis")


CHANGES = {"system.app": import_client}
