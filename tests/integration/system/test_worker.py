"""A worker process: its log lines, its start and its exit."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

import psutil
import pytest

from .support import Database, StartWorker, Worker, make_client, wait_for

PING = "app.tasks.housekeeping.ping"
FIELDS = {
    *("timestamp", "level", "logger", "message"),
    *("task_name", "task_id", "tenant_id", "correlation_id"),
}


def configuration(worker: Worker) -> dict[str, Any]:
    """Return the line in which a worker reports its configuration."""
    return worker.wait_for_line("worker configuration")


@pytest.mark.parametrize("pool", ["solo", "prefork", "threads"])
def test_every_line_is_one_object(database: Database, start_worker: StartWorker, pool: str) -> None:
    """From start to end a worker prints JSON objects only, with every field, and no secret."""
    worker = start_worker(database, "--pool", pool, "--concurrency", "2", "--queues", "llm")
    line = configuration(worker)
    assert (line["pool"], line["concurrency"], line["queues"]) == (pool, 2, ["llm"])
    assert worker.stop() == 0
    lines = worker.lines()
    assert worker.text().endswith("\n")
    assert all(set(line) >= FIELDS for line in lines)
    messages = [line["message"] for line in lines]
    assert "worker ready" in messages
    assert "worker: Warm shutdown (MainProcess)" in messages
    assert messages[-1] == "worker stopped"
    assert database.server.password not in worker.text()
    assert "@127.0.0.1" not in worker.text()


def test_worker_reports_its_configuration(database: Database, start_worker: StartWorker) -> None:
    """The configuration line has the actual broker, result backend, queues and endpoint."""
    worker = start_worker(database)
    line = configuration(worker)
    assert line["broker"] == "sqla+postgresql"
    assert line["result_backend"] == "db+postgresql"
    assert line["eager"] is False
    assert line["queues"] == ["attribution", "housekeeping", "llm", "maintenance"]
    assert (line["metrics_address"], line["metrics_port"]) == ("127.0.0.1", worker.port)
    assert line["pid"] == worker.process.pid


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("CELERY_TASK_ALWAYS_EAGER", "true", "eager", True),
        ("CELERY_RESULT_BACKEND", "rpc://", "result_backend", "rpc"),
        ("CELERY_BROKER_URL", "memory://", "broker", "memory"),
    ],
)
def test_worker_reports_other_settings(
    database: Database,
    start_worker: StartWorker,
    variable: str,
    value: str,
    field: str,
    expected: object,
) -> None:
    """A worker with eager mode, another backend or another broker starts and reports it."""
    worker = start_worker(database, **{variable: value})
    assert configuration(worker)[field] == expected
    assert worker.ask("/health").json()["database"] == "ok"


def test_taken_port_ends_the_worker(database: Database, start_worker: StartWorker) -> None:
    """A port in use gives one error line that names the setting; no message is consumed."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        worker = start_worker(database, ready=False, port=port)
        assert worker.process.wait(15) == 1
    line = worker.lines("worker not started")[0]
    assert line["level"] == "error"
    for part in ("127.0.0.1", str(port), "CELERY_METRICS_PORT"):
        assert part in line["error"]
    assert [found["message"] for found in worker.lines()] == [
        "worker not started",
        "worker stopped",
    ]
    assert database.rows("SELECT * FROM kombu_queue") == []


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL: got nothing, expected a PostgreSQL URL"),
        ({"DATABASE_URL": "mysql://u:hidden@h/d"}, "DATABASE_URL: got scheme 'mysql'"),
        ({"CELERY_METRICS_PORT": "none"}, "CELERY_METRICS_PORT: got 'none'"),
        ({"CELERY_TASK_ALWAYS_EAGER": "maybe"}, "CELERY_TASK_ALWAYS_EAGER: got 'maybe'"),
        ({"SYSTEM_DEAD_LETTER_SPOOL_MB": "1G"}, "SYSTEM_DEAD_LETTER_SPOOL_MB: got '1G'"),
        (
            {"SYSTEM_DEAD_LETTER_KEYS": "none"},
            "SYSTEM_DEAD_LETTER_KEYS: got a malformed key at place 1",
        ),
    ],
)
def test_bad_setting_ends_the_worker(
    database: Database, start_worker: StartWorker, environment: dict[str, str], message: str
) -> None:
    """A setting that is missing or wrong is one error line that names it."""
    worker = start_worker(database, ready=False, **environment)
    assert worker.process.wait(15) == 1
    assert worker.lines("worker not started")[0]["error"].startswith(message)
    assert "u:hidden" not in worker.text()


