"""Gate queues: the names of the tasks are the recorded ones."""

from __future__ import annotations

from pathlib import Path

from gateproof import Stack, criterion, falsified_by, inject, premise

RECORD = Path(__file__).with_name("task_names.txt")
"""One task name a line. Add new tasks here; removing a name orphans its queued messages."""

UNKNOWN = "NotRegistered"
"""Celery's exception for a message whose task the worker does not know."""


@criterion("QUE-04", needs=("database", "celery", "worker", "ping", "task"))
@falsified_by(
    inject(
        "task-renamed", "rename-task", task="app.tasks.llm.explanation", to="app.tasks.llm.explain"
    ),
    expect="not recorded app.tasks.llm.explain; missing app.tasks.llm.explanation",
)
@falsified_by(
    inject("task-added", "add-task", task="app.tasks.llm.summary"),
    expect="not recorded app.tasks.llm.summary; missing none",
)
@falsified_by(
    # Publishers still know the name, so only the worker's answer shows the fault.
    inject("task-switched-off-in-workers", "forget-task", task="app.tasks.llm.explanation"),
    expect="app.tasks.llm.explanation: got NotRegistered from the worker",
)
def test_task_names_are_the_recorded_ones(own_stack: Stack) -> None:
    """The app registers exactly the recorded names, and the worker knows each of them."""
    recorded = RECORD.read_text(encoding="utf-8").split()
    names = len(recorded)
    premise("recorded names", on=RECORD.name, got=names, relation="at_least", expected=1)
    registered = set(own_stack.tasks.describe().tasks)
    new, gone = sorted(registered - set(recorded)), sorted(set(recorded) - registered)
    assert registered == set(recorded), (
        f"task names: got not recorded {', '.join(new) or 'none'}; "
        f"missing {', '.join(gone) or 'none'}, expected those of {RECORD.name}"
    )
    assert own_stack.worker.alive, "worker: got one that ended, expected one that runs"
    sent = {name: own_stack.tasks.publish(name) for name in recorded}
    for name, task_id in sent.items():
        result = own_stack.tasks.result(task_id, deadline_s=15.0)
        assert not result.timed_out, f"{name}: got no result, expected the worker to run it"
        raised = result.value.get("exception") if isinstance(result.value, dict) else None
        assert raised != UNKNOWN, f"{name}: got {UNKNOWN} from the worker, expected a known task"
