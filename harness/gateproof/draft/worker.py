"""Starts a worker of a drafted description for a moment, and reads its log lines.

Owns the guesses about the fields of JSON log lines: the field that has the id of a published task
is the task's id, and so on. Leaves starting the system to `gateproof.stack.bring_up`.
"""

from __future__ import annotations

import datetime as dt
import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateproof.base.errors import HarnessError
from gateproof.base.wait import wait_until
from gateproof.description.sut import Sut
from gateproof.environments.embedded import Embedded
from gateproof.probes.recorder import Recorder
from gateproof.stack.bring_up import BringUp
from gateproof.stack.stack import Stack
from gateproof_evidence.format.journal import Journal
from gateproof_evidence.redaction.redactor import Redactor

READY_DEADLINE_S = 60.0
LOG_DEADLINE_S = 10.0
Entry = Mapping[str, Any]
MESSAGES = ("message", "event", "msg", "text")
LEVELS = ("level", "levelname", "severity", "log_level")
LOGGERS = ("logger", "logger_name", "name")


@dataclass(frozen=True, kw_only=True)
class Lines:
    """The JSON lines of a worker that ran three tasks, and what was published."""

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


def worker_lines(sut: Sut, *, progress: Callable[[str], None]) -> Lines:
    """Run a worker with three tasks and return its JSON lines.

    Args:
        sut: a description with a database, an app, a worker and tasks.
        progress: called with a line at each step.

    Raises:
        HarnessError: the system did not start.

    """
    redactor = Redactor()
    with tempfile.TemporaryDirectory() as folder:
        environment = Embedded(reason="gateproof init", learn_secret=redactor.add_secret)
        path = Path(folder) / "journal.jsonl"
        with closing(Journal(path, writer="init", clock=_now)) as journal:
            bring_up = BringUp(
                environment=environment,
                sut=sut,
                recorder=Recorder(journal, redactor, Path(folder)),
                ready_deadline_s=READY_DEADLINE_S,
                progress=progress,
                learn_secret=redactor.add_secret,
            )
            try:
                return _run(bring_up.shared(), sut)
            except AssertionError as error:
                raise HarnessError(f"worker: {error}") from error
            finally:
                bring_up.dispose()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _run(stack: Stack, sut: Sut) -> Lines:
    worker, ping, tenant = stack.worker, sut.ping, str(uuid.uuid4())
    key = {sut.tenancy.key: tenant} if sut.describes("tenancy.key") else {}
    more: tuple[dict[str, Any], ...] = ({}, ping.fail, ping.retry)
    ids = [
        stack.tasks.publish(ping.task, (), {**ping.arguments, **key, **one}, retry=False)
        for one in more
    ]
    for one in ids:
        stack.tasks.result(one, deadline_s=LOG_DEADLINE_S)
    log = wait_until(
        worker.log,
        lambda seen: all(_with_value(seen.entries(), one) for one in ids),
        deadline_s=LOG_DEADLINE_S,
        interval_s=0.5,
    )
    succeeded, failed, retried = ids
    return Lines(
        entries=tuple(log.entries()),
        task=ping.task,
        succeeded=succeeded,
        failed=failed,
        retried=retried,
        tenant=tenant,
        error=ping.fail_error,
        queues=tuple(sut.queues),
    )


def log_fields(lines: Lines) -> dict[str, str]:
    """Return the keys of ``[logs]`` that the lines show; empty if a required one is missing."""
    ended = _with_value(lines.entries, lines.succeeded)
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
    found = _with_value(lines.entries, value)
    return found[-1] if found else {}


def _with_value(entries: Iterable[Entry], value: str) -> list[Entry]:
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
    found = [str(one.get(message, "")) for one in _with_value(lines.entries, lines.retried)]
    return next((one for one in found if "retr" in one.lower()), "")
