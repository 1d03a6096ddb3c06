"""Gate dlq: the rows that reconciliation writes, and those that it must not write."""

from __future__ import annotations

import json

from gateproof import (
    POOL_SOLO,
    Ids,
    Stack,
    claim,
    criterion,
    falsified_by,
    premise,
    source,
    sql,
    wait_until,
)

from .test_workflow import ROUTE, SCAN, SCANNED, call, state_of

ENDINGS, CONSUMER = "system/transport/endings.py", "system/dead_letters/capture/consumer.py"
RECONCILIATION = "system/dead_letters/reconciliation.py"

RECONCILE = "app.tasks.maintenance.reconcile_dead_letters"
DEADLINE_S = 30.0
RECONCILED = "state of the reconciliation"
"""Name of a claim that a falsifier predicts."""

_MISSING = "SELECT md5(prosrc) FROM pg_proc WHERE proname = 'failures_without_letter'"


@criterion(
    "DLQ-21", needs=("database", "celery", "worker", "ping", "task", "tenancy", "dead_letters")
)
@falsified_by(
    sql(
        "never-run-too",
        """DO $$ BEGIN EXECUTE replace(
            pg_get_functiondef('failures_without_letter'::regproc),
            'r.result IS NULL OR', 'true OR');
        END $$""",
        landing=_MISSING,
    ),
    expect=("dead-letter rows", "tasks after the failed one", "got 2"),
)
@falsified_by(
    source(
        "name-that-is-not-stored",
        RECONCILIATION,
        'row["name"] or failure.UNKNOWN_TASK',
        'row["name"] and failure.UNKNOWN_TASK',
    ),
    expect=(RECONCILED, "", "got FAILURE"),
)
@falsified_by(
    source(
        "failures-unmarked",
        ENDINGS,
        "return {**encoded, NOT_RUN: True} if never_ran and isinstance(encoded, dict) else encoded",
        "return encoded",
    ),
    expect=("dead-letter rows", "tasks after the failed one", "got 2"),
)
@falsified_by(
    source(
        "body-unknown",
        ENDINGS,
        "known = request_of(task_id) if request_of else request",
        "known, request_of = request, None",
    ),
    expect=("rows with their contents", "body of the chord", 'got ["unknown", null'),
)
@falsified_by(
    source("body-left-out", ENDINGS, 'if call.options.get("task_id") == task_id:', "if not call:"),
    expect=("rows with their contents", "body of the chord", "got none"),
)
@falsified_by(
    source(
        "nothing-written",
        RECONCILIATION,
        "table.put(connection, describe_result(dict(row)))",
        "describe_result(dict(row))",
    ),
    expect=("dead-letter rows", "failure of another program", "got 0"),
)
@falsified_by(
    source("failure-is-an-end", CONSUMER, " and not stored.get(NOT_RUN)", ""),
    expect=("state of the task", "message that came again", "got FAILURE"),
)
def test_reconciliation_writes_rows_of_tasks_that_ran(own_stack: Stack, ids: Ids) -> None:
    """Each stored failure has one row, except those of tasks that never ran."""
    stack, table = own_stack, own_stack.sut.dead_letters.table
    later, body, tenant = [str(ids.uuid()) for _ in range(2)], str(ids.uuid()), str(ids.uuid())
    lost = ids.slug("lost")
    role = stack.sut.worker.role
    stack.sql.query(f"REVOKE SELECT ON {SCANNED} FROM {role}")
    with stack.running_worker(pool=POOL_SOLO) as worker:
        stack.wait_ready(worker)
        kwargs = {stack.sut.tenancy.key: tenant}
        behind = [call(later[1], tenant), call(later[0], tenant)]
        first = stack.tasks.publish(SCAN, (), kwargs, chain=behind)
        publish_chord(stack, tenant, body)
        names = ("first of the chain", "second of the chain", "third of the chain", "body")
        for name, task_id in zip(names, (first, *later, body), strict=True):
            ended = stack.tasks.result(task_id)
            premise("state of the task", on=name, got=ended.state, expected="FAILURE")
        store_failure(stack, lost)
        stack.sql.query("UPDATE celery_taskmeta SET date_done = date_done - interval '1 hour'")
        for _ in range(2):
            done = stack.tasks.run(RECONCILE)
            if not claim(RECONCILED, got=done.state, expected="SUCCESS"):
                return

        count = f"SELECT count(*) FROM {table} WHERE task_id = ANY(%s)"
        held = []
        for name, task_ids, expected in (
            ("tasks after the failed one", later, 0),
            ("failed task", [first], 1),
            ("failure of another program", [lost], 1),
        ):
            rows = stack.sql.query(count, (task_ids,)).scalar()
            held.append(claim("dead-letter rows", on=name, got=rows, expected=expected))
        held.append(judge_body(stack, body, tenant))
    if not all(held):
        return  # a state that does not come would be waited for

    publish_again(stack, later[0], tenant)
    with stack.running_worker(pool=POOL_SOLO) as worker:
        stack.wait_ready(worker)
        state = wait_until(
            lambda: state_of(stack, later[0]),
            lambda seen: seen == "SUCCESS",
            deadline_s=DEADLINE_S,
        )
    claim("state of the task", on="message that came again", got=state, expected="SUCCESS")


def publish_chord(stack: Stack, tenant: str, body: str) -> None:
    """Publish the only member of a chord, which fails, and the task that waits for it."""
    callback = call(body, tenant, note="body")
    kwargs = {stack.sut.tenancy.key: tenant}
    member = stack.tasks.publish(SCAN, (), kwargs, chord=callback)
    waits = {
        "group_id": body,
        "callback": callback,
        "interval": 1,
        "result": [[[member, None], None]],
    }
    stack.tasks.publish("celery.chord_unlock", (), waits)


def store_failure(stack: Stack, task_id: str) -> None:
    """Store a failure as a program does that writes no rows."""
    error = {"exc_type": "GoneError", "exc_message": ["gone"], "exc_module": "builtins"}
    stored = stack.sql.query(
        "INSERT INTO celery_taskmeta (id, task_id, status, result, date_done)"
        " VALUES (nextval('task_id_sequence'), %s, 'FAILURE', convert_to(%s, 'UTF8'), now())"
        " RETURNING id",
        (task_id, json.dumps(error)),
    )
    premise("results of another program", got=len(stored.rows), expected=1)


def judge_body(stack: Stack, task_id: str, tenant: str) -> bool:
    """Judge the row of the body of a chord that failed."""
    row = (
        "SELECT task_name, tenant_id::text, kwargs -> 'payload' ->> 'note', replayable,"
        f" position('never ran' in notes) > 0 FROM {stack.sut.dead_letters.table}"
        " WHERE task_id = %s"
    )
    rows = [list(found) for found in stack.sql.query(row, (task_id,)).rows]
    expected = [[ROUTE, tenant, "body", False, True]]
    return claim("rows with their contents", on="body of the chord", got=rows, expected=expected)


def publish_again(stack: Stack, task_id: str, tenant: str) -> None:
    """Publish a task as a message that a worker received, and did not acknowledge."""
    sent = call(task_id, tenant)
    stack.tasks.publish(ROUTE, (), sent["kwargs"], task_id=task_id)
    changed = stack.sql.query(
        "UPDATE kombu_message SET deliveries = 1 WHERE strpos(payload, %s) > 0 RETURNING id",
        (task_id,),
    ).rows
    premise("messages that come again", got=len(changed), expected=1)
