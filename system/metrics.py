"""The four metrics of a worker's tasks, added up over all of its processes.

Owns the counting and the folder that it happens in: each process writes files of its own there, and
the parent reads all of them, so that totals add up over children and survive a child's death.

Import this module only when `PROMETHEUS_MULTIPROC_DIR` is set: prometheus_client chooses how it
keeps values when it is first imported. Source: OBS-01 to OBS-03; prometheus_client, "Multiprocess
Mode".
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from celery import signals
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

from system.errors import EndpointError

BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
_LABELS = ("task_name",)
_READS = 5


class TaskMetrics:
    """Counters of started, succeeded and failed tasks, and how long they took."""

    def __init__(self, folder: Path, task_names: Iterable[str]) -> None:
        if not getattr(values.ValueClass, "_multiprocess", False):
            raise EndpointError(
                "metrics: got prometheus_client imported before PROMETHEUS_MULTIPROC_DIR was set, "
                "expected after; set it first"
            )
        self._folder = folder
        self._started = Counter(
            "celery_task_started", "Runs of a task that began.", _LABELS, registry=None
        )
        self._succeeded = Counter(
            "celery_task_success", "Runs of a task that succeeded.", _LABELS, registry=None
        )
        self._failed = Counter(
            "celery_task_failure", "Tasks that failed for good.", _LABELS, registry=None
        )
        self._duration = Histogram(
            "celery_task_duration_seconds",
            "How long a run of a task took.",
            _LABELS,
            registry=None,
            buckets=BUCKETS_S,
        )
        self._began: dict[str, float] = {}
        for name in task_names:
            self._touch(name)

    def connect(self) -> None:
        """Count what Celery's signals report, in every process that they fire in."""
        for signal, receiver in (
            (signals.task_prerun, self._begin),
            (signals.task_success, self._count_success),
            (signals.task_failure, self._count_failure),
            (signals.task_postrun, self._end),
        ):
            signal.connect(receiver, weak=False, dispatch_uid=f"system.metrics.{receiver.__name__}")

    def render(self) -> bytes:
        """Return the totals in Prometheus text format.

        Raises:
            EndpointError: a file stayed unreadable.

        """
        for _ in range(_READS):
            try:
                registry = CollectorRegistry()
                MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
                return generate_latest(registry)
            except (struct.error, RuntimeError, OSError):
                # A child that has just been forked is laying out its file at this moment.
                continue
        raise EndpointError("metrics: got unreadable files, expected whole ones; ask again")

    def _touch(self, task_name: str) -> None:
        """Make the series exist, at zero: a rise is only seen from a known start."""
        for metric in (self._started, self._succeeded, self._failed, self._duration):
            metric.labels(task_name)

    def _begin(self, sender: Any, task_id: str, **_: object) -> None:
        self._began[task_id] = time.monotonic()
        self._started.labels(sender.name).inc()

    def _count_success(self, sender: Any, **_: object) -> None:
        self._succeeded.labels(sender.name).inc()

    def _count_failure(self, sender: Any, **_: object) -> None:
        self._failed.labels(sender.name).inc()

    def _end(self, sender: Any, task_id: str, **_: object) -> None:
        began = self._began.pop(task_id, None)
        if began is not None:
            self._duration.labels(sender.name).observe(time.monotonic() - began)
