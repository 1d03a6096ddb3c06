"""Gate runtime: a killed worker loses no task, and a finished task does not run again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from gateproof import (
    Ids,
    Stack,
    Sut,
    Worker,
    claim,
    criterion,
    falsified_by,
    inject,
    message,
    premise,
    wait_until,
)

from ..holding import reader_of, sessions_waiting_for, tables_held
from ..lease import Lease, lease_of
from ..pools import slots
from ..tenant import unused_tenant

CHILDREN = 2
SCANS, LATER = 12, 4
COUNTDOWN_S = 3
"""The countdown of tasks that start after the kill. A worker may hold them until then."""
HELD_LEASES, WATCHED_LEASES = 2, 3
"""How long tasks run before the kill, which is longer than a lease that a live worker renews; and
how long finished tasks are watched. In leases."""
BUSY_DEADLINE_S, END_DEADLINE_S, LINES_DEADLINE_S = 20.0, 12.0, 5.0
PINGS = 3
LIMIT_S = 150.0
"""Enough for the longest lease that a check waits for."""

LOST = "tasks without an end after their worker was killed"
RESULTS_GONE = "tasks that ended according to the log, and whose result is gone"
ENDS, ENDS_OF_FINISHED = "ends of tasks in the logs of both workers", "ends of finished tasks"
ALIVE, RESTARTED = "while their worker lives", "after their worker's restart"
"""Names and objects of claims that falsifiers predict."""


@criterion(
    "RUN-05",
    needs=(
        "database",
        "celery",
        "broker.lease_s",
        "worker",
        "ping",
        "task",
        "tenancy",
        "dead_letters",
        "logs or worker.probe=inject",
    ),
    limit_s=LIMIT_S,
)
@falsified_by(
    inject("acknowledged-at-the-start", "acknowledge-early"),
    expect=(LOST, ""),
)
@falsified_by(
    inject("stock-broker", "use-transport"),
    expect=(LOST, ""),
)
def test_killed_worker_loses_no_task(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """After one of two workers is killed in mid-task, each task ends once and runs at most twice.

    An interrupted run leaves no line in the logs, and only one worker is killed, once. So a task
    with exactly one end in the logs ran at most twice.
    """
    stack, reader, lease = own_stack, reader_of(own_stack), lease_of(sut)
    arguments = reader.of_tenant(sut, unused_tenant(own_stack, ids))
    with two_workers(stack, lease) as (victim, other):
        with tables_held(stack, reader.table):
            published = [stack.tasks.publish(reader.task, (), arguments) for _ in range(SCANS)]
            busy = wait_until(
                lambda: len(sessions_waiting_for(stack, reader.table)),
                lambda number: number == 2 * slots(sut, CHILDREN),
                deadline_s=BUSY_DEADLINE_S,
            )
            premise(
                "tasks in the middle of their work", got=busy, expected=2 * slots(sut, CHILDREN)
            )
            stack.sql.query("SELECT pg_sleep(%s)", (HELD_LEASES * lease.seconds,))
            published += [
                stack.tasks.publish(sut.ping.task, (), sut.ping.arguments, countdown=COUNTDOWN_S)
                for _ in range(LATER)
            ]
            stack.sql.query("SELECT pg_sleep(%s)", (COUNTDOWN_S / 2,))
            victim.kill()
        workers = (victim, other)
        deadline_s = END_DEADLINE_S + lease.seconds
        if expect_one_end_each(stack, workers, published, deadline_s=deadline_s):
            expect_one_line_each(stack, workers, published)


@criterion(
    "RUN-07",
    needs=(
        "database",
        "celery",
        "broker.lease_s",
        "worker",
        "ping.fail",
        "ping.retry",
        "task",
        "logs or worker.probe=inject",
    ),
    limit_s=LIMIT_S,
)
@falsified_by(
    message("returned-when-deleted", "return"),
    expect=(ENDS_OF_FINISHED, ALIVE),
)
@falsified_by(
    inject("finished-not-acknowledged", "never-acknowledge"),
    expect=(ENDS_OF_FINISHED, RESTARTED),
)
def test_finished_task_is_not_run_again(own_stack: Stack, sut: Sut) -> None:
    """Finished tasks do not end again within three leases, before and after a restart."""
    stack, ping, lease = own_stack, sut.ping, lease_of(sut)
    options = {"concurrency": CHILDREN, "env": lease.env}
    with stack.running_worker(name="first", **options) as worker:
        stack.wait_ready(worker)
        kinds = [ping.arguments] * PINGS + [{**ping.arguments, **ping.fail}]
        kinds.append({**ping.arguments, **ping.retry})
        finished = [stack.tasks.publish(ping.task, (), arguments) for arguments in kinds]
        states = [stack.tasks.result(task_id).state for task_id in finished]
        expected = ["SUCCESS"] * PINGS + ["FAILURE", "SUCCESS"]
        premise("states of the tasks that are to finish", got=states, expected=expected)
        if not expect_no_second_end(stack, (worker,), finished, ALIVE, lease):
            return
        status = worker.stop()
        if not claim("exit status of the stopped worker", got=status, expected=0):
            return
        with stack.running_worker(**options) as successor:
            stack.wait_ready(successor)
            workers = (worker, successor)
            expect_no_second_end(stack, workers, finished, RESTARTED, lease)


@contextmanager
def two_workers(stack: Stack, lease: Lease) -> Iterator[tuple[Worker, Worker]]:
    """Run two workers on the same queues, both ready."""
    options = {"concurrency": CHILDREN, "env": lease.env}
    with stack.running_worker(name="victim", **options) as victim:
        stack.wait_ready(victim)
        with stack.running_worker(name="other", **options) as other:
            stack.wait_ready(other)
            yield victim, other


def expect_one_end_each(
    stack: Stack, workers: tuple[Worker, ...], published: Collection[str], *, deadline_s: float
) -> bool:
    """Judge that each task succeeded, or failed and left one dead-letter row.

    A task that has ended in a log and has no result is not lost: its result is.
    """
    ids = list(published)
    ended = wait_until(
        lambda: dict(
            stack.sql.query(
                f"SELECT task_id, status FROM {stack.sut.broker.results} WHERE task_id = ANY(%s)"
                " AND status IN ('SUCCESS', 'FAILURE')",
                (ids,),
            ).rows
        ),
        lambda seen: len(seen) == len(ids),
        deadline_s=deadline_s,
        interval_s=0.2,
    )
    missing = set(ids) - ended.keys()
    gone = ends(stack, workers, missing).keys() if missing else set()
    kept = claim(RESULTS_GONE, got=len(gone), expected=0, over=ids)
    if not (claim(LOST, got=len(missing - gone), expected=0, over=ids) and kept):
        return False
    table = stack.sut.dead_letters.table
    stored = Counter(
        stack.sql.query(f"SELECT task_id FROM {table} WHERE task_id = ANY(%s)", (ids,)).column()
    )
    wanted = Counter(task_id for task_id, status in ended.items() if status == "FAILURE")
    return claim(
        "tasks that have a dead-letter row, once for each row",
        got=sorted(stored.elements()),
        expected=sorted(wanted.elements()),
        over=ids,
    )


def expect_one_line_each(
    stack: Stack, workers: tuple[Worker, ...], published: Collection[str]
) -> None:
    """Judge that the workers' logs record exactly one end of each task."""
    seen = wait_until(
        lambda: ends(stack, workers, published),
        lambda counted: len(counted) == len(published),
        deadline_s=LINES_DEADLINE_S,
        interval_s=0.2,
    )
    numbers = sorted(seen[task_id] for task_id in published)
    claim(ENDS, got=numbers, expected=[1] * len(published), over=published)


def expect_no_second_end(
    stack: Stack, workers: tuple[Worker, ...], finished: Collection[str], when: str, lease: Lease
) -> bool:
    """Judge that no finished task ends again within three lease times."""
    seen = wait_until(
        lambda: ends(stack, workers, finished),
        lambda counted: counted.total() > len(finished),
        deadline_s=WATCHED_LEASES * lease.seconds,
        interval_s=0.5,
    )
    numbers = [seen[task_id] for task_id in finished]
    expected = [1] * len(finished)
    return claim(ENDS_OF_FINISHED, on=when, got=numbers, expected=expected, over=finished)


def ends(stack: Stack, workers: tuple[Worker, ...], published: Collection[str]) -> Counter[str]:
    """Count the ends of each task in the workers' logs."""
    names, wanted = stack.sut.ends, set(published)
    return Counter(
        task_id
        for worker in workers
        for message in (names.success, names.failure)
        for line in worker.log().matching(**{names.message: message})
        if (task_id := str(line.get(names.task_id))) in wanted
    )
