"""Tasks through a real worker: results, dead-letter rows, log lines."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from kombu.utils import json as kombu_json

from system.dead_letters.storage import keeper

from .support import Client, Database, StartWorker, Worker, make_client, wait_for

PING = "app.tasks.housekeeping.ping"
RECOMPUTE = "app.tasks.attribution.recompute_window"
WINDOW = {"window_start": "2026-01-01T00:00:00Z", "window_end": "2026-01-02T00:00:00Z"}


@pytest.fixture(scope="module")
def worker(shared: Database, start_shared_worker: StartWorker) -> Worker:
    """Run one prefork worker with one child for the module."""
    return start_shared_worker(shared, "--pool", "prefork", "--concurrency", "1")


@pytest.fixture(scope="module")
def client(shared: Database, worker: Worker) -> Iterator[Client]:  # noqa: ARG001 (must run)
    """Publish to that worker."""
    with make_client(shared) as made:
        yield made


def wait_for_row(database: Database, task_id: str) -> dict[str, Any]:
    """Wait for the dead-letter row of a task, assert that there is one only, and return it."""
    found = wait_for(
        lambda: database.rows(
            "SELECT row_to_json(w) FROM worker_failed_jobs w WHERE task_id = %s", task_id
        )
    )
    assert len(found) == 1
    row: dict[str, Any] = found[0][0]
    return row


@pytest.fixture
def tenant() -> str:
    """Return a tenant that nothing has used yet."""
    return str(uuid.uuid4())


def test_pings_are_answered_by_one_process(client: Client, worker: Worker) -> None:
    """Three pings are answered by one child of the worker, over one connection."""
    answers = [client.run(PING) for _ in range(3)]
    assert {answer["status"] for answer in answers} == {"ok"}
    assert len({(answer["pid"], answer["backend_pid"]) for answer in answers}) == 1
    assert {answer["parent_pid"] for answer in answers} == {worker.process.pid}


def test_result_is_a_row(client: Client, shared: Database) -> None:
    """The result of a task is a row of celery_taskmeta."""
    task_id, _ = client.run_with_id(PING)
    rows = shared.rows("SELECT status FROM celery_taskmeta WHERE task_id = %s", task_id)
    assert rows == [("SUCCESS",)]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("FAILURE", "RETRY"), "FAILURE"),
        (("SUCCESS", "RETRY"), "SUCCESS"),
        (("REVOKED", "STARTED"), "REVOKED"),
        (("SUCCESS", "FAILURE"), "SUCCESS"),
        (("FAILURE", "SUCCESS"), "SUCCESS"),
        (("RETRY", "STARTED", "FAILURE"), "FAILURE"),
    ],
    ids=lambda value: " then ".join(value) if isinstance(value, tuple) else None,
)
def test_result_keeps_its_end_before_a_late_state(
    client: Client, shared: Database, states: tuple[str, ...], expected: str
) -> None:
    """RETRY that an attempt stores after the next one has ended does not replace that end."""
    task_id = str(uuid.uuid4())
    for state in states:
        result = {"a": 1} if state in ("SUCCESS", "STARTED") else ValueError("no")
        client.app.backend.store_result(task_id, result, state)
    stored = shared.rows("SELECT status FROM celery_taskmeta WHERE task_id = %s", task_id)
    assert stored == [(expected,)]


def test_message_shows_queue_and_key(client: Client, shared: Database) -> None:
    """The row of a message is in its queue, with its routing key."""
    task_id = client.publish(PING, {}, eta=datetime.now(UTC) + timedelta(hours=1))
    rows = shared.rows(
        "SELECT q.name, m.payload FROM kombu_message m JOIN kombu_queue q ON q.id = m.queue_id"
        " WHERE strpos(m.payload, %s) > 0",
        task_id,
    )
    assert len(rows) == 1
    info = json.loads(rows[0][1])["properties"]["delivery_info"]
    assert (rows[0][0], info["routing_key"]) == ("housekeeping", "housekeeping.task")


def test_worker_declares_the_four_queues(client: Client, shared: Database) -> None:
    """The queues without an owner are exactly the four."""
    client.run(PING)
    rows = shared.rows("SELECT name FROM kombu_queue WHERE owner IS NULL ORDER BY 1")
    names = [name for (name,) in rows]
    assert names == ["attribution", "housekeeping", "llm", "maintenance"]


def test_connections_have_names(client: Client, shared: Database) -> None:
    """Each connection of a worker has a name in pg_stat_activity, and uses the worker's role."""
    client.run(PING)
    rows = shared.rows(
        "SELECT DISTINCT application_name, usename FROM pg_stat_activity"
        " WHERE datname = current_database() AND starts_with(application_name, 'system-')"
    )
    assert set(rows) == {
        (f"system-{name}", "app_user") for name in ("broker", "broker-session", "results", "tasks")
    }


