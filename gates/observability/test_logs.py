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
    claim,
    criterion,
    falsified_by,
    http,
    inject,
    logs,
    premise,
    sql,
)

from ..secrecy import redaction_sees_a_printed_dsn, removed_secrets
from .health import database_closed, expect_healthy
from .lines import (
    LINES,
    NOT_JSON,
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

AT_WORK = "worker at work"
IN_LOG, IN_ROW = "correlation id in the log", "correlation ids of the dead-letter rows"
OF_ANOTHER = "task of which a later ping has the correlation id"
SECRETS, TOKENS = "secrets in the text", "lines with the token"
LOG, HEALTH_DOWN = "log", "health with the database down"
"""Names and objects of claims that falsifiers predict."""


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
        "logs.correlation_id",
        "logs.error",
        "logs.retry",
        "logs.tenant_id",
    ),
)
@falsified_by(
    logs("plain-failures", "break", where={"message": "failure"}, text="a task failed"),
    expect=(NOT_JSON, AT_WORK, "got a task failed"),
)
@falsified_by(
    logs("plain-start", "insert", text="booting ..."),
    expect=(NOT_JSON, AT_WORK, "got booting ..."),
)
@falsified_by(
    logs("retries-left-out", "drop", where={"message": "retry"}),
    expect=(LINES, "retried ping/retry", "got 0"),
)
def test_every_line_is_a_json_object_with_its_fields(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """From the first line to the last: at work, on a port in use, and for each result of a task."""
    ping, logs = sut.ping, sut.logs
    tenant = str(ids.uuid())
    own = {**ping.arguments, sut.tenancy.key: tenant}
    with own_stack.running_worker(concurrency=1) as worker:
        own_stack.wait_ready(worker)
        kinds = (own, {**own, **ping.fail}, {**own, **ping.retry})
        runs = [own_stack.tasks.publish(ping.task, (), arguments) for arguments in kinds]
        states = [own_stack.tasks.result(task_id).state for task_id in runs]
        expected = ["SUCCESS", "FAILURE", "SUCCESS"]
        premise("states of pings that succeed, fail and are retried", got=states, expected=expected)
        seen = log_after(worker, own_stack)
        if seen is None:
            return
        log = seen[1]
        expect_json(log, own_stack, AT_WORK)
        succeeding, failing, retried = runs
        for what, message, task_id in (
            ("succeeding ping/success", logs.success, succeeding),
            ("failing ping/failure", logs.failure, failing),
            ("retried ping/retry", logs.retry, retried),
            ("retried ping/success", logs.success, retried),
        ):
            line = line_of(log, own_stack, message, task_id, on=what)
            if line is None:
                continue
            about = {logs.task_name: ping.task, logs.task_id: task_id, logs.tenant_id: tenant}
            expect_fields(line, own_stack, about, on=what)
            if task_id == failing:
                error, name = str(line.get(logs.error, "")), ping.fail_error
                claim("error in the line", on=what, got=error, relation="contains", expected=name)
        with own_stack.running_worker(share_port=worker) as other:
            status = other.wait_exit()
            refused = other.log()
        failed = status not in (None, 0)
        claim("a worker on a port in use ends with a failure", got=failed, expected=True)
        expect_json(refused, own_stack, "worker on a port in use")
        before_stop = len(worker.log().lines)
        worker.stop()
        log = worker.log()
    more = len(log.lines) - before_stop
    claim("lines about the shutdown", got=more, relation="at_least", expected=1)
    expect_json(log, own_stack, "worker that has stopped")


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
        "logs.correlation_id",
        "logs.retry",
    ),
)
@falsified_by(
    # Celery sets this key to the message property of the same name, which is the task's id.
    logs("header-overwritten", "copy", field="correlation_id", value="task_id"),
    expect=(IN_LOG, "failing ping/failure"),
)
@falsified_by(
    sql(
        "task-id-in-dead-letters",
        ALTERED.format(change="NEW.correlation_id := NEW.task_id;"),
        landing=ROW_TRIGGERS,
    ),
    expect=(IN_ROW, "failing ping"),
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
        expected = ["FAILURE", "SUCCESS", "FAILURE"]
        premise("states of a failing, a retried, a failing task", got=states, expected=expected)
        seen = log_after(worker, own_stack)
        if seen is None:
            return
        later, log = seen
        for what, message, task_id, correlation in (
            ("failing ping/failure", logs.failure, failing, by_header),
            ("retried ping/retry", logs.retry, trying, retried),
            ("retried ping/success", logs.success, trying, retried),
            ("failing window/failure", logs.failure, window, by_argument),
        ):
            line = line_of(log, own_stack, message, task_id, on=what)
            if line is not None:
                claim(IN_LOG, on=what, got=line.get(key), expected=correlation)
        line = line_of(log, own_stack, logs.success, later, on="later ping/success")
        if line is not None:
            owners = {by_header: "failing ping", retried: "retried ping", by_argument: "window"}
            owner = owners.get(str(line.get(key)), "none of them")
            claim(OF_ANOTHER, got=owner, expected="none of them")
        for what, task_id, correlation in (
            ("failing ping", failing, by_header),
            ("failing window", window, by_argument),
        ):
            stored = dead_letters_of(own_stack, task_id)
            if not claim(IN_ROW, on=what, got=stored, expected=[correlation]):
                return


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
    expect=(SECRETS, LOG),
)
@falsified_by(
    inject("arguments-in-errors", "log-arguments"),
    expect=(TOKENS, LOG),
)
@falsified_by(
    inject("refused-messages-quoted", "log-unknown-messages"),
    expect=(TOKENS, LOG),
)
@falsified_by(
    http(
        "health-says-where",
        "health",
        pattern=r"\}\s*\Z",
        replacement=', "asked": "{dsn}"}',
        when_status=503,
    ),
    expect=(SECRETS, HEALTH_DOWN),
)
def test_no_secret_in_logs_metrics_or_health(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """No secret is visible after work, failures, an unknown task and a lost database."""
    removed = redaction_sees_a_printed_dsn(own_stack)
    premise("redaction removes a password that is printed", got=removed, expected=True)
    token = ids.slug("token")
    secret = {"payload": {"token": token, "password": token}, sut.tenancy.key: "no tenant"}
    unknown = f"{sut.celery.task_prefix}housekeeping.{ids.slug('unknown').replace('-', '_')}"
    with own_stack.running_worker(pool=POOL_SOLO) as worker:
        own_stack.wait_ready(worker)
        failed = own_stack.tasks.run(ROUTE, secret)
        premise("state of a task that must fail", on=ROUTE, got=failed.state, expected="FAILURE")
        own_stack.tasks.publish(unknown, (), secret, queue=sut.queue_of(sut.ping.task))
        own_stack.tasks.run(sut.ping.task, sut.ping.fail)
        last = log_after(worker, own_stack)
        if last is None:
            return
        log = last[1]
        expect_nothing_secret(LOG, "\n".join(log.lines), log.redactions, token)
        seen = own_stack.http.get(worker.metrics_url)
        expect_nothing_secret("metrics", seen.body, seen.redactions, token)
        seen = own_stack.http.get(worker.health_url)
        expect_nothing_secret("health", seen.body, seen.redactions, token)
        with database_closed(own_stack, own_stack.database):
            seen = own_stack.http.get(worker.health_url)
            expect_nothing_secret(HEALTH_DOWN, seen.body, seen.redactions, token)
        expect_healthy(own_stack, worker, "with the database up again")
        worker.stop()
        log = worker.log()
    expect_nothing_secret("log to its end", "\n".join(log.lines), log.redactions, token)


def expect_nothing_secret(
    where: str, text: str, redactions: tuple[Redaction, ...], token: str
) -> None:
    """Judge that a text has neither this token nor a password nor a DSN."""
    at_least_one(f"characters of {where}", text.strip())
    # The token first: redaction also matches it where it is the value of a sensitive key.
    lines = sum(token in line for line in text.split("\n"))
    claim(TOKENS, on=where, got=lines, expected=0)
    claim(SECRETS, on=where, got=removed_secrets(redactions), expected=[])
    # Counted, because redaction would change the DSNs themselves.
    claim("DSNs in the text", on=where, got=len(DSN.findall(text)), expected=0)
