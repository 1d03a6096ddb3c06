"""Store an event and publish its recomputation, in one transaction.

1. The transaction gets the event's tenant, and a limit on how long a statement may take or wait for
   a lock: the caller has a deadline, and needs the rest of it to answer. Its commit waits for the
   log, whatever the server's default: what is acknowledged survives a crash.
2. The row is inserted. Of deliveries of one event at once, the database lets one in; the others
   wait for its commit, and find its row.
3. The message of `recompute_window` is published in the same transaction, for a new row only.

The caller commits. Until then nothing may be acknowledged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from system.connections import database
from system.ingestion.event import Event, window_of
from system.transport.joined import publishing_in

RECOMPUTE = "app.tasks.attribution.recompute_window"
LIMIT_MS = 1000

# Without waiting for the log a server can lose a committed event that was acknowledged.
_BEGIN = text(
    """
    SELECT set_config(:guc, :tenant_id, true), set_config('statement_timeout', :limit, true),
        set_config('lock_timeout', :limit, true), set_config('synchronous_commit', CASE
            WHEN current_setting('synchronous_commit') = 'off' THEN 'on'
            ELSE current_setting('synchronous_commit')
        END, true)
    """
)
_INSERT = text(
    """
    INSERT INTO attribution_events (
        id, tenant_id, vendor, event_type, event_id, payload, occurred_at, correlation_id
    ) VALUES (
        :id, :tenant_id, :vendor, :event_type, :event_id, CAST(:payload AS jsonb), :occurred_at,
        :correlation_id
    )
    ON CONFLICT ON CONSTRAINT uq_attribution_events_vendor_event DO NOTHING
    """
)
# The policy decides which tenant's row it is.
_FIND = text("SELECT id FROM attribution_events WHERE vendor = :vendor AND event_id = :event_id")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The row of an event."""

    id: UUID
    is_new: bool
    """Whether this call made it."""


def begin(connection: Connection, tenant_id: UUID, *, limit_ms: int = LIMIT_MS) -> None:
    """Give an open transaction a tenant, a limit for each statement, and a commit that lasts."""
    connection.execute(
        _BEGIN,
        {"guc": database.TENANT_GUC, "tenant_id": str(tenant_id), "limit": str(limit_ms)},
    )


def store(app: Any, connection: Connection, event: Event) -> Stored:
    """Store an event in an open transaction, and publish for a new one; the caller commits.

    Args:
        app: the Celery app that publishes.
        connection: an open transaction of the system's database.
        event: the event.

    Raises:
        sqlalchemy.exc.DBAPIError, kombu.exceptions.OperationalError: it is not stored; the
            transaction cannot be used further.

    """
    begin(connection, event.tenant_id)  # 1
    new_id = uuid4()
    values = {
        "id": new_id,
        "tenant_id": event.tenant_id,
        "vendor": event.vendor,
        "event_type": event.event_type,
        "event_id": event.event_id,
        "payload": event.text,
        "occurred_at": event.occurred_at,
        "correlation_id": event.correlation_id,
    }
    if not connection.execute(_INSERT, values).rowcount:  # 2
        known = {"vendor": event.vendor, "event_id": event.event_id}
        return Stored(id=connection.execute(_FIND, known).scalar_one(), is_new=False)
    _publish(app, connection, event)  # 3
    return Stored(id=new_id, is_new=True)


def _publish(app: Any, connection: Connection, event: Event) -> None:
    start, end = window_of(event.occurred_at)
    kwargs = {
        "tenant_id": str(event.tenant_id),
        "window_start": start.isoformat(),
        "window_end": end.isoformat(),
        "correlation_id": event.correlation_id,
    }
    with publishing_in(connection):
        app.send_task(RECOMPUTE, kwargs=kwargs, retry=False, add_to_parent=False)
