"""`/health` and the gauges of queues while a worker is alive and does not consume."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from .support import Client, Database, StartWorker, Worker, make_client, wait_for
from .test_worker import PING, holding

STALLED_S = 1.0
WATCHED_S = 2.5 * STALLED_S
QUEUED = 9
"""Messages behind a running task: more than a worker with one child claims ahead (four)."""
ROUTE, TENANT = "app.tasks.llm.route", "7c8f3b0a-62a1-4a3e-9d56-0f4b6c1f2d3e"

HEALTHY = (200, {"status": "ok", "broker": "ok", "database": "ok", "consumer": "ok"})
STALLED = (503, {"status": "unhealthy", "broker": "ok", "database": "ok", "consumer": "error"})


@pytest.fixture
def client(database: Database) -> Iterator[Client]:
    """Yield a client of the test's database."""
    with make_client(database) as made:
        yield made


@pytest.fixture
def worker(database: Database, start_worker: StartWorker) -> Worker:
    """Run a worker with one child that may make no progress for a second."""
    return start_consumer(database, start_worker)


def start_consumer(database: Database, start_worker: StartWorker, pool: str = "prefork") -> Worker:
    """Start a worker with one slot that may make no progress for a second."""
    options = ("--pool", pool, "--concurrency", "1")
    return start_worker(database, *options, SYSTEM_HEALTH_STALLED_S=str(STALLED_S))


def health(worker: Worker) -> tuple[int, Any]:
    """Return status and body of its health."""
    answer = worker.ask("/health")
    return answer.status_code, answer.json()


def watched(worker: Worker, while_true: Callable[[], bool]) -> list[tuple[int, Any]]:
    """Return the distinct answers of its health for some seconds, or until a condition ends."""
    seen: list[tuple[int, Any]] = []
    end = time.monotonic() + WATCHED_S

    def over() -> bool:
        seen.append(health(worker))
        return time.monotonic() > end or not while_true()

    assert wait_for(over)
    return [answer for nth, answer in enumerate(seen) if answer not in seen[:nth]]


def becomes(worker: Worker, wanted: tuple[int, Any]) -> bool:
    """Return whether its health becomes this answer."""
    return wait_for(lambda: health(worker) == wanted)


def test_cancelled_consumer_is_an_error_while_messages_wait(worker: Worker, client: Client) -> None:
    """A worker that no longer consumes one of its queues is unhealthy once messages wait there."""
    assert health(worker) == HEALTHY
    client.app.control.cancel_consumer("housekeeping", reply=True)
    assert watched(worker, lambda: True) == [HEALTHY]
    task_id = client.publish(PING, {})
    # Its other queues are consumed.
    for _ in range(5):
        client.run(ROUTE, tenant_id=TENANT)
    assert becomes(worker, STALLED), health(worker)
    client.app.control.add_consumer("housekeeping", reply=True)
    assert client.wait(task_id)["status"] == "ok"
    assert becomes(worker, HEALTHY), health(worker)


def test_blocked_loop_is_an_error_while_messages_wait(
    database: Database, worker: Worker, client: Client
) -> None:
    """A worker whose event loop hangs in a statement is unhealthy, also if it ran a task then."""
    first = client.publish(PING, {"hold_s": 0.5})
    assert wait_for(lambda: holding(database))
    others = [client.publish(PING, {}) for _ in range(QUEUED)]
    with database.connect("postgres") as connection:
        connection.execute("LOCK TABLE kombu_message IN EXCLUSIVE MODE")
        client.wait(first)
        assert becomes(worker, STALLED), health(worker)
    for task_id in others:
        client.wait(task_id)
    assert becomes(worker, HEALTHY), health(worker)


def test_stopped_children_are_an_error_while_messages_wait(worker: Worker, client: Client) -> None:
    """A worker whose idle child is stopped is unhealthy, also if it has claimed every message."""
    with children_stopped(worker):
        few = [client.publish(PING, {}) for _ in range(2)]
        assert becomes(worker, STALLED), health(worker)
        more = [client.publish(PING, {}) for _ in range(QUEUED)]
        assert becomes(worker, STALLED), health(worker)
    for task_id in [*few, *more]:
        client.wait(task_id)
    assert becomes(worker, HEALTHY), health(worker)


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
def test_busy_pool_is_no_error(
    database: Database, start_worker: StartWorker, client: Client, pool: str
) -> None:
    """A worker whose only slot runs a task is healthy, however long messages wait."""
    worker = start_consumer(database, start_worker, pool)
    client.publish(PING, {"hold_s": 2 * WATCHED_S})
    assert wait_for(lambda: holding(database))
    last = [client.publish(PING, {}) for _ in range(QUEUED)][-1]
    assert watched(worker, lambda: holding(database)) == [HEALTHY]
    assert holding(database)
    client.app.AsyncResult(last).get(timeout=30, interval=0.02)
    assert health(worker) == HEALTHY


