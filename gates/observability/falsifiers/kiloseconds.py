"""Durations are counted in a unit that is a thousand times too large: kiloseconds."""

from __future__ import annotations

import time
from types import ModuleType, SimpleNamespace


def count_kiloseconds(metrics: ModuleType) -> None:
    """Let the module's clock tell thousands of seconds."""
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() / 1000)
    vars(metrics)["time"] = clock


CHANGES = {"system.metrics": count_kiloseconds}
