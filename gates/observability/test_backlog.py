"""Gate observability: the number of pending dead-letter rows, and the age of the oldest."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from gateproof import (
    POOL_SOLO,
    Fault,
    Ids,
    Stack,
    Sut,
    Worker,
    claim,
    criterion,
    falsified_by_each,
    http,
    wait_until,
)

from .reach import require_answer

OLD_S, SLACK_S = 3600, 300
UPDATED_WITHIN_S = 10.0
"""The reference system queries its database for this at most every five seconds."""

ROWS, OLDEST_S = "pending dead-letter rows in the metrics", "age of the oldest in seconds"
"""Names of claims that falsifiers predict."""

Expect = tuple[str, str, str] | tuple[str, str]


def number(sut: Sut) -> list[str]:
    """Return the name of the described gauge with the number of rows."""
    return [sut.metrics.dead_letters]


def left_out(_: Sut, name: str) -> tuple[Fault, Expect]:
    """Return a fault that leaves out the gauge."""
    fault = http(
        "gauge-left-out",
        "metrics",
        pattern=rf"^{re.escape(name)}[ {{][^\n]*\n",
        sample=f"{name} 3.0\n",
    )
    return fault, (ROWS, "", "got null")


def doubled(_: Sut, name: str) -> tuple[Fault, Expect]:
    """Return a fault that doubles the number."""
    fault = http(
        "rows-counted-twice",
        "metrics",
        pattern=rf"^{re.escape(name)}[ {{][^\n]*",
        factor=2.0,
        sample=f"{name} 3.0\n",
    )
    return fault, (ROWS, "")


def without_age(sut: Sut, _: str) -> tuple[Fault, Expect]:
    """Return a fault that makes the oldest row as good as new."""
    name = sut.metrics.dead_letters_age_s
    fault = http(
        "no-age",
        "metrics",
        pattern=rf"^{re.escape(name)}[ {{][^\n]*",
        factor=0.0,
        sample=f"{name} 3.0\n",
    )
    return fault, (OLDEST_S, "")


@criterion(
    "OBS-10",
    needs=(
        "database",
        "celery",
        "worker",
        "ping",
        "task",
        "tenancy",
        "dead_letters.statuses",
        "metrics.dead_letters",
        "metrics.dead_letters_age_s",
    ),
)
@falsified_by_each(number, left_out)
@falsified_by_each(number, doubled)
@falsified_by_each(number, without_age)
def test_metrics_have_the_number_and_age_of_pending_rows(
    own_stack: Stack, sut: Sut, ids: Ids
) -> None:
    """A worker's metrics count the pending rows with and without a tenant, and show their age."""
    stack, rows = own_stack, sut.dead_letters
    column, other = rows.column, rows.statuses[-1]
    for tenant, status, age_s in (
        (str(ids.uuid()), rows.new, OLD_S),
        (None, rows.new, 0),
        (str(ids.uuid()), other, 0),
    ):
        names = ("task_id", "task_name", "exception_class", "tenant_id", "status", "failed_at")
        stack.sql.query(
            f"INSERT INTO {rows.table} ({', '.join(map(column, names))})"
            " VALUES (%s, 'n', 'E', %s, %s, now() - make_interval(secs => %s))",
            (ids.slug("task"), tenant, status, age_s),
        )
    count = f"SELECT count(*) FROM {rows.table} WHERE {column('status')} = %s"
    expected = int(stack.sql.query(count, (rows.new,)).scalar())
    pending_gauge, age_gauge = sut.metrics.dead_letters, sut.metrics.dead_letters_age_s
    with stack.running_worker(pool=POOL_SOLO) as worker:
        stack.wait_ready(worker)
        require_answer(stack.http.get(worker.metrics_url), sut, "metrics.path")
        values = wait_until(
            lambda: gauges(stack, worker),
            lambda seen: seen.get(pending_gauge) == expected,
            deadline_s=UPDATED_WITHIN_S,
            interval_s=0.2,
        )
    pending, oldest_s = values.get(pending_gauge), values.get(age_gauge, 0.0)
    shown = None if pending is None else int(pending)
    claim(ROWS, got=shown, expected=expected)
    claim(OLDEST_S, got=oldest_s, relation="at_least", expected=OLD_S)
    claim(OLDEST_S, got=oldest_s, relation="at_most", expected=OLD_S + SLACK_S)


def gauges(stack: Stack, worker: Worker) -> dict[str, float]:
    """Return the values of the two gauges in a worker's metrics."""
    text = stack.http.get(worker.metrics_url).body
    names = (stack.sut.metrics.dead_letters, stack.sut.metrics.dead_letters_age_s)
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in names
    }
