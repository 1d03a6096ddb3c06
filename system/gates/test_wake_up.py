"""Gate runtime: how soon an idle worker starts a new message, and one that has become due."""

from __future__ import annotations

from gateproof import POOL_SOLO, Stack, Sut, claim, criterion, falsified_by, source, sql

SESSION, STATEMENTS = "system/transport/session.py", "system/transport/statements.py"

WITHIN_S = 2.5
"""Half of the pause between two polls of a worker that gets no notification."""
MESSAGES, APART_S, DELAY_S = 6, 0.6, 2.0
"""They are sent over more than that time. So, without a notification, one of them waits longer: one
that comes shortly after a poll, or the first."""

SLOWEST_S, STATE = "seconds until the slowest message has ended", "state of the ping in time"
IDLE, DUE = "messages of an idle worker", "message with a countdown"
"""Names and objects of claims that falsifiers predict."""

_WAITS = """
    SELECT extract(epoch FROM coalesce(date_done, clock_timestamp()) - sent)::float
    FROM unnest(%s::text[], %s::timestamptz[]) AS given(task, sent)
    LEFT JOIN celery_taskmeta ON task_id = task AND status = 'SUCCESS'
"""


@criterion("RUN-15", needs=("database", "celery", "broker.kind=sqla", "worker", "ping", "task"))
@falsified_by(
    sql(
        "trigger-off",
        "ALTER TABLE kombu_message DISABLE TRIGGER wake_up",
        landing="SELECT tgenabled FROM pg_trigger WHERE tgname = 'wake_up'",
    ),
    expect=(SLOWEST_S, IDLE),
)
@falsified_by(
    source("notifications-not-passed-on", SESSION, function="Session._pass_on", body="return None"),
    expect=(SLOWEST_S, IDLE),
)
@falsified_by(
    source(
        "released-an-hour-late",
        STATEMENTS,
        "WHERE available_at <= now() FOR UPDATE",
        "WHERE available_at <= now() - interval '1 hour' FOR UPDATE",
    ),
    expect=(STATE, DUE, "got PENDING"),
)
def test_idle_worker_starts_a_message_at_once(own_stack: Stack, sut: Sut) -> None:
    """An idle worker ends a new message, and one that is due, long before it would poll again."""
    stack, ping = own_stack, sut.ping
    # A baseline runs twice: what its first worker had not acknowledged would come back, and wake.
    stack.sql.query("DELETE FROM kombu_message")
    with stack.running_worker(pool=POOL_SOLO) as worker:
        stack.wait_ready(worker)
        sent = {}
        for _ in range(MESSAGES):
            at = stack.sql.query("SELECT clock_timestamp()").scalar()
            sent[stack.tasks.publish(ping.task, (), ping.arguments)] = at
            stack.sql.query("SELECT pg_sleep(%s)", (APART_S,))
        stack.tasks.result(list(sent)[-1], deadline_s=WITHIN_S)
        waits = stack.sql.query(_WAITS, (list(sent), list(sent.values()))).column()
        slowest_s = max(waits)
        if claim(SLOWEST_S, on=IDLE, got=slowest_s, relation="at_most", expected=WITHIN_S):
            due = stack.tasks.publish(ping.task, (), ping.arguments, countdown=DELAY_S)
            state = stack.tasks.result(due, deadline_s=DELAY_S + WITHIN_S).end
            claim(STATE, on=DUE, got=state, expected="SUCCESS")
