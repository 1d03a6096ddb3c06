"""Gate queues: the names of the tasks are the recorded ones."""

from __future__ import annotations

from pathlib import Path

from gateproof import Stack, criterion, falsified_by, source

RECORD = Path(__file__).with_name("task_names.txt")
"""One name a line. A new task is added here; a name that goes orphans messages under way."""

UNKNOWN = "NotRegistered"
"""What Celery says of a message whose task its worker does not know."""


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
    # Publishers know the name as before: only the worker's answer tells.
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
