"""Count received events, summed over all processes of the service.

Label values are bounded: an event type that no vendor's list has is `other`, and the tenant can be
left out by `SYSTEM_METRICS_TENANT_LABEL`. Each process counts in files of its own, as those of a
worker do; any of them adds them up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from system.connections.fork import hold_during_fork
from system.observability.metrics import files_in

OTHER = "other"
NO_TENANT = ""
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LABELS = ("tenant_id", "vendor", "event_type")


class EventMetrics:
    """Counts stored, repeated and dead events, and measures how long a delivery took."""

    def __init__(
        self,
        folder: Path,
        name_of: Callable[[], str],
        *,
        vendors: Iterable[str],
        tenant_label: bool,
    ) -> None:
        self._files = files_in(folder, name_of)
        self._tenant_label = tenant_label
        self._ingested = Counter(
            "events_ingested", "Events that were stored, each once.", _LABELS, registry=None
        )
        self._duplicate = Counter(
            "events_duplicate", "Deliveries of an event that was stored.", _LABELS, registry=None
        )
        self._dead = Counter(
            "events_dlq",
            "Signed events that were not stored.",
            (*_LABELS, "error_type"),
            registry=None,
        )
        self._duration = Histogram(
            "ingestion_duration_seconds",
            "How long a delivery took, from its complete body to its answer.",
            ("vendor",),
            registry=None,
            buckets=BUCKETS_S,
        )
        for vendor in vendors:  # (without any series a scrape before the first event would fail)
            self._duration.labels(vendor)
        self._counting = threading.Lock()
        hold_during_fork(self._counting)

    def count_stored(self, tenant_id: UUID, vendor: str, event_type: str, *, is_new: bool) -> None:
        """Count an event that is stored, by this delivery or by an earlier one."""
        counter = self._ingested if is_new else self._duplicate
        with self._counting:
            counter.labels(self._tenant(tenant_id), vendor, event_type).inc()

    def count_dead(self, tenant_id: UUID, vendor: str, event_type: str, error_type: str) -> None:
        """Count a signed event that could not be stored."""
        with self._counting:
            self._dead.labels(self._tenant(tenant_id), vendor, event_type, error_type).inc()

    def observe(self, vendor: str, seconds: float) -> None:
        """Record how long a delivery took, however it ended."""
        with self._counting:
            self._duration.labels(vendor).observe(seconds)

    def render(self) -> bytes:
        """Return the totals of all processes in Prometheus text format.

        Raises:
            EndpointError: the files were deleted.

        """
        registry = CollectorRegistry()
        registry.register(self._files)
        return generate_latest(registry)

    def _tenant(self, tenant_id: UUID) -> str:
        return str(tenant_id) if self._tenant_label else NO_TENANT
