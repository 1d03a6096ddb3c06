"""Gate runtime: a worker that gets the stop signal, and one whose database restarts."""

from __future__ import annotations

from gateproof import (
    RESULT_DEADLINE_S,
    Fault,
    Ids,
    Stack,
    Sut,
    TaskResult,
    Worker,
    claim,
    criterion,
    falsified_by,
    falsified_by_each,
    inject,
    monotonic_s,
    premise,
    settings,
    wait_until,
)

from ..answer import number_in
from ..holding import reader_of, tables_held, wait_for_a_session
from ..pools import has_children
from ..publishing import may_be_published
from ..tenant import unused_tenant

CHILDREN = 2
SUCCEEDED, TENANT = "SUCCESS", "00000000-0000-4000-8000-000000000006"
BUSY_DEADLINE_S, WATCHED_S = 15.0, 5.0

STOPPING, LOST = "worker: ", "broker session lost"
"""Texts of the worker's log lines after the stop signal and after a lost broker connection."""

EXIT_STATUS, STATE = "exit status of the worker", "state of the task"
OTHERWISE = "tasks of the system that no longer succeed"
RUNNING_TASK, RESTART = "task that ran at the stop signal", "after PostgreSQL's restart"
"""Names and objects of claims that falsifiers predict."""


def with_sample(sut: Sut) -> list[str]:
    """Return the described tasks whose arguments are known: by a sample, or by what they read."""
    return [one for one in may_be_published(sut) if sut.task[one].has_sample or sut.task[one].reads]


def first_with_sample(sut: Sut) -> list[str]:
    """Return the first of these tasks, if there is one."""
    return with_sample(sut)[:1]


def cold_shutdown(sut: Sut, variable: str) -> tuple[Fault, tuple[str, str]]:
    """Return the fault that the stop signal ends a worker at once.

    Celery ends its child processes then; a task in the worker's own process, which Python cannot
    end, still finishes, and the exit status shows that the worker was not stopped as asked.
    """
    fault = settings("cold-shutdown", {variable: "SIGQUIT"})
    if has_children(sut):
        return fault, (STATE, RUNNING_TASK)
    return fault, (EXIT_STATUS, "after its last task")


def connection_kept(sut: Sut, _: str) -> tuple[Fault, tuple[str, str]]:
    """Return the fault that tasks use a connection that nothing opens again."""
    fault = inject("connection-kept", "keep-connections", tasks=with_sample(sut))
    return fault, (OTHERWISE, RESTART)


def tenant_of(sut: Sut, task: str) -> dict[str, str]:
    """Return the argument with a tenant, for a task that reads a tenant's table."""
    key = sut.value_of("tenancy.key")
    return {key: TENANT} if sut.task[task].reads and isinstance(key, str) else {}


