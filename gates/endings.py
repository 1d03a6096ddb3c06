"""The log line that a worker writes after each failure, as a bound for waiting.

A dead-letter row is written after the task's result, so the result does not show whether a row will
still appear. The worker writes its log line about the failure after its failure handlers have run:
a row that is missing shortly after this line will not appear, and a check can stop waiting.
"""

from __future__ import annotations

from collections.abc import Collection

from gateproof import Stack, wait_until

LINE_WITHIN_S = 15.0
ROW_AFTER_LINE_S = 1.0
"""How long after the line a row may appear; the reference system writes the row first."""


def wait_for_failure_lines(stack: Stack, task_ids: Collection[str]) -> None:
    """Wait until the stack's worker has logged the failure of each task. Judges nothing."""
    names, worker = stack.sut.ends, stack.worker

    def logged_failures() -> set[str]:
        lines = worker.log().matching(**{names.message: names.failure})
        return {str(line.get(names.task_id)) for line in lines}

    wait_until(
        logged_failures,
        lambda seen: seen >= set(task_ids) or not worker.alive,
        deadline_s=LINE_WITHIN_S,
        interval_s=0.1,
    )
