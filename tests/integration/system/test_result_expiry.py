"""Workers delete expired results, without beat."""

from __future__ import annotations

from .support import Database, StartWorker, make_client, wait_for
from .test_worker import PING


def test_worker_deletes_expired_results_repeatedly(
    database: Database, start_worker: StartWorker
) -> None:
    """A worker deletes the results of more than a day ago, from its start on, and keeps others."""
    with make_client(database) as client:
        first = start_worker(database, "--pool", "solo")
        old, older, fresh = (client.run_with_id(PING)[0] for _ in range(3))
        make_old(database, old)
        first.stop()
        assert len(results(database)) == 3
        start_worker(database, "--pool", "solo", "--queues", "llm", SYSTEM_RESULT_CLEANUP_S="1")
        assert wait_for(lambda: results(database) == {older, fresh}), results(database)
        make_old(database, older)
        assert wait_for(lambda: results(database) == {fresh}), results(database)


def results(database: Database) -> set[str]:
    """Return the ids of the tasks that have results."""
    return {row[0] for row in database.rows("SELECT task_id FROM celery_taskmeta")}


def make_old(database: Database, task_id: str) -> None:
    """Date a result back by 25 hours."""
    statement = (
        "UPDATE celery_taskmeta SET date_done = date_done - interval '25 hours'"
        " WHERE task_id = %s RETURNING id"
    )
    assert len(database.rows(statement, task_id)) == 1
