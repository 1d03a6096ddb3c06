"""Gate dlq: a message that kills its workers is not delivered for ever."""

from __future__ import annotations

from gateproof import (
    POOL_SOLO,
    Ids,
    InconclusiveError,
    Stack,
    Sut,
    claim,
    criterion,
    premise,
    wait_until,
)

from ..described import AGAIN, AGAIN_DECLARED, LOST, falsified_in_rows
from ..holding import reader_of, sessions_waiting_for, tables_held
from ..lease import lease_of
from ..tenant import unused_tenant
from .rows import ROWS_OF_TASK, only_row, rows_of

MOST = 2
"""The delivery limit in this check; a higher one would only take longer."""
MOST_WATCHED = 3
"""The highest limit that a check waits for, if it cannot be set."""
RUN_DEADLINE_S, WITHIN_S = 17.0, 9.0
"""How long the next run and the row may take after the lease of the killed worker."""
POISON = "task that killed each worker that ran it"


@criterion(
    "DLQ-16",
    needs=(
        "database",
        "celery",
        "broker.lease_s",
        "broker.max_deliveries",
        "worker.report",
        "ping",
        "task",
        "tenancy",
        "dead_letters.statuses",
        "logs",
    ),
)
@falsified_in_rows("row-lost", LOST, expect=(ROWS_OF_TASK, POISON, "got 0"))
@falsified_in_rows(
    "row-written-again",
    AGAIN,
    when="AFTER INSERT",
    declared=AGAIN_DECLARED,
    expect=(ROWS_OF_TASK, POISON, "got 2"),
)
@falsified_in_rows(
    "name-of-the-task-lost",
    "NEW.{c[task_name]} := 'unknown'; RETURN NEW;",
    expect=("task name, tenant and status in the dead-letter row", POISON, "unknown"),
)
def test_message_that_kills_its_workers_ends(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """It kills workers up to the limit; the next one writes its row, and serves other tasks."""
    stack, given = own_stack, unused_tenant(own_stack, ids)
    tenant = str(given)
    lease, (most, setting) = lease_of(sut), limit_of(sut)
    options = {"pool": POOL_SOLO, "env": {**setting, **lease.env}}
    reader = reader_of(stack)
    with tables_held(stack, reader.table):
        poison = stack.tasks.publish(reader.task, (), reader.of_tenant(sut, given))
        for number in range(most):
            with stack.running_worker(name=f"victim-{number + 1}", **options) as victim:
                victim.report()
                wanted, deadline_s = number + 1, RUN_DEADLINE_S + lease.seconds
                runs = runs_begun(stack, reader.table, wanted, deadline_s=deadline_s)
                premise("runs that began", on=reader.task, got=runs, expected=number + 1)
                victim.kill()
        with stack.running_worker(name="survivor", **options) as survivor:
            survivor.report()
            rows = wait_until(
                lambda: rows_of(stack, [poison], tenant_id=tenant),
                bool,
                deadline_s=WITHIN_S + lease.seconds,
                interval_s=0.2,
            )
            row = only_row(rows, POISON)
            if row is None:
                return
            claim(
                "task name, tenant and status in the dead-letter row",
                on=POISON,
                got=[row.task_name, row.tenant_id, row.status],
                expected=[reader.task, tenant, sut.dead_letters.new],
            )
            # The worker that refused the message serves the next one.
            done = stack.tasks.run(sut.ping.task, sut.ping.arguments)
            claim(
                "state of the task behind it", on=sut.ping.task, got=done.state, expected="SUCCESS"
            )


def limit_of(sut: Sut) -> tuple[int, dict[str, str]]:
    """Return how often a message is delivered, and the variables with which that is so.

    Raises:
        InconclusiveError: the limit is high and cannot be set.

    """
    broker = sut.broker
    if broker.max_deliveries_env:
        return MOST, {broker.max_deliveries_env: str(MOST)}
    if broker.max_deliveries > MOST_WATCHED:
        raise InconclusiveError(
            f"{sut.path}: broker.max_deliveries_env: got none with {broker.max_deliveries} "
            f"deliveries, expected the variable that sets it: a check waits for at most "
            f"{MOST_WATCHED}"
        )
    return broker.max_deliveries, {}


def runs_begun(stack: Stack, table: str, wanted: int, *, deadline_s: float) -> int:
    """Return how often the held task has started, once that is the expected number.

    The server does not see that a client is gone while its statement waits, so all are counted.
    """
    return wait_until(
        lambda: len(sessions_waiting_for(stack, table)),
        lambda number: number == wanted,
        deadline_s=deadline_s,
        interval_s=0.1,
    )
