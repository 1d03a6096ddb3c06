"""Gate queues: ended processes and tasks leave nothing in the broker's tables."""

from __future__ import annotations

from gateproof import (
    POOL_SOLO,
    Stack,
    Sut,
    claim,
    criterion,
    falsified_by,
    inject,
    message,
    premise,
    wait_until,
)

from ..control import NAMED, celery
from ..lease import lease_of

MAILBOX_DEADLINE_S, DELETED_DEADLINE_S = 20.0, 5.0
REAPED_DEADLINE_S = 9.0
"""How long after its lease the queue of a dead process may stay."""

LEFT = "queues that a worker and its callers left when they ended"
REMAINING = "queues of a killed worker that stay"
MESSAGES = "messages of tasks that have ended"
"""Names of claims that falsifiers predict."""


@criterion(
    "QUE-05",
    needs=(
        "database",
        "celery",
        "broker.kind=sqla",
        "broker.lease_s",
        "broker.promises.drops_queues",
        "broker.promises.remote_control",
        "worker",
        "ping",
        "task",
    ),
)
@falsified_by(
    message("queues-of-the-dead-kept", "keep-queues"),
    expect=(REMAINING, ""),
)
@falsified_by(inject("leaves-at-once", "exit-at-stop-signal"), expect=(LEFT, ""))
def test_ended_processes_leave_no_queue(own_stack: Stack, sut: Sut) -> None:
    """Workers and their callers, ended or killed, leave only the described queues."""
    stack, tasks, lease = own_stack, sorted(sut.queues), lease_of(sut)
    with stack.running_worker(
        pool=POOL_SOLO, env=lease.env, options=NAMED, name="survivor"
    ) as worker:
        stack.wait_ready(worker)
        alone = _queues(stack)
        mailbox = set(alone) > set(tasks)
        premise("queues while a worker lives include its mailbox", got=mailbox, expected=True)
        # Workers of one machine share a default name, and so a mailbox: this one gets its own name.
        with stack.running_worker(
            pool=POOL_SOLO, env=lease.env, options=("--hostname=victim@%h",), name="victim"
        ) as victim:
            both = wait_until(
                lambda: _queues(stack),
                lambda seen: set(seen) > set(alone),
                deadline_s=MAILBOX_DEADLINE_S,
            )
            more = set(both) > set(alone)
            premise("two workers have more queues than one", got=more, expected=True)
            victim.kill()
        answer = celery(stack, "inspect", "ping")
        premise("exit status of celery inspect ping", got=answer.exit_status, expected=0)
        remaining = wait_until(
            lambda: _queues(stack),
            lambda seen: seen == alone,
            deadline_s=REAPED_DEADLINE_S + lease.seconds,
        )
        expect_same(REMAINING, remaining, alone)
        claim("exit status of the stopped worker", got=worker.stop(), expected=0)
    expect_same(LEFT, _queues(stack), tasks)


@criterion(
    "QUE-06",
    needs=(
        "database",
        "celery",
        "broker.kind=sqla",
        "broker.promises.deletes",
        "worker",
        "ping.fail",
        "ping.retry",
        "task",
    ),
)
@falsified_by(
    message("kept", "keep"),
    expect=(MESSAGES, ""),
)
@falsified_by(
    inject("stock-broker", "use-transport"),
    expect=(MESSAGES, ""),
)
def test_ended_tasks_leave_no_message(own_stack: Stack, sut: Sut) -> None:
    """One ping that succeeds, one that fails and one that is retried leave the table empty."""
    stack, ping = own_stack, sut.ping
    premise("the worker runs", got=stack.worker.alive, expected=True)
    kinds = (ping.arguments, {**ping.arguments, **ping.fail}, {**ping.arguments, **ping.retry})
    sent = [stack.tasks.publish(ping.task, (), arguments) for arguments in kinds]
    states = [stack.tasks.result(task_id).state for task_id in sent]
    ended = ["SUCCESS", "FAILURE", "SUCCESS"]
    premise("states of three tasks", got=states, expected=ended)
    left = wait_until(
        lambda: int(stack.sql.query("SELECT count(*) FROM kombu_message").scalar()),
        lambda rows: rows == 0,
        deadline_s=DELETED_DEADLINE_S,
    )
    claim(MESSAGES, got=left, expected=0)


def expect_same(what: str, got: list[str], expected: list[str]) -> None:
    """Judge that there are these queues and no others; a finding names only the others."""
    claim(what, got=sorted(set(got) - set(expected)), expected=[])
    claim("queues that are gone", on=what, got=sorted(set(expected) - set(got)), expected=[])


def _queues(stack: Stack) -> list[str]:
    """Return the names of all queues."""
    return [
        str(name) for name in stack.sql.query("SELECT name FROM kombu_queue ORDER BY 1").column()
    ]
