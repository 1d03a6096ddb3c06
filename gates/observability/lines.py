"""The lines that a worker printed about one task, and about itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from harness.probes.worker import Worker
from harness.stack import Stack
from harness.wait import wait_until

DEADLINE_S = 10.0


def line_of(worker: Worker, stack: Stack, message: str, task_id: str) -> Mapping[str, Any]:
    """Return the one line of this message about a task, once it is there."""
    logs = stack.sut.logs
    fields = {logs.message: message, logs.task_id: task_id}
    found = worker.wait_log(deadline_s=DEADLINE_S, **fields).matching(**fields)
    assert len(found) == 1, f"lines {message!r} of the task {task_id}: got {len(found)}, expected 1"
    return found[0]


def expect_fields(line: Mapping[str, Any], stack: Stack, expected: Mapping[str, Any]) -> None:
    """Judge that a line has all fields of the contract, some with known values."""
    logs = stack.sut.logs
    message = line.get(logs.message)
    names = (
        *(logs.timestamp, logs.level, logs.logger, logs.message),
        *(logs.task_name, logs.task_id, logs.tenant_id, logs.correlation_id),
    )
    missing = [name for name in names if line.get(name) in (None, "")]
    assert not missing, f"fields of the line {message!r}: got none of {missing}, expected all"
    told = {name: line.get(name) for name in expected}
    assert told == expected, f"fields of the line {message!r}: got {told}, expected {expected}"


def without_time(entries: list[dict[str, Any]], name: str) -> list[Any]:
    """Return the timestamps that are no aware ISO 8601 times."""
    return [entry.get(name) for entry in entries if not _is_aware(entry.get(name))]


def dead_letters_of(stack: Stack, task_id: str) -> list[Any]:
    """Return the correlation ids of a task's dead letters, once there is one."""
    table = stack.sut.dead_letters.table
    statement = f"SELECT correlation_id FROM {table} WHERE task_id = %s"
    return wait_until(
        lambda: stack.sql.query(statement, (task_id,)).column(),
        deadline_s=DEADLINE_S,
        interval_s=0.1,
    )


def _is_aware(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False
