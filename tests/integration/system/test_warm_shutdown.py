"""A worker that stops: messages that it has claimed and not started, and revoked tasks."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from .support import Client, Database, StartWorker, Worker, make_client, wait_for
from .test_worker import PING, holding

WARM = "worker: Warm shutdown (MainProcess)"
HOLD_S = 8.0
CLAIMED_AHEAD = 3


@pytest.fixture
def client(database: Database) -> Iterator[Client]:
    """Yield a client of the test's database."""
    with make_client(database) as made:
        yield made


def one_slot(database: Database, start_worker: StartWorker, pool: str = "prefork") -> Worker:
    """Start a worker with one slot, which claims three messages ahead."""
    return start_worker(database, "--pool", pool, "--concurrency", "1")


def claim_ahead(database: Database, client: Client) -> tuple[str, list[str]]:
    """Publish a long task and more that its worker claims; return their ids."""
    running = client.publish(PING, {"hold_s": HOLD_S})
    assert wait_for(lambda: holding(database))
    ahead = [client.publish(PING, {}) for _ in range(CLAIMED_AHEAD)]
    assert wait_for(lambda: claimed(database) == 1 + CLAIMED_AHEAD), claimed(database)
    return running, ahead


def claimed(database: Database) -> int:
    """Return how many messages are claimed."""
    return int(database.rows("SELECT count(claimed_by) FROM kombu_message")[0][0])


def stop(worker: Worker) -> None:
    """Send the stop signal, and wait until the worker has logged it."""
    worker.process.send_signal(signal.SIGTERM)
    worker.wait_for_line(WARM)


def ended(client: Client, *task_ids: str) -> list[str]:
    """Wait for the results of some tasks, and return their states."""
    results = [client.app.AsyncResult(task_id) for task_id in task_ids]
    wait_for(lambda: all(result.ready() for result in results), deadline_s=2 * HOLD_S)
    return [result.state for result in results]


def test_claimed_messages_are_returned_at_once(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """Another worker runs them while the stopping one finishes its task, which runs once."""
    stopping = one_slot(database, start_worker)
    running, ahead = claim_ahead(database, client)
    stop(stopping)
    assert wait_for(lambda: claimed(database) == 1, deadline_s=2), claimed(database)
    deliveries = "SELECT deliveries FROM kombu_message ORDER BY id"
    assert database.rows(deliveries) == [(1,), *[(0,)] * CLAIMED_AHEAD]
    other = one_slot(database, start_worker)
    for task_id in ahead:
        client.wait(task_id)
    assert holding(database)
    assert stopping.process.wait(2 * HOLD_S) == 0
    assert [line["task_id"] for line in stopping.lines("task succeeded")] == [running]
    # A result is stored before the line of its task is written.
    assert wait_for(lambda: len(other.lines("task succeeded")) >= len(ahead))
    assert sorted(line["task_id"] for line in other.lines("task succeeded")) == sorted(ahead)
    assert wait_for(lambda: database.rows("SELECT id FROM kombu_message") == [])


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_claimed_messages_of_other_pools_are_not_run(
    database: Database, start_worker: StartWorker, client: Client, pool: str
) -> None:
    """A worker without children runs no more tasks after the signal, and returns them."""
    stopping = one_slot(database, start_worker, pool)
    held = client.publish(PING, {"hold_s": 0.5})
    assert wait_for(lambda: holding(database))
    # A solo pool polls between two tasks: these three are claimed together.
    ahead = [client.publish(PING, {"hold_s": 2}) for _ in range(CLAIMED_AHEAD)]
    client.wait(held)
    assert wait_for(lambda: claimed(database) >= CLAIMED_AHEAD and holding(database))
    stop(stopping)
    assert stopping.process.wait(15) == 0
    assert len(stopping.lines("task succeeded")) == 2
    assert database.rows("SELECT count(*) FROM kombu_message WHERE visible") == [(2,)]
    one_slot(database, start_worker)
    assert ended(client, *ahead) == ["SUCCESS"] * CLAIMED_AHEAD


def test_task_that_was_revoked_before_the_signal_is_not_returned(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """It ends as revoked: a worker that starts later did not get the revoke, and would run it."""
    stopping = one_slot(database, start_worker)
    running, (revoked, *others) = claim_ahead(database, client)
    client.app.control.revoke(revoked, reply=True)
    stop(stopping)
    assert wait_for(lambda: claimed(database) == 1, deadline_s=2), claimed(database)
    later = one_slot(database, start_worker)
    assert ended(client, running, revoked, *others) == ["SUCCESS", "REVOKED", "SUCCESS", "SUCCESS"]
    assert stopping.process.wait(2 * HOLD_S) == 0
    ran = {line["task_id"] for line in (*stopping.lines(), *later.lines()) if line["task_id"]}
    assert revoked not in ran
    assert wait_for(lambda: database.rows("SELECT id FROM kombu_message") == [])


def test_revoke_during_the_shutdown_leaves_the_running_task_alone(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """A stopping worker obeys no revoke, not even one that terminates; another worker does."""
    stopping = one_slot(database, start_worker)
    running, (revoked, *_) = claim_ahead(database, client)
    other = start_worker(database, "--pool", "solo", "--queues", "llm")
    stop(stopping)
    assert wait_for(lambda: claimed(database) == 1, deadline_s=2), claimed(database)
    answers = client.app.control.revoke([running, revoked], terminate=True, reply=True)
    assert len(answers or ()) == 1
    client.app.control.add_consumer("housekeeping", reply=True)
    # The other worker does not run the first task, and so stores REVOKED for it in the meantime.
    assert stopping.process.wait(2 * HOLD_S) == 0
    assert ended(client, running, revoked) == ["SUCCESS", "REVOKED"]
    assert revoked not in {line["task_id"] for line in other.lines("task succeeded")}


def test_revoke_that_no_worker_gets_has_no_effect(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """Revokes are kept in the memory of workers: one that no worker reads is lost."""
    stopping = one_slot(database, start_worker)
    _, (task_id, *_) = claim_ahead(database, client)
    stop(stopping)
    assert wait_for(lambda: claimed(database) == 1, deadline_s=2), claimed(database)
    assert client.app.control.revoke(task_id, reply=True) == []
    # One with the name of the stopping worker would read its mailbox.
    options = ("--pool", "solo", "--hostname", "later@%h")
    start_worker(database, *options)
    assert ended(client, task_id) == ["SUCCESS"]
