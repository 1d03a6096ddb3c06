"""Gate dlq: failures that never reach the task's code, or that end its process."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from gateproof import (
    POOL_PREFORK,
    Ids,
    Stack,
    Sut,
    claim,
    criterion,
    falsified_by,
    inject,
    new_uuid,
    premise,
    wait_until,
)

from ..described import CONSTRAINTS, falsified_in_rows, falsified_in_sql
from ..holding import reader_of, tables_held, wait_for_a_session
from ..publishing import key_of_queue
from ..tenant import unused_tenant
from .rows import ROWS_OF_TASK, DeadLetter, only_row, rows_of

UNKNOWN = "no_such_task"
"""The name of a task that no worker knows, after the prefix of the system's tasks."""

TOO_MANY = [0] * 20
"""More positional arguments than a task has: the ping of the harness takes any by name."""

TIME_LIMIT_S, OVER_S = 1, -1
WITHIN_S = 16.0
"""A blocking pool notices a killed child only after ten seconds."""

KILLED, LIMITED, NOT_KNOWN, UNREADABLE, MISCALLED, EXPIRED = (
    "a task whose child was killed",
    "a task past its hard time limit",
    "a task that no worker knows",
    "a message that cannot be decoded",
    "a task called with an argument that it does not take",
    "a task that no worker took in time",
)
ERRORS = {
    KILLED: "WorkerLostError",
    LIMITED: "TimeLimitExceeded",
    NOT_KNOWN: "NotRegistered",
    UNREADABLE: "DecodeError",
    MISCALLED: "TypeError",
    EXPIRED: "TaskRevokedError",
}

MANY = 16
"""More refused messages than a worker of one child takes ahead."""
TAKEN_WITHIN_S = 5.0
AFTER_MANY = "state of a ping after many refused messages"

# As a worker that counts each message that it refuses as one that it still works on.
_NOT_ACKNOWLEDGED = """
from celery.worker.consumer import Consumer

def keep(self, message, exc):
    pass

Consumer.on_decode_error = keep
"""

_PUT = (
    "INSERT INTO kombu_message (payload, queue_id) SELECT %s, id FROM kombu_queue WHERE name = %s"
)


