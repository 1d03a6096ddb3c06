"""Gate dlq: a task that fails while the database is away."""

from __future__ import annotations

from gateproof import (
    Ids,
    Stack,
    Sut,
    criterion,
    falsified_by,
    premise,
    settings,
    source,
    wait_until,
)

from ..endings import wait_for_failure_lines
from .parts import DRAIN, KEEPER
from .rows import rows_of

HELD = 2
"""The number of the worker's children."""
BUSY_DEADLINE_S, WRITTEN_DEADLINE_S = 15.0, 12.0

_ASLEEP = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND usename = %s AND wait_event = 'PgSleep'
"""


@criterion(
    "DLQ-09",
    needs=("database", "celery", "worker", "ping.hold", "task", "tenancy", "dead_letters", "logs"),
)
@falsified_by(
    source(
        "kept-nowhere",
        KEEPER,
        "        spool().put(task_id, to_record(entry))\n",
        "        pass\n",
    ),
    expect="dead letters of tasks that failed with the database away: got 0, expected 2",
)
@falsified_by(
    source(
        "disk-never-read",
        DRAIN,
        function="_start_draining",
        body="pass",
    ),
    expect="dead letters of tasks that failed with the database away: got 0, expected 2",
)
@falsified_by(
    settings("disk-takes-nothing", {"SYSTEM_DEAD_LETTER_SPOOL": "/proc/dead-letters"}),
    expect="dead letters of tasks that failed with the database away: got 0, expected 2",
)
def test_failure_with_the_database_away_is_not_lost(
    own_server_stack: Stack, sut: Sut, ids: Ids
) -> None:
    """Tasks whose database stops while they run each leave exactly one row once it is back."""
    stack, tenant = own_server_stack, str(ids.uuid())
    kwargs = {**sut.ping.arguments, **sut.ping.hold, sut.tenancy.key: tenant}
    premise("the worker runs", got=stack.worker.alive, expected=True)
    sent = [stack.tasks.publish(sut.ping.task, (), kwargs) for _ in range(HELD)]
    busy = wait_until(
        lambda: int(stack.sql.query(_ASLEEP, (sut.worker.role,)).scalar()),
        lambda number: number == HELD,
        deadline_s=BUSY_DEADLINE_S,
        interval_s=0.1,
    )
    premise("tasks in the middle of a statement", got=busy, expected=HELD)
    with stack.server_stopped():
        wait_for_failure_lines(stack, sent)
        names = sut.logs
        lines = stack.worker.log().matching(**{names.message: names.failure})
        failed = {str(line.get(names.task_id)) for line in lines} & set(sent)
        premise("tasks that failed without the database", got=len(failed), expected=HELD)
    rows = wait_until(
        lambda: rows_of(stack, sent, tenant_id=tenant),
        lambda found: {row.task_id for row in found} >= set(sent),
        deadline_s=WRITTEN_DEADLINE_S,
        interval_s=0.2,
    )
    assert len(rows) == HELD, (
        f"dead letters of tasks that failed with the database away: got {len(rows)}, "
        f"expected {HELD}"
    )
    # After another task of the worker, everything that is written late is written.
    done = stack.tasks.run(sut.ping.task, sut.ping.arguments)
    assert done.state == "SUCCESS", f"ping after the outage: got {done.state}, expected SUCCESS"
    rows = rows_of(stack, sent, tenant_id=tenant)
    ends = sorted((row.task_id, row.tenant_id, row.status) for row in rows)
    expected = sorted((task_id, tenant, "pending") for task_id in sent)
    assert ends == expected, f"dead letters after the outage: got {ends}, expected {expected}"
    for row in rows:
        assert row.sent_kwargs() == kwargs, (
            f"kwargs of {row.task_name}: got {row.sent_kwargs()}, expected {kwargs}"
        )
