"""Gate observability: each log line is one JSON object that names its task and has no secret."""

from __future__ import annotations

import re

from gateproof import (
    POOL_SOLO,
    Ids,
    Redaction,
    Stack,
    Sut,
    at_least_one,
    criterion,
    falsified_by,
    http,
    inject,
    logs,
    source,
    sql,
)

from ..secrecy import redaction_sees_a_printed_dsn, removed_secrets
from .health import database_closed, expect_healthy
from .lines import (
    dead_letters_of,
    expect_fields,
    expect_json,
    line_of,
    log_after,
)

RECOMPUTE, ROUTE = "app.tasks.attribution.recompute_window", "app.tasks.llm.route"
WINDOW = {"window_start": "2026-01-01T00:00:00Z", "window_end": "2026-01-02T00:00:00Z"}

DSN = re.compile(r"postgres(?:ql)?(?:\+\w+)?://[\w.%-]|://[^\s/\"'@]+@", re.IGNORECASE)
"""The URL of a PostgreSQL database, or credentials in any URL."""

ALTERED = """
    CREATE FUNCTION alter_row() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN {change} RETURN NEW; END $$;
    CREATE TRIGGER alter_row BEFORE INSERT ON worker_failed_jobs
        FOR EACH ROW EXECUTE FUNCTION alter_row()
"""
"""A trigger that changes each new dead-letter row."""
ROW_TRIGGERS = "SELECT tgname FROM pg_trigger WHERE tgrelid = 'worker_failed_jobs'::regclass"

IDENTITY = "system/identity.py"


