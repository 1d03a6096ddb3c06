"""Gate queues: the names of the tasks are the described ones.

The description is the record of the names: removing a name orphans its queued messages.
"""

from __future__ import annotations

from gateproof import Stack, Sut, at_least_one, claim, criterion, falsified_by, inject, premise

UNKNOWN = "NotRegistered"
"""Celery's exception for a message whose task the worker does not know."""

NEW, GONE = "task names that are not described", "described task names that are missing"
RAISED = "exception of the task"
"""Names of claims that falsifiers predict."""


@criterion("QUE-04", needs=("database", "celery", "worker", "ping", "task"))
@falsified_by(
    inject(
        "task-renamed", "rename-task", task="app.tasks.llm.explanation", to="app.tasks.llm.explain"
    ),
    expect=(GONE, "", "got app.tasks.llm.explanation"),
)
@falsified_by(
    inject("task-added", "add-task", task="app.tasks.llm.summary"),
    expect=(NEW, "", "got app.tasks.llm.summary"),
)
@falsified_by(
    # Publishers still know the name, so only the worker's answer shows the fault.
    inject("task-switched-off-in-workers", "forget-task", task="app.tasks.llm.explanation"),
    expect=(RAISED, "app.tasks.llm.explanation", f"got {UNKNOWN}"),
)
def test_task_names_are_the_described_ones(own_stack: Stack, sut: Sut) -> None:
    """The app registers exactly the described names, and the worker knows each of them."""
    described = at_least_one(f"{sut.path.name}: tasks", sut.tasks)
    registered = set(own_stack.tasks.describe().tasks)
    none_new = claim(NEW, got=registered - set(described), expected=[])
    none_gone = claim(GONE, got=set(described) - registered, expected=[], over=described)
    if not (none_new and none_gone):
        return
    premise("the worker runs", got=own_stack.worker.alive, expected=True)
    may_run = [name for name in described if name not in sut.never_published]
    sent = {name: own_stack.tasks.publish(name) for name in may_run}
    for name, task_id in sent.items():
        result = own_stack.tasks.result(task_id, deadline_s=15.0)
        ended = not result.timed_out
        if not claim("the worker ends the published task", on=name, got=ended, expected=True):
            return
        raised = result.value.get("exception") if isinstance(result.value, dict) else None
        claim(RAISED, on=name, got=raised or "none", relation="differs", expected=UNKNOWN)
