"""Count a worker's tasks in four metrics, summed over all of its processes.

Each process of a worker writes a file for each kind of metric, and the parent reads all of them. A
file is named after the slot of its process in the pool, not after the process: billiard gives a
slot to one child at a time, and the successor of a dead child continues the counts in the file. So
no count is lost with a child, there are as many files as slots, and files are never merged, which a
scrape could see half done. `metrics_folder` owns the folder.

Source: OBS-01 to OBS-03; prometheus_client, "Multiprocess Mode"; billiard, `Pool._avail_index`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from billiard.process import current_process
from celery import signals
from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from system.connections.fork import hold_during_fork
from system.errors import EndpointError
from system.observability.backlog import BacklogGauge, QueueGauges

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
_LABELS = ("task_name",)
# Failures remembered to detect a second report: Celery reports a hard time limit twice at once.
_REMEMBERED = 1000


class TaskMetrics:
    """Counts started, succeeded and failed tasks, and measures how long they took."""

    def __init__(self, folder: Path, task_names: Iterable[str]) -> None:
        self._files = files_in(folder, place)
        self._backlog = BacklogGauge()
        self._queues = QueueGauges()
        self._started = Counter(
            "celery_task_started", "Runs of a task that started.", _LABELS, registry=None
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
        self._failures: dict[str, None] = {}
        for name in task_names:
            self._touch(name)
        self._counting = threading.Lock()
        # Threads of the parent count too: a child that is forked while one of them does would
        # inherit a lock of the library that is never released.
        hold_during_fork(self._counting)

    def connect(self) -> None:
        """Count what Celery's signals report, in every process in which they fire."""
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
            EndpointError: the files were deleted.

        """
        registry = CollectorRegistry()
        registry.register(self._files)
        registry.register(self._backlog)
        registry.register(self._queues)
        return generate_latest(registry)

    def _touch(self, task_name: str) -> None:
        """Create the series at zero: a rise is only visible from a known start."""
        for metric in (self._started, self._succeeded, self._failed, self._duration):
            metric.labels(task_name)

    def _begin(self, sender: Any, task_id: str, **_: object) -> None:
        with self._counting:
            self._began[task_id] = time.monotonic()
            self._started.labels(sender.name).inc()

    def _count_success(self, sender: Any, **_: object) -> None:
        with self._counting:
            self._succeeded.labels(sender.name).inc()

    def _count_failure(self, sender: Any, task_id: str, **_: object) -> None:
        with self._counting:
            if task_id not in self._failures:
                self._failed.labels(sender.name).inc()
            self._failures[task_id] = None
            if len(self._failures) > _REMEMBERED:
                del self._failures[next(iter(self._failures))]

    def _end(self, sender: Any, task_id: str, **_: object) -> None:
        with self._counting:
            began = self._began.pop(task_id, None)
            if began is not None:
                self._duration.labels(sender.name).observe(time.monotonic() - began)


def files_in(folder: Path, name_of: Callable[[], str]) -> Collector:
    """Have every later metric of this process counted in files of a folder; return their sum.

    Args:
        folder: as `metrics_folder` makes it.
        name_of: returns a name that no other living process has.

    """
    # Set here: the library would choose at its import, and name files after process ids.
    os.environ[FOLDER_VARIABLE] = str(folder)
    values.ValueClass = values.MultiProcessValue(name_of)  # type: ignore[no-untyped-call]
    return _Files(folder)


def place() -> str:
    """Return a name that no other living process of the worker has."""
    index = getattr(current_process(), "index", None)
    return "parent" if index is None else f"child-{index}"


class _Files(Collector):
    """Sums the files of all processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """Sum the values in the files.

        Raises:
            EndpointError: there is no file.

        """
        # A child's first file is empty for an instant, until its length is set.
        files = [str(path) for path in self._folder.glob("*.db") if path.stat().st_size]
        if not files:
            raise EndpointError(
                f"metrics: got no file in {self._folder}, expected those of this process; "
                "exclude the folder from clean-up jobs, and restart it"
            )
        yield from MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
