"""Gate dlq: what a replayed message is besides its arguments."""

from __future__ import annotations

import base64
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from gateproof import (
    POOL_SOLO,
    Completed,
    Ids,
    Stack,
    claim,
    criterion,
    drawn,
    falsified_by,
    premise,
    source,
    sql,
    wait_until,
)

from .test_secrets import KEYS, ROW_WITHIN_S, whole_row

OPTIONS, ROW = "system/dead_letters/options.py", "system/dead_letters/row.py"
REPLAY = "system/dead_letters/replay.py"

SCAN, ROUTE = "app.tasks.maintenance.scan_for_pii_contamination", "app.tasks.llm.route"
SCANNED = "attribution_events"
LIMITS = [33, 22]
EXPIRES, SLACK = timedelta(hours=1), timedelta(minutes=1)
NOTE = "kept"
RAN_DEADLINE_S = 30.0

PART = "part of the replayed message"

_CLAIM = "SELECT md5(prosrc) FROM pg_proc WHERE proname = 'claim_dead_letters'"


@criterion(
    "DLQ-20",
    needs=("database", "celery", "worker", "ping", "task", "tenancy", "dead_letters.operator"),
)
@falsified_by(
    source(
        "arguments-only",
        REPLAY,
        '            **sent_with({"root_id": row["task_id"], **options}),\n',
    ),
    expect=(PART, "chain", "got 0"),
)
@falsified_by(
    source("keyword-arguments-only", REPLAY, "            args=args,\n", "            args=[],\n"),
    expect=(PART, "positional arguments", "got none"),
)
@falsified_by(
    source("limits-dropped", OPTIONS, "isinstance(limits, list | tuple) and", "False and"),
    expect=(PART, "time limits", "got null, null"),
)
@falsified_by(
    source(
        "headers-dropped",
        OPTIONS,
        'values["headers"] = _own_headers(request)\n',
        'values["headers"] = None\n',
    ),
    expect=(PART, "note", "got null"),
)
@falsified_by(
    source("expiry-dropped", REPLAY, '_expires_s(row["expires_s"])', "EXPIRES.total_seconds()"),
    expect=("seconds between both expiries", "replayed message"),
)
@falsified_by(
    source("workflow-in-clear", ROW, "*arguments, mask.value(more)]", "*arguments, more]"),
    expect=("secrets of a later task in clear", "dead-letter row"),
)
@falsified_by(
    source("chord-forgotten", OPTIONS, function="why_not_replayable", body="return None"),
    expect=("row is replayable", "member of a chord", "got true"),
)
@falsified_by(
    sql(
        "expired-too",
        """DO $$ BEGIN EXECUTE replace(
            pg_get_functiondef('claim_dead_letters'::regproc), 'ids IS NOT NULL OR', 'true OR');
        END $$""",
        landing=_CLAIM,
    ),
    expect=("status of the row", "expired message/replay of a selection"),
)
def test_replay_sends_the_whole_message(own_stack: Stack, ids: Ids) -> None:
    """The replayed message continues the workflow of the first one, within its limits."""
    stack, hidden = own_stack, ids.slug("hidden")
    key = drawn(lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    second, third, linked = (str(ids.uuid()) for _ in range(3))
    tenant, group = str(ids.uuid()), str(ids.uuid())
    soon = (datetime.now(UTC) + EXPIRES).isoformat()
    (task_id, _), (expired, alone), (member, _), (by_position, own) = fail_together(
        stack,
        ids,
        key,
        {
            "chain": [call(third, tenant), call(second, tenant, token=hidden)],
            "link": [call(linked, tenant)],
            "time_limit": LIMITS[0],
            "soft_time_limit": LIMITS[1],
            "expires": soon,
            "group_id": group,
            "group_index": 0,
            "headers": {"x-note": NOTE},
        },
        {"expires": soon},
        {"chord": call(str(ids.uuid()), tenant)},
        {"by_position": True},
    )
    seen = whole_row(stack, task_id).count(hidden)
    held = [
        claim("secrets of a later task in clear", on="dead-letter row", got=seen, expected=0),
        judge_chord(stack, member),
        judge_expired(stack, expired, alone, key),
    ]
    operate(stack, key, "replay", task_id)
    operate(stack, key, "replay", by_position)
    headers, (_, _, body) = message_of(stack, task_id)
    _, (given, _, _) = message_of(stack, by_position)
    for part, got, expected in (
        ("positional arguments", given, [own]),
        ("chain", len(body.get("chain") or ()), 2),
        ("link", len(body.get("callbacks") or ()), 1),
        ("time limits", headers.get("timelimit"), LIMITS),
        ("group", headers.get("group"), group),
        ("root", headers.get("root_id"), task_id),
        ("note", headers.get("x-note"), NOTE),
    ):
        held.append(claim(PART, on=part, got=got, expected=expected))
    held.append(judge_expiry(headers.get("expires"), soon))
    if not all(held):
        return  # tasks that are not sent would be waited for
    with stack.running_worker(pool=POOL_SOLO, env={KEYS: key}) as worker:
        stack.wait_ready(worker)
        for name, later in (("second", second), ("third", third), ("linked", linked)):
            state = wait_until(
                lambda later=later: state_of(stack, later),  # type: ignore[misc]
                lambda state: state == "SUCCESS",
                deadline_s=RAN_DEADLINE_S,
            )
            if not claim("state of the task", on=name, got=state, expected="SUCCESS"):
                return


def judge_expiry(expires: str | None, first: str) -> bool:
    """Judge that a replayed message expires when the first one does."""
    on = "replayed message"
    if not claim("expiry", on=on, got=expires, relation="differs", expected=None) or not expires:
        return False
    apart_s = abs(datetime.fromisoformat(expires) - datetime.fromisoformat(first)).total_seconds()
    return claim(
        "seconds between both expiries",
        on=on,
        got=apart_s,
        relation="at_most",
        expected=SLACK.total_seconds(),
    )


def judge_chord(stack: Stack, task_id: str) -> bool:
    """Judge the row of a task whose workflow a replay cannot continue."""
    on = "member of a chord"
    replayable, notes = stack.sql.query(
        f"SELECT replayable, notes FROM {stack.sut.dead_letters.table} WHERE task_id = %s",
        (task_id,),
    ).rows[0]
    marked = claim("row is replayable", on=on, got=replayable, expected=False)
    why = notes or ""
    explained = claim(
        "notes of the row", on=on, got=why, relation="contains", expected="part of a chord"
    )
    return marked and explained


def judge_expired(stack: Stack, task_id: str, tenant: str, key: str) -> bool:
    """Judge the replay of a selection with a row whose message expires, and has expired."""
    table = stack.sut.dead_letters.table
    past = "UPDATE {} SET expires_at = now() - interval '1 minute' WHERE task_id = %s"
    changed = stack.sql.query(past.format(table) + " RETURNING expires_at", (task_id,)).rows
    premise("rows whose message has expired", got=len(changed), expected=1)
    row = f"SELECT status FROM {table} WHERE task_id = %s"
    operate(stack, key, "replay", "--now", "--task", SCAN, "--tenant", tenant)
    status = stack.sql.query(row, (task_id,)).scalar()
    left_out = claim(
        "status of the row",
        on="expired message/replay of a selection",
        got=status,
        expected="pending",
    )
    done = operate(stack, key, "replay", task_id).exit_status
    replayed = claim(
        "exit status of the replay", on="expired message/replay by its id", got=done, expected=0
    )
    return left_out and replayed


def call(task_id: str, tenant: str, **payload: str) -> dict[str, Any]:
    """Return the signature of a task that accepts a payload, as Celery sends it."""
    return {
        "task": ROUTE,
        "args": [],
        "kwargs": {"tenant_id": tenant, "payload": payload},
        "options": {"task_id": task_id},
        "subtask_type": None,
        "immutable": True,
    }


def fail_together(
    stack: Stack, ids: Ids, key: str, *options: dict[str, Any]
) -> list[tuple[str, str]]:
    """Let a task with each of some options fail in a worker; return its id and its tenant.

    The worker's role may not read what the task counts. It may again at the end.
    """
    role = stack.sut.worker.role
    stack.sql.query(f"REVOKE SELECT ON {SCANNED} FROM {role}")
    with stack.running_worker(pool=POOL_SOLO, env={KEYS: key}) as worker:
        stack.wait_ready(worker)
        tenants = [str(ids.uuid()) for _ in options]
        sent = [
            publish_for(stack, tenant, **more)
            for tenant, more in zip(tenants, options, strict=True)
        ]
        for task_id in sent:
            premise("state of a task", got=stack.tasks.result(task_id).state, expected="FAILURE")
        count = f"SELECT count(*) FROM {stack.sut.dead_letters.table} WHERE task_id = ANY(%s)"
        found = wait_until(
            lambda: stack.sql.query(count, (sent,)).scalar(),
            lambda number: number == len(sent),
            deadline_s=ROW_WITHIN_S,
        )
        premise("dead-letter rows", got=found, expected=len(sent))
    stack.sql.query(f"GRANT SELECT ON {SCANNED} TO {role}")
    return list(zip(sent, tenants, strict=True))


def publish_for(stack: Stack, tenant: str, *, by_position: bool = False, **more: Any) -> str:
    """Publish a scan of a tenant with some options, and return its id."""
    if by_position:
        return stack.tasks.publish(SCAN, (tenant,), {}, **more)
    return stack.tasks.publish(SCAN, (), {stack.sut.tenancy.key: tenant}, **more)


def operate(stack: Stack, key: str, *words: str) -> Completed:
    """Run the operators' command with a key, as their role."""
    how, role = stack.sut.worker, stack.sut.dead_letters.operator
    dsns = {name: stack.inner_dsn(role, form=form) for name, form in how.dsn.items()}
    return stack.process.run(
        stack.sut.fill(["{python}", "-m", "system.dead_letters", *words]),
        env={**how.env, **dsns, KEYS: key, **stack.settings},
        folder=stack.sut.folder,
    )


def message_of(stack: Stack, task_id: str) -> tuple[dict[str, Any], list[Any]]:
    """Return the headers and the body of a row's replay: arguments in both forms, and the rest."""
    row = f"SELECT id::text FROM {stack.sut.dead_letters.table} WHERE task_id = %s"
    row_id = stack.sql.query(row, (task_id,)).scalar()
    payloads = stack.sql.query("SELECT payload FROM kombu_message ORDER BY id").column()
    envelopes = [json.loads(payload) for payload in payloads]
    found = [one for one in envelopes if one["headers"].get("dead_letter_id") == row_id]
    premise("messages of a replay", got=len(found), expected=1)
    return found[0]["headers"], json.loads(base64.b64decode(found[0]["body"]))


def state_of(stack: Stack, task_id: str) -> str | None:
    """Return the stored state of a task."""
    stored = stack.sql.query("SELECT status FROM celery_taskmeta WHERE task_id = %s", (task_id,))
    return stored.column()[0] if stored.rows else None
