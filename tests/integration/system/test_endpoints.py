"""`/metrics` and `/health` of real workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from .support import Client, Database, StartWorker, Worker, make_client, wait_for

PING = "app.tasks.housekeeping.ping"
STARTED, SUCCEEDED, FAILED = (
    f"celery_task_{kind}_total" for kind in ("started", "success", "failure")
)
DURATION = "celery_task_duration_seconds"
DEADLINE_S, SLACK_S = 2.0, 0.5
"""The deadline of health, and what connecting and transfer may add to it on a busy machine."""


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
    """Return the started, succeeded, failed and timed counts of one scrape."""
    samples = dict(line.rsplit(" ", 1) for line in worker.ask("/metrics").text.splitlines())
    return tuple(
        float(samples[f'{family}{{task_name="{PING}"}}'])
        for family in (STARTED, SUCCEEDED, FAILED, f"{DURATION}_count")
    )


def test_metrics_add_up_over_children(worker: Worker, client: Client) -> None:
    """Totals rise by exactly the tasks that ran in both children, and survive a child's death."""
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


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_metrics_count_a_worker_without_children(
    database: Database, start_worker: StartWorker, client: Client, pool: str
) -> None:
    """A pool in the worker's own process loses no count, and a new worker starts at zero."""
    for _ in range(2):
        worker = start_worker(database, "--pool", pool, "--concurrency", "4")
        assert totals(worker) == (0, 0, 0, 0)
        client.run_many(PING, 12, hold_s=0.02)
        client.fail(PING, fail=True)
        assert wait_for(lambda: totals(worker) == (13, 12, 1, 13)), totals(worker)  # noqa: B023 (called at once)
        worker.stop()


def test_metrics_survive_children_of_one_task_each(
    database: Database, start_worker: StartWorker, client: Client, tmp_path: Path
) -> None:
    """With a child for each task totals never fall, none is lost, and no files accumulate."""
    options = ("--pool", "prefork", "--concurrency", "2", "--max-tasks-per-child", "1")
    worker = start_worker(database, *options)
    with scraping(worker) as seen:
        answers = client.run_many(PING, 12)
        assert wait_for(lambda: totals(worker) == (12, 12, 0, 12)), totals(worker)
    assert len({answer["pid"] for answer in answers}) == 12
    assert len(seen) > 4
    for earlier, later in pairwise([*seen, (12, 12, 0, 12)]):
        assert all(one <= other for one, other in zip(earlier, later, strict=True))
    places = {path.name for path in tmp_path.glob("system-worker-metrics-*/*.db")}
    assert places == {
        f"{kind}_{place}.db"
        for kind in ("counter", "histogram")
        for place in ("parent", "child-0", "child-1")
    }


def test_metrics_survive_children_that_are_killed(
    database: Database, start_worker: StartWorker, client: Client, tmp_path: Path
) -> None:
    """No count is lost when children are killed repeatedly."""
    worker = start_worker(database, "--pool", "prefork", "--concurrency", "1")
    for done in range(1, 5):
        pid = client.run(PING)["pid"]
        counted = (done, done, 0, done)
        assert wait_for(lambda: totals(worker) == counted), totals(worker)  # noqa: B023 (called at once)
        os.kill(pid, signal.SIGKILL)
        assert wait_for(lambda: not psutil.pid_exists(pid))  # noqa: B023 (called at once)
        assert totals(worker) == counted
    assert len(list(tmp_path.glob("system-worker-metrics-*/*.db"))) == 4


def test_metrics_count_a_time_limit_once(database: Database, start_worker: StartWorker) -> None:
    """A task that exceeds its hard time limit is one failure, though Celery reports it twice."""
    worker = start_worker(database, "--pool", "prefork", "--concurrency", "1", "--time-limit", "1")
    with make_client(database) as client:
        _, error = client.fail(PING, hold_s=20)
        assert "TimeLimitExceeded" in error
        client.run(PING)
    assert wait_for(lambda: totals(worker)[3] == 1)
    assert totals(worker) == (2, 1, 1, 1)


