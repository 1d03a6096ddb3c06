"""What comes in any case when a task has failed, so that nobody waits long for what never comes.

A dead letter follows the task's result. Whether one will still come cannot be seen from the result,
but from the worker's own line about the failure: it is written once the handlers have run.
"""

from __future__ import annotations

from collections.abc import Collection

from harness.stack import Stack
from harness.wait import wait_until

LINE_WITHIN_S = 15.0
ROW_AFTER_LINE_S = 1.0
"""How long a row may follow the line; the reference system writes it before."""


def wait_for_failure_lines(stack: Stack, task_ids: Collection[str]) -> None:
    """Wait until the stack's worker has told of the failure of each task; judges nothing."""
    names, worker = stack.sut.logs, stack.worker

    def told() -> set[str]:
        lines = worker.log().matching(**{names.message: names.failure})
        return {str(line.get(names.task_id)) for line in lines}

    wait_until(
        told,
        lambda seen: seen >= set(task_ids) or not worker.alive,
        deadline_s=LINE_WITHIN_S,
        interval_s=0.1,
    )
