"""Gate runtime: a worker that gets the stop signal, and one whose database restarts."""

from __future__ import annotations

import time

from gateproof import (
    RESULT_DEADLINE_S,
    Ids,
    Stack,
    Sut,
    TaskResult,
    Worker,
    claim,
    criterion,
    falsified_by,
    inject,
    premise,
    settings,
    wait_until,
)

from ..answer import number_in
from ..holding import reader_of, tables_held, wait_for_a_session
from ..pools import has_children

CHILDREN = 2
BUSY_DEADLINE_S, WATCHED_S = 15.0, 5.0

STOPPING, LOST = "worker: ", "broker session lost"
"""Texts of the worker's log lines after the stop signal and after a lost broker connection."""

EXIT_STATUS, STATE = "exit status of the worker", "state of the task"
RUNNING_TASK, RESTART = "task that ran at the stop signal", "after PostgreSQL's restart"
"""Names and objects of claims that falsifiers predict."""


@criterion("RUN-04", needs=("database", "celery", "worker", "ping", "task", "tenancy", "logs"))
@falsified_by(
    settings("cold-shutdown", {"REMAP_SIGTERM": "SIGQUIT"}),
    expect=(STATE, RUNNING_TASK),
)
@falsified_by(
    inject("impatient-shutdown", "exit-at-stop-signal"),
    expect=(EXIT_STATUS, "while its task runs"),
)
def test_warm_shutdown_finishes_the_running_task(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """After the stop signal a worker finishes its running task, and then exits."""
    with own_stack.running_worker(concurrency=1) as worker:
        own_stack.wait_ready(worker)
        reader = reader_of(own_stack)
        with tables_held(own_stack, reader.table):
            arguments = reader.of_tenant(sut, str(ids.uuid()))
            task_id = own_stack.tasks.publish(reader.task, (), arguments)
            held = wait_for_a_session(own_stack, reader.table)
            premise("run that waits for a table", on=reader.task, got=bool(held), expected=True)
            worker.signal()
            wait_for_line(worker, STOPPING)
            status = worker.wait_exit(deadline_s=0)
            claim(EXIT_STATUS, on="while its task runs", got=status, expected=None)
        claim(EXIT_STATUS, on="after its last task", got=worker.wait_exit(), expected=0)
        result = own_stack.tasks.result(task_id, deadline_s=0.1)
        claim(STATE, on=RUNNING_TASK, got=result.end, expected="SUCCESS")
        runs = worker.log().matching(
            **{sut.logs.message: sut.logs.success, sut.logs.task_id: task_id}
        )
        claim("runs of the task in the log", on=RUNNING_TASK, got=len(runs), expected=1)


@criterion("RUN-06", needs=("database", "celery", "worker", "ping", "task"))
@falsified_by(
    inject("ends-without-server", "exit-without-server"),
    expect=(EXIT_STATUS, RESTART, "got 1"),
)
@falsified_by(
    inject("restarted-server-refused", "refuse-restarted-server"),
    expect=("states of the pings", RESTART),
)
def test_worker_survives_a_restart_of_postgresql(own_server_stack: Stack) -> None:
    """A worker whose children, if it has any, were connected runs tasks again after a restart."""
    stack = own_server_stack
    with stack.running_worker(concurrency=CHILDREN) as worker:
        stack.wait_ready(worker)
        processes = CHILDREN if has_children(stack.sut) else 1
        busy = wait_until(
            lambda: {number_in(result, "pid") for result in ping_all(stack, worker)},
            lambda pids: len(pids) == processes,
            deadline_s=BUSY_DEADLINE_S,
        )
        premise("processes that ran a ping before", got=len(busy), expected=processes)
        with stack.server_stopped():
            away = not stack.server.answers()
            wait_for_line(worker, LOST)
        premise("PostgreSQL is away during the restart", got=away, expected=True)
        states = [result.end for result in ping_all(stack, worker)]
        status = worker.wait_exit(deadline_s=0)
        claim(EXIT_STATUS, on=RESTART, got=status, expected=None)
        expected = ["SUCCESS"] * len(states)
        claim("states of the pings", on=RESTART, got=states, expected=expected)


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
    until = time.monotonic() + RESULT_DEADLINE_S

    def left_s() -> float:
        return max(until - time.monotonic(), 0.1) if worker.alive else 0.1

    return [probe.result(task_id, deadline_s=left_s()) for task_id in published]
