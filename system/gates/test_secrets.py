"""Gate dlq: sensitive values of a failed task, in rows and in the spool of the reference system."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from typing import Any

from gateproof import (
    POOL_SOLO,
    Completed,
    Ids,
    Stack,
    Sut,
    claim,
    criterion,
    drawn,
    falsified_by,
    premise,
    source,
    wait_until,
)

REPLAY, ROW = "system/dead_letters/replay.py", "system/dead_letters/row.py"
MASKING = "system/dead_letters/masking.py"

RECOMPUTE = "app.tasks.attribution.recompute_window"
KEYS = "SYSTEM_DEAD_LETTER_KEYS"
SENSITIVE_KEYS = ("password", "token", "secret", "authorization")
UNREACHABLE = "postgresql://nobody@127.0.0.1:1/nowhere"
ROW_WITHIN_S = 1.0
"""How long after a failure is visible its row may appear; the system writes the row first."""

# Report a failure to the system's result backend in a process without a reachable database, and
# print what it keeps on disk instead.
_KEPT_ON_DISK = """
import contextlib, json, os, pathlib, sys, tempfile
folder = os.environ["SYSTEM_DEAD_LETTER_SPOOL"] = tempfile.mkdtemp()
from celery.app.task import Context
from system.app import app
asked = json.loads(sys.argv[1])
request = Context(asked | {"args": [], "headers": {}, "delivery_info": {}})
error = ValueError("no window for " + asked["kwargs"]["model_version"]["token"])
with contextlib.suppress(Exception):
    app.backend.mark_as_failure(asked["id"], error, request=request)
