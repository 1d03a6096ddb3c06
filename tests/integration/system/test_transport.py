"""The durable transport: crashes, lost connections and delays neither lose nor repeat a task."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue
from sqlalchemy.exc import OperationalError

from system import transport
from system.transport import statements
from tests.postgres import ACCOUNT, free_port

from .support import (
    ROOT,
    Client,
    Database,
    StartWorker,
    Worker,
    clean_environment,
    make_client,
    wait_for,
)
from .test_worker import PING, holding

TENANT = "7c8f3b0a-62a1-4a3e-9d56-0f4b6c1f2d3e"
RETURNED_WITHIN_S = 5.0
"""The time within which a dead worker's messages must be returned to their queues."""


@pytest.fixture
def client(database: Database) -> Iterator[Client]:
    """Yield a client of the test's database."""
    with make_client(database) as made:
        yield made


def messages(database: Database) -> list[tuple[Any, ...]]:
    """Return id, visibility and deliveries of the messages that are left."""
    return database.rows("SELECT id, visible, deliveries FROM kombu_message ORDER BY id")


def runs(*workers: Worker) -> list[str]:
    """Return the task id of every successful run in the logs of some workers.

    The log line can follow the stored result a moment later.
    """
    return [line["task_id"] for worker in workers for line in worker.lines("task succeeded")]


