"""Gate queues: ended processes and tasks leave nothing in the broker's tables."""

from __future__ import annotations

from gateproof import (
    POOL_SOLO,
    Stack,
    Sut,
    criterion,
    falsified_by,
    inject,
    message,
    premise,
    source,
    wait_until,
)

from ..control import NAMED, celery
from ..lease import lease_of

MAILBOX_DEADLINE_S, DELETED_DEADLINE_S = 20.0, 5.0
REAPED_DEADLINE_S = 9.0
"""How long after its lease the queue of a dead process may stay."""


@criterion("QUE-05", needs=("database", "celery", "broker.lease_s", "worker", "ping", "task"))
@falsified_by(
    source(
        "mailboxes-kept",
        "system/transport/broker.py",
        function="Transport._drop_own",
        body="return None",
    ),
    expect="queues after a worker and its callers have ended: got",
)
@falsified_by(
    message("queues-of-the-dead-kept", "keep-queues"),
    expect="queues of a worker after another one was killed: got",
)
def test_ended_processes_leave_no_queue(own_stack: Stack, sut: Sut) -> None:
    """Workers and their callers, ended or killed, leave only the four task queues."""
    stack, four, lease = own_stack, sorted(sut.queues), lease_of(sut)
    with stack.running_worker(
        pool=POOL_SOLO, env=lease.env, options=NAMED, name="survivor"
    ) as worker:
        stack.wait_ready(worker)
        alone = _queues(stack)
        mailbox = set(alone) > set(four)
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
        assert remaining == alone, (
            f"queues of a worker after another one was killed: got {remaining}, expected {alone}"
        )
        status = worker.stop()
        assert status == 0, f"worker after the stop signal: got exit {status}, expected 0"
    left = _queues(stack)
    assert left == four, (
        f"queues after a worker and its callers have ended: got {left}, expected {four}"
    )


@criterion("QUE-06", needs=("database", "celery", "worker", "ping.fail", "ping.retry", "task"))
@falsified_by(
    message("kept", "keep"),
    expect="messages of tasks that have ended: got",
)
@falsified_by(
    inject("stock-broker", "use-transport"),
    expect="messages of tasks that have ended: got",
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
    assert left == 0, f"messages of tasks that have ended: got {left}, expected 0"


def _queues(stack: Stack) -> list[str]:
    """Return the names of all queues."""
    return [
        str(name) for name in stack.sql.query("SELECT name FROM kombu_queue ORDER BY 1").column()
    ]
