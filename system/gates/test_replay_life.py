"""Gate dlq: the life of a dead-letter row: replays, back-off, the end of trying, and retention."""

from __future__ import annotations

import json
from typing import Any

from gateproof import (
    POOL_SOLO,
    Fault,
    Ids,
    Stack,
    Sut,
    Worker,
    claim,
    criterion,
    falsified_by,
    premise,
    source,
    sql,
    wait_until,
)

from .test_workflow import SCAN, SCANNED, operate

REPLAY, TABLE = "system/dead_letters/replay.py", "system/dead_letters/storage/table.py"
RECONCILIATION = "system/dead_letters/reconciliation.py"
DELETE_OLD = "app.tasks.maintenance.delete_old_dead_letters"

MOST, PAUSES_S = 3, [60, 120, 240]
"""The number of failed replays after which a row is abandoned, and the pause after each."""
ENDED_S = 10.0
DAYS, BATCH = 10, 1000

STATUS, PAUSE = "status of the row", "seconds until the row is due again"
EARLY = "replays before the row is due"
SENT = "times that a replay sent the row"
CORRELATION = "correlation id of the replay in the log"
LEFT = "rows after the retention"
"""Names of claims that falsifiers predict."""

_ROW = """
    SELECT status, retry_count, extract(epoch FROM due_at - last_retry_at)::float
    FROM worker_failed_jobs WHERE task_id = %s
"""


def changed(name: str, function: str, before: str, after: str) -> Fault:
    """Return the fault that one text in a function of the database is another."""
    return sql(
        name,
        f"""DO $do$ BEGIN EXECUTE replace(
            pg_get_functiondef('{function}'::regproc), $t${before}$t$, $t${after}$t$);
        END $do$""",
        landing=f"SELECT md5(prosrc) FROM pg_proc WHERE proname = '{function}'",
    )