print(json.dumps([path.read_text() for path in pathlib.Path(folder).rglob("*.json")]))
"""


@criterion(
    "DLQ-13",
    needs=("database", "celery", "worker", "ping", "task", "tenancy", "dead_letters.operator"),
)
@falsified_by(
    source(
        "no-word-is-sensitive",
        MASKING,
        "self.keys or _is_sensitive(key[: 2 * LONGEST_NAME])",
        "self.keys",
    ),
    expect=("sensitive values in clear", "dead-letter row/without a key"),
)
@falsified_by(
    source("sealed-by-nothing", ROW, "sealed=encrypt(payload", "sealed=(payload"),
    expect=("sensitive values in clear", "dead-letter row/with a key"),
)
@falsified_by(
    source("masked-yet-replayable", ROW, "replayable=not why_not,", "replayable=True,"),
    expect=("row is replayable", "values that are lost", "got true"),
)
@falsified_by(
    source("mask-replayed", REPLAY, '    if row["sealed"] is None:\n', "    if row:\n"),
    expect=("keys of the sensitive values", "replay with the key", "another password"),
)
@falsified_by(
    source(
        "error-text-as-it-is",
        ROW,
        "mask.text(message_of(exception))",
        "message_of(exception)",
    ),
    expect=("sensitive values in clear", "rows on disk"),
)
def test_sensitive_values_are_never_in_clear(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """No row and no file has them; a replay sends them with the key, and is refused without it.

    Each worker gets its own key or none, so that no variable of the machine matters.
    """
    stack, hidden = own_stack, {key: ids.slug(f"hidden-{key}") for key in SENSITIVE_KEYS}
    key = drawn(lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    kwargs = {
        sut.tenancy.key: str(ids.uuid()),
        "window_start": "2026-01-01T00:00:00+00:00",
        "window_end": "2026-01-02T00:00:00+00:00",
        "model_version": hidden,
        "fail": True,
    }
    lost = fail_in_a_worker(stack, kwargs, {KEYS: ""})
    sealed = fail_in_a_worker(stack, kwargs, {KEYS: key})
    for how, task_id in (("without a key", lost), ("with a key", sealed)):
        judge_text(f"dead-letter row/{how}", whole_row(stack, task_id), hidden)
    judge_lost(stack, lost, key)

    sent = replay(stack, sealed, key).exit_status
    claim("exit status of the replay", on="with the key", got=sent, expected=0)
    judge_values(values_of_replays(stack, sealed), hidden)

    kept = kept_on_disk(stack, kwargs, {KEYS: key})
    claim("rows on disk", got=len(kept), expected=1)
    judge_text("rows on disk", "\n".join(kept), hidden)


def judge_lost(stack: Stack, task_id: str, key: str) -> None:
    """Judge that a row whose values are lost is not replayed, and says why."""
    on, table = "values that are lost", stack.sut.dead_letters.table
    status, replayable, notes = stack.sql.query(
        f"SELECT status, replayable, notes FROM {table} WHERE task_id = %s", (task_id,)
    ).rows[0]
    claim("row is replayable", on=on, got=replayable, expected=False)
    claim(
        "notes of the row",
        on=on,
        got=notes or "",
        relation="contains",
        expected="cannot be replayed",
    )
    refused = replay(stack, task_id, key).exit_status
    claim("exit status of the replay", on=on, got=refused, expected=1)
    claim("status of the row", on=on, got=status, expected="pending")


def fail_in_a_worker(stack: Stack, kwargs: Mapping[str, Any], env: Mapping[str, str]) -> str:
    """Run a failing task in a worker with these variables; return its id and its row."""
    with stack.running_worker(pool=POOL_SOLO, env=env) as worker:
        stack.wait_ready(worker)
        result = stack.tasks.run(RECOMPUTE, kwargs)
        premise("state of a task", on=RECOMPUTE, got=result.state, expected="FAILURE")
        count = f"SELECT count(*) FROM {stack.sut.dead_letters.table} WHERE task_id = %s"
        found = wait_until(
            lambda: stack.sql.query(count, (result.task_id,)).scalar(), deadline_s=ROW_WITHIN_S
        )
        premise("dead-letter rows", got=found, expected=1)
        return result.task_id


def replay(stack: Stack, task_id: str, key: str) -> Completed:
    """Replay a task's row with the operators' command, as their role and with a key."""
    how, role = stack.sut.worker, stack.sut.dead_letters.operator
    dsns = {name: stack.inner_dsn(role, form=form) for name, form in how.dsn.items()}
    return stack.process.run(
        stack.sut.fill(["{python}", "-m", "system.dead_letters", "replay", task_id]),
        env={**how.env, **dsns, KEYS: key, **stack.settings},
        folder=stack.sut.folder,
    )


def whole_row(stack: Stack, task_id: str) -> str:
    """Return every column of a row as text."""
    table = stack.sut.dead_letters.table
    row = stack.sql.query(
        f"SELECT row_to_json(w)::text FROM {table} w WHERE task_id = %s", (task_id,)
    )
    return str(row.scalar())


def judge_values(sent: list[Any], hidden: Mapping[str, str]) -> None:
    """Judge that one message has exactly the sensitive values.

    The claim names their keys: the record has no values, which would all be redacted alike.
    """
    if claim("messages of the replay", on="replay with the key", got=len(sent), expected=1):
        values = sent[0] if isinstance(sent[0], dict) else {"values": sent[0]}
        keys = [
            key if hidden.get(key) == value else f"another {key}" for key, value in values.items()
        ]
        claim(
            "keys of the sensitive values",
            on="replay with the key",
            got=sorted(keys),
            expected=sorted(hidden),
        )


def judge_text(on: str, text: str, hidden: Mapping[str, str]) -> None:
    """Judge that a text holds no sensitive value; the claim names their keys."""
    seen = [key for key, value in hidden.items() if value in text]
    claim("sensitive values in clear", on=on, got=seen, expected=[], over=hidden)


def values_of_replays(stack: Stack, task_id: str) -> list[Any]:
    """Return the sensitive values in every message that replays a task's row."""
    table = stack.sut.dead_letters.table
    row = stack.sql.query(f"SELECT id::text FROM {table} WHERE task_id = %s", (task_id,))
    payloads = stack.sql.query("SELECT payload FROM kombu_message ORDER BY id").column()
    envelopes = [json.loads(payload) for payload in payloads]
    return [
        json.loads(base64.b64decode(envelope["body"]))[1].get("model_version")
        for envelope in envelopes
        if envelope["headers"].get("dead_letter_id") == row.scalar()
    ]


def kept_on_disk(stack: Stack, kwargs: Mapping[str, Any], env: Mapping[str, str]) -> list[str]:
    """Return what a process of the system keeps on disk of a failure without a database."""
    how, asked = stack.sut.worker, {"id": "kept-on-disk", "task": RECOMPUTE, "kwargs": kwargs}
    nowhere = dict.fromkeys(how.dsn, UNREACHABLE)
    done = stack.process.run(
        [*stack.sut.fill(["{python}", "-c"]), _KEPT_ON_DISK, json.dumps(asked)],
        env={**how.env, **nowhere, **env, **stack.settings},
        folder=stack.sut.folder,
    )
    premise("exit status of a program without a database", got=done.exit_status, expected=0)
    kept: list[str] = json.loads(done.output.splitlines()[-1])
    return kept
