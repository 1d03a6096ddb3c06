"""Every kind of failure through one real worker: each leaves exactly one dead-letter row."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from .support import Client, Database, StartWorker, make_client, wait_for

PING = "app.tasks.housekeeping.ping"
QUEUE: dict[str, Any] = {"queue": "housekeeping", "routing_key": "housekeeping.task"}
WITHIN_S = 60.0
"""Celery notices a killed child after ten seconds, and handles several one after another."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One kind of failure, and the row that is expected of it."""

    name: str
    task: str
    error: str
    """The last part of the exception's class name."""
    kind: str = "permanent"
    send: dict[str, Any] | None = None
    """More options of `send_task`."""
    raw: dict[str, Any] | None = None
    """Body and content type of a raw message that is published instead."""
    kwargs: dict[str, Any] | None = None
    """More arguments."""
    kept: bool = True
    """Whether the arguments can be read, so that the row keeps them."""
    state: str | None = "FAILURE"
    """State of the stored result; None if no result is stored."""


CASES = (
    Case(name="exception", task="failing.raise_error", error="LookupError"),
    Case(name="ignored result", task="failing.ignore_result", error="LookupError", state=None),
    Case(
        name="retries used up",
        task="failing.use_up_retries",
        error="ConnectionError",
        kind="transient",
    ),
    Case(name="rejected", task="failing.reject", error="Reject"),
    Case(
        name="soft limit",
        task="failing.soft_limit",
        error="SoftTimeLimitExceeded",
        kind="transient",
    ),
    Case(name="hard limit", task="failing.hard_limit", error="TimeLimitExceeded", kind="transient"),
    Case(name="killed child", task="failing.killed", error="WorkerLostError", kind="transient"),
    Case(name="exit", task="failing.system_exit", error="WorkerLostError", kind="transient"),
    Case(name="unencodable return", task="failing.unencodable", error="EncodeError"),
    Case(name="unpicklable error", task="failing.unpicklable", error="OddError"),
    Case(name="error without a text", task="failing.broken_text", error="MuteError"),
    Case(name="bad arguments", task=PING, error="TypeError", kwargs={"bogus": 1}),
    Case(name="unknown task", task="failing.no_such_task", error="NotRegistered"),
    Case(
        name="expired", task=PING, error="TaskRevokedError", send={"expires": -1}, state="REVOKED"
    ),
    Case(
        name="undecodable body",
        task=PING,
        error="DecodeError",
        raw={"body": b"{not json", "content_type": "application/json"},
        kept=False,
        state=None,
    ),
    Case(
        name="refused content type",
        task=PING,
        error="ContentDisallowed",
        raw={"body": b"\x80\x04N.", "content_type": "application/x-python-serialize"},
        kept=False,
        state=None,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A task that was sent in order to fail."""

    case: Case
    task_id: str
    tenant_id: str
    correlation_id: str
    kwargs: dict[str, Any]


@pytest.fixture(scope="module")
def client(shared: Database, start_shared_worker: StartWorker) -> Iterator[Client]:
    """Publish to one worker that knows the failing tasks."""
    options = ("--pool", "prefork", "--concurrency", "2")
    start_shared_worker(shared, *options, "--include", "tests.integration.system.failing_tasks")
    with make_client(shared) as made:
        yield made


@pytest.fixture(scope="module")
def everything(shared: Database, client: Client) -> dict[str, Sent]:
    """Send a task of every kind at once, and wait until each has its row."""
    sent = {case.name: fail(client, case) for case in CASES}
    ids = [one.task_id for one in sent.values()]
    wait_for(
        lambda: (
            len(shared.rows("SELECT 1 FROM worker_failed_jobs WHERE task_id = ANY(%s)", ids))
            >= len(ids)
        ),
        deadline_s=WITHIN_S,
        pause_s=0.2,
    )
    # A further task gives the failures time to write unexpected rows too.
    client.run(PING)
    return sent


def fail(client: Client, case: Case) -> Sent:
    """Publish a task or a message that fails as the case describes."""
    tenant_id, correlation_id = str(uuid.uuid4()), f"c-{uuid.uuid4()}"
    kwargs = {"tenant_id": tenant_id, "token": "hunter2-hunter2", **(case.kwargs or {})}
    headers = {"correlation_id": correlation_id}
    if case.raw is None:
        task_id = client.send(case.task, kwargs, headers=headers, **QUEUE, **(case.send or {}))
    else:
        task_id = str(uuid.uuid4())
        named = {"id": task_id, "task": case.task, "tenant_id": tenant_id, "lang": "py"}
        client.send_raw(**QUEUE, **case.raw, headers={**headers, **named})
    return Sent(
        case=case,
        task_id=task_id,
        tenant_id=tenant_id,
        correlation_id=correlation_id,
        kwargs=kwargs,
    )


def dead_letters(database: Database, task_id: str) -> list[dict[str, Any]]:
    """Return the rows of one task, as superuser."""
    return [
        row
        for (row,) in database.rows(
            "SELECT row_to_json(w) FROM worker_failed_jobs w WHERE task_id = %s", task_id
        )
    ]


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_failure_of_every_kind_leaves_one_row(
    shared: Database, everything: dict[str, Sent], name: str
) -> None:
    """A failure of every kind leaves one row with task, tenant, correlation id and arguments."""
    sent = everything[name]
    found = dead_letters(shared, sent.task_id)
    assert len(found) == 1
    row = found[0]
    assert row["exception_class"].rpartition(".")[2] == sent.case.error
    assert (row["task_name"], row["queue"]) == (sent.case.task, "housekeeping")
    assert (row["tenant_id"], row["correlation_id"]) == (
        sent.tenant_id,
        sent.correlation_id,
    )
    assert (row["error_kind"], row["status"]) == (sent.case.kind, "pending")
    assert row["kwargs"] == ({**sent.kwargs, "token": "[masked]"} if sent.case.kept else {})
    assert "hunter2" not in json.dumps(row)
    stored = "SELECT status FROM celery_taskmeta WHERE task_id = %s"
    states = [state for (state,) in shared.rows(stored, sent.task_id)]
    assert states == ([sent.case.state] if sent.case.state else [])


def test_failures_leave_no_other_row(shared: Database, everything: dict[str, Sent]) -> None:
    """No failure leaves a row under another id: there are as many rows as failures."""
    tenants = [one.tenant_id for one in everything.values()]
    rows = shared.rows("SELECT task_id FROM worker_failed_jobs WHERE tenant_id = ANY(%s)", tenants)
    assert sorted(row[0] for row in rows) == sorted(one.task_id for one in everything.values())


def test_message_without_an_id_gets_a_stable_one(shared: Database, client: Client) -> None:
    """Two messages with equal bodies are two rows, each with an id derived from its message."""
    for _ in range(2):
        client.send_raw(body=b"{twice", content_type="application/json", headers={}, **QUEUE)
    made = "SELECT task_id, task_name FROM worker_failed_jobs WHERE task_id LIKE 'message-%%'"
    wait_for(lambda: len(shared.rows(made)) >= 2)
    client.run(PING)
    rows = shared.rows(made)
    assert len({task_id for task_id, _ in rows}) == len(rows) == 2
    assert {name for _, name in rows} == {"unknown"}


def test_result_and_row_are_written_together(shared: Database, client: Client) -> None:
    """One transaction writes result and row of a failure, so neither is stored alone."""
    task_id, _ = client.fail(PING, fail=True)
    rows = shared.rows(
        "SELECT pg_xact_commit_timestamp(r.xmin), pg_xact_commit_timestamp(w.xmin)"
        " FROM celery_taskmeta r JOIN worker_failed_jobs w USING (task_id) WHERE task_id = %s",
        task_id,
    )
    assert len(rows) == 1
    # The row is inserted under a savepoint, which has its own id, and the time of its transaction.
    result, row = rows[0]
    assert result == row is not None


def test_correlation_id_that_no_index_accepts_is_escaped_or_cut(
    shared: Database, client: Client
) -> None:
    """NUL and lone surrogates are escaped in the row, and a very long correlation id is cut."""
    long = secrets.token_hex(5000)
    ids = {
        client.publish(PING, {"fail": True}, correlation_id=given): stored
        for given, stored in (("a\x00b", "a\\x00b"), ("a\ud800", "a\\ud800"), (long, long[:400]))
    }
    seen = "SELECT task_id, correlation_id FROM worker_failed_jobs WHERE task_id = ANY(%s)"
    assert wait_for(lambda: len(shared.rows(seen, list(ids))) == len(ids))
    assert {task: stored.removesuffix("…") for task, stored in shared.rows(seen, list(ids))} == ids
