"""Gate queues: the names of the tasks are the recorded ones."""

from __future__ import annotations

from pathlib import Path

from harness import criterion, falsified_by, source
from harness.stack import Stack

RECORD = Path(__file__).with_name("task_names.txt")
"""One name per line. Add new tasks here; a removed name orphans messages in the queues."""

UNKNOWN = "NotRegistered"
"""The error that Celery stores for a message whose task the worker does not know."""


@criterion("QUE-04")
@falsified_by(
    source(
        "task-renamed",
        "system/tasks/llm.py",
        'name="app.tasks.llm.explanation"',
        'name="app.tasks.llm.explain"',
    ),
    expect="not recorded app.tasks.llm.explain; missing app.tasks.llm.explanation",
)
@falsified_by(
    source(
        "task-added",
        "system/tasks/llm.py",
        append="""
        @shared_task(name="app.tasks.llm.summary")
        def summary() -> dict[str, str]:
            return dict(_ACCEPTED)
        """,
    ),
    expect="not recorded app.tasks.llm.summary; missing none",
)
@falsified_by(
    # Publishers still know the name: only the worker's answer shows the difference.
    source(
        "task-switched-off-in-workers",
        "system/worker.py",
        "    from system.app import app  # (after the settings: it is built from them)\n",
        "    from system.app import app\n\n    app.tasks.pop('app.tasks.llm.explanation')\n",
    ),
    expect="app.tasks.llm.explanation: got NotRegistered from the worker",
)
def test_task_names_are_the_recorded_ones(own_stack: Stack) -> None:
    """The app registers the recorded names and no other, and the worker knows each."""
    recorded = RECORD.read_text(encoding="utf-8").split()
    assert recorded, f"premise: {RECORD.name}: got no name, expected one a line"
    registered = set(own_stack.tasks.describe().tasks)
    new, gone = sorted(registered - set(recorded)), sorted(set(recorded) - registered)
    assert registered == set(recorded), (
        f"task names: got not recorded {', '.join(new) or 'none'}; "
        f"missing {', '.join(gone) or 'none'}, expected those of {RECORD.name}"
    )
    assert own_stack.worker.alive, "worker: got an end, expected it to run"
    sent = {name: own_stack.tasks.publish(name) for name in recorded}
    for name, task_id in sent.items():
        result = own_stack.tasks.result(task_id, deadline_s=15.0)
        assert not result.timed_out, f"{name}: got no end, expected the worker to run it"
        said = result.value.get("exception") if isinstance(result.value, dict) else None
        assert said != UNKNOWN, f"{name}: got {UNKNOWN} from the worker, expected a known task"
