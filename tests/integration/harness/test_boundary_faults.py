"""Boundary faults land in a copy, show it, leave a check green when inert, and red when not."""

from __future__ import annotations

import socket
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateproof import http, inject, logs, message
from gateproof.base.errors import HarnessError
from gateproof.faults.interface import Fault
from gateproof.stack.bring_up import BringUp
from gateproof.stack.copy import Copy
from gateproof_evidence.errors import BadInputError

MakeCopy = Callable[[Fault], Copy]
PING = "app.tasks.housekeeping.ping"


@pytest.fixture
def make_copy(brought_up: BringUp) -> Iterator[MakeCopy]:
    """Creates and prepares the copy that a fault needs, which has no files of its own."""
    made: list[Copy] = []

    def make(fault: Fault) -> Copy:
        assert fault.tree is None
        copy = Copy.make(brought_up, tree=fault.tree, own_server=False, needs_stack=True)
        made.append(copy)
        fault.prepare(copy)
        return copy

    yield make
    for copy in made:
        copy.dispose()


def expect_red_only_after(fault: Fault, copy: Copy, check: Callable[[], None], says: str) -> None:
    """Judge that a check is green after the inert change, and red after the fault, which landed."""
    assert fault.change_inertly(copy)
    check()
    before = fault.fingerprint(copy)
    assert fault.fingerprint(copy) == before, "the evidence is the same without a fault"
    fault.inject(copy)
    after = fault.fingerprint(copy)
    assert before != after
    with pytest.raises(AssertionError, match=says):
        check()


def test_injected_configuration_reaches_the_worker(make_copy: MakeCopy) -> None:
    """Results are ignored, although no file of the system is changed."""
    fault = inject("results-ignored", "configure", task_ignore_result=True)
    copy = make_copy(fault)

    def check() -> None:
        stack = copy.stack
        assert stack.worker.alive
        task_id = stack.tasks.publish(PING)
        state = stack.tasks.result(task_id, deadline_s=5.0).state
        assert state == "SUCCESS", f"state: got {state}"

    check()
    before = fault.fingerprint(copy)
    fault.inject(copy)
    assert "'False'" in before.replace('"', "'")
    assert "'True'" in fault.fingerprint(copy).replace('"', "'")
    stored = copy.stack.sql.query("SELECT FROM celery_taskmeta").count
    with copy.stack.running_worker() as worker:
        task_id = copy.stack.tasks.publish(PING)
        line: dict[str, Any] = {"message": "task succeeded", "task_id": task_id}
        assert worker.wait_log(**line).matching(**line)
        rows = copy.stack.sql.query("SELECT FROM celery_taskmeta").count
        assert rows == stored, "the ping has no row"


def test_injected_code_runs_in_worker_and_reports_its_state(make_copy: MakeCopy) -> None:
    """A module of the gate's author is loaded, and its function gives the evidence."""
    code = """
    def loaded(app):
        app.tasks["app.tasks.housekeeping.ping"].run = lambda **given: {"status": "odd"}


    def state(app):
        return app.tasks["app.tasks.housekeeping.ping"].run.__name__
    """
    fault = inject("odd-status", code=textwrap.dedent(code))
    copy = make_copy(fault)

    def check() -> None:
        assert copy.stack.worker.alive
        status = copy.stack.tasks.run(PING).value["status"]
        assert status == "ok", f"status: got {status}"

    expect_red_only_after(fault, copy, check, "status: got odd")


