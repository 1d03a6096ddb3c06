"""Every way to fail, through one real worker: each leaves exactly one dead-letter row."""

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
"""A killed child is missed by Celery after ten seconds, and each of several takes its turn."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A way to fail, and what its row says."""

    name: str
    task: str
    error: str
    """End of the exception's class."""
    kind: str = "permanent"
    send: dict[str, Any] | None = None
    """More options of `send_task`."""
    raw: dict[str, Any] | None = None
    """What a message of no Celery client holds instead."""
    kwargs: dict[str, Any] | None = None
    """More arguments."""
    kept: bool = True
    """Whether the arguments can be read, and are kept."""
    state: str | None = "FAILURE"
    """Of the stored result; None where there is none."""


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
    """A failure that was asked for."""

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
    """Fail in every way at once; come back when all is over."""
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
    # Whatever else a failure writes has had time when the worker has run another task.
    client.run(PING)
    return sent


def fail(client: Client, case: Case) -> Sent:
    """Send what fails in one way."""
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
    """Whatever way a task fails, one row has its task, tenant, correlation id and arguments."""
    sent = everything[name]
    found = dead_letters(shared, sent.task_id)
    assert len(found) == 1
    dead_letter = found[0]
    assert dead_letter["exception_class"].rpartition(".")[2] == sent.case.error
    assert (dead_letter["task_name"], dead_letter["queue"]) == (sent.case.task, "housekeeping")
    assert (dead_letter["tenant_id"], dead_letter["correlation_id"]) == (
        sent.tenant_id,
        sent.correlation_id,
    )
    assert (dead_letter["error_kind"], dead_letter["status"]) == (sent.case.kind, "pending")
    assert dead_letter["kwargs"] == ({**sent.kwargs, "token": "[masked]"} if sent.case.kept else {})
    assert "hunter2" not in json.dumps(dead_letter)
    stored = "SELECT status FROM celery_taskmeta WHERE task_id = %s"
    states = [state for (state,) in shared.rows(stored, sent.task_id)]
    assert states == ([sent.case.state] if sent.case.state else [])


def test_failures_leave_no_other_row(shared: Database, everything: dict[str, Sent]) -> None:
    """No failure leaves a row under another id: there are as many as there were failures."""
    tenants = [one.tenant_id for one in everything.values()]
    rows = shared.rows("SELECT task_id FROM worker_failed_jobs WHERE tenant_id = ANY(%s)", tenants)
    assert sorted(row[0] for row in rows) == sorted(one.task_id for one in everything.values())


def test_message_without_an_id_gets_a_stable_one(shared: Database, client: Client) -> None:
    """Two bodies that say the same are two rows, each with an id made of its message."""
    for _ in range(2):
        client.send_raw(body=b"{twice", content_type="application/json", headers={}, **QUEUE)
    made = "SELECT task_id, task_name FROM worker_failed_jobs WHERE task_id LIKE 'message-%%'"
    wait_for(lambda: len(shared.rows(made)) >= 2)
    client.run(PING)
    rows = shared.rows(made)
    assert len({task_id for task_id, _ in rows}) == len(rows) == 2
    assert {name for _, name in rows} == {"unknown"}


def test_result_and_row_are_written_together(shared: Database, client: Client) -> None:
    """Result and row of a failure carry one transaction's id, so neither is there alone."""
    task_id, _ = client.fail(PING, fail=True)
    rows = shared.rows(
        "SELECT r.xmin::text, l.xmin::text FROM celery_taskmeta r JOIN worker_failed_jobs l"
        " USING (task_id) WHERE task_id = %s",
        task_id,
    )
    assert len(rows) == 1
    result, dead_letter = (int(value) for value in rows[0])
    # The row is inserted under a savepoint, which has an id of its own, given right after.
    assert result < dead_letter <= result + 1


def test_correlation_id_that_no_index_takes_is_stored_all_the_same(
    shared: Database, client: Client
) -> None:
    """One with NUL, with half a character or of ten thousand is told in a row like any other."""
    long = secrets.token_hex(5000)
    ids = {
        client.publish(PING, {"fail": True}, correlation_id=given): told
        for given, told in (("a\x00b", "a\\x00b"), ("a\ud800", "a\\ud800"), (long, long[:400]))
    }
    seen = "SELECT task_id, correlation_id FROM worker_failed_jobs WHERE task_id = ANY(%s)"
    assert wait_for(lambda: len(shared.rows(seen, list(ids))) == len(ids))
    assert {task: said.removesuffix("…") for task, said in shared.rows(seen, list(ids))} == ids