@pytest.mark.parametrize("options", [("--pool", "bogus"), ("--no-such-option",), ("--queues", "x")])
def test_wrong_option_ends_the_worker(
    database: Database, start_worker: StartWorker, options: tuple[str, ...]
) -> None:
    """An option that Celery refuses ends the worker, with JSON lines only."""
    worker = start_worker(database, *options, ready=False)
    assert worker.process.wait(15) in {1, 2}
    assert worker.lines("worker stopped")
    assert [line for line in worker.lines() if line["level"] == "error"]


def test_worker_consumes_only_its_queues(database: Database, start_worker: StartWorker) -> None:
    """A worker of one queue leaves the messages of another untouched."""
    worker = start_worker(database, "--pool", "solo", "--queues", "llm")
    with make_client(database) as client:
        client.publish(PING, {})
        worker_id = client.publish("app.tasks.llm.route", {"tenant_id": "x"})
        worker.wait_for_line("task failed", task_id=worker_id)
    left = (
        "SELECT q.name, m.visible, m.deliveries FROM kombu_message m"
        " JOIN kombu_queue q ON q.id = m.queue_id"
    )
    # The message of its own queue is deleted a moment after the log line.
    assert wait_for(lambda: database.rows(left) == [("housekeeping", True, 0)]), database.rows(left)


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_warm_shutdown_finishes_the_task(
    database: Database, start_worker: StartWorker, pool: str
) -> None:
    """A worker that receives SIGTERM finishes the running task and exits with 0."""
    worker = start_worker(database, "--pool", pool, "--concurrency", "1")
    with make_client(database) as client:
        task_id = client.publish(PING, {"hold_s": 0.5})
        assert wait_for(lambda: holding(database))
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(20) == 0
    assert worker.lines("task succeeded")[0]["task_id"] == task_id
    rows = database.rows("SELECT status FROM celery_taskmeta WHERE task_id = %s", task_id)
    assert rows == [("SUCCESS",)]


def holding(database: Database) -> bool:
    """Return whether a task is sleeping in the database at this moment."""
    return database.rows(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        " AND datname = current_database()"
    ) == [(1,)]


def test_worker_survives_a_restart_of_the_server(
    database: Database, start_worker: StartWorker
) -> None:
    """After a restart of PostgreSQL the same worker runs tasks, and all its lines are JSON."""
    worker = start_worker(database, "--pool", "prefork", "--concurrency", "1")
    with make_client(database) as client:
        before = client.run(PING)
        database.server.stop()
        assert wait_for(lambda: worker.ask("/health").status_code == 503)
        database.server.start()
        assert wait_for(lambda: worker.ask("/health").status_code == 200)
        after = client.run(PING)
    assert (after["pid"], after["parent_pid"]) == (before["pid"], worker.process.pid)
    assert worker.stop() == 0
    assert worker.lines("worker stopped")


def test_killed_child_is_replaced(database: Database, start_worker: StartWorker) -> None:
    """The worker replaces a killed idle child, and keeps running tasks."""
    worker = start_worker(database, "--pool", "prefork", "--concurrency", "1")
    with make_client(database) as client:
        before = client.run(PING)
        os.kill(before["pid"], signal.SIGKILL)
        assert wait_for(lambda: not psutil.pid_exists(before["pid"]))
        after = client.run(PING)
    assert (after["parent_pid"], after["status"]) == (worker.process.pid, "ok")
    assert after["pid"] != before["pid"]


def test_late_children_share_no_connection(database: Database, start_worker: StartWorker) -> None:
    """Children forked from a connected parent publish and work without breaking its connection."""
    options = ("--pool", "prefork", "--concurrency", "2", "--max-tasks-per-child", "1")
    worker = start_worker(database, *options)
    with make_client(database) as client:
        answers = client.run_many(PING, 8, retry=1)
    assert len({answer["pid"] for answer in answers}) == 8
    assert [line for line in worker.lines() if line["level"] in {"error", "critical"}] == []


def test_concurrent_start_declares_each_queue_once(
    database: Database, start_worker: StartWorker
) -> None:
    """Several workers that start at once on an empty broker all become ready."""
    workers = [start_worker(database, ready=False) for _ in range(3)]
    for worker in workers:
        worker.wait_for_line("worker ready")
    assert database.rows("SELECT count(*) FROM kombu_queue WHERE owner IS NULL") == [(4,)]


def test_stopped_worker_leaves_nothing_behind(
    database: Database, start_worker: StartWorker, tmp_path: Path
) -> None:
    """A stopped worker removes its metrics folder, frees its port and leaves no child."""
    worker = start_worker(database, "--pool", "prefork", "--concurrency", "2")
    children = psutil.Process(worker.process.pid).children()
    assert len(children) == 2
    assert len(list(tmp_path.glob("system-worker-metrics-*"))) == 1
    assert worker.stop() == 0
    assert list(tmp_path.glob("system-worker-metrics-*")) == []
    assert not any(child.is_running() for child in children)
    with socket.create_server(("127.0.0.1", worker.port)) as free:
        assert free.getsockname()[1] == worker.port
