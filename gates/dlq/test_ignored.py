"""Gate dlq: the failure of a task whose result is ignored."""

from __future__ import annotations

from gateproof import Ids, Stack, Sut, claim, criterion, premise

from ..described import AGAIN, AGAIN_DECLARED, LOST, falsified_in_rows, other_statuses
from ..tenant import unused_tenant
from .rows import ROWS_OF_TASK, only_row, wait_for_rows

IGNORED = "task whose result is ignored"


@criterion(
    "DLQ-17",
    needs=(
        "database",
        "celery",
        "broker",
        "worker",
        "ping.fail",
        "task",
        "tenancy",
        "dead_letters.statuses",
        "logs or worker.probe=inject",
    ),
)
@falsified_in_rows("row-lost", LOST, expect=(ROWS_OF_TASK, IGNORED, "got 0"))
@falsified_in_rows(
    "row-written-again",
    AGAIN,
    when="AFTER INSERT",
    declared=AGAIN_DECLARED,
    expect=(ROWS_OF_TASK, IGNORED, "got 2"),
)
@falsified_in_rows(
    "taken-up-at-once",
    "NEW.{c[status]} := '{each}'; RETURN NEW;",
    each=other_statuses,
    expect=("task id, tenant and status in the dead-letter row", IGNORED, "{each}"),
)
def test_failure_whose_result_is_ignored_leaves_a_row(stack: Stack, sut: Sut, ids: Ids) -> None:
    """A ping that fails and stores no result leaves one pending row of its tenant."""
    tenant, ping = unused_tenant(stack, ids), sut.ping
    kwargs = {**ping.arguments, **ping.fail, sut.tenancy.key: tenant}
    sent = stack.tasks.publish(ping.task, (), kwargs, ignore_result=True)
    wait_for_rows(stack, [sent], tenant_id=str(tenant))
    # After another task of the same worker, everything else that the failure writes is written.
    done = stack.tasks.run(ping.task, {**ping.arguments, sut.tenancy.key: tenant})
    premise("state of a plain ping", got=done.state, expected="SUCCESS")
    rows = wait_for_rows(stack, [sent], tenant_id=str(tenant))
    row = only_row(rows, IGNORED)
    if row is None:
        return
    claim(
        "task id, tenant and status in the dead-letter row",
        on=IGNORED,
        got=[row.task_id, row.tenant_id, row.status],
        expected=[sent, str(tenant), sut.dead_letters.new],
    )
    statement = f"SELECT status FROM {stack.sut.broker.results} WHERE task_id = %s"
    results = stack.sql.query(statement, (sent,)).column()
    premise("stored results", on=IGNORED, got=results, expected=[])
