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


def publish(stack: Stack, task: str) -> str:
    """Publish a described task with the arguments of its sample, and return its id.

    Raises:
        AssertionError: the system refused to publish it.
        NotDescribedError: it has no sample and cannot be published without arguments.

    """
    described = stack.sut.task[task]
    given = described.arguments
    try:
        return stack.tasks.publish(task, given.args, given.kwargs)
    except AssertionError as error:
        if "TypeError" in str(error) and not described.has_sample:
            _ = described.sample  # raises, with the key to add
        raise


def in_other_queues(sut: Sut) -> list[str]:
    """Return the tasks that may be published and are in another queue than the first."""
    first = next(iter(sut.queues), "")
    return [name for name in may_be_published(sut) if sut.queue_of(name) != first]
