"""Gate dlq: a message that kills its workers is not delivered for ever."""

from __future__ import annotations

from gateproof import (
    POOL_SOLO,
    Ids,
    Stack,
    Sut,
    claim,
    criterion,
    premise,
    wait_until,
)

from ..holding import reader_of, sessions_waiting_for, tables_held
from ..lease import lease_of
from .rows import only_row, rows_of

MOST = 2
"""The delivery limit in this check; the system's default would only take longer."""
SETTING = "SYSTEM_BROKER_MAX_DELIVERIES"
RUN_DEADLINE_S, WITHIN_S = 17.0, 9.0
"""How long the next run and the row may take after the lease of the killed worker."""
POISON = "task that killed each worker that ran it"


@criterion(
    "DLQ-16",
    needs=(
        "database",
        "celery",
        "broker.lease_s",
        "worker.report",
        "ping",
        "task",
        "tenancy",
        "dead_letters",
        "logs",
    ),
)
def test_message_that_kills_its_workers_ends(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """It kills two workers; the third writes its row, does not run it, and serves other tasks."""
    stack, tenant = own_stack, str(ids.uuid())
    lease = lease_of(sut)
    options = {"pool": POOL_SOLO, "env": {SETTING: str(MOST), **lease.env}}
    reader = reader_of(stack)
    with tables_held(stack, reader.table):
        poison = stack.tasks.publish(reader.task, (), reader.of_tenant(sut, tenant))
        for number in range(MOST):
            with stack.running_worker(name=f"victim-{number + 1}", **options) as victim:
                victim.report()
                runs = runs_begun(
                    stack, reader.table, number + 1, deadline_s=RUN_DEADLINE_S + lease.seconds
                )
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
                expected=[reader.task, tenant, "pending"],
            )
            # The worker that refused the message serves the next one.
            done = stack.tasks.run(sut.ping.task, sut.ping.arguments)
            claim(
                "state of the task behind it", on=sut.ping.task, got=done.state, expected="SUCCESS"
            )


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
