"""Gate queues: every task goes to its own queue, and only workers of this queue take it."""

from __future__ import annotations

import re

from gateproof import (
    Fault,
    NotApplicableError,
    Stack,
    Sut,
    TaskProbe,
    at_least_one,
    claim,
    criterion,
    falsified_by,
    falsified_by_each,
    inject,
    message,
    premise,
    sql,
)

from ..publishing import (
    BY_POSITION,
    form_of,
    in_other_queues,
    key_of_queue,
    may_be_published,
    other_form,
    publish,
)
from .messages import messages_of, task_queues

DECLARED, CONSUMED = "queues that the broker's table declares", "queues that the worker consumes"
FOUND = "messages of the task"
QUEUE, KEY = "queue of the task's message", "routing key of the task's message"
FOREIGN, STORED = "state of the task of a queue without a worker", "queues that store its message"
"""Names of claims that falsifiers predict."""

MORE = "gateproof-more"
"""The name of a queue that no system has."""

Expect = tuple[str, str, str]


def one_task(sut: Sut) -> list[str]:
    """Return the last task that may be published."""
    return may_be_published(sut)[-1:]


def one_of_another_queue(sut: Sut) -> list[str]:
    """Return the last task that is not in the first queue; none in a system with one queue."""
    return in_other_queues(sut)[-1:]


def first_queue(sut: Sut) -> str:
    """Return the first of the described queues."""
    return next(iter(sut.queues))


def key_of(sut: Sut, task: str) -> str:
    """Return the described routing key of a task."""
    return sut.task[task].key or sut.queue_of(task)


def sent_elsewhere(sut: Sut, task: str) -> tuple[Fault, Expect]:
    """Return a fault that sends a task to the first queue."""
    queue = first_queue(sut)
    fault = inject("wrong-queue", "misroute", task=re.escape(task), queue=queue)
    return fault, (QUEUE, task, f"got {queue}")


def with_arguments(sut: Sut) -> list[str]:
    """Return the last task of another queue than the first that is published with arguments."""
    return [name for name in in_other_queues(sut) if form_of(sut, name)][-1:]


def sent_elsewhere_by_form(sut: Sut, task: str) -> tuple[Fault, Expect]:
    """Return a fault that sends a task to the first queue, if its arguments are in one form."""
    queue, form = first_queue(sut), "kwargs" if form_of(sut, task) == BY_POSITION else "args"
    name = "wrong-queue-for-a-form"
    fault = inject(name, "misroute", task=re.escape(task), queue=queue, given=form)
    return fault, (QUEUE, f"{task}/{other_form(sut, task)}", f"got {queue}")


def moved(sut: Sut, task: str) -> tuple[Fault, Expect]:
    """Return a fault that moves all messages to the first queue."""
    queue = first_queue(sut)
    return message("moved", "move", queue=queue), (QUEUE, task, f"got {queue}")


def doubled(_: Sut, task: str) -> tuple[Fault, Expect]:
    """Return a fault that stores all messages twice."""
    return message("stored-twice", "duplicate"), (FOUND, task, "got 2")


def another_key(sut: Sut, task: str) -> tuple[Fault, Expect]:
    """Return a fault that lengthens the routing key of every message."""
    fault = message(
        "wrong-key", "edit", pattern=r'("routing_key": "[^"]*)"', replacement=r'\1-wrong"'
    )
    return fault, (KEY, task, f"got {key_of(sut, task)}-wrong")


def other_queues(sut: Sut) -> list[str]:
    """Return the queues that the ping is not in."""
    own = sut.queue_of(sut.ping.task)
    return [queue for queue in sut.queues if queue != own]


def greedy(sut: Sut, queue: str) -> tuple[Fault, Expect]:
    """Return a fault that lets every worker consume all queues."""
    fault = inject("greedy-worker", "consume-all-queues", queues=sorted(sut.queues))
    return fault, (FOREIGN, queue, "got SUCCESS")