def test_renamed_task_is_seen_by_publishers(make_copy: MakeCopy) -> None:
    """The change is in publishers as well as in workers."""
    fault = inject("renamed", "rename-task", task=PING, to="app.tasks.housekeeping.pong")
    copy = make_copy(fault)

    def check() -> None:
        names = copy.stack.tasks.describe().tasks
        assert PING in names, "names: ping is missing"

    expect_red_only_after(fault, copy, check, "ping is missing")


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (message("dropped", "drop"), "messages: got 0 in none"),
        (message("doubled", "duplicate"), "messages: got 2 in housekeeping, housekeeping"),
        (message("moved", "move", queue="llm"), "messages: got 1 in llm"),
        (message("edited", "edit", pattern="housekeeping.ping", replacement="pong"), "name: got"),
        (message("late", "delay", delay_s=2.0), "publishing: took 2"),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_message_fault_changes_what_is_queued(make_copy: MakeCopy, fault: Fault, says: str) -> None:
    """A published ping is missing, twice there, elsewhere, another one or late."""
    copy = make_copy(fault)

    def check() -> None:
        sql = copy.stack.sql
        began = sql.query("SELECT extract(epoch FROM clock_timestamp())").scalar()
        task_id = copy.stack.tasks.publish(PING)
        took = sql.query("SELECT extract(epoch FROM clock_timestamp())").scalar() - began
        rows = sql.query(
            "SELECT q.name, m.payload::json #>> '{headers,task}' FROM kombu_message m"
            " JOIN kombu_queue q ON q.id = m.queue_id WHERE m.payload LIKE %s",
            (f"%{task_id}%",),
        ).rows
        queues = ", ".join(row[0] for row in rows) or "none"
        assert queues == "housekeeping", f"messages: got {len(rows)} in {queues}"
        assert rows[0][1] == PING, f"name: got {rows[0][1]}"
        assert int(took) < 2, f"publishing: took {int(took)} s"

    assert copy.stack.tasks.describe().tasks, "the publisher has started"
    expect_red_only_after(fault, copy, check, says)
    if fault.name == "dropped":
        assert fault.fingerprint(copy).endswith("changed so far: 3"), "samples are counted too"


def test_message_fault_keeps_what_is_deleted(make_copy: MakeCopy) -> None:
    """The message of a finished task stays in the table."""
    fault = message("kept", "keep")
    copy = make_copy(fault)

    def check() -> None:
        assert copy.stack.worker.alive
        assert copy.stack.tasks.run(PING).state == "SUCCESS"
        copy.stack.worker.stop()
        left = copy.stack.sql.query("SELECT FROM kombu_message").count
        copy.stack.stop_processes()
        assert left == 0, f"left: got {left}"

    expect_red_only_after(fault, copy, check, "left: got [12]")


METRICS = "celery_task_started_total"
ANSWERS = {
    "constant": (
        http("constant", "health", status=503, body="{}", content_type="application/json"),
        "status: got 503",
    ),
    "type": (http("type", "health", content_type="text/html"), "type: got text/html"),
    "edited": (http("edited", "metrics", pattern=rf"^# TYPE {METRICS}.*?\n"), "family: got none"),
    "label": (
        http("label", "metrics", pattern=r"task_name=", replacement="task="),
        "labels: got another",
    ),
    "slow": (http("slow", "health", delay_s=30.0), "status: got 0"),
    "stale": (http("stale", "metrics", stale=True), "rise: got none"),
    "any-method": (http("any-method", "health", any_method=True), "POST: got 200"),
    "secret": (
        http("secret", "health", pattern=r"\}\s*\Z", replacement=', "at": "{dsn}"}'),
        "secret: got one",
    ),
    "crowded": (http("crowded", "health", most_connections=3), "connections: got one closed"),
    "fragile": (http("fragile", "health", ends_with_nonsense=True), "after nonsense: got 0"),
}


def inspect_endpoints(copy: Copy) -> None:
    """Judge health and metrics of a worker, as a check does."""
    stack = copy.stack
    with stack.running_worker(pool="solo") as worker:
        stack.wait_ready(worker)
        before = stack.http.get(worker.metrics_url).body
        stack.tasks.run(PING)
        after = stack.http.get(worker.metrics_url)
        assert f"# TYPE {METRICS} counter" in after.body, "family: got none"
        assert f'{METRICS}{{task_name="{PING}"' in after.body, "labels: got another"
        assert before != after.body, "rise: got none"
        health = stack.http.get(worker.health_url, timeout_s=2.0)
        assert health.status == 200, f"status: got {health.status}"
        kind = health.headers["content-type"]
        assert kind.startswith("application/json"), f"type: got {kind}"
        assert "postgresql://" not in health.body, "secret: got one"
        status = stack.http.request("POST", worker.health_url).status
        assert status == 405, f"POST: got {status}"
        expect_room(worker.url)
        stack.http.raw(worker.url, b"nonsense\r\n\r\n")
        status = stack.http.get(worker.health_url).status
        assert status == 200, f"after nonsense: got {status}"


