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
    criterion,
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
    expect="sensitive values in clear in a dead-letter row without a key: got",
)
@falsified_by(
    source("sealed-by-nothing", ROW, "sealed=encrypt(payload", "sealed=(payload"),
    expect="sensitive values in clear in a dead-letter row with a key: got",
)
@falsified_by(
    source("masked-yet-replayable", ROW, "replayable=not why_not,", "replayable=True,"),
    expect="row whose values are lost: got replayable True, expected False",
)
@falsified_by(
    source("mask-replayed", REPLAY, '    if row["sealed"] is None:\n', "    if row:\n"),
    expect="values that the replay sends: got",
)
@falsified_by(
    source(
        "error-text-as-it-is",
        ROW,
        "mask.text(message_of(exception))",
        "message_of(exception)",
    ),
    expect="sensitive values in clear on disk: got",
)
def test_sensitive_values_are_never_in_clear(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """No row and no file has them; a replay sends them with the key, and is refused without it.

    Each worker gets its own key or none, so that no variable of the machine matters.
    """
    stack, hidden = own_stack, {key: ids.slug(f"hidden-{key}") for key in SENSITIVE_KEYS}
    key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    kwargs = {
        sut.tenancy.key: str(ids.uuid()),
        "window_start": "2026-01-01T00:00:00+00:00",
        "window_end": "2026-01-02T00:00:00+00:00",
        "model_version": hidden,
        "fail": True,
    }
    lost = fail_in_a_worker(stack, kwargs, {KEYS: ""})
    sealed = fail_in_a_worker(stack, kwargs, {KEYS: key})
    for how, task_id in (("without", lost), ("with", sealed)):
        row = whole_row(stack, task_id)
        seen = in_clear(row, hidden)
        assert not seen, f"sensitive values in clear in a dead-letter row {how} a key: got {seen}"

    status, replayable, notes = stack.sql.query(
        f"SELECT status, replayable, notes FROM {sut.dead_letters.table} WHERE task_id = %s",
        (lost,),
    ).rows[0]
    assert replayable is False, (
        f"row whose values are lost: got replayable {replayable}, expected False"
    )
    assert "cannot be replayed" in (notes or ""), (
        f"notes of a row whose values are lost: got {notes!r}, expected why"
    )
    refused = replay(stack, lost, key)
    assert refused.exit_status == 1, (
        f"replay of values that are lost: got exit {refused.exit_status}, expected 1"
    )
    assert status == "pending", f"that row: got {status}, expected pending"

    sent = replay(stack, sealed, key)
    assert sent.exit_status == 0, (
        f"replay with the key: got exit {sent.exit_status}, expected 0: {sent.output}"
    )
    again = values_of_replays(stack, sealed)
    assert again == [hidden], f"values that the replay sends: got {again}, expected {[hidden]}"

    kept = kept_on_disk(stack, kwargs, {KEYS: key})
    assert len(kept) == 1, f"rows on disk: got {len(kept)}, expected 1"
    seen = in_clear(kept[0], hidden)
    assert not seen, f"sensitive values in clear on disk: got {seen}"


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


def in_clear(text: str, hidden: Mapping[str, str]) -> list[str]:
    """Return the keys whose values a text holds."""
    return [key for key, value in hidden.items() if value in text]


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
    assert done.exit_status == 0, (
        f"failure without a database: got exit {done.exit_status}, expected 0: {done.output}"
    )
    kept: list[str] = json.loads(done.output.splitlines()[-1])
    return kept
