"""Replay, reconciliation, retention, metrics and spooling of dead-letter rows."""

from __future__ import annotations

import json
import stat
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from billiard.exceptions import WorkerLostError
from celery.app.task import Context
from cryptography.fernet import Fernet

from system.connections import database as engines
from system.dead_letters import replay as replaying
from system.dead_letters.row import UnregisteredTask, describe
from system.dead_letters.storage import drain, keeper

from .support import (
    Client,
    Database,
    StartWorker,
    Worker,
    make_client,
    run_command,
    wait_for,
)

QUEUE: dict[str, Any] = {"queue": "housekeeping", "routing_key": "housekeeping.task"}
PING = "app.tasks.housekeeping.ping"
TENANT = "7c8f3b0a-62a1-4a3e-9d56-0f4b6c1f2d3e"
FLAKY = "failing.until_healed"
INCLUDE = ("--include", "tests.integration.system.failing_tasks")
OLD_KEY, KEY = (Fernet.generate_key().decode() for _ in range(2))
SECRET = "hunter2-hunter2"


@pytest.fixture(scope="module")
def worker(shared: Database, start_shared_worker: StartWorker) -> Worker:
    """Run a worker with two children that encrypts sensitive arguments."""
    options = ("--pool", "prefork", "--concurrency", "2", *INCLUDE)
    return start_shared_worker(shared, *options, SYSTEM_DEAD_LETTER_KEYS=OLD_KEY)


@pytest.fixture(scope="module")
def client(shared: Database, worker: Worker) -> Iterator[Client]:  # noqa: ARG001 (must run)
    """Publish to that worker."""
    with make_client(shared) as made:
        yield made


