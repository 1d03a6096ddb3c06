"""Reads the fields of JSON log lines of a worker that ran tasks.

Owns the guesses about them: the field that has the id of a published task is the task's id, and so
on.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Entry = Mapping[str, Any]
MESSAGES = ("message", "event", "msg", "text")
LEVELS = ("level", "levelname", "severity", "log_level")
LOGGERS = ("logger", "logger_name", "name")


@dataclass(frozen=True, kw_only=True)
class Lines:
    """The JSON lines of a worker that ran some tasks, and what was published."""

    entries: tuple[Entry, ...]
    task: str
    """The name of the task."""
    succeeded: str
    """The id of a task that succeeded."""
    failed: str
    retried: str
    tenant: str
    """The value of the tenant that each task got."""
    error: str
    """The class of the exception of the task that failed."""
    queues: tuple[str, ...]


def log_fields(lines: Lines) -> dict[str, str]:
    """Return the keys of ``[logs]`` that the lines show; empty if a required one is missing."""
    ended = with_value(lines.entries, lines.succeeded)
    if not ended:
        return {}
    last = ended[-1]
    ids = [key for key, value in last.items() if value == lines.succeeded]
    message = _first_of(MESSAGES, last)
    found = {
        "timestamp": _timestamp_key(last),
        "level": _first_of(LEVELS, last),
        "logger": _first_of(LOGGERS, last),
        "message": message,
        "task_name": _key_of(last, lines.task),
        "task_id": next((key for key in ids if "correl" not in key), ""),
        "tenant_id": _key_of(last, lines.tenant),
        "correlation_id": next((key for key in ids if "correl" in key), ""),
        "error": _error_key(lines),
        "success": str(last.get(message, "")),
        "failure": str(_last(lines, lines.failed).get(message, "")),
        "retry": _retry_message(lines, message),
    }
    known = {key: value for key, value in found.items() if value}
    return known if {"message", "task_id", "task_name", "success", "failure"} <= set(known) else {}


def report_fields(lines: Lines) -> dict[str, str]:
    """Return the keys of ``[worker.report]``: a line that has the names of the queues as a list."""
    for entry in lines.entries:
        queues = _key_of_list(entry, lines.queues)
        if queues:
            message = _first_of(MESSAGES, entry)
            found = {
                "message": str(entry.get(message, "")),
                "broker": _named(entry, "broker"),
                "result_backend": _named(entry, "backend"),
                "eager": _named(entry, "eager"),
                "queues": queues,
            }
            return found if all(found.values()) else {}
    return {}


def _last(lines: Lines, value: str) -> Entry:
    found = with_value(lines.entries, value)
    return found[-1] if found else {}


def with_value(entries: Iterable[Entry], value: str) -> list[Entry]:
    """Return the entries in which a field has a value."""
    return [entry for entry in entries if value in entry.values()]


def _key_of(entry: Entry, value: str) -> str:
    return next((key for key, one in entry.items() if one == value), "")


def _key_of_list(entry: Entry, values: Sequence[str]) -> str:
    wanted = sorted(values)
    lists = {key: one for key, one in entry.items() if isinstance(one, list)}
    return next((key for key, one in lists.items() if sorted(map(str, one)) == wanted), "")


def _first_of(names: Iterable[str], entry: Entry) -> str:
    return next((name for name in names if isinstance(entry.get(name), str)), "")


def _named(entry: Entry, part: str) -> str:
    return next((key for key in entry if part in key.lower()), "")


def _timestamp_key(entry: Entry) -> str:
    for key, value in entry.items():
        if isinstance(value, str) and len(value) >= len("2026-01-01T00:00"):
            try:
                dt.datetime.fromisoformat(value)
            except ValueError:
                continue
            return key
    return ""


def _error_key(lines: Lines) -> str:
    entry = _last(lines, lines.failed)
    return next(
        (key for key, one in entry.items() if isinstance(one, str) and lines.error in one), ""
    )


def _retry_message(lines: Lines, message: str) -> str:
    found = [str(one.get(message, "")) for one in with_value(lines.entries, lines.retried)]
    return next((one for one in found if "retr" in one.lower()), "")
