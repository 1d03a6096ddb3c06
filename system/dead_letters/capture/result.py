"""Write a dead-letter row in the transaction that stores the task's result."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from system.dead_letters.capture.failure import describe_failure, entry_of, replayed_row
from system.dead_letters.storage import table
from system.dead_letters.storage.entry import Entry, Settlement
from system.dead_letters.storage.keeper import Kept, Written, keep, keep_on_disk, prefer_spooled


class EntryEnding:
    """An entry about a task's end: stored with its result, else by itself, else on disk."""

    def __init__(self, task_id: str, entry: Entry) -> None:
        self.task_id = task_id
        self._entry = entry
        self._refused: Exception | None = None

    def write(self, connection: Connection) -> None:
        """Write in the transaction of the result."""
        try:
            table.put(connection, prefer_spooled(self._entry, self.task_id))
        except Exception as error:
            if connection.invalidated:
                raise
            # The result is stored all the same: the row can follow later.
            self._refused = error

    def finish(self, *, written: bool) -> Kept:
        """Keep the entry if no committed transaction holds it; return where it is kept."""
        if self._refused is not None:
            return keep_on_disk(self._entry, self._refused)
        return Written() if written else keep(self._entry)


class Observer:
    """Turns each end that `ReportingBackend` reports into an entry."""

    def of_failure(
        self, app: Any, task_id: str, error: BaseException, traceback: str | None, request: Any
    ) -> EntryEnding | None:
        """Return the entry of a failure; None where there is nothing to write."""
        failure = describe_failure(app, task_id, error, traceback, request)
        if failure is None:
            return None
        return EntryEnding(task_id, entry_of(failure, getattr(request, "headers", None)))

    def of_success(self, task_id: str, request: Any) -> EntryEnding | None:
        """Return the end of a replay that succeeded; None for any other task."""
        row_id = replayed_row(getattr(request, "headers", None))
        if row_id is None:
            return None
        settled = Settlement(row_id=row_id, replay_id=task_id, verdict="succeeded")
        return EntryEnding(task_id, settled)