def objects(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """Return the JSON objects that a command printed, and assert that it succeeded."""
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def row_of(database: Database, task_id: str) -> dict[str, Any]:
    """Return the only row of a task."""
    rows = database.rows(
        "SELECT row_to_json(w) FROM worker_failed_jobs w WHERE task_id = %s", task_id
    )
    assert len(rows) == 1
    row: dict[str, Any] = rows[0][0]
    return row


def failed(database: Database, client: Client, path: Path, count: int, **kwargs: Any) -> list[str]:
    """Make tasks fail, and return their ids once each has a row."""
    sent = [
        client.send(FLAKY, {"path": str(path), "tenant_id": str(uuid.uuid4()), **kwargs}, **QUEUE)
        for _ in range(count)
    ]
    written = "SELECT 1 FROM worker_failed_jobs WHERE task_id = ANY(%s)"
    assert wait_for(lambda: len(database.rows(written, sent)) == count, deadline_s=60)
    path.unlink()
    return sent


def statuses(database: Database, task_ids: list[str]) -> set[str]:
    """Return the statuses of the rows of some tasks."""
    rows = database.rows("SELECT status FROM worker_failed_jobs WHERE task_id = ANY(%s)", task_ids)
    return {status for (status,) in rows}


def test_replay_under_two_replayers_runs_each_once(
    shared: Database, client: Client, tmp_path: Path
) -> None:
    """Two operators who replay the same rows at once send each row once, and all are resolved."""
    path = tmp_path / "runs"
    sent = failed(shared, client, path, 12)
    Path(f"{path}.healed").touch()
    with ThreadPoolExecutor(2) as pool:
        words = ("replay", "--json", "--rate", "100", "--task", FLAKY)
        both = [pool.submit(run_command, shared, *words) for _ in range(2)]
        replayed = [one for done in both for one in objects(done.result())]
    assert sorted(one["task_id"] for one in replayed) == sorted(sent)
    assert wait_for(lambda: statuses(shared, sent) == {"resolved"}, deadline_s=60)
    assert path.read_text(encoding="utf-8").splitlines() == ["run"] * 12
    assert all(row_of(shared, task_id)["resolved_at"] for task_id in sent)


def test_replay_that_fails_again_counts_in_its_row(
    shared: Database, client: Client, tmp_path: Path
) -> None:
    """A failed replay adds no row: the first row is pending again, and due later."""
    path = tmp_path / "runs"
    (task_id,) = failed(shared, client, path, 1)
    before = shared.rows("SELECT count(*) FROM worker_failed_jobs")
    row = row_of(shared, task_id)
    counted = "SELECT 1 FROM worker_failed_jobs WHERE task_id = %s AND retry_count = %s"
    for attempt in (1, 2):
        assert len(objects(run_command(shared, "replay", task_id, "--json"))) == 1
        assert wait_for(partial(shared.rows, counted, task_id, attempt), deadline_s=60)
    again = row_of(shared, task_id)
    assert (again["status"], again["tenant_id"]) == ("pending", row["tenant_id"])
    assert again["last_retry_at"] is not None
    assert shared.rows("SELECT count(*) FROM worker_failed_jobs") == before
    waits = shared.rows(
        "SELECT extract(epoch FROM due_at - last_retry_at) FROM worker_failed_jobs"
        " WHERE task_id = %s",
        task_id,
    )
    assert [float(wait) for (wait,) in waits] == [120.0]
    # A row that is not due is replayed only by its id or with --now.
    tenant = ("--tenant", row["tenant_id"])
    assert objects(run_command(shared, "replay", "--json", *tenant)) == []
    Path(f"{path}.healed").touch()
    assert len(objects(run_command(shared, "replay", "--json", "--now", *tenant))) == 1
    assert wait_for(lambda: statuses(shared, [task_id]) == {"resolved"}, deadline_s=60)


def test_replay_task_sends_due_rows(shared: Database, client: Client, tmp_path: Path) -> None:
    """The replay task, which runs as the worker's role, replays rows of all tenants."""
    path = tmp_path / "runs"
    sent = failed(shared, client, path, 3)
    Path(f"{path}.healed").touch()
    result = client.run("app.tasks.maintenance.replay_dead_letters", rate_per_s=100.0)
    assert (result["sent"] >= 3, result["not_sent"]) == (True, 0)
    assert wait_for(lambda: statuses(shared, sent) == {"resolved"}, deadline_s=60)


def test_encrypted_row_is_replayed_only_with_its_key(
    shared: Database, client: Client, tmp_path: Path
) -> None:
    """A row shows sensitive arguments only with the key, and its replay sends them again."""
    path = tmp_path / "runs"
    (task_id,) = failed(shared, client, path, 1, password=SECRET)
    row = row_of(shared, task_id)
    assert (row["kwargs"]["password"], row["replayable"]) == ("[masked]", True)
    assert SECRET not in json.dumps(row)
    Path(f"{path}.healed").touch()
    without = run_command(shared, "replay", task_id)
    assert without.returncode == 1
    assert "got no key, expected one in SYSTEM_DEAD_LETTER_KEYS" in without.stdout
    assert statuses(shared, [task_id]) == {"pending"}
    # Due later: rows that cannot be sent must not block the others.
    due = shared.rows("SELECT due_at > now() FROM worker_failed_jobs WHERE task_id = %s", task_id)
    assert due == [(True,)]
    # The old key follows a new one, as during a key rotation.
    rotated = {"SYSTEM_DEAD_LETTER_KEYS": f"{KEY},{OLD_KEY}"}
    shown = objects(run_command(shared, "show", task_id, "--reveal", "--json", **rotated))
    assert shown[0]["kwargs"]["password"] == SECRET
    assert len(objects(run_command(shared, "replay", task_id, "--json", **rotated))) == 1
    assert wait_for(lambda: statuses(shared, [task_id]) == {"resolved"}, deadline_s=60)


def test_row_that_was_masked_without_a_key_cannot_be_replayed(
    database: Database, start_worker: StartWorker
) -> None:
    """The notes of a row that was masked without a key give the reason, and replay refuses it."""
    start_worker(database, *INCLUDE)
    with make_client(database) as client:
        task_id, _ = client.fail("app.tasks.housekeeping.ping", password=SECRET)
    row = row_of(database, task_id)
    assert (row["sealed"], row["replayable"]) == (None, False)
    assert row["notes"].startswith("cannot be replayed: sensitive values are masked")
    refused = run_command(database, "replay", task_id)
    assert refused.returncode == 1
    assert "cannot be replayed: see show" in refused.stderr
    assert SECRET not in refused.stdout + refused.stderr + json.dumps(row)


def test_list_filters_and_status_changes_are_reported(
    shared: Database, client: Client, tmp_path: Path
) -> None:
    """Filters by task, tenant, status and time select rows; a second status change is refused."""
    first, second = failed(shared, client, tmp_path / "runs", 2)
    tenant = row_of(shared, first)["tenant_id"]
    for words, count in (
        (("--tenant", tenant), 1),
        (("--tenant", tenant, "--task", FLAKY, "--status", "pending", "--since", "1h"), 1),
        (("--tenant", tenant, "--status", "resolved"), 0),
        (("--tenant", tenant, "--until", "1h"), 0),
        (("--tenant", tenant, "--task", "other"), 0),
        (("--tenant", tenant, "--kind", "permanent"), 0),
    ):
        listed = objects(run_command(shared, "list", "--json", *words, role="app_ro"))
        assert [one["task_id"] for one in listed] == [first] * count
    resolved = run_command(shared, "resolve", first, "--note", "seen", "--json")
    assert objects(resolved)[0]["notes"] == "seen"
    assert run_command(shared, "resolve", first).returncode == 1
    assert run_command(shared, "abandon", second).returncode == 0
    assert (statuses(shared, [first]), statuses(shared, [second])) == ({"resolved"}, {"abandoned"})
    assert FLAKY in run_command(shared, "list", "--tenant", tenant).stdout


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("resolve",), 2, "got no id and no option that selects"),
        (("replay",), 2, "got no id and no option that selects"),
        (("list", "--tenant", "nope"), 2, "got 'nope', expected a UUID"),
        (("list", "--since", "soon"), 2, "got 'soon', expected 2026"),
        (("show", "no-such-row"), 1, "got none with id no-such-row"),
        (("--help",), 0, "Exit status: 0 done; 1"),
        (("replay", "--help"), 0, "or makes it pending again"),
    ],
)
def test_command_reports_errors_with_an_exit_status(
    shared: Database, words: tuple[str, ...], status: int, message: str
) -> None:
    """Wrong usage, a missing row and a request for help each have an exit status and a message."""
    done = run_command(shared, *words)
    assert done.returncode == status, done.stderr
    assert message in " ".join((done.stdout + done.stderr).split())


