"""Each child serves what it counted itself, on the one port: whoever binds it first wins."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any


def serve_in_children(monitoring: ModuleType) -> None:
    """Bind nothing in the parent, and the port in every child that can."""

    def serve(*asked: Any) -> Any:
        def begin(**_: object) -> None:
            with suppress(monitoring.EndpointError):
                bind(*asked)

        signals.worker_process_init.connect(begin, weak=False)
        nothing = SimpleNamespace(close=lambda: None)
        return SimpleNamespace(socket=nothing, shutdown=lambda: None, server_close=lambda: None)

    from celery import signals

    bind = monitoring.serve
    vars(monitoring)["serve"] = serve


def show_own_counts(metrics: ModuleType) -> None:
    """Render the counts of the process that is asked, and of no other."""

    def render(self: Any) -> bytes:
        own = [str(path) for path in Path(self._folder).glob(f"*_{os.getpid()}.db")]
        merged = metrics.MultiProcessCollector.merge(own)
        registry = metrics.CollectorRegistry()
        registry.register(SimpleNamespace(collect=lambda: merged))
        return bytes(metrics.generate_latest(registry))

    metrics.TaskMetrics.render = render


CHANGES = {"system.monitoring": serve_in_children, "system.metrics": show_own_counts}
