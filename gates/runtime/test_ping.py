"""Gate runtime: a worker process runs published tasks, and their results are in the database."""

from __future__ import annotations

from collections import Counter

from gateproof import (
    POOL_SOLO,
    RESULT_DEADLINE_S,
    EagerModeError,
    Ids,
    Stack,
    Sut,
    TaskResult,
    Worker,
    at_least_one,
    criterion,
    falsified_by,
    inject,
    logs,
    process,
    settings,
    sql,
    wait_until,
)

RESULTS, MESSAGES = "celery_taskmeta", "kombu_message"
ROUNDS = 3
STORED_DEADLINE_S = 20.0


@criterion("RUN-01", needs=("database", "celery", "worker", "ping.expect", "task"))
@falsified_by(
    settings("eager", {"CELERY_TASK_ALWAYS_EAGER": "true"}),
    expect="eager mode: app.tasks.housekeeping.ping ran inside the publisher",
)
@falsified_by(
    process("worker-killed", "kill"),
    expect="state of ping 1: got PENDING",
)
@falsified_by(
    inject("child-for-each-task", "configure", worker_max_tasks_per_child=1),
    expect="pings that a single process ran: got 1 at most",
)
def test_pings_come_back_from_one_worker_process(own_stack: Stack, sut: Sut) -> None:
    """Every ping succeeds, and one child of the worker runs three, on its own connection."""
    at_least_one(f"{sut.path.name}: ping.expect", sut.ping.expect)
    worker = own_stack.worker
    reports = []
    # Enough pings that at least one child must run three of them.
    for number in range(1, ROUNDS * sut.worker.concurrency + 1):
        done = ping(own_stack, worker)
        assert done.state == "SUCCESS", (
            f"state of ping {number}: got {done.state} from a worker that "
            f"{'runs' if worker.alive else 'has ended'}, expected SUCCESS"
        )
        value = {name: done.value.get(name) for name in sut.ping.expect}
        assert value == sut.ping.expect, (
            f"result of ping {number}: got {value}, expected {sut.ping.expect}"
        )
        reports.append(done.value)
    most = max(Counter(one["pid"] for one in reports).values())
    assert most >= ROUNDS, (
        f"pings that a single process ran: got {most} at most, expected {ROUNDS} of {len(reports)}"
    )
    children = worker.children()
    ran_in = {one["pid"]: one["backend_pid"] for one in reports}
    assert set(ran_in) <= set(children), (
        f"processes that ran the pings: got {sorted(ran_in)}, expected children of the worker, "
        f"{sorted(children)}"
    )
    parents = {one["parent_pid"] for one in reports}
    assert parents == {worker.pid}, (
        f"parents of the processes that ran the pings: got {sorted(parents)}, expected the "
        f"worker, {worker.pid}"
    )
    clients = own_stack.sql.query(
        "SELECT client_port FROM pg_stat_activity WHERE pid = ANY(%s)", (list(ran_in.values()),)
    ).column()
    assert len(clients) == len(ran_in), (
        f"backends that answered pings: got {len(clients)} that still run, expected {len(ran_in)}"
    )
    assert set(clients) <= {one.local_port for one in worker.connections()}, (
        f"clients of the backends that answered pings: got ports {clients}, expected the worker's "
        "own"
    )


