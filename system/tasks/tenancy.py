"""Provide `@tenant_task`: a task that runs for exactly one tenant, in that tenant's transaction.

Owns the check of `tenant_id` and the scope of its effects. The database alone decides which rows
the transaction sees: no statement of a tenant task filters by tenant, so that a broken policy is
noticed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from structlog.contextvars import bound_contextvars

from system.connections import database
from system.errors import TenantError
from system.identity import canonical_uuid

R = TypeVar("R")


def tenant_task(function: Callable[..., R]) -> Callable[..., R]:
    """Make a function a tenant task; use it below `@shared_task`.

    Args:
        function: takes `tenant_id` (a `UUID`) and optionally the keyword `connection`, the open
            transaction whose GUC `app.current_tenant_id` is that tenant.

    Returns:
        A function of the same arguments except `connection`. It accepts any arguments, so that the
        worker refuses a wrong call, which then leaves a dead-letter row.

    Raises (when called):
        TenantError: `tenant_id` is missing or not a UUID.

    """
    signature = inspect.signature(function)
    wants_connection = "connection" in signature.parameters

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> R:
        bound = signature.bind_partial(*args, **kwargs)
        tenant_id = required_tenant(bound.arguments.get("tenant_id"))
        bound.arguments["tenant_id"] = tenant_id
        with (
            bound_contextvars(tenant_id=str(tenant_id)),
            database.transaction(tenant_id) as connection,
        ):
            if wants_connection:
                bound.arguments["connection"] = connection
            return function(*bound.args, **bound.kwargs)

    return call


def required_tenant(value: object) -> UUID:
    """Return a tenant id as a UUID.

    Raises:
        TenantError: the value is None, or not a UUID in canonical form.

    """
    if value is None:
        raise TenantError("tenant_id: got nothing, expected a UUID; pass tenant_id to this task")
    text = canonical_uuid(value)
    if text is None:
        raise TenantError(
            f"tenant_id: got {str(value)[:64]!r}, expected a UUID; pass the tenant's id"
        )
    return UUID(text)
