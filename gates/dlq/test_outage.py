"""Gate dlq: a task that fails while the database is away."""

from __future__ import annotations

from gateproof import (
    Ids,
    Stack,
    Sut,
    claim,
    criterion,
    premise,
    wait_until,
)

from ..described import LOST, falsified_in_rows, other_statuses
from ..endings import wait_for_failure_lines
from ..holding import reader_of, sessions_waiting_for, tables_held
from ..tenant import unused_tenant
from .rows import rows_of, typed

HELD = 2
"""The number of the worker's children."""
ROWS_OF_TASKS, FAILED = "dead-letter rows of the tasks", "tasks that failed in the outage"
BUSY_DEADLINE_S, WRITTEN_DEADLINE_S = 15.0, 12.0


@criterion(
    "DLQ-09",
    needs=(
        "database",
        "celery",
        "worker",
        "ping",
        "task",
        "tenancy",
        "dead_letters.statuses",
        "logs or worker.probe=inject",
    ),
)
@falsified_in_rows("row-lost", LOST, expect=(ROWS_OF_TASKS, FAILED, "got 0"))
@falsified_in_rows(
    "arguments-kept-in-memory",
    "NEW.{c[kwargs]} := '{{}}'; RETURN NEW;",
    expect=("keyword arguments in the dead-letter row", f"{FAILED}/row 1", "got {{}}"),
)
@falsified_in_rows(
    "taken-up-at-once",
    "NEW.{c[status]} := '{each}'; RETURN NEW;",
    each=other_statuses,
    expect=("task ids, tenants and statuses in the dead-letter rows", FAILED, "{each}"),
)
def test_failure_with_the_database_away_is_not_lost(
    own_server_stack: Stack, sut: Sut, ids: Ids
) -> None:
    """Tasks whose database stops while they run each leave exactly one row once it is back."""
    stack, reader = own_server_stack, reader_of(own_server_stack)
    given = unused_tenant(stack, ids)
    kwargs, tenant = reader.of_tenant(sut, given), str(given)
    premise("the worker runs", got=stack.worker.alive, expected=True)
    with tables_held(stack, reader.table):
        sent = [stack.tasks.publish(reader.task, (), kwargs) for _ in range(HELD)]
        busy = wait_until(
            lambda: len(sessions_waiting_for(stack, reader.table)),
            lambda number: number == HELD,
            deadline_s=BUSY_DEADLINE_S,
            interval_s=0.1,
        )
        premise("tasks in the middle of a statement", got=busy, expected=HELD)
        with stack.server_stopped():  # ends the session that holds the table, too
            wait_for_failure_lines(stack, sent)
            names = sut.ends
            lines = stack.worker.log().matching(**{names.message: names.failure})
            failed = {str(line.get(names.task_id)) for line in lines} & set(sent)
            premise("tasks that failed without the database", got=len(failed), expected=HELD)
    rows = wait_until(
        lambda: rows_of(stack, sent, tenant_id=tenant),
        lambda found: {row.task_id for row in found} >= set(sent),
        deadline_s=WRITTEN_DEADLINE_S,
        interval_s=0.2,
    )
    if not claim(ROWS_OF_TASKS, on=FAILED, got=len(rows), expected=HELD):
        return
    # After another task of the worker, everything that is written late is written.
    done = stack.tasks.run(sut.ping.task, sut.ping.arguments)
    claim("state of a task after the outage", on=sut.ping.task, got=done.state, expected="SUCCESS")
    rows = rows_of(stack, sent, tenant_id=tenant)
    claim(
        "task ids, tenants and statuses in the dead-letter rows",
        on=FAILED,
        got=sorted([row.task_id, str(row.tenant_id), row.status] for row in rows),
        expected=sorted([task_id, tenant, sut.dead_letters.new] for task_id in sent),
    )
    for number, row in enumerate(rows, 1):
        claim(
            "keyword arguments in the dead-letter row",
            on=f"{FAILED}/row {number}",
            got=typed(row.sent_kwargs()),
            expected=typed(kwargs),
        )
