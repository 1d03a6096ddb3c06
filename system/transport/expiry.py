"""Delete expired results from a worker, which Celery would need beat for.

A thread of each worker calls Celery's own clean-up at the worker's start and then at an interval:
the backend deletes results that ended longer than `result_expires` ago. Workers that do so at the
same time do no harm. A thread, since the event loop must not wait for a large deletion; it ends
with its process.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import structlog
from celery import Celery, signals

log = structlog.get_logger("system.transport")


class ExpiredResults:
    """Deletes expired results while its worker runs."""

    def __init__(self, app: Celery, every_s: float) -> None:
        self._app = app
        self._every_s = every_s

    def connect(self) -> None:
        """Begin when the worker is ready."""
        signals.worker_ready.connect(self._start, weak=False)

    def _start(self, **_: object) -> None:
        threading.Thread(target=self._run, name="expired-results", daemon=True).start()

    def _run(self) -> None:
        backend: Any = self._app.backend
        while True:
            try:
                backend.cleanup()
            except Exception as error:  # noqa: BLE001 (a database can fail to answer in any way)
                log.warning("expired results not deleted", error=type(error).__name__)
            time.sleep(self._every_s)
