"""`/metrics` and `/health` of real workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial

import psutil
import pytest

from .support import Client, Database, StartWorker, Worker, make_client, wait_for

PING = "app.tasks.housekeeping.ping"
STARTED, SUCCEEDED, FAILED = (
    f"celery_task_{kind}_total" for kind in ("started", "success", "failure")
)
DURATION = "celery_task_duration_seconds"


@pytest.fixture
def worker(database: Database, start_worker: StartWorker) -> Worker:
    """Run a prefork worker with two children."""
    return start_worker(database, "--pool", "prefork", "--concurrency", "2")


@pytest.fixture
def client(database: Database) -> Iterator[Client]:
    """Publish to that worker."""
    with make_client(database) as made:
        yield made


def totals(worker: Worker) -> tuple[float, ...]:
    """Return what was started, succeeded, failed and timed."""
    return tuple(
        worker.total(family, PING) for family in (STARTED, SUCCEEDED, FAILED, f"{DURATION}_count")
    )


def test_metrics_add_up_over_children(worker: Worker, client: Client) -> None:
    """Totals rise by exactly the tasks that ran over both children, and survive a child's death."""
    assert totals(worker) == (0, 0, 0, 0)
    pids = {answer["pid"] for answer in client.run_many(PING, 8, hold_s=0.2)}
    for _ in range(3):
        client.fail(PING, fail=True)
    assert len(pids) == 2
    assert wait_for(lambda: totals(worker) == (11, 8, 3, 11)), totals(worker)
    victim = pids.pop()
    os.kill(victim, signal.SIGKILL)
    assert wait_for(lambda: not psutil.pid_exists(victim))
    assert totals(worker) == (11, 8, 3, 11)
    for _ in range(4):
        client.run(PING)
    assert wait_for(lambda: totals(worker) == (15, 12, 3, 15)), totals(worker)


def test_metrics_are_the_four_families(worker: Worker, client: Client) -> None:
    """The page has the four families with their types and the buckets of the contract."""
    client.run(PING)
    assert wait_for(lambda: totals(worker)[3] == 1)
    answer = worker.ask("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    for family in (STARTED, SUCCEEDED, FAILED):
        assert f"# TYPE {family} counter" in lines
    assert f"# TYPE {DURATION} histogram" in lines
    bounds = [
        line.partition('le="')[2].partition('"')[0]
        for line in lines
        if line.startswith(f"{DURATION}_bucket") and PING in line
    ]
    assert bounds == ["0.01", "0.05", "0.1", "0.25", "0.5", "1.0", "2.0", "5.0", "10.0", "+Inf"]


def test_metrics_count_a_solo_worker(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """A worker without children counts as well, and a new one begins at zero."""
    for _ in range(2):
        worker = start_worker(database, "--pool", "solo")
        assert totals(worker) == (0, 0, 0, 0)
        client.run(PING)
        assert wait_for(partial(counted_one, worker))
        worker.stop()


def counted_one(worker: Worker) -> bool:
    """Say whether a worker has counted one task."""
    return totals(worker) == (1, 1, 0, 1)


def test_health_is_ok(worker: Worker) -> None:
    """With everything there, health is ok."""
    answer = worker.ask("/health")
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "ok", "broker": "ok", "database": "ok"},
    )


def test_health_tells_the_broker_apart(database: Database, worker: Worker) -> None:
    """With the broker's table out of reach, the broker is in error and the database is not."""
    with database.connect("postgres") as connection:
        connection.execute("REVOKE SELECT ON kombu_queue FROM app_user")
    answer = worker.ask("/health")
    assert (answer.status_code, answer.json()) == (
        503,
        {"status": "unhealthy", "broker": "error", "database": "ok"},
    )


def test_health_tells_the_database_apart(database: Database, start_worker: StartWorker) -> None:
    """With the database elsewhere and away, the database is in error and the broker is not."""
    away = database.dsn().replace(database.name, "nowhere")
    worker = start_worker(
        database,
        DATABASE_URL=away,
        CELERY_BROKER_URL=database.dsn(),
        CELERY_RESULT_BACKEND=database.dsn(),
    )
    answer = worker.ask("/health")
    assert (answer.status_code, answer.json()) == (
        503,
        {"status": "unhealthy", "broker": "ok", "database": "error"},
    )
    assert database.server.password not in worker.text() + answer.text


def test_health_answers_while_the_server_hangs(database: Database, worker: Worker) -> None:
    """With PostgreSQL stopped in mid-air, health says so within its deadline, and leaks nothing."""
    process = psutil.Process(worker.process.pid)
    assert worker.ask("/health").status_code == 200
    threads = least(process.num_threads)
    with frozen(database):
        for _ in range(4):
            began = time.monotonic()
            answer = worker.ask("/health")
            assert time.monotonic() - began < 2.0
            assert (answer.status_code, answer.json()) == (
                503,
                {"status": "unhealthy", "broker": "error", "database": "error"},
            )
        assert wait_for(lambda: process.num_threads() <= threads + 2)
    assert wait_for(lambda: worker.ask("/health").status_code == 200)
    assert wait_for(lambda: process.num_threads() <= threads)


def least(count: Callable[[], int]) -> int:
    """Return the smallest of a few counts: the thread of a request ends after its answer."""
    counted: list[int] = []

    def look() -> bool:
        counted.append(count())
        return len(counted) > 20

    assert wait_for(look)
    return min(counted)


class frozen:  # noqa: N801 (used as a statement's word)
    """All processes of the server stopped by SIGSTOP, and let go at the end."""

    def __init__(self, database: Database) -> None:
        postmaster = psutil.Process(database.server.pid())
        self._processes = [postmaster, *postmaster.children()]

    def __enter__(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.send_signal(signal.SIGCONT)


def test_endpoints_refuse_what_they_are_not(worker: Worker) -> None:
    """Unknown paths are 404 and other methods 405 on a real worker too, and it goes on."""
    for method, path, status in (
        ("GET", "/", 404),
        ("GET", "/metrics/x", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/health", 405),
        ("HEAD", "/health", 200),
        ("GET", "/health", 200),
    ):
        assert (path, worker.ask(path, method).status_code) == (path, status)