@criterion(
    "DLQ-08",
    needs=(
        "database",
        "celery",
        "worker.pool=prefork",
        "ping",
        "task",
        "tenancy",
        "dead_letters.statuses",
    ),
)
# Celery reports a hard time limit twice.
@falsified_in_sql(
    "letters-not-unique",
    """DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT conname FROM pg_constraint
            WHERE conrelid = '{table}'::regclass AND contype = 'u'
        LOOP EXECUTE format('ALTER TABLE {table} DROP CONSTRAINT %I', name); END LOOP; END $$""",
    landing=CONSTRAINTS,
    expect=(ROWS_OF_TASK, LIMITED, "got 2"),
)
@falsified_in_rows(
    "killed-child-not-stored",
    "IF NEW.{c[exception_class]} LIKE '%WorkerLostError' THEN RETURN NULL; END IF; RETURN NEW;",
    expect=(ROWS_OF_TASK, KILLED, "got 0"),
)
@falsified_in_rows(
    "unreadable-not-stored",
    "IF NEW.{c[exception_class]} LIKE '%DecodeError' THEN RETURN NULL; END IF; RETURN NEW;",
    expect=(ROWS_OF_TASK, UNREADABLE, "got 0"),
)
@falsified_by(
    inject("refused-not-acknowledged", code=_NOT_ACKNOWLEDGED),
    expect=(AFTER_MANY, "", "got PENDING"),
)
@falsified_in_rows(
    "reason-of-the-expiry-lost",
    "IF NEW.{c[exception_class]} LIKE '%TaskRevokedError' THEN"
    " NEW.{c[exception_class]} := 'Exception'; END IF; RETURN NEW;",
    expect=("value in the dead-letter row", f"{EXPIRED}/exception", "got Exception"),
)
def test_failures_out_of_reach_leave_one_row_each(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """A killed child, a time limit, an unknown name, a bad body, a wrong argument, an expiry.

    However many messages a worker refuses, it takes the next one.
    """
    stack, tenants = own_stack, {what: unused_tenant(own_stack, ids) for what in ERRORS}
    unknown = f"{sut.celery.task_prefix}{UNKNOWN}"
    sent: dict[str, str] = {}
    reader = reader_of(stack)
    with stack.running_worker(pool=POOL_PREFORK, concurrency=1) as worker:
        stack.wait_ready(worker)
        with tables_held(stack, reader.table):
            killed = reader.of_tenant(sut, tenants[KILLED])
            sent[KILLED] = stack.tasks.publish(reader.task, (), killed)
            begun = wait_for_a_session(stack, reader.table)
            premise("run that waits for a table", on=reader.task, got=bool(begun), expected=True)
            (child,) = worker.children()
            worker.kill_child(child)
            sent[LIMITED] = stack.tasks.publish(
                reader.task, (), reader.of_tenant(sut, tenants[LIMITED]), time_limit=TIME_LIMIT_S
            )
            queue = sut.queue_of(sut.ping.task)
            sent[NOT_KNOWN] = stack.tasks.publish(
                unknown,
                (),
                {sut.tenancy.key: tenants[NOT_KNOWN]},
                queue=queue,
                routing_key=key_of_queue(sut, queue),
            )
            sent[UNREADABLE] = put(stack, b"{no JSON", tenants[UNREADABLE])
            wrong = {sut.tenancy.key: tenants[MISCALLED], "no_such_argument": 1}
            body = json.dumps([TOO_MANY, wrong, {}]).encode()
            sent[MISCALLED] = put(stack, body, tenants[MISCALLED])
            ping = {**sut.ping.arguments, sut.tenancy.key: tenants[EXPIRED]}
            sent[EXPIRED] = stack.tasks.publish(sut.ping.task, (), ping, expires=OVER_S)
            wait_until(
                lambda: rows_of(stack, list(sent.values())),
                lambda found: {row.task_id for row in found} >= set(sent.values()),
                deadline_s=WITHIN_S,
                interval_s=0.2,
            )
        # After another task of the same worker, everything else that a failure writes is written.
        done = stack.tasks.run(sut.ping.task, sut.ping.arguments)
        premise("state of a plain ping", got=done.state, expected="SUCCESS")
        names = {KILLED: reader.task, LIMITED: reader.task, NOT_KNOWN: unknown}
        held = []
        for what, task_id in sent.items():
            rows = rows_of(stack, [task_id], tenant_id=str(tenants[what]))
            task = names.get(what, sut.ping.task)
            new = sut.dead_letters.new
            held.append(claim_one(rows, what, task, task_id, str(tenants[what]), new))
        if not all(held):
            return
        for _ in range(MANY):
            put(stack, b"{no JSON", tenants[UNREADABLE])
        last = stack.tasks.publish(sut.ping.task, (), sut.ping.arguments)
        state = stack.tasks.result(last, deadline_s=TAKEN_WITHIN_S).end
        claim(AFTER_MANY, got=state, expected="SUCCESS")


def claim_one(
    rows: tuple[DeadLetter, ...], what: str, task: str, task_id: str, tenant: str, status: str
) -> bool:
    """Claim that a failure left one new row that names its task, tenant and error."""
    row = only_row(rows, what)
    if row is None:
        return False
    got: Mapping[str, tuple[Any, Any]] = {
        "task": (row.task_name, task),
        "task id": (row.task_id, task_id),
        "tenant": (row.tenant_id, tenant),
        "exception": (row.exception_class.rpartition(".")[2], ERRORS[what]),
        "status": (row.status, status),
    }
    judged = [
        claim("value in the dead-letter row", on=f"{what}/{name}", got=seen, expected=expected)
        for name, (seen, expected) in got.items()
    ]
    return all(judged)


def put(stack: Stack, body: bytes, tenant: str | int) -> str:
    """Put a message of the ping with this body into the broker's table, and return its task's id.

    As kombu writes it, protocol 2; the publisher would refuse to send such a one.
    """
    sut = stack.sut
    task, task_id, queue = sut.ping.task, str(new_uuid()), sut.queue_of(sut.ping.task)
    envelope = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": task, "id": task_id, sut.tenancy.key: tenant},
        "properties": {
            "body_encoding": "base64",
            "correlation_id": task_id,
            "delivery_info": {"exchange": "", "routing_key": key_of_queue(sut, queue)},
            "delivery_mode": 2,
            "delivery_tag": str(new_uuid()),
            "priority": 0,
        },
    }
    stack.sql.query(_PUT, (json.dumps(envelope), queue))
    return task_id
