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
)

from ..described import falsified_in_rows
from ..dlq.rows import failing_task
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

DSN = re.compile(r"postgres(?:ql)?(?:\+\w+)?://[\w.%-]|://[^\s/\"'@]+@", re.IGNORECASE)
"""The URL of a PostgreSQL database, or credentials in any URL."""

AT_WORK, AT_ONCE = "worker at work", "worker whose children write at once"
RUNS_AT_ONCE = 40
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
        whole = expect_json(log, own_stack, AT_WORK)
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
    if expect_json(log, own_stack, "worker that has stopped") and whole:
        expect_whole_lines(own_stack)


def expect_whole_lines(stack: Stack) -> None:
    """Judge the lines of a worker of several processes that all write at the same time."""
    ping = stack.sut.ping
    with stack.running_worker(concurrency=2) as worker:
        stack.wait_ready(worker)
        kinds = (ping.arguments, {**ping.arguments, **ping.fail}) * (RUNS_AT_ONCE // 2)
        for task_id in [stack.tasks.publish(ping.task, (), arguments) for arguments in kinds]:
            stack.tasks.result(task_id)
        log = worker.log()
    expect_json(log, stack, AT_ONCE)


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
@falsified_in_rows(
    "task-id-in-dead-letters",
    "NEW.{c[correlation_id]} := NEW.{c[task_id]}; RETURN NEW;",
    expect=(IN_ROW, "failing ping"),
)
def test_correlation_id_reaches_log_and_dead_letter_row(
    own_stack: Stack, sut: Sut, ids: Ids
) -> None:
    """It reaches each line and the dead-letter row by header, and no other task.

    By argument too, if the sample of a described task that fails has an argument of that name.
    """
    ping, logs, key = sut.ping, sut.logs, sut.logs.correlation_id
    by_header, retried = (ids.slug("correlation") for _ in range(2))
    publish = own_stack.tasks.publish
    with own_stack.running_worker(concurrency=1) as worker:
        own_stack.wait_ready(worker)
        failing = publish(ping.task, (), ping.fail, headers={key: by_header})
        trying = publish(ping.task, (), ping.retry, headers={key: retried})
        argued = publish_with_argument(own_stack, ids)
        failures = {failing: ("failing ping", by_header), **argued}
        sent = (failing, trying, *argued)
        states = [own_stack.tasks.result(task_id).state for task_id in sent]
        expected = ["FAILURE", "SUCCESS", *["FAILURE"] * len(argued)]
        premise("states of failing tasks and a retried one", got=states, expected=expected)
        seen = log_after(worker, own_stack)
        if seen is None:
            return
        later, log = seen
        lines = [("retried ping", logs.retry, trying, retried)]
        lines += [("retried ping", logs.success, trying, retried)]
        lines += [(what, logs.failure, one, value) for one, (what, value) in failures.items()]
        kinds = {logs.retry: "retry", logs.success: "success", logs.failure: "failure"}
        for what, message, task_id, correlation in lines:
            line = line_of(log, own_stack, message, task_id, on=f"{what}/{kinds[message]}")
            if line is not None:
                on = f"{what}/{kinds[message]}"
                claim(IN_LOG, on=on, got=line.get(key), expected=correlation)
        line = line_of(log, own_stack, logs.success, later, on="later ping/success")
        if line is not None:
            owners = {retried: "retried ping"}
            owners |= {value: what for what, value in failures.values()}
            owner = owners.get(str(line.get(key)), "none of them")
            claim(OF_ANOTHER, got=owner, expected="none of them")
        for task_id, (what, correlation) in failures.items():
            stored = dead_letters_of(own_stack, task_id)
            if not claim(IN_ROW, on=what, got=stored, expected=[correlation]):
                return


def publish_with_argument(stack: Stack, ids: Ids) -> dict[str, tuple[str, str]]:
    """Publish a task that fails, with a correlation id as an argument, if it takes one.

    Returns:
        Its id with its name in claims and the correlation id; empty if no task takes one.

    """
    sut, key = stack.sut, stack.sut.logs.correlation_id
    task = failing_task(sut)
    if key not in task.sample:
        return {}
    value = ids.slug("correlation")
    fields = {**task.sample, **task.kwargs, sut.tenancy.key: str(ids.uuid()), key: value}
    return {stack.tasks.publish(task.task, (), fields): ("task with an argument", value)}


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
    secret = {"token": token, "password": token}
    unknown = f"{sut.celery.task_prefix}{ids.slug('unknown').replace('-', '_')}"
    task = failing_task(sut)
    fields = {**task.sample, **task.kwargs, sut.tenancy.key: str(ids.uuid())}
    fields |= {task.any_value: secret} if task.any_value else {}
    with own_stack.running_worker(pool=POOL_SOLO) as worker:
        own_stack.wait_ready(worker)
        failed = own_stack.tasks.run(task.task, fields)
        premise("state of a task that must fail", got=failed.state, expected="FAILURE")
        own_stack.tasks.publish(unknown, (), {"payload": secret}, queue=sut.queue_of(sut.ping.task))
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
