"""Gate observability: the metrics of a worker count exactly what its processes ran."""

from __future__ import annotations

from gates.holding import table_held, wait_for_a_session
from gates.observability.scrape import (
    BUCKETS_S,
    DURATION,
    FAILURE,
    SUCCESS,
    TYPES,
    expect_rises,
    rises_for,
    scrape,
)
from gates.patching import patch
from harness import criterion, falsified_by
from harness.fixtures import Ids
from harness.stack import POOL_PREFORK, Stack
from harness.sut import Sut
from harness.wait import wait_until

PINGS, ROUTES = 3, 2
ROUTE = "app.tasks.llm.route"
SCAN, SCANNED = "app.tasks.maintenance.scan_for_pii_contamination", "attribution_events"
CHILDREN, BATCH = 2, 8
BUSY_DEADLINE_S = 20.0


@criterion("OBS-01")
@falsified_by(
    patch("success-not-counted", "observability/falsifiers/success_not_counted.py"),
    expect=f"rise of {SUCCESS} of app.tasks.housekeeping.ping after known tasks: got 0",
)
@falsified_by(
    patch("gauges", "observability/falsifiers/gauges.py"),
    expect="types of the metrics: got",
)
@falsified_by(
    patch("duration-in-kiloseconds", "observability/falsifiers/kiloseconds.py"),
    expect="runs of a task of over 0.25 s",
)
def test_metrics_rise_by_exactly_the_tasks_that_ran(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """Four typed families, no count of which rises by another number than that of the tasks."""
    with own_stack.running_worker() as worker:
        own_stack.wait_ready(worker)
        before = scrape(own_stack, worker)
        assert before.status == 200, f"metrics: got status {before.status}, expected 200"
        assert before.content_type.startswith("text/plain"), (
            f"content type of the metrics: got {before.content_type}, expected text/plain"
        )
        tenant = {sut.tenancy.key: ids.uuid()}
        runs = [own_stack.tasks.run(sut.ping.task, sut.ping.arguments) for _ in range(PINGS)]
        runs += [own_stack.tasks.run(ROUTE, tenant) for _ in range(ROUTES)]
        with table_held(own_stack, SCANNED):
            slow = own_stack.tasks.publish(SCAN, (), tenant)
            assert wait_for_a_session(own_stack, SCANNED), f"{SCAN}: got no run, expected one"
            own_stack.sql.query("SELECT pg_sleep(0.3)")
        runs.append(own_stack.tasks.result(slow))
        states = {run.state for run in runs}
        assert states == {"SUCCESS"}, f"tasks that are counted: got {states}, expected SUCCESS"
        expected = rises_for(succeeded={sut.ping.task: PINGS, ROUTE: ROUTES, SCAN: 1}, failed={})
        expect_rises(own_stack, worker, before.counts, expected, "after known tasks")
        after = scrape(own_stack, worker)
    assert after.types == TYPES, f"types of the metrics: got {after.types}, expected {TYPES}"
    assert after.buckets == BUCKETS_S, (
        f"buckets of {DURATION}: got {after.buckets}, expected {BUCKETS_S}"
    )
    quick, every = (
        after.counts.get((f"{DURATION}_bucket up to {bound}", SCAN)) for bound in ("0.25", "+Inf")
    )
    assert (quick, every) == (0, 1), (
        f"runs of a task of over 0.25 s in the buckets up to 0.25 and to any: got {quick} and "
        f"{every}, expected 0 and 1"
    )


@criterion("OBS-02")
@falsified_by(
    patch("failure-counted-as-success", "observability/falsifiers/failure_as_success.py"),
    expect=f"rise of {SUCCESS} of app.tasks.housekeeping.ping after a failure: got 1, expected 0",
)
@falsified_by(
    patch("failure-not-counted", "observability/falsifiers/failure_not_counted.py"),
    expect=f"rise of {FAILURE} of app.tasks.housekeeping.ping after a failure: got 0, expected 1",
)
def test_failure_counts_as_a_failure_only(own_stack: Stack, sut: Sut) -> None:
    """A task that failed raises started, failure and duration by one, and success by nothing."""
    ping = sut.ping
    with own_stack.running_worker() as worker:
        own_stack.wait_ready(worker)
        before = scrape(own_stack, worker)
        failed = own_stack.tasks.run(ping.task, {**ping.arguments, **ping.fail})
        assert failed.state == "FAILURE", (
            f"ping that is to fail: got {failed.state}, expected FAILURE"
        )
        expected = rises_for(succeeded={}, failed={ping.task: 1})
        expect_rises(own_stack, worker, before.counts, expected, "after a failure")


@criterion("OBS-03")
@falsified_by(
    patch("children-fight-for-the-port", "observability/falsifiers/port_fight.py"),
    expect="after pings in both children: got",
)
@falsified_by(
    patch("the-dead-forgotten", "observability/falsifiers/dead_forgotten.py"),
    expect="after a child's death: got",
)
def test_totals_add_up_over_children_and_outlive_them(own_stack: Stack, sut: Sut) -> None:
    """Pings of both children are in one total, which stays when one is killed, and goes on."""
    with own_stack.running_worker(pool=POOL_PREFORK, concurrency=CHILDREN) as worker:
        own_stack.wait_ready(worker)
        before = scrape(own_stack, worker)
        ran_in: list[int] = []

        def ping_more() -> dict[int, int]:
            ran_in.extend(pids_of_pings(own_stack))
            return {pid: ran_in.count(pid) for pid in ran_in}

        shares = wait_until(
            ping_more, lambda seen: len(seen) == CHILDREN, deadline_s=BUSY_DEADLINE_S
        )
        assert len(shares) == CHILDREN, (
            f"children that ran pings: got {shares}, expected {CHILDREN} of them"
        )
        expected = rises_for(succeeded={sut.ping.task: len(ran_in)}, failed={})
        expect_rises(own_stack, worker, before.counts, expected, "after pings in both children")
        victim = max(shares, key=lambda pid: shares[pid])
        worker.kill_child(victim)
        children = wait_until(
            worker.children,
            lambda pids: victim not in pids and len(pids) == CHILDREN,
            deadline_s=BUSY_DEADLINE_S,
            interval_s=0.1,
        )
        assert victim not in children, (
            f"children after one was killed: got {children}, expected another instead of {victim}"
        )
        expect_rises(own_stack, worker, before.counts, expected, "after a child's death")
        more = pids_of_pings(own_stack)
        expected = rises_for(succeeded={sut.ping.task: len(ran_in) + len(more)}, failed={})
        expect_rises(own_stack, worker, before.counts, expected, "after its successor's pings")


def pids_of_pings(stack: Stack) -> list[int]:
    """Run a batch of pings at once and return the process of each."""
    ping, probe = stack.sut.ping, stack.tasks
    published = [probe.publish(ping.task, (), ping.arguments) for _ in range(BATCH)]
    results = [probe.result(task_id) for task_id in published]
    states = [result.state for result in results]
    assert states == ["SUCCESS"] * BATCH, f"batch of pings: got {states}, expected SUCCESS of each"
    return [result.value["pid"] for result in results]
