"""Dead letters: every task that fails for good ends as one row of `worker_failed_jobs`.

A task can fail in many ways and in several processes. Each failure leaves exactly one row, whose
key is the task's id: a failure that is reported twice (a hard time limit) is one row.

- `capture` reports each kind of failure.
- `row` describes a failure, `masking` masks its secrets, `payload` serializes its arguments, and
  `encryption` encrypts what is masked.
- `storage` writes the row into the table, or keeps it on local disk until the database is back.
- `replay`, `listing` and `reconciliation` work on rows that exist.

A retry leaves no row.
"""

from __future__ import annotations

from system.dead_letters import capture
from system.dead_letters.storage import drain


def connect() -> None:
    """Capture every failure as a dead-letter row; a second call changes nothing."""
    capture.connect()
    drain.connect()