@criterion("RUN-02", needs=("database", "celery", "worker", "ping", "task", "tenancy", "logs"))
@falsified_by(
    settings("backend-in-memory", {"CELERY_RESULT_BACKEND": "cache+memory://"}),
    expect=f"rows of {RESULTS} for a ping: got 0",
)
@falsified_by(
    sql(
        "results-discarded",
        f"""
        CREATE FUNCTION discard() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
            'BEGIN DELETE FROM {RESULTS} WHERE id = NEW.id; RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER discard AFTER INSERT ON {RESULTS}
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION discard();
        """,
        landing=f"SELECT tgname FROM pg_trigger WHERE tgrelid = '{RESULTS}'::regclass",
    ),
    expect=f"rows of {RESULTS} for a ping: got 0",
)
@falsified_by(
    inject("results-ignored", "configure", task_ignore_result=True),
    expect=f"rows of {RESULTS} for a ping: got 0",
)
@falsified_by(
    inject("value-left-out", "lose-result-values"),
    expect=f"result in {RESULTS}: got a value without the ping's tenant",
)
def test_result_is_a_row_of_the_result_table(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """A ping's row has its state and value, and a request for the result reads that row."""
    marker = str(ids.uuid())
    with own_stack.running_worker(concurrency=1) as worker:
        publisher = own_stack.tasks
        task_id = publisher.publish(
            sut.ping.task, (), {**sut.ping.arguments, sut.tenancy.key: marker}
        )
        # Celery stores a result before it signals success: after that line the row must exist.
        succeeded = {sut.logs.message: sut.logs.success, sut.logs.task_id: task_id}
        ended = worker.wait_log(deadline_s=STORED_DEADLINE_S, **succeeded).matching(**succeeded)
        assert ended, f"log of the worker: got no {sut.logs.success!r} of the ping, expected one"
        rows = own_stack.sql.query(
            "SELECT status, position(convert_to(%s, 'UTF8') IN result) > 0 AS has_value, date_done"
            f" FROM {RESULTS} WHERE task_id = %s",
            (marker, task_id),
        ).dicts()
        assert len(rows) == 1, f"rows of {RESULTS} for a ping: got {len(rows)}, expected 1"
        assert rows[0]["status"] == "SUCCESS", (
            f"status in {RESULTS}: got {rows[0]['status']}, expected SUCCESS"
        )
        assert rows[0]["has_value"], (
            f"result in {RESULTS}: got a value without the ping's tenant, expected the tenant in it"
        )
    own_stack.sql.query(f"DELETE FROM {RESULTS} WHERE task_id = %s", (task_id,))
    left = publisher.result(task_id, deadline_s=0.2).state
    assert left == "PENDING", (
        f"result of the ping once its row in {RESULTS} is deleted: got {left}, expected PENDING: "
        "the row is the result"
    )


@criterion(
    "RUN-03", needs=("database", "celery", "worker.eager", "worker.report", "ping", "task", "logs")
)
@falsified_by(
    settings("eager", {"CELERY_TASK_ALWAYS_EAGER": "true"}),
    expect="eager mode of the running worker: got True",
)
@falsified_by(
    logs(
        "report-says-what-is-expected",
        "set",
        where={"message": "report"},
        field="eager",
        value=False,
    ),
    expect="eager mode of a worker with CELERY_TASK_ALWAYS_EAGER on: got False",
)
@falsified_by(
    inject("eager-in-disguise", "run-in-publisher"),
    expect="evidence obtained in eager mode: got accepted",
)
def test_eager_mode_is_off_and_its_evidence_refused(own_stack: Stack, sut: Sut) -> None:
    """Worker and publisher run without eager mode, report it when it is on, and refuse it."""
    switched_on = {sut.worker.eager: "true"}
    with (
        own_stack.running_worker(pool=POOL_SOLO) as worker,
        own_stack.running_worker(pool=POOL_SOLO, env=switched_on) as other,
    ):
        eager, control = worker.report().eager, other.report().eager
        assert eager is False, f"eager mode of the running worker: got {eager}, expected False"
        assert control is True, (
            f"eager mode of a worker with {sut.worker.eager} on: got {control}, expected True: "
            "the report must show the real setting"
        )
    described = own_stack.tasks.describe().eager
    assert described is False, f"eager mode of the publisher: got {described}, expected False"
    before = messages(own_stack)
    refusal = ""
    try:
        own_stack.publisher(switched_on).publish(sut.ping.task, (), sut.ping.arguments)
    except EagerModeError as error:
        refusal = str(error)
    assert "eager mode" in refusal, (
        f"evidence obtained in eager mode: got {refusal or 'accepted'}, expected a refusal"
    )
    published = messages(own_stack) - before
    assert published == 0, (
        f"messages that a publisher in eager mode sent: got {published}, expected 0"
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
