"""The work of a worker as metrics over HTTP; its pool has threads, so that one registry has all."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import signals
from prometheus_client import Counter, Histogram, start_http_server

PORT = "DEPOT_METRICS_PORT"
"""The variable with the port; without it nothing is served."""
LABELS = ("job",)
BEGUN = Counter("depot_jobs_begun", "Jobs that began.", LABELS)
DONE = Counter("depot_jobs_done", "Jobs that succeeded.", LABELS)
LOST = Counter("depot_jobs_lost", "Jobs that failed.", LABELS)
TOOK = Histogram("depot_job_seconds", "How long jobs took.", LABELS, buckets=(0.1, 0.2, 1, 5))


def connect() -> None:
    """Count the jobs of this process, and serve the numbers when a worker is started."""
    began: dict[str, float] = {}

    def begin(task_id: str, task: Any, **_: Any) -> None:
        began[task_id] = time.monotonic()
        BEGUN.labels(task.name).inc()

    def succeed(sender: Any, **_: Any) -> None:
        DONE.labels(sender.name).inc()

    def fail(sender: Any, **_: Any) -> None:
        LOST.labels(sender.name).inc()

    def end(task_id: str, task: Any, **_: Any) -> None:
        TOOK.labels(task.name).observe(time.monotonic() - began.pop(task_id))

    def serve(**_: Any) -> None:
        if os.environ.get(PORT):
            start_http_server(int(os.environ[PORT]), addr="127.0.0.1")

    signals.task_prerun.connect(begin, weak=False)
    signals.task_success.connect(succeed, weak=False)
    signals.task_failure.connect(fail, weak=False)
    signals.task_postrun.connect(end, weak=False)
    signals.worker_init.connect(serve, weak=False)
