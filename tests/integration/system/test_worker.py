"""A worker process."""

from __future__ import annotations

from .support import Database, StartWorker


def test_worker_answers(database: Database, start_worker: StartWorker) -> None:
    """A ping comes back."""
    w = start_worker(database)
    print(w.text())
    assert w.stop() == 0
    print(w.text())
