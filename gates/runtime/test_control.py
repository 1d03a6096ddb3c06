"""Gate runtime: workers can be asked and told."""

from __future__ import annotations

from gates.holding import table_held, wait_for_a_session
from harness import criterion, falsified_by, source
from harness.environments.interface import Completed
from harness.fixtures import Ids
from harness.stack import POOL_PREFORK, Stack
from harness.sut import Sut

SCAN, SCANNED = "app.tasks.maintenance.scan_for_pii_contamination", "attribution_events"
PATIENCE_S = "3"


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
        asked = celery(stack, "inspect", "--timeout", PATIENCE_S, "ping")
        assert asked.exit_status == 0, (
            f"celery inspect ping: got exit {asked.exit_status}, expected 0: {asked.output[-300:]}"
        )
        assert "pong" in asked.output, f"celery inspect ping: got {asked.output!r}, expected pong"
        with table_held(stack, SCANNED):
            first = stack.tasks.publish(SCAN, (), {sut.tenancy.key: ids.uuid()})
            assert wait_for_a_session(stack, SCANNED), f"premise: {SCAN}: got no run, expected one"
            behind = stack.tasks.publish(ping.task, (), ping.arguments)
            told = celery(stack, "control", "--timeout", PATIENCE_S, "revoke", behind)
            assert told.exit_status == 0, (
                f"celery control revoke: got exit {told.exit_status}, expected 0: "
                f"{told.output[-300:]}"
            )
        states = [stack.tasks.result(task_id).state for task_id in (first, behind)]
        assert states == ["SUCCESS", "REVOKED"], (
            f"a task, and one behind it that was revoked: got {states}, "
            "expected ['SUCCESS', 'REVOKED']"
        )


def celery(stack: Stack, *words: str) -> Completed:
    """Run Celery's own command on the system's app."""
    return stack.process.run(
        [*stack.sut.fill(["{python}", "-m", "celery"]), "--app", stack.sut.celery.app, *words],
        env=stack.worker_environment(),
        folder=stack.sut.folder,
    )
