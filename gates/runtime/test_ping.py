"""Gate runtime: a worker process runs published tasks, and their results are in the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from gateproof import (
    POOL_SOLO,
    RESULT_DEADLINE_S,
    EagerModeError,
    Stack,
    Sut,
    TaskResult,
    Worker,
    at_least_one,
    claim,
    criterion,
    falsified_by,
    falsified_by_each,
    inject,
    logs,
    premise,
    process,
    settings,
    wait_until,
)

from ..answer import number_in
from ..described import falsified_in_sql
from ..pools import has_children

MESSAGES = "kombu_message"
ROUNDS = 3
STORED_DEADLINE_S = 20.0

STATE, RAN_IN = "state of the ping", "process that ran the ping"
MOST, ROWS = "pings that a single process ran", "result rows of the ping"
VALUE = "result of the ping with its row"
EAGER, REFUSAL = "eager mode that the process reports", "refusal of evidence from eager mode"
"""Names of claims that falsifiers predict."""


@criterion("RUN-01", needs=("database", "celery", "worker", "ping.expect", "task"))
@falsified_by(
    inject("eager", "configure", task_always_eager=True),
    expect=(RAN_IN, "first ping", "got publisher"),
)
@falsified_by(
    process("worker-killed", "kill"),
    expect=(STATE, "ping 1", "got PENDING"),
)
@falsified_by_each(
    lambda sut: [1] if has_children(sut) else [],
    lambda _, number: (
        inject("child-for-each-task", "configure", worker_max_tasks_per_child=number),
        (MOST, "", "got 1"),
    ),
)
def test_pings_come_back_from_one_worker_process(own_stack: Stack, sut: Sut) -> None:
    """Every ping succeeds, and one process of the worker runs three, on its own connection."""
    at_least_one(f"{sut.path.name}: ping.expect", sut.ping.expect)
    try:
        worker = own_stack.worker  # with its first ping
    except EagerModeError:
        claim(RAN_IN, on="first ping", got="publisher", expected="worker")
        return
    reports = []
    # Enough pings that at least one child must run three of them.
    for number in range(1, ROUNDS * sut.worker.concurrency + 1):
        done = expect_answer(own_stack, worker, f"ping {number}")
        if done is None:
            return
        reports.append(done)
    ran_in = Counter(number_in(one, "pid") for one in reports)
    most = max(ran_in.values())
    claim(MOST, got=most, relation="at_least", expected=ROUNDS, over=reports)
    own = set(worker.children()) if has_children(sut) else {worker.pid}
    claim(
        "processes that ran pings and are not of the worker",
        got=set(ran_in) - own,
        expected=[],
        over=ran_in,
    )
    if has_children(sut):
        parents = {number_in(one, "parent_pid") for one in reports}
        claim("parents of the processes that ran pings", got=parents, expected=[worker.pid])
    expect_own_connections(own_stack, worker, reports)


@criterion(
    "RUN-02",
    needs=(
        "database",
        "celery",
        "broker",
        "worker",
        "ping.expect",
        "task",
        "logs or worker.probe=inject",
    ),
)
@falsified_by(
    inject("backend-in-memory", "use-urls", results="cache+memory://"),
    expect=(ROWS, "", "got 0"),
)
@falsified_in_sql(
    "results-discarded",
    """
    CREATE FUNCTION discard() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
        'BEGIN DELETE FROM {results} WHERE id = NEW.id; RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER discard AFTER INSERT ON {results}
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION discard();
    """,
    landing="SELECT tgname FROM pg_trigger WHERE tgrelid = '{results}'::regclass",
    expect=(ROWS, "", "got 0"),
)
@falsified_by(
    inject("results-ignored", "configure", task_ignore_result=True),
    expect=(ROWS, "", "got 0"),
)
@falsified_by(
    inject("value-left-out", "lose-result-values"),
    expect=(VALUE, "", "null"),
)
def test_result_is_a_row_of_the_result_table(own_stack: Stack, sut: Sut) -> None:
    """A ping's row has its state and value, and a request for the result reads that row.

    The value is read as a publisher reads it, with the row and without it. So the check does not
    need to know how the system serializes a result.
    """
    wanted = at_least_one(f"{sut.path.name}: ping.expect", sut.ping.expect)
    with own_stack.running_worker(concurrency=1) as worker:
        publisher = own_stack.tasks
        task_id = publisher.publish(sut.ping.task, (), sut.ping.arguments)
        # Celery stores a result before it signals success: after that line the row must exist.
        succeeded = {sut.ends.message: sut.ends.success, sut.ends.task_id: task_id}
        ended = worker.wait_log(deadline_s=STORED_DEADLINE_S, **succeeded).matching(**succeeded)
        premise("log lines of the ping", got=len(ended), relation="at_least", expected=1)
        rows = own_stack.sql.query(
            f"SELECT status FROM {sut.broker.results} WHERE task_id = %s", (task_id,)
        ).column()
        if not claim(ROWS, got=len(rows), expected=1):
            return
        claim("state in the result row", got=rows[0], expected="SUCCESS")
        read = publisher.result(task_id)
        value = read.value if isinstance(read.value, Mapping) else {}
        value = {name: value.get(name) for name in wanted}
        claim(VALUE, got=value, expected=wanted)
    own_stack.sql.query(f"DELETE FROM {sut.broker.results} WHERE task_id = %s", (task_id,))
    left = publisher.result(task_id, deadline_s=0.2).state
    claim("state of the ping once its result row is deleted", got=left, expected="PENDING")


@criterion(
    "RUN-03", needs=("database", "celery", "worker.eager", "worker.report", "ping", "task", "logs")
)
@falsified_by_each(
    lambda sut: [sut.worker.eager],
    lambda _, name: (settings("eager", {name: "true"}), (EAGER, "running worker", "got true")),
)
@falsified_by(
    logs(
        "report-says-what-is-expected",
        "set",
        where={"message": "report"},
        field="eager",
        value=False,
    ),
    expect=(EAGER, "worker with eager mode on", "got false"),
)
@falsified_by(
    inject("eager-in-disguise", "run-in-publisher"),
    expect=(REFUSAL, "", "got accepted"),
)
def test_eager_mode_is_off_and_its_evidence_refused(own_stack: Stack, sut: Sut) -> None:
    """Worker and publisher run without eager mode, report it when it is on, and refuse it."""
    switched_on = {sut.worker.eager: "true"}
    with (
        own_stack.running_worker(pool=POOL_SOLO) as worker,
        own_stack.running_worker(pool=POOL_SOLO, env=switched_on) as other,
    ):
        eager, control = worker.report().eager, other.report().eager
    claim(EAGER, on="running worker", got=eager, expected=False)
    # The report must show the real setting.
    claim(EAGER, on="worker with eager mode on", got=control, expected=True)
    described = own_stack.tasks.describe().eager
    claim(EAGER, on="publisher", got=described, expected=False)
    before = messages(own_stack)
    refusal = ""
    try:
        own_stack.publisher(switched_on).publish(sut.ping.task, (), sut.ping.arguments)
    except EagerModeError as error:
        refusal = str(error)
    claim(REFUSAL, got=refusal or "accepted", relation="contains", expected="eager mode")
    published = messages(own_stack) - before
    claim("messages that a publisher in eager mode sent", got=published, expected=0)


def expect_answer(stack: Stack, worker: Worker, which: str) -> TaskResult | None:
    """Judge that a ping succeeds in a worker, and return its result; None if it does not."""
    done = ping(stack, worker)
    if not claim(STATE, on=which, got=done.end, expected="SUCCESS"):
        return None
    wanted = stack.sut.ping.expect
    value = done.value if isinstance(done.value, Mapping) else {}
    value = {name: value.get(name) for name in wanted}
    return done if claim("result of the ping", on=which, got=value, expected=wanted) else None


def expect_own_connections(stack: Stack, worker: Worker, reports: Sequence[TaskResult]) -> None:
    """Judge that pings queried the database on connections of the worker, if they return them.

    A ping that returns no `backend_pid`, such as the probe's, makes no claim about a connection.
    """
    backends = {one.value["pid"]: one.value.get("backend_pid") for one in reports}
    if None in backends.values():
        return
    clients = stack.sql.query(
        "SELECT client_port FROM pg_stat_activity WHERE pid = ANY(%s)", (list(backends.values()),)
    ).column()
    claim("backends that answered pings and still run", got=len(clients), expected=len(backends))
    own = {one.local_port for one in worker.connections()}
    claim(
        "ports of clients of those backends that are not the worker's",
        got=set(clients) - own,
        expected=[],
    )


def ping(stack: Stack, worker: Worker) -> TaskResult:
    """Run one ping, and stop waiting for it when the worker has ended."""
    task_id = stack.tasks.publish(stack.sut.ping.task, (), stack.sut.ping.arguments)
    return wait_until(
        lambda: stack.tasks.result(task_id, deadline_s=0.5),
        lambda seen: not seen.timed_out or not worker.alive,
        deadline_s=RESULT_DEADLINE_S,
    )


def messages(stack: Stack) -> int:
    """Count all rows of the message table."""
    count: int = stack.sql.query(f"SELECT count(*) FROM {MESSAGES}").scalar()
    return count
