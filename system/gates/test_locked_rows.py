"""Gate runtime: messages that another session has locked, next to others that it has not."""

from __future__ import annotations

from gateproof import (
    POOL_PREFORK,
    Session,
    Stack,
    Sut,
    claim,
    criterion,
    falsified_by,
    premise,
    source,
    wait_until,
)

STATEMENTS = "system/transport/statements.py"

ENDED_S, HELD_S = 10.0, 60.0
DELAY_S = 2.0
"""Longer than the pause between two heartbeats: a message that is due sooner waits for none."""
TRIED_BEFORE = 2
"""After so many deliveries a message is claimed apart from the others."""
LEFT_BEHIND = "visible = false, claimed_by = %s, lease_until = now() - interval '1 s'"
GONE_KEY = 1
"""The key of a session that does not exist: those of real ones are random numbers."""

FREE, AFTER = "state of a message next to locked ones", "state after the lock"
NEW, TRIED, LEFT, DUE = "new", "delivered before", "claimed by a consumer that ended", "due"
RUNNING = "due, while one that runs is locked"
"""Names and objects of claims that falsifiers predict."""


@criterion(
    "RUN-21", needs=("database", "celery", "broker.kind=sqla", "worker.command", "ping", "task")
)
@falsified_by(
    source(
        "waits-for-a-new-message",
        STATEMENTS,
        "            ORDER BY id LIMIT :count FOR UPDATE SKIP LOCKED\n",
        "            ORDER BY id LIMIT :count FOR UPDATE\n",
    ),
    expect=(FREE, NEW, "got PENDING"),
)
@falsified_by(
    source(
        "waits-for-a-message-delivered-before",
        STATEMENTS,
        "        ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED\n",
        "        ORDER BY id LIMIT 1\n",
    ),
    expect=(FREE, NEW, "got PENDING"),
)
@falsified_by(
    source(
        "waits-for-a-left-message",
        STATEMENTS,
        "claimed_by NOT IN (SELECT key FROM alive)\n        FOR UPDATE SKIP LOCKED\n",
        "claimed_by NOT IN (SELECT key FROM alive)\n        FOR UPDATE\n",
    ),
    expect=(FREE, LEFT, "got PENDING"),
)
@falsified_by(
    source(
        "waits-for-a-due-message",
        STATEMENTS,
        "WHERE available_at <= now() FOR UPDATE SKIP LOCKED",
        "WHERE available_at <= now()",
    ),
    expect=(FREE, DUE, "got PENDING"),
)
@falsified_by(
    source(
        "waits-for-a-message-that-it-runs",
        STATEMENTS,
        "WHERE claimed_by = %(me)s FOR UPDATE SKIP LOCKED",
        "WHERE claimed_by = %(me)s FOR UPDATE",
    ),
    expect=(FREE, RUNNING, "got PENDING"),
)
def test_locked_message_stops_no_other(own_stack: Stack, sut: Sut) -> None:
    """While rows of messages are locked, the others are claimed, returned and released."""
    stack = own_stack
    # A baseline runs twice: what its first worker had not acknowledged would be claimed too.
    stack.sql.query("DELETE FROM kombu_message")
    with (
        stack.sql.session() as locking,
        stack.running_worker(pool=POOL_PREFORK, concurrency=2) as worker,
    ):
        stack.wait_ready(worker)
        worker.pause()
        pairs = {on: [_publish(stack, sut) for _ in range(2)] for on in (NEW, TRIED, LEFT)}
        _change(stack, pairs[TRIED], "deliveries = %s", TRIED_BEFORE)
        _change(stack, pairs[LEFT], LEFT_BEHIND, GONE_KEY)
        _lock(locking, *(pair[0] for pair in pairs.values()))
        worker.resume()
        if not all(_ends(stack, free, FREE, on) for on, (_, free) in pairs.items()):
            return
        worker.pause()
        pairs[DUE] = [_publish(stack, sut, countdown=DELAY_S) for _ in range(2)]
        _lock(locking, pairs[DUE][0])
        worker.resume()
        if not _ends(stack, pairs[DUE][1], FREE, DUE):
            return
        held = _publish(stack, sut, hold_s=HELD_S)
        claimed = "SELECT claimed_by IS NOT NULL FROM kombu_message WHERE payload LIKE %s"
        taken = wait_until(
            lambda: stack.sql.query(claimed, (f"%{held}%",)).scalar(), deadline_s=ENDED_S
        )
        premise("the long task is claimed", got=taken, expected=True)
        _lock(locking, held)
        later = _publish(stack, sut, countdown=DELAY_S)
        if not _ends(stack, later, FREE, RUNNING):
            return
        locking.rollback()
        for on, (locked, _) in pairs.items():
            _ends(stack, locked, AFTER, on)


def _publish(stack: Stack, sut: Sut, *, hold_s: float = 0.0, countdown: float | None = None) -> str:
    arguments = {**sut.ping.arguments, **({"hold_s": hold_s} if hold_s else {})}
    return stack.tasks.publish(sut.ping.task, (), arguments, countdown=countdown)


def _change(stack: Stack, task_ids: list[str], change: str, value: int) -> None:
    """Change the rows of messages that wait."""
    for task_id in task_ids:
        stack.sql.query(
            f"UPDATE kombu_message SET {change} WHERE payload LIKE %s", (value, f"%{task_id}%")
        )


def _lock(session: Session, *task_ids: str) -> None:
    """Lock the rows of messages, until the session's transaction ends."""
    for task_id in task_ids:
        statement = "SELECT id FROM kombu_message WHERE payload LIKE %s FOR UPDATE"
        found = session.query(statement, (f"%{task_id}%",)).column()
        premise("rows of a message to lock", got=len(found), expected=1)


def _ends(stack: Stack, task_id: str, name: str, on: str) -> bool:
    """Judge that a task succeeds in time."""
    state = stack.tasks.result(task_id, deadline_s=ENDED_S).end
    return claim(name, on=on, got=state, expected="SUCCESS")
