"""Gate runtime: how soon an idle worker starts a new message, and one that has become due."""

from __future__ import annotations

from gateproof import POOL_SOLO, Stack, Sut, claim, criterion, falsified_by, source, sql

SESSION, STATEMENTS = "system/transport/session.py", "system/transport/statements.py"

WITHIN_S = 2.5
"""Half of the pause between two polls of a worker that gets no notification."""
IDLE_S, DELAY_S = 0.3, 2.0

STATES = "states of the pings in time"
IDLE, DUE = "messages of an idle worker", "message with a countdown"
"""Names and objects of claims that falsifiers predict."""


@criterion("RUN-15", needs=("database", "celery", "broker.kind=sqla", "worker", "ping", "task"))
@falsified_by(
    sql(
        "trigger-off",
        "ALTER TABLE kombu_message DISABLE TRIGGER wake_up",
        landing="SELECT tgenabled FROM pg_trigger WHERE tgname = 'wake_up'",
    ),
    expect=(STATES, IDLE, "PENDING"),
)
@falsified_by(
    source("notifications-not-passed-on", SESSION, function="Session._pass_on", body="return None"),
    expect=(STATES, IDLE, "PENDING"),
)
@falsified_by(
    source(
        "released-an-hour-late",
        STATEMENTS,
        "WHERE available_at <= now() FOR UPDATE",
        "WHERE available_at <= now() - interval '1 hour' FOR UPDATE",
    ),
    expect=(STATES, DUE, "got PENDING"),
)
def test_idle_worker_starts_a_message_at_once(own_stack: Stack, sut: Sut) -> None:
    """An idle worker ends a new message, and one that is due, long before it would poll again."""
    stack = own_stack
    with stack.running_worker(pool=POOL_SOLO) as worker:
        stack.wait_ready(worker)
        # Two, one right after the other: a poll that comes by chance can help one of them only.
        states = [state_in_time(stack, sut) for _ in range(2)]
        if claim(STATES, on=IDLE, got=states, expected=["SUCCESS"] * 2):
            state = state_in_time(stack, sut, DELAY_S)
            claim(STATES, on=DUE, got=[state], expected=["SUCCESS"])


def state_in_time(stack: Stack, sut: Sut, delay_s: float = 0.0) -> str:
    """Publish a ping to an idle worker, and return its state shortly after it is due."""
    # After its last message a worker polls once more.
    stack.sql.query("SELECT pg_sleep(%s)", (IDLE_S,))
    sent = stack.tasks.publish(sut.ping.task, (), sut.ping.arguments, countdown=delay_s)
    return stack.tasks.result(sent, deadline_s=delay_s + WITHIN_S).end
