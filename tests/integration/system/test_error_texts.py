"""Errors whose text PostgreSQL refuses, or that have none: the task's own error is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .support import Client, Database, StartWorker, Worker, make_client, wait_for

QUEUE: dict[str, Any] = {"queue": "housekeeping", "routing_key": "housekeeping.task"}
NO_TEXT = "its text is not available: RuntimeError"
UNSTORABLE = {"a\x00b": "a\\x00b", "a\ud800b": "a\\ud800b"}
ROWS = "SELECT exception_class, error_message, traceback FROM worker_failed_jobs WHERE task_id = %s"


@pytest.fixture(scope="module")
def worker(shared: Database, start_shared_worker: StartWorker) -> Worker:
    """Run a worker that knows the failing tasks."""
    return start_shared_worker(shared, "--include", "tests.integration.system.failing_tasks")


@pytest.fixture(scope="module")
def client(shared: Database, worker: Worker) -> Iterator[Client]:  # noqa: ARG001 (must run)
    """Publish to that worker."""
    with make_client(shared) as made:
        yield made


@pytest.mark.parametrize(("text", "shown"), UNSTORABLE.items(), ids=ascii)
def test_failure_with_a_text_that_postgresql_refuses_is_recorded(
    shared: Database, client: Client, worker: Worker, text: str, shown: str
) -> None:
    """Row, result and log line have the task's error, with escapes for the refused characters."""
    task_id = client.send("failing.with_text", {"text": text}, **QUEUE)
    ((name, message, traceback),) = wait_for(lambda: shared.rows(ROWS, task_id))
    assert (name, message) == ("LookupError", shown)
    assert f"LookupError: {shown}" in traceback
    error = client.app.AsyncResult(task_id).get(timeout=20, interval=0.02, propagate=False)
    assert (type(error), str(error)) == (LookupError, text)
    stored = shared.rows("SELECT traceback FROM celery_taskmeta WHERE task_id = %s", task_id)
    assert f"LookupError: {shown}" in stored[0][0]
    line = worker.wait_for_line("task failed", task_id=task_id)
    assert line["error"] == f"LookupError: {shown}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        *((text, f"ConnectionError: {shown}") for text, shown in UNSTORABLE.items()),
        (None, f"MuteError: {NO_TEXT}"),
    ],
    ids=ascii,
)
def test_retry_after_such_an_error_is_a_retry(
    shared: Database, client: Client, worker: Worker, tmp_path: Path, text: Any, shown: str
) -> None:
    """The task runs again and succeeds: it leaves no row, which a replay would run once more."""
    path = tmp_path / "runs"
    task_id = client.send("failing.first_attempt", {"path": str(path), "text": text}, **QUEUE)
    worker.wait_for_line("task succeeded", task_id=task_id)
    assert client.wait(task_id) == "done"
    assert path.read_text(encoding="utf-8").splitlines() == ["run"] * 2
    assert shared.rows(ROWS, task_id) == []
    assert worker.wait_for_line("task retried", task_id=task_id)["error"] == shown


def test_failure_without_a_text_is_logged(client: Client, worker: Worker) -> None:
    """An error whose `__str__` raises has a log line with its class, and the reason."""
    task_id = client.send("failing.broken_text", {}, **QUEUE)
    line = worker.wait_for_line("task failed", task_id=task_id)
    assert line["error"] == f"MuteError: {NO_TEXT}"
