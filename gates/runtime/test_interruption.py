"""Gate runtime: a worker that gets the stop signal, and one whose database restarts."""

from __future__ import annotations

from gateproof import (
    POOL_PREFORK,
    RESULT_DEADLINE_S,
    Ids,
    Stack,
    Sut,
    TaskResult,
    Worker,
    criterion,
    falsified_by,
    inject,
    settings,
    source,
    wait_until,
)

from ..holding import SCAN, SCANNED, tables_held, wait_for_a_session

CHILDREN = 2
BUSY_DEADLINE_S, WATCHED_S = 15.0, 5.0

STOPPING, LOST = "worker: ", "broker session lost"
"""Texts of the worker's log lines after the stop signal and after a lost broker connection."""


@criterion("RUN-04", needs=("database", "celery", "worker", "ping", "task", "tenancy", "logs"))
@falsified_by(
    settings("cold-shutdown", {"REMAP_SIGTERM": "SIGQUIT"}),
    expect="task that ran at the stop signal: got",
)
@falsified_by(
    inject("impatient-shutdown", "exit-at-stop-signal"),
    expect="worker that got the stop signal while its task ran: got exit",
)
def test_warm_shutdown_finishes_the_running_task(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """After the stop signal a worker finishes its running task, and then exits."""
    with own_stack.running_worker(pool=POOL_PREFORK, concurrency=1) as worker:
        own_stack.wait_ready(worker)
        with tables_held(own_stack, SCANNED):
            task_id = own_stack.tasks.publish(SCAN, (), {sut.tenancy.key: ids.uuid()})
            held = wait_for_a_session(own_stack, SCANNED)
            assert held, f"task {SCAN}: got no session that waits for {SCANNED}, expected it to run"
            worker.signal()
            wait_for_line(worker, STOPPING)
            status = worker.wait_exit(deadline_s=0)
            assert status is None, (
                f"worker that got the stop signal while its task ran: got exit {status}, expected "
                "it to run until the task has ended"
            )
        status = worker.wait_exit()
        assert status == 0, f"worker after its last task: got exit {status}, expected 0"
        result = own_stack.tasks.result(task_id, deadline_s=0.1)
        assert result.state == "SUCCESS", (
            f"task that ran at the stop signal: got {result.state}, expected SUCCESS"
        )
        runs = worker.log().matching(
            **{sut.logs.message: sut.logs.success, sut.logs.task_id: task_id}
        )
        assert len(runs) == 1, f"runs of that task in the log: got {len(runs)}, expected 1"


@criterion("RUN-06", needs=("database", "celery", "worker", "ping", "task"))
@falsified_by(
    source(
        "end-with-the-session",
        "system/transport/session.py",
        'log.warning("broker session lost; reconnecting", error=type(error).__name__)',
        "os._exit(1)",
    ),
    expect="worker after PostgreSQL's restart: got exit",
)
@falsified_by(
    inject("stale-connections", "stale-connections"),
    expect="pings after PostgreSQL's restart: got",
)
def test_worker_survives_a_restart_of_postgresql(own_server_stack: Stack) -> None:
    """A worker whose two children were connected runs tasks again after a restart."""
    stack = own_server_stack
    with stack.running_worker(pool=POOL_PREFORK, concurrency=CHILDREN) as worker:
        stack.wait_ready(worker)
        busy = wait_until(
            lambda: {result.value["pid"] for result in ping_all(stack, worker)},
            lambda pids: len(pids) == CHILDREN,
            deadline_s=BUSY_DEADLINE_S,
        )
        assert len(busy) == CHILDREN, (
            f"children that ran a ping before: got {len(busy)}, expected {CHILDREN}"
        )
        with stack.server_stopped():
            away = not stack.server.answers()
            wait_for_line(worker, LOST)
        assert away, "PostgreSQL during the restart: got an answer, expected none"
        states = [result.state for result in ping_all(stack, worker)]
        status = worker.wait_exit(deadline_s=0)
        assert status is None, (
            f"worker after PostgreSQL's restart: got exit {status}, expected it to run"
        )
        assert states == ["SUCCESS"] * len(states), (
            f"pings after PostgreSQL's restart: got {states}, expected SUCCESS of each"
        )


def wait_for_line(worker: Worker, text: str) -> None:
    """Wait until a log line of a worker has a text, or until it has ended. The caller judges."""
    wait_until(
        lambda: not worker.alive or any(text in line for line in worker.log().lines),
        deadline_s=WATCHED_S,
        interval_s=0.1,
    )


def ping_all(stack: Stack, worker: Worker) -> list[TaskResult]:
    """Run enough pings at once to keep every child busy, without waiting for a dead worker."""
    ping, probe = stack.sut.ping, stack.tasks
    published = [probe.publish(ping.task, (), ping.arguments) for _ in range(4 * CHILDREN)]
    return [
        probe.result(task_id, deadline_s=RESULT_DEADLINE_S if worker.alive else 0.1)
        for task_id in published
    ]