@criterion(
    "DLQ-22",
    needs=(
        "database",
        "celery",
        "worker",
        "ping",
        "task",
        "tenancy",
        "dead_letters.operator",
        "logs",
        "logs.correlation_id",
    ),
)
@falsified_by(
    changed(
        "pause-does-not-grow", "settle_dead_letter", "base * (2 ^ least(retry_count, 30))", "base"
    ),
    expect=(PAUSE, "after failed replay 2", "got 60"),
)
@falsified_by(
    changed(
        "nothing-abandoned", "settle_dead_letter", "ELSE 'abandoned' END", "ELSE 'pending' END"
    ),
    expect=(STATUS, "after failed replay 3", "got pending"),
)
@falsified_by(
    source(
        "limit-of-replays-not-read",
        TABLE,
        '"most": settings.dead_letters_from(os.environ).most_replays,',
        '"most": 8,',
    ),
    expect=(STATUS, "after failed replay 3", "got pending"),
)
@falsified_by(
    changed(
        "one-resolved-row-stops-all",
        "claim_dead_letters",
        "    RETURN QUERY",
        "    IF EXISTS (SELECT FROM public.worker_failed_jobs WHERE status = 'resolved')"
        " THEN RETURN; END IF;\n    RETURN QUERY",
    ),
    expect=(SENT, "failed replay 1", "got 0"),
)
@falsified_by(
    changed("due-or-not", "claim_dead_letters", "NOT only_due OR", "true OR"),
    expect=(EARLY, "", "got 1"),
)
@falsified_by(
    changed("expired-claim-kept", "claim_dead_letters", "l.replay_until < now()", "false"),
    expect=(STATUS, "claim that expired, whose task succeeded", "got in_progress"),
)
@falsified_by(
    changed(
        "success-of-an-expired-claim-unseen",
        "claim_dead_letters",
        "CASE WHEN o.succeeded THEN 'resolved'",
        "CASE WHEN false THEN 'resolved'",
    ),
    expect=(STATUS, "claim that expired, whose task succeeded"),
)
@falsified_by(
    source(
        "correlation-of-the-row-left-out",
        REPLAY,
        '            HEADER_CORRELATION_ID: row["correlation_id"],\n',
    ),
    expect=(CORRELATION, "failed replay 1"),
)
def test_replays_that_fail_wait_longer_and_end(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """Each failed replay doubles the pause, the last one ends the row, and other rows stay."""
    stack, tenant = own_stack, str(ids.uuid())
    correlation, others = ids.slug("correlation"), rows_in_other_states(own_stack, ids, tenant)
    stack.sql.query(f"REVOKE SELECT ON {SCANNED} FROM {sut.worker.role}")
    env = {"SYSTEM_DEAD_LETTER_REPLAYS": str(MOST)}
    with stack.running_worker(pool=POOL_SOLO, env=env) as worker:
        stack.wait_ready(worker)
        failing = stack.tasks.publish(
            SCAN, (), {sut.tenancy.key: tenant}, headers={"correlation_id": correlation}
        )
        ended = stack.tasks.result(failing).state
        premise("state of a task that must fail", got=ended, expected="FAILURE")
        for number, pause_s in enumerate(PAUSES_S, 1):
            on = f"failed replay {number}"
            sent = replay(stack, "--now", "--task", SCAN, "--tenant", tenant)
            if not claim(SENT, on=on, got=sent.count(failing), expected=1):
                return
            judge_after(stack, failing, number, pause_s)
            judge_correlation(stack, worker, on, correlation)
            if number == 1:
                early = replay(stack, "--task", SCAN, "--tenant", tenant)
                claim(EARLY, got=early.count(failing), expected=0)
    for on, (task_id, expected) in others.items():
        status = stack.sql.query(_ROW, (task_id,)).rows[0][0]
        claim(STATUS, on=on, got=status, expected=expected)


def rows_in_other_states(stack: Stack, ids: Ids, tenant: str) -> dict[str, tuple[str, str]]:
    """Insert older rows of the task in every other state; return their ids and statuses to be."""
    insert = (
        "INSERT INTO worker_failed_jobs (task_id, task_name, tenant_id, exception_class,"
        " error_message, status, replay_task_id, replay_until, failed_at)"
        " VALUES (%s, %s, %s, 'E', 'e', %s, %s, now() + %s * interval '1 hour',"
        " now() - interval '1 day')"
    )
    found = {}
    for on, status, hours, expected in (
        ("resolved before", "resolved", None, "resolved"),
        ("abandoned before", "abandoned", None, "abandoned"),
        ("claimed by a replay that runs", "in_progress", 1, "in_progress"),
        ("claim that expired, whose task succeeded", "in_progress", -1, "resolved"),
    ):
        task_id, replayed = ids.slug("row"), ids.slug("replay")
        stack.sql.query(insert, (task_id, SCAN, tenant, status, replayed, hours))
        if hours == -1:
            stack.sql.query(
                "INSERT INTO celery_taskmeta (id, task_id, status, date_done)"
                " VALUES (nextval('task_id_sequence'), %s, 'SUCCESS', now())",
                (replayed,),
            )
        found[on] = (task_id, expected)
    return found


def replay(stack: Stack, *words: str) -> list[str]:
    """Replay a selection, and return the first tasks of the rows that were sent."""
    lines = operate(stack, "", "replay", "--json", *words).output.splitlines()
    sent = [json.loads(line) for line in lines if line.startswith("{")]
    return [one["task_id"] for one in sent]


def judge_after(stack: Stack, task_id: str, number: int, pause_s: int) -> None:
    """Judge a row after a number of failed replays: its status, and the pause until the next."""
    on = f"after failed replay {number}"
    status, _, waits_s = wait_until(
        lambda: stack.sql.query(_ROW, (task_id,)).rows[0],
        lambda row: row[1] == number and row[0] != "in_progress",
        deadline_s=ENDED_S,
        interval_s=0.1,
    )
    claim(STATUS, on=on, got=status, expected="pending" if number < MOST else "abandoned")
    claim(PAUSE, on=on, got=round(waits_s), expected=pause_s)


def judge_correlation(stack: Stack, worker: Worker, on: str, correlation: str) -> None:
    """Judge that the line of a replay's failure has the correlation id of the first failure."""
    names = stack.sut.logs
    entries = worker.log().matching(**{names.message: names.failure})
    replays = [one for one in entries if str(one.get(names.task_id)).startswith("replay-")]
    got = [one.get(names.correlation_id) for one in replays[-1:]]
    claim(CORRELATION, on=on, got=got, expected=[correlation])


@criterion("DLQ-23", needs=("database", "celery", "worker", "ping", "task"))
@falsified_by(
    changed(
        "pending-ones-too",
        "delete_old_dead_letters",
        "o.status IN ('resolved', 'abandoned')",
        "o.status <> 'in_progress'",
    ),
    expect=(LEFT, "pending, old", "got 0"),
)
@falsified_by(
    changed(
        "age-of-the-failure",
        "delete_old_dead_letters",
        "coalesce(o.resolved_at, o.last_retry_at, o.failed_at)",
        "o.failed_at",
    ),
    expect=(LEFT, "resolved a day ago, failed long ago", "got 0"),
)
@falsified_by(
    source(
        "days-not-read",
        RECONCILIATION,
        "settings.dead_letters_from(os.environ).retention_days",
        "90",
    ),
    expect=(LEFT, "resolved, old", "got 1"),
)
@falsified_by(
    source(
        "first-batch-only",
        RECONCILIATION,
        "        if batch < BATCH:\n            return deleted\n",
        "        return deleted\n",
    ),
    expect=(LEFT, "more than a batch", "got 2"),
)
@falsified_by(
    changed(
        "results-kept",
        "delete_old_dead_letters",
        "WHERE r.task_id = g.task_id AND r.status = 'FAILURE'",
        "WHERE false",
    ),
    expect=("stored failures of deleted rows", "", "got 1"),
)
def test_retention_deletes_what_has_ended_long_ago(own_stack: Stack, ids: Ids) -> None:
    """Rows that were resolved or abandoned long ago go with their results, and no others do."""
    stack, rows = own_stack, dict[str, tuple[str, int]]()
    for on, status, age_days, settled_days, kept in (
        ("pending, old", "pending", 100, None, 1),
        ("in progress, old", "in_progress", 100, 100, 1),
        ("resolved, old", "resolved", 100, DAYS + 1, 0),
        ("resolved, young", "resolved", DAYS - 1, DAYS - 1, 1),
        ("resolved a day ago, failed long ago", "resolved", 100, 1, 1),
        ("abandoned, old", "abandoned", 100, DAYS + 1, 0),
        ("abandoned, young", "abandoned", 100, DAYS - 1, 1),
    ):
        rows[on] = (insert_old(stack, ids, status, age_days, settled_days), kept)
    gone = rows["resolved, old"][0]
    stack.sql.query(
        "INSERT INTO celery_taskmeta (id, task_id, status, date_done)"
        " VALUES (nextval('task_id_sequence'), %s, 'FAILURE', now())",
        (gone,),
    )
    stack.sql.query(
        "INSERT INTO worker_failed_jobs (task_id, task_name, exception_class, error_message,"
        " status, resolved_at)"
        " SELECT 'many-' || n, 'n', 'E', 'e', 'resolved', now() - interval '1 year'"
        f" FROM generate_series(1, {BATCH}) n"
    )
    env = {"SYSTEM_DEAD_LETTER_RETENTION_DAYS": str(DAYS)}
    with stack.running_worker(pool=POOL_SOLO, env=env) as worker:
        stack.wait_ready(worker)
        done = stack.tasks.run(DELETE_OLD)
        if not claim("state of the retention", got=done.end, expected="SUCCESS"):
            return
    count = "SELECT count(*) FROM worker_failed_jobs WHERE task_id = %s"
    for on, (task_id, kept) in rows.items():
        claim(LEFT, on=on, got=stack.sql.query(count, (task_id,)).scalar(), expected=kept)
    many = "SELECT count(*) FROM worker_failed_jobs WHERE task_id LIKE 'many-%'"
    claim(LEFT, on="more than a batch", got=stack.sql.query(many).scalar(), expected=0)
    left = "SELECT count(*) FROM celery_taskmeta WHERE task_id = %s"
    results = stack.sql.query(left, (gone,)).scalar()
    claim("stored failures of deleted rows", got=results, expected=0)


def insert_old(stack: Stack, ids: Ids, status: str, age_days: int, settled_days: Any) -> str:
    """Insert a row that failed and was settled some days ago; return the id of its task."""
    task_id = ids.slug("old")
    stack.sql.query(
        "INSERT INTO worker_failed_jobs (task_id, task_name, exception_class, error_message,"
        " status, failed_at, last_retry_at, resolved_at) VALUES (%(id)s, 'n', 'E', 'e', %(status)s,"
        " now() - %(age)s * interval '1 day', now() - %(settled)s * interval '1 day',"
        " CASE WHEN %(status)s = 'resolved' THEN now() - %(settled)s * interval '1 day' END)",
        {"id": task_id, "status": status, "age": age_days, "settled": settled_days},
    )
    return task_id
