"""Define the task that checks a worker, its queue and its database."""

from __future__ import annotations

import os
from typing import Any

from celery import current_task, shared_task
from sqlalchemy import text

from system.connections import database
from system.tasks.tenancy import required_tenant

LONGEST_HOLD_S = 300.0


@shared_task(name="app.tasks.housekeeping.ping")
def ping(
    fail: bool = False, tenant_id: object = None, retry: int = 0, hold_s: float = 0.0
) -> dict[str, Any]:
    """Query the database, and return the ids of the processes involved.

    Args:
        fail: raise instead of returning, after the database answered.
        tenant_id: the tenant to run as; a UUID.
        retry: the number of retries before the task ends.
        hold_s: seconds that the query takes (at most 300), to imitate a long task.

    Returns:
        `status`, `pid`, `parent_pid`, `backend_pid` and `tenant`: the tenant GUC as that
        connection sees it, `None` if it was never set there and `""` if it was set before.

    Raises:
        ValueError: `fail` is set.
        TenantError: `tenant_id` is not a UUID.

    """
    tenant = None if tenant_id is None else required_tenant(tenant_id)
    with database.transaction(tenant) as connection:
        backend_pid, seen, _ = connection.execute(
            text("SELECT pg_backend_pid(), current_setting(:guc, true), pg_sleep(:hold_s)"),
            {"guc": database.TENANT_GUC, "hold_s": min(max(hold_s, 0.0), LONGEST_HOLD_S)},
        ).one()
        if current_task.request.retries < retry:
            raise current_task.retry(countdown=0, max_retries=retry)
        if fail:
            raise ValueError("ping failure requested")
    return {
        "status": "ok",
        "pid": os.getpid(),
        "parent_pid": os.getppid(),
        "backend_pid": backend_pid,
        "tenant": seen,
    }
