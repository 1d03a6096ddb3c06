"""Gate observability: the metrics of a worker count exactly what its processes ran."""

from __future__ import annotations

import time

from gateproof import (
    POOL_PREFORK,
    POOL_SOLO,
    Ids,
    Stack,
    Sut,
    Worker,
    claim,
    criterion,
    falsified_by,
    http,
    inject,
    premise,
    wait_until,
)

from ..answer import number_in
from ..holding import (
    reader_of,
    runs_held,
    tables_held,
    wait_for_a_session,
    wait_for_held_runs,
)
from .scrape import (
    BUCKETS_S,
    DURATION,
    FAILURE,
    RISE,
    STARTED,
    SUCCESS,
    TYPES,
    Counts,
    bucket_above,
    counting_worker,
    expect_rises,
    rises_for,
    scrape,
)

PINGS, ROUTES = 3, 2
ROUTE = "app.tasks.llm.route"
CHILDREN, BATCH = 2, 8
POOL_THREADS = "threads"
BUSY_DEADLINE_S = 20.0
TASK_SIGNALS = ["task_prerun", "task_success", "task_failure", "task_postrun"]
"""Celery's signals about the runs of a task, by which a system can count them."""

KNOWN_TASKS, ONE_FAILURE = "known tasks", "a failure"
BOTH_CHILDREN, DEATH = "pings in both children", "a child's death"
IN_SOLO, IN_THREADS = "solo pool", "pool of threads"
TYPES_SEEN, FAST_RUNS = "types of the metrics", "runs of the slow task in the bucket up to 0.25 s"
"""Names and parts of objects of claims that falsifiers predict."""