def test_command_without_privileges_is_refused(
    shared: Database, client: Client, tmp_path: Path
) -> None:
    """The database refuses a read-only role: the command prints one line and exits with 3."""
    (task_id,) = failed(shared, client, tmp_path / "runs", 1)
    done = run_command(shared, "abandon", task_id, role="app_ro")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines() == [
        "Error: database: permission denied for table worker_failed_jobs"
    ]


def test_reconciliation_writes_a_missing_row_once(shared: Database, client: Client) -> None:
    """A stored failure without a row gets one row, which is not replayable."""
    task_id = f"lost-{uuid.uuid4()}"
    error = {"exc_type": "GoneError", "exc_message": ["gone"], "exc_module": "some.where"}
    with shared.connect("postgres") as connection:
        connection.execute(
            "INSERT INTO celery_taskmeta (id, task_id, status, result, date_done)"
            " VALUES (nextval('task_id_sequence'), %s, 'FAILURE', %s, now() - interval '1 hour')",
            (task_id, json.dumps(error).encode()),
        )
    name = "app.tasks.maintenance.reconcile_dead_letters"
    assert [client.run(name)["written"] for _ in range(2)] == [1, 0]
    row = row_of(shared, task_id)
    assert (row["exception_class"], row["error_message"]) == (
        "some.where.GoneError",
        "not kept: without the arguments, the sensitive values in it are unknown",
    )
    assert row["traceback"] is None
    assert (row["replayable"], row["status"]) == (False, "pending")


@pytest.mark.parametrize("zone", ["America/Bogota", "Asia/Tokyo"])
def test_reconciliation_waits_a_minute_in_any_zone(
    shared: Database, client: Client, zone: str
) -> None:
    """A failure of two minutes ago gets its row and a failure of now does not, in any time zone."""
    ages = {f"{zone}-{minutes}": minutes for minutes in (0, 2)}
    with shared.connect("postgres") as connection:
        connection.execute(f"SET timezone = '{zone}'")
        for task_id, minutes in ages.items():
            connection.execute(
                "INSERT INTO celery_taskmeta (id, task_id, status, date_done) VALUES"
                " (nextval('task_id_sequence'), %s, 'FAILURE', now() - make_interval(mins => %s))",
                (task_id, minutes),
            )
    client.run("app.tasks.maintenance.reconcile_dead_letters")
    written = "SELECT task_id, failed_at > now() - interval '5 minutes' FROM worker_failed_jobs"
    rows = shared.rows(f"{written} WHERE task_id = ANY(%s)", list(ages))
    assert rows == [(f"{zone}-2", True)]


