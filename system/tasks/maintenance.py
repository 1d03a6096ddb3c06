"""Maintain the data: views, personal data, old rows, dead-letter rows, dead events.

The statements of tenant tasks do not filter by tenant: the policies decide which rows they see.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from celery import current_app, shared_task
from sqlalchemy import Connection, text

from system.connections import database
from system.dead_letters import reconciliation
from system.dead_letters.replay import Selection, replay
from system.ingestion.listing import Filter
from system.ingestion.retrying import retry
from system.tasks.tenancy import tenant_task

RETENTION_DAYS = 90

EMAIL = r"[[:alnum:]._%+-]+@[[:alnum:].-]+\.[[:alpha:]]{2,}"
# 14 to 19 digits, in groups or not; with 13, each time in milliseconds would count as a card.
CARD_NUMBER = r"(^|[^0-9])[0-9]([ -]?[0-9]){13,18}([^0-9]|$)"

_SCAN = text(
    "SELECT count(*), count(*) FILTER (WHERE payload::text ~ :email OR payload::text ~ :card)"
    " FROM attribution_events"
)
_DELETE = text(
    "DELETE FROM attribution_events WHERE occurred_at < now() - make_interval(days => :days)"
)


@shared_task(name="app.tasks.maintenance.refresh_all_materialized_views")
def refresh_all_materialized_views() -> dict[str, Any]:
    """Refresh every materialized view, for all tenants, and return their names."""
    with database.transaction() as connection:
        names = connection.execute(text("SELECT refresh_all_materialized_views()")).scalar_one()
    return {"status": "ok", "refreshed": names}


@shared_task(name="app.tasks.maintenance.scan_for_pii_contamination")
@tenant_task
def scan_for_pii_contamination(tenant_id: UUID, *, connection: Connection) -> dict[str, Any]:
    """Count the tenant's events, and those whose payload has an e-mail address or a card number."""
    row = connection.execute(_SCAN, {"email": EMAIL, "card": CARD_NUMBER}).one()
    return {
        "status": "ok",
        "tenant_id": str(tenant_id),
        "scanned": row[0],
        "contaminated": row[1],
    }


@shared_task(name="app.tasks.maintenance.enforce_data_retention")
@tenant_task
def enforce_data_retention(
    tenant_id: UUID, retention_days: int = RETENTION_DAYS, *, connection: Connection
) -> dict[str, Any]:
    """Delete the tenant's events that are older than its retention.

    Raises:
        ValueError: `retention_days` is not a whole number of at least one day.

    """
    if type(retention_days) is not int or retention_days < 1:
        raise ValueError(
            f"retention_days: got {retention_days!r}, expected a whole number from 1; correct it"
        )
    deleted = connection.execute(_DELETE, {"days": retention_days}).rowcount
    return {"status": "ok", "tenant_id": str(tenant_id), "deleted": deleted}


@shared_task(name="app.tasks.maintenance.replay_dead_letters")
def replay_dead_letters(
    limit: int = 100, error_kind: str | None = "transient", rate_per_s: float = 20.0
) -> dict[str, Any]:
    """Replay dead letters that are due, of all tenants.

    Args:
        limit: the greatest number of rows.
        error_kind: `transient`, `permanent`, or None for both.
        rate_per_s: the greatest number of tasks sent in a second.

    """
    ended = list(
        replay(
            current_app, Selection(error_kind=error_kind), most=int(limit), rate_per_s=rate_per_s
        )
    )
    sent = sum(one.replay_id is not None for one in ended)
    return {"status": "ok", "sent": sent, "not_sent": len(ended) - sent}


@shared_task(name="app.tasks.maintenance.reconcile_dead_letters")
def reconcile_dead_letters(limit: int = 1000) -> dict[str, Any]:
    """Write the dead-letter row of every stored failure that has none."""
    return {"status": "ok", "written": reconciliation.reconcile(most=int(limit))}


@shared_task(name="app.tasks.maintenance.retry_dead_events")
def retry_dead_events(limit: int = 100) -> dict[str, Any]:
    """Retry dead events that are due, of all tenants.

    Each failure that may be transient publishes this task for the time at which its row is due.
    Workers publish it now and then too: one that dies while it retries publishes nothing.
    """
    ended = list(retry(current_app, Filter(), most=int(limit), only_due=True))
    stored = sum(one.event_row is not None for one in ended)
    return {"status": "ok", "stored": stored, "not_stored": len(ended) - stored}


@shared_task(name="app.tasks.maintenance.delete_old_dead_letters")
def delete_old_dead_letters() -> dict[str, Any]:
    """Delete dead letters that were resolved or abandoned `SYSTEM_DEAD_LETTER_RETENTION_DAYS` ago.

    Rows that are pending or in progress stay, whatever their age.
    """
    return {"status": "ok", "deleted": reconciliation.delete_old()}