@criterion("OBS-01", needs=("database", "celery", "worker", "ping", "task", "tenancy", "metrics"))
@falsified_by(
    http("success-not-counted", "metrics", pattern=rf"^{SUCCESS}\{{[^\n]*\n"),
    expect=(RISE, f"{SUCCESS}/ping/{KNOWN_TASKS}", "got 0"),
)
@falsified_by(
    http(
        "started-is-a-gauge",
        "metrics",
        pattern=rf"^# TYPE {STARTED} counter$",
        replacement=f"# TYPE {STARTED} gauge",
    ),
    expect=(TYPES_SEEN, "", f'"{STARTED}": "gauge"'),
)
@falsified_by(
    http(
        "slow-runs-in-fast-buckets",
        "metrics",
        pattern=rf"""^({DURATION}_bucket\{{[^\n]*le="0\.25"[^\n]*\}}) [^\n]*""",
        replacement=r"\1 1.0",
    ),
    expect=(FAST_RUNS, "", "got 1"),
)
def test_metrics_rise_by_exactly_the_tasks_that_ran(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """The four typed families rise by exactly the number of tasks that ran."""
    with counting_worker(own_stack, pool=POOL_SOLO) as (worker, before):
        claim("status of the metrics", got=before.status, expected=200)
        kind = before.content_type
        claim("content type of the metrics", got=kind, relation="matches", expected=r"\Atext/plain")
        tenant = {sut.tenancy.key: ids.uuid()}
        claim(TYPES_SEEN, got=before.types, expected=TYPES)
        runs = [own_stack.tasks.run(sut.ping.task, sut.ping.arguments) for _ in range(PINGS)]
        runs += [own_stack.tasks.run(ROUTE, tenant) for _ in range(ROUTES)]
        began = time.monotonic()
        reader = reader_of(own_stack)
        with tables_held(own_stack, reader.table):
            slow = own_stack.tasks.publish(reader.task, (), {**reader.arguments, **tenant})
            begun = wait_for_a_session(own_stack, reader.table)
            premise("run that waits for a table", on=reader.task, got=bool(begun), expected=True)
            own_stack.sql.query("SELECT pg_sleep(0.3)")
        runs.append(own_stack.tasks.result(slow))
        took_s = time.monotonic() - began
        states = {run.end for run in runs}
        premise("states of the tasks that are counted", got=states, expected=["SUCCESS"])
        expected = rises_for(
            succeeded={sut.ping.task: PINGS, ROUTE: ROUTES, reader.task: 1}, failed={}
        )
        expect_rises(own_stack, worker, before.counts, expected, KNOWN_TASKS)
        after = scrape(own_stack, worker)
    claim("bounds of the buckets", on=DURATION, got=after.buckets, expected=BUCKETS_S)
    enough = bucket_above(took_s)
    quick, timed = (
        after.counts.get((f"{DURATION}_bucket up to {bound}", reader.task))
        for bound in ("0.25", enough)
    )
    claim(FAST_RUNS, got=quick, expected=0)
    claim("runs of the slow task in the bucket above its duration", got=timed, expected=1)


@criterion("OBS-02", needs=("database", "celery", "worker", "ping.fail", "task", "metrics"))
@falsified_by(
    inject("failure-counts-as-success", "report-failures-as-successes"),
    expect=(RISE, f"{SUCCESS}/ping/{ONE_FAILURE}", "got 1"),
)
@falsified_by(
    http("failure-not-counted", "metrics", pattern=rf"^{FAILURE}\{{[^\n]*\n"),
    expect=(RISE, f"{FAILURE}/ping/{ONE_FAILURE}", "got 0"),
)
def test_failure_counts_as_a_failure_only(own_stack: Stack, sut: Sut) -> None:
    """A failed task raises started, failure and duration by one, and does not raise success."""
    ping = sut.ping
    with counting_worker(own_stack, pool=POOL_SOLO) as (worker, before):
        failed = own_stack.tasks.run(ping.task, {**ping.arguments, **ping.fail})
        premise("state of a ping that must fail", got=failed.state, expected="FAILURE")
        expected = rises_for(succeeded={}, failed={ping.task: 1})
        expect_rises(own_stack, worker, before.counts, expected, ONE_FAILURE)


@criterion("OBS-03", needs=("database", "celery", "worker", "ping", "task", "metrics"))
@falsified_by(
    http("totals-of-one-child", "metrics", pattern=r"^celery_task_[^\n]*", factor=0.5),
    expect=(RISE, f"{STARTED}/ping/{BOTH_CHILDREN}"),
)
@falsified_by(
    inject("children-alone-counted", "drop-receivers", names=TASK_SIGNALS, pools=["solo"]),
    expect=(RISE, f"{STARTED}/ping/{IN_SOLO}", "got 0"),
)
@falsified_by(
    # Celery sends this signal in children and in a solo worker, but not in a pool of threads.
    inject("threads-not-counted", "drop-receivers", names=TASK_SIGNALS, pools=["threads"]),
    expect=(RISE, f"{STARTED}/ping/{IN_THREADS}", "got 0"),
)
def test_totals_are_those_of_the_whole_worker(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """Totals cover all children, outlive them, and are right in pools without children too."""
    with counting_worker(own_stack, pool=POOL_PREFORK, concurrency=CHILDREN) as (worker, before):
        right = expect_totals_that_outlive_children(own_stack, worker, before.counts)
    if not right:
        return
    with counting_worker(own_stack, pool=POOL_SOLO, concurrency=CHILDREN) as (worker, before):
        ran = len(pids_of_pings(own_stack))
        expected = rises_for(succeeded={sut.ping.task: ran}, failed={})
        right = expect_rises(own_stack, worker, before.counts, expected, IN_SOLO)
    if not right:
        return
    with counting_worker(own_stack, pool=POOL_THREADS, concurrency=CHILDREN) as (worker, before):
        with runs_held(own_stack, ids, CHILDREN) as held:
            wait_for_held_runs(own_stack, CHILDREN)
        states = [own_stack.tasks.result(task_id).end for task_id in held]
        premise("states of the runs in threads", got=states, expected=["SUCCESS"] * CHILDREN)
        ran = len(pids_of_pings(own_stack)) + CHILDREN
        expected = rises_for(succeeded={sut.ping.task: ran}, failed={})
        expect_rises(own_stack, worker, before.counts, expected, IN_THREADS)


def expect_totals_that_outlive_children(stack: Stack, worker: Worker, before: Counts) -> bool:
    """Judge that one total has the pings of both children, and keeps them when a child dies."""
    task = stack.sut.ping.task
    ran_in: list[int] = []

    def ping_more() -> dict[int, int]:
        ran_in.extend(pids_of_pings(stack))
        return {pid: ran_in.count(pid) for pid in ran_in}

    shares = wait_until(ping_more, lambda seen: len(seen) == CHILDREN, deadline_s=BUSY_DEADLINE_S)
    premise("children that ran pings", got=len(shares), expected=CHILDREN)
    expected = rises_for(succeeded={task: len(ran_in)}, failed={})
    if not expect_rises(stack, worker, before, expected, BOTH_CHILDREN):
        return False
    victim = max(shares, key=lambda pid: shares[pid])
    worker.kill_child(victim)
    children = wait_until(
        worker.children,
        lambda pids: victim not in pids and len(pids) == CHILDREN,
        deadline_s=BUSY_DEADLINE_S,
        interval_s=0.1,
    )
    premise("children after one was killed", got=children, relation="lacks", expected=victim)
    if not expect_rises(stack, worker, before, expected, DEATH, wait=False):
        return False
    more = pids_of_pings(stack)
    expected = rises_for(succeeded={task: len(ran_in) + len(more)}, failed={})
    return expect_rises(stack, worker, before, expected, "its successor's pings")


def pids_of_pings(stack: Stack) -> list[int]:
    """Run a batch of pings at once and return the process id of each."""
    ping, probe = stack.sut.ping, stack.tasks
    published = [probe.publish(ping.task, (), ping.arguments) for _ in range(BATCH)]
    results = [probe.result(task_id) for task_id in published]
    states = [result.end for result in results]
    premise("states of a batch of pings", got=states, expected=["SUCCESS"] * BATCH)
    return [number_in(result, "pid") for result in results]