def test_tenant_guc_ends_with_its_task(client: Client, tenant: str) -> None:
    """The next task over the same connection sees no tenant, after success and after failure."""
    assert client.run(PING, tenant_id=tenant)["tenant"] == tenant
    after_success = client.run(PING)
    client.fail(PING, tenant_id=tenant, fail=True)
    after_failure = client.run(PING)
    assert not after_success["tenant"]
    assert not after_failure["tenant"]
    assert after_success["backend_pid"] == after_failure["backend_pid"]


def test_failure_is_one_row(client: Client, shared: Database) -> None:
    """A failed global task is one pending row without a tenant, with the task's arguments."""
    task_id, error = client.fail(PING, fail=True)
    assert error == "ValueError: ping failure requested"
    row = wait_for_row(shared, task_id)
    assert (row["task_name"], row["queue"], row["status"]) == (PING, "housekeeping", "pending")
    assert (row["tenant_id"], row["kwargs"], row["args"]) == (None, {"fail": True}, [])
    assert (row["exception_class"], row["error_message"]) == (
        "ValueError",
        "ping failure requested",
    )
    assert (row["error_kind"], row["retry_count"], row["correlation_id"]) == (
        "permanent",
        0,
        task_id,
    )
    assert "ping failure requested" in row["traceback"]


def test_failure_of_a_tenant_is_its_row(client: Client, shared: Database, tenant: str) -> None:
    """A failed tenant task leaves a row that this tenant sees, and no job."""
    task_id, error = client.fail(
        RECOMPUTE, tenant_id=tenant, fail=True, correlation_id="c-1", **WINDOW
    )
    assert error == "ValueError: attribution recompute failure requested"
    row = wait_for_row(shared, task_id)
    assert (row["tenant_id"], row["correlation_id"]) == (tenant, "c-1")
    with shared.connect("app_user") as connection:
        connection.execute("SELECT set_config('app.current_tenant_id', %s, true)", (tenant,))
        seen = connection.execute("SELECT task_id FROM worker_failed_jobs").fetchall()
        assert seen == [(task_id,)]
        jobs = connection.execute("SELECT count(*) FROM attribution_recompute_jobs").fetchone()
        assert jobs == (0,)


def test_payload_survives_in_the_row(client: Client, shared: Database, tenant: str) -> None:
    """Values outside JSON, unusual text and a megabyte can be read back from the row."""
    payload = {
        "uuid": uuid.uuid4(),
        "time": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        "amount": Decimal("0.10"),
        "bytes": b"\x00\xff",
        "text": "žluťoučký 🐎 a\x00b",
        "big": "x" * 1_000_000,
        "float": 1e22,
    }
    task_id, _ = client.fail(RECOMPUTE, tenant_id=tenant, fail=True, bogus=payload, **WINDOW)
    wait_for_row(shared, task_id)
    text = shared.rows("SELECT kwargs::text FROM worker_failed_jobs WHERE task_id=%s", task_id)
    assert kombu_json.loads(text[0][0])["bogus"] == payload


