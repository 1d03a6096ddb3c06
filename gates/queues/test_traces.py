"""Gate queues: ended tasks and processes leave nothing in the broker's tables."""

from __future__ import annotations

from gates.control import celery
from harness import criterion, falsified_by, source
from harness.stack import POOL_SOLO, Stack
from harness.sut import Sut
from harness.wait import wait_until

MAILBOX_DEADLINE_S, DELETED_DEADLINE_S = 20.0, 5.0
REAPED_DEADLINE_S = 12.0
"""A worker of the reference system deletes queues of dead processes every five seconds."""


@criterion("QUE-05")
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
    source(
        "the-dead-not-reaped",
        "system/transport/session.py",
        function="Session._reap",
        body="return None",
    ),
    expect="queues of a worker after another was killed: got",
)
def test_ended_processes_leave_no_queue(own_stack: Stack, sut: Sut) -> None:
    """A worker has a mailbox while it lives; after its end only the four queues are left."""
    stack, four = own_stack, sorted(sut.queues)
    with stack.running_worker(pool=POOL_SOLO, name="survivor") as worker:
        stack.wait_ready(worker)
        there = _queues(stack)
        assert set(there) > set(four), (
            f"premise: queues while a worker lives: got {there}, expected its mailbox too"
        )
        # Workers on one machine share a name, and so a mailbox, unless they get other names.
        with stack.running_worker(
            pool=POOL_SOLO, options=("--hostname=victim@%h",), name="victim"
        ) as victim:
            more = wait_until(
                lambda: _queues(stack),
                lambda seen: set(seen) > set(there),
                deadline_s=MAILBOX_DEADLINE_S,
            )
            assert set(more) > set(there), (
                f"premise: queues of two workers: got {more}, expected one more than {there}"
            )
            victim.kill()
        asked = celery(stack, "inspect", "ping")
        assert asked.exit_status == 0, (
            f"premise: celery inspect ping: got exit {asked.exit_status}, expected 0: "
            f"{asked.output[-300:]}"
        )
        beside = wait_until(
            lambda: _queues(stack), lambda seen: seen == there, deadline_s=REAPED_DEADLINE_S
        )
        assert beside == there, (
            f"queues of a worker after another was killed: got {beside}, expected {there}"
        )
        status = worker.stop()
        assert status == 0, f"worker that was signalled to stop: got exit {status}, expected 0"
    left = _queues(stack)
    assert left == four, (
        f"queues after a worker and its callers have ended: got {left}, expected {four}"
    )


@criterion("QUE-06")
@falsified_by(
    source(
        "kept-invisible",
        "system/transport/statements.py",
        '"DELETE FROM kombu_message WHERE id = ANY(CAST(:ids AS bigint[])) AND claimed_by = :me"',
        '"UPDATE kombu_message SET claimed_by = NULL, lease_until = NULL"\n'
        '    " WHERE id = ANY(CAST(:ids AS bigint[])) AND claimed_by = :me"',
    ),
    expect="messages of tasks that have ended: got",
)
@falsified_by(
    source(
        "stock-broker",
        "system/transport/__init__.py",
        'TRANSPORT_ALIASES[alias] = "system.transport.broker:Transport"',
        "pass",
    ),
    expect="messages of tasks that have ended: got",
)
def test_ended_tasks_leave_no_message(own_stack: Stack, sut: Sut) -> None:
    """A ping that succeeds, one that fails and one that is retried leave the table empty."""
    stack, ping = own_stack, sut.ping
    assert stack.worker.alive, "premise: worker: got an end, expected it to run"
    kinds = (ping.arguments, {**ping.arguments, **ping.fail}, {**ping.arguments, **ping.retry})
    sent = [stack.tasks.publish(ping.task, (), arguments) for arguments in kinds]
    states = [stack.tasks.result(task_id).state for task_id in sent]
    assert states == ["SUCCESS", "FAILURE", "SUCCESS"], (
        f"premise: ends of three tasks: got {states}, expected ['SUCCESS', 'FAILURE', 'SUCCESS']"
    )
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
