"""Gate runtime: what is published is run by a worker process, and its result is in the database."""

from __future__ import annotations

from gates.patching import patch
from harness import criterion, falsified_by, settings, sql
from harness.fixtures import Ids
from harness.probes.tasks import EagerModeError
from harness.stack import POOL_PREFORK, Stack
from harness.sut import Sut

RESULTS, MESSAGES = "celery_taskmeta", "kombu_message"
ROUNDS = 3
STORED_DEADLINE_S = 20.0


@criterion("RUN-01")
@falsified_by(
    settings("eager", {"CELERY_TASK_ALWAYS_EAGER": "true"}),
    expect="eager mode: app.tasks.housekeeping.ping ran inside the publisher",
)
@falsified_by(
    patch("child-for-each-task", "runtime/falsifiers/child_for_each_task.py"),
    expect="process that ran ping 1: got",
)
def test_pings_come_back_from_one_worker_process(own_stack: Stack, sut: Sut) -> None:
    """Three pings run in one and the same child of the worker, each on a connection of its own."""
    with own_stack.running_worker(pool=POOL_PREFORK, concurrency=1) as worker:
        own_stack.wait_ready(worker)
        children = worker.children()
        assert len(children) == 1, (
            f"children of a prefork worker of one: got {children}, expected one"
        )
        for number in range(1, ROUNDS + 1):
            done = own_stack.tasks.run(sut.ping.task, sut.ping.arguments)
            assert done.state == "SUCCESS", (
                f"state of ping {number}: got {done.state}, expected SUCCESS"
            )
            told = {name: done.value.get(name) for name in sut.ping.expect}
            assert told == sut.ping.expect, (
                f"result of ping {number}: got {told}, expected {sut.ping.expect}"
            )
            ran_in, parent = done.value["pid"], done.value["parent_pid"]
            assert ran_in == children[0], (
                f"process that ran ping {number}: got {ran_in}, expected {children[0]}, the one "
                "child that the worker had before the first"
            )
            assert parent == worker.pid, (
                f"parent of the process that ran ping {number}: got {parent}, expected the "
                f"worker, {worker.pid}"
            )
            port = own_stack.sql.query(
                "SELECT client_port FROM pg_stat_activity WHERE pid = %s",
                (done.value["backend_pid"],),
            ).scalar()
            assert port in worker.local_ports(), (
                f"client of the backend that answered ping {number}: got port {port}, expected "
                "one of the worker's own"
            )


@criterion("RUN-02")
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
def test_result_is_a_row_of_the_result_table(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """A ping's row holds its state and value, and who asks for the result is given that row."""
    marker = str(ids.uuid())
    with own_stack.running_worker() as worker:
        worker.report()
        publisher = own_stack.tasks
        task_id = publisher.publish(
            sut.ping.task, (), {**sut.ping.arguments, sut.tenancy.key: marker}
        )
        # Celery stores a result before it signals success: after that line, no row is no result.
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
            f"result in {RESULTS}: got a value without the ping's tenant, expected it in there"
        )
    own_stack.sql.query(f"DELETE FROM {RESULTS} WHERE task_id = %s", (task_id,))
    left = publisher.result(task_id, deadline_s=0.2).state
    assert left == "PENDING", (
        f"result of the ping once its row in {RESULTS} is deleted: got {left}, expected PENDING: "
        "the row is the result"
    )


@criterion("RUN-03")
@falsified_by(
    settings("eager", {"CELERY_TASK_ALWAYS_EAGER": "true"}),
    expect="eager mode of the running worker: got True",
)
@falsified_by(
    patch("eager-in-disguise", "runtime/falsifiers/eager_in_disguise.py"),
    expect="evidence obtained in eager mode: got accepted",
)
def test_eager_mode_is_off_and_its_evidence_refused(own_stack: Stack, sut: Sut) -> None:
    """Worker and publisher have eager mode off, say so when it is on, and nothing passes in it."""
    switched_on = {sut.worker.eager: "true"}
    with own_stack.running_worker() as worker, own_stack.running_worker(env=switched_on) as other:
        eager, control = worker.report().eager, other.report().eager
        assert eager is False, f"eager mode of the running worker: got {eager}, expected False"
        assert control is True, (
            f"eager mode of a worker with {sut.worker.eager} on: got {control}, expected True: "
            "the report must be able to say so"
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


def messages(stack: Stack) -> int:
    """Count all messages, those of the past too."""
    count: int = stack.sql.query(f"SELECT count(*) FROM {MESSAGES}").scalar()
    return count
