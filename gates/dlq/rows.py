"""Read dead-letter rows, and run tasks that fail.

Owns reading rows, waiting for them, and the claim that there is exactly one; each check judges
their content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kombu.utils import json as kombu_json

from gateproof import Stack, TaskResult, claim, premise, wait_until

from ..endings import ROW_AFTER_LINE_S, wait_for_failure_lines

ROWS_OF_TASK = "dead-letter rows of the task"
"""The name of the claim that a failure left exactly one row; its object says which failure."""

_COLUMNS = (
    "task_id, task_name, queue, tenant_id::text, args::text, kwargs::text,"
    " exception_class, error_message, status"
)


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """The columns of a dead-letter row that these checks read."""

    task_id: str
    task_name: str
    queue: str | None
    tenant_id: str | None
    args: str
    kwargs: str
    exception_class: str
    error_message: str
    status: str

    def sent_args(self) -> Any:
        """Return the positional arguments with their types, as a replay sends them."""
        return kombu_json.loads(self.args)

    def sent_kwargs(self) -> Any:
        """Return the keyword arguments with their types, as a replay sends them."""
        return kombu_json.loads(self.kwargs)


def rows_of(
    stack: Stack, task_ids: Sequence[str], *, tenant_id: str | None = None
) -> tuple[DeadLetter, ...]:
    """Return the rows of these tasks, and all others of that tenant, as superuser.

    A second row of one failure can have another task id: the tenant, which was never used before,
    shows it.
    """
    table = stack.sut.dead_letters.table
    rows = stack.sql.query(
        f"SELECT {_COLUMNS} FROM {table} WHERE task_id = ANY(%s) OR tenant_id::text = %s"
        " ORDER BY failed_at, id",
        (list(task_ids), tenant_id),
    )
    return tuple(DeadLetter(**row) for row in rows.dicts())


def wait_for_rows(
    stack: Stack, task_ids: Sequence[str], *, tenant_id: str | None = None
) -> tuple[DeadLetter, ...]:
    """Return the rows once there is one for each task, or those that exist at the deadline."""
    wait_for_failure_lines(stack, task_ids)
    return wait_until(
        lambda: rows_of(stack, task_ids, tenant_id=tenant_id),
        lambda found: {row.task_id for row in found} >= set(task_ids),
        deadline_s=ROW_AFTER_LINE_S,
        interval_s=0.1,
    )


def only_row(rows: Sequence[DeadLetter], what: str) -> DeadLetter | None:
    """Claim that a failure left exactly one row, and return it; None if the claim is false."""
    holds = claim(ROWS_OF_TASK, on=what, got=len(rows), expected=1)
    return rows[0] if holds else None


def typed(value: Any) -> Any:
    """Return a value of which a claim can be made without losing types.

    A claim turns what JSON lacks into text, and then a UUID would equal its text: its `repr` does
    not.
    """
    if isinstance(value, Mapping):
        return {key: typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [typed(inner) for inner in value]
    is_plain = value is None or isinstance(value, bool | int | float | str)
    return value if is_plain else repr(value)


def fail(
    stack: Stack, task: str, kwargs: Mapping[str, Any], args: Sequence[Any] = ()
) -> TaskResult:
    """Run a task that must fail in the stack's worker, and return its result."""
    premise("the worker runs", got=stack.worker.alive, expected=True)
    result = stack.tasks.result(stack.tasks.publish(task, args, kwargs))
    premise("state of a task that must fail", on=task, got=result.state, expected="FAILURE")
    return result


def failing_ping(stack: Stack, **more: Any) -> TaskResult:
    """Run the system's ping so that it fails."""
    ping = stack.sut.ping
    return fail(stack, ping.task, {**ping.arguments, **ping.fail, **more})
