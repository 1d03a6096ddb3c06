"""Chords and workers of one queue only: where the task that joins a chord waits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import chord

from .support import Client, Database, StartWorker, Worker, make_client, wait_for
from .test_consumer_health import gauges

PING = "app.tasks.housekeeping.ping"
ROUTE, EXPLANATION = "app.tasks.llm.route", "app.tasks.llm.explanation"
SCAN = "app.tasks.maintenance.scan_for_pii_contamination"
TENANT = {"tenant_id": "7c8f3b0a-62a1-4a3e-9d56-0f4b6c1f2d3e"}
UNLOCK = "celery.chord_unlock"


@pytest.fixture
def client(database: Database) -> Iterator[Client]:
    """Yield a client of the test's database."""
    with make_client(database) as made:
        yield made


def worker_of(database: Database, start_worker: StartWorker, queue: str) -> Worker:
    """Start a worker of one queue."""
    options = ("--pool", "solo", "--queues", queue, "--hostname", f"{queue}@%h")
    return start_worker(database, *options)


def send_chord(client: Client, header: str, body: str, **options: Any) -> Any:
    """Send a chord of two tasks and a body, and return its result."""
    tasks = [client.app.signature(header, kwargs=TENANT) for _ in range(2)]
    last = client.app.signature(body, kwargs=TENANT, immutable=True, **options)
    return chord(tasks, app=client.app)(last)


def waiting(database: Database) -> list[tuple[str, str]]:
    """Return queue and task of each message that is left."""
    return database.rows(
        "SELECT q.name, m.payload::json->'headers'->>'task' FROM kombu_message m"
        " JOIN kombu_queue q ON q.id = m.queue_id WHERE q.owner IS NULL ORDER BY 1, 2"
    )


def tasks_of(worker: Worker) -> set[str]:
    """Return the names of the tasks that a worker ran or retried."""
    lines = (*worker.lines("task succeeded"), *worker.lines("task retried"))
    return {line["task_name"] for line in lines}


def assert_tasks(worker: Worker, expected: set[str]) -> None:
    """Require these names of tasks; a result is stored before the line of its task is written."""
    assert wait_for(lambda: tasks_of(worker) == expected), tasks_of(worker)


def test_chord_of_one_queue_needs_no_other_worker(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """If header and body have one queue, a worker of that queue alone completes the chord."""
    worker = worker_of(database, start_worker, "llm")
    result = send_chord(client, ROUTE, EXPLANATION)
    assert result.get(timeout=20, interval=0.02)["status"] == "accepted"
    assert_tasks(worker, {ROUTE, EXPLANATION, UNLOCK})
    assert wait_for(lambda: waiting(database) == []), waiting(database)


def test_chord_waits_in_the_queue_of_its_body(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """Without a worker of the body's queue the joining task waits there, and a gauge shows it."""
    header = worker_of(database, start_worker, "llm")
    result = send_chord(client, ROUTE, SCAN)
    left = [("maintenance", UNLOCK)]
    assert wait_for(lambda: waiting(database) == left), waiting(database)
    assert wait_for(lambda: gauges(header).get(("waiting", "maintenance")) == 1), gauges(header)
    assert not result.ready()
    body = worker_of(database, start_worker, "maintenance")
    assert result.get(timeout=20, interval=0.02)["status"] == "ok"
    assert_tasks(header, {ROUTE})
    assert_tasks(body, {SCAN, UNLOCK})


def test_joining_task_stays_in_the_queue_of_the_body_while_the_header_waits(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """While no worker runs the header, the joining task is retried in the queue of the body."""
    body = worker_of(database, start_worker, "maintenance")
    result = send_chord(client, ROUTE, SCAN)
    assert wait_for(lambda: len(body.lines("task retried")) >= 3)
    assert {queue for queue, task in waiting(database) if task == UNLOCK} <= {"maintenance"}
    assert [row for row in waiting(database) if row[1] != UNLOCK] == [("llm", ROUTE)] * 2
    worker_of(database, start_worker, "llm")
    assert result.get(timeout=20, interval=0.02)["status"] == "ok"


def test_joining_task_follows_the_queue_option_of_the_body(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """A body that is sent to another queue, by queue and key, takes the joining task with it."""
    worker = worker_of(database, start_worker, "llm")
    result = send_chord(client, ROUTE, SCAN, queue="llm", routing_key="llm.task")
    assert result.get(timeout=20, interval=0.02)["status"] == "ok"
    assert_tasks(worker, {ROUTE, SCAN, UNLOCK})


def test_body_that_reaches_no_queue_fails_the_chord(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """A body whose key reaches no queue is not lost: the chord fails, and the error has the key."""
    worker_of(database, start_worker, "llm")
    result = send_chord(client, ROUTE, SCAN, queue="llm")
    error = result.get(timeout=20, interval=0.02, propagate=False)
    assert result.state == "FAILURE"
    assert "got routing key 'maintenance.task', expected one that reaches a queue" in str(error)


def test_chord_with_a_failed_header_fails_in_the_queue_of_its_body(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """The joining task sees the failure: the body fails, and does not run."""
    worker_of(database, start_worker, "housekeeping")
    body = worker_of(database, start_worker, "maintenance")
    tasks = [client.app.signature(PING, kwargs={"fail": failed}) for failed in (True, False)]
    result = chord(tasks, app=client.app)(client.app.signature(SCAN, kwargs=TENANT, immutable=True))
    error = result.get(timeout=20, interval=0.02, propagate=False)
    assert result.state == "FAILURE"
    assert "ChordError" in type(error).__name__
    assert SCAN not in tasks_of(body)