def test_retention_deletes_old_settled_rows(shared: Database, client: Client) -> None:
    """Old resolved and abandoned rows are deleted; pending rows and new rows stay."""
    with shared.connect("postgres") as connection:
        for status in ("pending", "in_progress", "resolved", "abandoned"):
            for days in (1, 100):
                connection.execute(
                    "INSERT INTO worker_failed_jobs (task_id, task_name, exception_class, status,"
                    " failed_at) VALUES (%s, 'kept', 'E', %s, now() - make_interval(days => %s))",
                    (f"{status}-{days}", status, days),
                )
        connection.execute(
            "INSERT INTO celery_taskmeta (id, task_id, status, date_done) VALUES"
            " (nextval('task_id_sequence'), 'resolved-100', 'FAILURE', now() - interval '100 days')"
        )
    client.run("app.tasks.maintenance.delete_old_dead_letters")
    # Reconciliation does not write a deleted row again.
    client.run("app.tasks.maintenance.reconcile_dead_letters")
    assert shared.rows("SELECT 1 FROM worker_failed_jobs WHERE task_id = 'resolved-100'") == []
    rows = shared.rows("SELECT task_id FROM worker_failed_jobs WHERE task_name = 'kept'")
    kept = {f"{status}-1" for status in ("pending", "in_progress", "resolved", "abandoned")}
    assert {task_id for (task_id,) in rows} == kept | {"pending-100", "in_progress-100"}


def test_replay_that_ends_after_its_lease_settles_its_row(shared: Database) -> None:
    """A late success resolves a row that is pending again; another row's replay does not."""
    task_id = f"late-{uuid.uuid4()}"
    row_id = str(uuid.uuid4())
    settle = (
        "SELECT settle_dead_letter(%s, %s, 'succeeded', NULL, NULL, NULL, NULL,"
        " interval '1 minute', interval '1 day', 8)"
    )
    with shared.connect("postgres") as connection:
        connection.execute(
            "INSERT INTO worker_failed_jobs (id, task_id, task_name, exception_class, status,"
            " replay_task_id) VALUES (%s, %s, 'late', 'E', 'pending', 'replay-mine')",
            (row_id, task_id),
        )
    assert shared.rows(settle, row_id, "replay-other", role="app_user") == [(False,)]
    assert statuses(shared, [task_id]) == {"pending"}
    assert shared.rows(settle, row_id, "replay-mine", role="app_user") == [(True,)]
    assert statuses(shared, [task_id]) == {"resolved"}


