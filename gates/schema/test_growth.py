"""Gate schema: tables whose ids exceed four bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateproof import (
    POOL_SOLO,
    Refused,
    Stack,
    Sut,
    Worker,
    claim,
    criterion,
    falsified_by,
    sql,
)

BEYOND = 2**31 + 10
"""An id that does not fit into four bytes."""
RESULT_DEADLINE_S = 10.0

CONTINUED = "outcome of continuing the sequence above four bytes"
"""The name of the claim that a sequence reaches such ids; an outcome is `continued` or an error."""

SEQUENCES = {"message_id_sequence": "kombu_message", "task_id_sequence": "celery_taskmeta"}
_TYPES = """
SELECT table_name, data_type FROM information_schema.columns
 WHERE table_name IN ('kombu_message', 'celery_taskmeta') AND column_name = 'id' ORDER BY 1
"""


_LIMITS = "SELECT sequencename, max_value FROM pg_sequences ORDER BY 1"


@criterion("SCH-06", needs=("database", "celery", "worker", "ping", "task"))
@falsified_by(
    sql(
        "message-ids-of-four-bytes",
        "ALTER TABLE kombu_message ALTER id TYPE integer",
        landing=_TYPES,
    ),
    expect=("end of sending", "message above four bytes", "got refused"),
)
@falsified_by(
    sql(
        "result-ids-of-four-bytes",
        "ALTER TABLE celery_taskmeta ALTER id TYPE integer",
        landing=_TYPES,
    ),
    expect=("state", "ping whose message and result are above four bytes", "got PENDING"),
)
@falsified_by(
    sql(
        "sequence-of-four-bytes",
        "ALTER SEQUENCE task_id_sequence MAXVALUE 2147483647 CYCLE",
        landing=_LIMITS,
        target="task_id_sequence",
    ),
    expect=(CONTINUED, "task_id_sequence", "got refused"),
)
def test_ids_may_exceed_four_bytes(own_stack: Stack, sut: Sut) -> None:
    """A ping whose message and result get ids above 2**31 is sent, run and answered."""
    stack = own_stack
    reached = {name: _can_continue(stack, name) for name in SEQUENCES}
    if not all(reached.values()):
        return
    with stack.running_worker(pool=POOL_SOLO) as worker, beyond_four_bytes(stack, worker):
        task_id, end = _send(stack, sut)
        if not claim("end of sending", on="message above four bytes", got=end, expected="sent"):
            return
        state = stack.tasks.result(task_id, deadline_s=RESULT_DEADLINE_S).state
        what = "ping whose message and result are above four bytes"
        if claim("state", on=what, got=state, expected="SUCCESS"):
            kept = stack.sql.query("SELECT id FROM celery_taskmeta WHERE task_id = %s", (task_id,))
            claim("id of its result", got=kept.scalar(), relation="at_least", expected=BEYOND)


def _can_continue(stack: Stack, sequence: str) -> bool:
    """Claim that a sequence can have a value above four bytes, and leave it as it was."""
    with stack.sql.session() as session:
        before = session.query(f"SELECT last_value, is_called FROM {sequence}").rows[0]
        seen = session.attempt("SELECT setval(%s, %s)", (sequence, BEYOND))
        if not isinstance(seen, Refused):
            session.query("SELECT setval(%s, %s, %s)", (sequence, *before))
        session.commit()
    got = f"refused: {seen.sqlstate}" if isinstance(seen, Refused) else "continued"
    return claim(CONTINUED, on=sequence, got=got, expected="continued")


def _send(stack: Stack, sut: Sut) -> tuple[str, str]:
    """Publish a ping; return its id, and how that ended."""
    try:
        return stack.tasks.publish(sut.ping.task, (), sut.ping.arguments), "sent"
    except AssertionError as error:
        return "", f"refused: {error}"


@contextmanager
def beyond_four_bytes(stack: Stack, worker: Worker) -> Iterator[None]:
    """Continue the sequences above four bytes for the block, and restore everything afterwards."""
    stack.wait_ready(worker)
    before = {
        name: stack.sql.query(f"SELECT last_value FROM {name}").scalar() for name in SEQUENCES
    }
    for name in SEQUENCES:
        stack.sql.query("SELECT setval(%s, %s)", (name, BEYOND))
    try:
        yield
    finally:
        for name, table in SEQUENCES.items():
            stack.sql.query(f"DELETE FROM {table} WHERE id > %s", (BEYOND,))
            stack.sql.query("SELECT setval(%s, %s)", (name, before[name]))
