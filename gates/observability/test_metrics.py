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
    criterion,
    falsified_by,
    http,
    inject,
    source,
    wait_until,
)

from ..holding import SCAN, SCANNED, sessions_waiting_for, tables_held, wait_for_a_session
from .scrape import (
    BUCKETS_S,
    DURATION,
    FAILURE,
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
METRICS = "system/observability/metrics.py"


@criterion("OBS-01", needs=("database", "celery", "worker", "ping", "task", "tenancy", "metrics"))
@falsified_by(
    http("success-not-counted", "metrics", pattern=rf"^{SUCCESS}\{{[^\n]*\n"),
    expect=f"rise of {SUCCESS} of app.tasks.housekeeping.ping after known tasks: got 0",
)
@falsified_by(
    http(
        "started-is-a-gauge",
        "metrics",
        pattern=rf"^# TYPE {STARTED} counter$",
        replacement=f"# TYPE {STARTED} gauge",
    ),
    expect="'celery_task_started_total': 'gauge'",
)
@falsified_by(
    http(
        "slow-runs-in-fast-buckets",
        "metrics",
        pattern=rf"""^({DURATION}_bucket\{{[^\n]*le="0\.25"[^\n]*\}}) [^\n]*""",
        replacement=r"\1 1.0",
    ),
    expect="runs of a task of over 0.25 s in the buckets up to 0.25 and to",
)
def test_metrics_rise_by_exactly_the_tasks_that_ran(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """The four typed families rise by exactly the number of tasks that ran."""
    with counting_worker(own_stack, pool=POOL_SOLO) as (worker, before):
        assert before.status == 200, f"metrics: got status {before.status}, expected 200"
        assert before.content_type.startswith("text/plain"), (
            f"content type of the metrics: got {before.content_type}, expected text/plain"
        )
        tenant = {sut.tenancy.key: ids.uuid()}
        assert before.types == TYPES, f"types of the metrics: got {before.types}, expected {TYPES}"
        runs = [own_stack.tasks.run(sut.ping.task, sut.ping.arguments) for _ in range(PINGS)]
        runs += [own_stack.tasks.run(ROUTE, tenant) for _ in range(ROUTES)]
        began = time.monotonic()
        with tables_held(own_stack, SCANNED):
            slow = own_stack.tasks.publish(SCAN, (), tenant)
            assert wait_for_a_session(own_stack, SCANNED), f"{SCAN}: got no run, expected one"
            own_stack.sql.query("SELECT pg_sleep(0.3)")
        runs.append(own_stack.tasks.result(slow))
        took_s = time.monotonic() - began
        states = {run.state for run in runs}
        assert states == {"SUCCESS"}, f"tasks that are counted: got {states}, expected SUCCESS"
        expected = rises_for(succeeded={sut.ping.task: PINGS, ROUTE: ROUTES, SCAN: 1}, failed={})
        expect_rises(own_stack, worker, before.counts, expected, "after known tasks")
        after = scrape(own_stack, worker)
    assert after.buckets == BUCKETS_S, (
        f"buckets of {DURATION}: got {after.buckets}, expected {BUCKETS_S}"
    )
    enough = bucket_above(took_s)
    quick, timed = (
        after.counts.get((f"{DURATION}_bucket up to {bound}", SCAN)) for bound in ("0.25", enough)
    )
    assert (quick, timed) == (0, 1), (
        f"runs of a task of over 0.25 s in the buckets up to 0.25 and to {enough}, it took at most "
        f"{took_s:.2f} s: got {quick} and {timed}, expected 0 and 1"
    )


@criterion("OBS-02", needs=("database", "celery", "worker", "ping.fail", "task", "metrics"))
@falsified_by(
    inject("failure-counts-as-success", "report-failures-as-successes"),
    expect=f"rise of {SUCCESS} of app.tasks.housekeeping.ping after a failure: got 1, expected 0",
)
@falsified_by(
    http("failure-not-counted", "metrics", pattern=rf"^{FAILURE}\{{[^\n]*\n"),
    expect=f"rise of {FAILURE} of app.tasks.housekeeping.ping after a failure: got 0, expected 1",
)
def test_failure_counts_as_a_failure_only(own_stack: Stack, sut: Sut) -> None:
    """A failed task raises started, failure and duration by one, and does not raise success."""
    ping = sut.ping
    with counting_worker(own_stack, pool=POOL_SOLO) as (worker, before):
        failed = own_stack.tasks.run(ping.task, {**ping.arguments, **ping.fail})
        assert failed.state == "FAILURE", (
            f"ping that is to fail: got {failed.state}, expected FAILURE"
        )
        expected = rises_for(succeeded={}, failed={ping.task: 1})
        expect_rises(own_stack, worker, before.counts, expected, "after a failure")


@criterion("OBS-03", needs=("database", "celery", "worker", "ping", "task", "tenancy", "metrics"))
@falsified_by(
    http("totals-of-one-child", "metrics", pattern=r"^celery_task_[^\n]*", factor=0.5),
    expect="after pings in both children: got",
)
@falsified_by(
    source(
        "the-dead-forgotten",
        METRICS,
        append="""
        def place() -> str:
            return str(os.getpid())


        def of_the_living(self: _Files) -> Iterator[Metric]:
            files = {path: path.stem.rpartition("_")[2] for path in self._folder.glob("*.db")}
            living = [str(path) for path, pid in files.items() if Path("/proc", pid).exists()]
            yield from MultiProcessCollector.merge(living)


        _Files.collect = of_the_living
        """,
    ),
    expect="after a child's death: got",
)
@falsified_by(
    inject("children-alone-counted", "drop-receivers", names=TASK_SIGNALS, pools=["solo"]),
    expect="in a solo pool: got 0",
)
@falsified_by(
    # Celery sends this signal in children and in a solo worker, but not in a pool of threads.
    inject("threads-not-counted", "drop-receivers", names=TASK_SIGNALS, pools=["threads"]),
    expect="in a pool of threads: got 0",
)
@falsified_by(
    source(
        "one-run-at-a-time",
        METRICS,
        "            self._began[task_id] = time.monotonic()\n",
        """            self._began.clear()
            self._began[task_id] = time.monotonic()
""",
    ),
    expect=" in a pool of threads: got",
)
def test_totals_are_those_of_the_whole_worker(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """Totals cover all children, outlive them, and are right in pools without children too."""
    with counting_worker(own_stack, pool=POOL_PREFORK, concurrency=CHILDREN) as (worker, before):
        expect_totals_that_outlive_children(own_stack, worker, before.counts)
    with counting_worker(own_stack, pool=POOL_SOLO, concurrency=CHILDREN) as (worker, before):
        ran = len(pids_of_pings(own_stack))
        expected = rises_for(succeeded={sut.ping.task: ran}, failed={})
        expect_rises(own_stack, worker, before.counts, expected, "in a solo pool")
    with counting_worker(own_stack, pool=POOL_THREADS, concurrency=CHILDREN) as (worker, before):
        with tables_held(own_stack, SCANNED):
            tenant = {sut.tenancy.key: ids.uuid()}
            scans = [own_stack.tasks.publish(SCAN, (), tenant) for _ in range(CHILDREN)]
            busy = wait_until(
                lambda: len(sessions_waiting_for(own_stack, SCANNED)),
                lambda number: number == CHILDREN,
                deadline_s=BUSY_DEADLINE_S,
            )
            assert busy == CHILDREN, f"threads at work at once: got {busy}, expected {CHILDREN}"
        states = [own_stack.tasks.result(scan).state for scan in scans]
        assert states == ["SUCCESS"] * CHILDREN, f"scans: got {states}, expected SUCCESS of each"
        ran = len(pids_of_pings(own_stack))
        expected = rises_for(succeeded={sut.ping.task: ran, SCAN: CHILDREN}, failed={})
        expect_rises(own_stack, worker, before.counts, expected, "in a pool of threads")


def expect_totals_that_outlive_children(stack: Stack, worker: Worker, before: Counts) -> None:
    """Judge that one total has the pings of both children, and keeps them when a child dies."""
    task = stack.sut.ping.task
    ran_in: list[int] = []

    def ping_more() -> dict[int, int]:
        ran_in.extend(pids_of_pings(stack))
        return {pid: ran_in.count(pid) for pid in ran_in}

    shares = wait_until(ping_more, lambda seen: len(seen) == CHILDREN, deadline_s=BUSY_DEADLINE_S)
    assert len(shares) == CHILDREN, (
        f"children that ran pings: got {shares}, expected {CHILDREN} of them"
    )
    expected = rises_for(succeeded={task: len(ran_in)}, failed={})
    expect_rises(stack, worker, before, expected, "after pings in both children")
    victim = max(shares, key=lambda pid: shares[pid])
    worker.kill_child(victim)
    children = wait_until(
        worker.children,
        lambda pids: victim not in pids and len(pids) == CHILDREN,
        deadline_s=BUSY_DEADLINE_S,
        interval_s=0.1,
    )
    assert victim not in children, (
        f"children after one was killed: got {children}, expected a successor of {victim}"
    )
    expect_rises(stack, worker, before, expected, "after a child's death", wait=False)
    more = pids_of_pings(stack)
    expected = rises_for(succeeded={task: len(ran_in) + len(more)}, failed={})
    expect_rises(stack, worker, before, expected, "after its successor's pings")


def pids_of_pings(stack: Stack) -> list[int]:
    """Run a batch of pings at once and return the process id of each."""
    ping, probe = stack.sut.ping, stack.tasks
    published = [probe.publish(ping.task, (), ping.arguments) for _ in range(BATCH)]
    results = [probe.result(task_id) for task_id in published]
    states = [result.state for result in results]
    assert states == ["SUCCESS"] * BATCH, f"batch of pings: got {states}, expected SUCCESS of each"
    return [result.value["pid"] for result in results]
