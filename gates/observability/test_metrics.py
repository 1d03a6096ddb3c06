"""Gate observability: the metrics of a worker count exactly what its processes ran."""

from __future__ import annotations

import re
from collections.abc import Callable

from gateproof import (
    POOL_PREFORK,
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
    inject,
    monotonic_s,
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
from ..pools import has_children
from .scrape import (
    LABELS,
    RISE,
    Counts,
    bucket_above,
    bucket_below,
    counting_worker,
    expect_rises,
    rises_for,
    scrape,
    timed,
    types_of,
)

PINGS, SLOW_S = 3, 0.3
CHILDREN, BATCH = 2, 8
POOL_THREADS = "threads"
BUSY_DEADLINE_S = 20.0
TASK_SIGNALS = ["task_prerun", "task_success", "task_failure", "task_postrun"]
"""Celery's signals about the runs of a task, by which a system can count them."""

KNOWN_TASKS, ONE_FAILURE, ONE_RETRY = "known tasks", "a failure", "a retry"
BOTH_CHILDREN, DEATH = "pings in both children", "a child's death"
IN_SOLO, IN_THREADS = "solo pool", "pool of threads"
TYPES_SEEN, FAST_RUNS = "types of the metrics", "runs of the slow task in a bucket below its time"
"""Names and parts of objects of claims that falsifiers predict."""

_RETRY_IS_SUCCESS = """
from celery import signals

def succeed(sender=None, **_):
    signals.task_success.send(sender=sender, result=None)

signals.task_retry.connect(succeed, weak=False)
"""
_RETRY_IS_FAILURE = """
from celery import signals

def fail(sender=None, request=None, reason=None, **_):
    signals.task_failure.send(
        sender=sender, task_id=f"{request.id}-retry", exception=reason, args=(), kwargs={},
        traceback=None, einfo=None,
    )

signals.task_retry.connect(fail, weak=False)
"""

Expect = tuple[str, str, str] | tuple[str, str]


def left_out(name: str, sample: str, when: str) -> Callable[[Sut, str], tuple[Fault, Expect]]:
    """Return what makes a fault that leaves out all samples of a counter of the description.

    Args:
        name: a slug.
        sample: which counter it is: ``success`` or ``failure``.
        when: the part of the object that says when the count must have risen.

    """

    def make(sut: Sut, _: str) -> tuple[Fault, Expect]:
        named = str(getattr(sut.metrics, sample))
        # A worker that has run no task can lack the counter: then it would be no evidence.
        fault = http(
            name,
            "metrics",
            pattern=rf"^{re.escape(named)}\{{[^\n]*\n",
            sample=f'{named}{{{sut.metrics.task_label}="sample"}} 3.0\n',
        )
        return fault, (RISE, f"{named}/ping/{when}", "got 0")

    return make


def started(sut: Sut) -> list[str]:
    """Return the name of the described counter of runs that began."""
    return [sut.metrics.started]


def retyped(_: Sut, name: str) -> tuple[Fault, Expect]:
    """Return a fault that declares the counter as a gauge."""
    fault = http(
        "started-is-a-gauge",
        "metrics",
        pattern=rf"^# TYPE {re.escape(name)} counter$",
        replacement=f"# TYPE {name} gauge",
    )
    return fault, (TYPES_SEEN, "", f'"{name}": "gauge"')


def relabelled(sut: Sut, name: str) -> tuple[Fault, Expect]:
    """Return a fault that renames the label with the name of the task."""
    label = sut.metrics.task_label
    fault = http(
        "label-renamed",
        "metrics",
        pattern=rf"\b{re.escape(label)}=",
        replacement="gateproof_job=",
        sample=f'{name}{{{label}="sample"}} 3.0\n',
    )
    return fault, (LABELS, name, f"got gateproof_job, expected {label}")


def bound_below(sut: Sut) -> list[str]:
    """Return the largest described bound below the time of the slow task; none without bounds."""
    found = bucket_below(sut.metrics.buckets, SLOW_S)
    return [found] if found else []


def in_fast_bucket(sut: Sut, bound: str) -> tuple[Fault, Expect]:
    """Return a fault that counts a run in a bucket below its time."""
    name, bound = re.escape(sut.metrics.duration), re.escape(bound)
    fault = http(
        "slow-runs-in-fast-buckets",
        "metrics",
        pattern=rf"""^({name}_bucket\{{[^\n]*le="{bound}"[^\n]*\}}) [^\n]*""",
        replacement=r"\1 1.0",
    )
    return fault, (FAST_RUNS, "", "got 1")


def halved(_: Sut, name: str) -> tuple[Fault, Expect]:
    """Return a fault that halves the counter."""
    fault = http(
        "totals-of-one-child", "metrics", pattern=rf"^{re.escape(name)}\{{[^\n]*", factor=0.5
    )
    return fault, (RISE, f"{name}/ping/{BOTH_CHILDREN}")


def uncounted(name: str, pool: str, when: str) -> Callable[[Sut, str], tuple[Fault, Expect]]:
    """Return what makes a fault that counts nothing in a pool; see `left_out`."""

    def make(_: Sut, counter: str) -> tuple[Fault, Expect]:
        fault = inject(name, "drop-receivers", names=TASK_SIGNALS, pools=[pool])
        return fault, (RISE, f"{counter}/ping/{when}", "got 0")

    return make


def started_in_children(sut: Sut) -> list[str]:
    """Return the name of that counter, of a worker that has children."""
    return started(sut) if has_children(sut) else []


def overlapping_hidden(_: Sut, name: str) -> tuple[Fault, Expect]:
    """Return a fault that counts one of two runs that overlap in one process."""
    fault = inject("overlapping-runs-counted-once", "hide-overlapping-runs")
    return fault, (RISE, f"{name}/ping/{IN_THREADS}")


@criterion(
    "OBS-01",
    needs=(
        "database",
        "celery",
        "worker",
        "ping",
        "task",
        "tenancy",
        "metrics.started",
        "metrics.success",
        "metrics.failure",
        "metrics.duration",
    ),
)
@falsified_by_each(started, left_out("success-not-counted", "success", KNOWN_TASKS))
@falsified_by_each(started, retyped)
@falsified_by_each(started, relabelled)
@falsified_by_each(bound_below, in_fast_bucket)
def test_metrics_rise_by_exactly_the_tasks_that_ran(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """The four typed families rise by exactly the number of tasks that ran."""
    with counting_worker(own_stack, pool=POOL_SOLO) as (worker, before):
        claim("status of the metrics", got=before.status, expected=200)
        kind = before.content_type
        claim("content type of the metrics", got=kind, relation="matches", expected=r"\Atext/plain")
        tenant = {sut.tenancy.key: ids.uuid()}
        claim(TYPES_SEEN, got=before.types, expected=types_of(sut))
        runs = [own_stack.tasks.run(sut.ping.task, sut.ping.arguments) for _ in range(PINGS)]
        began = monotonic_s()
        reader = reader_of(own_stack)
        with tables_held(own_stack, reader.table):
            slow = own_stack.tasks.publish(reader.task, (), {**reader.arguments, **tenant})
            begun = wait_for_a_session(own_stack, reader.table)
            premise("run that waits for a table", on=reader.task, got=bool(begun), expected=True)
            own_stack.sql.query("SELECT pg_sleep(%s)", (SLOW_S,))
        runs.append(own_stack.tasks.result(slow))
        took_s = monotonic_s() - began
        states = {run.end for run in runs}
        premise("states of the tasks that are counted", got=states, expected=["SUCCESS"])
        ended = {sut.ping.task: PINGS, reader.task: 1}
        expected = rises_for(sut, succeeded=ended, failed={})
        expect_rises(own_stack, worker, before.counts, expected, KNOWN_TASKS)
        after = scrape(own_stack, worker)
    name, bounds = sut.metrics.duration, after.buckets
    if sut.metrics.buckets:
        claim("bounds of the buckets", on=name, got=bounds, expected=sut.metrics.buckets)
    quick, in_time = (
        after.counts.get((f"{name}_bucket up to {bound}", reader.task), 0)
        for bound in (bucket_below(bounds, SLOW_S), bucket_above(bounds, took_s))
    )
    claim(FAST_RUNS, got=quick, expected=0)
    claim("runs of the slow task in the bucket above its duration", got=in_time, expected=1)


@criterion(
    "OBS-02",
    needs=(
        "database",
        "celery",
        "worker",
        "ping.fail",
        "ping.retry",
        "task",
        "metrics.started",
        "metrics.success",
        "metrics.failure",
        "metrics.duration",
    ),
)
@falsified_by_each(
    lambda sut: [sut.metrics.success],
    lambda _, name: (
        inject("failure-counts-as-success", "report-failures-as-successes"),
        (RISE, f"{name}/ping/{ONE_FAILURE}", "got 1"),
    ),
)
@falsified_by_each(started, left_out("failure-not-counted", "failure", ONE_FAILURE))
@falsified_by_each(
    lambda sut: [sut.metrics.success],
    lambda _, name: (
        inject("retry-counts-as-success", code=_RETRY_IS_SUCCESS),
        (RISE, f"{name}/ping/{ONE_RETRY}", "got 2"),
    ),
)
@falsified_by_each(
    lambda sut: [sut.metrics.failure],
    lambda _, name: (
        inject("retry-counts-as-failure", code=_RETRY_IS_FAILURE),
        (RISE, f"{name}/ping/{ONE_RETRY}", "got 2"),
    ),
)
def test_failure_counts_as_a_failure_only(own_stack: Stack, sut: Sut) -> None:
    """A failed task raises started, failure and duration by one, and does not raise success.

    A task that is retried and then succeeds raises success by one, and failure not at all.
    """
    ping = sut.ping
    with counting_worker(own_stack, pool=POOL_SOLO) as (worker, before):
        failed = own_stack.tasks.run(ping.task, {**ping.arguments, **ping.fail})
        premise("state of a ping that must fail", got=failed.state, expected="FAILURE")
        expected = rises_for(sut, succeeded={}, failed={ping.task: 1})
        if not expect_rises(own_stack, worker, before.counts, expected, ONE_FAILURE):
            return
        retried = own_stack.tasks.run(ping.task, {**ping.arguments, **ping.retry})
        premise("state of a ping that is retried", got=retried.state, expected="SUCCESS")
        expected.update(rises_for(sut, succeeded={ping.task: 1}, failed={}))
        expected.update({(name, ping.task): 1 for name in (sut.metrics.started, timed(sut))})
        expect_rises(own_stack, worker, before.counts, expected, ONE_RETRY)


@criterion(
    "OBS-03",
    needs=(
        "database",
        "celery",
        "broker",
        "worker",
        "ping",
        "task",
        "metrics.started",
        "metrics.success",
        "metrics.failure",
        "metrics.duration",
    ),
)
@falsified_by_each(started_in_children, halved)
@falsified_by_each(started, uncounted("children-alone-counted", "solo", IN_SOLO))
# Celery sends these signals in children and in a solo worker, but one not in a pool of threads.
@falsified_by_each(started, uncounted("threads-not-counted", "threads", IN_THREADS))
@falsified_by_each(started, overlapping_hidden)
def test_totals_are_those_of_the_whole_worker(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """Totals cover all children, outlive them, and are right in pools without children too.

    Children are judged if the described worker has them.
    """
    if has_children(sut) and not totals_cover_children(own_stack):
        return
    with counting_worker(own_stack, pool=POOL_SOLO, concurrency=CHILDREN) as (worker, before):
        ran = len(pids_of_pings(own_stack))
        expected = rises_for(sut, succeeded={sut.ping.task: ran}, failed={})
        right = expect_rises(own_stack, worker, before.counts, expected, IN_SOLO)
    if not right:
        return
    with counting_worker(own_stack, pool=POOL_THREADS, concurrency=CHILDREN) as (worker, before):
        with runs_held(own_stack, ids, CHILDREN) as held:
            wait_for_held_runs(own_stack, CHILDREN)
        states = [own_stack.tasks.result(task_id).end for task_id in held]
        premise("states of the runs in threads", got=states, expected=["SUCCESS"] * CHILDREN)
        ran = len(pids_of_pings(own_stack)) + CHILDREN
        expected = rises_for(sut, succeeded={sut.ping.task: ran}, failed={})
        expect_rises(own_stack, worker, before.counts, expected, IN_THREADS)


def totals_cover_children(stack: Stack) -> bool:
    """Judge the totals of a worker with children."""
    with counting_worker(stack, pool=POOL_PREFORK, concurrency=CHILDREN) as (worker, before):
        return expect_totals_that_outlive_children(stack, worker, before.counts)


def expect_totals_that_outlive_children(stack: Stack, worker: Worker, before: Counts) -> bool:
    """Judge that one total has the pings of both children, and keeps them when a child dies."""
    sut, task = stack.sut, stack.sut.ping.task
    ran_in: list[int] = []

    def ping_more() -> dict[int, int]:
        ran_in.extend(pids_of_pings(stack))
        return {pid: ran_in.count(pid) for pid in ran_in}

    shares = wait_until(ping_more, lambda seen: len(seen) == CHILDREN, deadline_s=BUSY_DEADLINE_S)
    premise("children that ran pings", got=len(shares), expected=CHILDREN)
    expected = rises_for(sut, succeeded={task: len(ran_in)}, failed={})
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
    expected = rises_for(sut, succeeded={task: len(ran_in) + len(more)}, failed={})
    return expect_rises(stack, worker, before, expected, "its successor's pings")


def pids_of_pings(stack: Stack) -> list[int]:
    """Run a batch of pings at once and return the process id of each."""
    ping, probe = stack.sut.ping, stack.tasks
    published = [probe.publish(ping.task, (), ping.arguments) for _ in range(BATCH)]
    results = [probe.result(task_id) for task_id in published]
    states = [result.end for result in results]
    premise("states of a batch of pings", got=states, expected=["SUCCESS"] * BATCH)
    return [number_in(result, "pid") for result in results]
