"""Describe one event of a vendor, and the window that it changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

VENDORS = ("shopify", "stripe", "paypal", "woocommerce")


@dataclass(frozen=True, kw_only=True)
class Event:
    """One signed event that keeps its vendor's contract."""

    tenant_id: UUID
    """From the registration, never from what was sent."""
    vendor: str
    """One of `VENDORS`."""
    event_type: str
    """In the vendor's words, such as `orders/create`."""
    event_id: str
    """The vendor's own; with tenant and vendor it identifies the event."""
    occurred_at: datetime
    """Aware."""
    text: str = field(repr=False)
    """The body, JSON, as it was sent."""
    correlation_id: str


def window_of(moment: datetime) -> tuple[datetime, datetime]:
    """Return the day, in UTC, that an event at this time belongs to: its start and its end."""
    start = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return start, start + timedelta(days=1)
