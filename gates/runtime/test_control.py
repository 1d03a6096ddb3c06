"""Gate runtime: workers answer queries and obey commands of remote control."""

from __future__ import annotations

from gateproof import (
    POOL_PREFORK,
    Ids,
    Stack,
    Sut,
    criterion,
    falsified_by,
    inject,
    premise,
)

from ..control import NAMED, celery
from ..holding import SCAN, SCANNED, tables_held, wait_for_a_session


@criterion("RUN-08", needs=("database", "celery", "worker", "ping", "task", "tenancy"))
@falsified_by(
    inject("stock-broker", "use-transport"),
    expect="celery inspect ping: got exit 69",
)
@falsified_by(
    inject("commands-dropped", "ignore-remote-control"),
    expect="celery inspect ping: got exit 69",
)
def test_workers_answer_and_obey(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """A worker answers `celery inspect ping`, and never runs a task revoked before its start."""
    stack, ping = own_stack, sut.ping
    with stack.running_worker(pool=POOL_PREFORK, concurrency=1, options=NAMED) as worker:
        stack.wait_ready(worker)
        answer = celery(stack, "inspect", "ping")
        assert answer.exit_status == 0, (
            f"celery inspect ping: got exit {answer.exit_status}, expected 0: "
            f"{answer.output[-300:]}"
        )
        assert "pong" in answer.output, f"celery inspect ping: got {answer.output!r}, expected pong"
        with tables_held(stack, SCANNED):
            first = stack.tasks.publish(SCAN, (), {sut.tenancy.key: ids.uuid()})
            begun = wait_for_a_session(stack, SCANNED)
            premise("run that waits for a table", on=SCAN, got=bool(begun), expected=True)
            waiting = stack.tasks.publish(ping.task, (), ping.arguments)
            revoked = celery(stack, "control", "revoke", waiting)
            assert revoked.exit_status == 0, (
                f"celery control revoke: got exit {revoked.exit_status}, expected 0: "
                f"{revoked.output[-300:]}"
            )
        states = [stack.tasks.result(task_id).state for task_id in (first, waiting)]
        assert states == ["SUCCESS", "REVOKED"], (
            f"a running task, and a waiting one that was revoked: got {states}, "
            "expected ['SUCCESS', 'REVOKED']"
        )
