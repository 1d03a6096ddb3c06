"""The probe tasks, loaded into a foreign system and into the reference system."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gateproof.base.errors import HarnessError
from gateproof.base.wait import wait_until
from gateproof.probes.worker import Worker
from gateproof.stack.stack import Stack
from tests.integration.harness.conftest import BringUps
from tests.shop import write_shop

ROOT = Path(__file__).parents[3]
PREFIX = "gateproof.probe."
BY_LOADER, BY_COMMAND = '"-c", "{concurrency}",', '"-c", "{concurrency}", "-I", "{probe}",'
"""How the worker gets the tasks: through Celery's loader, or with the option of its command."""

LOGS = re.compile(r"(?ms)^\[logs\]\n.*?(?=^\[|\Z)")
"""The section about log lines in a description."""

ROUTES = """
from kombu import Exchange, Queue

exchange = Exchange("shop", type="topic")
app.conf.task_queues = [
    Queue(name, exchange, routing_key=f"{name}.#") for name in ("orders", "invoices")
]
app.conf.task_routes = {"*": {"queue": "orders", "routing_key": "orders.task"}}
app.conf.task_create_missing_queues = False
"""
INVOICES = """
[task."shop.invoice"]
queue = "invoices"
"""
OVERLAPPING = """
@app.task(name="gateproof.probe.ping")
def another() -> str:
    return "the shop's own"
"""


def shop(tmp_path: Path, *, command: str = BY_LOADER, code: str = "", tasks: str = "") -> Path:
    """Write a shop whose description asks for the probe tasks and has no section for a ping."""
    path = write_shop(tmp_path / "shop")
    text = path.read_text(encoding="utf-8")
    head, _, rest = text.partition("[ping]")
    text = head.replace(BY_LOADER, command) + rest[rest.index("[task.") :]
    text = text.replace("[worker]\n", '[worker]\nprobe = "inject"\n')
    path.write_text(text.replace("[[absent]]", f"{tasks}\n[[absent]]", 1), encoding="utf-8")
    with (tmp_path / "shop" / "shop" / "app.py").open("a", encoding="utf-8") as file:
        file.write(code)
    return path


def expect_tasks(stack: Stack, pool: str) -> None:
    """Judge that a worker with this pool runs all five tasks."""
    with stack.running_worker(pool=pool, concurrency=2) as worker:
        stack.wait_ready(worker)
        run = stack.tasks.run
        done = run(stack.sut.ping.task)
        assert (done.state, done.value["status"]) == ("SUCCESS", "ok")
        in_child = done.value["parent_pid"] == worker.pid
        assert (in_child, done.value["pid"] == worker.pid) == (pool == "prefork", pool != "prefork")
        failed = run(f"{PREFIX}fail", {"message": "as asked", "given": {"any": 1}})
        assert failed.state == "FAILURE"
        assert failed.value == {"exception": "ProbeFailureError", "message": "as asked"}
        tried = run(f"{PREFIX}retry")
        assert (tried.state, tried.value["attempts"]) == ("SUCCESS", 2)
        held = stack.tasks.publish(f"{PREFIX}hold", (), {"seconds": 1.5})
        assert stack.tasks.result(held, deadline_s=0.5).timed_out
        assert 1.5 <= stack.tasks.result(held).value["took_s"] < 10
        asked = run(f"{PREFIX}query", {"setting": "shop.tenant"})
        assert asked.value["current_user"] == stack.sut.worker.role
        assert asked.value["setting"] in (None, "")
        assert asked.value["version"].startswith("PostgreSQL ")
        table = {"table": "kombu_queue", "tenant": "A"}
        assert run(f"{PREFIX}query", table).value["given"] == {"tenant": "A"}
        assert run(f"{PREFIX}query", {"table": "a; b"}).value["exception"] == "ProbeQueryError"


@pytest.mark.parametrize("command", [BY_LOADER, BY_COMMAND], ids=["loader", "option"])
def test_foreign_system_runs_the_probe_tasks_in_three_pools(
    tmp_path: Path, bring_up: BringUps, command: str
) -> None:
    """They answer, fail, retry, hold and query, and the system has no line for them."""
    stack = bring_up(shop(tmp_path, command=command)).shared()
    for pool in ("prefork", "solo", "threads"):
        expect_tasks(stack, pool)
    named = [
        path for path in (tmp_path / "shop" / "shop").rglob("*.py") if PREFIX in path.read_text()
    ]
    assert named == []