@criterion(
    "OBS-07",
    needs=(
        "database",
        "celery",
        "worker",
        "ping.fail",
        "ping.fail_error",
        "ping.retry",
        "task",
        "tenancy",
        "logs",
    ),
)
@falsified_by(
    logs("plain-failures", "break", where={"message": "failure"}, text="a task failed"),
    expect="expected 0, the first: 'a task failed'",
)
@falsified_by(
    logs("plain-start", "insert", text="booting ..."),
    expect="expected 0, the first: 'booting ...'",
)
@falsified_by(
    logs("retries-left-out", "drop", where={"message": "retry"}),
    expect="lines 'task retried' of the task",
)
def test_every_line_is_a_json_object_with_its_fields(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """From the first line to the last: at work, on a port in use, and for each result of a task."""
    ping, logs = sut.ping, sut.logs
    tenant = str(ids.uuid())
    own = {**ping.arguments, sut.tenancy.key: tenant}
    with own_stack.running_worker(concurrency=1) as worker:
        own_stack.wait_ready(worker)
        runs = {
            logs.success: own_stack.tasks.publish(ping.task, (), own),
            logs.failure: own_stack.tasks.publish(ping.task, (), {**own, **ping.fail}),
            logs.retry: own_stack.tasks.publish(ping.task, (), {**own, **ping.retry}),
        }
        states = [own_stack.tasks.result(task_id).state for task_id in runs.values()]
        assert states == ["SUCCESS", "FAILURE", "SUCCESS"], (
            f"pings that succeed, fail and are retried: got {states}, "
            "expected SUCCESS, FAILURE, SUCCESS"
        )
        _, log = log_after(worker, own_stack)
        expect_json(log, own_stack)
        for message, task_id in (*runs.items(), (logs.success, runs[logs.retry])):
            line = line_of(log, own_stack, message, task_id)
            about = {logs.task_name: ping.task, logs.task_id: task_id, logs.tenant_id: tenant}
            expect_fields(line, own_stack, about)
            error = str(line.get(logs.error, ""))
            assert message != logs.failure or ping.fail_error in error, (
                f"error of the line {message!r}: got {error!r}, expected {ping.fail_error}"
            )
        with own_stack.running_worker(share_port=worker) as other:
            status = other.wait_exit()
            refused = other.log()
        assert status, f"worker on a port in use: got exit {status}, expected a failure"
        expect_json(refused, own_stack)
        before_stop = len(worker.log().lines)
        worker.stop()
        log = worker.log()
    assert len(log.lines) > before_stop, "lines about the shutdown: got none, expected some"
    expect_json(log, own_stack)


@criterion(
    "OBS-08",
    needs=(
        "database",
        "celery",
        "worker",
        "ping.fail",
        "ping.retry",
        "task",
        "tenancy",
        "dead_letters",
        "logs",
    ),
)
@falsified_by(
    # Celery sets this key to the message property of the same name, which is the task's id.
    logs("header-overwritten", "copy", field="correlation_id", value="task_id"),
    expect="correlation id of a failing ping in the log: got",
)
@falsified_by(
    sql(
        "task-id-in-dead-letters",
        ALTERED.format(change="NEW.correlation_id := NEW.task_id;"),
        landing=ROW_TRIGGERS,
    ),
    expect="correlation id of a failing ping in its dead-letter row: got",
)
@falsified_by(
    source(
        "headers-of-all-tasks-in-one",
        IDENTITY,
        "headers = request.headers or {}",
        """headers = vars(identify).setdefault("headers", {})
    headers.update(request.headers or {})""",
    ),
    expect="correlation id of a later ping without one: got",
)
def test_correlation_id_reaches_log_and_dead_letter_row(
    own_stack: Stack, sut: Sut, ids: Ids
) -> None:
    """By header and by argument it reaches each line and the dead-letter row, and no other task."""
    ping, logs, key = sut.ping, sut.logs, sut.logs.correlation_id
    by_header, retried, by_argument = (ids.slug("correlation") for _ in range(3))
    fields = {sut.tenancy.key: str(ids.uuid()), **WINDOW, "correlation_id": by_argument}
    publish = own_stack.tasks.publish
    with own_stack.running_worker(concurrency=1) as worker:
        own_stack.wait_ready(worker)
        failing = publish(ping.task, (), ping.fail, headers={key: by_header})
        trying = publish(ping.task, (), ping.retry, headers={key: retried})
        window = publish(RECOMPUTE, (), {**fields, "fail": True})
        states = [own_stack.tasks.result(task_id).state for task_id in (failing, trying, window)]
        assert states == ["FAILURE", "SUCCESS", "FAILURE"], (
            f"a failing ping, a retried one, a failing window: got {states}, "
            "expected FAILURE, SUCCESS, FAILURE"
        )
        later, log = log_after(worker, own_stack)
        in_log = (
            ("a failing ping", logs.failure, failing, by_header),
            ("a retried ping", logs.retry, trying, retried),
            ("a ping after its retry", logs.success, trying, retried),
            ("a failing window", logs.failure, window, by_argument),
        )
        for what, message, task_id, correlation in in_log:
            got = line_of(log, own_stack, message, task_id).get(key)
            assert got == correlation, (
                f"correlation id of {what} in the log: got {got}, expected {correlation}"
            )
        for what, task_id, correlation in (
            ("a failing ping", failing, by_header),
            ("a failing window", window, by_argument),
        ):
            stored = dead_letters_of(own_stack, task_id)
            assert stored == [correlation], (
                f"correlation id of {what} in its dead-letter row: got {stored}, "
                f"expected {[correlation]}"
            )
        got = line_of(log, own_stack, logs.success, later).get(key)
        assert got not in (by_header, retried, by_argument), (
            f"correlation id of a later ping without one: got {got}, expected no other task's"
        )


@criterion(
    "OBS-09",
    needs=(
        "database",
        "celery",
        "worker",
        "ping.fail",
        "task",
        "tenancy",
        "metrics",
        "health",
        "logs",
    ),
)
@falsified_by(
    logs("printed-dsn", "insert", text="connecting to {dsn}"),
    expect="secrets in the log: got",
)
@falsified_by(
    inject("arguments-in-errors", "log-arguments"),
    expect="tokens in the log: got",
)
@falsified_by(
    inject("refused-messages-quoted", "log-unknown-messages"),
    expect="tokens in the log: got",
)
@falsified_by(
    http(
        "health-says-where",
        "health",
        pattern=r"\}\s*\Z",
        replacement=', "asked": "{dsn}"}',
        when_status=503,
    ),
    expect="secrets in health with the database down: got",
)
def test_no_secret_in_logs_metrics_or_health(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """No secret is visible after work, failures, an unknown task and a lost database."""
    assert redaction_sees_a_printed_dsn(own_stack), (
        "redaction of a printed DSN: got nothing removed, expected the password"
    )
    token = ids.slug("token")
    secret = {"payload": {"token": token, "password": token}, sut.tenancy.key: "no tenant"}
    unknown = f"{sut.celery.task_prefix}housekeeping.{ids.slug('unknown').replace('-', '_')}"
    with own_stack.running_worker(pool=POOL_SOLO) as worker:
        own_stack.wait_ready(worker)
        failed = own_stack.tasks.run(ROUTE, secret)
        assert failed.state == "FAILURE", f"{ROUTE}: got {failed.state}, expected FAILURE"
        own_stack.tasks.publish(unknown, (), secret, queue=sut.queue_of(sut.ping.task))
        own_stack.tasks.run(sut.ping.task, sut.ping.fail)
        _, log = log_after(worker, own_stack)
        expect_nothing_secret("the log", "\n".join(log.lines), log.redactions, token)
        seen = own_stack.http.get(worker.metrics_url)
        expect_nothing_secret("metrics", seen.body, seen.redactions, token)
        seen = own_stack.http.get(worker.health_url)
        expect_nothing_secret("health", seen.body, seen.redactions, token)
        with database_closed(own_stack, own_stack.database):
            seen = own_stack.http.get(worker.health_url)
            expect_nothing_secret(
                "health with the database down", seen.body, seen.redactions, token
            )
        expect_healthy(own_stack, worker, "with the database up again")
        worker.stop()
        log = worker.log()
    expect_nothing_secret("the log to its end", "\n".join(log.lines), log.redactions, token)


def expect_nothing_secret(
    where: str, text: str, redactions: tuple[Redaction, ...], token: str
) -> None:
    """Judge that a text has neither this token nor a password nor a DSN."""
    at_least_one(f"characters of {where}", text.strip())
    # The token first: redaction also matches it where it is the value of a sensitive key.
    lines = [line for line in text.split("\n") if token in line]
    assert not lines, f"tokens in {where}: got {len(lines)} lines, expected none: {lines[0][:200]}"
    leaks = removed_secrets(redactions)
    assert not leaks, f"secrets in {where}: got {leaks}, expected none"
    places = [match[0] for match in DSN.finditer(text)]
    assert not places, f"DSNs in {where}: got {places[:3]}, expected none"
