"""Publish from a worker what must run now and then, which Celery would need beat for.

Each failure publishes the retry of its row. A worker that is killed while it retries publishes
nothing, and an operator's retry that fails may not either: the scheduled run takes what they left.
Every worker publishes it; two runs at once share the rows, and a run without a row costs one
statement. A message that no worker takes before the next one expires.
"""

from __future__ import annotations

import threading
import time

import structlog
from celery import Celery, signals

RETRY = "app.tasks.maintenance.retry_dead_events"

log = structlog.get_logger("system.schedule")


class Schedule:
    """Publishes the retry of dead events while its worker runs."""

    def __init__(self, app: Celery, every_s: float) -> None:
        self._app = app
        self._every_s = every_s

    def connect(self) -> None:
        """Begin when the worker is ready; the first run is after one interval."""
        signals.worker_ready.connect(self._start, weak=False)

    def _start(self, **_: object) -> None:
        threading.Thread(target=self._run, name="schedule", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(self._every_s)
            try:
                self._app.send_task(RETRY, expires=self._every_s, retry=False)
            except Exception as error:  # noqa: BLE001 (the broker can fail to answer in any way)
                log.warning("retry not scheduled", error=type(error).__name__)