def inspect(database: Database, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `celery inspect` or another Celery command, as an operator does."""
    return subprocess.run(
        [sys.executable, "-m", "celery", "--app", "system.app:app", *words],
        cwd=ROOT,
        env={**clean_environment(), "DATABASE_URL": database.dsn()},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def dead_letters(database: Database) -> list[tuple[Any, ...]]:
    """Return task id, task, tenant and error of every dead-letter row."""
    return database.rows(
        "SELECT task_id, task_name, tenant_id::text, exception_class FROM worker_failed_jobs"
    )


def publish_with_stock_kombu(database: Database) -> str:
    """Publish a ping with stock kombu, in a process that does not import the system."""
    code = (
        "import sys; from celery import Celery;"
        "app = Celery(broker='sqla+' + sys.argv[1], backend='db+' + sys.argv[1]);"
        "print(app.send_task(sys.argv[2], queue='housekeeping').id)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, url_of(database), PING],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env=clean_environment(),
    )
    return done.stdout.strip()


def url_of(database: Database) -> str:
    """Return the URL of the application's role in the form for SQLAlchemy and psycopg2."""
    return database.dsn().replace("postgresql://", "postgresql+psycopg2://")


def test_message_is_deleted_when_its_task_has_ended(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """While a task runs, its message is stored and invisible; afterwards it is deleted."""
    start_worker(database, "--pool", "solo")
    task_id = client.publish(PING, {"hold_s": 0.5})
    assert wait_for(lambda: holding(database))
    assert messages(database) == [(1, False, 1)]
    assert client.wait(task_id)["status"] == "ok"
    assert wait_for(lambda: messages(database) == [])


def test_redelivered_message_with_a_dead_letter_row_is_not_run(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """A failed task that has a dead-letter row, but no stored result, is not run again."""
    task_id = client.publish(PING, {"tenant_id": TENANT})
    with database.connect("postgres") as connection:
        connection.execute("UPDATE kombu_message SET deliveries = 1")
        connection.execute(
            "INSERT INTO worker_failed_jobs (task_id, task_name, exception_class, tenant_id)"
            " VALUES (%s, %s, 'E', %s)",
            (task_id, PING, TENANT),
        )
    worker = start_worker(database, "--pool", "solo")
    worker.wait_for_line("task had ended already", task_id=task_id)
    assert wait_for(lambda: messages(database) == [])
    assert worker.total("celery_task_started_total", PING) == 0


def test_redelivered_message_with_a_stored_result_is_not_run(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """A redelivered message of a finished task is not run; a new message of that task is."""
    task_id = client.publish(PING, {})
    put = (
        "INSERT INTO kombu_message (payload, queue_id, deliveries) VALUES (%s, %s, %s) RETURNING id"
    )
    payload, queue_id = database.rows("SELECT payload, queue_id FROM kombu_message")[0]
    worker = start_worker(database, "--pool", "solo")
    assert client.wait(task_id)["status"] == "ok"
    for deliveries, runs in ((1, 1), (0, 2)):
        database.rows(put, payload, queue_id, deliveries)
        assert wait_for(lambda: messages(database) == [])
        assert worker.total("celery_task_started_total", PING) == runs
    worker.wait_for_line("task had ended already", task_id=task_id)


@pytest.mark.parametrize("pool", ["solo", "prefork", "threads"])
def test_messages_of_a_killed_worker_are_run_by_another(
    database: Database, start_worker: StartWorker, client: Client, pool: str
) -> None:
    """A killed worker's claims are returned in five seconds; another runs each task once."""
    second = start_worker(database, "--pool", "solo")
    second.process.send_signal(signal.SIGSTOP)
    ids = [client.publish(PING, {"hold_s": 0 if number else 5}) for number in range(4)]
    first = start_worker(database, "--pool", pool, "--concurrency", "1")
    assert wait_for(lambda: holding(database))
    claims = database.rows("SELECT DISTINCT claimed_by FROM kombu_message")
    assert [visible for _, visible, _ in messages(database)] == [False] * 4
    first.process.kill()
    second.process.send_signal(signal.SIGCONT)
    killed_at = time.monotonic()
    kept = "SELECT count(*) FROM kombu_message WHERE claimed_by = %s"
    assert wait_for(lambda: database.rows(kept, claims[0][0]) == [(0,)], deadline_s=30)
    took_s = time.monotonic() - killed_at
    assert took_s < RETURNED_WITHIN_S, f"return of the claims: took {took_s:.1f} s"
    for task_id in ids:
        client.wait(task_id)
    assert wait_for(lambda: len(runs(second)) >= len(ids))
    assert (runs(first), sorted(runs(second))) == ([], sorted(ids))


def test_running_task_keeps_its_message_when_every_connection_breaks(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """A task survives the loss of its worker's connections, and no other worker runs it again."""
    workers = [start_worker(database, "--pool", "threads", "--concurrency", "1") for _ in range(2)]
    task_id = client.publish(PING, {"hold_s": 8})
    assert wait_for(lambda: holding(database))
    database.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE 'system-broker%%'"
    )
    assert client.wait(task_id)["status"] == "ok"
    assert wait_for(lambda: runs(*workers) == [task_id])
    assert any(worker.lines("broker session reconnected") for worker in workers)
    assert wait_for(lambda: messages(database) == [])
    assert client.run(PING)["status"] == "ok"


def test_task_with_a_countdown_waits_in_the_table(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """No worker claims a countdown task before it is due, so it survives a killed worker."""
    first = start_worker(database, "--pool", "solo")
    due = datetime.now(UTC) + timedelta(seconds=6)
    task_id = client.publish(PING, {}, eta=due)
    assert client.run(PING)["status"] == "ok"
    assert wait_for(lambda: [row[1:] for row in messages(database)] == [(False, 0)])
    first.process.kill()
    second = start_worker(database, "--pool", "solo")
    line = second.wait_for_line("task succeeded")
    assert datetime.fromisoformat(line["timestamp"]) >= due
    assert runs(second) == [task_id]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGQUIT])
def test_stopped_worker_leaves_the_rest_to_the_next(
    database: Database, start_worker: StartWorker, client: Client, sent: signal.Signals
) -> None:
    """After a warm or cold shutdown unfinished messages are returned; each task ends once."""
    first = start_worker(database, "--pool", "prefork", "--concurrency", "1")
    ids = [client.publish(PING, {"hold_s": 1}) for _ in range(3)]
    assert wait_for(lambda: holding(database))
    first.stop(sent, deadline_s=30)
    finished = runs(first)
    left = messages(database)
    assert [(visible, count) for _, visible, count in left] == [(True, 0)] * (3 - len(finished))
    assert len(left) >= 2
    second = start_worker(database, "--pool", "solo")
    for task_id in ids:
        client.wait(task_id)
    assert wait_for(lambda: sorted(runs(first, second)) == sorted(ids))


def test_commands_reach_the_workers(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """`inspect ping`, `status` and `revoke` reach a worker, and no queue is left behind."""
    worker = start_worker(database, "--pool", "prefork", "--concurrency", "1")
    for words in (("inspect", "ping"), ("status",)):
        done = inspect(database, *words, "--timeout", "5")
        assert (done.returncode, "1 node online" in done.stdout) == (0, True), done.stdout
    blocker = client.publish(PING, {"hold_s": 1})
    revoked = client.publish(PING, {})
    client.app.control.revoke(revoked)
    client.wait(blocker)
    assert wait_for(lambda: str(client.app.AsyncResult(revoked).state) == "REVOKED")
    assert wait_for(lambda: runs(worker) == [blocker])
    assert worker.stop() == 0
    names = {name for (name,) in database.rows("SELECT name FROM kombu_queue")}
    assert names == {"housekeeping", "maintenance", "llm", "attribution"}


def test_events_reach_a_receiver(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """A worker with `--task-events` sends a receiver the events of a task."""
    start_worker(database, "--pool", "solo", "--task-events")
    seen: list[str] = []
    with client.app.connection() as connection:
        receiver = client.app.events.Receiver(connection)

        def record(event: dict[str, Any]) -> None:
            seen.append(event["type"])
            # Several events can arrive at once: a later one must not reset the flag.
            receiver.should_stop |= event["type"] == "task-succeeded"

        receiver.handlers = {"*": record}
        receiver.on_consume_ready = lambda *_, **__: client.publish(PING, {})
        receiver.capture(limit=None, timeout=20, wakeup=False)
    assert {"task-received", "task-started", "task-succeeded"} <= set(seen)


def test_queues_of_dead_processes_are_deleted(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """Another worker deletes the mailbox of a killed one."""
    killed = start_worker(database, "--pool", "solo", "--hostname", "killed@here")
    start_worker(database, "--pool", "solo", "--hostname", "other@here")

    def mailboxes() -> set[str]:
        rows = database.rows("SELECT name FROM kombu_queue WHERE owner IS NOT NULL")
        return {name.split("@")[0] for (name,) in rows}

    assert mailboxes() == {"killed", "other"}
    killed.process.kill()
    assert wait_for(lambda: mailboxes() == {"other"}, deadline_s=30)
    assert client.run(PING)["status"] == "ok"


def test_message_beyond_the_delivery_limit_is_a_row(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """A message that exceeds the delivery limit is a failure with one dead-letter row."""
    task_id = client.publish(PING, {"tenant_id": TENANT})
    database.rows("UPDATE kombu_message SET deliveries = 5 RETURNING id")
    worker = start_worker(database, "--pool", "solo")
    line = worker.wait_for_line("message refused", reason="exhausted")
    assert (line["queue"], line["deliveries"]) == ("housekeeping", 5)
    result = client.app.AsyncResult(task_id)
    with pytest.raises(Exception, match="got 5 deliveries, expected one worker to survive"):
        result.get(timeout=20)
    assert dead_letters(database) == [(task_id, PING, TENANT, "system.errors.UndeliverableError")]
    assert client.run(PING)["status"] == "ok"
    assert task_id not in runs(worker)
    assert wait_for(lambda: messages(database) == [])


@contextmanager
def consuming(database: Database, name: str) -> Iterator[tuple[Any, Queue, Connection]]:
    """Declare a queue; yield the transport, the queue and the connection."""
    transport.install()
    queue = Queue(name, Exchange(name), routing_key=name)
    with Connection(f"sqla+{url_of(database)}") as connection:
        queue(connection.default_channel).declare()
        yield connection.transport, queue, connection


def test_claim_whose_answer_is_lost_is_returned(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim whose answer was lost with the connection is returned and delivered later."""
    received: list[Any] = []
    with consuming(database, "lost") as (made, queue, connection):
        connection.Producer().publish({"n": 1}, exchange=queue.exchange, routing_key="lost")
        execute = made.execute
        broken: list[Any] = []

        def lose_once(statement: Any, **values: Any) -> Any:
            rows = execute(statement, **values)
            if statement is statements.CLAIM and rows and not broken:
                broken.append(rows)
                raise OperationalError("claim", {}, Exception("the answer is lost"))
            return rows

        monkeypatch.setattr(made, "execute", lose_once)
        receive = [lambda body, message: received.append((body, message.ack()))]
        with connection.Consumer(queue, callbacks=receive):
            with pytest.raises(OperationalError):
                connection.drain_events(timeout=5)
            assert [row[1:] for row in messages(database)] == [(False, 1)], "premise: claimed"
            connection.drain_events(timeout=5)
    assert received == [({"n": 1}, None)]
    assert messages(database) == []


def test_suspect_messages_are_delivered_one_at_a_time(database: Database) -> None:
    """Of the messages that may have killed their consumers only one is claimed at a time."""
    with consuming(database, "suspect") as (made, queue, connection):
        for number in range(5):
            body = {"n": number}
            connection.Producer().publish(body, exchange=queue.exchange, routing_key="suspect")
        ids = [row[0] for row in messages(database)]
        database.rows(
            "UPDATE kombu_message SET deliveries = 2 WHERE id = ANY(%s) RETURNING id", ids[:3]
        )

        def claimed() -> list[int]:
            return [
                int(envelope["properties"]["delivery_tag"])
                for _, envelope in made.claim({"suspect"}, 10)
            ]

        assert claimed() == [ids[0], *ids[3:]]
        assert claimed() == []
        database.rows("DELETE FROM kombu_message WHERE id = %s RETURNING id", ids[0])
        assert claimed() == [ids[1]]


def test_mailbox_that_was_deleted_by_mistake_is_declared_again(
    database: Database, start_worker: StartWorker
) -> None:
    """A worker whose mailbox was deleted after its lease expired answers once it reconnects."""
    worker = start_worker(database, "--pool", "solo")
    database.rows("DELETE FROM kombu_queue WHERE owner IS NOT NULL RETURNING id")
    assert inspect(database, "inspect", "ping", "--timeout", "2").returncode != 0, (
        "premise: the mailbox is deleted"
    )
    database.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'system-broker-session' AND datname = current_database()"
    )
    worker.wait_for_line("broker session reconnected")
    done = inspect(database, "inspect", "ping", "--timeout", "5")
    assert done.returncode == 0, done.stdout


def test_unreadable_message_is_a_row(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """Each message that kombu cannot read leaves a dead-letter row and is deleted."""
    start_worker(database, "--pool", "solo")
    properties = {"body_encoding": "no such", "delivery_info": {"routing_key": "llm.task"}}
    unknown_encoding = json.dumps({"body": "e30=", "headers": {}, "properties": properties})
    for payload in ("no json", "[]", "{}", unknown_encoding):
        database.rows(
            "INSERT INTO kombu_message (payload, queue_id)"
            " SELECT %s, id FROM kombu_queue WHERE name = 'llm' RETURNING id",
            payload,
        )
    assert wait_for(lambda: len(dead_letters(database)) == 4)
    assert {error for *_, error in dead_letters(database)} == {"celery.exceptions.InvalidTaskError"}
    assert wait_for(lambda: messages(database) == [])
    assert client.run(PING)["status"] == "ok"


def test_ids_can_exceed_two_to_the_31(
    database: Database, start_worker: StartWorker, client: Client
) -> None:
    """Messages, queues and results with ids beyond 2^31 are published, run and stored."""
    for sequence in ("message_id_sequence", "queue_id_sequence", "task_id_sequence"):
        database.rows("SELECT setval(%s, 2147483647)", sequence)
    start_worker(database, "--pool", "solo")
    assert client.run(PING)["status"] == "ok"
    rows = database.rows(
        "SELECT min(id) FROM celery_taskmeta UNION SELECT min(id) FROM kombu_queue"
    )
    assert all(number > 2**31 - 1 for (number,) in rows)


def test_message_of_a_stock_publisher_is_run(database: Database, start_worker: StartWorker) -> None:
    """A worker runs a message that stock kombu publishes into the same tables."""
    worker = start_worker(database, "--pool", "solo")
    worker.wait_for_line("task succeeded", task_id=publish_with_stock_kombu(database))


def test_many_processes_declare_a_queue_at_once(database: Database) -> None:
    """Eight processes that declare the same queues at once succeed, and each queue is one row."""
    code = (
        "import sys; from kombu import Connection, Queue; from system import transport;"
        "transport.install(); c = Connection(sys.argv[1]); sys.stdin.readline();"
        "[Queue(f'new-{n}', channel=c.default_channel).declare() for n in range(20)]"
    )
    command = [sys.executable, "-c", code, "sqla+" + url_of(database)]
    started = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment(),
        )
        for _ in range(8)
    ]
    errors = [process.communicate("go\n", timeout=60)[1] for process in started]
    assert [(p.returncode, error) for p, error in zip(started, errors, strict=True)] == [
        (0, "")
    ] * 8
    assert database.rows("SELECT count(*) FROM kombu_queue WHERE name LIKE 'new-%%'") == [(20,)]


def test_stock_rows_are_kept_by_the_migration(empty: Database, start_worker: StartWorker) -> None:
    """The upgrade keeps messages of stock kombu: waiting ones are run, claimed ones stay."""
    assert empty.migrate("upgrade", "celery_0003").returncode == 0
    assert empty.migrate("upgrade", "core@head").returncode == 0
    claimed, waiting = (publish_with_stock_kombu(empty) for _ in range(2))
    empty.rows("UPDATE kombu_message SET visible = false WHERE id = 1 RETURNING id")
    assert empty.migrate("upgrade", "heads").returncode == 0
    assert messages(empty) == [(1, False, 0), (2, True, 0)]
    worker = start_worker(empty, "--pool", "solo")
    worker.wait_for_line("task succeeded", task_id=waiting)
    assert wait_for(lambda: messages(empty) == [(1, False, 0)])
    assert claimed not in runs(worker)


def test_migration_marks_masked_rows_as_not_replayable(empty: Database) -> None:
    """The upgrade marks each row whose arguments were masked and not encrypted."""
    assert empty.migrate("upgrade", "celery_0004").returncode == 0
    assert empty.migrate("upgrade", "core@head").returncode == 0
    with empty.connect("postgres") as connection:
        for name, kwargs in (("masked", '{"password": "[masked]"}'), ("plain", '{"n": 1}')):
            connection.execute(
                "INSERT INTO worker_failed_jobs (task_id, task_name, exception_class, kwargs)"
                " VALUES (%s, 'n', 'E', %s)",
                (name, kwargs),
            )
    assert empty.migrate("upgrade", "heads").returncode == 0
    rows = "SELECT task_id, replayable, notes FROM worker_failed_jobs ORDER BY task_id"
    (masked, plain) = empty.rows(rows)
    assert masked[:2] == ("masked", False)
    assert masked[2].startswith("cannot be replayed: ")
    assert plain == ("plain", True, None)


def test_unknown_option_is_refused_by_name(database: Database) -> None:
    """The error about an unknown transport option names it and the known options."""
    transport.install()
    with (
        Connection(
            "sqla+" + url_of(database), transport_options={"polling_intervall": 1}
        ) as connection,
        pytest.raises(Exception, match="got polling_intervall, expected batch, heartbeat, lease"),
    ):
        connection.connect()


def test_direct_consumer_waits_no_longer_than_asked(database: Database) -> None:
    """A consumer without an event loop gets its message, and TimeoutError when none comes."""
    transport.install()
    queue = Queue("direct", Exchange("direct"), routing_key="direct")
    received: list[Any] = []
    with Connection("sqla+" + url_of(database)) as connection:
        connection.Producer().publish(
            {"n": 1}, exchange=queue.exchange, routing_key="direct", declare=[queue]
        )
        with connection.Consumer(
            queue, callbacks=[lambda body, message: received.append((body, message.ack()))]
        ):
            connection.drain_events(timeout=5)
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=0.2)
    assert received == [({"n": 1}, None)]
    assert messages(database) == []


@pytest.fixture
def pooler(database: Database) -> Iterator[str]:
    """Yield the URL of a pooler in transaction mode in front of the test's database."""
    binary = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if binary is None:
        pytest.skip("pgbouncer: got no binary, expected one; install Debian's package pgbouncer")
    with tempfile.TemporaryDirectory(prefix="pooler-") as folder:
        Path(folder).chmod(0o755)  # (the process of another account reads it)
        yield from run_pooler(binary, database, Path(folder) / "pgbouncer.ini")


def run_pooler(binary: str, database: Database, settings: Path) -> Iterator[str]:
    """Run a pooler in front of a database, yield its URL, and stop it."""
    server, port = database.server, free_port()
    settings.write_text(
        f"[databases]\n{database.name} = host=127.0.0.1 port={server.port} user=app_user"
        f" password={server.password}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        "pool_mode = transaction\nauth_type = any\ndefault_pool_size = 4\n"
        "ignore_startup_parameters = extra_float_digits\n"
    )
    settings.chmod(0o644)
    process = subprocess.Popen(
        [binary, str(settings)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        **ACCOUNT,
    )
    try:
        yield f"sqla+postgresql+psycopg2://app_user@127.0.0.1:{port}/{database.name}"
    finally:
        process.terminate()
        process.wait(10)


def test_pooler_is_detected_and_leases_replace_locks(database: Database, pooler: str) -> None:
    """Behind a pooler in transaction mode no lock is taken; an expired lease returns claims."""
    transport.install()
    options = {"pooled_lease": 1.5, "heartbeat": 0.2}
    queue = Queue("pooled", Exchange("pooled"), routing_key="pooled")
    received: list[Any] = []

    def connected() -> Connection:
        connection = Connection(pooler, transport_options=options)
        assert wait_for(lambda: _answers(connection))
        return connection

    with connected() as dying, connected() as living:
        dying.Producer().publish("x", exchange="pooled", routing_key="pooled", declare=[queue])
        lost: Any = dying.default_channel
        assert lost.basic_get("pooled") is not None
        session = lost.transport.session
        assert session.pooled
        assert database.rows("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]
        session.close()
        consumer = living.Consumer(
            queue, callbacks=[lambda body, message: received.append((body, message.ack()))]
        )
        with consumer:
            assert wait_for(lambda: _drain(living) or received, deadline_s=20)
    assert received == [("x", None)]
    assert messages(database) == []


def _answers(connection: Connection) -> bool:
    try:
        connection.connect()
    except connection.connection_errors:
        return False
    return True


def _drain(connection: Connection) -> bool:
    with suppress(TimeoutError):
        connection.drain_events(timeout=0.2)
    return False
