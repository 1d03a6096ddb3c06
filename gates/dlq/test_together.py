"""Gate dlq: the result of a failure is not visible before its dead-letter row."""

from __future__ import annotations

from gateproof import Stack, Sut, claim, criterion, premise

from ..holding import tables_held, wait_for_a_session
from .parts import TABLE
from .rows import ROWS_OF_TASK, rows_of

ENDINGS = "system/transport/endings.py"
EARLY_RESULT, FAILING = "result while the dead-letter row cannot be written", "failing task"


@criterion("DLQ-15", needs=("database", "celery", "worker", "ping.fail", "task", "dead_letters"))
def test_result_and_row_are_there_together(own_stack: Stack, sut: Sut) -> None:
    """While the row cannot be written there is no result; then there are both.

    So whatever ends the process in between leaves neither, and the message comes back.
    """
    stack, ping = own_stack, sut.ping
    premise("the worker runs", got=stack.worker.alive, expected=True)
    with tables_held(stack, TABLE, mode="EXCLUSIVE"):
        task_id = stack.tasks.publish(ping.task, (), {**ping.arguments, **ping.fail})
        waits = wait_for_a_session(stack, TABLE)
        premise("the failing task waits for the table", on=TABLE, got=bool(waits), expected=True)
        stored = stack.sql.query(
            "SELECT status FROM celery_taskmeta WHERE task_id = %s", (task_id,)
        ).column()
        seen = stored[0] if stored else "none"
        claim(EARLY_RESULT, on=FAILING, got=seen, expected="FAILURE", relation="differs")
    state = stack.tasks.result(task_id).state
    claim("result once the row can be written", on=FAILING, got=state, expected="FAILURE")
    # The result is there now, so the row must be there at once.
    claim(ROWS_OF_TASK, on=FAILING, got=len(rows_of(stack, [task_id])), expected=1)
