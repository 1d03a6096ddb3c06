"""How many dead letters are pending and how old the oldest is, for whoever scrapes a worker.

The database is asked by a thread that a scrape does not wait for beyond `PATIENCE_S`, at most once
in `FRESH_S` and never twice at a time: a database that hangs slows no scrape. What was last seen is
told until it is `STALE_S` old; then, as before the first answer, nothing is told rather than a
number that nobody saw.
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
    """The pending letters of all tenants."""

    pending: int
    oldest: datetime | None
    """When the oldest failed; None where none is pending."""


@dataclass(frozen=True, kw_only=True)
class _Seen:
    backlog: Backlog
    at: float
    """By the monotonic clock."""


class BacklogGauge(Collector):
    """`system_dead_letters_pending` and `system_dead_letters_oldest_age_seconds`."""

    def __init__(self, ask: Callable[[], Backlog] | None = None) -> None:
        self._ask = ask or ask_database
        self._lock = threading.Lock()
        self._seen: _Seen | None = None
        self._asking: threading.Event | None = None

    def collect(self) -> Iterator[Metric]:
        """Tell what was seen last, if that is not long ago."""
        self._refresh()
        seen = self._seen
        if seen is None or time.monotonic() - seen.at > STALE_S:
            return
        yield GaugeMetricFamily(
            "system_dead_letters_pending",
            "Dead letters that wait for somebody.",
            value=seen.backlog.pending,
        )
        oldest = seen.backlog.oldest
        age = (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0
        yield GaugeMetricFamily(
            "system_dead_letters_oldest_age_seconds",
            "How long ago the oldest pending dead letter failed; 0 where there is none.",
            value=max(0.0, age),
        )

    def _refresh(self) -> None:
        with self._lock:
            if self._seen and time.monotonic() - self._seen.at < FRESH_S:
                return
            if self._asking is None:
                self._asking = threading.Event()
                threading.Thread(
                    target=self._look, args=(self._asking,), name="dead-letter-backlog", daemon=True
                ).start()
            asking = self._asking
        asking.wait(PATIENCE_S)

    def _look(self, asking: threading.Event) -> None:
        try:
            self._seen = _Seen(backlog=self._ask(), at=time.monotonic())
        except Exception as error:  # noqa: BLE001 (whatever stops the database from answering)
            log.warning("dead letters not counted", error=class_name(error))
        finally:
            with self._lock:
                self._asking = None
            asking.set()


def ask_database() -> Backlog:
    """Return the backlog, on a connection of its own."""
    engine = create_engine(
        settings.connections_from(os.environ).database_url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args=database.connect_args("system-backlog"),
    )
    with engine.connect() as connection:
        pending, oldest = connection.execute(_BACKLOG).one()
    return Backlog(pending=pending, oldest=oldest)
