"""Read dead-letter rows, and run tasks that fail.

Owns reading rows, waiting for them, and the claim that there is exactly one; each check judges
their content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from kombu.utils import json as kombu_json

from gateproof import InconclusiveError, Stack, Sut, TaskResult, claim, premise, wait_until

from ..endings import ROW_AFTER_LINE_S, wait_for_failure_lines
from .contract import has

ROWS_OF_TASK = "dead-letter rows of the task"
"""The name of the claim that a failure left exactly one row; its object says which failure."""

_AS_TEXT = ("tenant_id", "args", "kwargs")


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
    described = stack.sut.dead_letters
    name = described.column
    columns = ", ".join(
        f"{name(one.name) if has(stack.sut, one.name) else 'NULL'}"
        f"{'::text' if one.name in _AS_TEXT else ''} AS {one.name}"
        for one in fields(DeadLetter)
    )
    rows = stack.sql.query(
        f"SELECT {columns} FROM {described.table} WHERE {name('task_id')} = ANY(%s)"
        f" OR {name('tenant_id')}::text = %s ORDER BY {name('failed_at')}, {name('id')}",
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


@dataclass(frozen=True, kw_only=True)
class Failing:
    """A task that can be asked to fail."""

    task: str
    kwargs: Mapping[str, Any]
    """Keyword arguments with which it fails."""
    sample: Mapping[str, Any]
    """Further keyword arguments that it demands, unless they are given by position."""
    error: str
    message: str
    any_value: str
    """The name of a keyword argument that takes any value; empty if there is none."""
    positional: bool
    """Whether it takes a tenant's UUID and two moments as positional arguments."""


PROBE = Failing(
    task="gateproof.probe.fail",
    kwargs={"message": "failure requested"},
    sample={},
    error="ProbeFailureError",
    message="failure requested",
    any_value="given",
    positional=True,
)
"""The probe task that fails, of a system into which the probe tasks are loaded."""


def failing_task(sut: Sut) -> Failing:
    """Return a task that fails as it is asked to: a described one, or the probe task.

    Raises:
        InconclusiveError: there is none.

    """
    for name, task in sut.task.items():
        if task.describes_failure and not task.never:
            fails = task.fails
            return Failing(
                task=name,
                kwargs=fails.kwargs,
                sample=task.sample_kwargs,
                error=fails.error,
                message=fails.message,
                any_value=fails.any_value,
                positional=fails.positional,
            )
    if sut.injects_probe:
        return PROBE
    raise InconclusiveError(
        f"{sut.path}: task: got no task with the key fails, expected one that can be asked to "
        'fail; add fails = { kwargs = { ... }, error = "..." } to a task, or probe = "inject" to '
        "[worker]"
    )


def failing_ping(stack: Stack, **more: Any) -> TaskResult:
    """Run the system's ping so that it fails."""
    ping = stack.sut.ping
    return fail(stack, ping.task, {**ping.arguments, **ping.fail, **more})
