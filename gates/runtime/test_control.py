"""Gate runtime: workers answer remote control."""

from __future__ import annotations

from gates.control import celery
from gates.holding import SCAN, SCANNED, tables_held, wait_for_a_session
from harness import criterion, falsified_by, source
from harness.fixtures import Ids
from harness.stack import POOL_PREFORK, Stack
from harness.sut import Sut


@criterion("RUN-08")
@falsified_by(
    source(
        "stock-broker",
        "system/transport/__init__.py",
        'TRANSPORT_ALIASES[alias] = "system.transport.broker:Transport"',
        "pass",
    ),
    expect="celery inspect ping: got exit 69",
)
@falsified_by(
    source(
        "broadcasts-dropped",
        "system/transport/broker.py",
        function="Channel._put_fanout",
        body="del exchange, message, routing_key",
    ),
    expect="celery inspect ping: got exit 69",
)
def test_workers_answer_and_obey(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """A worker answers `celery inspect ping`, and a task that is revoked in time does not run."""
    stack, ping = own_stack, sut.ping
    with stack.running_worker(pool=POOL_PREFORK, concurrency=1) as worker:
        stack.wait_ready(worker)
        asked = celery(stack, "inspect", "ping")
        assert asked.exit_status == 0, (
            f"celery inspect ping: got exit {asked.exit_status}, expected 0: {asked.output[-300:]}"
        )
        assert "pong" in asked.output, f"celery inspect ping: got {asked.output!r}, expected pong"
        with tables_held(stack, SCANNED):
            first = stack.tasks.publish(SCAN, (), {sut.tenancy.key: ids.uuid()})
            assert wait_for_a_session(stack, SCANNED), f"premise: {SCAN}: got no run, expected one"
            behind = stack.tasks.publish(ping.task, (), ping.arguments)
            told = celery(stack, "control", "revoke", behind)
            assert told.exit_status == 0, (
                f"celery control revoke: got exit {told.exit_status}, expected 0: "
                f"{told.output[-300:]}"
            )
        states = [stack.tasks.result(task_id).state for task_id in (first, behind)]
        assert states == ["SUCCESS", "REVOKED"], (
            f"a task, and one behind it that was revoked: got {states}, "
            "expected ['SUCCESS', 'REVOKED']"
        )
