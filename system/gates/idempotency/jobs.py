"""The identity of a recomputation job, and helpers that run a job and read its rows.

Rows are counted as superuser, so that no policy hides one. Source: attribution contract; the
statements know the columns of the reference system's table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from gateproof import Stack, Sut, TaskResult

TASK = "app.tasks.attribution.recompute_window"
TABLE = "attribution_recompute_jobs"
CONSTRAINT = "uq_attribution_recompute_jobs_window"
JOBS_REVISION = "migrations/versions/core/core_0002_recompute_jobs.py"
"""The migration that creates the table."""

START, END = "2025-03-01T00:00:00+00:00", "2025-03-02T00:00:00+00:00"
SAME_START, SAME_END = "2025-03-01T02:00:00+02:00", "2025-03-02T00:00:00Z"
"""The same two moments in another notation: a window is two moments and not two texts."""


def window(sut: Sut, tenant: UUID, *, model: str, **changed: str) -> dict[str, Any]:
    """Return the arguments of a run: one window of a tenant and one model version."""
    arguments = {"window_start": START, "window_end": END, "model_version": model}
    return {sut.tenancy.key: tenant, **arguments, **changed}


def run(stack: Stack, arguments: Mapping[str, Any]) -> TaskResult:
    """Run the task for a window and wait for its result."""
    return stack.tasks.run(TASK, arguments)


def jobs_of(stack: Stack, sut: Sut, tenant: UUID) -> list[dict[str, Any]]:
    """Return all job rows of a tenant."""
    query = (
        "SELECT id, model_version, window_start, window_end, request_id"
        f" FROM {TABLE} WHERE {sut.tenancy.key} = %s ORDER BY created_at"
    )
    return stack.sql.query(query, (tenant,)).dicts()


def describe(result: TaskResult) -> str:
    """Return the result of a run as a message shows it."""
    return f"{result.state} {result.value}" if result.state != "SUCCESS" else "SUCCESS"


def identity_of(columns: str) -> str:
    """Return statements that make the constraint cover other columns, under the same name.

    The table is emptied first: rows of an earlier run may be duplicates under the new constraint.
    """
    return (
        f"TRUNCATE {TABLE}; ALTER TABLE {TABLE} DROP CONSTRAINT {CONSTRAINT};"
        f" ALTER TABLE {TABLE} ADD CONSTRAINT {CONSTRAINT} UNIQUE ({columns})"
    )


LANDING = f"SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = '{CONSTRAINT}'"
"""The query for what the constraint covers; no row if the constraint does not exist."""