def test_secret_is_masked_everywhere(client: Client, shared: Database, worker: Worker) -> None:
    """A value under a sensitive key is in plain text neither in the row nor in the log."""
    secret = f"hunter2-{uuid.uuid4().hex}"
    task_id, _ = client.fail("app.tasks.llm.route", tenant_id=secret[:20], password=secret)
    row = wait_for_row(shared, task_id)
    assert row["kwargs"]["password"] == "[masked]"
    assert secret not in json.dumps(row)
    worker.wait_for_line("task failed", task_id=task_id)
    assert secret not in worker.text()


@pytest.mark.parametrize("arguments", [{}, {"tenant_id": "nope"}, {"tenant_id": None}])
def test_tenant_task_without_a_tenant_is_a_row(
    client: Client, shared: Database, arguments: dict[str, Any]
) -> None:
    """A tenant task without a UUID is refused, and the refusal is a row without a tenant."""
    task_id, error = client.fail("app.tasks.llm.investigation", **arguments)
    assert error.startswith("TenantError: tenant_id: got ")
    row = wait_for_row(shared, task_id)
    assert (row["tenant_id"], row["kwargs"]) == (None, arguments)
    assert row["exception_class"] == "system.errors.TenantError"


def test_wrong_arguments_are_a_row(client: Client, shared: Database) -> None:
    """Arguments that the task does not take leave a row too."""
    task_id, error = client.fail(PING, bogus=1)
    assert "unexpected keyword argument 'bogus'" in error
    assert wait_for_row(shared, task_id)["exception_class"] == "TypeError"


def test_retry_leaves_no_row(client: Client, shared: Database, worker: Worker) -> None:
    """A task that is retried and then succeeds leaves log lines and no row."""
    task_id, answer = client.run_with_id(PING, retry=1)
    assert answer["status"] == "ok"
    worker.wait_for_line("task retried", task_id=task_id)
    worker.wait_for_line("task succeeded", task_id=task_id)
    assert shared.rows("SELECT 1 FROM worker_failed_jobs WHERE task_id = %s", task_id) == []


def test_exhausted_retries_are_one_row(client: Client, shared: Database, worker: Worker) -> None:
    """A task that fails after a retry leaves one row, and one line for each run."""
    task_id, _ = client.fail(PING, retry=1, fail=True)
    wait_for_row(shared, task_id)
    worker.wait_for_line("task failed", task_id=task_id)
    lines = [line["message"] for line in worker.lines() if line["task_id"] == task_id]
    assert lines == ["task retried", "task failed"]


def test_run_has_one_line_with_every_field(client: Client, worker: Worker, tenant: str) -> None:
    """Success and failure have one line each, with task, tenant and correlation id."""
    for fail, message in ((False, "task succeeded"), (True, "task failed")):
        correlation_id = f"c-{uuid.uuid4()}"
        task_id = client.publish(
            PING, {"tenant_id": tenant, "fail": fail}, correlation_id=correlation_id
        )
        line = worker.wait_for_line(message, task_id=task_id)
        assert (line["task_name"], line["tenant_id"]) == (PING, tenant)
        assert line["correlation_id"] == correlation_id
        assert ("error" in line) == fail
        assert [found["message"] for found in worker.lines() if found["task_id"] == task_id] == [
            message
        ]


def test_correlation_id_of_the_header_reaches_the_row(client: Client, shared: Database) -> None:
    """The correlation id of the message's header is in the row, after a retry too."""
    task_id = client.publish(PING, {"fail": True, "retry": 1}, correlation_id="from-header")
    assert wait_for_row(shared, task_id)["correlation_id"] == "from-header"


