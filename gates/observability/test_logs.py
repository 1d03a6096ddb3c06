"""Gate observability: each line is one JSON object that says who it is about, and no secret."""

from __future__ import annotations

import re

from evidence.model import Redaction
from gates.observability.health import database_closed, expect_healthy
from gates.observability.lines import dead_letters_of, expect_fields, line_of, without_time
from gates.patching import patch
from gates.secrecy import redaction_sees_a_printed_dsn, taken_out
from harness import criterion, falsified_by, sql
from harness.fixtures import Ids
from harness.stack import Stack
from harness.sut import Sut

RECOMPUTE, ROUTE = "app.tasks.attribution.recompute_window", "app.tasks.llm.route"
WINDOW = {"window_start": "2026-01-01T00:00:00Z", "window_end": "2026-01-02T00:00:00Z"}

DSN = re.compile(r"postgres(?:ql)?(?:\+\w+)?://[\w.%-]|://[^\s/\"'@]+@", re.IGNORECASE)
"""A database's address, or userinfo in any URL."""


@criterion("OBS-07")
@falsified_by(
    patch("plain-errors", "observability/falsifiers/plain_errors.py"),
    expect="expected 0, the first: 'ERROR a task failed'",
)
@falsified_by(
    patch("plain-start", "observability/falsifiers/plain_start.py"),
    expect="expected 0, the first: 'booting",
)
@falsified_by(
    patch("silent-retry", "observability/falsifiers/silent_retry.py"),
    expect="lines 'task retried' of the task",
)
def test_every_line_is_a_json_object_with_its_fields(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """From the first line to the last, at work, at a taken port, and for each way a task can go."""
    ping, logs = sut.ping, sut.logs
    tenant = str(ids.uuid())
    own = {**ping.arguments, sut.tenancy.key: tenant}
    with own_stack.running_worker() as worker:
        own_stack.wait_ready(worker)
        runs = {
            logs.success: own_stack.tasks.publish(ping.task, (), own),
            logs.failure: own_stack.tasks.publish(ping.task, (), {**own, **ping.fail}),
            logs.retry: own_stack.tasks.publish(ping.task, (), {**own, **ping.retry}),
        }
        states = [own_stack.tasks.result(task_id).state for task_id in runs.values()]
        assert states == ["SUCCESS", "FAILURE", "SUCCESS"], (
            f"pings that succeed, fail and are retried: got {states}, expected it so"
        )
        with own_stack.running_worker(beside=worker) as other:
            status = other.wait_exit()
            refused = other.log()
        assert status, f"worker on a taken port: got exit {status}, expected a failure"
        before_stop = len(worker.log().lines)
        worker.stop()
        log = worker.log()
    assert len(log.lines) > before_stop, "lines about the shut-down: got none, expected some"
    plain = [*log.plain(), *refused.plain()]
    assert not plain, (
        f"lines that are no JSON object: got {len(plain)}, expected 0, the first: "
        f"{plain[0][:100]!r}"
    )
    untimed = without_time([*log.entries(), *refused.entries()], logs.timestamp)
    assert not untimed, f"timestamps of lines: got {untimed[:3]}, expected aware ISO 8601 times"
    for message, task_id in (*runs.items(), (logs.success, runs[logs.retry])):
        line = line_of(worker, own_stack, message, task_id)
        about = {logs.task_name: ping.task, logs.task_id: task_id, logs.tenant_id: tenant}
        expect_fields(line, own_stack, about)
        error = str(line.get(logs.error, ""))
        assert message != logs.failure or ping.fail_error in error, (
            f"error of the line {message!r}: got {error!r}, expected {ping.fail_error}"
        )


@criterion("OBS-08")
@falsified_by(
    patch("header-dropped", "observability/falsifiers/header_dropped.py"),
    expect="correlation id of a failing ping in the log: got",
)
@falsified_by(
    sql(
        "dropped-in-dead-letters",
        """
        CREATE FUNCTION drop_correlation() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN NEW.correlation_id = NULL; RETURN NEW; END';
        CREATE TRIGGER drop_correlation BEFORE INSERT ON worker_failed_jobs
            FOR EACH ROW EXECUTE FUNCTION drop_correlation();
        """,
        landing="SELECT tgname FROM pg_trigger WHERE tgrelid = 'worker_failed_jobs'::regclass",
    ),
    expect="correlation id of a failing ping in its dead letter: got [None]",
)
@falsified_by(
    patch("context-kept", "observability/falsifiers/context_kept.py"),
    expect="correlation id of a later ping without one: got",
)
def test_correlation_id_goes_all_the_way(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """By header and by argument it reaches every line and the dead letter, and no other task."""
    ping, logs, key = sut.ping, sut.logs, sut.logs.correlation_id
    by_header, retried, by_argument = (ids.slug("correlation") for _ in range(3))
    fields = {sut.tenancy.key: str(ids.uuid()), **WINDOW, "correlation_id": by_argument}
    publish = own_stack.tasks.publish
    with own_stack.running_worker(concurrency=1) as worker:
        own_stack.wait_ready(worker)
        failing = publish(ping.task, (), ping.fail, headers={key: by_header})
        trying = publish(ping.task, (), ping.retry, headers={key: retried})
        window = publish(RECOMPUTE, (), {**fields, "fail": True})
        later = publish(ping.task, (), ping.arguments)
        in_log = (
            ("a failing ping", logs.failure, failing, by_header),
            ("a retried ping", logs.retry, trying, retried),
            ("a ping after its retry", logs.success, trying, retried),
            ("a failing window", logs.failure, window, by_argument),
        )
        for what, message, task_id, correlation in in_log:
            told = line_of(worker, own_stack, message, task_id).get(key)
            assert told == correlation, (
                f"correlation id of {what} in the log: got {told}, expected {correlation}"
            )
        for what, task_id, correlation in (
            ("a failing ping", failing, by_header),
            ("a failing window", window, by_argument),
        ):
            letters = dead_letters_of(own_stack, task_id)
            assert letters == [correlation], (
                f"correlation id of {what} in its dead letter: got {letters}, "
                f"expected {[correlation]}"
            )
        told = line_of(worker, own_stack, logs.success, later).get(key)
        assert told not in (by_header, retried, by_argument), (
            f"correlation id of a later ping without one: got {told}, expected none of another"
        )


@criterion("OBS-09")
@falsified_by(
    patch("printed-dsn", "observability/falsifiers/printed_dsn.py"),
    expect="secrets in the log: got",
)
@falsified_by(
    patch("arguments-logged", "observability/falsifiers/arguments_logged.py"),
    expect="tokens in the log: got 1",
)
@falsified_by(
    patch("health-says-where", "observability/falsifiers/health_says_where.py"),
    expect="secrets in health with the database away: got",
)
def test_no_secret_in_logs_metrics_or_health(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """Through work, failures, a message nobody knows and a lost database, nothing secret shows."""
    assert redaction_sees_a_printed_dsn(own_stack), (
        "redaction of a printed DSN: got nothing taken out, expected the password"
    )
    token = ids.slug("token")
    secret = {"payload": {"token": token, "password": token}, sut.tenancy.key: "no tenant"}
    unknown = f"{sut.celery.task_prefix}housekeeping.{ids.slug('unknown').replace('-', '_')}"
    with own_stack.running_worker() as worker:
        own_stack.wait_ready(worker)
        failed = own_stack.tasks.run(ROUTE, secret)
        assert failed.state == "FAILURE", f"{ROUTE}: got {failed.state}, expected FAILURE"
        own_stack.tasks.publish(unknown, (), secret, queue=sut.queue_of(sut.ping.task))
        own_stack.tasks.run(sut.ping.task, sut.ping.fail)
        seen = own_stack.http.get(worker.metrics_url)
        expect_nothing_secret("metrics", seen.body, seen.redactions, token)
        seen = own_stack.http.get(worker.health_url)
        expect_nothing_secret("health", seen.body, seen.redactions, token)
        with database_closed(own_stack, own_stack.database):
            seen = own_stack.http.get(worker.health_url)
            expect_nothing_secret(
                "health with the database away", seen.body, seen.redactions, token
            )
        expect_healthy(own_stack, worker, "with the database back")
        worker.stop()
        log = worker.log()
    expect_nothing_secret("the log", "\n".join(log.lines), log.redactions, token)


def expect_nothing_secret(
    where: str, text: str, redactions: tuple[Redaction, ...], token: str
) -> None:
    """Judge that a text has no password, no DSN and not this token."""
    leaks = taken_out(redactions)
    assert not leaks, f"secrets in {where}: got {leaks}, expected none"
    places = [match[0] for match in DSN.finditer(text)]
    assert not places, f"DSNs in {where}: got {places[:3]}, expected none"
    lines = [line for line in text.split("\n") if token in line]
    assert not lines, f"tokens in {where}: got {len(lines)} lines, expected none: {lines[0][:200]}"
