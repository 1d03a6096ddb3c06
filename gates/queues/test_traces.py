"""Gate queues: processes that have ended leave no queue of their own."""

from __future__ import annotations

from harness import criterion, falsified_by, source
from harness.stack import POOL_SOLO, Stack
from harness.sut import Sut

ASK = ("{python}", "-m", "celery", "--app")


@criterion("QUE-05")
@falsified_by(
    source(
        "mailboxes-kept",
        "system/transport/broker.py",
        function="Transport._drop_own",
        body="return None",
    ),
    expect="queues after a worker and whoever asked it have ended: got",
)
def test_ended_processes_leave_no_queue(own_stack: Stack, sut: Sut) -> None:
    """A worker has a mailbox while it lives; once it and its callers ended the four are left."""
    stack = own_stack
    with stack.running_worker(pool=POOL_SOLO) as worker:
        stack.wait_ready(worker)
        there = _queues(stack)
        assert set(there) > set(sut.queues), (
            f"premise: queues while a worker lives: got {there}, expected its mailbox too"
        )
        asked = stack.process.run(
            [*sut.fill(list(ASK)), sut.celery.app, "inspect", "ping"],
            env=stack.worker_environment(),
            folder=sut.folder,
        )
        assert asked.exit_status == 0, (
            f"premise: celery inspect ping: got exit {asked.exit_status}, expected 0"
        )
        status = worker.stop()
        assert status == 0, f"worker that was told to stop: got exit {status}, expected 0"
    left = _queues(stack)
    assert left == sorted(sut.queues), (
        f"queues after a worker and whoever asked it have ended: got {left}, "
        f"expected {sorted(sut.queues)}"
    )


def _queues(stack: Stack) -> list[str]:
    """Return the names of all queues."""
    return [
        str(name) for name in stack.sql.query("SELECT name FROM kombu_queue ORDER BY 1").column()
    ]
