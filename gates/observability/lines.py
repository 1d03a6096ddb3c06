"""The log lines of a worker about one task, and about itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gateproof import LogLines, Stack, Worker, at_least_one, claim, wait_until

DEADLINE_S = 30.0

LINES, NOT_JSON = "lines about the task", "lines that are not a JSON object"
"""Names of claims that falsifiers predict."""


def log_after(worker: Worker, stack: Stack) -> tuple[str, LogLines] | None:
    """Run one more ping, wait for its line, and return its id and the log; None without the line.

    A worker with one child runs its tasks one after another. When the line of the last ping is
    there, the log has every line about the earlier tasks: a missing line will not appear later.
    """
    logs, ping = stack.sut.logs, stack.sut.ping
    last = stack.tasks.publish(ping.task, (), ping.arguments)
    fields = {logs.message: logs.success, logs.task_id: last}
    log = worker.wait_log(deadline_s=DEADLINE_S, **fields)
    found = len(log.matching(**fields))
    ended = claim(LINES, on="last ping/success", got=found, relation="at_least", expected=1)
    return (last, log) if ended else None


def line_of(
    log: LogLines, stack: Stack, message: str, task_id: str, *, on: str
) -> Mapping[str, Any] | None:
    """Judge that there is one line of this message about a task, and return it.

    Args:
        log: the lines of the worker.
        stack: the stack of the worker.
        message: the message of the line, as the description has it.
        task_id: the task.
        on: the object of the claim, such as ``failing ping/failure``.

    """
    logs = stack.sut.logs
    found = log.matching(**{logs.message: message, logs.task_id: task_id})
    return found[0] if claim(LINES, on=on, got=len(found), expected=1) else None


def expect_json(log: LogLines, stack: Stack, what: str) -> bool:
    """Judge that each line is one JSON object with a timestamp; return whether all are."""
    at_least_one("log lines", log.lines)
    plain = [line[:100] for line in log.plain()]
    whole = claim(NOT_JSON, on=what, got=plain[:3], expected=[], over=log.lines)
    untimed = without_time(log.entries(), stack.sut.logs.timestamp)
    timed = claim(
        "timestamps that are not aware ISO 8601 times", on=what, got=untimed[:3], expected=[]
    )
    return whole and timed


def expect_fields(
    line: Mapping[str, Any], stack: Stack, expected: Mapping[str, Any], *, on: str
) -> None:
    """Judge that a line has all fields of the contract, some with known values."""
    logs = stack.sut.logs
    names = (
        *(logs.timestamp, logs.level, logs.logger, logs.message),
        *(logs.task_name, logs.task_id, logs.tenant_id, logs.correlation_id),
    )
    missing = [name for name in names if line.get(name) in (None, "")]
    claim("fields that the line lacks", on=on, got=missing, expected=[], over=names)
    got = {name: line.get(name) for name in expected}
    claim("fields of the line", on=on, got=got, expected=expected)


def without_time(entries: list[dict[str, Any]], name: str) -> list[Any]:
    """Return the timestamps that are not aware ISO 8601 times."""
    return [entry.get(name) for entry in entries if not _is_aware(entry.get(name))]


def dead_letters_of(stack: Stack, task_id: str) -> list[Any]:
    """Wait for a task's dead-letter row, and return the correlation ids of all such rows."""
    rows = stack.sut.dead_letters
    found, of = rows.column("correlation_id"), rows.column("task_id")
    statement = f"SELECT {found} FROM {rows.table} WHERE {of} = %s"
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
