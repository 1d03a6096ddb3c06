"""Gate runtime: results that have expired are deleted without beat."""

from __future__ import annotations

from gateproof import (
    POOL_SOLO,
    Stack,
    claim,
    criterion,
    falsified_by,
    inject,
    premise,
    source,
    sql,
    wait_until,
)

EXPIRY = "system/transport/expiry.py"

RESULTS = "celery_taskmeta"
INTERVAL = {"SYSTEM_RESULT_CLEANUP_S": "1"}
DELETED_WITHIN_S = 10.0


@criterion("RUN-10", needs=("database", "celery", "worker", "ping", "task"))
@falsified_by(
    source(
        "never-deleted",
        "system/worker.py",
        "    ExpiredResults(app, cleanup_s).connect()\n",
        "    del cleanup_s\n",
    ),
    expect=("stored results", "two days old at the start", "got 1"),
)
@falsified_by(
    source("once-only", EXPIRY, "            time.sleep(self._every_s)\n", "            return\n"),
    expect=("stored results", "two days old later", "got 1"),
)
@falsified_by(
    source(
        "expired-too-early",
        "system/app.py",
        "RESULT_EXPIRES = timedelta(days=1)",
        "RESULT_EXPIRES = timedelta(hours=6)",
    ),
    expect=("stored results", "half a day old", "got 0"),
)
@falsified_by(
    source(
        "never-expired",
        "system/app.py",
        "RESULT_EXPIRES = timedelta(days=1)",
        "RESULT_EXPIRES = timedelta(days=400)",
    ),
    expect=("stored results", "two days old at the start", "got 1"),
)
@falsified_by(
    inject("kept-for-a-year", "configure", result_expires=365 * 86_400),
    expect=("stored results", "two days old at the start", "got 1"),
)
@falsified_by(
    inject("kept-for-six-hours", "configure", result_expires=6 * 3_600),
    expect=("stored results", "half a day old", "got 0"),
)
@falsified_by(
    sql(
        "deletions-discarded",
        f"""
        CREATE FUNCTION discard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER discard BEFORE DELETE ON {RESULTS}
            FOR EACH ROW EXECUTE FUNCTION discard();
        """,
        landing=f"SELECT tgname FROM pg_trigger WHERE tgrelid = '{RESULTS}'::regclass",
    ),
    expect=("stored results", "two days old at the start", "got 1"),
)
def test_expired_results_are_deleted(own_stack: Stack) -> None:
    """A worker deletes results of two days ago when it starts and later, none of half a day ago."""
    stack, ping = own_stack, own_stack.sut.ping
    with stack.running_worker(pool=POOL_SOLO) as worker:
        stack.wait_ready(worker)
        old, older, young = (stack.tasks.run(ping.task, ping.arguments).task_id for _ in range(3))
        worker.stop()
    make_older(stack, old, "2 days")
    make_older(stack, young, "12 hours")
    with stack.running_worker(pool=POOL_SOLO, env=INTERVAL) as worker:
        stack.wait_ready(worker)
        deleted = claim(
            "stored results", on="two days old at the start", got=left(stack, old), expected=0
        )
        if deleted:  # otherwise the next one is waited for in vain too
            make_older(stack, older, "2 days")
            late = left(stack, older)
            claim("stored results", on="two days old later", got=late, expected=0)
        claim("stored results", on="half a day old", got=stored(stack, young), expected=1)


def make_older(stack: Stack, task_id: str, age: str) -> None:
    """Date a result back."""
    premise("results to date back", got=stored(stack, task_id), expected=1)
    stack.sql.query(
        f"UPDATE {RESULTS} SET date_done = date_done - %s::interval WHERE task_id = %s",
        (age, task_id),
    )


def left(stack: Stack, task_id: str) -> int:
    """Wait until a result is deleted, and return how many there are."""
    return wait_until(
        lambda: stored(stack, task_id),
        lambda number: number == 0,
        deadline_s=DELETED_WITHIN_S,
        interval_s=0.1,
    )


def stored(stack: Stack, task_id: str) -> int:
    """Return the number of stored results of a task."""
    found = stack.sql.query(f"SELECT count(*) FROM {RESULTS} WHERE task_id = %s", (task_id,))
    return int(found.scalar())
