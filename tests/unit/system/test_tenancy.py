"""`@tenant_task`: the required tenant, its transaction and its log context."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from structlog.contextvars import get_contextvars

from system.connections import database
from system.errors import TenantError
from system.tasks.tenancy import required_tenant, tenant_task

TENANT = uuid.UUID("7c8f3b0a-62a1-4a3e-9d56-0f4b6c1f2d3e")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[uuid.UUID | None]:
    """Replace the database, and record the tenant and the end of each transaction."""
    seen: list[Any] = []

    @contextmanager
    def transaction(tenant_id: uuid.UUID | None = None) -> Iterator[str]:
        seen.append(tenant_id)
        try:
            yield "the connection"
        except BaseException:
            seen.append("rolled back")
            raise
        seen.append("committed")

    monkeypatch.setattr(database, "transaction", transaction)
    return seen


@tenant_task
def report(tenant_id: uuid.UUID, word: str = "", *, connection: Any) -> tuple[Any, ...]:
    """Return the arguments, the connection and the tenant of the log context."""
    if word == "fail":
        raise LookupError(word)
    return tenant_id, word, connection, get_contextvars().get("tenant_id")


@pytest.mark.parametrize("given", [TENANT, str(TENANT), str(TENANT).upper()])
def test_tenant_task_runs_in_the_tenant_s_transaction(given: Any, opened: list[Any]) -> None:
    """The function gets a UUID, the tenant's connection and the tenant's log context."""
    assert report(tenant_id=given, word="x") == (TENANT, "x", "the connection", str(TENANT))
    assert opened == [TENANT, "committed"]


def test_tenant_task_accepts_a_positional_tenant(opened: list[Any]) -> None:
    """The tenant can be a positional argument."""
    assert report(str(TENANT), "y")[:2] == (TENANT, "y")
    assert opened == [TENANT, "committed"]


def test_tenant_task_clears_the_context_after_success(opened: list[Any]) -> None:
    """The log context has no tenant after the task."""
    report(tenant_id=TENANT)
    assert "tenant_id" not in get_contextvars()
    assert opened


def test_tenant_task_clears_the_context_after_failure(opened: list[Any]) -> None:
    """A failure rolls back, and the log context has no tenant afterwards."""
    with pytest.raises(LookupError, match="fail"):
        report(tenant_id=TENANT, word="fail")
    assert opened == [TENANT, "rolled back"]
    assert "tenant_id" not in get_contextvars()


@pytest.mark.parametrize("arguments", [{}, {"tenant_id": None}])
def test_missing_tenant_is_refused(arguments: dict[str, Any], opened: list[Any]) -> None:
    """Without a tenant the task is refused before any transaction is opened."""
    with pytest.raises(TenantError, match="tenant_id: got nothing, expected a UUID"):
        report(**arguments)
    assert opened == []


@pytest.mark.parametrize(
    "given",
    ["", "x", 7, f"{{{TENANT}}}", f"urn:uuid:{TENANT}", TENANT.hex, f" {TENANT}", b"x" * 16],
)
def test_malformed_tenant_is_refused(given: Any, opened: list[Any]) -> None:
    """A tenant that is no UUID in canonical form is refused."""
    with pytest.raises(TenantError, match=r"tenant_id: got .*, expected a UUID; pass the tenant"):
        report(tenant_id=given)
    assert opened == []


def test_unknown_argument_is_refused(opened: list[Any]) -> None:
    """An argument that the function does not have gives the same TypeError as in Python."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'bogus'"):
        report(tenant_id=TENANT, bogus=1)
    assert opened == []


def test_long_value_is_truncated_in_the_message() -> None:
    """A message repeats only the beginning of a long value."""
    with pytest.raises(TenantError) as error:
        required_tenant("x" * 5000)
    assert len(str(error.value)) < 200
