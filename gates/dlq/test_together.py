"""Gate dlq: the result of a failure is not visible before its dead-letter row."""

from __future__ import annotations

from gateproof import Stack, Sut, claim, criterion, premise

from ..described import LOST, falsified_in_rows, falsified_in_sql
from ..holding import tables_held, wait_for_a_session
from .rows import PROBE, ROWS_OF_TASK, failing_task, rows_of

OWN_RESULTS = "celery_taskmeta"
"""The table of Celery's own backend, in which a row needs no more than these columns."""
EARLY_RESULT, FAILING = "result while the dead-letter row cannot be written", "failing task"
LONG_FAILURE, LONG = "failing task with a long message", "x" * 10_000
"""A message that is longer than a column with a limit."""


@criterion(
    "DLQ-15", needs=("database", "celery", "broker", "worker", "ping.fail", "task", "dead_letters")
)
@falsified_in_sql(
    "result-written-ahead",
    """CREATE FUNCTION gateproof_ahead() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO {each} (id, task_id, status) VALUES
                (-NEW.id, NEW.payload::json #>> '{{headers,id}}', 'FAILURE')
            ON CONFLICT DO NOTHING;
            RETURN NEW;
        END $$;
        CREATE TRIGGER gateproof_ahead AFTER INSERT ON kombu_message
            FOR EACH ROW EXECUTE FUNCTION gateproof_ahead()""",
    landing="SELECT tgname FROM pg_trigger WHERE tgrelid = 'kombu_message'::regclass ORDER BY 1",
    each=lambda sut: (sut.broker.results,) if sut.broker.results == OWN_RESULTS else (),
    expect=(EARLY_RESULT, FAILING, "got FAILURE"),
)
@falsified_in_rows("row-lost", LOST, expect=(ROWS_OF_TASK, FAILING, "got 0"))
@falsified_in_rows(
    "long-message-lost",
    "IF length(NEW.{c[error_message]}) > 5000 THEN RETURN NULL; END IF; RETURN NEW;",
    expect=(ROWS_OF_TASK, LONG_FAILURE, "got 0"),
)
def test_result_and_row_are_there_together(own_stack: Stack, sut: Sut) -> None:
    """While the row cannot be written there is no result; then there are both.

    So whatever ends the process in between leaves neither, and the message comes back.
    """
    stack, ping, table = own_stack, sut.ping, sut.dead_letters.table
    premise("the worker runs", got=stack.worker.alive, expected=True)
    with tables_held(stack, table, mode="EXCLUSIVE"):
        task_id = stack.tasks.publish(ping.task, (), {**ping.arguments, **ping.fail})
        waits = wait_for_a_session(stack, table)
        premise("the failing task waits for the table", on=table, got=bool(waits), expected=True)
        stored = stack.sql.query(
            f"SELECT status FROM {sut.broker.results} WHERE task_id = %s", (task_id,)
        ).column()
        seen = stored[0] if stored else "none"
        claim(EARLY_RESULT, on=FAILING, got=seen, expected="FAILURE", relation="differs")
    state = stack.tasks.result(task_id).state
    claim("result once the row can be written", on=FAILING, got=state, expected="FAILURE")
    # The result is there now, so the row must be there at once.
    claim(ROWS_OF_TASK, on=FAILING, got=len(rows_of(stack, [task_id])), expected=1)
    task_id = publish_long_failure(stack)
    state = stack.tasks.result(task_id).state
    premise("state of a task that must fail", on=LONG_FAILURE, got=state, expected="FAILURE")
    claim(ROWS_OF_TASK, on=LONG_FAILURE, got=len(rows_of(stack, [task_id])), expected=1)


def publish_long_failure(stack: Stack) -> str:
    """Publish a task that fails with a long message, and return its id.

    Python names an unexpected argument in its message; the probe task takes the message itself.
    """
    if stack.sut.injects_probe:
        return stack.tasks.publish(PROBE.task, (), {**PROBE.kwargs, "message": LONG})
    failing = failing_task(stack.sut)
    return stack.tasks.publish(failing.task, (), {**failing.sample, LONG: True})
