"""Measure how many dead letters are pending and how old the oldest is.

A thread queries the database, at most once in `FRESH_S` and never twice at a time. A scrape waits
for it at most `PATIENCE_S`, so that a hanging database does not slow scrapes. The last answer is
reported until it is `STALE_S` old; after that, as before the first answer, nothing is reported.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from system import settings
from system.connections import database
from system.dead_letters.row import class_name

FRESH_S = 5.0
STALE_S = 60.0
PATIENCE_S = 0.2

_BACKLOG = text("SELECT pending, oldest FROM dead_letter_backlog()")

log = structlog.get_logger("system.dead_letters")


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """The pending rows of all tenants."""

    pending: int
    oldest: datetime | None
    """When the oldest failed; None if none is pending."""


@dataclass(frozen=True, kw_only=True)
class _Answer:
    backlog: Backlog
    at: float
    """Monotonic time."""


class BacklogGauge(Collector):
    """`system_dead_letters_pending` and `system_dead_letters_oldest_age_seconds`."""

    def __init__(self, source: Callable[[], Backlog] | None = None) -> None:
        self._source = source or query_backlog
        self._lock = threading.Lock()
        self._answer: _Answer | None = None
        self._running: threading.Event | None = None

    def collect(self) -> Iterator[Metric]:
        """Report the last answer, unless it is too old."""
        self._refresh()
        answer = self._answer
        if answer is None or time.monotonic() - answer.at > STALE_S:
            return
        yield GaugeMetricFamily(
            "system_dead_letters_pending",
            "Dead letters that are pending.",
            value=answer.backlog.pending,
        )
        oldest = answer.backlog.oldest
        age = (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0
        yield GaugeMetricFamily(
            "system_dead_letters_oldest_age_seconds",
            "How long ago the oldest pending dead-letter row failed; 0 if there is none.",
            value=max(0.0, age),
        )

    def _refresh(self) -> None:
        with self._lock:
            if self._answer and time.monotonic() - self._answer.at < FRESH_S:
                return
            if self._running is None:
                self._running = threading.Event()
                threading.Thread(
                    target=self._query,
                    args=(self._running,),
                    name="dead-letter-backlog",
                    daemon=True,
                ).start()
            running = self._running
        running.wait(PATIENCE_S)

    def _query(self, running: threading.Event) -> None:
        try:
            self._answer = _Answer(backlog=self._source(), at=time.monotonic())
        except Exception as error:  # noqa: BLE001 (a database can fail to answer in any way)
            log.warning("dead letters not counted", error=class_name(error))
        finally:
            with self._lock:
                self._running = None
            running.set()


def query_backlog() -> Backlog:
    """Query the backlog on a separate connection."""
    engine = create_engine(
        settings.connections_from(os.environ).database_url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args=database.connect_args("system-backlog"),
    )
    with engine.connect() as connection:
        pending, oldest = connection.execute(_BACKLOG).one()
    return Backlog(pending=pending, oldest=oldest)
