"""Gate runtime: workers answer queries and obey commands of remote control."""

from __future__ import annotations

from gateproof import (
    Ids,
    Stack,
    Sut,
    claim,
    criterion,
    falsified_by,
    inject,
)

from ..control import NAMED, celery
from ..holding import runs_held, wait_for_held_runs

EXIT_STATUS, PING = "exit status of the command", "celery inspect ping"
"""The name of a claim, and its object, that falsifiers predict."""


@criterion(
    "RUN-08",
    needs=("database", "celery", "broker.promises.remote_control", "worker", "ping", "task"),
)
@falsified_by(
    inject("stock-broker", "use-transport"),
    expect=(EXIT_STATUS, PING, "got 69"),
)
@falsified_by(
    inject("commands-dropped", "ignore-remote-control"),
    expect=(EXIT_STATUS, PING, "got 69"),
)
def test_workers_answer_and_obey(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """A worker answers `celery inspect ping`, and never runs a task revoked before its start."""
    stack, ping = own_stack, sut.ping
    with stack.running_worker(concurrency=1, options=NAMED) as worker:
        stack.wait_ready(worker)
        answer = celery(stack, "inspect", "ping")
        answered = claim(EXIT_STATUS, on=PING, got=answer.exit_status, expected=0)
        claim(
            "output of the command",
            on=PING,
            got=answer.output,
            relation="contains",
            expected="pong",
        )
        if not answered:
            return
        with runs_held(stack, ids) as (first,):
            wait_for_held_runs(stack)
            waiting = stack.tasks.publish(ping.task, (), ping.arguments)
            revoked = celery(stack, "control", "revoke", waiting)
            claim(EXIT_STATUS, on="celery control revoke", got=revoked.exit_status, expected=0)
        states = [stack.tasks.result(task_id).end for task_id in (first, waiting)]
        claim("state of the task", on="running task", got=states[0], expected="SUCCESS")
        claim(
            "state of the task",
            on="waiting task that was revoked",
            got=states[1],
            expected="REVOKED",
        )
