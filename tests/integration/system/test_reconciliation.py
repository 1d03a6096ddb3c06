"""Reconciliation after a workflow failed: tasks that never ran leave no row of an unknown task."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group

from .support import Client, Database, StartWorker, Worker, make_client, wait_for

QUEUE: dict[str, Any] = {"queue": "housekeeping", "routing_key": "housekeeping.task"}
INCLUDE = ("--include", "tests.integration.system.failing_tasks")
PING, RECONCILE = "app.tasks.housekeeping.ping", "app.tasks.maintenance.reconcile_dead_letters"
TENANT = "7c8f3b0a-62a1-4a3e-9d56-0f4b6c1f2d3e"


@pytest.fixture
def worker(database: Database, start_worker: StartWorker) -> Worker:
    """Run a worker that knows the failing tasks."""
    return start_worker(database, *INCLUDE)


@pytest.fixture
def client(database: Database, worker: Worker) -> Iterator[Client]:  # noqa: ARG001 (must run)
    """Publish to that worker."""
    with make_client(database) as made:
        yield made


def task(client: Client, name: str, **kwargs: Any) -> Any:
    """Return the call of a task in the queue of the worker, without the result of another."""
    return client.app.signature(name, kwargs=kwargs, immutable=True, options=QUEUE)


def reconcile(database: Database, client: Client) -> list[tuple[Any, ...]]:
    """Reconcile the stored failures as if they were old, and return all rows."""
    with database.connect("postgres") as connection:
        connection.execute("UPDATE celery_taskmeta SET date_done = date_done - interval '1 hour'")
    client.run(RECONCILE)
    return database.rows(
        "SELECT task_id, task_name, tenant_id::text, kwargs ->> 'retry', replayable, notes"
        " FROM worker_failed_jobs ORDER BY failed_at"
    )


def wait_for_failure(database: Database, task_id: str) -> None:
    """Wait until the failure of a task is stored."""
    failed = "SELECT 1 FROM celery_taskmeta WHERE task_id = %s AND status = 'FAILURE'"
    assert wait_for(lambda: database.rows(failed, task_id))


def test_tasks_behind_a_failed_one_leave_no_row(
    database: Database, client: Client, tmp_path: Path
) -> None:
    """Celery stores a failure for each later task of a chain; only the first one has a row."""
    first = task(client, "failing.until_healed", path=str(tmp_path / "runs"))
    last: Any = chain(first, task(client, PING), task(client, PING)).apply_async()
    wait_for_failure(database, last.id)
    rows = reconcile(database, client)
    assert [(row[0], row[1]) for row in rows] == [(last.parent.parent.id, "failing.until_healed")]


@pytest.mark.parametrize("kind", ["task", "group"])
def test_body_of_a_failed_chord_has_a_row_with_its_name(
    database: Database, client: Client, tmp_path: Path, kind: str
) -> None:
    """The row of a chord's body has task, tenant and arguments, and says that it never ran."""
    header = [task(client, "failing.until_healed", path=str(tmp_path / "runs"))]
    body = task(client, PING, tenant_id=TENANT, retry=7)
    sent: Any = chord(header)(body if kind == "task" else group(body, body))
    for one in [sent] if kind == "task" else sent.results:
        wait_for_failure(database, one.id)
    rows = reconcile(database, client)
    bodies = [row[1:] for row in rows if row[1] != "failing.until_healed"]
    note = "cannot be replayed: the task never ran: a task of its chord failed"
    expected = (PING, TENANT, "7", False, note)
    assert bodies == [expected] * (1 if kind == "task" else 2)


def test_failure_of_another_program_has_a_row(database: Database, client: Client) -> None:
    """A stored failure without a row still gets one, whatever its text says."""
    text = '"system_not_run": true'
    result = json.dumps({"exc_type": "GoneError", "exc_message": [text], "exc_module": "x"})
    with database.connect("postgres") as connection:
        connection.execute(
            "INSERT INTO celery_taskmeta (id, task_id, status, result, date_done)"
            " VALUES (nextval('task_id_sequence'), 'lost', 'FAILURE', %s, now())",
            (result.encode(),),
        )
    assert [row[0] for row in reconcile(database, client)] == ["lost"]