def test_replay_message_expires_before_its_lease(
    shared: Database, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay's message expires before the row's lease does: otherwise it could run twice."""
    (task_id,) = failed(shared, client, tmp_path / "runs", 1)
    monkeypatch.setenv("DATABASE_URL", shared.dsn("app_rw"))
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(client.app, "send_task", lambda _, **options: sent.append(options))
    engines.task_engine.cache_clear()
    try:
        selection = replaying.Selection(ids=(row_of(shared, task_id)["id"],), only_due=False)
        done = list(replaying.replay(client.app, selection, most=1, rate_per_s=1000))
    finally:
        engines.task_engine.cache_clear()
    assert [one.error for one in done] == [None]
    assert timedelta() < timedelta(seconds=sent[0]["expires"]) < replaying.LEASE


def test_rows_that_are_given_by_id_are_all_replayed(
    shared: Database, client: Client, tmp_path: Path
) -> None:
    """The limit applies to selected rows only: rows that are given by id are all replayed."""
    path = tmp_path / "runs"
    sent = failed(shared, client, path, 3)
    Path(f"{path}.healed").touch()
    done = run_command(shared, "replay", "--json", "--limit", "1", "--rate", "100", *sent)
    assert len(objects(done)) == 3
    assert wait_for(lambda: statuses(shared, sent) == {"resolved"}, deadline_s=60)


def test_metrics_count_pending_rows(database: Database, start_worker: StartWorker) -> None:
    """A scrape of any worker counts the pending rows of all tenants, and gives the oldest age.

    A replay whose lease has expired counts as pending.
    """
    with database.connect("postgres") as connection:
        for tenant, status in ((uuid.uuid4(), "pending"), (None, "pending"), (None, "resolved")):
            connection.execute(
                "INSERT INTO worker_failed_jobs (task_id, task_name, exception_class, tenant_id,"
                " status, failed_at) VALUES (%s, 'n', 'E', %s, %s, now() - interval '1 hour')",
                (str(uuid.uuid4()), tenant, status),
            )
        connection.execute(
            "INSERT INTO worker_failed_jobs (task_id, task_name, exception_class, status,"
            " replay_until) VALUES ('stuck', 'n', 'E', 'in_progress', now() - interval '1 minute'),"
            " ('running', 'n', 'E', 'in_progress', now() + interval '1 minute')"
        )
    worker = start_worker(database)

    def scrape() -> dict[str, float]:
        lines = worker.ask("/metrics").text.splitlines()
        found = [line for line in lines if line.startswith("system_dead_letters_")]
        return {name: float(value) for name, _, value in (line.partition(" ") for line in found)}

    samples = wait_for(scrape, pause_s=0.2)
    assert samples["system_dead_letters_pending"] == 3
    assert 3600 <= samples["system_dead_letters_oldest_age_seconds"] < 3900


def test_rows_are_spooled_while_the_database_is_down(
    database: Database, start_worker: StartWorker, tmp_path: Path
) -> None:
    """Rows are encrypted on disk while the database is down, and in the table when it is back."""
    spool = tmp_path / "kept"
    worker = start_worker(
        database,
        *("--pool", "prefork", "--concurrency", "3", *INCLUDE),
        SYSTEM_DEAD_LETTER_SPOOL=str(spool),
        SYSTEM_DEAD_LETTER_KEYS=KEY,
    )
    signal = tmp_path / "signal"
    with make_client(database) as client:
        kwargs = {"path": str(signal), "password": SECRET}
        sent = [client.send("failing.on_signal", kwargs, **QUEUE) for _ in range(3)]
    running = "SELECT count(*) FROM kombu_message WHERE visible"
    assert wait_for(lambda: database.rows(running) == [(0,)])
    allow_connections(database, allowed=False)
    try:
        signal.touch()
        for task_id in sent:
            worker.wait_for_line(keeper.KEPT_ON_DISK, task_id=task_id)
        files = [path for path in spool.rglob("*") if path.suffix == ".json"]
        assert len(files) == 3
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert SECRET not in "".join(path.read_text(encoding="ascii") for path in files)
    finally:
        allow_connections(database, allowed=True)
    worker.wait_for_line("spool drained")
    assert [path for path in spool.rglob("*") if path.suffix == ".json"] == []
    for task_id in sent:
        row = row_of(database, task_id)
        assert (row["exception_class"], row["replayable"]) == ("LookupError", True)
    assert database.rows("SELECT count(*) FROM worker_failed_jobs") == [(3,)]


def test_row_of_a_task_whose_success_is_stored_is_not_written(
    shared: Database, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child killed after it stored a success leaves no row: the spooled one is dropped."""
    monkeypatch.setenv("DATABASE_URL", shared.dsn("app_user"))
    monkeypatch.setenv("SYSTEM_DEAD_LETTER_SPOOL", str(tmp_path))
    succeeded, failing = client.publish(PING, {"tenant_id": TENANT}), str(uuid.uuid4())
    client.wait(succeeded)
    for task_id in (succeeded, failing):
        request = Context({"id": task_id, "kwargs": {"tenant_id": TENANT}})
        lost = describe(UnregisteredTask(PING), request, WorkerLostError())
        keeper.keep_on_disk(lost, OSError("database down"))
    assert drain.drain() == 2
    written = "SELECT task_id, tenant_id::text FROM worker_failed_jobs WHERE task_id IN (%s, %s)"
    assert shared.rows(written, succeeded, failing) == [(failing, TENANT)]


def allow_connections(database: Database, *, allowed: bool) -> None:
    """Allow connections to a database; or refuse them, and terminate those that are open."""
    with database.server.admin() as connection:
        connection.execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS {allowed}")
        if not allowed:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                (database.name,),
            )
