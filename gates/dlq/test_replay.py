"""Gate dlq: the replay of dead letters."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gateproof import (
    Ids,
    Stack,
    Sut,
    claim,
    criterion,
    falsified_by,
    message,
    premise,
    wait_until,
)

from ..described import falsified_in_rows
from ..holding import reader_of
from ..tenant import unused_tenant
from .operators import replay_all, replay_command
from .rows import rows_of

ROWS = 6
RAN, STATUSES = "replays that ran", "statuses of the rows after their replay"
"""Names of claims that falsifiers predict."""
REPLAYED = "rows that two operators replay at once"
BOTH_DEADLINE_S, ENDED_DEADLINE_S, LINE_DEADLINE_S = 30.0, 12.0, 3.0

_CLAIMING = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND usename = %s AND wait_event_type = 'Lock'
"""


@criterion(
    "DLQ-10",
    needs=(
        "database",
        "celery",
        "worker",
        "ping",
        "task",
        "tenancy",
        "dead_letters.operator",
        "dead_letters.replay",
        "dead_letters.resolved",
        "logs or worker.probe=inject",
    ),
)
@falsified_by(
    message("sent-twice", "duplicate"), expect=(RAN, REPLAYED, f"expected at most {ROWS}")
)
@falsified_in_rows(
    "success-not-recorded",
    "IF NEW.{c[status]} = '{resolved}' THEN NEW.{c[status]} := OLD.{c[status]}; END IF;"
    " RETURN NEW;",
    when="BEFORE UPDATE",
    expect=(STATUSES, REPLAYED),
)
def test_two_replayers_replay_each_row_once(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """If two operators replay rows at once, each row's task runs once, and resolves it."""
    stack, tenant = own_stack, unused_tenant(own_stack, ids)
    replay_command(stack)
    worker_role = sut.worker.role
    reader = reader_of(stack)
    arguments = reader.of_tenant(sut, tenant)
    stack.sql.query(f"REVOKE SELECT ON {reader.table} FROM {worker_role}")
    sent = [stack.tasks.publish(reader.task, (), arguments) for _ in range(ROWS)]
    premise("the worker runs", got=stack.worker.alive, expected=True)
    there = wait_until(
        lambda: rows_of(stack, sent),
        lambda found: len(found) == ROWS,
        deadline_s=ENDED_DEADLINE_S,
        interval_s=0.2,
    )
    premise("dead-letter rows", got=len(there), expected=ROWS)
    stack.sql.query(f"GRANT SELECT ON {reader.table} TO {worker_role}")

    before = runs_in_log(stack, reader.task)
    reports = replay_twice_at_once(stack)
    replayed = Counter(one["task_id"] for one in reports if one["task_id"] in sent)
    statuses = wait_until(
        lambda: Counter(row.status for row in rows_of(stack, sent)),
        lambda seen: seen[sut.dead_letters.resolved] == ROWS,
        deadline_s=ENDED_DEADLINE_S,
        interval_s=0.2,
    )
    # A row is resolved a moment before the worker logs it.
    ran = wait_until(
        lambda: runs_in_log(stack, reader.task) - before,
        lambda seen: seen >= ROWS,
        deadline_s=LINE_DEADLINE_S,
    )
    claim(RAN, on=REPLAYED, got=ran, expected=ROWS, relation="at_most")
    claim(RAN, on=REPLAYED, got=ran, expected=ROWS, relation="at_least")
    claim(STATUSES, on=REPLAYED, got=dict(statuses), expected={sut.dead_letters.resolved: ROWS})
    claim(
        "times that both replayers together reported each row as sent",
        on=REPLAYED,
        got=sorted(replayed[task_id] for task_id in sent),
        expected=[1] * ROWS,
    )


def runs_in_log(stack: Stack, task: str) -> int:
    """Count the successes of a task in the worker's log; what is replayed had only failed."""
    names = stack.sut.ends
    lines = stack.worker.log().matching(**{names.message: names.success, names.task_name: task})
    return len(lines)


def replay_twice_at_once(stack: Stack) -> list[dict[str, Any]]:
    """Let two operators replay all rows, held until both ask for rows; return their output.

    The table is held so that neither can claim before the other is about to.
    """
    with ThreadPoolExecutor(2) as operators:
        with stack.sql.session() as session:
            session.query(f"LOCK TABLE {stack.sut.dead_letters.table} IN EXCLUSIVE MODE")
            both = [operators.submit(replay_all, stack) for _ in range(2)]
            waiting = wait_until(
                lambda: int(
                    stack.sql.query(_CLAIMING, (stack.sut.dead_letters.operator,)).scalar()
                ),
                lambda number: number == 2,
                deadline_s=BOTH_DEADLINE_S,
                interval_s=0.1,
            )
        ended = [one.result() for one in both]
    premise("replayers that wait for rows", got=waiting, expected=2)
    printed = [line for done in ended for line in done.output.splitlines()]
    return [json.loads(line) for line in printed if line.startswith("{")]