def test_metrics_of_a_killed_worker_are_removed(
    database: Database, start_worker: StartWorker, client: Client, tmp_path: Path
) -> None:
    """The next worker starts at zero, removes a killed worker's files, and keeps those in use."""
    other = start_worker(database, "--pool", "solo", "--queues", "llm")
    killed = start_worker(database, "--pool", "prefork", "--concurrency", "2")
    client.run(PING)
    assert wait_for(lambda: totals(killed) == (1, 1, 0, 1))
    children = psutil.Process(killed.process.pid).children()
    killed.process.kill()
    assert killed.process.wait(10) == -signal.SIGKILL
    for child in children:
        child.kill()
    assert len(list(tmp_path.glob("system-worker-metrics-*"))) == 2
    assert wait_for(lambda: not any(child.is_running() for child in children))
    worker = start_worker(database, "--pool", "solo")
    assert totals(worker) == (0, 0, 0, 0)
    assert len(list(tmp_path.glob("system-worker-metrics-*"))) == 2
    assert totals(other) == (0, 0, 0, 0)


@contextmanager
def scraping(worker: Worker) -> Iterator[list[tuple[float, ...]]]:
    """Scrape without a pause during the block, and yield the list of totals."""
    seen: list[tuple[float, ...]] = []
    stop = threading.Event()

    def scrape() -> None:
        while not stop.is_set():
            seen.append(totals(worker))

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def test_health_is_ok(worker: Worker) -> None:
    """Health is ok while broker and database are up."""
    answer = worker.ask("/health")
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "ok", "broker": "ok", "database": "ok", "consumer": "ok"},
    )


def test_health_reports_the_broker_alone(database: Database, worker: Worker) -> None:
    """Without access to the broker's table, the broker is in error and the database is not."""
    with database.connect("postgres") as connection:
        connection.execute("REVOKE SELECT ON kombu_queue FROM app_user")
    answer = worker.ask("/health")
    assert (answer.status_code, answer.json()) == (
        503,
        {"status": "unhealthy", "broker": "error", "database": "ok", "consumer": "error"},
    )


def test_health_reports_the_database_alone(database: Database, start_worker: StartWorker) -> None:
    """With a separate database that does not exist, it is in error and the broker is not."""
    missing = database.dsn().replace(database.name, "missing")
    worker = start_worker(
        database,
        DATABASE_URL=missing,
        CELERY_BROKER_URL=database.dsn(),
        CELERY_RESULT_BACKEND=database.dsn(),
    )
    answer = worker.ask("/health")
    assert (answer.status_code, answer.json()) == (
        503,
        {"status": "unhealthy", "broker": "ok", "database": "error", "consumer": "ok"},
    )
    assert database.server.password not in worker.text() + answer.text


def test_health_answers_while_the_server_hangs(database: Database, worker: Worker) -> None:
    """While PostgreSQL is stopped, health reports it within its deadline and leaks no thread."""
    process = psutil.Process(worker.process.pid)
    assert worker.ask("/health").status_code == 200
    threads = minimum(process.num_threads)
    with frozen(database):
        for _ in range(4):
            began = time.monotonic()
            answer = worker.ask("/health")
            assert time.monotonic() - began < DEADLINE_S + SLACK_S
            assert (answer.status_code, answer.json()) == (
                503,
                {
                    "status": "unhealthy",
                    "broker": "error",
                    "database": "error",
                    "consumer": "error",
                },
            )
        assert wait_for(lambda: process.num_threads() <= threads + 2)
    assert wait_for(lambda: worker.ask("/health").status_code == 200)
    assert wait_for(lambda: process.num_threads() <= threads)


def minimum(count: Callable[[], int]) -> int:
    """Return the smallest of a few counts: the thread of a request ends after its answer."""
    counted: list[int] = []

    def sample() -> bool:
        counted.append(count())
        return len(counted) > 20

    assert wait_for(sample)
    return min(counted)


class frozen:  # noqa: N801 (used like a keyword in a with statement)
    """A block in which all processes of the server are stopped by SIGSTOP."""

    def __init__(self, database: Database) -> None:
        postmaster = psutil.Process(database.server.pid())
        self._processes = [postmaster, *postmaster.children()]

    def __enter__(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.send_signal(signal.SIGCONT)


def test_endpoints_refuse_other_paths_and_methods(worker: Worker) -> None:
    """A real worker answers unknown paths with 404, other methods with 405, and keeps running."""
    for method, path, status in (
        ("GET", "/", 404),
        ("GET", "/metrics/x", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/health", 405),
        ("HEAD", "/health", 200),
        ("GET", "/health", 200),
    ):
        assert (path, worker.ask(path, method).status_code) == (path, status)
