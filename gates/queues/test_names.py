"""Gate queues: the names of the tasks are the described ones.

The description is the record of the names: removing a name orphans its queued messages.
"""

from __future__ import annotations

from gateproof import (
    Fault,
    Stack,
    Sut,
    at_least_one,
    claim,
    criterion,
    falsified_by_each,
    inject,
    premise,
)

from ..publishing import may_be_published, own_tasks, publish

UNKNOWN = "NotRegistered"
"""Celery's exception for a message whose task the worker does not know."""

NEW, GONE = "task names that are not described", "described task names that are missing"
RAISED = "exception of the task"
"""Names of claims that falsifiers predict."""

Expect = tuple[str, str, str]


def last_task(sut: Sut) -> list[str]:
    """Return the last task that may be published."""
    return may_be_published(sut)[-1:]


def renamed(_: Sut, task: str) -> tuple[Fault, Expect]:
    """Return a fault that gives a task another name."""
    fault = inject("task-renamed", "rename-task", task=task, to=f"{task}_renamed")
    return fault, (GONE, "", f"got {task}")


def added(_: Sut, task: str) -> tuple[Fault, Expect]:
    """Return a fault that adds a task with the prefix of another."""
    return inject("task-added", "add-task", task=f"{task}_more"), (NEW, "", f"got {task}_more")


def switched_off(_: Sut, task: str) -> tuple[Fault, Expect]:
    """Return a fault that removes a task from workers.

    Publishers still know the name, so only the worker's answer shows it.
    """
    fault = inject("task-switched-off-in-workers", "forget-task", task=task)
    return fault, (RAISED, task, f"got {UNKNOWN}")


@criterion("QUE-04", needs=("database", "celery", "worker", "ping", "task"))
@falsified_by_each(last_task, renamed)
@falsified_by_each(last_task, added)
@falsified_by_each(last_task, switched_off)
def test_task_names_are_the_described_ones(own_stack: Stack, sut: Sut) -> None:
    """The app registers exactly the described names, and the worker knows each of them."""
    described = at_least_one(f"{sut.path.name}: tasks", sut.tasks)
    registered = own_tasks(sut, own_stack.tasks.describe().tasks)
    none_new = claim(NEW, got=registered - set(described), expected=[])
    none_gone = claim(GONE, got=set(described) - registered, expected=[], over=described)
    if not (none_new and none_gone):
        return
    premise("the worker runs", got=own_stack.worker.alive, expected=True)
    sent = {name: publish(own_stack, name) for name in may_be_published(sut)}
    for name, task_id in sent.items():
        result = own_stack.tasks.result(task_id, deadline_s=15.0)
        ended = not result.timed_out
        if not claim("the worker ends the published task", on=name, got=ended, expected=True):
            return
        raised = result.value.get("exception") if isinstance(result.value, dict) else None
        claim(RAISED, on=name, got=raised or "none", relation="differs", expected=UNKNOWN)
