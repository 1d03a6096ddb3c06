"""Gate observability: the number of pending dead-letter rows, and the age of the oldest."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from gateproof import (
    POOL_SOLO,
    Ids,
    Stack,
    Sut,
    Worker,
    claim,
    criterion,
    falsified_by,
    http,
    sql,
    wait_until,
)

from .reach import require_answer

PENDING, AGE_S = "system_dead_letters_pending", "system_dead_letters_oldest_age_seconds"
OLD_S, SLACK_S = 3600, 300
UPDATED_WITHIN_S = 10.0
"""The reference system queries its database for this at most every five seconds."""

ROWS, OLDEST_S = "pending dead-letter rows in the metrics", "age of the oldest in seconds"
"""Names of claims that falsifiers predict."""

_FUNCTION = "SELECT pg_get_functiondef('dead_letter_backlog()'::regprocedure)"


def altered(old: str, new: str) -> str:
    """Return SQL that replaces a text in the function that counts the rows."""
    return f"""DO $do$ BEGIN EXECUTE replace(
        pg_get_functiondef('dead_letter_backlog()'::regprocedure), $a${old}$a$, $b${new}$b$);
    END $do$"""


@criterion(
    "OBS-10", needs=("database", "celery", "worker", "ping", "task", "dead_letters", "metrics")
)
@falsified_by(
    sql(
        "resolved-ones-counted",
        altered("status = 'pending'", "true"),
        landing=_FUNCTION,
    ),
    expect=(ROWS, ""),
)
@falsified_by(
    sql("age-of-the-newest", altered("min(failed_at)", "max(failed_at)"), landing=_FUNCTION),
    expect=(OLDEST_S, ""),
)
@falsified_by(
    http(
        "gauge-left-out",
        "metrics",
        pattern=rf"^{PENDING} [^\n]*\n",
        sample=f"{PENDING} 3.0\n",
    ),
    expect=(ROWS, "", "got null"),
)
def test_metrics_have_the_number_and_age_of_pending_rows(
    own_stack: Stack, sut: Sut, ids: Ids
) -> None:
    """A worker's metrics count the pending rows with and without a tenant, and show their age."""
    stack, table = own_stack, sut.dead_letters.table
    for tenant, status, age_s in (
        (str(ids.uuid()), "pending", OLD_S),
        (None, "pending", 0),
        (str(ids.uuid()), "resolved", 0),
    ):
        stack.sql.query(
            f"INSERT INTO {table} (task_id, task_name, exception_class, tenant_id, status,"
            " failed_at) VALUES (%s, 'n', 'E', %s, %s, now() - make_interval(secs => %s))",
            (ids.slug("task"), tenant, status, age_s),
        )
    count = stack.sql.query(f"SELECT count(*) FROM {table} WHERE status = 'pending'")
    expected = int(count.scalar())
    with stack.running_worker(pool=POOL_SOLO) as worker:
        stack.wait_ready(worker)
        require_answer(stack.http.get(worker.metrics_url), sut, "metrics.path")
        values = wait_until(
            lambda: gauges(stack, worker),
            lambda seen: seen.get(PENDING) == expected,
            deadline_s=UPDATED_WITHIN_S,
            interval_s=0.2,
        )
    pending, oldest_s = values.get(PENDING), values.get(AGE_S, 0.0)
    shown = None if pending is None else int(pending)
    claim(ROWS, got=shown, expected=expected)
    claim(OLDEST_S, got=oldest_s, relation="at_least", expected=OLD_S)
    claim(OLDEST_S, got=oldest_s, relation="at_most", expected=OLD_S + SLACK_S)


def gauges(stack: Stack, worker: Worker) -> dict[str, float]:
    """Return the values of the two gauges in a worker's metrics."""
    text = stack.http.get(worker.metrics_url).body
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in (PENDING, AGE_S)
    }
