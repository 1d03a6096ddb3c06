"""The log lines of a worker about one task, and about itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gateproof import LogLines, Stack, Worker, at_least_one, wait_until

DEADLINE_S = 30.0


def log_after(worker: Worker, stack: Stack) -> tuple[str, LogLines]:
    """Run one more ping, wait for its line, and return its id and the log.

    A worker with one child runs its tasks one after another. When the line of the last ping is
    there, the log has every line about the earlier tasks: a missing line will not appear later.
    """
    logs, ping = stack.sut.logs, stack.sut.ping
    last = stack.tasks.publish(ping.task, (), ping.arguments)
    fields = {logs.message: logs.success, logs.task_id: last}
    log = worker.wait_log(deadline_s=DEADLINE_S, **fields)
    assert log.matching(**fields), f"line {logs.success!r} of the last ping: got none, expected one"
    return last, log


def line_of(log: LogLines, stack: Stack, message: str, task_id: str) -> Mapping[str, Any]:
    """Return the one line of this message about a task."""
    logs = stack.sut.logs
    found = log.matching(**{logs.message: message, logs.task_id: task_id})
    assert len(found) == 1, f"lines {message!r} of the task {task_id}: got {len(found)}, expected 1"
    return found[0]


def expect_json(log: LogLines, stack: Stack) -> None:
    """Judge that each line is one JSON object with a timestamp."""
    at_least_one("log lines", log.lines)
    plain = log.plain()
    assert not plain, (
        f"lines that are not a JSON object: got {len(plain)}, expected 0, the first: "
        f"{plain[0][:100]!r}"
    )
    untimed = without_time(log.entries(), stack.sut.logs.timestamp)
    assert not untimed, f"timestamps of lines: got {untimed[:3]}, expected aware ISO 8601 times"


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
    got = {name: line.get(name) for name in expected}
    assert got == expected, f"fields of the line {message!r}: got {got}, expected {expected}"


def without_time(entries: list[dict[str, Any]], name: str) -> list[Any]:
    """Return the timestamps that are not aware ISO 8601 times."""
    return [entry.get(name) for entry in entries if not _is_aware(entry.get(name))]


def dead_letters_of(stack: Stack, task_id: str) -> list[Any]:
    """Wait for a task's dead-letter row, and return the correlation ids of all such rows."""
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