@criterion(
    "RUN-04",
    needs=(
        "database",
        "celery",
        "worker",
        "ping",
        "task",
        "tenancy",
        "logs or worker.probe=inject",
    ),
)
@falsified_by_each(lambda _: ["REMAP_SIGTERM"], cold_shutdown)
@falsified_by(
    inject("impatient-shutdown", "exit-at-stop-signal"),
    expect=(EXIT_STATUS, "while its task runs"),
)
def test_warm_shutdown_finishes_the_running_task(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """After the stop signal a worker finishes its running task, and then exits."""
    with own_stack.running_worker(concurrency=1) as worker:
        own_stack.wait_ready(worker)
        reader = reader_of(own_stack)
        with tables_held(own_stack, reader.table):
            arguments = reader.of_tenant(sut, unused_tenant(own_stack, ids))
            task_id = own_stack.tasks.publish(reader.task, (), arguments)
            held = wait_for_a_session(own_stack, reader.table)
            premise("run that waits for a table", on=reader.task, got=bool(held), expected=True)
            worker.signal()
            wait_for_line(worker, STOPPING)
            status = worker.wait_exit(deadline_s=0)
            claim(EXIT_STATUS, on="while its task runs", got=status, expected=None)
        claim(EXIT_STATUS, on="after its last task", got=worker.wait_exit(), expected=0)
        result = own_stack.tasks.result(task_id, deadline_s=0.1)
        claim(STATE, on=RUNNING_TASK, got=result.end, expected="SUCCESS")
        runs = worker.log().matching(
            **{sut.ends.message: sut.ends.success, sut.ends.task_id: task_id}
        )
        claim("runs of the task in the log", on=RUNNING_TASK, got=len(runs), expected=1)


@criterion("RUN-06", needs=("database", "celery", "worker", "ping", "task"))
@falsified_by(
    inject("ends-without-server", "exit-without-server"),
    expect=(EXIT_STATUS, RESTART, "got 1"),
)
@falsified_by(
    inject("restarted-server-refused", "refuse-restarted-server"),
    expect=("states of the pings", RESTART),
)
@falsified_by_each(first_with_sample, connection_kept)
def test_worker_survives_a_restart_of_postgresql(own_server_stack: Stack) -> None:
    """A worker whose children, if it has any, were connected runs tasks again after a restart."""
    stack = own_server_stack
    with stack.running_worker(concurrency=CHILDREN) as worker:
        stack.wait_ready(worker)
        processes = CHILDREN if has_children(stack.sut) else 1
        busy = wait_until(
            lambda: {number_in(result, "pid") for result in ping_all(stack, worker)},
            lambda pids: len(pids) == processes,
            deadline_s=BUSY_DEADLINE_S,
        )
        premise("processes that ran a ping before", got=len(busy), expected=processes)
        before = {one: ends_of(stack, worker, one) for one in with_sample(stack.sut)}
        with stack.server_stopped():
            away = not stack.server.answers()
            wait_for_line(worker, LOST)
        premise("PostgreSQL is away during the restart", got=away, expected=True)
        states = [result.end for result in ping_all(stack, worker)]
        status = worker.wait_exit(deadline_s=0)
        claim(EXIT_STATUS, on=RESTART, got=status, expected=None)
        expected = ["SUCCESS"] * len(states)
        claim("states of the pings", on=RESTART, got=states, expected=expected)
        succeeded = [one for one, ends in before.items() if ends == SUCCEEDED]
        after = {one: ends_of(stack, worker, one) for one in succeeded}
        failed = [f"{one}: {ends}" for one, ends in after.items() if ends != SUCCEEDED]
        claim(OTHERWISE, on=RESTART, got=failed, expected=[])


def ends_of(stack: Stack, worker: Worker, task: str) -> str:
    """Run a task often enough that every child runs it, and return how its runs end, in short."""
    given, probe, until = stack.sut.task[task], stack.tasks, monotonic_s() + RESULT_DEADLINE_S
    kwargs = {**given.arguments.kwargs, **tenant_of(stack.sut, task)}
    sent = [probe.publish(task, given.arguments.args, kwargs) for _ in range(4 * CHILDREN)]
    ends: set[str] = set()
    for task_id in sent:
        left_s = max(until - monotonic_s(), 0.1) if worker.alive else 0.1
        ends.add(probe.result(task_id, deadline_s=left_s).end.partition("\n")[0])
    return ", ".join(sorted(ends))


def wait_for_line(worker: Worker, text: str) -> None:
    """Wait until a log line of a worker has a text, or until it has ended. The caller judges."""
    wait_until(
        lambda: not worker.alive or any(text in line for line in worker.log().lines),
        deadline_s=WATCHED_S,
        interval_s=0.1,
    )


def ping_all(stack: Stack, worker: Worker) -> list[TaskResult]:
    """Run enough pings at once to keep every child busy, without waiting for a dead worker."""
    ping, probe = stack.sut.ping, stack.tasks
    published = [probe.publish(ping.task, (), ping.arguments) for _ in range(4 * CHILDREN)]
    until = monotonic_s() + RESULT_DEADLINE_S

    def left_s() -> float:
        return max(until - monotonic_s(), 0.1) if worker.alive else 0.1

    return [probe.result(task_id, deadline_s=left_s()) for task_id in published]
