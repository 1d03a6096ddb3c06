"""The described tasks of the system: their names, and how a check publishes them."""

from __future__ import annotations

from collections.abc import Iterable

from gateproof import Stack, Sut

NOT_OF_THE_SYSTEM = ("celery.", "gateproof.probe.")
"""The prefixes of Celery's own tasks and of those of the harness."""


def own_tasks(sut: Sut, names: Iterable[str]) -> set[str]:
    """Return the names that are tasks of the system: with its prefix, and not Celery's."""
    prefix = sut.celery.task_prefix
    return {
        name for name in names if name.startswith(prefix) and not name.startswith(NOT_OF_THE_SYSTEM)
    }


def may_be_published(sut: Sut) -> list[str]:
    """Return the described tasks, without those that must never be published."""
    return [name for name in sut.tasks if name not in sut.never_published]


def key_of_queue(sut: Sut, queue: str) -> str:
    """Return the routing key of messages of a queue: that of its first task, else its name.

    Tasks that the description does not have, such as those of the harness, go there with it too.
    """
    tasks = sut.queues.get(queue, ())
    return (sut.task[tasks[0]].key if tasks else "") or queue


BY_POSITION, BY_NAME = "arguments by position", "arguments by name"
"""The two forms in which a task can be given its arguments."""


def form_of(sut: Sut, task: str) -> str:
    """Return the form of the arguments of a task's sample; empty if it has none."""
    given = sut.task[task].arguments
    return BY_POSITION if given.args else BY_NAME if given.kwargs else ""


def other_form(sut: Sut, task: str) -> str:
    """Return the form that the sample of a task with arguments does not have."""
    return BY_NAME if form_of(sut, task) == BY_POSITION else BY_POSITION


def publish(stack: Stack, task: str, *, swapped: bool = False) -> str:
    """Publish a described task with the arguments of its sample, and return its id.

    Args:
        stack: the stack whose system publishes it.
        task: its name.
        swapped: give the arguments in the other form.

    Raises:
        AssertionError: the system refused to publish it.
        NotDescribedError: it has no sample and cannot be published without arguments.

    """
    described = stack.sut.task[task]
    given = described.arguments
    try:
        return stack.tasks.publish(task, given.args, given.kwargs, swapped=swapped)
    except AssertionError as error:
        if "TypeError" in str(error) and not described.has_sample:
            _ = described.sample  # raises, with the key to add
        raise


def in_other_queues(sut: Sut) -> list[str]:
    """Return the tasks that may be published and are in another queue than the first."""
    first = next(iter(sut.queues), "")
    return [name for name in may_be_published(sut) if sut.queue_of(name) != first]