def test_recompute_leaves_one_row_for_each_window(
    client: Client, shared: Database, tenant: str
) -> None:
    """Two runs of one window leave one row; another model or tenant leaves another."""
    first = client.run(RECOMPUTE, tenant_id=tenant, model_version="m", **WINDOW)
    assert {key: first[key] for key in WINDOW} == WINDOW
    client.run(RECOMPUTE, tenant_id=tenant, model_version="m", **WINDOW)
    client.run(RECOMPUTE, tenant_id=tenant, model_version="n", **WINDOW)
    client.run(RECOMPUTE, tenant_id=str(uuid.uuid4()), model_version="m", **WINDOW)
    rows = shared.rows(
        "SELECT model_version, run_count FROM attribution_recompute_jobs"
        " WHERE tenant_id = %s ORDER BY 1",
        tenant,
    )
    assert rows == [("m", 2), ("n", 1)]


def test_scan_counts_the_tenant_s_rows(client: Client, shared: Database, tenant: str) -> None:
    """The scan counts the tenant's rows, and those with an e-mail or a card number."""
    insert(shared, tenant, '{"a": "ann@example.org"}', '{"n": "4111 1111 1111 1111"}', '{"n": 1}')
    insert(shared, str(uuid.uuid4()), '{"a": "bob@example.org"}')
    assert client.run("app.tasks.maintenance.scan_for_pii_contamination", tenant_id=tenant) == {
        "status": "ok",
        "tenant_id": tenant,
        "scanned": 3,
        "contaminated": 2,
    }


def test_retention_deletes_the_tenant_s_old_rows(
    client: Client, shared: Database, tenant: str
) -> None:
    """Old rows of the tenant are deleted; its new rows and another tenant's old rows stay."""
    other = str(uuid.uuid4())
    for owner in (tenant, other):
        insert(shared, owner, "{}", age_days=40)
        insert(shared, owner, "{}", age_days=1)
    task = "app.tasks.maintenance.enforce_data_retention"
    assert client.run(task, tenant_id=tenant, retention_days=30)["deleted"] == 1
    left = "SELECT count(*) FROM attribution_events WHERE tenant_id = %s"
    assert shared.rows(left, tenant) == [(1,)]
    assert shared.rows(left, other) == [(2,)]


def test_refresh_serves_every_tenant(client: Client, shared: Database, tenant: str) -> None:
    """A refresh without a tenant fills the view for every tenant."""
    insert(shared, tenant, "{}")
    assert client.run("app.tasks.maintenance.refresh_all_materialized_views") == {
        "status": "ok",
        "refreshed": ["attribution_daily"],
    }
    seen = shared.rows("SELECT sum(events) FROM attribution_daily WHERE tenant_id = %s", tenant)
    assert seen == [(1,)]


@pytest.mark.parametrize("name", ["route", "explanation", "investigation", "budget_optimization"])
def test_llm_task_accepts_a_payload(client: Client, tenant: str, name: str) -> None:
    """Each LLM task accepts a payload for a tenant."""
    answer = client.run(f"app.tasks.llm.{name}", tenant_id=tenant, payload={"question": "why?"})
    assert answer == {"status": "accepted", "route": "noop"}


def test_row_that_cannot_be_written_is_logged(
    database: Database, start_worker: StartWorker
) -> None:
    """Without table and disk the task fails, and an error line without the payload reports it."""
    with database.connect("postgres") as connection:
        connection.execute("ALTER TABLE worker_failed_jobs RENAME TO elsewhere")
    worker = start_worker(database, SYSTEM_DEAD_LETTER_SPOOL="/dev/null/no-folder")
    with make_client(database) as client:
        task_id, _ = client.fail(PING, bogus="the-payload")
        line = worker.wait_for_line(keeper.NOT_WRITTEN, task_id=task_id)
    assert (line["level"], line["sqlstate"]) == ("error", "42P01")
    assert "the-payload" not in worker.text()


def insert(database: Database, tenant: str, *payloads: str, age_days: int = 0) -> None:
    """Insert events of a tenant, as superuser."""
    with database.connect("postgres") as connection:
        for payload in payloads:
            connection.execute(
                "INSERT INTO attribution_events (tenant_id, payload, occurred_at)"
                " VALUES (%s, %s, now() - make_interval(days => %s))",
                (tenant, payload, age_days),
            )