def moved_to_own(sut: Sut, queue: str) -> tuple[Fault, tuple[str, str]]:
    """Return a fault that moves all messages to the queue of the ping."""
    fault = message("moved-to-one-queue", "move", queue=sut.queue_of(sut.ping.task))
    return fault, (STORED, queue)


@criterion(
    "QUE-01",
    needs=("database", "celery", "broker.kind=sqla", "worker.report", "ping", "task", "logs"),
)
@falsified_by(
    sql(
        "fifth-queue",
        f"INSERT INTO kombu_queue (id, name) VALUES (-7, '{MORE}')",
        landing="SELECT name FROM kombu_queue ORDER BY name",
    ),
    expect=(DECLARED, "", MORE),
)
@falsified_by(
    inject("deaf-worker", "leave-queue"),
    expect=(CONSUMED, ""),
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
        if not claim("state of the ping", on=queue, got=result.end, expected="SUCCESS"):
            return
    claim(DECLARED, got=task_queues(own_stack.sql), expected=wanted)
    known = tuple(sorted(own_stack.tasks.describe().queues))
    claim("queues of the app", got=known, expected=wanted)


@criterion("QUE-02", needs=("database", "celery", "broker.kind=sqla", "worker", "task"))
@falsified_by_each(one_of_another_queue, sent_elsewhere)
@falsified_by_each(with_arguments, sent_elsewhere_by_form)
@falsified_by_each(one_of_another_queue, moved)
@falsified_by_each(one_task, doubled)
@falsified_by_each(one_task, another_key)
def test_every_task_is_stored_in_its_own_queue(own_stack: Stack, sut: Sut) -> None:
    """Without a worker, each task has one row, with the described queue and routing key.

    A task with arguments is published twice: its route must not depend on whether they are given by
    position or by name. All are published again in the other order: a queue that takes more than
    its own shows once it is declared, and a publisher declares a queue with its first message.
    """
    tasks = at_least_one(f"{sut.path.name}: tasks of the queues", may_be_published(sut))
    sent = {publish(own_stack, task): (task, task) for task in tasks}
    for task in tasks:
        if form_of(sut, task):
            task_id = publish(own_stack, task, swapped=True)
            sent[task_id] = (task, f"{task}/{other_form(sut, task)}")
    sent |= {publish(own_stack, task): (task, f"{task}/again") for task in reversed(tasks)}
    stored = messages_of(own_stack.sql, sent)
    for task_id, (task, on) in sent.items():
        found = [message for message in stored if message.task_id == task_id]
        queue = sut.queue_of(task)
        if not claim(FOUND, on=on, got=len(found), expected=1):
            queues = sorted(message.queue for message in found)
            claim("queues that store the task's messages", on=on, got=queues, expected=[queue])
            continue
        claim("task of the task's message", on=on, got=found[0].task, expected=task)
        claim(QUEUE, on=on, got=found[0].queue, expected=queue)
        claim(KEY, on=on, got=found[0].routing_key, expected=key_of(sut, task))


@criterion("QUE-03", needs=("database", "celery", "broker.kind=sqla", "worker", "ping", "task"))
@falsified_by_each(lambda sut: other_queues(sut)[-1:], greedy)
@falsified_by_each(lambda sut: other_queues(sut)[-1:], moved_to_own)
def test_worker_of_one_queue_leaves_the_others_alone(own_stack: Stack, sut: Sut) -> None:
    """Tasks of the other queues stay unclaimed while the worker runs three tasks of its own."""
    own, others = sut.queue_of(sut.ping.task), other_queues(sut)
    if not others:
        raise NotApplicableError(f"task: got the queue {own} alone, expected two or more to judge")
    with own_stack.running_worker(queues=[own], concurrency=1) as worker:
        own_stack.wait_ready(worker)
        sent = {_send_ping(own_stack.tasks, sut, queue): queue for queue in others}
        for _ in range(3):
            result = own_stack.tasks.run(sut.ping.task, sut.ping.arguments)
            premise("state of a ping through its own queue", got=result.end, expected="SUCCESS")
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
    key = key_of_queue(sut, queue)
    return tasks.publish(sut.ping.task, (), sut.ping.arguments, queue=queue, routing_key=key)
