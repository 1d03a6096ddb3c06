"""Tasks that keep the data in order: views refreshed, personal data found, old rows deleted.

The tenant tasks filter by no tenant: the transaction's policies decide which rows they see.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from celery import shared_task
from sqlalchemy import Connection, text

from system import database
from system.tenancy import tenant_task

RETENTION_DAYS = 90

EMAIL = r"[[:alnum:]._%+-]+@[[:alnum:].-]+\.[[:alpha:]]{2,}"
# 14 to 19 digits, in groups or not; 13 would take every time in milliseconds for a card.
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
    """Count the tenant's events, and those whose payload holds an e-mail or a card number."""
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
        ValueError: `retention_days` is no whole number of at least one day.

    """
    if type(retention_days) is not int or retention_days < 1:
        raise ValueError(
            f"retention_days: got {retention_days!r}, expected a whole number from 1; correct it"
        )
    deleted = connection.execute(_DELETE, {"days": retention_days}).rowcount
    return {"status": "ok", "tenant_id": str(tenant_id), "deleted": deleted}
