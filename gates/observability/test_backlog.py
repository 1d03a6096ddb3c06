"""Gate observability: the number and the age of pending dead letters."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from harness import criterion, falsified_by, source, sql
from harness.fixtures import Ids
from harness.probes.worker import Worker
from harness.stack import POOL_SOLO, Stack
from harness.sut import Sut
from harness.wait import wait_until

PENDING, AGE_S = "system_dead_letters_pending", "system_dead_letters_oldest_age_seconds"
OLD_S, SLACK_S = 3600, 300
TOLD_WITHIN_S = 10.0
"""The reference system queries its database at most every five seconds."""

_FUNCTION = "SELECT pg_get_functiondef('dead_letter_backlog()'::regprocedure)"


def altered(old: str, new: str) -> str:
    """Return SQL that replaces a text in the function that counts."""
    return f"""DO $do$ BEGIN EXECUTE replace(
        pg_get_functiondef('dead_letter_backlog()'::regprocedure), $a${old}$a$, $b${new}$b$);
    END $do$"""


@criterion("OBS-10")
@falsified_by(
    sql(
        "resolved-ones-counted",
        altered("status = 'pending'", "true"),
        landing=_FUNCTION,
    ),
    expect="pending dead letters that a worker reports: got",
)
@falsified_by(
    sql("age-of-the-newest", altered("min(failed_at)", "max(failed_at)"), landing=_FUNCTION),
    expect="age of the oldest pending dead letter: got",
)
@falsified_by(
    source(
        "gauge-left-out",
        "system/observability/metrics.py",
        "        registry.register(self._backlog)\n",
        "",
    ),
    expect="pending dead letters that a worker reports: got None, expected",
)
def test_pending_rows_and_their_age_are_told(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """A worker's metrics count the pending rows of all tenants and of none, and their age."""
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
        told = wait_until(
            lambda: gauges(stack, worker),
            lambda seen: seen.get(PENDING) == expected,
            deadline_s=TOLD_WITHIN_S,
            interval_s=0.2,
        )
    pending, oldest_s = told.get(PENDING), told.get(AGE_S)
    shown = None if pending is None else int(pending)
    assert shown == expected, (
        f"pending dead letters that a worker reports: got {shown}, expected {expected} as the "
        "table has them"
    )
    assert OLD_S <= (oldest_s or 0) <= OLD_S + SLACK_S, (
        f"age of the oldest pending dead letter: got {oldest_s} s, expected {OLD_S} and a little"
    )


def gauges(stack: Stack, worker: Worker) -> dict[str, float]:
    """Return the samples about dead letters in a worker's metrics."""
    text = stack.http.get(worker.metrics_url).body
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in (PENDING, AGE_S)
    }