def expect_room(url: str) -> None:
    """Judge that eight connections stay open."""
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    held = [socket.create_connection(address) for _ in range(8)]
    try:
        held[-1].settimeout(0.5)
        with pytest.raises(TimeoutError):
            assert held[-1].recv(1), "connections: got one closed"
    finally:
        for one in held:
            one.close()


@pytest.mark.parametrize("name", list(ANSWERS))
def test_http_fault_answers_in_place_of_the_worker(make_copy: MakeCopy, name: str) -> None:
    """The relay alone makes a check of the endpoints red."""
    fault, says = ANSWERS[name]
    copy = make_copy(fault)
    expect_red_only_after(fault, copy, lambda: inspect_endpoints(copy), says)


LINES = {
    "dropped": (logs("dropped", "drop", where={"message": "success"}), "lines: got 0"),
    "field": (logs("field", "drop", field="task_name"), "fields: got no task_name"),
    "renamed": (logs("renamed", "rename", field="task_name", value="task"), "got no task_name"),
    "doubled": (logs("doubled", "duplicate", where={"message": "success"}), "lines: got 2"),
    "broken": (logs("broken", "break", where={"message": "success"}), "JSON: got a plain line"),
    "secret": (logs("secret", "insert", text='{"at": "{dsn}"}'), "secret: got one"),
    "copied": (
        logs("copied", "copy", field="correlation_id", value="task_id"),
        "correlation: got the id of the task",
    ),
    "shifted": (
        logs("shifted", "shift", field="timestamp", value=19800),
        r"time: got 2\d\d\d-.* after",
    ),
}


@pytest.mark.parametrize("name", list(LINES))
def test_log_fault_changes_what_is_read(make_copy: MakeCopy, name: str) -> None:
    """The filter alone makes a check of the log red."""
    fault, says = LINES[name]
    copy = make_copy(fault)

    def check() -> None:
        stack = copy.stack
        names = stack.sut.logs
        with stack.running_worker(pool="solo") as worker:
            stack.wait_ready(worker)
            task_id = stack.tasks.publish(PING, (), {}, headers={"correlation_id": "c-1"})
            stack.tasks.result(task_id)
            fields: dict[str, Any] = {names.task_id: task_id}
            log = worker.wait_log(deadline_s=3.0, **fields)
            assert not log.plain(), "JSON: got a plain line"
            assert "postgresql://" not in "".join(log.lines), "secret: got one"
            found = log.matching(**{names.message: names.success, names.task_id: task_id})
            assert len(found) == 1, f"lines: got {len(found)}"
            assert names.task_name in found[0], "fields: got no task_name"
            assert found[0][names.correlation_id] == "c-1", "correlation: got the id of the task"
            at, now = found[0][names.timestamp], stack.sql.query("SELECT now()::text").scalar()
            fresh = stack.sql.query(
                "SELECT %s::timestamptz <= now() + interval '1 minute'", (at,)
            ).scalar()
            assert fresh, f"time: got {at} after {now}"

    expect_red_only_after(fault, copy, check, says)


def test_fault_that_changes_nothing_is_refused() -> None:
    """Each kind refuses arguments that cannot break a claim, and names what it expects."""
    with pytest.raises(BadInputError, match=r"change: got 'sleep-early', expected one of ack"):
        inject("x", "sleep-early")
    with pytest.raises(BadInputError, match=r"code: got .*expected Python"):
        inject("x", code="def")
    with pytest.raises(BadInputError, match=r"expected a change with its options, or code"):
        inject("x")
    with pytest.raises(BadInputError, match=r"got nothing that changes"):
        http("x", "health")
    with pytest.raises(BadInputError, match=r"pattern: got '\('"):
        http("x", "health", pattern="(")
    with pytest.raises(BadInputError, match=r"edit: got pattern=''"):
        message("x", "edit")
    with pytest.raises(BadInputError, match=r"rename: got field=''"):
        logs("x", "rename")


def test_message_fault_without_its_tables_is_refused(make_copy: MakeCopy) -> None:
    """A broker with other tables is no broker for this fault."""
    fault = message("x", "drop", messages="no_message")
    with pytest.raises(HarnessError, match=r"got none, expected no_message and kombu_queue"):
        fault.fingerprint(make_copy(fault))
