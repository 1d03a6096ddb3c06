"""Measure how many dead letters are pending and how old the oldest is; and each queue's messages.

`refreshed` queries both: a scrape never hangs, and reports nothing while the database is away.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from system import settings
from system.connections import database
from system.observability.refreshed import Refreshed
from system.transport import statements

APPLICATION_NAME = "system-backlog"

_BACKLOG = text("SELECT pending, oldest FROM dead_letter_backlog()")


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """The pending rows of all tenants."""

    pending: int
    oldest: datetime | None
    """When the oldest failed; None if none is pending."""


@dataclass(frozen=True, kw_only=True)
class Depth:
    """The messages of one queue."""

    queue: str
    waiting: int
    claimed: int
    oldest_s: float
    """How long the oldest one that waits has waited; 0 if none waits."""


class BacklogGauge(Collector):
    """`system_dead_letters_pending` and `system_dead_letters_oldest_age_seconds`."""

    def __init__(self, source: Callable[[], Backlog] | None = None) -> None:
        self._backlog = Refreshed("dead-letter-backlog", source or query_backlog)

    def collect(self) -> Iterator[Metric]:
        """Report the last answer, unless it is too old."""
        backlog = self._backlog.value()
        if backlog is None:
            return
        yield GaugeMetricFamily(
            "system_dead_letters_pending",
            "Dead letters that are pending.",
            value=backlog.pending,
        )
        oldest = backlog.oldest
        age = (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0
        yield GaugeMetricFamily(
            "system_dead_letters_oldest_age_seconds",
            "How long ago the oldest pending dead-letter row failed; 0 if there is none.",
            value=max(0.0, age),
        )


class QueueGauges(Collector):
    """Waiting and claimed messages of each queue, and how long the oldest has waited."""

    def __init__(self, source: Callable[[], list[Depth]] | None = None) -> None:
        self._depths = Refreshed("queue-depths", source or query_depths)

    def collect(self) -> Iterator[Metric]:
        """Report the last answer, unless it is too old."""
        depths = self._depths.value()
        if depths is None:
            return
        for name, about, values in (
            (
                "system_queue_waiting_messages",
                "Messages that wait for a worker.",
                [depth.waiting for depth in depths],
            ),
            (
                "system_queue_claimed_messages",
                "Messages that a worker has claimed.",
                [depth.claimed for depth in depths],
            ),
            (
                "system_queue_oldest_waiting_seconds",
                "How long the oldest message that waits has waited; 0 if none waits.",
                [depth.oldest_s for depth in depths],
            ),
        ):
            family = GaugeMetricFamily(name, about, labels=("queue",))
            for depth, value in zip(depths, values, strict=True):
                family.add_metric((depth.queue,), value)
            yield family


def query_backlog() -> Backlog:
    """Query the pending rows on a separate connection."""
    url = settings.connections_from(os.environ).database_url
    pending, oldest = _rows(url, _BACKLOG)[0]
    return Backlog(pending=pending, oldest=oldest)


def query_depths() -> list[Depth]:
    """Query the messages of each queue on a separate connection; nothing of another broker."""
    url = settings.connections_from(os.environ).broker_url
    if not settings.is_postgresql(url):
        return []
    rows = _rows(url.partition("+")[2], statements.DEPTHS)
    return [
        Depth(queue=queue, waiting=waiting, claimed=claimed, oldest_s=max(0.0, oldest_s or 0.0))
        for queue, waiting, claimed, oldest_s in rows
    ]


def _rows(url: str, statement: Any) -> list[Any]:
    engine = create_engine(
        url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args=database.connect_args(APPLICATION_NAME),
    )
    with engine.connect() as connection:
        return list(connection.execute(statement).all())
