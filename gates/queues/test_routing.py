"""Gate queues: every task goes to its own queue, and only workers of this queue take it."""

from __future__ import annotations

from gateproof import (
    Stack,
    Sut,
    TaskProbe,
    at_least_one,
    criterion,
    falsified_by,
    inject,
    message,
    premise,
    sql,
)

from .messages import messages_of, task_queues


@criterion("QUE-01", needs=("database", "celery", "worker.report", "ping", "task", "logs"))
@falsified_by(
    sql(
        "fifth-queue",
        "INSERT INTO kombu_queue (name) VALUES ('celery')",
        landing="SELECT name FROM kombu_queue ORDER BY name",
    ),
    expect="declared queues: got attribution, celery, housekeeping",
)
@falsified_by(
    inject("deaf-worker", "leave-queue"),
    expect="consumed queues: got attribution, housekeeping, llm, expected",
)
def test_queues_are_the_four_of_the_contract(own_stack: Stack, sut: Sut) -> None:
    """The table has exactly the four queues, and the worker reports and consumes them."""
    wanted = tuple(sorted(sut.queues))
    premise("number of queues in the description", got=len(wanted), expected=4)
    worker = own_stack.worker
    consumed = tuple(sorted(worker.report().queues))
    assert consumed == wanted, (
        f"consumed queues: got {', '.join(consumed)}, expected {', '.join(wanted)}"
    )
    sent = {queue: _send_ping(own_stack.tasks, sut, queue) for queue in wanted}
    for queue, task_id in sent.items():
        result = own_stack.tasks.result(task_id)
        assert result.state == "SUCCESS", (
            f"ping through queue {queue}: got {result.state}, expected SUCCESS"
        )
    declared = task_queues(own_stack.sql)
    assert declared == wanted, (
        f"declared queues: got {', '.join(declared)}, expected {', '.join(wanted)}"
    )
    known = tuple(sorted(own_stack.tasks.describe().queues))
    assert known == wanted, (
        f"queues of the app: got {', '.join(known)}, expected {', '.join(wanted)}"
    )


@criterion("QUE-02", needs=("database", "celery", "worker", "task"))
@falsified_by(
    inject("routes-lost", "lose-routes"),
    expect="routing key of app.tasks.housekeeping.ping: got housekeeping.#",
)
@falsified_by(
    inject("wrong-queue", "misroute", task=r"app\.tasks\.llm\..*", queue="attribution"),
    expect="queue of app.tasks.llm.route: got attribution, expected llm",
)
@falsified_by(
    inject("wrong-key", "misroute", key_suffix="s"),
    expect="routing key of app.tasks.housekeeping.ping: got housekeeping.tasks",
)
@falsified_by(
    message("misrouted", "move", queue="housekeeping"),
    expect="got housekeeping, expected maintenance",
)
def test_every_task_is_stored_in_its_own_queue(own_stack: Stack, sut: Sut) -> None:
    """Without a worker, each task has one row, with its queue and the key `<queue>.task`."""
    tasks = at_least_one(f"{sut.path.name}: tasks of the queues", sut.tasks)
    sent = {own_stack.tasks.publish(task): task for task in tasks}
    stored = messages_of(own_stack.sql, sent)
    for task_id, task in sent.items():
        found = [message for message in stored if message.task_id == task_id]
        assert len(found) == 1, f"messages of {task}: got {len(found)}, expected one"
        assert found[0].task == task, f"message of {task}: got {found[0].task}, expected {task}"
        queue = sut.queue_of(task)
        assert found[0].queue == queue, f"queue of {task}: got {found[0].queue}, expected {queue}"
        key = found[0].routing_key
        assert key == f"{queue}.task", f"routing key of {task}: got {key}, expected {queue}.task"


@criterion("QUE-03", needs=("database", "celery", "worker", "ping", "task"))
@falsified_by(
    inject("greedy-worker", "consume-all-queues"),
    expect="got SUCCESS, stored in none",
)
@falsified_by(
    inject("bound-to-everything", "bind-to-everything"),
    expect="got SUCCESS, stored in maintenance",
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
        _assert_waiting(own_stack, sent, own)


def _assert_waiting(stack: Stack, sent: dict[str, str], own: str) -> None:
    """Assert that each message is in its queue only, is unclaimed and has no result."""
    states = {task_id: stack.tasks.result(task_id, deadline_s=0.1).state for task_id in sent}
    stored = messages_of(stack.sql, sent)
    for task_id, queue in sent.items():
        found = [message for message in stored if message.task_id == task_id]
        queues = sorted(message.queue for message in found)
        unclaimed = all(message.visible for message in found)
        assert (states[task_id], queues, unclaimed) == ("PENDING", [queue], True), (
            f"task in queue {queue} with a worker of {own} only: got {states[task_id]}, "
            f"stored in {', '.join(queues) or 'none'}, unclaimed {unclaimed}, expected PENDING, "
            f"stored in {queue} only, unclaimed"
        )


def _send_ping(tasks: TaskProbe, sut: Sut, queue: str) -> str:
    return tasks.publish(
        sut.ping.task, (), sut.ping.arguments, queue=queue, routing_key=f"{queue}.task"
    )
