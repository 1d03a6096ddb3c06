"""Accept payloads for language models; no model is called yet."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from celery import shared_task

from system.tasks.tenancy import tenant_task

Payload = dict[str, Any] | None
_ACCEPTED = {"status": "accepted", "route": "noop"}


@shared_task(name="app.tasks.llm.route")
@tenant_task
def route(tenant_id: UUID, payload: Payload = None) -> dict[str, str]:  # noqa: ARG001 (the contract)
    """Accept a request to choose a model."""
    return dict(_ACCEPTED)


@shared_task(name="app.tasks.llm.explanation")
@tenant_task
def explanation(tenant_id: UUID, payload: Payload = None) -> dict[str, str]:  # noqa: ARG001
    """Accept a request to explain a result."""
    return dict(_ACCEPTED)


@shared_task(name="app.tasks.llm.investigation")
@tenant_task
def investigation(tenant_id: UUID, payload: Payload = None) -> dict[str, str]:  # noqa: ARG001
    """Accept a request to investigate a finding."""
    return dict(_ACCEPTED)


@shared_task(name="app.tasks.llm.budget_optimization")
@tenant_task
def budget_optimization(tenant_id: UUID, payload: Payload = None) -> dict[str, str]:  # noqa: ARG001
    """Accept a request to optimize a budget."""
    return dict(_ACCEPTED)
