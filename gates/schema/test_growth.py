"""Gate schema: tables whose ids exceed four bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateproof import POOL_SOLO, Stack, Sut, Worker, criterion, falsified_by, sql

BEYOND = 2**31 + 10
"""An id that does not fit into four bytes."""
RESULT_DEADLINE_S = 10.0

SEQUENCES = {"message_id_sequence": "kombu_message", "task_id_sequence": "celery_taskmeta"}
_TYPES = """
SELECT table_name, data_type FROM information_schema.columns
 WHERE table_name IN ('kombu_message', 'celery_taskmeta') AND column_name = 'id' ORDER BY 1
"""


@criterion("SCH-06", needs=("database", "celery", "worker", "ping", "task"))
@falsified_by(
    sql(
        "message-ids-of-four-bytes",
        "ALTER TABLE kombu_message ALTER id TYPE integer",
        landing=_TYPES,
    ),
    expect="message beyond 2**31: got a refusal",
)
@falsified_by(
    sql(
        "result-ids-of-four-bytes",
        "ALTER TABLE celery_taskmeta ALTER id TYPE integer",
        landing=_TYPES,
    ),
    expect="ping whose message and result are beyond 2**31: got PENDING",
)
def test_ids_may_exceed_four_bytes(own_stack: Stack, sut: Sut) -> None:
    """A ping whose message and result get ids above 2**31 is sent, run and answered."""
    stack, ping = own_stack, sut.ping
    with stack.running_worker(pool=POOL_SOLO) as worker, beyond_four_bytes(stack, worker):
        try:
            task_id = stack.tasks.publish(ping.task, (), ping.arguments)
        except AssertionError as error:
            raise AssertionError(
                f"message beyond 2**31: got a refusal, expected it to be sent: {error}"
            ) from None
        state = stack.tasks.result(task_id, deadline_s=RESULT_DEADLINE_S).state
        assert state == "SUCCESS", (
            f"ping whose message and result are beyond 2**31: got {state}, expected SUCCESS"
        )
        kept = stack.sql.query("SELECT id FROM celery_taskmeta WHERE task_id = %s", (task_id,))
        assert kept.scalar() > BEYOND, f"id of its result: got {kept.scalar()}, expected > {BEYOND}"


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