def test_probe_tasks_go_to_any_described_queue_in_spite_of_routes(
    tmp_path: Path, bring_up: BringUps
) -> None:
    """A route for all tasks names another queue and key; an unknown queue is refused."""
    path = shop(tmp_path, code=ROUTES, tasks=INVOICES)
    stack = bring_up(path).shared()
    with stack.running_worker(queues=["invoices"]):
        state = stack.tasks.run(f"{PREFIX}ping", queue="invoices").state
        tried = stack.tasks.run(f"{PREFIX}ping", {"retry": 1}, queue="invoices").state
        elsewhere = stack.tasks.publish(f"{PREFIX}ping")
        waits = stack.tasks.result(elsewhere, deadline_s=1.0).timed_out
    assert (state, tried, waits) == ("SUCCESS", "SUCCESS", True)
    with pytest.raises(HarnessError, match="got refunds, expected one of orders, invoices"):
        stack.tasks.publish(f"{PREFIX}ping", queue="refunds")


def test_system_with_a_task_of_the_same_name_is_refused(tmp_path: Path, bring_up: BringUps) -> None:
    """The message names the task, and nothing is published."""
    stack = bring_up(shop(tmp_path, code=OVERLAPPING)).shared()
    with pytest.raises(HarnessError, match=r"got gateproof\.probe\.ping from the system"):
        stack.tasks.publish(f"{PREFIX}fail")
    assert stack.sql.query("SELECT to_regclass('kombu_message') IS NULL").scalar() or (
        stack.sql.query("SELECT count(*) FROM kombu_message").scalar() == 0
    )


def test_reference_system_runs_the_probe_tasks(tmp_path: Path, bring_up: BringUps) -> None:
    """Its worker starts with its own command, its routes know none of the names."""
    text = (ROOT / "system" / "sut.toml").read_text(encoding="utf-8")
    text = text.replace("[worker]\n", '[worker]\nprobe = "inject"\n')
    head, _, rest = text.partition("[ping]")
    path = tmp_path / "sut.toml"
    path.write_text(
        (head + rest[rest.index("[task]") :]).replace('root = ".."', f'root = "{ROOT}"')
    )
    stack = bring_up(path).own_stack(warm=True)
    for pool in ("prefork", "solo", "threads"):
        expect_tasks(stack, pool)
    names = set(stack.tasks.describe().tasks)
    assert names == set(stack.sut.tasks), "the system's own tasks stay as they are"


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_workers_without_described_logs_report_each_end_once(
    tmp_path: Path, bring_up: BringUps, pool: str
) -> None:
    """Success, failure and retry each give one line, in every pool; a killed child gives a failure.

    The task of the system itself is reported like a probe task.
    """
    path = shop(tmp_path, command=BY_COMMAND)
    described = path.read_text(encoding="utf-8")
    path.write_text(LOGS.sub("", described), encoding="utf-8")
    stack = bring_up(path).own_stack()
    names = stack.sut.ends
    stack.sql.query("CREATE TABLE held ()")
    stack.sql.query(f"GRANT SELECT ON held TO {stack.sut.worker.role}")
    with stack.running_worker(pool=pool, concurrency=1) as worker:
        stack.wait_ready(worker)
        sent = {
            "success": [stack.tasks.publish("shop.ping"), stack.tasks.publish(f"{PREFIX}retry")],
            "failure": [stack.tasks.publish(f"{PREFIX}fail")],
        }
        if pool == "prefork":
            sent["failure"].append(kill_child_of_a_run(stack, worker))
        everything = [task_id for ids in sent.values() for task_id in ids]
        for task_id in everything:
            assert not stack.tasks.result(task_id).timed_out
        for end, ids in sent.items():
            for task_id in ids:
                fields: dict[str, Any] = {names.task_id: task_id, names.message: end}
                worker.wait_log(**fields)
        found = Counter(
            (line[names.task_id], line[names.message])
            for line in worker.log().entries()
            if line.get(names.task_id) in everything
        )
    retried = sent["success"][1]
    expected = {(one, end): 1 for end, ids in sent.items() for one in ids} | {(retried, "retry"): 1}
    assert dict(found) == expected


def kill_child_of_a_run(stack: Stack, worker: Worker) -> str:
    """Kill the only child in the middle of a task, and return the id of the task."""
    with stack.sql.session() as session:
        session.query("LOCK TABLE held")
        task_id = stack.tasks.publish(f"{PREFIX}query", (), {"table": "held"})
        waiting = wait_until(
            lambda: stack.sql.query(
                "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            ).column(),
            deadline_s=20,
        )
        assert len(waiting) == 1, "premise: the task waits for the table"
        (child,) = worker.children()
        worker.kill_child(child)
    return task_id
