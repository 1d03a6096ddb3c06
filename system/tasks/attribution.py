"""Record recomputations of attribution; a job is identified by tenant, window and model version.

A second run of the same window updates its row. The unique constraint decides, so that two workers
at once cannot make two rows.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from celery import current_task, shared_task
from sqlalchemy import Connection, text

from system.identity import identify
from system.tasks.tenancy import tenant_task

_RECORD = text(
    """
    INSERT INTO attribution_recompute_jobs
        (tenant_id, window_start, window_end, model_version, request_id, correlation_id)
    VALUES (:tenant_id, :window_start, :window_end, :model_version, :request_id, :correlation_id)
    ON CONFLICT ON CONSTRAINT uq_attribution_recompute_jobs_window DO UPDATE SET
        run_count = attribution_recompute_jobs.run_count + 1,
        request_id = excluded.request_id,
        correlation_id = excluded.correlation_id,
        status = 'accepted',
        updated_at = now()
    """
)


@shared_task(name="app.tasks.attribution.recompute_window")
@tenant_task
def recompute_window(
    tenant_id: UUID,
    window_start: str | datetime,
    window_end: str | datetime,
    model_version: str = "1",
    correlation_id: str | None = None,
    fail: bool = False,
    *,
    connection: Connection,
) -> dict[str, Any]:
    """Record a recomputation of one window, and accept it.

    Args:
        tenant_id: the tenant of the window.
        window_start, window_end: ISO 8601 or datetimes; without an offset they are UTC.
        model_version: part of the job's identity.
        correlation_id: of the request that caused it; the message's own by default.
        fail: raise instead, leaving no row.
        connection: the tenant's transaction.

    Returns:
        `status`, the window as passed, `request_id` (the task's id) and `correlation_id`.

    Raises:
        ValueError: `fail` is set, or a time cannot be read.

    """
    if fail:
        raise ValueError("attribution recompute failure requested")
    identity = identify(current_task, current_task.request)
    values = {
        "tenant_id": tenant_id,
        "window_start": moment(window_start, name="window_start"),
        "window_end": moment(window_end, name="window_end"),
        "model_version": str(model_version),
        "request_id": identity.task_id,
        "correlation_id": correlation_id or identity.correlation_id,
    }
    connection.execute(_RECORD, values)
    return {
        "status": "accepted",
        "window_start": window_start,
        "window_end": window_end,
        "request_id": values["request_id"],
        "correlation_id": values["correlation_id"],
    }


def moment(value: str | datetime, *, name: str) -> datetime:
    """Return an aware time from ISO 8601 text or a datetime.

    Raises:
        ValueError: the text is not a time.

    """
    try:
        read = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name}: got {str(value)[:64]!r}, expected an ISO 8601 time; correct it"
        ) from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)