def test_task_beyond_its_time_limit_keeps_no_slot_busy(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """A pool of threads enforces no time limit: a task beyond it makes the worker unhealthy."""
    worker = start_consumer(database, start_worker, "threads")
    client.send(PING, {"hold_s": 2 * WATCHED_S}, time_limit=1)
    assert wait_for(lambda: holding(database))
    for _ in range(QUEUED):
        client.publish(PING, {})
    assert becomes(worker, STALLED), health(worker)
    assert holding(database)


def test_messages_that_waited_before_the_start_are_no_error(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """A worker that starts with old messages has the time to claim them."""
    client.app.amqp.queues["housekeeping"].bind(client.app.connection()).declare()
    task_id = client.publish(PING, {})
    database.rows("UPDATE kombu_message SET waiting_since = now() - interval '1 hour' RETURNING id")
    worker = start_worker(database, "--pool", "solo", ready=False, SYSTEM_HEALTH_STALLED_S="30")
    worker.wait_for_line("worker configuration")
    assert watched(worker, lambda: not worker.lines("worker ready")) == [HEALTHY]
    client.wait(task_id)


def test_warm_shutdown_is_no_error(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """A worker that got a signal to stop need not claim what waits while its last task runs."""
    options = ("--pool", "prefork", "--concurrency", "2")
    worker = start_worker(database, *options, SYSTEM_HEALTH_STALLED_S=str(STALLED_S))
    client.publish(PING, {"hold_s": 2 * WATCHED_S})
    assert wait_for(lambda: holding(database))
    worker.process.send_signal(signal.SIGTERM)
    worker.wait_for_line("worker: Warm shutdown (MainProcess)")
    client.publish(PING, {})
    assert watched(worker, lambda: holding(database)) == [HEALTHY]


def test_gauges_count_each_queue(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """Each queue's messages that wait, are claimed or are the oldest have a gauge of their own."""
    worker = start_worker(database, "--pool", "prefork", "--concurrency", "1", "--queues", "llm")
    for _ in range(3):
        client.publish(PING, {})
    database.rows(
        "UPDATE kombu_message SET waiting_since = now() - interval '1 hour' WHERE id ="
        " (SELECT min(id) FROM kombu_message) RETURNING id"
    )
    with database.connect("postgres") as connection:
        # The task waits for its result's table: it stays claimed.
        connection.execute("LOCK TABLE celery_taskmeta")
        client.publish(ROUTE, {"tenant_id": TENANT})
        assert wait_for(lambda: gauges(worker).get(("claimed", "llm")) == 1), gauges(worker)
        values = gauges(worker)
    assert [values["waiting", queue] for queue in ("housekeeping", "llm")] == [3, 0]
    assert [values["claimed", queue] for queue in ("housekeeping", "llm")] == [0, 1]
    assert 3600 <= values["oldest", "housekeeping"] <= 3700
    assert values["oldest", "llm"] == 0
    assert not [queue for _, queue in values if queue not in client.app.amqp.queues]


def test_scheduled_message_waits_from_its_release_on(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """A message with an ETA counts as waiting only from the time at which it was due."""
    start_worker(database, "--pool", "solo", "--queues", "llm")
    client.send(PING, {}, countdown=2)
    make_old(database)
    assert wait_for(lambda: database.rows("SELECT visible FROM kombu_message") == [(True,)])
    assert waits_s(database) < 60


def test_returned_message_waits_from_its_return_on(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """A message that a killed worker had claimed counts as waiting only from its return on."""
    start_worker(database, "--pool", "solo", "--queues", "llm")
    killed = start_worker(database, "--pool", "solo")
    client.publish(PING, {"hold_s": 60})
    assert wait_for(lambda: holding(database))
    make_old(database)
    killed.process.kill()
    assert wait_for(lambda: database.rows("SELECT visible FROM kombu_message") == [(True,)])
    assert waits_s(database) < 60


def make_old(database: Database) -> None:
    """Date the only message's wait back by an hour."""
    statement = "UPDATE kombu_message SET waiting_since = now() - interval '1 hour' RETURNING id"
    assert len(database.rows(statement)) == 1
    assert waits_s(database) > 3500


def waits_s(database: Database) -> float:
    """Return for how many seconds the only message has waited."""
    return float(
        database.rows("SELECT extract(epoch FROM now() - waiting_since) FROM kombu_message")[0][0]
    )


def gauges(worker: Worker) -> dict[tuple[str, str], float]:
    """Return the value of each gauge of each queue."""
    names = {
        "system_queue_waiting_messages": "waiting",
        "system_queue_claimed_messages": "claimed",
        "system_queue_oldest_waiting_seconds": "oldest",
    }
    samples = (line.rpartition(" ") for line in worker.ask("/metrics").text.splitlines())
    found: dict[tuple[str, str], float] = {}
    for sample, _, value in samples:
        name, _, labels = sample.partition("{")
        if name in names:
            found[names[name], labels.split('"')[1]] = float(value)
    return found


@contextmanager
def children_stopped(worker: Worker) -> Iterator[None]:
    """Stop a worker's children by SIGSTOP for the block."""
    children = psutil.Process(worker.process.pid).children()
    for child in children:
        child.suspend()
    try:
        yield
    finally:
        for child in children:
            child.resume()
