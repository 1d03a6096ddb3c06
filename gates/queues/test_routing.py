"""Gate queues: every task goes to its own queue, and only workers of this queue take it."""

from __future__ import annotations

from gateproof import (
    Stack,
    Sut,
    TaskProbe,
    at_least_one,
    claim,
    criterion,
    falsified_by,
    inject,
    message,
    premise,
    sql,
)

from .messages import messages_of, task_queues

DECLARED, CONSUMED = "queues that the broker's table declares", "queues that the worker consumes"
QUEUE, KEY = "queue of the task's message", "routing key of the task's message"
FOREIGN, STORED = "state of the task of a queue without a worker", "queues that store its message"
"""Names of claims that falsifiers predict."""
PING = "app.tasks.housekeeping.ping"
"""The described ping, whose name falsifiers predict."""


@criterion(
    "QUE-01",
    needs=("database", "celery", "broker.kind=sqla", "worker.report", "ping", "task", "logs"),
)
@falsified_by(
    sql(
        "fifth-queue",
        "INSERT INTO kombu_queue (name) VALUES ('celery')",
        landing="SELECT name FROM kombu_queue ORDER BY name",
    ),
    expect=(DECLARED, "", "got attribution, celery, housekeeping"),
)
@falsified_by(
    inject("deaf-worker", "leave-queue"),
    expect=(CONSUMED, "", "got attribution, housekeeping, llm, expected"),
)
def test_queues_are_the_described_ones(own_stack: Stack, sut: Sut) -> None:
    """The table has exactly the described queues, and the worker reports and consumes them."""
    wanted = at_least_one(f"{sut.path.name}: queues", tuple(sorted(sut.queues)))
    worker = own_stack.worker
    consumed = tuple(sorted(worker.report().queues))
    if not claim(CONSUMED, got=consumed, expected=wanted):
        return
    sent = {queue: _send_ping(own_stack.tasks, sut, queue) for queue in wanted}
    for queue, task_id in sent.items():
        result = own_stack.tasks.result(task_id)
        if not claim("state of the ping", on=queue, got=result.state, expected="SUCCESS"):
            return
    claim(DECLARED, got=task_queues(own_stack.sql), expected=wanted)
    known = tuple(sorted(own_stack.tasks.describe().queues))
    claim("queues of the app", got=known, expected=wanted)


@criterion("QUE-02", needs=("database", "celery", "broker.kind=sqla", "worker", "task"))
@falsified_by(
    inject("routes-lost", "lose-routes"),
    expect=(KEY, PING, "got housekeeping.#"),
)
@falsified_by(
    inject("wrong-queue", "misroute", task=r"app\.tasks\.llm\..*", queue="attribution"),
    expect=(QUEUE, "app.tasks.llm.route", "got attribution"),
)
@falsified_by(
    inject("wrong-key", "misroute", key_suffix="s"),
    expect=(KEY, PING, "got housekeeping.tasks"),
)
@falsified_by(
    message("misrouted", "move", queue="housekeeping"),
    expect=(QUEUE, "app.tasks.maintenance.scan_for_pii_contamination", "got housekeeping"),
)
def test_every_task_is_stored_in_its_own_queue(own_stack: Stack, sut: Sut) -> None:
    """Without a worker, each task has one row, with the described queue and routing key."""
    may_be_sent = [task for task in sut.tasks if task not in sut.never_published]
    tasks = at_least_one(f"{sut.path.name}: tasks of the queues", may_be_sent)
    sent = {own_stack.tasks.publish(task): task for task in tasks}
    stored = messages_of(own_stack.sql, sent)
    for task_id, task in sent.items():
        found = [message for message in stored if message.task_id == task_id]
        if not claim("messages of the task", on=task, got=len(found), expected=1):
            continue
        queue = sut.queue_of(task)
        claim("task of the task's message", on=task, got=found[0].task, expected=task)
        claim(QUEUE, on=task, got=found[0].queue, expected=queue)
        claim(KEY, on=task, got=found[0].routing_key, expected=sut.task[task].key or queue)


@criterion("QUE-03", needs=("database", "celery", "broker.kind=sqla", "worker", "ping", "task"))
@falsified_by(
    inject("greedy-worker", "consume-all-queues"),
    expect=(STORED, "maintenance", "got none"),
)
@falsified_by(
    inject("bound-to-everything", "bind-to-everything"),
    expect=(FOREIGN, "maintenance", "got SUCCESS"),
)
def test_worker_of_one_queue_leaves_the_others_alone(own_stack: Stack, sut: Sut) -> None:
    """Tasks of the other queues stay unclaimed while the worker runs three tasks of its own."""
    own = sut.queue_of(sut.ping.task)
    others = tuple(queue for queue in sut.queues if queue != own)
    at_least_one(f"{sut.path.name}: queues other than {own}", others)
    with own_stack.running_worker(queues=[own], concurrency=1) as worker:
        own_stack.wait_ready(worker)
        sent = {_send_ping(own_stack.tasks, sut, queue): queue for queue in others}
        for _ in range(3):
            result = own_stack.tasks.run(sut.ping.task, sut.ping.arguments)
            premise("state of a ping through its own queue", got=result.state, expected="SUCCESS")
        _expect_waiting(own_stack, sent)


def _expect_waiting(stack: Stack, sent: dict[str, str]) -> None:
    """Judge that each message is in its queue only, is unclaimed and has no result."""
    states = {task_id: stack.tasks.result(task_id, deadline_s=0.1).state for task_id in sent}
    stored = messages_of(stack.sql, sent)
    for task_id, queue in sent.items():
        found = [message for message in stored if message.task_id == task_id]
        queues = sorted(message.queue for message in found)
        unclaimed = all(message.visible for message in found)
        claim(FOREIGN, on=queue, got=states[task_id], expected="PENDING")
        claim(STORED, on=queue, got=queues, expected=[queue])
        claim("its message is unclaimed", on=queue, got=unclaimed, expected=True)


def _send_ping(tasks: TaskProbe, sut: Sut, queue: str) -> str:
    key = sut.task[sut.queues[queue][0]].key or queue
    return tasks.publish(sut.ping.task, (), sut.ping.arguments, queue=queue, routing_key=key)
