"""Dead letters: the row of `worker_failed_jobs` that every failed task ends as.

A task fails in many ways, and in several processes. Each leaves exactly one letter, whose key is
the task's id, so that a failure which is seen twice (a hard time limit) is one row:

1. **What Celery stores as a failure** is written in the transaction of its result, in the child or
   in the worker's parent (`capture`; the moment is `system.transport.endings`'s): exceptions,
   retries used up, time limits, killed children, `Reject`, results that cannot be stored, a task
   whose result is ignored, one that expired.
2. **What never becomes a task** is written before its message is taken off the queue (`consumer`):
   unknown tasks, bodies that cannot be decoded, refused content types.
3. **What the transport gives up**, because every worker that had it died, comes from there.
4. With a result backend of another kind, `task_failure` is what is left.

`letter` says what a row says, `table` writes it. What a task is retried for leaves no row.
"""

from __future__ import annotations

from system.dead_letters import capture, refused


def connect() -> None:
    """Have every way to fail end as a letter; a second call changes nothing."""
    capture.connect()
    refused.connect()
