"""Gate runtime: times are right, whatever the zones of the database, the workers and publishers.

The description gives each of them a zone, see its key `timezones`. Where all have the same, or UTC,
a time without a zone is right by accident.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateproof import (
    Stack,
    Sut,
    claim,
    criterion,
    falsified_by,
    inject,
    logs,
    premise,
    wait_until,
)

from ..described import falsified_in_rows

DELAY_S = 2.0
START_WITHIN_S = 15.0
CLOCKS_DIFFER_S = 1.0
"""How far the clocks of two machines may differ, and the rounding of a stored time."""

TIME, RIGHT = "recorded time", "that at which the task ended"
STATE, WAIT_S = "state of the task that is due", "seconds that the delayed task waited"
"""Names of claims that falsifiers predict."""

_RESULT_TIME = """
    SELECT CASE pg_typeof(date_done)::text WHEN 'timestamp without time zone'
        THEN date_done::timestamp AT TIME ZONE 'UTC' ELSE date_done::timestamptz END
    FROM {results} WHERE task_id = %s
"""


@criterion(
    "RUN-09",
    needs=("database", "celery", "broker", "worker", "ping.fail", "task", "dead_letters", "logs"),
)
@falsified_by(
    inject("delay-ignored", "ignore-delays"),
    expect=(WAIT_S, "", "got 0."),
)
@falsified_in_rows(
    "local-time-in-rows",
    "NEW.{c[failed_at]} := NEW.{c[failed_at]} + interval '5.5 hours'; RETURN NEW;",
    expect=(TIME, "dead-letter row", "got 5.5 h later"),
)
@falsified_by(
    logs("local-time-in-log-lines", "shift", field="timestamp", value=19800),
    expect=(TIME, "log line", "got 5.5 h later"),
)
def test_times_are_right_in_every_zone(own_stack: Stack, sut: Sut) -> None:
    """A result, a dead-letter row and a log line have the time at which the task ended.

    A task with a delay starts when it is due. All are compared with the clock of the database.
    """
    ping, tasks, worker = sut.ping, own_stack.tasks, own_stack.worker
    began = _now(own_stack)
    delayed = tasks.publish(ping.task, (), ping.arguments, countdown=DELAY_S)
    failed = tasks.publish(ping.task, (), {**ping.arguments, **ping.fail})
    state = tasks.result(failed).state
    premise("state of a task that must fail", got=state, expected="FAILURE")
    ended = {sut.logs.message: sut.logs.failure, sut.logs.task_id: failed}
    lines = worker.wait_log(deadline_s=START_WITHIN_S, **ended).matching(**ended)
    premise("log lines of the failure", got=len(lines), relation="at_least", expected=1)
    rows = wait_until(lambda: _row_times(own_stack, failed), bool, deadline_s=START_WITHIN_S)
    premise("dead-letter rows of the failure", got=len(rows), expected=1)
    times = {
        "result": _result_time(own_stack, failed),
        "dead-letter row": rows[0],
        "log line": datetime.fromisoformat(str(lines[0][sut.logs.timestamp])),
    }
    now = _now(own_stack)
    for what, at in times.items():
        claim(TIME, on=what, got=_outside(at, began, now) or RIGHT, expected=RIGHT)

    done = tasks.result(delayed, deadline_s=DELAY_S + START_WITHIN_S)
    if not claim(STATE, got=done.end, expected="SUCCESS"):
        return
    waited = (_result_time(own_stack, delayed) - began).total_seconds()
    claim(WAIT_S, got=waited, relation="at_least", expected=DELAY_S - CLOCKS_DIFFER_S)


def _now(stack: Stack) -> datetime:
    now: datetime = stack.sql.query("SELECT clock_timestamp()").scalar()
    return now.astimezone(UTC)


def _result_time(stack: Stack, task_id: str) -> datetime:
    statement = _RESULT_TIME.format(results=stack.sut.broker.results)
    at: datetime = stack.sql.query(statement, (task_id,)).scalar()
    return at


def _row_times(stack: Stack, task_id: str) -> list[datetime]:
    rows = stack.sut.dead_letters
    at, of = rows.column("failed_at"), rows.column("task_id")
    return stack.sql.query(f"SELECT {at} FROM {rows.table} WHERE {of} = %s", (task_id,)).column()


def _outside(at: datetime, began: datetime, now: datetime) -> str | None:
    """Return how far a time is from a period; None within it."""
    differ = timedelta(seconds=CLOCKS_DIFFER_S)
    if began - differ <= at <= now + differ:
        return None
    seconds = (at - (began if at < began else now)).total_seconds()
    return f"{abs(seconds) / 3600:.1f} h {'earlier' if seconds < 0 else 'later'}"
