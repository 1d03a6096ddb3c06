"""Gate runtime: a stopping worker and the messages that it has claimed and not started."""

from __future__ import annotations

from contextlib import ExitStack

from gateproof import (
    Ids,
    Stack,
    Sut,
    claim,
    criterion,
    falsified_by,
    inject,
    monotonic_s,
    premise,
    wait_until,
)

from ..control import NAMED, celery
from ..holding import runs_held, wait_for_held_runs

CLAIMED_AHEAD, MESSAGES = 3, "kombu_message"
STOPPING = "worker: "
"""Text of the worker's log line after the stop signal."""
WATCHED_S = 15.0

STATES, STATE = "states of the claimed pings while the last task runs", "state of the task"
RUNS = "runs of the task in the logs"
RUNNING, REVOKED = "running at the stop signal", "claimed and revoked before the stop signal"
"""Names and objects of claims that falsifiers predict."""


@criterion(
    "RUN-11",
    needs=(
        "database",
        "celery",
        "broker.promises.hands_over",
        "broker.promises.remote_control",
        "worker",
        "ping",
        "task",
        "logs or worker.probe=inject",
    ),
)
@falsified_by(inject("no-hand-over", "drop-steps"), expect=(STATES, "", "got PENDING"))
@falsified_by(inject("revoked-one-runs", "ignore-revokes"), expect=(STATE, REVOKED))
def test_stopping_worker_returns_what_it_has_not_started(
    own_stack: Stack, sut: Sut, ids: Ids
) -> None:
    """Another worker runs what a stopping one had claimed; revoked tasks never run."""
    stack, ping = own_stack, sut.ping
    with ExitStack() as workers:
        stopping = workers.enter_context(stack.running_worker(concurrency=1, options=NAMED))
        stack.wait_ready(stopping)
        with runs_held(stack, ids) as (running,):
            wait_for_held_runs(stack)
            ahead = [
                stack.tasks.publish(ping.task, (), ping.arguments) for _ in range(CLAIMED_AHEAD)
            ]
            expect_claimed(stack, ahead)
            revoked, *others = ahead
            done = celery(stack, "control", "revoke", revoked)
            premise("exit of a revoke", got=done.exit_status, expected=0)
            stopping.signal()
            wait_until(
                lambda: any(STOPPING in line for line in stopping.log().lines),
                deadline_s=WATCHED_S,
                interval_s=0.1,
            )
            other = workers.enter_context(stack.running_worker(concurrency=2))
            stack.wait_ready(other)
            until = monotonic_s() + WATCHED_S
            states = [
                stack.tasks.result(task_id, deadline_s=max(until - monotonic_s(), 0.1)).end
                for task_id in others
            ]
            runs_on = stopping.alive
            celery(stack, "control", "revoke", "--terminate", running)
        status = stopping.wait_exit()
        wait_until(
            lambda: int(stack.sql.query(f"SELECT count(*) FROM {MESSAGES}").scalar()),
            lambda messages: messages == 0,
            deadline_s=WATCHED_S,
            interval_s=0.1,
        )
        runs = [
            line.get(sut.ends.task_id)
            for worker in (stopping, other)
            for line in worker.log().matching(**{sut.ends.message: sut.ends.success})
        ]
        end = stack.tasks.result(running, deadline_s=WATCHED_S).end
        ended = stack.tasks.result(revoked, deadline_s=WATCHED_S).state
    claim(STATES, got=states, expected=["SUCCESS"] * len(others), over=others)
    claim("the stopping worker runs during its last task", got=runs_on, expected=True)
    claim(STATE, on=REVOKED, got=ended, expected="REVOKED")
    claim(RUNS, on=REVOKED, got=runs.count(revoked), expected=0)
    claim(RUNS, on=RUNNING, got=runs.count(running), expected=1)
    # It was revoked after the stop signal, which must not end it.
    claim(STATE, on=RUNNING, got=end, expected="SUCCESS")
    claim("exit status of the stopping worker", got=status, expected=0)


def expect_claimed(stack: Stack, task_ids: list[str]) -> None:
    """Wait until the only worker has claimed tasks that it cannot start, as it reports itself."""

    def reserved() -> bool:
        output = celery(stack, "inspect", "reserved").output
        return all(task_id in output for task_id in task_ids)

    claimed = wait_until(reserved, deadline_s=WATCHED_S, interval_s=0.2)
    premise("tasks that a worker has claimed and not started", got=claimed, expected=True)
